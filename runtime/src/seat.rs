//! The place of one instance in its deployment: it stays when the instance in it is replaced.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::address::Name;
use crate::bus::consume::{AnyConsumer, ConsumerKey};
use crate::bus::registry::Spoken;
use crate::clock::Clock;
use crate::context::{Context, Instance};
use crate::deployment::{Birth, DeploymentId, GRACE_DEFAULT, Plan};
use crate::deployments::{Limits, give_up, undeploy_children};
use crate::error::{BoxError, DeployError};
use crate::event::{Culprit, Event};
use crate::event_loop::LoopCore;
use crate::life::{Life, Owner};
use crate::panic::{catch_panic, contain, panic_text};
use crate::registrations::Kept;
use crate::starts::Start;
use crate::verticle::Verticle;

/// An instance's place, with the instance's type forgotten.
pub(crate) trait AnySeat {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>>;
    /// Ends its instance where it is; gives the number of messages given up.
    fn cut_off(&self) -> usize;
    fn progress(&self) -> &Progress;
    /// Code of the instance has panicked: of the one that has the place, or of the incarnation of this number.
    fn panicked(self: Rc<Self>, incarnation: Option<u32>, panic: &str);
}

/// What stopping one instance came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopped {
    pub(crate) abandoned: usize,
    pub(crate) failure: Option<String>,
}

/// How far an instance has come, and who waits for its end.
#[derive(Default)]
pub(crate) struct Progress {
    /// It has started. Not so again while it is being rebuilt.
    started: Cell<bool>,
    /// Made when it takes more than one step to start, or stops.
    waits: OnceCell<Box<Waits>>,
}

#[derive(Default)]
struct Waits {
    waker: RefCell<Option<Waker>>,
    cut_off_by: RefCell<Option<oneshot::Sender<Stopped>>>,
    /// Whoever waits for its stop; `None` as long as it is not stopping.
    stopping: RefCell<Option<Vec<oneshot::Sender<Stopped>>>>,
}

impl Progress {
    fn waits(&self) -> &Waits {
        self.waits.get_or_init(Box::default)
    }

    fn is_cut_off(&self) -> bool {
        self.waits.get().is_some_and(|waits| waits.cut_off_by.borrow().is_some())
    }

    fn is_stopping(&self) -> bool {
        self.waits.get().is_some_and(|waits| waits.stopping.borrow().is_some())
    }

