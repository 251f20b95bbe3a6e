//! Senders and publishers: an address with its options, and the way there kept.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::error::SendError;
use crate::event_loop::{LoopCore, current_of};
use crate::message::{Headers, Message};

use super::Bus;
use super::publish::{self, Published};
use super::request::Request;
use super::route::LocalRoute;
use super::send::{Attempt, Sending, attempt, intercept, offer_to};

/// What a sender and a publisher have alike: an address, what goes with each message, and the way there.
struct Line<M, R> {
    bus: Bus,
    to: Address<M, R>,
    headers: Headers,
    /// `None` on a thread that is no event loop of this runtime.
    kept: Option<Kept<M, R>>,
}

impl<M: Message, R: Message> Line<M, R> {
    fn new(bus: &Bus, to: Address<M, R>) -> Self {
        let kept = current_of(&bus.shared).map(|core| Kept { core, route: RefCell::default() });
        Self { bus: bus.clone(), to, headers: Headers::default(), kept }
    }
}

impl<M: Message, R: Message> Clone for Line<M, R> {
    fn clone(&self) -> Self {
        Self { headers: self.headers.clone(), ..Self::new(&self.bus, self.to.clone()) }
    }
}

/// The way to an address as one loop knows it. What it leads to is let go with the registration, not with this.
struct Kept<M, R> {
    core: Rc<LoopCore>,
    route: RefCell<Option<Rc<LocalRoute<M, R>>>>,
}

impl<M: Message, R: Message> Kept<M, R> {
    /// Looks for the way anew; `None` when nobody serves the address.
    #[cold]
    fn find(&self, to: &Address<M, R>) -> Option<Rc<LocalRoute<M, R>>> {
        let found = self.core.route(to).ok();
        let before = self.route.replace(found.clone());
        drop(before);
        found
    }
}

/// Where much is sent to one address: it keeps the options and the way there; see [`Bus::sender`].
///
/// It stays on the thread it was made on. It does not keep those it sends to: it may outlive them, and finds whoever
/// serves the address later.
///
/// ```
/// # use vertebra::testing::TestRuntime;
/// # use vertebra::Address;
/// # const SEEN: Address<u32> = Address::new("seen");
/// # TestRuntime::paused(|rt| async move {
/// # rt.stub(SEEN, |_| async { Ok(()) }).await.unwrap();
/// let sender = rt.bus().sender(SEEN).header("tenant", "t1");
/// for number in 0..3 {
///     sender.send(number).await?;
/// }
/// // A clone with other options, for one message.
/// sender.clone().header("urgent", "yes").send(3).await?;
/// # Ok::<(), vertebra::SendError<u32>>(())
/// # }).unwrap();
/// ```
pub struct Sender<M, R = ()> {
    line: Line<M, R>,
    timeout: Duration,
}

impl<M: Message, R: Message> Sender<M, R> {
    pub(super) fn new(bus: &Bus, to: Address<M, R>) -> Self {
        Self { line: Line::new(bus, to), timeout: bus.shared.options.request_timeout }
    }

