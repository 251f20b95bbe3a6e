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
use crate::bus::consumer::ConsumerKey;
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
pub(crate) type Consumers = Slab<(Name, ConsumerKey)>;

/// An instance, its verticle's type forgotten.
pub(crate) trait Owner {
    fn life(&self) -> &Life;
}

impl Life {
    pub(crate) fn new(core: &Rc<LoopCore>, plan: Arc<Plan>, index: usize) -> Self {
        Self {
            #[cfg(feature = "testing")]
            _alive: Alive::new(core, &plan.name, index),
            core: Rc::clone(core),
            plan,
            index,
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
    pub(crate) fn remember(&self, name: Name, key: ConsumerKey) -> Consumer {
        let place = self.consumers.borrow_mut().insert((name.clone(), key));
        Consumer::new(&self.core, &self.consumers, place, name, key)
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
                        life.core.count_panic();
                        tracing::error!(deployment = %life.name(), panic = panic_text(panic.as_ref()), "a task panicked");
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
        let waiting = self.waiting_for_stop.take();
        for (_, waker) in waiting {
            contain(|| waker.wake());
        }
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
        let tasks: Vec<_> = self.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
        let mut given_up = 0;
        for (_, (name, key)) in self.consumers.take() {
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
        self.consumers.borrow().iter().map(|(_, known)| known.clone()).collect()
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
