//! How a runtime is built: how many loops, and the defaults of its bounds.

#[cfg(feature = "testing")]
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::BuildError;
use crate::event::{Event, Hook};
#[cfg(feature = "testing")]
use crate::event_loop::LoopCore;
#[cfg(feature = "testing")]
use crate::event_loop::driver::Driver;
use crate::event_loop::shared::{Inbox, LoopShared};
use crate::metrics::{Export, Metrics};
use crate::runtime::{Options, Runtime, Shared};

/// Handlers of a consumer for each that has its time taken, unless the builder is told otherwise.
const HANDLER_TIME_ONE_IN: u32 = 256;

/// How a runtime is built; see [`Runtime::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `build` is called"]
pub struct RuntimeBuilder {
    event_loops: usize,
    named: Vec<String>,
    request_timeout: Duration,
    mailbox: usize,
    blocked_check_interval: Duration,
    event_loop_time_max: Duration,
    worker_time_max: Duration,
    hook: Hook,
    handler_time_one_in: u32,
    export: Option<Export>,
    carried: Vec<Box<str>>,
}

impl RuntimeBuilder {
    /// One event loop per core, and the defaults.
    pub(crate) fn new() -> Self {
        let event_loops = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            event_loops,
            named: Vec::new(),
            request_timeout: Duration::from_secs(30),
            mailbox: 1_024,
            blocked_check_interval: Duration::from_secs(1),
            event_loop_time_max: Duration::from_secs(2),
            worker_time_max: Duration::from_secs(60),
            hook: Hook::default(),
            handler_time_one_in: HANDLER_TIME_ONE_IN,
            export: None,
            carried: Vec::new(),
        }
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

    /// How often a thread of its own looks whether a loop is blocked, at least 1 ms. Default 1 s.
    ///
    /// What it finds is logged as a warning and told to the [`on_event`](RuntimeBuilder::on_event) hook as
    /// [`Event::Blocked`], again at each look for as long as it lasts.
    pub fn blocked_check_interval(mut self, interval: Duration) -> Self {
        self.blocked_check_interval = interval;
        self
    }

    /// How long code may keep an event loop without an await, at least 1 ms; after that the loop counts as blocked. Found
    /// out up to one [`blocked_check_interval`](RuntimeBuilder::blocked_check_interval) later. Default 2 s.
    pub fn event_loop_time_max(mut self, time: Duration) -> Self {
        self.event_loop_time_max = time;
        self
    }

    /// The same for the threads of worker pools, where blocking is allowed and has its bounds all the same; at least 1 ms.
    /// Default 60 s.
    pub fn worker_time_max(mut self, time: Duration) -> Self {
        self.worker_time_max = time;
        self
    }

    /// Has the closure told of what an operator wants to hear of: see [`Event`] for what that is.
    ///
    /// It is called where the thing happens, so it must not block: count, or hand over. It must not own the runtime
    /// either, which would keep itself alive then. A panic in it is logged and has no other effect. The last one set counts.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use vertebra::{Event, Runtime};
    ///
    /// let blocked = Arc::new(AtomicU64::new(0));
    /// let count = Arc::clone(&blocked);
    /// let rt = Runtime::builder().event_loops(1).on_event(move |event| {
    ///     if let Event::Blocked { .. } = event {
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// });
    /// # drop(rt.build()?);
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    pub fn on_event(mut self, tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Hook::new(tell);
        self
    }

    /// How many handlers of a consumer are begun for each that has its time taken, in
    /// [`AddressMetrics::handler_time`](crate::AddressMetrics::handler_time); the first one always has. Taking it costs two
    /// readings of the clock, which is more than the rest of a message, so that the default leaves a part of a nanosecond for
    /// each. 1, which is all of them, to 1,048,576; counts as the next power of two. Default 256.
    pub fn handler_time_one_in(mut self, handlers: u32) -> Self {
        self.handler_time_one_in = handlers;
        self
    }

