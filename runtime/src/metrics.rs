//! What happened on the bus, and how it stands: counted in plain cells on each loop, gathered when somebody asks.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::conversation;
use crate::event_loop::LoopCore;
use crate::event_loop::shared::LoopShared;
use crate::histogram::Histogram;
use crate::panic::contain;
use crate::reply_failure::FailureType;
use crate::runtime::Shared;

/// How long a loop may take to answer before it is reported without its numbers.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How the runtime stands; see [`Runtime::metrics`](crate::Runtime::metrics).
///
/// Counters count from the start of the runtime. Those of an address that nobody serves any more are kept for the first 4,096
/// such names of each loop; what there is beyond that is counted together, under the name `(others)`.
/// Conversations are counted together, as `vertebra.conversation`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// When they were gathered, by the runtime's clock.
    pub at: Duration,
    /// Every address that was used, by name.
    pub addresses: Vec<AddressMetrics>,
    /// Every event loop, the named ones behind the others, and then the threads of worker pools.
    pub loops: Vec<LoopMetrics>,
}

impl Metrics {
    /// What is known of an address; `None` when it was never used.
    pub fn address(&self, name: &str) -> Option<&AddressMetrics> {
        let at = self.addresses.binary_search_by(|known| (*known.address).cmp(name)).ok()?;
        Some(&self.addresses[at])
    }
}

/// What happened at an address, over all loops.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AddressMetrics {
    /// Its name.
    pub address: Arc<str>,
    /// Sends, requests and publishes, each once, whatever came of it.
    pub sent: u64,
    /// Messages that were taken out of a mailbox to be handled, or handled in place: a publish counts once for each
    /// consumer.
    pub delivered: u64,
    /// Of those, the ones whose handler failed, panicked, was given up, or was kept from them by an interceptor.
    pub failed: u64,
    /// Sends and requests that ended for want of room: what a slow consumer turns away.
    pub refused: u64,
    /// Messages a publish had for a consumer without room.
    pub dropped: u64,
    /// Messages that were accepted and given up before they were handled.
    pub discarded: u64,
    /// Requests that had no reply, by the type of their failure.
    pub reply_failures: ReplyFailures,
    /// Consumers there are now.
    pub consumers: usize,
    /// Messages in their mailboxes, or on the way there, now.
    pub pending: usize,
    /// Handlers that have begun and not finished.
    pub in_flight: usize,
    /// Messages that their mailboxes have room for now, from a loop of their own: 0 is a consumer that is too slow.
    pub room: usize,
    /// How long handlers took, from beginning to end and with all they awaited; one in
    /// [`handler_time_one_in`](crate::RuntimeBuilder::handler_time_one_in) is measured.
    pub handler_time: Histogram,
}

/// Requests that had no reply, by the type of their failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplyFailures {
    /// No reply in time.
    pub timeout: u64,
    /// Nobody served the address.
    pub no_handlers: u64,
    /// The handler, or an interceptor, said no.
    pub recipient_failure: u64,
    /// All else: no room, the consumer closed, other types.
    pub error: u64,
}

/// How an event loop stands.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoopMetrics {
    /// Its name.
    pub name: String,
    /// Whether it answered within a second. If not, something blocks it - a worker's work, say - or it has ended; then `lag` is how long was waited
    /// and the numbers of its consumers are missing here and at their addresses.
    pub answered: bool,
    /// How long the question waited for its turn: what anything else would have waited.
    pub lag: Duration,
    /// Consumers on it.
    pub consumers: usize,
    /// Messages in their mailboxes, or on the way there.
    pub pending: usize,
    /// Handlers that have begun and not finished.
    pub in_flight: usize,
    /// Batches of other threads that wait to be opened, at most 1,024.
    pub inbox: usize,
    /// Panics of user code, since it started.
    pub panics: u64,
    /// Messages given up because their verticle did not finish them in its time, since it started.
    pub abandoned: u64,
}

impl ReplyFailures {
    pub(crate) fn count(&mut self, what: FailureType) {
        let counter = match what {
            FailureType::Timeout => &mut self.timeout,
            FailureType::NoHandlers => &mut self.no_handlers,
            FailureType::RecipientFailure => &mut self.recipient_failure,
            FailureType::Error => &mut self.error,
        };
        *counter += 1;
    }

