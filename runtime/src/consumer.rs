//! What a registration gives: the handle that holds messages back, lets them come, and ends it.

use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};

use crate::address::Name;
use crate::bus::consume::{AnyConsumer, ConsumerKey};
use crate::bus::drained::{Drained, Ended};
use crate::event_loop::LoopCore;
use crate::life::Owner;

/// A registration that was made; see [`Context::serve`](crate::Context::serve). It stays on its event loop.
///
/// Cheap to clone, and dropping it changes nothing: the registration lives until it is taken back or its instance stops.
/// After that every method does nothing.
///
/// A consumer begins handlers as messages come. [`pause`](Consumer::pause) stops that: what comes waits in the mailbox, and
/// at its bound `try_send`, `request`, `send` and `publish` find it full as they would find a slow one.
/// [`fetch`](Consumer::fetch) lets a number of messages through, [`resume`](Consumer::resume) all of them. Taken back, or
/// with its instance stopping, a paused consumer handles what it has accepted like any other.
///
/// ```
/// use vertebra::{Address, BoxError, Consumer, Context, Failure, Handler, Verticle};
/// use std::cell::{Cell, OnceCell};
///
/// const LINES: Address<String> = Address::new("printer.lines");
/// const PAPER: Address<usize> = Address::new("printer.paper");
///
/// #[derive(Default)]
/// struct Printer { lines: OnceCell<Consumer>, printed: Cell<u64> }
///
/// impl Verticle for Printer {
///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
///         let lines = ctx.serve(LINES).paused().mailbox(64).register()?;
///         self.lines.get_or_init(|| lines);
///         ctx.serve(PAPER).register()?;
///         Ok(())
///     }
/// }
///
/// impl Handler<String> for Printer {
///     type Reply = ();
///     async fn handle(&self, _line: String, _: &Context<Self>) -> Result<(), Failure> {
///         self.printed.set(self.printed.get() + 1);
///         Ok(())
///     }
/// }
///
/// impl Handler<usize> for Printer {
///     type Reply = ();
///     async fn handle(&self, sheets: usize, _: &Context<Self>) -> Result<(), Failure> {
///         if let Some(lines) = self.lines.get() {
///             lines.fetch(sheets * 60);
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Consumer {
    core: Rc<LoopCore>,
    /// Its instance, and its place among what that has registered. It does not keep the instance, which may keep it.
    owner: Weak<dyn Owner>,
    place: usize,
    name: Name,
    key: ConsumerKey,
}

impl Consumer {
    pub(crate) fn new(core: &Rc<LoopCore>, owner: &Rc<dyn Owner>, place: usize, name: Name, key: ConsumerKey) -> Self {
        Self { core: Rc::clone(core), owner: Rc::downgrade(owner), place, name, key }
    }

    /// The name of the address.
    pub fn address(&self) -> &str {
        self.name.as_str()
    }

    /// Whether messages come here: neither taken back nor stopped with its instance.
    pub fn is_registered(&self) -> bool {
        self.local().is_some_and(|consumer| consumer.is_open())
    }

    /// Begins no handler from now on; those that have begun go on. What was asked for by [`fetch`](Consumer::fetch) and has
    /// not come is forgotten.
    pub fn pause(&self) {
        if let Some(consumer) = self.local() {
            consumer.pause();
        }
    }

    /// Begins handlers for all messages again.
    pub fn resume(&self) {
        self.fetch(usize::MAX);
    }

    /// Begins handlers for so many messages more, those that wait first; then the consumer is paused again. 0 does nothing,
    /// and so does any number on a consumer that is not paused.
    pub fn fetch(&self, messages: usize) {
        if let Some(consumer) = self.local() {
            consumer.fetch(&self.core, messages);
        }
    }

    /// Takes the registration back: no message comes any more, and those accepted are handled before this is done.
    ///
    /// Once polled, the intake is closed whether or not this is awaited to its end; not awaited to its end, the closed
    /// registration is kept until the instance goes. A handler of this very registration is one of those that are waited
    /// for, so in there it would wait for itself: [`spawn`](crate::Context::spawn) it.
    pub async fn unregister(self) {
        let Some(consumer) = self.close() else { return };
        Drained::new(consumer).await;
        self.forget();
    }

    /// Takes the registration back and discards what it has accepted and not begun, messages on their way among it; gives
    /// their number. Requests among them end at once, in [`RequestError::Closed`](crate::RequestError::Closed). Handlers in
    /// flight go on to their end - so it may be called by a handler of this very registration.
    pub fn unregister_now(&self) -> usize {
        let Some(consumer) = self.close() else { return 0 };
        let discarded = consumer.discard(&self.core);
        if consumer.is_drained() {
            self.forget();
        } else {
            let own = self.clone();
            consumer.at_end(Box::new(move || own.forget()));
        }
        discarded
    }

    /// Resolves when this consumer has ended: it was taken back, or its instance has stopped, and the last of its handlers
    /// has finished or was given up. Cancel safe.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        Ended::new(&self.core, self.key)
    }

    /// `None` as well when it was handed on to another instance: it is that one's now.
    fn local(&self) -> Option<Rc<dyn AnyConsumer>> {
        if !self.owner.upgrade()?.life().has(self.place, self.key) {
            return None;
        }
        self.core.any_consumer(self.key)
    }

    /// Nobody can send here any more.
    fn close(&self) -> Option<Rc<dyn AnyConsumer>> {
        let consumer = self.local()?;
        self.core.take_back(&*consumer);
        consumer.close(&self.core);
        Some(consumer)
    }

    fn forget(&self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.life().forget(self.place, self.key);
        }
        if let Some(consumer) = self.core.any_consumer(self.key) {
            self.core.remove_consumer(consumer);
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.address()).finish()
    }
}
