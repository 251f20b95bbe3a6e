//! A whole loop against threads that ask its consumer while that one goes away: all of the runtime's code that such a request
//! and an undeployment run through - registry, credit, inbox, driver, mailbox, handler, waker, table of replies.
//!
//! Explored is each order of the steps of what is built over [`crate::sync`]: the registry, the credit and who waits for it,
//! the inbox, the jobs, the driver's and the handler's wakers. Not explored, because they are not ours, and one step each
//! here: the channel that brings an outcome back (tokio's), the queue inside of the inbox (flume's), and the counters. Time
//! stands still: no request is ended by it, so that one that nothing else ends is found as a deadlock. Requests from another
//! loop go the same way from the inbox on; their batches belong to one thread until they are posted.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use shuttle::future::{block_on, yield_now};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::address::Address;
use crate::bus::Bus;
use crate::bus::consume::AnyConsumer;
use crate::bus::consumer::{Bounds, LocalConsumer, Standing};
use crate::bus::credit::Credit;
use crate::bus::drained::Drained;
use crate::bus::registry::{Registration, Spoken};
use crate::bus::route::Route;
use crate::bus::tally::Tally;
use crate::clock::Clock;
use crate::error::RequestError;
use crate::event::Hook;
use crate::event_loop::LoopCore;
use crate::event_loop::driver::Driver;
use crate::event_loop::shared::{Inbox, LoopShared};
use crate::event_loop::watched::Whose;
use crate::registrations::Kept;
use crate::runtime::{Options, Shared};

use super::explore;

const ASK: Address<usize, usize> = Address::new("ask");
const ASKERS: usize = 2;
/// One is measured of so many: none of these.
const ONE_IN: u64 = 1 << 20;

/// How often each message was handled.
type Handled = Arc<[AtomicUsize; ASKERS]>;

fn new_runtime(mailbox: usize) -> (Arc<Shared>, Inbox) {
    let (own, inbox) = LoopShared::new(0, "loop-0".to_owned(), Duration::MAX);
    let options = Options {
        request_timeout: Duration::MAX,
        mailbox,
        blocked_check_interval: Duration::MAX,
        worker_time_max: Duration::MAX,
        single_thread: true,
        handler_time_one_in: ONE_IN,
        carried: Arc::default(),
    };
    let shared = Shared::new(options, Hook::default(), Clock::system(), vec![Arc::new(own)], 1);
    (Arc::new(shared), inbox)
}

/// The one consumer there is.
struct Served {
    core: Rc<LoopCore>,
    consumer: Rc<dyn AnyConsumer>,
}

impl Served {
    /// As a registration does it. Its handler is suspended once, and goes on when its waker has been called.
    fn new(core: &Rc<LoopCore>, handled: &Handled) -> Self {
        let handled = Arc::clone(handled);
        let start = move |number: usize, _headers| {
            handled[number].fetch_add(1, Ordering::SeqCst);
            async move {
                suspend_once().await;
                Ok(number)
            }
        };
        let mailbox = core.shared().options.mailbox;
        let (bounds, credit) = (Bounds { mailbox, in_flight: 1 }, Arc::new(Credit::new(mailbox)));
        let key = core.next_consumer();
        let registration = Registration { event_loop: 0, consumer: key, credit: Arc::clone(&credit) };
        let (spoken, route) = (Spoken::of::<usize, usize>(), Route::RoundRobin);
        let served = core.shared().registry.add(ASK.key(), spoken, route, registration).expect("nobody else serves it");
        let standing = Standing { key, whose: Whose::NOBODY, bounds, credit, served, kept: Kept::handler() };
        let consumer = Rc::new(LocalConsumer::new(standing, Tally::new(ONE_IN), start));
        core.place_consumer(key, Rc::clone(&consumer) as Rc<dyn AnyConsumer>);
        Self { core: Rc::clone(core), consumer }
    }

    /// Nobody can send here any more.
    fn close(&self) {
        self.core.take_back(&*self.consumer);
        self.consumer.close(&self.core);
    }

    fn forget(&self) {
        self.core.remove_consumer(Rc::clone(&self.consumer));
    }
}

