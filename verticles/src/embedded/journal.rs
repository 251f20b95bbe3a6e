//! The way to the disk: what waits for it, and the one task that writes.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adtrack_proto::Program;
use adtrack_proto::bus::{Change, Outdated, Stored};
use tokio::sync::{Notify, oneshot};
use vertebra::Context;

use super::{Embedded, ProgramFile, versioned};
use crate::changes;

/// How often it is looked whether the file is still in its place, while nothing is written.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most puts one write takes together.
const GROUP_ENTRIES_MAX: usize = 64;

/// Something that is to be on the disk.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// These programs.
    Put(Vec<Arc<Program>>),
    /// No program at all.
    Purge,
}

impl Entry {
    fn programs(&self) -> usize {
        match self {
            Self::Put(programs) => programs.len(),
            Self::Purge => 0,
        }
    }
}

/// Why an entry is not on the disk, for a person.
#[derive(Debug, Clone)]
pub(super) struct NotWritten(pub(super) String);

type Written = Result<Stored, NotWritten>;

/// What waits for the disk. Bounded by the handlers in flight, each of which waits for one entry.
#[derive(Debug, Default)]
pub(super) struct Journal {
    waiting: RefCell<VecDeque<(Entry, oneshot::Sender<Written>)>>,
    /// Programs that are being written, and not in the store yet.
    writing: Cell<usize>,
    more: Notify,
}

impl Journal {
    /// Has an entry written; done when it is on the disk and the caches were told.
    pub(super) async fn write(&self, entry: Entry) -> Written {
        let (answer, written) = oneshot::channel();
        self.waiting.borrow_mut().push_back((entry, answer));
        self.more.notify_one();
        written.await.unwrap_or_else(|_| Err(NotWritten("the store is stopping".to_owned())))
    }

    /// How many programs are on their way into the store: those that wait, and those that are being written.
    pub(super) fn programs_on_their_way(&self) -> usize {
        self.writing.get() + self.waiting.borrow().iter().map(|(entry, _)| entry.programs()).sum::<usize>()
    }

    /// What was being written is in the store, or will not be.
    fn settled(&self) {
        self.writing.set(0);
    }

    /// What the next write takes: a purge, or the puts before the next purge as one.
    fn next_group(&self) -> Option<Group> {
        let mut waiting = self.waiting.borrow_mut();
        let (entry, answer) = waiting.pop_front()?;
        let mut group = Group { answers: vec![(entry.programs(), answer)], entry };
        while let Group { entry: Entry::Put(programs), answers } = &mut group
            && answers.len() < GROUP_ENTRIES_MAX
            && let Some((Entry::Put(_), _)) = waiting.front()
            && let Some((Entry::Put(more), answer)) = waiting.pop_front()
        {
            answers.push((more.len(), answer));
            programs.extend(more);
        }
        self.writing.set(group.entry.programs());
        Some(group)
    }
}

/// What one write takes, and who waits for it, each for so many of the programs.
struct Group {
    entry: Entry,
    answers: Vec<(usize, oneshot::Sender<Written>)>,
}

/// Writes what waits, one group after the other, as long as the store lives.
pub(super) async fn keep(ctx: Context<Embedded>, file: ProgramFile) {
    // Only ever locked on a worker, by one write at a time.
    let file = Arc::new(Mutex::new(file));
    let store = ctx.verticle();
    let _left = Left(&store.journal);
    loop {
        let Some(Group { entry, answers }) = store.journal.next_group() else {
            if ctx.clock().timeout(LOOK_EVERY, store.journal.more.notified()).await.is_err() {
                look(&ctx, &file).await;
            }
            continue;
        };
        let (entry, outdated) = store.in_order(entry, ctx.clock().unix_ms());
        let written = write(&ctx, &file, entry).await;
        store.journal.settled();
        store.last_error.replace(written.as_ref().err().map(|NotWritten(error)| error.clone()));
        let mut outdated = outdated.into_iter();
        for (programs, answer) in answers {
            let stored = Stored { outdated: outdated.by_ref().take(programs).flatten().collect() };
            // Whoever asked may have stopped waiting; the entry is written all the same.
            drop(answer.send(written.clone().map(|()| stored)));
        }
    }
}

