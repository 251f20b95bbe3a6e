//! What every thread may touch of an event loop: its inbox, its jobs, its wake-up.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::bus::consume::ConsumerKey;
use crate::bus::waiters::Waiters;
use crate::metrics::LoopMetrics;
use crate::runtime::Shared;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{self, Mutex, MutexGuard, PoisonError};

use super::watched::Watched;
use super::{LoopCore, with_current};

/// Parcels an event loop's inbox holds: batches, not messages. A sender that finds it full keeps its batch.
const INBOX_PARCELS: usize = 1_024;

/// A batch that another thread has for a loop.
pub(crate) trait Parcel: Send {
    fn open(self: Box<Self>, core: &Rc<LoopCore>);
    /// The content, for a sender that could not post it.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// It was posted and the loop has ended; on whatever thread this is, whoever waits for what it holds is told.
    fn lost(self: Box<Self>, shared: &Arc<Shared>);
}

/// What was found in the inbox of a loop that has ended.
pub(crate) type Stranded = Vec<Box<dyn Parcel>>;

/// Something to do on a loop, that may not get lost for want of room: a start or a stop.
pub(crate) type Job = Box<dyn FnOnce(&Rc<LoopCore>) + Send>;

/// A parcel that was not taken.
pub(crate) enum Refused {
    /// The inbox is full.
    Full(Box<dyn Parcel>),
    /// The loop has ended.
    Ended(Box<dyn Parcel>),
}

/// What every thread may touch of a loop.
pub(crate) struct LoopShared {
    pub(crate) id: usize,
    pub(crate) name: String,
    inbox: flume::Sender<Box<dyn Parcel>>,
    /// The other end, for a poster that finds that the loop has ended behind its back.
    leftover: flume::Receiver<Box<dyn Parcel>>,
    /// Whoever waits for room in the inbox.
    pub(crate) room: Waiters,
    jobs: Mutex<Jobs>,
    notified: AtomicBool,
    stopping: AtomicBool,
    ended: AtomicBool,
    driver: Mutex<Option<Waker>>,
    woken: Mutex<Vec<(ConsumerKey, u32)>>,
    /// Signs of life.
    pub(crate) watched: Watched,
    /// How long its code may keep the loop before that is said to block it.
    pub(crate) busy_max: Duration,
    /// Handlers that panicked here.
    pub(crate) panics: AtomicU64,
    /// Messages given up here because their verticle did not finish them in its time.
    pub(crate) abandoned: AtomicU64,
}

/// Bounded by what there is to start and stop: at most one of each for an instance.
#[derive(Default)]
struct Jobs {
    ended: bool,
    waiting: Vec<Job>,
}

impl std::fmt::Debug for LoopShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The receiving end of an inbox, on its way to the thread that will own it.
pub(crate) struct Inbox(flume::Receiver<Box<dyn Parcel>>);

impl Inbox {
    pub(crate) fn take(&self) -> Option<Box<dyn Parcel>> {
        sync::step();
        self.0.try_recv().ok()
    }
}

impl LoopShared {
    pub(crate) fn new(id: usize, name: String, busy_max: Duration) -> (Self, Inbox) {
        let (inbox, receiver) = flume::bounded(INBOX_PARCELS);
        let shared = Self {
            id,
            name,
            inbox,
            leftover: receiver.clone(),
            room: Waiters::default(),
            jobs: Mutex::default(),
            notified: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            driver: Mutex::new(None),
            woken: Mutex::default(),
            watched: Watched::default(),
            busy_max,
            panics: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        };
        (shared, Inbox(receiver))
    }

    // ---- for any thread

    /// Posts a parcel; back it comes when the inbox is full or the loop has ended. What is stranded there, if the loop ends
    /// at this moment, is given to be told.
    pub(crate) fn try_post(&self, parcel: Box<dyn Parcel>) -> Result<Stranded, Refused> {
        if self.has_ended() {
            return Err(Refused::Ended(parcel));
        }
        sync::step();
        match self.inbox.try_send(parcel) {
            Ok(()) => {
                self.notify();
                // The loop empties its inbox after it has said that it ends. Who posts after that empties it himself.
                Ok(if self.has_ended() { self.empty_inbox() } else { Vec::new() })
            }
            Err(flume::TrySendError::Full(parcel)) => Err(Refused::Full(parcel)),
            Err(flume::TrySendError::Disconnected(parcel)) => Err(Refused::Ended(parcel)),
        }
    }

