//! The way to the disk: what waits for it, and the one task that writes.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adtrack_proto::bus::{Change, Deleted, Stored};
use adtrack_proto::program::Deletion;
use adtrack_proto::{Program, ProgramId};
use tokio::sync::{Notify, oneshot};
use vertebra::Context;

use super::{Embedded, ProgramFile, WriteError, next_version, versioned};
use crate::changes;

/// How often it is looked whether the file is still in its place, while nothing is written.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most puts one write takes together.
const GROUP_PUTS_MAX: usize = 64;

/// Why something is not on the disk, for a person.
#[derive(Debug, Clone)]
pub(super) struct NotWritten(pub(super) String);

type Answer<T> = oneshot::Sender<Result<T, NotWritten>>;

/// Something that is to be on the disk, and who waits for it.
#[derive(Debug)]
enum Waiting {
    Put(Vec<Arc<Program>>, Answer<Stored>),
    Delete(ProgramId, Answer<Deleted>),
    Purge(Answer<()>),
}

/// What one write takes: puts that came one behind the other - each with how many of the programs are its own -, or one other.
enum Group {
    Puts(Vec<Arc<Program>>, Vec<(usize, Answer<Stored>)>),
    Delete(ProgramId, Answer<Deleted>),
    Purge(Answer<()>),
}

/// What waits for the disk. Bounded by the handlers in flight, each of which waits for one thing.
#[derive(Debug, Default)]
pub(super) struct Journal {
    waiting: RefCell<VecDeque<Waiting>>,
    /// Programs that are being written, and not in the store yet.
    writing: Cell<usize>,
    more: Notify,
}

impl Journal {
    /// Has programs written; done when they are on the disk and the caches were told.
    pub(super) async fn put(&self, programs: Vec<Arc<Program>>) -> Result<Stored, NotWritten> {
        self.wait_for(|answer| Waiting::Put(programs, answer)).await
    }

    /// Has a program deleted; done when that is on the disk and the caches were told.
    pub(super) async fn delete(&self, id: ProgramId) -> Result<Deleted, NotWritten> {
        self.wait_for(|answer| Waiting::Delete(id, answer)).await
    }

    /// Has every program deleted; the caches are not told.
    pub(super) async fn purge(&self) -> Result<(), NotWritten> {
        self.wait_for(Waiting::Purge).await
    }

    async fn wait_for<T>(&self, what: impl FnOnce(Answer<T>) -> Waiting) -> Result<T, NotWritten> {
        let (answer, written) = oneshot::channel();
        self.waiting.borrow_mut().push_back(what(answer));
        self.more.notify_one();
        written.await.unwrap_or_else(|_| Err(NotWritten("the store is stopping".to_owned())))
    }

    /// How many programs are on their way into the store: those that wait, and those that are being written.
    pub(super) fn programs_on_their_way(&self) -> usize {
        let programs = |waiting: &Waiting| match waiting {
            Waiting::Put(programs, _) => programs.len(),
            Waiting::Delete(..) | Waiting::Purge(_) => 0,
        };
        self.writing.get() + self.waiting.borrow().iter().map(programs).sum::<usize>()
    }

    /// What was being written is in the store, or will not be.
    fn settled(&self) {
        self.writing.set(0);
    }

    fn next_group(&self) -> Option<Group> {
        let mut waiting = self.waiting.borrow_mut();
        let (mut programs, answer) = match waiting.pop_front()? {
            Waiting::Put(programs, answer) => (programs, answer),
            Waiting::Delete(id, answer) => return Some(Group::Delete(id, answer)),
            Waiting::Purge(answer) => return Some(Group::Purge(answer)),
        };
        let mut answers = vec![(programs.len(), answer)];
        while answers.len() < GROUP_PUTS_MAX
            && let Some(Waiting::Put(more, answer)) = waiting.pop_front_if(|next| matches!(next, Waiting::Put(..)))
        {
            answers.push((more.len(), answer));
            programs.extend(more);
        }
        self.writing.set(programs.len());
        Some(Group::Puts(programs, answers))
    }
}

/// Writes what waits, one group after the other, as long as the store lives.
pub(super) async fn keep(ctx: Context<Embedded>, file: ProgramFile) {
    // Only ever locked on a worker, by one write at a time.
    let file = Arc::new(Mutex::new(file));
    let store = ctx.verticle();
    let _left = Left(&store.journal);
    loop {
        let Some(group) = store.journal.next_group() else {
            if ctx.clock().timeout(LOOK_EVERY, store.journal.more.notified()).await.is_err() {
                look(&ctx, &file).await;
            }
            continue;
        };
        // Whoever asked may have stopped waiting; it is written all the same.
        match group {
            Group::Puts(programs, answers) => put(&ctx, &file, &programs, answers).await,
            Group::Delete(id, answer) => drop(answer.send(delete(&ctx, &file, id).await)),
            Group::Purge(answer) => drop(answer.send(purge(&ctx, &file).await)),
        }
        store.journal.settled();
    }
}

