//! The programs in memory, shared by the cache instances of all loops.
//!
//! A read of the store takes time, and a push may come meanwhile. The push is the newer one whatever the read brings, so
//! a read takes a [`Ticket`] before it asks, and its answer is kept only if nothing has happened to that id since: the
//! knowledge under the id is the one the ticket saw, and no change was counted for it. The second condition is there for
//! a pushed program that was evicted again before the read came back. Both are looked at under moka's lock of that key.
//! Where both have versions these decide: a read may bring a newer one than an old push that came meanwhile, and a push
//! or a read that brings an older one than is known changes nothing.
//!
//! Absences have a memory of their own: however many unknown ids are asked for, no program makes room for them. In each
//! memory the longest unused goes first and what is new always stays, because a program that was pushed and not kept would
//! be unknown if it is in no store. An absence of which a version is known - a deletion - is kept among the programs, so that a
//! late push of an older version does not bring the program back.
//!
//! A store that lost its data must not make every program unknown when it comes back, and a program that was only ever
//! published is in no store at all. So a revalidation that finds nothing leaves a program its time: only a deletion that
//! was pushed or is remembered by the store, or the end of that time, makes it unknown.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adtrack_config::CacheConfig;
use adtrack_proto::bus::{Change, Found};
use adtrack_proto::program::Deletion;
use adtrack_proto::{Program, ProgramId};
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;

use super::known::{Era, Known, Standing, Terms};
use super::merge::{By, Said, Verdict};

/// How long past its time a program is answered while the store cannot be asked.
pub const STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Not shorter than moka counts; what is answered is decided by the runtime's clock.
const ABSENT_KEPT_MIN: Duration = Duration::from_secs(1);

/// Changes are counted in so many slots: two ids that share one cost a needless read of the store now and then.
const CHANGE_SLOTS: usize = 1_024;

/// The programs in memory. A clone is the same memory.
#[derive(Debug, Clone)]
pub struct SharedPrograms {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: moka::sync::Cache<ProgramId, Known>,
    /// Changed only under the lock of the same id in `known`.
    absent: moka::sync::Cache<ProgramId, Known>,
    terms: Terms,
    purges: AtomicU64,
    revalidations: AtomicU64,
    stamps: AtomicU64,
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A read of the store that is about to begin.
#[derive(Debug)]
pub(super) struct Ticket {
    /// What can be answered if the read fails.
    pub(super) stale: Option<Arc<Program>>,
    since: Duration,
    era: Era,
    changes: u64,
    seen: Option<u64>,
}

/// What became of a read's answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Settled {
    /// It is the answer, and what is known from now on.
    Kept,
    /// Something newer is known: that is the answer.
    Newer(Option<Arc<Program>>),
    /// The store has an older version than is known - another server has taken over, with less -: what is known is the
    /// answer, for as long as if the store had said it.
    Older(Option<Arc<Program>>),
    /// The store does not have it, but nothing says that it was deleted: it is the answer until its time is over.
    Unconfirmed(Arc<Program>),
    /// Something newer was known and is not any more: ask again.
    Overtaken,
}

