//! What belongs to an instance and ends with it: its registrations, its tasks, and whoever waits for its end.

use std::any::{Any, TypeId};
use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::address::Name;
use crate::blocking::Line;
use crate::bus::consume::ConsumerKey;
use crate::bus::drained::Drained;
use crate::consumer::Consumer;
use crate::context_handle::KeptHandle;
use crate::deployment::Plan;
use crate::event_loop::LoopCore;
#[cfg(feature = "testing")]
use crate::event_loop::leaks::Alive;
use crate::event_loop::watched::Whose;
use crate::panic::{contain, panic_text};
use crate::timers::Timers;

/// Where an instance lives and what ends with it.
pub(crate) struct Life {
    pub(crate) core: Rc<LoopCore>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: usize,
    /// Which of those that have had this place, from 0.
    pub(crate) incarnation: u32,
    stopping: Cell<bool>,
    ended: Cell<bool>,
    waiting_for_stop: RefCell<Slab<Waker>>,
    tasks: RefCell<Slab<tokio::task::AbortHandle>>,
    waiting_for_tasks: RefCell<Option<Waker>>,
    consumers: Rc<RefCell<Consumers>>,
    pub(crate) line: OnceCell<Arc<Line>>,
    pub(crate) timers: Timers,
    pub(crate) handle: KeptHandle,
    #[cfg(feature = "testing")]
    _alive: Alive,
}

/// How long tasks that were aborted may take to be gone; each needs one turn.
const TASKS_GONE: Duration = Duration::from_millis(100);

/// The registrations of an instance. Shared with their [`Consumer`], which may take them back one by one.
pub(crate) type Consumers = Slab<Registered>;

/// A registration as its instance keeps it.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) name: Name,
    pub(crate) key: ConsumerKey,
    pub(crate) kept: Kept,
}

/// What it takes for a registration to be taken over by the instance that comes after: the same message and reply, and
/// where a closure handles them, the same closure, whose place is taken by the new one.
#[derive(Clone)]
pub(crate) struct Kept {
    spoken: TypeId,
    closure: Option<(Rc<dyn Any>, Swap)>,
}

/// Puts what is in the second in the place of what is in the first; `false` when they are of different types.
type Swap = fn(&dyn Any, &dyn Any) -> bool;

/// A handler's closure where it can be replaced.
pub(crate) type Held<H> = RefCell<Rc<H>>;

impl Kept {
    /// For a verticle's own handler.
    pub(crate) fn handler<M: 'static, R: 'static>() -> Self {
        Self { spoken: TypeId::of::<fn(M) -> R>(), closure: None }
    }

    /// For a closure.
    pub(crate) fn closure<M: 'static, R: 'static, H: 'static>(held: &Rc<Held<H>>) -> Self {
        let swap: Swap = |old, new| match (old.downcast_ref::<Held<H>>(), new.downcast_ref::<Held<H>>()) {
            (Some(old), Some(new)) => {
                let newer = Rc::clone(&new.borrow());
                let before = old.replace(newer);
                drop(before);
                true
            }
            _ => false,
        };
        Self { closure: Some((Rc::clone(held) as Rc<dyn Any>, swap)), ..Self::handler::<M, R>() }
    }

    /// Whether the other one can take its place.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let held = |kept: &Self| kept.closure.as_ref().map(|(held, _)| held.as_ref().type_id());
        self.spoken == other.spoken && held(self) == held(other)
    }

    /// The other one's closure takes the place of this one's.
    pub(crate) fn replace_by(&self, other: &Self) {
        if let (Some((old, swap)), Some((new, _))) = (&self.closure, &other.closure) {
            let swapped = swap(old.as_ref(), new.as_ref());
            debug_assert!(swapped, "one that fits is of the same type");
        }
    }
}

/// An instance, its verticle's type forgotten.
pub(crate) trait Owner {
    fn life(&self) -> &Life;
}