/// What waits when nobody writes any more - the instance is being replaced after a panic - is not written: whoever waits for
/// it is told. The handlers that wait keep the journal, so that it would not go by itself.
struct Left<'j>(&'j Journal);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let left = self.0.waiting.take();
        drop(left);
    }
}

/// Looks whether the file is still the one that the next start will find, and notes what comes of it.
async fn look(ctx: &Context<Embedded>, file: &Arc<Mutex<ProgramFile>>) {
    let file = Arc::clone(file);
    let looked = ctx.execute_blocking(move || file.lock().unwrap_or_else(PoisonError::into_inner).is_in_place());
    let astray = match looked.await {
        Ok(in_place) => in_place.err().map(|error| error.to_string()),
        // There is no worker to look with now; the next look tells.
        Err(_) => return,
    };
    let store = ctx.verticle();
    let before = store.astray.replace(astray.clone());
    match astray {
        Some(reason) if before.is_none() => {
            tracing::error!(reason, "the embedded store cannot be changed until the service is started again");
        }
        None if before.is_some() => tracing::info!("the embedded store's file is in its place again"),
        _ => {}
    }
}

async fn write(ctx: &Context<Embedded>, file: &Arc<Mutex<ProgramFile>>, entry: Entry) -> Result<(), NotWritten> {
    let store = ctx.verticle();
    store.metrics.writes.inc();
    let (file, for_disk) = (Arc::clone(file), entry.clone());
    let stored = store.stored_with(&entry);
    let worked = ctx.execute_blocking(move || {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        match &for_disk {
            Entry::Put(programs) => file.append(programs, stored),
            Entry::Purge => file.clear(),
        }
    });
    let failure: Box<dyn Error> = match worked.await {
        Ok(Ok(())) => {
            store.apply(ctx, entry).await;
            return Ok(());
        }
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    let cause = failure.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let failure = format!("{failure}{cause}");
    store.metrics.write_failures.inc();
    tracing::warn!(error = %failure, "the embedded store could not be written");
    Err(NotWritten(failure))
}

impl Embedded {
    /// The entry with the versions that its programs get, and without those of which a higher version is stored; these
    /// stand, for each program that was there, in the list.
    fn in_order(&self, entry: Entry, now_ms: i64) -> (Entry, Vec<Option<Outdated>>) {
        let Entry::Put(programs) = entry else { return (entry, Vec::new()) };
        let known = self.programs.borrow();
        let outcomes = versioned(&programs, |id| known.get(id).and_then(|program| program.version), now_ms);
        let mut kept = Vec::with_capacity(programs.len());
        let outdated = outcomes.into_iter().map(|outcome| outcome.map(|program| kept.push(program)).err()).collect();
        (Entry::Put(kept), outdated)
    }

    /// How many programs the store holds with the entry in it.
    fn stored_with(&self, entry: &Entry) -> usize {
        let Entry::Put(programs) = entry else { return 0 };
        let known = self.programs.borrow();
        let ids = programs.iter().map(|program| &program.program_id);
        let new: HashSet<_> = ids.filter(|id| !known.contains_key(*id)).collect();
        known.len() + new.len()
    }

    /// What is on the disk now is what is answered from now on, here and - for what was put - in the caches.
    async fn apply(&self, ctx: &Context<Self>, entry: Entry) {
        let Entry::Put(programs) = entry else {
            self.programs.borrow_mut().clear();
            return self.show_count();
        };
        self.metrics.puts.inc_by(programs.len() as u64);
        let known = programs.iter().map(|program| (program.program_id.clone(), Arc::clone(program)));
        self.programs.borrow_mut().extend(known);
        self.journal.settled();
        self.show_count();
        let last = programs.last().cloned();
        if let Err(error) = changes::tell(ctx.bus(), ctx.clock(), programs.into_iter().map(Change::Put)).await {
            tracing::error!(%error, "a change was stored, but caches may answer without it until it expires there");
        }
        if let Some(last) = last {
            changes::taken(ctx.bus(), Change::Put(last)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn what_waits_when_nobody_writes_any_more_is_told() {
        let journal = Journal::default();
        let mut waiting = pin!(journal.write(Entry::Purge));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(Left(&journal));
        assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Err(NotWritten(_)))));
    }
}
