//! The thread of an event loop, and its executor.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use crate::runtime::Shared;

use super::driver::Driver;
use super::shared::{Inbox, LoopShared};
use super::{BLOCKING_THREADS, LoopCore, OnLoop, before_sleep, note_sleep};

/// A loop's thread. `ended` resolves - by being dropped - when the loop has ended.
pub(crate) struct LoopThread {
    pub(crate) id: usize,
    pub(crate) ended: oneshot::Receiver<()>,
    pub(crate) handle: JoinHandle<()>,
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
    /// Starts a loop on a thread of its own.
    pub(crate) fn start(shared: &Arc<Shared>, event_loop: &Arc<LoopShared>, inbox: Inbox) -> io::Result<Self> {
        let (ending, ended) = oneshot::channel();
        let (own, shared) = (Arc::clone(event_loop), Arc::clone(shared));
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        let id = own.id;
        let handle = std::thread::Builder::new().name(format!("vertebra-{}", own.name)).spawn(move || {
            let _ending = ending;
            match executor() {
                Ok(executor) => {
                    drop(started.send(Ok(())));
                    run_loop(&executor, &own, &shared, inbox);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        match starting.recv() {
            Ok(Ok(())) => Ok(Self { id, ended, handle }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("its thread ended before it had begun")),
        }
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