async fn put(
    ctx: &Context<Embedded>,
    file: &Arc<Mutex<ProgramFile>>,
    programs: &[Arc<Program>],
    answers: Vec<(usize, Answer<Stored>)>,
) {
    let store = ctx.verticle();
    let mut kept = Vec::with_capacity(programs.len());
    let outcomes = versioned(programs, |id| store.highest(id), ctx.clock().unix_ms());
    let mut outdated =
        outcomes.into_iter().map(|outcome| outcome.map(|program| kept.push(program)).err()).collect::<Vec<_>>();
    let written = if kept.is_empty() {
        Ok(())
    } else {
        let (stored, for_disk) = (store.stored_with(&kept), kept.clone());
        write(ctx, file, move |file| file.append(&for_disk, stored)).await
    };
    if written.is_ok() {
        store.apply(ctx, kept).await;
    }
    let mut outdated = outdated.drain(..);
    for (programs, answer) in answers {
        let stored = Stored { outdated: outdated.by_ref().take(programs).flatten().collect() };
        drop(answer.send(written.clone().map(|()| stored)));
    }
}

async fn delete(
    ctx: &Context<Embedded>,
    file: &Arc<Mutex<ProgramFile>>,
    program_id: ProgramId,
) -> Result<Deleted, NotWritten> {
    let store = ctx.verticle();
    let highest = store.highest(&program_id);
    let version = next_version(highest, ctx.clock().unix_ms());
    let version = version.ok_or_else(|| NotWritten(format!("there is no version above {}", u64::MAX)))?;
    let was_stored = store.programs.borrow().contains_key(&program_id);
    let stored = store.programs.borrow().len() - usize::from(was_stored);
    let deletion = Deletion { program_id, version: Some(version) };
    let for_disk = deletion.clone();
    write(ctx, file, move |file| file.delete(&for_disk, stored)).await?;
    store.programs.borrow_mut().remove(&deletion.program_id);
    store.deletions.borrow_mut().add(deletion.program_id.clone(), version);
    store.show_count();
    store.tell(ctx, vec![Change::Deleted(deletion)]).await;
    Ok(Deleted { version, was_stored })
}

async fn purge(ctx: &Context<Embedded>, file: &Arc<Mutex<ProgramFile>>) -> Result<(), NotWritten> {
    write(ctx, file, ProgramFile::clear).await?;
    let store = ctx.verticle();
    store.programs.borrow_mut().clear();
    store.show_count();
    Ok(())
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

/// Has a worker change the file.
async fn write(
    ctx: &Context<Embedded>,
    file: &Arc<Mutex<ProgramFile>>,
    change: impl FnOnce(&mut ProgramFile) -> Result<(), WriteError> + Send + 'static,
) -> Result<(), NotWritten> {
    let store = ctx.verticle();
    store.metrics.writes.inc();
    let file = Arc::clone(file);
    let worked = ctx.execute_blocking(move || change(&mut file.lock().unwrap_or_else(PoisonError::into_inner)));
    let failure: Box<dyn Error> = match worked.await {
        Ok(Ok(())) => {
            store.last_error.take();
            return Ok(());
        }
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    let cause = failure.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let failure = format!("{failure}{cause}");
    store.metrics.write_failures.inc();
    tracing::warn!(error = %failure, "the embedded store could not be written");
    store.last_error.replace(Some(failure.clone()));
    Err(NotWritten(failure))
}

impl Embedded {
    /// How many programs the store holds with these in it.
    fn stored_with(&self, programs: &[Arc<Program>]) -> usize {
        let known = self.programs.borrow();
        let ids = programs.iter().map(|program| &program.program_id);
        let new: HashSet<_> = ids.filter(|id| !known.contains_key(*id)).collect();
        known.len() + new.len()
    }

    /// What is on the disk now is what is answered from now on, here and in the caches.
    async fn apply(&self, ctx: &Context<Self>, programs: Vec<Arc<Program>>) {
        self.metrics.puts.inc_by(programs.len() as u64);
        let known = programs.iter().map(|program| (program.program_id.clone(), Arc::clone(program)));
        self.programs.borrow_mut().extend(known);
        self.journal.settled();
        self.show_count();
        self.tell(ctx, programs.into_iter().map(Change::Put).collect()).await;
    }

    async fn tell(&self, ctx: &Context<Self>, stored: Vec<Change>) {
        let Some(last) = stored.last().cloned() else { return };
        if let Err(error) = changes::tell(ctx.bus(), ctx.clock(), stored).await {
            tracing::error!(%error, "a change was stored, but caches may answer without it until it expires there");
        }
        changes::taken(ctx.bus(), last).await;
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
        let mut waiting = pin!(journal.purge());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(Left(&journal));
        assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Err(NotWritten(_)))));
    }
}
