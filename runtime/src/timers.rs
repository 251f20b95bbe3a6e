//! Timers of an instance: once, again and again, or to be awaited. They end with it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::context::{Context, Occasion};
use crate::life::{Life, Task};
use crate::panic::catch_panic;
use crate::verticle::Verticle;

/// The shortest delay and period.
const SHORTEST: Duration = Duration::from_millis(1);
/// Timers an instance may have at a time.
const TIMERS_MAX: usize = 65_536;

/// Names a timer for as long as the runtime lives: they are counted upwards from 0, over all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a timer was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimerError {
    /// A duration outside its range.
    #[error("{key} is {given:?}, it must be at least 1 ms")]
    TooShort {
        /// `delay` or `period`.
        key: &'static str,
        /// What was given.
        given: Duration,
    },
    /// The instance has as many timers as it may have at a time.
    #[error("the instance has {TIMERS_MAX} timers, it may have no more at a time")]
    TooMany,
    /// The instance has stopped; nothing of it would fire any more.
    #[error("the instance has stopped")]
    Stopped,
}

/// What an awaited timer ends in when it does not fire: it was cancelled, or its instance has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the timer was cancelled")]
pub struct TimerCancelled;

/// A timer to be awaited; see [`Context::timer`]. Dropped, it is cancelled.
#[derive(Debug)]
#[must_use = "a timer that is dropped is cancelled"]
pub struct Timer {
    id: TimerId,
    fired: oneshot::Receiver<()>,
}

impl Timer {
    /// Its number, for [`Context::cancel_timer`].
    pub fn id(&self) -> TimerId {
        self.id
    }
}

impl Future for Timer {
    type Output = Result<(), TimerCancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.fired).poll(cx)).map_err(|_| TimerCancelled))
    }
}

/// The timers of an instance that have not fired for the last time, each with the task that waits for it.
#[derive(Default)]
pub(crate) struct Timers(RefCell<BTreeMap<TimerId, Running>>);

struct Running {
    task: Task,
    /// Its handler runs: cancelled now, it is not to be cut off in the middle.
    in_handler: Rc<Cell<bool>>,
}

impl Timers {
    /// Forgets the timer; whether there was such a one.
    fn remove(&self, id: TimerId) -> Option<Running> {
        self.0.borrow_mut().remove(&id)
    }

    fn has(&self, id: TimerId) -> bool {
        self.0.borrow().contains_key(&id)
    }
}

/// Takes a timer out of its instance's table when its task goes, however it goes.
struct Leaving<V: Verticle> {
    ctx: Context<V>,
    id: TimerId,
}

impl<V: Verticle> Leaving<V> {
    fn timers(&self) -> &Timers {
        &self.ctx.instance.life.more().timers
    }
}

impl<V: Verticle> Drop for Leaving<V> {
    fn drop(&mut self) {
        self.timers().remove(self.id);
    }
}

impl<V: Verticle> Context<V> {
    /// Runs the handler once, not before the delay has passed.
    ///
    /// The handler runs on this instance's loop, as a task of the instance; a panic in it is logged and counted. The timer
    /// ends with the instance: while that is being undeployed it still fires, until `stop` has finished.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use vertebra::{Address, BoxError, Context, Deploy, Verticle, testing::TestRuntime};
    /// const REMINDED: Address<()> = Address::new("reminded");
    /// struct Reminder;
    /// impl Verticle for Reminder {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.set_timer(Duration::from_secs(3_600), |ctx| async move {
    ///             ctx.bus().publish(REMINDED, ());
    ///         })?;
    ///         Ok(())
    ///     }
    /// }
    /// # TestRuntime::paused(|rt| async move { rt.deploy(Deploy::new(|| Reminder)).await.unwrap(); });
    /// ```
    ///
    /// # Errors
    /// [`TimerError`] when the delay is below 1 ms, when the instance has 65,536 timers, or when it has stopped.
    pub fn set_timer<R>(
        &self,
        delay: Duration,
        handler: impl FnOnce(Self) -> R + 'static,
    ) -> Result<TimerId, TimerError>
    where
        R: Future<Output = ()> + 'static,
    {
        self.run_timer(at_least("delay", delay)?, |timer, due, _| async move {
            timer.ctx.clock().at(due).await;
            // It has fired from here on: cancelling it comes too late.
            if timer.timers().remove(timer.id).is_some() {
                tick(&timer.ctx, handler).await;
            }
        })
    }

    /// Runs the handler again and again, a period after this call for the first time. As
    /// [`set_periodic_after`](Self::set_periodic_after) otherwise.
    ///
    /// ```
    /// # use std::{cell::Cell, time::Duration};
    /// # use vertebra::{BoxError, Context, Deploy, Verticle, testing::TestRuntime};
    /// #[derive(Default)]
    /// struct Clockwork { ticks: Cell<u32> }
    /// impl Verticle for Clockwork {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.set_periodic(Duration::from_secs(1), |ctx| async move {
    ///             let ticks = ctx.verticle().ticks.get() + 1;
    ///             ctx.verticle().ticks.set(ticks);
    ///             if let Some(timer) = ctx.timer_id().filter(|_| ticks == 10) {
    ///                 ctx.cancel_timer(timer);
    ///             }
    ///         })?;
    ///         Ok(())
    ///     }
    /// }
    /// # TestRuntime::paused(|rt| async move { rt.deploy(Deploy::new(Clockwork::default)).await.unwrap(); });
    /// ```
    ///
    /// # Errors
    /// As for [`set_timer`](Self::set_timer), of the period.
    pub fn set_periodic<R>(
        &self,
        period: Duration,
        handler: impl FnMut(Self) -> R + 'static,
    ) -> Result<TimerId, TimerError>
    where
        R: Future<Output = ()> + 'static,
    {
        self.set_periodic_after(period, period, handler)
    }

