//! A stream that does what a test plans.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use vertebra::Clock;

use adtrack_proto::aggregated::hash_of;

use crate::kinesis::client::{Outcome, PutError, StreamClient};
use crate::kinesis::entry::Entry;
use crate::kinesis::shard::{Shard, ShardId};
use crate::kinesis::shard_map::ShardMap;

/// Takes records into memory; what goes wrong is planned call by call, or for all calls.
#[derive(Debug, Clone, Default)]
pub(super) struct StubStream {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    plan: VecDeque<Answer>,
    always: Option<Answer>,
    poison: BTreeSet<String>,
    shards: Vec<Shard>,
    full: BTreeSet<ShardId>,
    listed: usize,
    calls: Vec<Vec<String>>,
    stored: Vec<String>,
    entries: Vec<Entry>,
}

/// What a call gets.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// An outcome for each entry, repeated when there are fewer; what is stored, is.
    Outcomes(Vec<Outcome>),
    /// So many outcomes, whatever was sent; nothing is stored unless that is their number by chance.
    Count(usize),
    /// An error.
    Error(PutError),
    /// Everything is stored, and the answer does not arrive.
    StoredButLost,
    /// Everything is stored, and the answer takes so long.
    After(Clock, Duration),
    /// Nothing, for ever.
    Hang,
}

impl StubStream {
    /// The next call gets this.
    pub(super) fn then(&self, answer: Answer) {
        self.lock().plan.push_back(answer);
    }

    /// Every call that nothing else is planned for gets this.
    pub(super) fn always(&self, answer: impl Into<Option<Answer>>) {
        self.lock().always = answer.into();
    }

    /// A call with this event is refused.
    pub(super) fn poison(&self, id: &str) {
        self.lock().poison.insert(id.to_owned());
    }

    /// Has these shards from now on, and can be asked for them.
    pub(super) fn set_shards(&self, shards: impl IntoIterator<Item = (u64, u128)>) {
        let shards = shards.into_iter().map(|(id, first_hash_key)| Shard { id: ShardId(id), first_hash_key });
        self.lock().shards = shards.collect();
    }

    /// These shards turn away whatever comes.
    pub(super) fn set_full(&self, shards: impl IntoIterator<Item = u64>) {
        self.lock().full = shards.into_iter().map(ShardId).collect();
    }

    /// How often its shards were listed.
    pub(super) fn listed(&self) -> usize {
        self.lock().listed
    }

    /// The shard a key belongs to.
    pub(super) fn shard_of(&self, key: &str) -> Option<ShardId> {
        shard_of(&self.lock().shards, hash_of(key))
    }

    /// Entries that were poison are none any more.
    pub(super) fn heal(&self) {
        self.lock().poison.clear();
    }

    /// The keys of each call.
    pub(super) fn calls(&self) -> Vec<Vec<String>> {
        self.lock().calls.clone()
    }

    /// The keys stored, in order, as often as they were.
    pub(super) fn stored(&self) -> Vec<String> {
        self.lock().stored.clone()
    }

    /// The entries stored, in order, as often as an answer has said so.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn answer(&self, entries: &[Entry]) -> Option<Result<Vec<Outcome>, PutError>> {
        let keys: Vec<String> = entries.iter().map(|entry| entry.partition_key().to_owned()).collect();
        let mut inner = self.lock();
        inner.calls.push(keys.clone());
        if entries.iter().flat_map(Entry::records).any(|record| inner.poison.contains(record.id())) {
            return Some(Err(PutError::Refused("poison".into())));
        }
        let planned = inner.plan.pop_front().or_else(|| inner.always.clone());
        match planned.unwrap_or_else(|| Answer::Outcomes(vec![Outcome::Stored(None)])) {
            Answer::Outcomes(outcomes) => {
                let outcomes = entries.iter().zip(outcomes.into_iter().cycle());
                let outcomes: Vec<Outcome> = outcomes
                    .map(|(entry, outcome)| match (outcome, shard_of(&inner.shards, entry.hash_key())) {
                        (_, Some(shard)) if inner.full.contains(&shard) => Outcome::Throttled,
                        (Outcome::Stored(None), shard) => Outcome::Stored(shard),
                        (other, _) => other,
                    })
                    .collect();
                let stored = entries.iter().zip(&outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Stored(_)));
                let stored: Vec<Entry> = stored.map(|(entry, _)| entry.clone()).collect();
                inner.stored.extend(stored.iter().map(|entry| entry.partition_key().to_owned()));
                inner.entries.extend(stored);
                Some(Ok(outcomes))
            }
            Answer::Count(count) => {
                if count == keys.len() {
                    inner.stored.extend(keys);
                }
                Some(Ok(vec![Outcome::Stored(None); count]))
            }
            Answer::Error(error) => Some(Err(error)),
            Answer::StoredButLost => {
                inner.stored.extend(keys);
                None
            }
            Answer::After(..) => {
                inner.stored.extend(keys);
                Some(Ok(vec![Outcome::Stored(None); entries.len()]))
            }
            Answer::Hang => None,
        }
    }
}

fn shard_of(shards: &[Shard], hash_key: u128) -> Option<ShardId> {
    ShardMap::new(shards.to_vec())?.of(hash_key)
}

impl StreamClient for StubStream {
    async fn put_records(&self, entries: &[Entry]) -> Result<Vec<Outcome>, PutError> {
        let takes = match &self.lock().always {
            Some(Answer::After(clock, takes)) => Some((clock.clone(), *takes)),
            _ => None,
        };
        if let Some((clock, takes)) = takes {
            clock.sleep(takes).await;
        }
        match self.answer(entries) {
            Some(answer) => answer,
            None => pending().await,
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, PutError> {
        let mut inner = self.lock();
        inner.listed += 1;
        if let Some(Answer::Error(error)) = &inner.always {
            return Err(error.clone());
        }
        if inner.shards.is_empty() {
            return Err(PutError::Denied("no right to list shards".into()));
        }
        Ok(inner.shards.clone())
    }

    async fn probe(&self) -> Result<(), PutError> {
        let always = self.lock().always.clone();
        match always {
            // The right to send is another one.
            Some(Answer::Error(PutError::Denied(_))) => Ok(()),
            Some(Answer::Error(error)) => Err(error),
            Some(Answer::Hang) => pending().await,
            _ => Ok(()),
        }
    }
}
