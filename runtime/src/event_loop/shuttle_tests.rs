//! What several threads do with a mailbox, a loop's inbox and a waker, in every order that shuttle comes to: nothing is
//! lost, nothing is handed over twice, and nobody waits for what has come already. A thread that waits for ever is found
//! by shuttle itself, as a deadlock.

mod whole_loop;

use std::any::Any;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::bus::consume::ConsumerKey;
use crate::bus::credit::Credit;
use crate::runtime::Shared;

use super::LoopCore;
use super::shared::{Inbox, LoopShared, Parcel, Refused, SlotWaker};

/// Orders tried at random, and as many with few changes of thread at the worst places.
const ROUNDS: usize = 3_000;

fn explore(scenario: fn()) {
    shuttle::check_random(scenario, ROUNDS);
    shuttle::check_pct(scenario, ROUNDS, 3);
}

/// What became of the parcels.
#[derive(Default)]
struct Tally {
    taken: AtomicUsize,
    dropped: AtomicUsize,
    returned: AtomicUsize,
}

impl Tally {
    fn count(of: &AtomicUsize) -> usize {
        of.load(Ordering::SeqCst)
    }
}

/// Counted when it goes, unless it was taken or came back.
struct Counted(Option<Arc<Tally>>);

impl Counted {
    fn take(mut self: Box<Self>, to: fn(&Tally) -> &AtomicUsize) {
        if let Some(tally) = self.0.take() {
            to(&tally).fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(tally) = self.0.take() {
            tally.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Parcel for Counted {
    fn open(self: Box<Self>, _: &Rc<LoopCore>) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn lost(self: Box<Self>, _: &Arc<Shared>) {}
}

fn counted(parcel: Box<dyn Parcel>) -> Box<Counted> {
    parcel.into_any().downcast().expect("no other parcels are posted here")
}

fn new_loop() -> (Arc<LoopShared>, Inbox) {
    let (own, inbox) = LoopShared::new(0, "loop-0".to_owned(), Duration::MAX);
    (Arc::new(own), inbox)
}

/// Turns of a loop, as its driver takes them: asks whether it was notified, and only then looks for what there is.
fn turns(own: &LoopShared, mut look: impl FnMut() -> bool) {
    block_on(poll_fn(|cx| {
        own.set_driver(Some(cx.waker().clone()));
        let done = own.take_notified() && look();
        if done { Poll::Ready(()) } else { Poll::Pending }
    }));
}

fn post(own: &Arc<LoopShared>, tally: &Arc<Tally>, parcels: usize) -> thread::JoinHandle<()> {
    let (own, tally) = (Arc::clone(own), Arc::clone(tally));
    thread::spawn(move || {
        for _ in 0..parcels {
            match own.try_post(Box::new(Counted(Some(Arc::clone(&tally))))) {
                Ok(stranded) => drop(stranded),
                Err(Refused::Full(parcel) | Refused::Ended(parcel)) => counted(parcel).take(|tally| &tally.returned),
            }
        }
    })
}

#[test]
fn a_parcel_that_was_posted_is_seen_by_its_loop() {
    explore(|| {
        let (own, inbox) = new_loop();
        let tally = Arc::new(Tally::default());
        let posters = [post(&own, &tally, 2), post(&own, &tally, 2)];
        turns(&own, || {
            while let Some(parcel) = inbox.take() {
                counted(parcel).take(|tally| &tally.taken);
            }
            Tally::count(&tally.taken) == 4
        });
        posters.into_iter().for_each(|poster| poster.join().unwrap());
    });
}

#[test]
fn a_parcel_is_taken_dropped_or_given_back_by_a_loop_that_ends_and_never_stays_behind() {
    explore(|| {
        let (own, inbox) = new_loop();
        let tally = Arc::new(Tally::default());
        let posters = [post(&own, &tally, 2), post(&own, &tally, 2)];
        turns(&own, || {
            if let Some(parcel) = inbox.take() {
                counted(parcel).take(|tally| &tally.taken);
            }
            true
        });
        drop(own.end());
        while let Some(late) = inbox.take() {
            drop(late);
        }
        drop(inbox);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        let seen = [&tally.taken, &tally.dropped, &tally.returned].map(Tally::count);
        assert_eq!(seen.iter().sum::<usize>(), 4, "taken, dropped, returned: {seen:?}");
        assert_eq!(Arc::strong_count(&tally), 1, "a parcel stayed in the inbox");
    });
}

#[test]
fn a_job_is_done_or_dropped_and_never_stays_behind() {
    explore(|| {
        let (own, _inbox) = new_loop();
        let token = Arc::new(());
        let (giving, held) = (Arc::clone(&own), Arc::clone(&token));
        let giver = thread::spawn(move || {
            for _ in 0..2 {
                let held = Arc::clone(&held);
                giving.do_job(move |_| drop(held));
            }
        });
        turns(&own, || !own.take_jobs().is_empty());
        drop(own.end());
        giver.join().unwrap();
        assert_eq!(Arc::strong_count(&token), 1, "a job stayed behind");
    });
}

/// Takes a place, waiting for one as `send` does; `false` when the mailbox is closed.
fn take_place(credit: &Credit, ticket: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<bool> {
    loop {
        if credit.take(1) == 1 {
            return Poll::Ready(true);
        }
        if credit.is_closed() {
            return Poll::Ready(false);
        }
        *ticket = Some(credit.waiters.wait(*ticket, cx.waker()));
        if !credit.is_worth_a_try() {
            return Poll::Pending;
        }
    }
}

fn send(credit: &Credit) -> bool {
    let mut ticket = None;
    let sent = block_on(poll_fn(|cx| take_place(credit, &mut ticket, cx)));
    if let Some(ticket) = ticket {
        credit.waiters.stop_waiting(ticket);
    }
    sent
}

#[test]
fn whoever_waits_for_room_gets_it_when_it_comes_and_no_more_is_given_than_there_is() {
    explore(|| {
        let credit = Arc::new(Credit::new(1));
        let in_mailbox = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (credit, in_mailbox) = (Arc::clone(&credit), Arc::clone(&in_mailbox));
                thread::spawn(move || {
                    assert!(send(&credit));
                    assert_eq!(in_mailbox.fetch_add(1, Ordering::SeqCst), 0, "two in a mailbox for one");
                    // The consumer takes it out, and gives the place back afterwards.
                    in_mailbox.fetch_sub(1, Ordering::SeqCst);
                    credit.give_back(1);
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(credit.taken(), 0);
    });
}

#[test]
fn a_sender_that_goes_away_takes_nobodys_room_with_it() {
    explore(|| {
        let credit = Arc::new(Credit::new(1));
        assert_eq!(credit.take(1), 1);
        let impatient = {
            let credit = Arc::clone(&credit);
            thread::spawn(move || {
                // Looks once and leaves, whether or not it was woken meanwhile.
                let ticket = credit.waiters.wait(None, Waker::noop());
                credit.waiters.stop_waiting(ticket);
            })
        };
        let patient = {
            let credit = Arc::clone(&credit);
            thread::spawn(move || assert!(send(&credit)))
        };
        credit.give_back(1);
        impatient.join().unwrap();
        patient.join().unwrap();
        assert_eq!(credit.taken(), 1);
    });
}

#[test]
fn undeploying_ends_when_what_was_accepted_is_handled_and_nothing_is_accepted_after_that() {
    explore(|| {
        let credit = Arc::new(Credit::new(1));
        let drained = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (credit, drained) = (Arc::clone(&credit), Arc::clone(&drained));
                thread::spawn(move || {
                    let accepted = send(&credit);
                    if accepted {
                        assert!(!drained.load(Ordering::SeqCst), "accepted after the end");
                        credit.give_back(1);
                    }
                })
            })
            .collect();
        credit.close();
        let mut ticket = None;
        block_on(poll_fn(|cx| {
            if credit.taken() == 0 {
                return Poll::Ready(());
            }
            ticket = Some(credit.waiters.wait(ticket, cx.waker()));
            if credit.taken() == 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        drained.store(true, Ordering::SeqCst);
        assert_eq!(credit.take(1), 0);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn a_handler_that_was_woken_from_another_thread_is_resumed_for_all_that_it_waits_for() {
    explore(|| {
        let (own, _inbox) = new_loop();
        let consumer = ConsumerKey { place: 0, generation: 1 };
        let flag = SlotWaker::new(&own, consumer, 0);
        let replies: Arc<[AtomicBool; 2]> = Arc::default();
        let answering: Vec<_> = (0..2)
            .map(|which| {
                let (waker, replies) = (Waker::from(Arc::clone(&flag)), Arc::clone(&replies));
                thread::spawn(move || {
                    replies[which].store(true, Ordering::SeqCst);
                    waker.wake();
                })
            })
            .collect();
        let poll_handler = || replies.iter().all(|reply| reply.load(Ordering::SeqCst));
        let mut finished = poll_handler();
        if !finished {
            turns(&own, || {
                for (woken, _) in own.take_woken() {
                    assert_eq!(woken, consumer);
                    flag.noticed();
                    finished |= poll_handler();
                }
                finished
            });
        }
        answering.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
