//! How a runtime is built: how many loops, and the defaults of its bounds.

#[cfg(feature = "testing")]
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::BuildError;
#[cfg(feature = "testing")]
use crate::event_loop::LoopCore;
#[cfg(feature = "testing")]
use crate::event_loop::driver::Driver;
use crate::event_loop::shared::{Inbox, LoopShared};
use crate::runtime::{Options, Runtime, Shared};

/// How a runtime is built; see [`Runtime::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `build` is called"]
pub struct RuntimeBuilder {
    event_loops: usize,
    named: Vec<String>,
    request_timeout: Duration,
    mailbox: usize,
}

impl RuntimeBuilder {
    /// One event loop per core, and the defaults.
    pub(crate) fn new() -> Self {
        let event_loops = std::thread::available_parallelism().map_or(1, usize::from);
        Self { event_loops, named: Vec::new(), request_timeout: Duration::from_secs(30), mailbox: 1_024 }
    }

    /// How many event loops, 1 to 1,024. Default: one per core.
    pub fn event_loops(mut self, count: usize) -> Self {
        self.event_loops = count;
        self
    }

    /// One more loop, for what must not sit between two requests. Only deployments that ask for it by name run there.
    /// The name is not empty and has no NUL in it; `loop-0` and so on are taken.
    pub fn named_loop(mut self, name: impl Into<String>) -> Self {
        self.named.push(name.into());
        self
    }

    /// How long requests wait for their reply unless they say otherwise, and sends for room; at least 1 ms. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How many messages a consumer's mailbox holds unless it says otherwise, 1 to 1,048,576. Default 1,024.
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    /// Starts the loops.
    ///
    /// # Errors
    /// [`BuildError`] when a value is out of its range, two loops share a name, or the system refuses a thread.
    pub fn build(self) -> Result<Runtime, BuildError> {
        self.check()?;
        let (shared, inboxes) = self.shared(Clock::system());
        Runtime::start(shared, inboxes)
    }

    /// A runtime whose one loop is the calling thread, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) fn build_here(mut self, clock: Clock) -> (Runtime, Rc<LoopCore>, Driver) {
        self.event_loops = 1;
        let (shared, mut inboxes) = self.shared(clock);
        let core = LoopCore::new(Arc::clone(shared.event_loop(0)), &shared);
        let driver = Driver::new(Rc::clone(&core), inboxes.remove(0));
        (Runtime::of(shared, Vec::new()), core, driver)
    }

    fn check(&self) -> Result<(), BuildError> {
        let out_of_range = |key, value: String, allowed| Err(BuildError::OutOfRange { key, value, allowed });
        if !(1..=1_024).contains(&self.event_loops) {
            return out_of_range("event_loops", self.event_loops.to_string(), "1 to 1024");
        }
        if !(1..=1_048_576).contains(&self.mailbox) {
            return out_of_range("mailbox", self.mailbox.to_string(), "1 to 1048576 messages");
        }
        if self.request_timeout < Duration::from_millis(1) {
            return out_of_range("request_timeout", format!("{:?}", self.request_timeout), "at least 1 ms");
        }
        for (at, name) in self.named.iter().enumerate() {
            // A thread carries the name, and the system ends it at a NUL.
            if name.is_empty() || name.contains('\0') {
                return out_of_range(
                    "named_loop",
                    format!("{name:?}"),
                    "a name that is not empty and has no NUL in it",
                );
            }
            if self.named[..at].contains(name) || (0..self.event_loops).any(|id| *name == numbered(id)) {
                return out_of_range("named_loop", format!("{name:?}"), "a name that no other loop has");
            }
        }
        Ok(())
    }

    fn shared(&self, clock: Clock) -> (Arc<Shared>, Vec<Inbox>) {
        let names = (0..self.event_loops).map(numbered).chain(self.named.iter().cloned());
        let (loops, inboxes): (Vec<_>, Vec<_>) = names.enumerate().map(|(id, name)| LoopShared::new(id, name)).unzip();
        let options = Options { request_timeout: self.request_timeout, mailbox: self.mailbox };
        let loops = loops.into_iter().map(Arc::new).collect();
        (Arc::new(Shared::new(options, clock, loops, self.event_loops)), inboxes)
    }
}

fn numbered(id: usize) -> String {
    format!("loop-{id}")
}