    /// Gives up the start; whoever wants that gets to know what it came to.
    fn cut_off(&self, by: oneshot::Sender<Stopped>) {
        self.waits().cut_off_by.replace(Some(by));
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waits.get().and_then(|waits| waits.waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The start's outcome, `None` when it is given up before.
    async fn unless_cut_off<T>(&self, start: impl Future<Output = T>) -> Option<T> {
        let mut start = pin!(start);
        let ended = poll_fn(|cx| {
            if self.is_cut_off() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(started) = start.as_mut().poll(cx) {
                return Poll::Ready(Some(started));
            }
            let before = self.waits().waker.replace(Some(cx.waker().clone()));
            drop(before);
            // Asked to itself: nobody was there to be woken.
            if self.is_cut_off() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        // The task that waited is not kept any longer.
        let waker = self.waits.get().and_then(|waits| waits.waker.take());
        drop(waker);
        ended
    }
}

pub(crate) type Factory<V> = Arc<dyn Fn() -> V + Send + Sync>;

/// The place of one instance.
pub(crate) struct Seat<V> {
    factory: Factory<V>,
    current: RefCell<Rc<Instance<V>>>,
    progress: Progress,
    /// Made at the first panic.
    past: OnceCell<Box<Past>>,
}

/// What is remembered of instances that have panicked.
#[derive(Default)]
struct Past {
    /// When it was rebuilt; what is longer ago than matters is forgotten.
    rebuilt_at: RefCell<VecDeque<Duration>>,
    /// What the instance said that panicked before it had started.
    panicked_early: RefCell<Option<String>>,
    /// What the instance before has served, until the new one says that it does so too.
    inherited: RefCell<Vec<ConsumerKey>>,
}

/// Builds an instance on this loop and has it started. An instance that does not start leaves nothing behind.
pub(crate) fn begin_instance<V: Verticle>(core: &Rc<LoopCore>, factory: Factory<V>, birth: &Birth, begun: Start) {
    let Birth { plan, index } = birth;
    // Undeployed before it got here: whoever did that will not come back for it.
    if !core.shared().deployments.is_wanted(plan.id) {
        return begun.ended(Err(DeployError::Undeployed { name: plan.name.to_string() }));
    }
    let verticle = match catch_unwind(AssertUnwindSafe(|| factory())) {
        Ok(verticle) => verticle,
        Err(panic) => {
            let (name, panic) = (plan.name.to_string(), panic_text(panic.as_ref()));
            return begun.ended(Err(DeployError::Panicked { name, instance: *index, panic }));
        }
    };
    let life = Life::new(core, Arc::clone(plan), *index, 0);
    let seat = Seat::new(factory, verticle, life);
    core.keep_instance(plan.id, *index, Rc::clone(&seat) as Rc<dyn AnySeat>);
    let mut starting = Box::pin(async move {
        let (outcome, end) = start_instance(&seat).await;
        contain(|| drop(seat));
        // Told when nothing here holds the instance any more. The deployer may have gone away: then what has started stays
        // until it is undeployed.
        end.tell();
        begun.ended(outcome);
    });
    // Most starts end at once, and need no task. One that does not is polled again by its task, which can be woken.
    if starting.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending() {
        tokio::task::spawn_local(starting);
    }
}

/// An end that somebody may wait for.
#[derive(Default)]
struct End {
    stopped: Stopped,
    by: Option<oneshot::Sender<Stopped>>,
}

impl End {
    fn tell(self) {
        if let Some(by) = self.by {
            drop(by.send(self.stopped));
        }
    }
}

async fn start_instance<V: Verticle>(seat: &Rc<Seat<V>>) -> (Result<(), DeployError>, End) {
    let instance = seat.current();
    let life = &instance.life;
    let started = seat.progress.unless_cut_off(start(&instance)).await;
    seat.progress.started.set(true);
    let name = life.name().to_owned();
    let error = match started {
        Some(Ok(Ok(()))) => {
            seat.rebuild_if_it_panicked();
            return (Ok(()), End::default());
        }
        Some(Ok(Err(source))) => DeployError::Start { name, instance: life.index, source },
        Some(Err(panic)) => DeployError::Panicked { name, instance: life.index, panic },
        None => DeployError::Undeployed { name },
    };
    let end = seat.end().await;
    (Err(error), end)
}

/// In a block of its own, because a `start` that is not an `async fn` may panic before it has a future to give.
async fn start<V: Verticle>(instance: &Rc<Instance<V>>) -> Result<Result<(), BoxError>, String> {
    let ctx = Context::new(Rc::clone(instance));
    catch_panic(instance.life.own(async { instance.verticle.start(&ctx).await })).await
}

/// Stops an instance of this loop, if there is such a one; dropping `done` says that there is not.
pub(crate) fn stop_instance(
    core: &Rc<LoopCore>,
    (deployment, index): (DeploymentId, usize),
    grace: Duration,
    done: oneshot::Sender<Stopped>,
) {
    let Some(seat) = core.instance(deployment, index) else { return };
    let progress = seat.progress();
    if !progress.started.get() {
        progress.cut_off(done);
        return;
    }
    // Told twice when whoever told it first has gone away: it stops once.
    let stopping = &progress.waits().stopping;
    if let Some(waiting) = &mut *stopping.borrow_mut() {
        waiting.push(done);
        return;
    }
    stopping.replace(Some(vec![done]));
    tokio::task::spawn_local(async move {
        let stopped = Rc::clone(&seat).stop(grace).await;
        let waiting = seat.progress().waits().stopping.take();
        // Told when nothing here holds the instance any more.
        contain(|| drop(seat));
        for done in waiting.into_iter().flatten() {
            drop(done.send(stopped.clone()));
        }
    });
}

impl<V: Verticle> Seat<V> {
    fn new(factory: Factory<V>, verticle: V, life: Life) -> Rc<Self> {
        Rc::new_cyclic(|seat| Self {
            factory,
            current: RefCell::new(Rc::new(Instance { verticle, life, seat: seat.clone() })),
            progress: Progress::default(),
            past: OnceCell::new(),
        })
    }

    fn past(&self) -> &Past {
        self.past.get_or_init(Box::default)
    }

    /// The instance that has this place.
    #[inline]
    pub(crate) fn current(&self) -> Rc<Instance<V>> {
        Rc::clone(&self.current.borrow())
    }

    /// What the instance before had registered at this address, for the one that registers now.
    pub(crate) fn claim(&self, life: &Life, name: &Name, spoken: Spoken, kept: &Kept) -> Option<Rc<dyn AnyConsumer>> {
        let mut inherited = self.past.get()?.inherited.borrow_mut();
        if inherited.is_empty() || self.current().life.incarnation != life.incarnation {
            return None;
        }
        let fits = |known: &Rc<dyn AnyConsumer>| {
            known.is_open() && known.name() == name && known.spoken() == spoken && known.kept().fits(kept)
        };
        let found = inherited.iter().enumerate().find_map(|(at, key)| {
            let known = life.core.any_consumer(*key).filter(fits)?;
            Some((at, known))
        });
        let (at, known) = found?;
        inherited.remove(at);
        Some(known)
    }

    fn rebuild_if_it_panicked(self: &Rc<Self>) {
        let panic = self.past.get().and_then(|past| past.panicked_early.take());
        if let Some(panic) = panic {
            self.begin_rebuilding(panic);
        }
    }

    /// Nothing new begins on the instance from now on.
    fn begin_rebuilding(self: &Rc<Self>, panic: String) {
        self.progress.started.set(false);
        self.hand_on();
        let own = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let end = own.rebuild(panic).await;
            contain(|| drop(own));
            end.tell();
        });
    }

    fn hand_on(&self) {
        let handed = self.current().life.hand_on();
        self.past().inherited.borrow_mut().extend(handed);
    }

    async fn rebuild(self: &Rc<Self>, panic: String) -> End {
        let rebuilt = self.progress.unless_cut_off(self.try_until_it_starts(panic)).await;
        self.progress.started.set(true);
        match rebuilt {
            Some(Ok(())) => {
                self.rebuild_if_it_panicked();
                End::default()
            }
            Some(Err(reason)) => {
                let (core, plan, _) = self.whereabouts();
                let by = self.current().life.culprit();
                tracing::error!(deployment = %by, reason, "a deployment is given up: an instance does not stay up");
                core.shared().hook.tell(|| Event::GivenUp { by, reason });
                let end = self.end().await;
                give_up(core.shared(), plan.id);
                end
            }
            None => self.end().await,
        }
    }

    /// Puts another instance in the place; `Err` when that was tried as often as it may be, with the last reason.
    async fn try_until_it_starts(self: &Rc<Self>, mut reason: String) -> Result<(), String> {
        let (core, plan, index) = self.whereabouts();
        loop {
            let Some(pause) = self.next_rebuilding(&plan, &core.shared().clock) else { return Err(reason) };
            if !pause.is_zero() {
                core.shared().clock.sleep(pause).await;
            }
            // Its tasks and its children are gone when the next one starts.
            self.current().life.tasks_gone_soon().await;
            let limits = Limits::within(core.shared(), GRACE_DEFAULT);
            drop(undeploy_children(core.shared(), plan.id, Some(index), limits).await);
            match self.put_another().await {
                Ok(()) => {
                    let times = self.past().rebuilt_at.borrow().len();
                    self.close_what_is_served_no_more();
                    let by = self.current().life.culprit();
                    tracing::warn!(deployment = %by, times, "an instance was rebuilt after a panic");
                    core.shared().hook.tell(|| Event::Rebuilt { by, times });
                    return Ok(());
                }
                Err(failed) => {
                    let by = self.current().life.culprit();
                    tracing::error!(deployment = %by, reason = failed, "an instance could not be rebuilt");
                    reason = failed;
                    self.hand_on();
                }
            }
        }
    }

    fn whereabouts(&self) -> (Rc<LoopCore>, Arc<Plan>, usize) {
        let life = &self.current().life;
        (Rc::clone(&life.core), Arc::clone(&life.plan), life.index)
    }

    fn next_rebuilding(&self, plan: &Plan, clock: &Clock) -> Option<Duration> {
        let mut rebuilt_at = self.past().rebuilt_at.borrow_mut();
        let now = clock.now();
        rebuilt_at.retain(|at| now.saturating_sub(*at) < plan.restart.within());
        let pause = plan.restart.pause(rebuilt_at.len())?;
        rebuilt_at.push_back(now);
        Some(pause)
    }

    async fn put_another(self: &Rc<Self>) -> Result<(), String> {
        let verticle = catch_unwind(AssertUnwindSafe(|| (self.factory)()));
        let verticle = verticle.map_err(|panic| panic_text(panic.as_ref()))?;
        let (core, plan, index) = self.whereabouts();
        let incarnation = self.current().life.incarnation.wrapping_add(1);
        let life = Life::new(&core, plan, index, incarnation);
        let instance = Rc::new(Instance { verticle, life, seat: Rc::downgrade(self) });
        let before = self.current.replace(Rc::clone(&instance));
        contain(|| drop(before));
        let mut starting = pin!(start(&instance));
        let started = poll_fn(|cx| {
            let polled = starting.as_mut().poll(cx);
            // One that panics before it has started is not waited for any longer, and not kept, whatever its start came to.
            self.past().panicked_early.take().map_or(polled, |panic| Poll::Ready(Err(panic)))
        });
        started.await?.map_err(|error| describe(&error))
    }

    /// What the new instance has not registered as well: whoever waits there is told, handlers in flight go on.
    fn close_what_is_served_no_more(&self) {
        let instance = self.current();
        let core = &instance.life.core;
        let owner = Rc::clone(&instance) as Rc<dyn Owner>;
        for known in self.past().inherited.take() {
            if let Some(inherited) = core.any_consumer(known) {
                let consumer = Life::remember(&owner, inherited.name().clone(), known);
                drop(inherited);
                core.count_abandoned(consumer.unregister_now());
            }
        }
    }

    /// The end of an instance that was not running: of one that has not started, or was to be rebuilt.
    async fn end(&self) -> End {
        let instance = self.current();
        let life = &instance.life;
        drop(life.core.take_instance(life.plan.id, life.index));
        let abandoned = self.cut_off();
        life.core.count_abandoned(abandoned);
        life.tasks_gone_soon().await;
        End { stopped: Stopped { abandoned, failure: None }, by: self.progress.waits().cut_off_by.take() }
    }
}

impl<V: Verticle> AnySeat for Seat<V> {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>> {
        Box::pin(async move {
            let instance = self.current();
            let life = &instance.life;
            let clock = life.core.shared().clock.clone();
            let deadline = clock.now().saturating_add(grace);
            life.close_intake();
            // Time that is up while draining is no reason to skip `stop`: it gets what is left, at least one poll.
            let drained = clock.timeout(left(&clock, deadline), life.drained()).await;
            tracing::debug!(deployment = %life.name(), drained = drained.is_ok(), "the intake is closed");
            let ctx = Context::new(Rc::clone(&instance));
            let stopping = catch_panic(life.own(async { instance.verticle.stop(&ctx).await }));
            let failure = match clock.timeout(left(&clock, deadline), stopping).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(error))) => Some(describe(&error)),
                Ok(Err(panic)) => Some(format!("stop panicked: {panic}")),
                Err(_) => Some(format!("stop did not end within {grace:?}")),
            };
            drop(ctx);
            let abandoned = self.cut_off();
            life.core.count_abandoned(abandoned);
            drop(life.core.take_instance(life.plan.id, life.index));
            life.tasks_gone_soon().await;
            Stopped { abandoned, failure }
        })
    }

    fn cut_off(&self) -> usize {
        let instance = self.current();
        for known in self.past.get().map(|past| past.inherited.take()).unwrap_or_default() {
            instance.life.adopt(known);
        }
        instance.life.cut_off()
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn panicked(self: Rc<Self>, incarnation: Option<u32>, panic: &str) {
        let instance = self.current();
        let life = &instance.life;
        let of_another = incarnation.is_some_and(|incarnation| incarnation != life.incarnation);
        if life.plan.restart.keeps() || of_another || self.progress.is_stopping() {
            return;
        }
        if self.progress.started.get() {
            self.begin_rebuilding(panic.to_owned());
        } else if !life.has_ended() {
            self.past().panicked_early.replace(Some(panic.to_owned()));
            // The first start is let come to its end. One in another's place is not: nothing more begins there.
            if life.incarnation > 0 {
                self.hand_on();
                self.progress.wake();
            }
        }
    }
}

impl Life {
    /// This instance, for a person.
    pub(crate) fn culprit(&self) -> Culprit {
        Culprit { verticle: self.name().to_owned(), deployment: self.plan.id, instance: self.index }
    }
}

fn left(clock: &Clock, deadline: Duration) -> Duration {
    deadline.saturating_sub(clock.now())
}

fn describe(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