    fn merge(&mut self, other: Self) {
        self.timeout += other.timeout;
        self.no_handlers += other.no_handlers;
        self.recipient_failure += other.recipient_failure;
        self.error += other.error;
    }
}

impl AddressMetrics {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.discarded += other.discarded;
        self.reply_failures.merge(other.reply_failures);
        self.consumers += other.consumers;
        self.pending += other.pending;
        self.in_flight += other.in_flight;
        self.room += other.room;
        self.handler_time.merge(&other.handler_time);
    }
}

/// By address: what one loop knows, or all of them together.
#[derive(Default)]
pub(crate) struct Gathered(BTreeMap<Arc<str>, AddressMetrics>);

impl Gathered {
    pub(crate) fn at(&mut self, address: &str) -> &mut AddressMetrics {
        let counted_as = if conversation::is_one(address) { conversation::NAME } else { address };
        let address: Arc<str> = counted_as.into();
        let new = || AddressMetrics { address: Arc::clone(&address), ..AddressMetrics::default() };
        self.0.entry(Arc::clone(&address)).or_insert_with(new)
    }

    /// What was counted, without how it stands: of a loop that ends.
    pub(crate) fn into_counted(self) -> impl Iterator<Item = AddressMetrics> {
        let counted = |metrics| AddressMetrics { consumers: 0, pending: 0, in_flight: 0, room: 0, ..metrics };
        self.0.into_values().map(counted)
    }

    fn merge(&mut self, other: Self) {
        for (address, metrics) in other.0 {
            self.at(&address).merge(&metrics);
        }
    }
}

/// Asks every loop, at the same time.
pub(crate) fn gather(shared: &Arc<Shared>) -> impl Future<Output = Metrics> + Send + use<> {
    let shared = Arc::clone(shared);
    let mut workers = shared.workers.loops();
    workers.sort_by_key(|worker| worker.id);
    let all_loops: Vec<_> = shared.loops().iter().cloned().chain(workers).collect();
    let asked: Vec<_> = all_loops.iter().map(|event_loop| ask(&shared, event_loop)).collect();
    async move {
        let mut all = Gathered::default();
        shared.outside.add_to(&mut all);
        let mut loops = Vec::with_capacity(asked.len());
        let began = shared.clock.now();
        for (event_loop, answer) in all_loops.iter().zip(asked) {
            let left = ANSWER_WITHIN.saturating_sub(shared.clock.now().saturating_sub(began));
            let answer = shared.clock.timeout(left, answer).await;
            let mut metrics = match answer {
                Ok(Ok((metrics, gathered))) => {
                    all.merge(gathered);
                    metrics
                }
                _ => LoopMetrics { lag: shared.clock.now().saturating_sub(began), ..LoopMetrics::default() },
            };
            event_loop.measure(&mut metrics);
            loops.push(metrics);
        }
        Metrics { at: shared.clock.now(), addresses: all.0.into_values().collect(), loops }
    }
}

fn ask(shared: &Shared, event_loop: &LoopShared) -> oneshot::Receiver<(LoopMetrics, Gathered)> {
    let (answer, asked) = oneshot::channel();
    let posted = shared.clock.now();
    event_loop.do_job(move |core: &Rc<LoopCore>| {
        let lag = core.shared().clock.now().saturating_sub(posted);
        let mut gathered = Gathered::default();
        core.measure(&mut gathered);
        let mut metrics = LoopMetrics { answered: true, lag, ..LoopMetrics::default() };
        for address in gathered.0.values() {
            metrics.consumers += address.consumers;
            metrics.pending += address.pending;
            metrics.in_flight += address.in_flight;
        }
        // Whoever asked may be gone.
        drop(answer.send((metrics, gathered)));
    });
    asked
}

/// What is done with the metrics, again and again; see [`RuntimeBuilder::metrics_every`](crate::RuntimeBuilder::metrics_every).
#[derive(Clone)]
pub(crate) struct Export {
    pub(crate) period: Duration,
    pub(crate) hook: Arc<dyn Fn(&Metrics) + Send + Sync>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("period", &self.period).finish_non_exhaustive()
    }
}

impl Export {
    /// Goes on until the loop that runs it ends.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        loop {
            shared.clock.sleep(self.period).await;
            let metrics = gather(&shared).await;
            contain(|| (self.hook)(&metrics));
        }
    }
}
