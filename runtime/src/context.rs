//! What an instance may do: reach the bus, serve addresses, wait, run tasks of its own.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::address::{Address, Text};
use crate::blocking;
use crate::bus::Bus;
use crate::bus::consume::AnyConsumer;
use crate::bus::consumer::{Bounds, LocalConsumer, Standing};
use crate::bus::credit::Credit;
use crate::bus::registry::{Registration, Spoken};
use crate::bus::route::Route;
use crate::bus::tally::Tally;
use crate::clock::Clock;
use crate::consumer::Consumer;
use crate::conversation::Conversation;
use crate::deploy::Deploy;
use crate::deployment::{Deployment, DeploymentId};
use crate::deployments;
use crate::error::{BlockingError, DeployError, Failure, RegisterError};
use crate::life::{Life, Owner, Stopping, Task};
use crate::message::{Headers, Message};
use crate::registrations::{Held, Kept};
use crate::seat::Seat;
use crate::shared_data::SharedData;
use crate::timers::TimerId;
use crate::verticle::{Handler, Verticle};

/// Handlers of one consumer that may be suspended at a time, unless it says otherwise.
const IN_FLIGHT_DEFAULT: usize = 1_024;
/// The most a mailbox holds, and the most handlers in flight.
const BOUND_MAX: usize = 1_048_576;

/// An instance's view of the runtime, given to `start`, `stop` and every handler.
///
/// Cheap to clone; a clone moves into a task of the instance and reaches the verticle's state through
/// [`verticle`](Context::verticle). It stays on its loop.
///
/// A context keeps its instance alive. Kept inside the verticle itself it would do so for ever; a task is the place for it.
pub struct Context<V: Verticle> {
    pub(crate) instance: Rc<Instance<V>>,
    pub(crate) occasion: Occasion,
    headers: Headers,
}

/// What a context was made for.
#[derive(Clone)]
pub(crate) enum Occasion {
    /// Nothing in particular: a start, a stop, a task.
    None,
    /// A message.
    Message { address: Text, published: bool },
    /// A timer that has fired.
    Timer(TimerId),
}

/// A verticle and all that belongs to it.
pub(crate) struct Instance<V> {
    pub(crate) verticle: V,
    pub(crate) life: Life,
    pub(crate) seat: Weak<Seat<V>>,
}

/// Whose handlers a registration starts.
enum Whom<V> {
    /// Those of the instance that has the place at the time.
    Seat(Rc<Seat<V>>),
    /// Those of an instance that has lost its place, and cannot register any more.
    Instance(Rc<Instance<V>>),
}

impl<V: Verticle> Whom<V> {
    fn new(instance: &Rc<Instance<V>>) -> Self {
        instance.seat.upgrade().map_or_else(|| Self::Instance(Rc::clone(instance)), Self::Seat)
    }

    #[inline]
    fn instance(&self) -> Rc<Instance<V>> {
        match self {
            Self::Seat(seat) => seat.current(),
            Self::Instance(instance) => Rc::clone(instance),
        }
    }
}

impl<V: 'static> Owner for Instance<V> {
    fn life(&self) -> &Life {
        &self.life
    }
}

impl<V: Verticle> Clone for Context<V> {
    fn clone(&self) -> Self {
        Self { instance: Rc::clone(&self.instance), occasion: self.occasion.clone(), headers: self.headers.clone() }
    }
}

impl<V: Verticle> fmt::Debug for Context<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let life = &self.instance.life;
        f.debug_struct("Context")
            .field("deployment", &life.name())
            .field("instance", &life.index)
            .finish_non_exhaustive()
    }
}

impl<V: Verticle> Context<V> {
    pub(crate) fn new(instance: Rc<Instance<V>>) -> Self {
        Self::on(instance, Occasion::None)
    }

    pub(crate) fn on(instance: Rc<Instance<V>>, occasion: Occasion) -> Self {
        Self { instance, occasion, headers: Headers::default() }
    }

    /// One of the same instance, made for nothing in particular.
    pub(crate) fn detached(&self) -> Self {
        Self::new(Rc::clone(&self.instance))
    }

