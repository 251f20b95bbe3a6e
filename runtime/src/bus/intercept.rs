//! Interceptors: what looks at every message on its way, and may change its headers or fail it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::panic::{contain, panic_text};
use crate::runtime::Shared;

use super::Bus;
use super::trail::carry_on;

/// A message as an interceptor sees it; see [`Bus::add_outbound_interceptor`].
pub struct Delivery<'m> {
    address: &'m str,
    kind: Kind,
    headers: &'m mut Headers,
    body: &'m dyn Any,
}

/// What is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To one consumer.
    Sent,
    /// To all of them.
    Published,
    /// Back to who asked.
    Reply,
}

impl Delivery<'_> {
    /// The name of the address: for a reply, the one that was asked.
    pub fn address(&self) -> &str {
        self.address
    }

    /// Whether it goes to one: it was sent, or asked, or is a reply. Otherwise it was published.
    pub fn is_send(&self) -> bool {
        self.kind != Kind::Published
    }

    /// Whether it is the reply to a request.
    pub fn is_reply(&self) -> bool {
        self.kind == Kind::Reply
    }

    /// What it carries beside its body. A reply has none, and what is added to one goes nowhere.
    pub fn headers(&self) -> &Headers {
        self.headers
    }

    /// The same, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        self.headers
    }

    /// The value itself, to be asked for by its type. The reply of a handler that failed is its [`Failure`].
    pub fn body(&self) -> &dyn Any {
        self.body
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut delivery = f.debug_struct("Delivery");
        delivery.field("address", &self.address).field("kind", &self.kind).field("headers", &self.headers);
        delivery.finish_non_exhaustive()
    }
}

/// Names an interceptor for as long as the runtime lives; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterceptorId(u64);

type Interceptor = dyn Fn(&mut Delivery<'_>) -> Result<(), Failure> + Send + Sync;

/// In the order they were added.
type Chain = Vec<(InterceptorId, Arc<Interceptor>)>;

/// Both chains.
#[derive(Clone, Default)]
pub(crate) struct Chains {
    outbound: Chain,
    inbound: Chain,
}

impl fmt::Debug for Chains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outbound, inbound) = (self.outbound.len(), self.inbound.len());
        f.debug_struct("Chains").field("outbound", &outbound).field("inbound", &inbound).finish()
    }
}

/// All interceptors there are. Each loop keeps what it saw last; see [`LoopCore::chains`].
#[derive(Debug)]
pub(crate) struct Interceptors {
    /// 0 when there are none, and no headers to be carried on: all that the way of a message looks at. Otherwise it changes
    /// with the chains.
    version: AtomicU64,
    /// Whether headers are carried on.
    carrying: bool,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    last_id: u64,
    changes: u64,
    chains: Chains,
    /// All loops have ended: nothing is on its way any more.
    closed: bool,
}

impl Interceptors {
    pub(crate) fn new(carrying: bool) -> Self {
        Self { version: AtomicU64::new(u64::from(carrying)), carrying, all: Mutex::default() }
    }

    /// Whether anything is done to a message on its way.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.version() != 0
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        // Relaxed: whoever heard of an interceptor's being added heard of it in a way that orders this, too.
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn chains(&self) -> Chains {
        self.lock().chains.clone()
    }

    fn add(&self, to: fn(&mut Chains) -> &mut Chain, interceptor: Arc<Interceptor>) -> InterceptorId {
        let mut late = Some(interceptor);
        let id = {
            let mut all = self.lock();
            all.last_id += 1;
            let id = InterceptorId(all.last_id);
            if !all.closed {
                to(&mut all.chains).extend(late.take().map(|interceptor| (id, interceptor)));
                self.changed(&mut all);
            }
            id
        };
        contain(|| drop(late));
        id
    }

    fn remove(&self, id: InterceptorId) -> bool {
        let removed = {
            let mut all = self.lock();
            let Chains { outbound, inbound } = &mut all.chains;
            let removed = [outbound, inbound].into_iter().find_map(|chain| {
                let at = chain.iter().position(|(known, _)| *known == id)?;
                Some(chain.remove(at))
            });
            self.changed(&mut all);
            removed
        };
        // Foreign, and dropped outside the lock.
        let known = removed.is_some();
        contain(|| drop(removed));
        known
    }

    /// There is nothing left to be seen: those there are go, and none is kept any more. One that holds a [`Bus`] would keep
    /// the runtime, and thereby itself, for ever.
    pub(crate) fn close(&self) {
        let chains = {
            let mut all = self.lock();
            all.closed = true;
            let chains = std::mem::take(&mut all.chains);
            self.changed(&mut all);
            chains
        };
        contain(|| drop(chains));
    }

