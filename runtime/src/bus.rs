//! The event bus: how anything reaches anything else, by address.

mod ask;
pub(crate) mod consume;
pub(crate) mod consumer;
pub(crate) mod credit;
mod delivery;
pub(crate) mod drained;
mod elsewhere;
pub(crate) mod envelope;
pub(crate) mod fan_out;
pub(crate) mod intercept;
mod mailbox;
pub(crate) mod outbox;
pub(crate) mod publish;
pub(crate) mod registry;
pub(crate) mod replies;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod send;
pub(crate) mod sender;
mod slots;
pub(crate) mod tally;
pub(crate) mod timer;
mod trail;
pub(crate) mod waiters;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::address::Address;
use crate::error::SendError;
use crate::message::{Headers, Message};
use crate::metrics::{self, Metrics};
use crate::runtime::Shared;

use publish::Published;
use request::Request;
use send::Sending;
use sender::{Publisher, Sender};

/// The way into the event bus: three verbs, any address.
///
/// * [`request`](Bus::request): one consumer handles it, its reply comes back; ends in any case.
/// * [`send`](Bus::send): one consumer gets it; waits for room in its mailbox. [`try_send`](Bus::try_send) does not wait.
/// * [`publish`](Bus::publish): every consumer gets it; never waits.
///
/// Cheap to clone and usable from any thread. On an event loop, a message for a consumer of the same loop stays there:
/// no lock, no wake-up, no encoding - the value is moved. Elsewhere it goes through a bounded mailbox.
///
/// On a thread that is no event loop, whatever waits takes its timer from the tokio runtime it is polled in, whose timers
/// must be enabled then; without such a runtime it takes one of the first event loop's.
///
/// Delivery is at most once. Order is kept per sender and consumer, whatever the verb; nothing is promised between two
/// addresses or two consumers.
#[derive(Clone)]
pub struct Bus {
    pub(crate) shared: Arc<Shared>,
}

impl Bus {
    /// Asks one consumer, and waits for its reply.
    ///
    /// Nothing happens before the request is polled. It ends with the reply, the handler's [`Failure`](crate::Failure),
    /// or the variant of [`RequestError`](crate::RequestError) that says why there is none; at the latest after its
    /// time-out ([`RuntimeBuilder::request_timeout`](crate::RuntimeBuilder::request_timeout), 30 s unless set).
    ///
    /// On the consumer's own loop the handler may run inside this call when that cannot be told from queueing: its
    /// mailbox is empty and it has room for one more in flight.
    ///
    /// Cancel safe: dropped before it was polled, nothing was sent; dropped later, the handler runs to its end and its
    /// reply is discarded.
    ///
    /// ```
    /// # use vertebra::{Address, Context, Deploy, Failure, Handler, Runtime, Verticle, BoxError};
    /// # const DOUBLE: Address<u32, u32> = Address::new("double");
    /// # struct Doubler;
    /// # impl Verticle for Doubler {
    /// #     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> { ctx.serve(DOUBLE).register()?; Ok(()) }
    /// # }
    /// # impl Handler<u32> for Doubler {
    /// #     type Reply = u32;
    /// #     async fn handle(&self, n: u32, _: &Context<Self>) -> Result<u32, Failure> { Ok(n * 2) }
    /// # }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// # let deployment = rt.deploy(Deploy::new(|| Doubler)).await?;
    /// let four = rt.bus().request(DOUBLE, 2).await?;
    /// assert_eq!(four, 4);
    /// # Ok::<(), BoxError>(())
    /// # })?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn request<M: Message, R: Message>(&self, to: Address<M, R>, message: M) -> Request<'_, M, R> {
        Request::new(self, to, self.shared.options.request_timeout, message, Headers::default())
    }

    /// Hands a message to one consumer, waiting for room in its mailbox.
    ///
    /// Done when the mailbox has it; the handler never runs before that. Nothing happens before it is polled. Cancel
    /// safe: dropped while it waits, nothing was sent.
    pub fn send<M: Message, R: Message>(&self, to: Address<M, R>, message: M) -> Sending<'_, M, R> {
        Sending::new(self, to, message)
    }

    /// Hands a message to one consumer if there is room for it now.
    ///
    /// # Errors
    /// [`SendError`], with the message inside, when it was not sent.
    #[expect(clippy::needless_pass_by_value, reason = "all verbs take the address alike")]
    pub fn try_send<M: Message, R: Message>(&self, to: Address<M, R>, message: M) -> Result<(), SendError<M>> {
        send::try_send(self, &to, message, Headers::default())
    }

    /// Hands a clone of the message to every consumer that has room, and says how many there were.
    ///
    /// Never waits: a consumer whose mailbox is full misses this message, and is counted.
    #[expect(clippy::needless_pass_by_value, reason = "all verbs take the address alike")]
    pub fn publish<M: Message + Clone, R: Message>(&self, to: Address<M, R>, message: M) -> Published {
        publish::publish(self, &to, message, Headers::default())
    }

    /// Something to send much to one address with: it keeps its options - headers, time-out - and, on an event loop, the
    /// way there, so that a message costs no look at the address any more.
    ///
    /// ```
    /// # use vertebra::testing::TestRuntime;
    /// # use vertebra::Address;
    /// # const SEEN: Address<u32> = Address::new("seen");
    /// # TestRuntime::paused(|rt| async move {
    /// # rt.stub(SEEN, |_| async { Ok(()) }).await.unwrap();
    /// let sender = rt.bus().sender(SEEN);
    /// sender.try_send(1)?;
    /// # Ok::<(), vertebra::SendError<u32>>(())
    /// # }).unwrap();
    /// ```
    pub fn sender<M: Message, R: Message>(&self, to: Address<M, R>) -> Sender<M, R> {
        Sender::new(self, to)
    }

    /// The same for publishing.
    ///
    /// ```
    /// # use vertebra::testing::TestRuntime;
    /// # use vertebra::Address;
    /// # const NEWS: Address<u32> = Address::new("news");
    /// # TestRuntime::paused(|rt| async move {
    /// # rt.stub(NEWS, |_| async { Ok(()) }).await.unwrap();
    /// assert_eq!(rt.bus().publisher(NEWS).publish(7).reached, 1);
    /// # });
    /// ```
    pub fn publisher<M: Message + Clone, R: Message>(&self, to: Address<M, R>) -> Publisher<M, R> {
        Publisher::new(self, to)
    }
}

impl Bus {
    /// How many messages the address has room for now, over all its consumers: what this thread could send before one of
    /// them says that it is full. 0 when nobody serves it, or when all are full. It is a glance: others send, too.
    ///
    /// ```
    /// # use vertebra::{Address, BoxError, Runtime};
    /// # const JOBS: Address<u32> = Address::new("jobs");
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// if rt.bus().room(JOBS) < 100 {
    ///     // Ask for fewer of them where they come from.
    /// }
    /// # Ok::<(), BoxError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "all verbs take the address alike")]
    pub fn room<M: Message, R: Message>(&self, at: Address<M, R>) -> usize {
        route::room(&self.shared, &at)
    }

    /// How the runtime stands; see [`Runtime::metrics`](crate::Runtime::metrics).
    pub fn metrics(&self) -> impl Future<Output = Metrics> + Send + use<> {
        metrics::gather(&self.shared)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}
