//! The whole way of a request, from its socket and back, beside bare hyper sending as many bytes.
//!
//! Both servers are one thread each; the client is a third one in the same process, over loopback TCP. CPU time is that of
//! the serving thread alone, wall time is that of the client and means little where both share a core.

mod bare_hyper;
mod client;
mod service;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use vertebra::BoxError;

use crate::bare::Bare;
use crate::question::{Case, Question};
use crate::stopwatch::{Measured, Stopwatch};
use crate::window::windowed;

use bare_hyper::BareHyper;
use client::Pool;
use service::Service;

/// The program asked for: one of the samples.
const PROGRAM: &str = "212313";
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

/// The default.
const LEVEL: &str = "spool";

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
    let mut questions = beside_hyper()?;
    questions.push(levels()?);
    questions.push(syncs()?);
    Ok(questions)
}

/// What each level costs beside the one that waits for nothing.
fn levels() -> Result<Question, BoxError> {
    let mut cases = Vec::new();
    for level in ["memory", "spool", "sync"] {
        let (mut case, _) = served(level, Service::start(level)?, LEVELS_CONNECTIONS)?;
        case.run(LEVELS_CONNECTIONS)?;
        cases.push(if level == "spool" { case.at_most(1.1) } else { case.ours() });
    }
    Ok(Question::new("levels of durability, 64 connections", cases))
}

/// How long an answer of the level `sync` takes beside a sync of the disk: wall time of an operation times 64 is what one of the
/// 64 connections waits, on average.
fn syncs() -> Result<Question, BoxError> {
    let base = Case::new("append of 64 events, fdatasync", |operations| {
        let folder = tempfile::tempdir()?;
        let mut file = File::options().create_new(true).append(true).open(folder.path().join("log"))?;
        let bytes = vec![1; SYNCED_BYTES];
        let stopwatch = Stopwatch::start();
        for _ in 0..operations.div_ceil(LEVELS_CONNECTIONS) {
            file.write_all(&bytes)?;
            file.sync_data()?;
        }
        Ok(stopwatch.stop())
    });
    let (mut own, _) = served("level sync, 64 connections", Service::start("sync")?, LEVELS_CONNECTIONS)?;
    own.run(LEVELS_CONNECTIONS)?;
    Ok(Question::new("a sync of the disk for 64 events", vec![base, own.ours()]))
}

const LEVELS_CONNECTIONS: u64 = 64;
const SYNCED_BYTES: usize = 64 * 300;

fn beside_hyper() -> Result<Vec<Question>, BoxError> {
    [(1, "request path, 1 connection"), (64, "request path, 64 connections")]
        .into_iter()
        .map(|(connections, name)| {
            let (mut base, base_bytes) = served("bare hyper", BareHyper::start()?, connections)?;
            let (mut own, own_bytes) = served("http, cache, event log", Service::start(LEVEL)?, connections)?;
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
