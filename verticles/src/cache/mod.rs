//! The first-level cache: what the hot path asks.
//!
//! [`Cache`] is deployed with one instance per loop, all of them over one [`SharedPrograms`], so that a lookup never
//! leaves its loop and a program is held once. A hit is answered without suspending and without an allocation. A miss
//! asks the store; misses of one program share one question per loop.
//!
//! * What is pushed wins over what a read brings that began before it; and a higher version always wins over a lower one,
//!   by whatever way and however late the lower one comes.
//! * The store cannot be asked: programs that are known are answered, past their time too, for a day at most; what is not
//!   known fails. "No such program" is only ever the store's word, and remembered for a short time.
//! * A revalidation has programs asked for again before they are trusted. One that the store does not have any more is
//!   answered until its time is over all the same, unless the store remembers that it was deleted.
//! * After a failed question, programs past their time are answered without asking for a second, so that a store that
//!   hangs does not make every lookup hang.
//!
//! Changes, purges and revalidations are taken by the first instance alone: they concern the shared memory, and one
//! consumer keeps their order.

mod flights;
mod known;
mod merge;
mod metrics;
mod shared;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use adtrack_proto::bus::{
    CACHE_PURGE, CACHE_REVALIDATE, CHANGED, Change, Found, LOOKUP, Lookup, OVERLOADED, PurgeCache, Revalidate,
    STORE_LOOKUP, UNAVAILABLE,
};
use adtrack_proto::{Program, ProgramId};
use vertebra::{BoxError, Context, Failure, Handler, RequestError, Route, Verticle};

use flights::{Flights, Seat};
use known::Standing;
use merge::Verdict;
use shared::{Settled, Ticket};

pub use metrics::Metrics;
pub use shared::{STALE_MAX, SharedPrograms};

/// Questions to the store under way at a time, per loop.
const READS_MAX: usize = 1_024;
/// Lookups that wait for the question of another one at a time, per loop.
const FOLLOWERS_MAX: usize = 8_192;
/// Above the two bounds before: waiting lookups must never keep one from starting that can be answered from memory.
const LOOKUPS_IN_FLIGHT_MAX: usize = 16_384;
/// Changes that may wait for their turn; a publisher is held back by it.
const CHANGES_MAILBOX: usize = 8_192;
/// How often a question is asked again because the program changed while it was under way.
const ROUNDS_MAX: usize = 3;
/// How long a store that could not be asked is not asked about programs that are known.
const REST: Duration = Duration::from_secs(1);
/// How often counters are added up and the memory is tidied.
const TICK: Duration = Duration::from_secs(1);

type Answer = Result<Option<Arc<Program>>, Failure>;

/// One loop's view of the cache; see the [module](self).
#[derive(Debug)]
pub struct Cache {
    programs: SharedPrograms,
    store_timeout: Duration,
    metrics: Metrics,
    flights: Flights<Answer>,
    /// Until then the store is not asked about what is known.
    resting_until: Cell<Duration>,
    hits: Cell<u64>,
    absent_hits: Cell<u64>,
}

impl Cache {
    /// An instance over the shared memory. The store has `store_timeout` for an answer: less than a caller of the cache
    /// waits, or no program past its time could be answered in time.
    pub fn new(programs: SharedPrograms, store_timeout: Duration, metrics: Metrics) -> Self {
        Self {
            programs,
            store_timeout,
            metrics,
            flights: Flights::new(READS_MAX, FOLLOWERS_MAX),
            resting_until: Cell::default(),
            hits: Cell::default(),
            absent_hits: Cell::default(),
        }
    }

    /// Asks the store, or waits for whoever does.
    async fn miss(&self, id: ProgramId, stale: Option<Arc<Program>>, ctx: &Context<Self>) -> Answer {
        self.metrics.misses.inc();
        match self.flights.join(&id) {
            Seat::Lead(lead) => {
                let answer = self.ask(&id, ctx).await;
                lead.land(answer.clone());
                answer
            }
            Seat::Follow(follow) => {
                self.metrics.coalesced.inc();
                let landed = follow.landed().await;
                landed.unwrap_or_else(|| {
                    self.instead(stale, Failure::new(UNAVAILABLE, "the store was not asked to the end"))
                })
            }
            Seat::Full => {
                self.metrics.refused.inc();
                self.instead(stale, Failure::new(OVERLOADED, "too many lookups wait for the store"))
            }
        }
    }

