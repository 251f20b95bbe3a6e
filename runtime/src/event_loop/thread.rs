//! The thread of an event loop, and its executor.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::runtime::Shared;

use super::driver::Driver;
use super::shared::{Inbox, LoopShared};
use super::{BLOCKING_THREADS, LoopCore, OnLoop, before_sleep, note_sleep};

/// A loop's thread. `ended` resolves - by being dropped - when the loop has ended.
pub(crate) struct LoopThread {
    name: String,
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

/// What runs the tasks of a thread: of a loop's, and of one that waits in [`Runtime::block_on`](crate::Runtime::block_on).
pub(crate) fn executor() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .on_thread_park(before_sleep)
        .on_thread_unpark(note_sleep)
        .build_local(LocalOptions::default())
}

impl LoopThread {
    /// Starts a loop on a thread of its own, and waits until it is there.
    pub(crate) fn start(shared: &Arc<Shared>, event_loop: &Arc<LoopShared>, inbox: Inbox) -> io::Result<Self> {
        let (started, starting) = Self::spawn(shared, event_loop, inbox, format!("vertebra-{}", event_loop.name))?;
        match starting.recv() {
            Ok(Ok(())) => Ok(started),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("its thread ended before it had begun")),
        }
    }

    /// Starts a loop on a thread of this name. It tells when it is there, or why it will not be: then it has ended.
    pub(crate) fn spawn(
        shared: &Arc<Shared>,
        event_loop: &Arc<LoopShared>,
        inbox: Inbox,
        thread: String,
    ) -> io::Result<(Self, Receiver<io::Result<()>>)> {
        let (ending, ended) = oneshot::channel();
        let (own, shared) = (Arc::clone(event_loop), Arc::clone(shared));
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        let name = own.name.clone();
        let handle = std::thread::Builder::new().name(thread).spawn(move || {
            let _ending = ending;
            match executor() {
                Ok(executor) => {
                    drop(started.send(Ok(())));
                    run_loop(&executor, &own, &shared, inbox);
                }
                Err(error) => {
                    tracing::error!(event_loop = %own.name, %error, "an event loop could not be started");
                    let waiting = own.end();
                    drop(started.send(Err(error)));
                    drop(waiting);
                }
            }
        })?;
        Ok((Self { name, ended, handle }, starting))
    }

    /// Whether this is the calling thread.
    pub(crate) fn is_current(&self) -> bool {
        std::thread::current().id() == self.handle.thread().id()
    }

    /// Waits until the loop has ended, at most until the clock has come to `patience`; its name when it has not by then.
    pub(crate) async fn join(self, clock: &Clock, patience: Duration) -> Result<(), String> {
        if self.is_current() {
            // Called from this very loop: it ends when the caller's turn does.
            return Ok(());
        }
        let left = patience.saturating_sub(clock.now());
        match clock.timeout(left, self.ended).await {
            // The loop is over; its thread has only to return.
            Ok(_) => drop(self.handle.join()),
            Err(_) => return Err(self.name),
        }
        Ok(())
    }
}

fn run_loop(executor: &LocalRuntime, own: &Arc<LoopShared>, shared: &Arc<Shared>, inbox: Inbox) {
    let keeps_time = own.id == 0;
    if keeps_time {
        shared.set_timekeeper(Some(executor.handle().clone()));
    }
    let core = LoopCore::new(Arc::clone(own), shared);
    let _on_loop = OnLoop::enter(&core);
    // As a task: the executor looks at its root future only after it has been round by the operating system.
    executor.block_on(async {
        let driver = tokio::task::spawn_local(Driver::new(core, inbox).run()).await;
        if !own.is_stopping() {
            shared.lose(&own.name);
        }
        if let Err(Ok(panic)) = driver.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    });
    if keeps_time {
        shared.set_timekeeper(None);
    }
}