    /// Runs the handler after the initial delay, which may be zero, and then once in each period.
    ///
    /// Each tick has a context of its own. Ticks keep to the grid of the period, and there is one at a time: those that
    /// fall due while the handler of one before still runs are left out. A handler that panics does not end the timer.
    ///
    /// # Errors
    /// As for [`set_timer`](Self::set_timer), of the period.
    pub fn set_periodic_after<R>(
        &self,
        initial_delay: Duration,
        period: Duration,
        mut handler: impl FnMut(Self) -> R + 'static,
    ) -> Result<TimerId, TimerError>
    where
        R: Future<Output = ()> + 'static,
    {
        let period = nanos(at_least("period", period)?);
        self.run_timer(initial_delay, move |timer, mut due, in_handler| async move {
            loop {
                timer.ctx.clock().at(due).await;
                in_handler.set(true);
                tick(&timer.ctx, &mut handler).await;
                in_handler.set(false);
                if !timer.timers().has(timer.id) {
                    break;
                }
                let passed = timer.ctx.clock().ticks().saturating_sub(due);
                due = due.saturating_add((passed / period + 1).saturating_mul(period));
            }
        })
    }

    /// A timer to be awaited. Cancelled by its number, or ended with its instance, it resolves to an error.
    ///
    /// Cancel safe; it may be awaited anywhere, also on another thread.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use vertebra::{BoxError, Context, Deploy, TimerCancelled, Verticle, testing::TestRuntime};
    /// struct Patient;
    /// impl Verticle for Patient {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.timer(Duration::from_millis(5))?.await?;
    ///         let other = ctx.timer(Duration::from_millis(5))?;
    ///         assert!(ctx.cancel_timer(other.id()));
    ///         assert_eq!(other.await, Err(TimerCancelled));
    ///         Ok(())
    ///     }
    /// }
    /// # TestRuntime::paused(|rt| async move { rt.deploy(Deploy::new(|| Patient)).await.unwrap(); });
    /// ```
    ///
    /// # Errors
    /// As for [`set_timer`](Self::set_timer).
    pub fn timer(&self, delay: Duration) -> Result<Timer, TimerError> {
        let (mut tell, fired) = oneshot::channel();
        let id = self.run_timer(at_least("delay", delay)?, |timer, due, _| async move {
            let mut sleep = pin!(timer.ctx.clock().at(due));
            let wanted = poll_fn(|cx| match tell.poll_closed(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => sleep.as_mut().poll(cx).map(|()| true),
            });
            if wanted.await && timer.timers().remove(timer.id).is_some() {
                let _whoever_waits_may_be_gone = tell.send(());
            }
        })?;
        Ok(Timer { id, fired })
    }

    /// Keeps a timer of this instance from firing any more, and says whether that was so: `false` when there is no such
    /// timer, or it has fired already. A periodic timer that is cancelled by its own handler finishes that one tick.
    pub fn cancel_timer(&self, id: TimerId) -> bool {
        let Some(cancelled) = self.instance.life.more().timers.remove(id) else { return false };
        if !cancelled.in_handler.get() {
            cancelled.task.abort();
        }
        true
    }

    /// The timer whose handler this context was made for.
    pub fn timer_id(&self) -> Option<TimerId> {
        match self.occasion {
            Occasion::Timer(id) => Some(id),
            _ => None,
        }
    }

    /// Sets a timer: a task that is given when it is due.
    fn run_timer<R>(
        &self,
        delay: Duration,
        wait: impl FnOnce(Leaving<V>, u64, Rc<Cell<bool>>) -> R,
    ) -> Result<TimerId, TimerError>
    where
        R: Future<Output = ()> + 'static,
    {
        let life = &self.instance.life;
        if life.has_ended() {
            return Err(TimerError::Stopped);
        }
        if life.more().timers.0.borrow().len() >= TIMERS_MAX {
            return Err(TimerError::TooMany);
        }
        let id = TimerId(life.core.shared().next_timer.fetch_add(1, Ordering::Relaxed));
        let due = life.core.shared().clock.ticks().saturating_add(nanos(delay));
        let ctx = Self::on(Rc::clone(&self.instance), Occasion::Timer(id));
        let in_handler = Rc::new(Cell::new(false));
        // The task cannot have run when it is put into the table: it shares this thread.
        let task = self.spawn(wait(Leaving { ctx, id }, due, Rc::clone(&in_handler)));
        life.more().timers.0.borrow_mut().insert(id, Running { task, in_handler });
        Ok(id)
    }
}

/// Runs the handler of a timer that is due, in a context of its own.
async fn tick<V: Verticle, R: Future<Output = ()>>(ctx: &Context<V>, handler: impl FnOnce(Context<V>) -> R) {
    let own = ctx.clone();
    if let Err(panic) = catch_panic(async { handler(own).await }).await {
        let life: &Life = &ctx.instance.life;
        life.panicked("a timer's handler", &panic);
    }
}

fn at_least(key: &'static str, given: Duration) -> Result<Duration, TimerError> {
    if given < SHORTEST { Err(TimerError::TooShort { key, given }) } else { Ok(given) }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