async fn suspend_once() {
    let mut suspended = false;
    poll_fn(|cx| match std::mem::replace(&mut suspended, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Two tasks of one thread: they come between one another at awaits alone, and each is polled when its own waker was called
/// and not because the other one's was.
async fn side_by_side(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let mut tasks: [(Pin<Box<dyn Future<Output = ()> + '_>>, bool); 2] =
        [(Box::pin(first), false), (Box::pin(second), false)];
    let mut called: Option<[Arc<Called>; 2]> = None;
    poll_fn(|cx| {
        let called = called.get_or_insert_with(|| [Called::new(cx.waker()), Called::new(cx.waker())]);
        for ((task, ended), called) in tasks.iter_mut().zip(called) {
            if !*ended && called.called.swap(false, Ordering::SeqCst) {
                let waker = Waker::from(Arc::clone(called));
                *ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            }
        }
        if tasks.iter().all(|(_, ended)| *ended) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A task's waker.
struct Called {
    called: AtomicBool,
    thread: Waker,
}

impl Called {
    fn new(thread: &Waker) -> Arc<Self> {
        Arc::new(Self { called: AtomicBool::new(true), thread: thread.clone() })
    }
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.called.store(true, Ordering::SeqCst);
        self.thread.wake_by_ref();
    }
}

/// What the requests ended in.
#[derive(Debug, Default)]
struct Ends {
    replied: usize,
    closed: usize,
    nobody: usize,
    full: usize,
}

/// Runs the loop on this thread and the askers on theirs; `undeploy` is a task of the loop, after which that is told to end.
fn run<F: Future<Output = ()> + 'static>(mailbox: usize, undeploy: impl FnOnce(Served) -> F) -> Ends {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a clock for the driver");
    let _tokio = tokio.enter();
    let (shared, inbox) = new_runtime(mailbox);
    let own = shared.event_loop(0);
    let core = LoopCore::new(Arc::clone(&own), &shared);
    let handled = Handled::default();
    let undeploying = undeploy(Served::new(&core, &handled));
    let askers: Vec<_> = (0..ASKERS)
        .map(|number| {
            let bus = Bus { shared: Arc::clone(&shared) };
            thread::spawn(move || block_on(bus.request(ASK, number)))
        })
        .collect();
    block_on(side_by_side(Driver::new(core, inbox).run(), async move {
        undeploying.await;
        own.stop();
    }));
    let mut ends = Ends::default();
    for (number, asker) in askers.into_iter().enumerate() {
        let outcome = asker.join().expect("it ends");
        let times = handled[number].load(Ordering::SeqCst);
        match outcome {
            Ok(reply) => {
                assert_eq!((reply, times), (number, 1));
                ends.replied += 1;
            }
            Err(RequestError::Closed { .. }) => {
                assert!(times <= 1);
                ends.closed += 1;
            }
            Err(RequestError::NoHandlers { .. }) => {
                assert_eq!(times, 0);
                ends.nobody += 1;
            }
            Err(RequestError::Overloaded { .. }) => {
                assert_eq!(times, 0);
                ends.full += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    ends
}

/// Whether what is counted has been seen in some order: a scenario that never comes there explores nothing.
fn expect_some(seen: &std::sync::atomic::AtomicUsize) {
    assert!(seen.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_request_that_was_accepted_is_replied_to_and_one_that_comes_later_finds_nobody() {
    static REPLIED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    static NOBODY: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    explore(|| {
        let ends = run(ASKERS, |served| async move {
            yield_now().await;
            served.close();
            Drained::new(Rc::clone(&served.consumer)).await;
            assert_eq!(served.consumer.credit().taken(), 0);
            served.forget();
        });
        assert_eq!((ends.closed, ends.full), (0, 0), "{ends:?}");
        REPLIED.fetch_add(ends.replied, Ordering::SeqCst);
        NOBODY.fetch_add(ends.nobody, Ordering::SeqCst);
    });
    expect_some(&REPLIED);
    expect_some(&NOBODY);
}

#[test]
fn a_request_whose_consumer_is_given_up_ends_once_replied_to_or_closed() {
    static CLOSED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    explore(|| {
        let abandoned = Rc::new(Cell::new(0));
        let told = Rc::clone(&abandoned);
        let ends = run(ASKERS, |served| async move {
            yield_now().await;
            served.close();
            yield_now().await;
            told.set(served.consumer.abandon(&served.core));
            served.forget();
        });
        assert_eq!(ends.full, 0, "{ends:?}");
        // Whoever was given up is told, and nobody else is told so.
        assert_eq!(ends.closed, abandoned.get(), "{ends:?}");
        CLOSED.fetch_add(ends.closed, Ordering::SeqCst);
    });
    expect_some(&CLOSED);
}

#[test]
fn a_request_to_a_loop_that_ends_ends_once() {
    static CLOSED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    explore(|| {
        let ends = run(ASKERS, |served| async move {
            yield_now().await;
            drop(served);
        });
        CLOSED.fetch_add(ends.closed, Ordering::SeqCst);
    });
    expect_some(&CLOSED);
}

#[test]
fn a_mailbox_for_one_takes_one_and_the_other_is_told() {
    static FULL: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    explore(|| {
        let ends = run(1, |served| async move {
            yield_now().await;
            served.close();
            Drained::new(Rc::clone(&served.consumer)).await;
            served.forget();
        });
        assert_eq!(ends.closed, 0, "{ends:?}");
        FULL.fetch_add(ends.full, Ordering::SeqCst);
    });
    expect_some(&FULL);
}