    /// Whether posting makes sense: there is room, or there never will be.
    pub(crate) fn is_worth_a_post(&self) -> bool {
        self.has_ended() || !self.inbox.is_full()
    }

    /// Has something done on the loop. Never waits and is never refused for want of room; when the loop has ended the
    /// job is dropped.
    pub(crate) fn do_job(&self, job: impl FnOnce(&Rc<LoopCore>) + Send + 'static) {
        let mut job: Option<Job> = Some(Box::new(job));
        {
            let mut jobs = lock(&self.jobs);
            if !jobs.ended {
                jobs.waiting.extend(job.take());
            }
        }
        match job {
            // What it holds is foreign: not under the lock.
            Some(late) => drop(late),
            None => self.notify(),
        }
    }

    /// The loop ends with its next turn.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Has the loop take a turn, whether or not there is anything to do: a sign of life.
    pub(crate) fn nudge(&self) {
        self.notify();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Makes the driver run. The flag spares the wake-up - a system call - when one is on its way already.
    fn notify(&self) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            let driver = lock(&self.driver).clone();
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }

    pub(crate) fn empty_inbox(&self) -> Stranded {
        let take = |_| {
            sync::step();
            self.leftover.try_recv().ok()
        };
        (0..INBOX_PARCELS).map_while(take).collect()
    }

    /// What any thread may know of how the loop stands.
    pub(crate) fn measure(&self, metrics: &mut LoopMetrics) {
        metrics.name.clone_from(&self.name);
        metrics.inbox = self.inbox.len();
        metrics.panics = self.panics.load(Ordering::Relaxed);
        metrics.abandoned = self.abandoned.load(Ordering::Relaxed);
    }

    // ---- for the driver

    pub(super) fn set_driver(&self, driver: Option<Waker>) {
        let before = std::mem::replace(&mut *lock(&self.driver), driver);
        drop(before);
    }

    /// Whether anybody has posted, given a job or woken a handler since the last time. From now on who does so wakes the
    /// driver again; so this is asked before one looks for what there is.
    pub(super) fn take_notified(&self) -> bool {
        // Whoever sets it wakes the driver afterwards: what is missed here is seen in the next turn.
        self.notified.load(Ordering::Acquire) && self.notified.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn take_woken(&self) -> Vec<(ConsumerKey, u32)> {
        std::mem::take(&mut *lock(&self.woken))
    }

    pub(super) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut lock(&self.jobs).waiting)
    }

    /// Nothing is taken any more; gives the jobs that come too late.
    pub(crate) fn end(&self) -> Vec<Job> {
        self.ended.store(true, Ordering::SeqCst);
        let mut jobs = lock(&self.jobs);
        jobs.ended = true;
        std::mem::take(&mut jobs.waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The waker of one handler's slot. Numbers only, because wakers travel to other threads and handlers do not.
pub(crate) struct SlotWaker {
    home: Arc<LoopShared>,
    consumer: ConsumerKey,
    slot: u32,
    /// It was called on its own loop, which has not noticed yet.
    called_here: AtomicBool,
    /// It was called on another thread, and its loop has not noticed yet.
    called: AtomicBool,
}

impl SlotWaker {
    pub(crate) fn new(home: &Arc<LoopShared>, consumer: ConsumerKey, slot: u32) -> Arc<Self> {
        Arc::new(Self {
            home: Arc::clone(home),
            consumer,
            slot,
            called_here: AtomicBool::new(false),
            called: AtomicBool::new(false),
        })
    }

    /// Its loop has noticed that it was called, and looks what there is to do now: from now on a call counts again.
    pub(crate) fn noticed(&self) {
        self.called_here.store(false, Ordering::Relaxed);
        // A swap and not a store: who called meanwhile and found it called already has done so for something that the poll
        // must see. In the usual case nobody has, and that costs no locked instruction.
        if self.called.load(Ordering::Relaxed) {
            self.called.swap(false, Ordering::AcqRel);
        }
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = with_current(|core| {
            let here = Arc::ptr_eq(core.own(), &self.home);
            // Touched by the loop's own thread alone: no locked instruction.
            if here && !self.called_here.load(Ordering::Relaxed) {
                self.called_here.store(true, Ordering::Relaxed);
                core.resume_later(self.consumer, self.slot);
            }
            here
        });
        if here == Some(true) || self.called.swap(true, Ordering::AcqRel) {
            return;
        }
        // A loop that has ended resumes nothing; what wakes it then would only pile up.
        if !self.home.has_ended() {
            lock(&self.home.woken).push((self.consumer, self.slot));
            self.home.notify();
        }
    }
}