    /// How long a send waits for room, and a request for its reply; at least a millisecond. The default is that of
    /// requests.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Adds a header to each message from now on.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.line.headers.append(name, value);
        self
    }

    /// Replaces the headers that each message gets from now on.
    #[must_use]
    pub fn headers(mut self, all: Headers) -> Self {
        self.line.headers = all;
        self
    }

    /// The address it sends to.
    pub fn address(&self) -> &Address<M, R> {
        &self.line.to
    }

    /// Hands a message to one consumer, waiting for room in its mailbox; see [`Bus::send`].
    ///
    /// Cancel safe: dropped while it waits, nothing was sent.
    ///
    /// # Errors
    /// [`SendError`], with the message inside, when it was not sent.
    pub async fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut unsent = Some((message, self.line.headers.clone()));
        let seen = intercept(&self.line.bus, &self.line.to, &mut unsent);
        match seen.unwrap_or_else(|| self.attempt(&mut unsent)) {
            Attempt::Full(_) => {
                // In a box: it is rare, and the usual send is smaller for it.
                let sending = Sending::not_yet(&self.line.bus, self.line.to.clone(), self.timeout, unsent);
                Box::pin(sending).await
            }
            other => other.at_once(&self.line.bus, &self.line.to, &mut unsent),
        }
    }

    /// Hands a message to one consumer if there is room for it now.
    ///
    /// # Errors
    /// [`SendError`], with the message inside, when it was not sent.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        let mut unsent = Some((message, self.line.headers.clone()));
        let seen = intercept(&self.line.bus, &self.line.to, &mut unsent);
        seen.unwrap_or_else(|| self.attempt(&mut unsent)).at_once(&self.line.bus, &self.line.to, &mut unsent)
    }

    /// Asks one consumer, with these options; see [`Bus::request`].
    pub fn request(&self, message: M) -> Request<'_, M, R> {
        let line = &self.line;
        Request::new(&line.bus, line.to.clone(), self.timeout, message, line.headers.clone())
    }

    #[inline]
    fn attempt(&self, unsent: &mut Option<(M, Headers)>) -> Attempt {
        if let Some(kept) = &self.line.kept {
            if let Some(route) = &*kept.route.borrow()
                && let Some(target) = route.lend(&kept.core)
                && let Some(attempt) = offer_to(&kept.core, &self.line.to, &target, unsent)
            {
                return attempt;
            }
            drop(kept.find(&self.line.to));
        }
        attempt(&self.line.bus, &self.line.to, unsent)
    }
}

impl<M: Message, R: Message> Clone for Sender<M, R> {
    fn clone(&self) -> Self {
        Self { line: self.line.clone(), timeout: self.timeout }
    }
}

impl<M, R> fmt::Debug for Sender<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("to", &self.line.to).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Where much is published to one address; see [`Bus::publisher`]. It stays on the thread it was made on.
///
/// ```
/// # use vertebra::testing::TestRuntime;
/// # use vertebra::Address;
/// # const NEWS: Address<u32> = Address::new("news");
/// # TestRuntime::paused(|rt| async move {
/// # rt.stub(NEWS, |_| async { Ok(()) }).await.unwrap();
/// let publisher = rt.bus().publisher(NEWS).header("edition", "evening");
/// assert_eq!(publisher.publish(7).reached, 1);
/// # });
/// ```
pub struct Publisher<M, R = ()> {
    line: Line<M, R>,
}

impl<M: Message + Clone, R: Message> Publisher<M, R> {
    pub(super) fn new(bus: &Bus, to: Address<M, R>) -> Self {
        Self { line: Line::new(bus, to) }
    }

    /// Adds a header to each message from now on.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.line.headers.append(name, value);
        self
    }

    /// Replaces the headers that each message gets from now on.
    #[must_use]
    pub fn headers(mut self, all: Headers) -> Self {
        self.line.headers = all;
        self
    }

    /// The address it publishes to.
    pub fn address(&self) -> &Address<M, R> {
        &self.line.to
    }

    /// Hands a clone of the message to every consumer that has room; see [`Bus::publish`].
    pub fn publish(&self, message: M) -> Published {
        if let Some(kept) = &self.line.kept
            && !self.line.bus.shared.interceptors.any()
        {
            let known = kept.route.borrow().clone();
            if let Some(route) = known.or_else(|| kept.find(&self.line.to)) {
                let targets = route.all(&kept.core);
                if !targets.is_empty() {
                    route.count_sent();
                    let published = publish::from_loop(&kept.core, &targets, message, self.line.headers.clone());
                    return publish::count_dropped(&self.line.bus, &self.line.to, published);
                }
                drop(kept.find(&self.line.to));
            }
        }
        publish::publish(&self.line.bus, &self.line.to, message, self.line.headers.clone())
    }
}

impl<M: Message + Clone, R: Message> Clone for Publisher<M, R> {
    fn clone(&self) -> Self {
        Self { line: self.line.clone() }
    }
}

impl<M, R> fmt::Debug for Publisher<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("to", &self.line.to).finish_non_exhaustive()
    }
}