    /// Gathers the [`metrics`](Runtime::metrics) again and again and hands them to the hook: for whatever they are exported
    /// to. At least 1 ms between them.
    ///
    /// The hook runs on the first event loop and must not block it: it hands them on. A panic in it is logged and counted. It
    /// belongs to the runtime and ends with it. The last one given counts.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use std::time::Duration;
    /// # use vertebra::{BoxError, Metrics, Runtime};
    /// let latest = Arc::new(Mutex::new(Metrics::default()));
    /// let kept = Arc::clone(&latest);
    /// let rt = Runtime::builder()
    ///     .event_loops(1)
    ///     .metrics_every(Duration::from_secs(10), move |metrics| {
    ///         if let Ok(mut latest) = kept.lock() {
    ///             latest.clone_from(metrics);
    ///         }
    ///     })
    ///     .build()?;
    /// # drop(rt);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn metrics_every(mut self, period: Duration, hook: impl Fn(&Metrics) + Send + Sync + 'static) -> Self {
        self.export = Some(Export { period, hook: Arc::new(hook) });
        self
    }

    /// Carries these headers on, from the message that is being handled to whatever its handler sends, asks or publishes
    /// while it runs, unless that has a value of its own: for trace contexts, `["traceparent", "tracestate"]`. Not to what
    /// tasks and timers send. None unless set; then each message goes a longer way, as it does with an interceptor.
    ///
    /// ```
    /// # use vertebra::{BoxError, Runtime};
    /// let rt = Runtime::builder().event_loops(1).carry_headers(["traceparent", "tracestate"]).build()?;
    /// # drop(rt);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn carry_headers<N: Into<Box<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.carried = names.into_iter().map(Into::into).collect();
        self
    }

    /// Starts the loops.
    ///
    /// # Errors
    /// [`BuildError`] when a value is out of its range, two loops share a name, or the system refuses a thread.
    pub fn build(self) -> Result<Runtime, BuildError> {
        self.check()?;
        let (shared, inboxes) = self.shared(Clock::system(), false);
        let runtime = Runtime::start(shared, inboxes)?;
        self.start_export(&runtime);
        Ok(runtime)
    }

    /// A runtime whose one loop is the calling thread, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) fn build_here(mut self, clock: Clock) -> Result<(Runtime, Rc<LoopCore>, Driver), BuildError> {
        self.event_loops = 1;
        self.named.clear();
        self.check()?;
        let (shared, mut inboxes) = self.shared(clock, true);
        let core = LoopCore::new(shared.event_loop(0), &shared);
        let driver = Driver::new(Rc::clone(&core), inboxes.remove(0));
        let runtime = Runtime::of(shared, Vec::new());
        self.start_export(&runtime);
        Ok((runtime, core, driver))
    }

    /// On the first loop: its tasks end with it.
    fn start_export(&self, runtime: &Runtime) {
        if let Some(export) = self.export.clone() {
            let first = runtime.bus().shared.event_loop(0);
            first.do_job(move |core| {
                let shared = Arc::clone(core.shared());
                tokio::task::spawn_local(export.run(shared));
            });
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        let out_of_range = |key, value: String, allowed| Err(BuildError::OutOfRange { key, value, allowed });
        if !(1..=1_024).contains(&self.event_loops) {
            return out_of_range("event_loops", self.event_loops.to_string(), "1 to 1024");
        }
        if !(1..=1_048_576).contains(&self.mailbox) {
            return out_of_range("mailbox", self.mailbox.to_string(), "1 to 1048576 messages");
        }
        let times = [
            ("request_timeout", self.request_timeout),
            ("blocked_check_interval", self.blocked_check_interval),
            ("event_loop_time_max", self.event_loop_time_max),
            ("worker_time_max", self.worker_time_max),
        ];
        for (key, time) in times {
            if time < Duration::from_millis(1) {
                return out_of_range(key, format!("{time:?}"), "at least 1 ms");
            }
        }
        if !(1..=1_048_576).contains(&self.handler_time_one_in) {
            let given = self.handler_time_one_in.to_string();
            return out_of_range("handler_time_one_in", given, "1 to 1048576 handlers");
        }
        if self.export.as_ref().is_some_and(|export| export.period < Duration::from_millis(1)) {
            let given = self.export.as_ref().map(|export| format!("{:?}", export.period)).unwrap_or_default();
            return out_of_range("metrics_every", given, "at least 1 ms");
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

    fn shared(&self, clock: Clock, single_thread: bool) -> (Arc<Shared>, Vec<Inbox>) {
        let names = (0..self.event_loops).map(numbered).chain(self.named.iter().cloned());
        let made = names.enumerate().map(|(id, name)| LoopShared::new(id, name, self.event_loop_time_max));
        let (loops, inboxes): (Vec<_>, Vec<_>) = made.unzip();
        let options = Options {
            request_timeout: self.request_timeout,
            mailbox: self.mailbox,
            blocked_check_interval: self.blocked_check_interval,
            worker_time_max: self.worker_time_max,
            single_thread,
            handler_time_one_in: u64::from(self.handler_time_one_in.next_power_of_two()),
            carried: self.carried.as_slice().into(),
        };
        let loops = loops.into_iter().map(Arc::new).collect();
        (Arc::new(Shared::new(options, self.hook.clone(), clock, loops, self.event_loops)), inboxes)
    }
}

fn numbered(id: usize) -> String {
    format!("loop-{id}")
}
