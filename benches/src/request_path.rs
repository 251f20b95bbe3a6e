//! The whole way of a request, from its socket and back, beside bare hyper sending as many bytes.
//!
//! Both servers are one thread each; the client is a third one in the same process, over loopback TCP. CPU time is that of
//! the serving thread alone, wall time is that of the client and means little where both share a core.

mod bare_hyper;
mod client;
mod service;

use std::net::SocketAddr;
use std::time::Duration;

use vertebra::BoxError;

use crate::bare::Bare;
use crate::question::{Case, Question};
use crate::stopwatch::Measured;
use crate::window::windowed;

use bare_hyper::BareHyper;
use client::Pool;
use service::Service;

/// The program asked for: one of the samples.
const PROGRAM: &str = "212313";
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

/// Something that answers on a socket, and knows what its thread has used.
trait Serves {
    fn address(&self) -> SocketAddr;
    fn cpu(&self) -> Result<Duration, BoxError>;
}

/// Every question about the request path.
///
/// # Errors
/// When a server cannot be started, or the two do not send answers of one length.
pub fn questions() -> Result<Vec<Question>, BoxError> {
    [(1, "request path, 1 connection"), (64, "request path, 64 connections")]
        .into_iter()
        .map(|(connections, name)| {
            let (mut base, base_bytes) = served("bare hyper", BareHyper::start()?, connections)?;
            let (mut own, own_bytes) = served("http, cache, event log", Service::start()?, connections)?;
            // The first answers; whatever a server does only once is done.
            base.run(connections)?;
            own.run(connections)?;
            match base_bytes == own_bytes {
                true => Ok(Question::new(name, vec![base, own.ours()])),
                false => Err(format!("answers of {base_bytes} and {own_bytes} bytes cannot be compared").into()),
            }
        })
        .collect()
}

/// A case of a server, and how long its answers are.
fn served(name: &str, server: impl Serves + 'static, connections: u64) -> Result<(Case, usize), BoxError> {
    let client = Bare::new()?;
    let address = server.address();
    let bytes = client.block_on(async move { Pool::open(address, 1).await?.answer_bytes() })?;
    let case = Case::new(name, move |operations| {
        let pool = client.block_on(Pool::open(address, connections))?;
        let before = server.cpu()?;
        let measured = client.run(windowed(connections, operations, async move || pool.ask().await))?;
        Ok(Measured { cpu: server.cpu()?.saturating_sub(before), ..measured })
    });
    Ok((case, bytes))
}
