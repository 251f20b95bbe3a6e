//! What the baselines run on: the executor our loops run on, without our loops.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::spawn_local;
use vertebra::BoxError;

use crate::stopwatch::Measured;

/// An executor on the calling thread.
#[derive(Debug)]
pub struct Bare(LocalRuntime);

impl Bare {
    /// Without tasks.
    ///
    /// # Errors
    /// When the system refuses an event queue.
    pub fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map(Self)
    }

    /// Runs the work as a task like any other: the root future of an executor is polled in a way of its own.
    ///
    /// # Errors
    /// When the work fails, or panics.
    pub fn run(&self, work: impl Future<Output = Result<Measured, BoxError>> + 'static) -> Result<Measured, BoxError> {
        self.block_on(async { spawn_local(work).await? })
    }

    /// For what is not measured.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.0.block_on(work)
    }
}

/// A thread with an executor of its own, for the other side of a channel. It ends when the channel does.
pub fn spawn_peer<F>(serve: impl FnOnce() -> F + Send + 'static) -> JoinHandle<io::Result<()>>
where
    F: Future<Output = ()> + 'static,
{
    std::thread::spawn(move || {
        let executor = Bare::new()?;
        executor.block_on(async { spawn_local(serve()).await }).map_err(io::Error::other)
    })
}