    async fn ask(&self, id: &ProgramId, ctx: &Context<Self>) -> Answer {
        let mut found = Found::Nothing;
        for _ in 0..ROUNDS_MAX {
            let ticket = self.programs.begin(id, ctx.clock().now());
            let question = ctx.bus().request(STORE_LOOKUP, Lookup { program_id: id.clone() });
            found = match question.timeout(self.store_timeout).await {
                Ok(found) => found,
                Err(error) => return self.failed(ticket, &error, ctx.clock().now()),
            };
            match self.programs.settle(id, &ticket, found.clone(), ctx.clock().now()) {
                Settled::Kept => return Ok(found.program()),
                Settled::Newer(newer) => {
                    self.metrics.overtaken.inc();
                    return Ok(newer);
                }
                Settled::Older(known) => {
                    self.metrics.outdated.inc();
                    return Ok(known);
                }
                Settled::Unconfirmed(program) => {
                    self.metrics.unconfirmed.inc();
                    return Ok(Some(program));
                }
                Settled::Overtaken => self.metrics.overtaken.inc(),
            };
        }
        // It changes faster than it can be read. This is as new as any answer, but nothing to remember.
        Ok(found.program())
    }

    fn failed(&self, ticket: Ticket, error: &RequestError, now: Duration) -> Answer {
        self.resting_until.set(now + REST);
        let code = match error {
            RequestError::Overloaded { .. } => OVERLOADED,
            RequestError::Failed(failure) if failure.code() == OVERLOADED => OVERLOADED,
            _ => UNAVAILABLE,
        };
        self.instead(ticket.stale, Failure::new(code, format!("the store cannot be asked: {error}")))
    }

    /// The answer when the store gave none.
    fn instead(&self, stale: Option<Arc<Program>>, failure: Failure) -> Answer {
        match stale {
            Some(program) => {
                self.metrics.stale_served.inc();
                Ok(Some(program))
            }
            None => {
                self.metrics.unavailable.inc();
                Err(failure)
            }
        }
    }

    fn add_up(&self) {
        self.metrics.hits.inc_by(self.hits.take());
        self.metrics.absent_hits.inc_by(self.absent_hits.take());
    }
}

impl Verticle for Cache {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(LOOKUP).route(Route::PreferLocal).in_flight(LOOKUPS_IN_FLIGHT_MAX).register()?;
        if ctx.instance() == 0 {
            ctx.serve(CHANGED).mailbox(CHANGES_MAILBOX).register()?;
            ctx.serve(CACHE_PURGE).in_flight(1).register()?;
            ctx.serve(CACHE_REVALIDATE).register()?;
        }
        ctx.spawn(tick(ctx.clone()));
        Ok(())
    }

    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.add_up();
        Ok(())
    }
}

async fn tick(ctx: Context<Cache>) {
    let cache = ctx.verticle();
    loop {
        ctx.clock().sleep(TICK).await;
        cache.add_up();
        if ctx.instance() == 0 {
            cache.metrics.entries.set(i64::try_from(cache.programs.tidy()).unwrap_or(i64::MAX));
        }
    }
}

impl Handler<Lookup> for Cache {
    type Reply = Option<Arc<Program>>;

    async fn handle(&self, lookup: Lookup, ctx: &Context<Self>) -> Answer {
        let now = ctx.clock().now();
        let stale = match self.programs.get(&lookup.program_id, now) {
            Standing::Fresh(answer) => {
                let hits = if answer.is_some() { &self.hits } else { &self.absent_hits };
                hits.set(hits.get() + 1);
                return Ok(answer);
            }
            Standing::Stale(program) if now < self.resting_until.get() => {
                self.metrics.stale_served.inc();
                return Ok(Some(program));
            }
            Standing::Stale(program) => Some(program),
            Standing::Gone => None,
        };
        // Boxed, so that the future of a hit is small.
        Box::pin(self.miss(lookup.program_id, stale, ctx)).await
    }
}

impl Handler<Change> for Cache {
    type Reply = ();

    async fn handle(&self, change: Change, ctx: &Context<Self>) -> Result<(), Failure> {
        self.metrics.pushes.inc();
        if self.programs.push(change, ctx.clock().now()) == Verdict::Older {
            self.metrics.outdated.inc();
        }
        Ok(())
    }
}

impl Handler<PurgeCache> for Cache {
    type Reply = u64;

    async fn handle(&self, _: PurgeCache, ctx: &Context<Self>) -> Result<u64, Failure> {
        let (programs, now) = (self.programs.clone(), ctx.clock().now());
        let counted = ctx.execute_blocking(move || programs.count_programs(now)).await;
        self.programs.purge();
        counted.map_err(|error| Failure::new(UNAVAILABLE, format!("purged, but not counted: {error}")))
    }
}

impl Handler<Revalidate> for Cache {
    type Reply = ();

    async fn handle(&self, _: Revalidate, _: &Context<Self>) -> Result<(), Failure> {
        self.metrics.revalidations.inc();
        self.programs.revalidate();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