    fn life(&self) -> &Life {
        &self.instance.life
    }

    /// The verticle itself: for tasks, which have the context only.
    pub fn verticle(&self) -> &V {
        &self.instance.verticle
    }

    /// The event bus.
    pub fn bus(&self) -> &Bus {
        &self.life().plan.bus
    }

    /// The runtime's time.
    pub fn clock(&self) -> &Clock {
        &self.life().core.shared().clock
    }

    /// The headers of the message that is being handled; none outside a handler.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The address of the message that is being handled; `None` outside a handler.
    ///
    /// ```
    /// # use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};
    /// const FIRST: Address<(), String> = Address::new("first");
    /// const SECOND: Address<(), String> = Address::new("second");
    /// struct Both;
    /// impl Verticle for Both {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.serve(FIRST).register()?;
    ///         ctx.serve(SECOND).register()?;
    ///         Ok(())
    ///     }
    /// }
    /// impl Handler<()> for Both {
    ///     type Reply = String;
    ///     async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<String, Failure> {
    ///         Ok(format!("{:?}, {}", ctx.address(), if ctx.is_send() { "for me alone" } else { "for all" }))
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// # rt.deploy(Deploy::new(|| Both)).await?;
    /// assert_eq!(rt.bus().request(SECOND, ()).await?, "Some(\"second\"), for me alone");
    /// # Ok::<(), BoxError>(())
    /// # })?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn address(&self) -> Option<&str> {
        match &self.occasion {
            Occasion::Message { address, .. } => Some(address.as_str()),
            Occasion::None | Occasion::Timer(_) => None,
        }
    }

    /// Whether the message that is being handled was sent or asked, to this consumer alone; `false` for one that was
    /// published, and outside a handler.
    pub fn is_send(&self) -> bool {
        matches!(self.occasion, Occasion::Message { published: false, .. })
    }

    /// What verticles share by name.
    pub fn shared_data(&self) -> SharedData {
        SharedData::new(self.life().core.shared())
    }

    /// The deployment this instance belongs to.
    pub fn deployment_id(&self) -> DeploymentId {
        self.life().plan.id
    }

    /// Which of the deployment's instances this is, from 0.
    pub fn instance(&self) -> usize {
        self.life().index
    }

    /// How many instances the deployment has.
    pub fn instances(&self) -> usize {
        self.life().plan.count
    }

    /// What [`Deploy::config`](crate::Deploy::config) was given, if it was of this type.
    ///
    /// ```
    /// # use vertebra::{BoxError, Context, Verticle};
    /// #[derive(Clone, Default)]
    /// struct Limits { retries: u32 }
    /// struct Fetcher;
    /// impl Verticle for Fetcher {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         let limits = ctx.config::<Limits>().cloned().unwrap_or_default();
    ///         assert_eq!(limits.retries, 0);
    ///         Ok(())
    ///     }
    /// }
    /// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(rt.deploy(vertebra::Deploy::new(|| Fetcher)))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn config<T: 'static>(&self) -> Option<&T> {
        self.life().plan.config.as_deref()?.downcast_ref()
    }

    /// Deploys a child: it goes when this instance goes, before it. As [`Runtime::deploy`](crate::Runtime::deploy)
    /// otherwise; the child has loops, instances and a state of its own, and may be undeployed by itself.
    ///
    /// Cancel safe: dropped before it is done - with a `start` that is cut off, say -, the child is undone.
    ///
    /// ```
    /// # use vertebra::{BoxError, Context, Deploy, Runtime, Verticle};
    /// struct Child;
    /// impl Verticle for Child {}
    /// struct Parent;
    /// impl Verticle for Parent {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.deploy(Deploy::new(|| Child).instances(2)).await?;
    ///         Ok(())
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// let parent = rt.deploy(Deploy::new(|| Parent)).await?;
    /// assert_eq!(rt.deployments().len(), 2);
    /// parent.undeploy().await?;
    /// assert!(rt.deployments().is_empty());
    /// # Ok::<(), BoxError>(())
    /// # })?;
    /// # Ok::<(), BoxError>(())
    /// ```
    ///
    /// # Errors
    /// [`DeployError`]; [`ParentStopping`](DeployError::ParentStopping) when this deployment is being undeployed, as it is
    /// while `stop` runs.
    pub async fn deploy<C: Verticle>(&self, deploy: Deploy<C>) -> Result<Deployment, DeployError> {
        let life = self.life();
        if life.is_stopping() {
            return Err(DeployError::ParentStopping { name: deploy.name });
        }
        deployments::deploy(life.core.shared(), Some((life.plan.id, life.index)), deploy).await
    }

    /// The event loop this instance is pinned to, from 0.
    pub fn event_loop(&self) -> usize {
        self.life().core.id()
    }

    /// Serves an address with this verticle's [`Handler`]; the builder's `register` makes it so.
    #[must_use = "nothing is served until `register` is called"]
    pub fn serve<M, R>(&self, address: Address<M, R>) -> Serve<'_, V, M, R, impl HandlerFn<M, R>>
    where
        M: Message,
        R: Message,
        V: Handler<M, Reply = R>,
    {
        let name = address.key().text().clone();
        // Not the instance itself: another one may come to have its place, and handle what comes here then.
        let whose = Whom::new(&self.instance);
        let start = move |message, headers| {
            let instance = whose.instance();
            let published = instance.life.core.is_published();
            let occasion = Occasion::Message { address: name.clone(), published };
            let ctx = Context { instance, occasion, headers };
            async move { ctx.instance.verticle.handle(message, &ctx).await }
        };
        Serve::new(self, address, Kept::handler(), start)
    }

    /// Serves an address with a closure: for a second address with a message type that has a handler already, and for
    /// stubs. The closure's future must not borrow; clone what it needs.
    #[must_use = "nothing is served until `register` is called"]
    pub fn serve_fn<M, R, H, F>(&self, address: Address<M, R>, handler: H) -> Serve<'_, V, M, R, impl HandlerFn<M, R>>
    where
        M: Message,
        R: Message,
        H: Fn(M) -> F + 'static,
        F: Future<Output = Result<R, Failure>> + 'static,
    {
        let held: Rc<Held<H>> = Rc::new(RefCell::new(Rc::new(handler)));
        let kept = Kept::closure(&held);
        let start = move |message, _headers| {
            // Out of its cell before it is called: it may do anything.
            let handler = Rc::clone(&held.borrow());
            handler(message)
        };
        Serve::new(self, address, kept, start)
    }

    /// Opens a conversation: an address of its own, for the other side to go on at, and this side of it. Put the address into
    /// a reply - or a message - and wait for what comes there; the compiler keeps both sides to the types.
    ///
    /// The timeout is how long [`next`](Conversation::next) waits for a message. Up to 16 messages wait to be taken. The
    /// address is gone when the conversation is dropped, when a wait for the next message is over in vain, or when the
    /// instance stops.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};
    /// struct Offer { price: u32, accept: Address<bool, &'static str> }
    /// const OFFERS: Address<&'static str, Offer> = Address::new("market.offers");
    ///
    /// struct Market;
    /// # impl Verticle for Market {
    /// #     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> { ctx.serve(OFFERS).register()?; Ok(()) }
    /// # }
    /// impl Handler<&'static str> for Market {
    ///     type Reply = Offer;
    ///     async fn handle(&self, _what: &'static str, ctx: &Context<Self>) -> Result<Offer, Failure> {
    ///         let (accept, mut conversation) = ctx.conversation(Duration::from_secs(5));
    ///         ctx.spawn(async move {
    ///             if let Ok((accepted, answer)) = conversation.next().await {
    ///                 answer.reply(if accepted { "sold" } else { "kept" });
    ///             }
    ///         });
    ///         Ok(Offer { price: 7, accept })
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// # rt.deploy(Deploy::new(|| Market)).await?;
    /// let offer = rt.bus().request(OFFERS, "a lamp").await?;
    /// assert_eq!(rt.bus().request(offer.accept, offer.price < 10).await?, "sold");
    /// # Ok::<(), BoxError>(())
    /// # })?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn conversation<M: Message, R: Message>(&self, timeout: Duration) -> (Address<M, R>, Conversation<M, R>) {
        Conversation::open(self, timeout)
    }

    /// Runs a task that belongs to this instance: it stays on its loop, and is aborted - at an await - when the instance
    /// has stopped. A panic in it ends it, and has the instance rebuilt as its [`Restart`](crate::Restart) says. Spawned
    /// after the instance has stopped - by a `Drop`, say - it does not run.
    ///
    /// The number of tasks is bounded by nothing but the memory there is: bound what spawns them.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Task {
        let owner: Rc<dyn Owner> = Rc::clone(&self.instance) as Rc<dyn Owner>;
        Life::spawn(&owner, task)
    }

    /// Resolves when the instance has been told to stop: its intake is closed, `stop` has not begun. Cancel safe.
    ///
    /// A task that has something to do then is waited for by `stop`: when that is over, tasks are aborted.
    pub fn stopping(&self) -> impl Future<Output = ()> + use<V> {
        Stopping::new(Rc::clone(&self.instance) as Rc<dyn Owner>)
    }

    /// Whether the instance has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.life().is_stopping()
    }

    /// Runs work that blocks on a thread where that is allowed, and gives its result back here.
    ///
    /// One piece of work after the other, in the order in which they were first polled; other instances have lines of their
    /// own. For work that may overlap there is [`execute_blocking_unordered`](Context::execute_blocking_unordered). Up to
    /// 64 threads of each event loop work; what comes then waits for one of them. Cancel safe in that dropping this does
    /// not stop work that has begun, only the waiting; work that has not begun does not begin.
    ///
    /// ```
    /// # use vertebra::{BoxError, Context, Deploy, Runtime, Verticle};
    /// struct Reader;
    /// impl Verticle for Reader {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         let hosts = ctx.execute_blocking(|| std::fs::read_to_string("/etc/hosts")).await??;
    ///         assert!(!hosts.is_empty());
    ///         Ok(())
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(rt.deploy(Deploy::new(|| Reader)))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    ///
    /// # Errors
    /// [`BlockingError`] when the work panicked, the instance has ended or the runtime is shutting down.
    pub async fn execute_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let life = self.unless_ended()?;
        blocking::in_line(life.more().line.get_or_init(Arc::default), &life.core.blocking, work).await
    }

    /// Runs work that blocks as [`execute_blocking`](Context::execute_blocking) does, but side by side with other such work
    /// of this instance, in no order.
    ///
    /// ```
    /// # use vertebra::{BoxError, Context, Deploy, Runtime, Verticle};
    /// struct Reader;
    /// impl Verticle for Reader {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         let (hosts, mounts) = (|| std::fs::read("/etc/hosts"), || std::fs::read("/proc/mounts"));
    ///         let both = tokio::join!(ctx.execute_blocking_unordered(hosts), ctx.execute_blocking_unordered(mounts));
    ///         assert!(both.0?.is_ok() && both.1?.is_ok());
    ///         Ok(())
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(rt.deploy(Deploy::new(|| Reader)))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`execute_blocking`](Context::execute_blocking).
    pub async fn execute_blocking_unordered<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        blocking::side_by_side(&self.unless_ended()?.core.blocking, work).await
    }

    /// No blocking work begins for an instance that is gone.
    fn unless_ended(&self) -> Result<&Life, BlockingError> {
        Some(self.life()).filter(|life| !life.has_ended()).ok_or(BlockingError::Cancelled)
    }
}