impl Life {
    pub(crate) fn new(core: &Rc<LoopCore>, plan: Arc<Plan>, index: usize, incarnation: u32) -> Self {
        Self {
            #[cfg(feature = "testing")]
            _alive: Alive::new(core, &plan.name, index),
            core: Rc::clone(core),
            plan,
            index,
            incarnation,
            stopping: Cell::new(false),
            ended: Cell::new(false),
            waiting_for_stop: RefCell::default(),
            tasks: RefCell::default(),
            waiting_for_tasks: RefCell::default(),
            consumers: Rc::default(),
            line: OnceCell::new(),
            timers: Timers::default(),
            handle: KeptHandle::default(),
        }
    }

    /// The deployment's name.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// This instance, in one word.
    pub(crate) fn whose(&self) -> Whose {
        Whose::of(self.plan.id, self.index)
    }

    /// Polls what is this instance's, so that it can be seen that it is.
    fn poll<F: Future>(&self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outer = Outer::enter(&self.core, self.whose());
        let polled = future.poll(cx);
        drop(outer);
        polled
    }

    /// The same for as long as the future lives.
    pub(crate) async fn own<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| self.poll(future.as_mut(), cx)).await
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Nothing of it runs any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Keeps a registration that was made.
    pub(crate) fn remember(&self, registered: Registered) -> Consumer {
        let (name, key) = (registered.name.clone(), registered.key);
        let place = self.consumers.borrow_mut().insert(registered);
        Consumer::new(&self.core, &self.consumers, place, name, key)
    }

    /// A registration of the instance before, to end with this one.
    pub(crate) fn adopt(&self, registered: Registered) {
        self.consumers.borrow_mut().insert(registered);
    }

    /// Code of this instance has panicked.
    pub(crate) fn panicked(&self, what: &str, panic: &str) {
        self.core.count_panic();
        tracing::error!(deployment = %self.name(), instance = self.index, panic, "{what} panicked");
        self.core.supervise(self.whose(), Some(self.incarnation), panic);
    }

    /// Ends the instance for the sake of another one: no handler begins any more, tasks end, and what was registered is
    /// given to be handed on. Handlers in flight go on.
    pub(crate) fn hand_on(&self) -> Vec<Registered> {
        self.stopping.set(true);
        self.ended.set(true);
        let registered: Vec<_> = self.consumers.take().into_iter().map(|(_, known)| known).collect();
        for known in &registered {
            if let Some(consumer) = self.core.any_consumer(known.key) {
                consumer.hand_on();
            }
        }
        self.wake_stopping();
        self.abort_tasks();
        registered
    }

    /// Runs a task of this instance.
    pub(crate) fn spawn(owner: &Rc<dyn Owner>, task: impl Future<Output = ()> + 'static) -> Task {
        let place = Rc::new(Cell::new(None));
        // Made here and moved into the task: it goes with it, however the task ends.
        let leaving = Leaving { owner: Rc::clone(owner), place: Rc::clone(&place) };
        let mut task = Box::pin(task);
        let handle = tokio::task::spawn_local(async move {
            let leaving = leaving;
            let life = leaving.owner.life();
            // In a seeded test, a task that has begun may be put off: tasks begin in the order they were made.
            let mut begun = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut begun, true) && life.core.puts_off() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match catch_unwind(AssertUnwindSafe(|| life.poll(task.as_mut(), cx))) {
                    Ok(polled) => polled,
                    Err(panic) => {
                        life.panicked("a task", &panic_text(panic.as_ref()));
                        Poll::Ready(())
                    }
                }
            })
            .await;
        });
        let abort = handle.abort_handle();
        let life = owner.life();
        if life.ended.get() {
            // Nobody would end it any more.
            abort.abort();
        } else {
            // The task cannot have run yet: it shares this thread.
            place.set(Some(life.tasks.borrow_mut().insert(abort.clone())));
        }
        Task { abort }
    }

    /// Nobody can send here any more; what was accepted is still handled.
    pub(crate) fn close_intake(&self) {
        self.stopping.set(true);
        for (name, key) in self.consumers() {
            self.core.shared().registry.remove(&name, self.core.id(), key);
            if let Some(consumer) = self.core.any_consumer(key) {
                consumer.close(&self.core);
            }
        }
        self.wake_stopping();
    }

    fn wake_stopping(&self) {
        let waiting = self.waiting_for_stop.take();
        for (_, waker) in waiting {
            contain(|| waker.wake());
        }
    }

    fn abort_tasks(&self) {
        let tasks: Vec<_> = self.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }

    /// Resolves when everything that was accepted is handled.
    pub(crate) async fn drained(&self) {
        for (_, key) in self.consumers() {
            if let Some(consumer) = self.core.any_consumer(key) {
                Drained::new(consumer).await;
            }
        }
    }

    /// Closes the intake, ends the tasks and removes the consumers; gives the number of messages given up.
    pub(crate) fn cut_off(&self) -> usize {
        self.close_intake();
        self.ended.set(true);
        self.abort_tasks();
        let mut given_up = 0;
        for (_, Registered { name, key, .. }) in self.consumers.take() {
            if let Some(consumer) = self.core.any_consumer(key) {
                given_up += consumer.abandon(&self.core);
            }
            self.core.remove_consumer(&name, key);
        }
        given_up
    }

    /// Resolves when the tasks that were aborted are gone - what they hold, this instance for one, is gone then -, and at
    /// the latest after a while.
    pub(crate) async fn tasks_gone_soon(&self) {
        if self.core.shared().clock.timeout(TASKS_GONE, self.tasks_gone()).await.is_err() {
            tracing::warn!(deployment = %self.name(), instance = self.index, "an instance is outlived by its tasks");
        }
    }

    async fn tasks_gone(&self) {
        poll_fn(|cx| {
            if self.tasks.borrow().is_empty() {
                return Poll::Ready(());
            }
            let before = self.waiting_for_tasks.replace(Some(cx.waker().clone()));
            drop(before);
            Poll::Pending
        })
        .await;
    }

    fn consumers(&self) -> Vec<(Name, ConsumerKey)> {
        self.consumers.borrow().iter().map(|(_, known)| (known.name.clone(), known.key)).collect()
    }
}