impl SharedPrograms {
    /// An empty memory with the bounds of the configuration.
    pub fn new(config: &CacheConfig) -> Self {
        let ttl = config.ttl;
        let terms = Terms { ttl, absent_ttl: config.absent_ttl.unwrap_or_default(), stale_max: ttl + STALE_MAX };
        let known = moka::sync::Cache::builder()
            .name("programs")
            .max_capacity(config.programs_max as u64)
            .eviction_policy(EvictionPolicy::lru())
            // Freshness is ours, on the runtime's clock; this only frees what nobody will be answered with any more.
            .time_to_live(terms.stale_max)
            .build();
        let absent = moka::sync::Cache::builder()
            .name("absences")
            .max_capacity(config.programs_max as u64)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(terms.absent_ttl.max(ABSENT_KEPT_MIN))
            .build();
        let changes = std::iter::repeat_with(AtomicU64::default).take(CHANGE_SLOTS).collect();
        let inner = Inner {
            known,
            absent,
            terms,
            purges: AtomicU64::default(),
            revalidations: AtomicU64::default(),
            stamps: AtomicU64::default(),
            changes,
            hasher: RandomState::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is known of a program, and what that is worth now.
    pub(super) fn get(&self, id: &ProgramId, now: Duration) -> Standing {
        let known = self.find(id);
        known.map_or(Standing::Gone, |known| known.standing(now, self.era(), &self.inner.terms))
    }

    /// To be taken before the store is asked.
    pub(super) fn begin(&self, id: &ProgramId, now: Duration) -> Ticket {
        let inner = &self.inner;
        // In this order: what happens between the two lines makes the ticket void, never falsely good.
        let (era, changes) = (self.era(), self.changes_of(id).load(Ordering::SeqCst));
        let seen = self.find(id);
        let stale = seen.as_ref().and_then(|known| match known.standing(now, era, &inner.terms) {
            Standing::Stale(program) | Standing::Fresh(Some(program)) => Some(program),
            Standing::Fresh(None) | Standing::Gone => None,
        });
        Ticket { stale, since: now, era, changes, seen: seen.map(|known| known.stamp) }
    }

    /// To be given what the store said.
    pub(super) fn settle(&self, id: &ProgramId, ticket: &Ticket, answer: Found, now: Duration) -> Settled {
        let inner = &self.inner;
        let mut settled = Settled::Overtaken;
        let compute = inner.known.entry_by_ref(id).and_compute_with(|entry| {
            let found = entry.map(moka::Entry::into_value).or_else(|| inner.absent.get(id));
            let changed = self.changes_of(id).load(Ordering::SeqCst) != ticket.changes;
            let overtaken = changed || found.as_ref().map(|known| known.stamp) != ticket.seen;
            let (outcome, known) = self.judge(ticket, answer, overtaken, self.not_purged(found), now);
            settled = outcome;
            known.map_or(Op::Nop, |known| self.know(id, known))
        });
        drop(compute);
        settled
    }

    /// What a read's answer is to what is found when it comes, and what is known then; `None`: what is found.
    fn judge(
        &self,
        ticket: &Ticket,
        answer: Found,
        overtaken: bool,
        found: Option<Known>,
        now: Duration,
    ) -> (Settled, Option<Known>) {
        let terms = &self.inner.terms;
        let is_unsaid = answer == Found::Nothing;
        let said = match &answer {
            Found::Program(program) => Said::put(program, By::Read),
            Found::Deleted { version } => Said::deleted(Some(*version), By::Read),
            Found::Nothing => Said::deleted(None, By::Read),
        };
        // Only versions can tell that the read is the newer one all the same.
        let highest = found.as_ref().and_then(|known| known.highest);
        if overtaken && (highest.is_none() || said.version <= highest) {
            return match found.map(|known| known.standing(now, self.era(), terms)) {
                Some(Standing::Fresh(newer)) => (Settled::Newer(newer), None),
                _ => (Settled::Overtaken, None),
            };
        }
        // Of the era in which the read began: a purge or revalidation since then holds for its answer too.
        let (since, era, stamp) = (ticket.since, ticket.era, self.stamp());
        let highest = said.highest(found.as_ref());
        let verdict = said.against(found.as_ref());
        if let Some(known) = found {
            if verdict == Verdict::Older {
                return (Settled::Older(known.answer.clone()), Some(Known { since, era, stamp, ..known }));
            }
            if is_unsaid && let Some(program) = known.in_its_time(now, era, terms) {
                return (Settled::Unconfirmed(program), Some(Known { era, stamp, ..known }));
            }
        }
        (Settled::Kept, Some(Known { answer: answer.program(), highest, since, era, stamp }))
    }

    /// What was pushed is what is known from now on, unless it is old.
    pub(super) fn push(&self, change: Change, now: Duration) -> Verdict {
        let (id, answer, deletion) = match change {
            Change::Put(program) => (program.program_id.clone(), Some(program), None),
            Change::Deleted(Deletion { program_id, version }) => (program_id, None, version),
        };
        let mut verdict = Verdict::Newer;
        let compute = self.inner.known.entry_by_ref(&id).and_compute_with(|entry| {
            let found = self.not_purged(entry.map(moka::Entry::into_value).or_else(|| self.inner.absent.get(&id)));
            let said = match &answer {
                Some(program) => Said::put(program, By::Message),
                None => Said::deleted(deletion, By::Message),
            };
            verdict = said.against(found.as_ref());
            if verdict != Verdict::Newer {
                return Op::Nop;
            }
            let highest = said.highest(found.as_ref());
            self.changes_of(&id).fetch_add(1, Ordering::SeqCst);
            self.know(&id, Known { answer, highest, since: now, era: self.era(), stamp: self.stamp() })
        });
        drop(compute);
        verdict
    }

    fn find(&self, id: &ProgramId) -> Option<Known> {
        self.inner.known.get(id).or_else(|| self.inner.absent.get(id))
    }

    /// What a purge has ended is nothing to go by, also while it is still there.
    fn not_purged(&self, found: Option<Known>) -> Option<Known> {
        let purges = self.inner.purges.load(Ordering::SeqCst);
        found.filter(|known| known.era.purges == purges)
    }

    /// Puts knowledge into the memory it belongs to, and says what that means for the other. Under the lock of the id.
    fn know(&self, id: &ProgramId, knowledge: Known) -> Op<Known> {
        let inner = &self.inner;
        if knowledge.answer.is_some() || knowledge.highest.is_some() {
            inner.absent.invalidate(id);
            return Op::Put(knowledge);
        }
        if inner.terms.absent_ttl.is_zero() {
            inner.absent.invalidate(id);
        } else {
            inner.absent.insert(id.clone(), knowledge);
        }
        Op::Remove
    }

    /// Nothing known is trusted any more without asking.
    pub(super) fn revalidate(&self) {
        self.inner.revalidations.fetch_add(1, Ordering::SeqCst);
    }

    /// Nothing is known any more.
    pub(super) fn purge(&self) {
        self.inner.purges.fetch_add(1, Ordering::SeqCst);
        // The era alone has done it; this frees the memory.
        self.inner.known.invalidate_all();
        self.inner.absent.invalidate_all();
    }

    /// How many programs can be answered from memory. Takes some milliseconds for each 100,000: for a worker.
    pub(super) fn count_programs(&self, now: Duration) -> u64 {
        let answers = |known: Known| match known.standing(now, self.era(), &self.inner.terms) {
            Standing::Fresh(answer) => answer.is_some(),
            Standing::Stale(_) => true,
            Standing::Gone => false,
        };
        self.inner.known.iter().filter(|(_, known)| answers(known.clone())).count() as u64
    }

    /// Does moka's pending work, so that fewer lookups have to; returns how much is in memory.
    pub(super) fn tidy(&self) -> u64 {
        self.inner.known.run_pending_tasks();
        self.inner.absent.run_pending_tasks();
        self.inner.known.entry_count() + self.inner.absent.entry_count()
    }

    fn era(&self) -> Era {
        let inner = &self.inner;
        Era { purges: inner.purges.load(Ordering::SeqCst), revalidations: inner.revalidations.load(Ordering::SeqCst) }
    }

    fn stamp(&self) -> u64 {
        self.inner.stamps.fetch_add(1, Ordering::Relaxed)
    }

    fn changes_of(&self, id: &ProgramId) -> &AtomicU64 {
        let slot = self.inner.hasher.hash_one(id.as_str()) % CHANGE_SLOTS as u64;
        &self.inner.changes[slot as usize]
    }
}

#[cfg(test)]
mod tests;