/// What turns a message into a running handler. Implemented for closures; there is no need to name it.
pub trait HandlerFn<M, R>: 'static {
    /// The running handler.
    type Running: Future<Output = Result<R, Failure>> + 'static;
    /// Starts it.
    fn start(&self, message: M, headers: Headers) -> Self::Running;
}

impl<M, R, F, S> HandlerFn<M, R> for S
where
    S: Fn(M, Headers) -> F + 'static,
    F: Future<Output = Result<R, Failure>> + 'static,
{
    type Running = F;

    #[inline]
    fn start(&self, message: M, headers: Headers) -> F {
        self(message, headers)
    }
}

/// A registration in the making; see [`Context::serve`].
pub struct Serve<'c, V: Verticle, M, R, S> {
    ctx: &'c Context<V>,
    address: Address<M, R>,
    kept: Kept,
    start: S,
    bounds: Bounds,
    route: Route,
    paused: bool,
}

impl<'c, V: Verticle, M: Message, R: Message, S: HandlerFn<M, R>> Serve<'c, V, M, R, S> {
    fn new(ctx: &'c Context<V>, address: Address<M, R>, kept: Kept, start: S) -> Self {
        let mailbox = ctx.life().core.shared().options.mailbox;
        let bounds = Bounds { mailbox, in_flight: IN_FLIGHT_DEFAULT };
        Self { ctx, address, kept, start, bounds, route: Route::default(), paused: false }
    }

