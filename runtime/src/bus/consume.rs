//! A consumer as others see it: who sends to it, and the loop it lives on.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::address::Name;
use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::Headers;
use crate::metrics::Gathered;
use crate::registrations::Kept;

use super::credit::Credit;
use super::envelope::Envelope;
use super::registry::Spoken;
use super::replies::ReplyKey;
use super::tally::Ledger;

/// Which consumer of a loop, and which of those that had its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// What became of a request of this loop.
pub(crate) enum Asked {
    /// The handler finished at once, and its result is where it was to be put.
    Done,
    /// The caller waits under this key in this table.
    Waits(u32, ReplyKey),
    /// There is no room.
    Full,
}

/// What becomes of a published message.
pub(crate) enum Expected {
    /// The consumer waits for it: it must be handed in by the next turn, and until then nothing that comes overtakes it.
    Next,
    /// Something is before it: it must be queued now.
    Behind,
    /// There is no room.
    Full,
}

/// A consumer as its callers see it, the handler's future type forgotten.
pub(crate) trait Consume<M, R>: AnyConsumer {
    /// Asks for a reply within that time. Runs the handler now, if that cannot be told from queueing the message and
    /// running it next; what it gives then is put into `result`, and moved no more than that.
    fn ask(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        timeout: Duration,
        asking: &Waker,
        result: &mut Option<Result<R, Failure>>,
    ) -> Asked;
    /// Puts a message of this loop into the mailbox that nobody waits for a reply to; `false`: there is no room.
    /// It is moved out of where it is when it is taken, and not before: moving it about costs more than all the rest.
    fn offer(&self, core: &LoopCore, unsent: &mut Option<(M, Headers)>) -> bool;
    /// The same for a message that was published, behind what is queued.
    fn offer_published(&self, core: &LoopCore, message: M, headers: Headers) -> bool;
    /// A message is about to be published.
    fn expect_published(&self) -> Expected;
    /// Here is a published message that was expected next.
    fn hand_in_published(&self, core: &Rc<LoopCore>, message: M, headers: Headers);
    /// A published message that was expected next will not come.
    fn published_is_lost(&self, core: &LoopCore);
    /// How many messages of this loop there is room for.
    fn room(&self) -> usize;
    /// Puts a message into the mailbox; back it comes when there is no room.
    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>>;
}

/// A consumer as its loop sees it, all types forgotten.
pub(crate) trait AnyConsumer: 'static {
    /// Starts handlers for queued messages, `budget` at most.
    fn run(&self, core: &Rc<LoopCore>, budget: usize);
    /// Goes on with a suspended handler whose waker was called.
    fn resume(&self, core: &Rc<LoopCore>, slot: u32);
    /// Which one it is.
    fn key(&self) -> ConsumerKey;
    /// Where it is registered.
    fn name(&self) -> &Name;
    /// What is spoken there.
    fn spoken(&self) -> Spoken;
    /// What it takes to be taken over.
    fn kept(&self) -> &Kept;
    /// Gives itself as `Rc<dyn Consume<M, R>>`, if that is what is asked for: by an `Option` of it.
    fn give_typed(self: Rc<Self>, into: &mut dyn Any);
    /// No message is taken any more; those accepted are still handled, also by one that is paused.
    fn close(&self, core: &LoopCore);
    /// Whether messages are still taken.
    fn is_open(&self) -> bool;
    /// Begins no handler any more until some are asked for.
    fn pause(&self);
    /// Begins so many more handlers than were asked for before; `usize::MAX` is as many as come.
    fn fetch(&self, core: &LoopCore, handlers: usize);
    /// Drops what is queued and ends its requests; what is on its way will find nobody. Gives the number of both.
    /// Handlers in flight go on. Closed before.
    fn discard(&self, core: &Rc<LoopCore>) -> usize;
    /// Has something done when the last of its work is done; closed before, and not drained yet.
    fn at_end(&self, act: Box<dyn FnOnce()>);
    /// The instance has panicked: begins no handler any more until another one takes over, whether or not it is closed.
    /// Handlers in flight are the old one's.
    fn hand_on(&self);
    /// Another instance serves the address from now on, what waits in the mailbox too.
    fn take_over(&self, core: &LoopCore, paused: bool);
    /// Nothing is queued, on its way or being handled; or it was given up.
    fn is_drained(&self) -> bool;
    /// Adds what was counted here, and how it stands.
    fn measure(&self, gathered: &mut Gathered);
    /// Leaves what was counted here, before it goes.
    fn retire(&self, ledger: &Ledger);
    /// Where one waits for that, among others.
    fn credit(&self) -> &Arc<Credit>;
    /// Drops what is queued and in flight and ends its requests; gives the number of messages given up, those on their
    /// way among them. Closed before.
    fn abandon(&self, core: &Rc<LoopCore>) -> usize;
}