    fn changed(&self, all: &mut All) {
        all.changes += 1;
        let none = all.chains.outbound.is_empty() && all.chains.inbound.is_empty() && !self.carrying;
        self.version.store(if none { 0 } else { all.changes + 1 }, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// Has every message seen on its way out: once for each send, request, publish and reply, before it finds its consumer,
    /// on the thread of the call and inside it - for a send or a request when it is first polled.
    ///
    /// An interceptor may change the headers. It fails the message by an error: then later interceptors do not see it, it
    /// goes nowhere, a request ends in [`RequestError::Failed`](crate::RequestError::Failed) with that failure, a send in
    /// [`SendError::Failed`](crate::SendError::Failed), and a publish reaches nobody. One that panics does the same, with
    /// the code [`Failure::UNSPECIFIED`]; the panic is logged and counted.
    ///
    /// They are synchronous, run in the order they were added, and hold up the caller for as long as they take: what must
    /// wait is not their work. There is no bound on their number; while there is none at all they cost nothing.
    ///
    /// ```
    /// # use vertebra::{Address, BoxError, Failure, RequestError, Runtime};
    /// # const LOOKUP: Address<u32, u32> = Address::new("cache.lookup");
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// let tenants = rt.bus().add_outbound_interceptor(|message| match message.headers().get("tenant") {
    ///     Some(_) => Ok(()),
    ///     None => Err(Failure::new(401, "no tenant")),
    /// });
    /// let asked = rt.bus().request(LOOKUP, 7).await;
    /// assert_eq!(asked, Err(RequestError::Failed(Failure::new(401, "no tenant"))));
    /// assert!(rt.bus().remove_interceptor(tenants));
    /// # });
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn add_outbound_interceptor(
        &self,
        interceptor: impl Fn(&mut Delivery<'_>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> InterceptorId {
        self.shared.interceptors.add(|chains| &mut chains.outbound, Arc::new(interceptor))
    }

    /// Has every message seen where it arrives: once for each consumer it reaches, on the consumer's event loop right
    /// before its handler; a reply where it was asked for, right before the caller has it.
    ///
    /// Failing a message keeps it from its handler and from later interceptors. A request ends in
    /// [`RequestError::Failed`](crate::RequestError::Failed) with that failure, as if the handler had said it; a send or a
    /// publish has succeeded already and says nothing. All else is as for
    /// [`add_outbound_interceptor`](Bus::add_outbound_interceptor).
    pub fn add_inbound_interceptor(
        &self,
        interceptor: impl Fn(&mut Delivery<'_>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> InterceptorId {
        self.shared.interceptors.add(|chains| &mut chains.inbound, Arc::new(interceptor))
    }

    /// Takes an interceptor out, of either kind; `false` when it is out already. What another thread sends at this moment
    /// may still be seen by it; it is dropped when each loop has had a turn. Those that are never taken out are dropped when
    /// the last loop has ended.
    pub fn remove_interceptor(&self, id: InterceptorId) -> bool {
        let known = self.shared.interceptors.remove(id);
        if known {
            // Each has its own copy of the chains, and may look at it for a long time no more.
            self.shared.all_loops().iter().for_each(|event_loop| event_loop.nudge());
        }
        known
    }
}

/// Where a message is looked at.
#[derive(Clone, Copy)]
pub(crate) enum At<'r> {
    /// On a loop.
    Loop(&'r LoopCore),
    /// On a thread that is none.
    Elsewhere(&'r Shared),
}

impl<'r> At<'r> {
    pub(crate) fn of(core: Option<&'r Rc<LoopCore>>, shared: &'r Shared) -> Self {
        core.map_or(Self::Elsewhere(shared), |core| Self::Loop(core))
    }

    fn chains(self) -> Rc<Chains> {
        match self {
            Self::Loop(core) => core.chains(),
            Self::Elsewhere(shared) => Rc::new(shared.interceptors.chains()),
        }
    }

    /// A message leaves.
    #[cold]
    pub(crate) fn outbound<M: Message>(
        self,
        address: &str,
        kind: Kind,
        headers: &mut Headers,
        body: &M,
    ) -> Result<(), Failure> {
        if let Self::Loop(core) = self {
            carry_on(core, headers);
        }
        run(&self.chains().outbound, &mut Delivery { address, kind, headers, body })
    }

    /// A message arrives.
    #[cold]
    pub(crate) fn inbound<M: Message>(
        self,
        address: &str,
        kind: Kind,
        headers: &mut Headers,
        body: &M,
    ) -> Result<(), Failure> {
        run(&self.chains().inbound, &mut Delivery { address, kind, headers, body })
    }

    /// A reply leaves.
    #[cold]
    pub(crate) fn outbound_reply<R: Message>(self, address: &str, reply: Result<R, Failure>) -> Result<R, Failure> {
        see_reply(&self.chains().outbound, address, reply)
    }

    /// A reply arrives.
    #[cold]
    pub(crate) fn inbound_reply<R: Message>(self, address: &str, reply: Result<R, Failure>) -> Result<R, Failure> {
        see_reply(&self.chains().inbound, address, reply)
    }
}

fn see_reply<R: Message>(chain: &Chain, address: &str, reply: Result<R, Failure>) -> Result<R, Failure> {
    let body: &dyn Any = match &reply {
        Ok(value) => value,
        Err(failure) => failure,
    };
    let seen = run(chain, &mut Delivery { address, kind: Kind::Reply, headers: &mut Headers::default(), body });
    match seen {
        Ok(()) => reply,
        Err(failure) => {
            contain(|| drop(reply));
            Err(failure)
        }
    }
}

fn run(chain: &Chain, delivery: &mut Delivery<'_>) -> Result<(), Failure> {
    for (_, interceptor) in chain {
        match catch_unwind(AssertUnwindSafe(|| interceptor(delivery))) {
            Ok(seen) => seen?,
            Err(panic) => return Err(panicked(delivery.address, panic.as_ref())),
        }
    }
    Ok(())
}

fn panicked(address: &str, panic: &(dyn Any + Send)) -> Failure {
    let panic = panic_text(panic);
    crate::event_loop::with_current(|core| core.count_panic());
    tracing::error!(address, panic, "an interceptor panicked; its message fails");
    Failure::new(Failure::UNSPECIFIED, format!("an interceptor of {address} panicked: {panic}"))
}