/// Gives the loop back to whoever it was in, also when what is polled panics.
struct Outer<'c>(&'c LoopCore, Whose);

impl<'c> Outer<'c> {
    fn enter(core: &'c LoopCore, whose: Whose) -> Self {
        Self(core, core.own().watched.enter(whose))
    }
}

impl Drop for Outer<'_> {
    fn drop(&mut self) {
        self.0.own().watched.leave(self.1);
    }
}

/// Takes a task out of its instance's list when the task goes: finished, aborted or dropped unpolled.
struct Leaving {
    owner: Rc<dyn Owner>,
    place: Rc<Cell<Option<usize>>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let life = self.owner.life();
        let Some(place) = self.place.take() else { return };
        let gone = life.tasks.borrow_mut().try_remove(place);
        drop(gone);
        if life.tasks.borrow().is_empty()
            && let Some(waker) = life.waiting_for_tasks.take()
        {
            waker.wake();
        }
    }
}

/// A task of an instance; see [`Context::spawn`](crate::Context::spawn). Dropping it changes nothing: the instance owns
/// the task.
#[derive(Debug, Clone)]
pub struct Task {
    abort: tokio::task::AbortHandle,
}

impl Task {
    /// Ends the task at the await it is in.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }
}

/// Resolves when the instance has been told to stop.
pub(crate) struct Stopping {
    owner: Rc<dyn Owner>,
    place: Option<usize>,
}

impl Stopping {
    pub(crate) fn new(owner: Rc<dyn Owner>) -> Self {
        Self { owner, place: None }
    }
}

impl Future for Stopping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let life = this.owner.life();
        if life.stopping.get() {
            return Poll::Ready(());
        }
        // Cloned before and dropped after the borrow: a waker is foreign code.
        let mut waker = cx.waker().clone();
        match this.place {
            Some(place) => {
                if let Some(known) = life.waiting_for_stop.borrow_mut().get_mut(place) {
                    std::mem::swap(known, &mut waker);
                }
            }
            None => this.place = Some(life.waiting_for_stop.borrow_mut().insert(waker)),
        }
        Poll::Pending
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        // Once the instance stops the list is taken as a whole, and nothing is added after that.
        let Some(place) = self.place.take() else { return };
        let gone = self.owner.life().waiting_for_stop.borrow_mut().try_remove(place);
        drop(gone);
    }
}