    /// How many handlers of this consumer may be suspended at a time; further messages stay in the mailbox. 1 is strict
    /// order: a message is finished before the next one begins. 1 to 1,048,576, what is outside counts as the nearest of
    /// these; default 1,024.
    #[must_use]
    pub fn in_flight(mut self, handlers: usize) -> Self {
        self.bounds.in_flight = handlers.clamp(1, BOUND_MAX);
        self
    }

    /// How many messages the mailbox holds: so many from this loop, and as many from all others together. What comes
    /// when it is full is refused (`try_send`, `request`), waits (`send`) or is dropped and counted (`publish`).
    /// 1 to 1,048,576, what is outside counts as the nearest of these; default: the runtime's
    /// [`mailbox`](crate::RuntimeBuilder::mailbox).
    #[must_use]
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.bounds.mailbox = messages.clamp(1, BOUND_MAX);
        self
    }

    /// How a message for this address finds one of its consumers. The same for all of them.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Begins no handler before [`Consumer::fetch`] or [`Consumer::resume`] says so: messages are taken from the moment of
    /// the registration and stay in the mailbox, within its bound.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// From now on messages to the address come here, until the instance stops or the registration is taken back.
    ///
    /// # Errors
    /// [`RegisterError`] when the address is served with other types or another route, or the instance is stopping.
    pub fn register(self) -> Result<Consumer, RegisterError> {
        let life = self.ctx.life();
        if life.is_stopping() {
            return Err(RegisterError::Stopping { address: self.address.name().into() });
        }
        let (name, spoken) = (self.address.key(), Spoken::of::<M, R>());
        let owner = Rc::clone(&self.ctx.instance) as Rc<dyn Owner>;
        let inherited = self.ctx.instance.seat.upgrade().and_then(|seat| seat.claim(life, name, spoken, &self.kept));
        if let Some(inherited) = inherited {
            inherited.kept().replace_by(&self.kept);
            inherited.take_over(&life.core, self.paused);
            return Ok(Life::remember(&owner, name.clone(), inherited.key()));
        }
        let credit = Arc::new(Credit::new(self.bounds.mailbox));
        let key = life.core.next_consumer();
        let registration = Registration { event_loop: life.core.id(), consumer: key, credit: Arc::clone(&credit) };
        // What other loops send from now on is looked at later, by this thread.
        let served = life.core.shared().registry.add(name, spoken, self.route, registration)?;
        let tally = Tally::new(life.core.shared().options.handler_time_one_in);
        let start = self.start;
        let start = move |message, headers| start.start(message, headers);
        let standing = Standing { key, served, whose: life.whose(), bounds: self.bounds, credit, kept: self.kept };
        let consumer = Rc::new(LocalConsumer::new(standing, tally, start));
        if self.paused {
            consumer.pause();
        }
        life.core.place_consumer(key, consumer);
        Ok(Life::remember(&owner, name.clone(), key))
    }
}

impl<V: Verticle, M, R, S> fmt::Debug for Serve<'_, V, M, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("address", &self.address).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
