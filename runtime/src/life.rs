//! What belongs to an instance and ends with it: its registrations, its tasks, and whoever waits for its end.

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
use crate::bus::consume::{AnyConsumer, ConsumerKey};
use crate::bus::drained::Drained;
use crate::consumer::Consumer;
use crate::context_handle::KeptHandle;
use crate::deployment::Plan;
use crate::event_loop::LoopCore;
#[cfg(feature = "testing")]
use crate::event_loop::leaks::Alive;
use crate::event_loop::watched::Whose;
use crate::panic::{contain, panic_text};
use crate::registrations::Registrations;
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
    registrations: RefCell<Registrations>,
    more: OnceCell<Box<More>>,
    #[cfg(feature = "testing")]
    _alive: Alive,
}

/// What most instances never have: made when one has the first of it.
#[derive(Default)]
pub(crate) struct More {
    waiting_for_stop: RefCell<Slab<Waker>>,
    tasks: RefCell<Slab<tokio::task::AbortHandle>>,
    waiting_for_tasks: RefCell<Option<Waker>>,
    pub(crate) line: OnceCell<Arc<Line>>,
    pub(crate) timers: Timers,
    pub(crate) handle: KeptHandle,
}

/// How long tasks that were aborted may take to be gone; each needs one turn.
const TASKS_GONE: Duration = Duration::from_millis(100);

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
            registrations: RefCell::default(),
            more: OnceCell::new(),
        }
    }

    /// What it has beside its registrations.
    pub(crate) fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
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
    pub(crate) fn remember(owner: &Rc<dyn Owner>, name: Name, key: ConsumerKey) -> Consumer {
        let life = owner.life();
        let place = life.registrations.borrow_mut().insert(key);
        Consumer::new(&life.core, owner, place, name, key)
    }

    /// A registration of the instance before, to end with this one.
    pub(crate) fn adopt(&self, key: ConsumerKey) {
        self.registrations.borrow_mut().insert(key);
    }

    /// Whether it has this registration.
    pub(crate) fn has(&self, place: usize, key: ConsumerKey) -> bool {
        self.registrations.borrow().has(place, key)
    }

    /// Forgets a registration, if it is there.
    pub(crate) fn forget(&self, place: usize, key: ConsumerKey) {
        self.registrations.borrow_mut().remove(place, key);
    }

    /// Code of this instance has panicked.
    pub(crate) fn panicked(&self, what: &str, panic: &str) {
        self.core.count_panic();
        tracing::error!(deployment = %self.name(), instance = self.index, panic, "{what} panicked");
        self.core.supervise(self.whose(), Some(self.incarnation), panic);
    }

    /// Ends the instance for the sake of another one: no handler begins any more, tasks end, and what was registered is
    /// given to be handed on. Handlers in flight go on.
    pub(crate) fn hand_on(&self) -> Vec<ConsumerKey> {
        self.stopping.set(true);
        self.ended.set(true);
        let registered = self.registrations.take().keys();
        for consumer in self.consumers_of(&registered) {
            consumer.hand_on();
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
            place.set(Some(life.more().tasks.borrow_mut().insert(abort.clone())));
        }
        Task { abort }
    }

    /// Nobody can send here any more; what was accepted is still handled.
    pub(crate) fn close_intake(&self) {
        self.stopping.set(true);
        for consumer in self.consumers() {
            self.core.take_back(&*consumer);
            consumer.close(&self.core);
        }
        self.wake_stopping();
    }

    fn wake_stopping(&self) {
        let Some(more) = self.more.get() else { return };
        let waiting = more.waiting_for_stop.take();
        for (_, waker) in waiting {
            contain(|| waker.wake());
        }
    }

    fn abort_tasks(&self) {
        let Some(more) = self.more.get() else { return };
        let tasks: Vec<_> = more.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }

    /// Resolves when everything that was accepted is handled.
    pub(crate) async fn drained(&self) {
        for consumer in self.consumers() {
            Drained::new(consumer).await;
        }
    }

    /// Closes the intake, ends the tasks and removes the consumers; gives the number of messages given up.
    pub(crate) fn cut_off(&self) -> usize {
        self.close_intake();
        self.ended.set(true);
        self.abort_tasks();
        let mut given_up = 0;
        let registered = self.registrations.take().keys();
        for consumer in self.consumers_of(&registered) {
            given_up += consumer.abandon(&self.core);
            self.core.remove_consumer(consumer);
        }
        given_up
    }

    /// Resolves when the tasks that were aborted are gone - what they hold, this instance for one, is gone then -, and at
    /// the latest after a while.
    pub(crate) async fn tasks_gone_soon(&self) {
        let Some(more) = self.more.get() else { return };
        if self.core.shared().clock.timeout(TASKS_GONE, more.tasks_gone()).await.is_err() {
            tracing::warn!(deployment = %self.name(), instance = self.index, "an instance is outlived by its tasks");
        }
    }

    fn consumers(&self) -> Vec<Rc<dyn AnyConsumer>> {
        let registered = self.registrations.borrow().keys();
        self.consumers_of(&registered)
    }

    fn consumers_of(&self, registered: &[ConsumerKey]) -> Vec<Rc<dyn AnyConsumer>> {
        registered.iter().filter_map(|key| self.core.any_consumer(*key)).collect()
    }
}

impl More {
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
        let Some(place) = self.place.take() else { return };
        let more = self.owner.life().more();
        let gone = more.tasks.borrow_mut().try_remove(place);
        drop(gone);
        if more.tasks.borrow().is_empty()
            && let Some(waker) = more.waiting_for_tasks.take()
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
                if let Some(known) = life.more().waiting_for_stop.borrow_mut().get_mut(place) {
                    std::mem::swap(known, &mut waker);
                }
            }
            None => this.place = Some(life.more().waiting_for_stop.borrow_mut().insert(waker)),
        }
        Poll::Pending
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        // Once the instance stops the list is taken as a whole, and nothing is added after that.
        let Some(place) = self.place.take() else { return };
        let gone = self.owner.life().more().waiting_for_stop.borrow_mut().try_remove(place);
        drop(gone);
    }
}
