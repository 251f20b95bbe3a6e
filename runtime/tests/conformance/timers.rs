//! Timers: when they fire, how often, where, and who can stop them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{BoxError, Context, Deploy, TimerCancelled, TimerError, TimerId, Verticle};

use crate::kit::{NOTES, starting};
use crate::promises;
use crate::support::{OnDrop, Seen, eventually};

const MS: Duration = Duration::from_millis(1);

promises! {
    /// A timer fires once and not before its time, and its handler can tell which one it is.
    async fn v181_a_timer_fires_once_and_not_before_its_time(rt: &TestRuntime) {
        let (set, fired) = (Seen::default(), Seen::default());
        let (noted, ticked) = (set.clone(), fired.clone());
        starting(&rt, move |ctx| {
            let (noted, ticked) = (noted.clone(), ticked.clone());
            async move {
                for delay in [5, 1, 20] {
                    let ticked = ticked.clone();
                    let due = ctx.clock().now() + delay * MS;
                    let id = ctx.set_timer(delay * MS, move |ctx| async move {
                        ticked.note((ctx.timer_id().unwrap(), ctx.clock().now() >= due));
                    }).unwrap();
                    noted.note(id);
                }
                assert_eq!(ctx.timer_id(), None);
            }
        }).await;
        eventually(rt.clock(), "all have fired", || fired.len() == 3).await;
        rt.clock().sleep(50 * MS).await;
        let set = set.all();
        assert_eq!(fired.all(), [(set[1], true), (set[0], true), (set[2], true)]);
    }

    /// A timer whose periodic ticks are on their grid, whatever the first delay, and one at a time.
    async fn v181_a_periodic_timer_fires_until_it_is_cancelled(rt: &TestRuntime) {
        let ticks = Seen::default();
        let ticked = ticks.clone();
        starting(&rt, move |ctx| {
            let ticked = ticked.clone();
            async move {
                let count = Cell::new(0);
                ctx.set_periodic_after(Duration::ZERO, 2 * MS, move |ctx| {
                    let ticked = ticked.clone();
                    count.set(count.get() + 1);
                    let last = count.get() == 4;
                    async move {
                        let id = ctx.timer_id().unwrap();
                        let cancelled = last && ctx.cancel_timer(id);
                        ctx.clock().sleep(MS).await;
                        ticked.note(cancelled);
                    }
                }).unwrap();
            }
        }).await;
        eventually(rt.clock(), "it has fired four times", || ticks.len() == 4).await;
        rt.clock().sleep(20 * MS).await;
        assert_eq!(ticks.all(), [false, false, false, true], "cancelled by its own handler, that tick was finished");
    }

    /// A delay or period below 1 ms is refused by name and value; a first delay of 0 is none too short.
    async fn v184_a_delay_below_a_millisecond_is_refused(rt: &TestRuntime) {
        let fired = Seen::default();
        let ticked = fired.clone();
        starting(&rt, move |ctx| {
            let ticked = ticked.clone();
            async move {
                for given in [Duration::ZERO, Duration::from_micros(999)] {
                    let too_short = |key| Some(TimerError::TooShort { key, given });
                    assert_eq!(ctx.set_timer(given, |_| async {}).err(), too_short("delay"));
                    assert_eq!(ctx.timer(given).err(), too_short("delay"));
                    assert_eq!(ctx.set_periodic(given, |_| async {}).err(), too_short("period"));
                    assert_eq!(ctx.set_periodic_after(MS, given, |_| async {}).err(), too_short("period"));
                }
                ctx.set_periodic_after(Duration::ZERO, 3_600_000 * MS, move |_| {
                    ticked.note(());
                    async {}
                }).unwrap();
            }
        }).await;
        eventually(rt.clock(), "the one with no first delay has fired", || fired.len() == 1).await;
        let text = TimerError::TooShort { key: "delay", given: Duration::ZERO }.to_string();
        assert_eq!(text, "delay is 0ns, it must be at least 1 ms");
    }

    /// Cancelling says whether it kept the timer from firing; when it says so, the handler never runs.
    async fn v185_a_cancelled_timer_never_fires(rt: &TestRuntime) {
        let (fired, said) = (Seen::default(), Seen::default());
        let (ticked, answers) = (fired.clone(), said.clone());
        starting(&rt, move |ctx| {
            let (ticked, answers) = (ticked.clone(), answers.clone());
            async move {
                let set = |number: u32| {
                    let ticked = ticked.clone();
                    ctx.set_timer(number * MS, move |_| async move { ticked.note(number) }).unwrap()
                };
                let (kept, cancelled) = (set(1), set(2));
                answers.note(ctx.cancel_timer(cancelled));
                answers.note(ctx.cancel_timer(cancelled));
                ctx.clock().sleep(20 * MS).await;
                answers.note(ctx.cancel_timer(kept));
            }
        }).await;
        assert_eq!((fired.all(), said.all()), (vec![1], vec![true, false, false]));
    }

    /// A timer that is due and waits for its busy thread can still be cancelled.
    async fn v186_a_due_timer_that_waits_for_its_thread_can_be_cancelled(rt: &TestRuntime) {
        let fired = Seen::default();
        let ticked = fired.clone();
        starting(&rt, move |ctx| {
            let ticked = ticked.clone();
            async move {
                let timers: Rc<RefCell<Vec<TimerId>>> = Rc::default();
                let due = Rc::new(Cell::new(Duration::MAX));
                for _ in 0..10 {
                    let (ticked, others, due) = (ticked.clone(), Rc::clone(&timers), Rc::clone(&due));
                    let timer = ctx.set_timer(5 * MS, move |ctx| async move {
                        // Keeps the thread until all are due, then cancels those that have not had their turn.
                        while ctx.clock().now() < due.get() {
                            std::hint::spin_loop();
                        }
                        let cancelled = others.take().into_iter().filter(|timer| ctx.cancel_timer(*timer)).count();
                        ticked.note(cancelled);
                    });
                    timers.borrow_mut().push(timer.unwrap());
                }
                due.set(ctx.clock().now() + 5 * MS);
            }
        }).await;
        eventually(rt.clock(), "the first has fired", || fired.len() > 0).await;
        rt.clock().sleep(20 * MS).await;
        assert_eq!(fired.all(), [9]);
    }

    /// A timer's handler runs on the loop of the instance that set it; each tick has a context of its own.
    async fn v188_a_handler_runs_on_its_instances_loop_in_its_own_context(rt: &TestRuntime) {
        let ticks = Seen::default();
        for _ in 0..rt.event_loops() {
            let ticked = ticks.clone();
            starting(&rt, move |ctx| {
                let ticked = ticked.clone();
                async move {
                    let home = std::thread::current().id();
                    let note = move |ctx: Context<_>| {
                        ticked.note((std::thread::current().id() == home, ctx.timer_id(), ctx.headers().len()));
                        async {}
                    };
                    ctx.set_timer(MS, note.clone()).unwrap();
                    ctx.set_periodic(MS, note).unwrap();
                }
            }).await;
        }
        eventually(rt.clock(), "there were some ticks", || ticks.len() > 10 * rt.event_loops()).await;
        let timers: std::collections::BTreeSet<TimerId> = ticks.all().into_iter().map(|(at_home, timer, headers)| {
            assert!(at_home && headers == 0);
            timer.unwrap()
        }).collect();
        assert_eq!(timers.len(), 2 * rt.event_loops(), "each tick knows its own timer");
    }

    /// A timer's handler that panics harms nobody: a periodic timer goes on, and so does its instance.
    async fn v189_a_periodic_timer_goes_on_after_a_panic(rt: &TestRuntime) {
        let ticks = Seen::default();
        let ticked = ticks.clone();
        starting(&rt, move |ctx| {
            let ticked = ticked.clone();
            async move {
                ctx.set_timer(MS, |_| async { panic!("once") }).unwrap();
                ctx.serve_fn(NOTES, |number| async move { Ok(number) }).register().unwrap();
                ctx.set_periodic(MS, move |_| {
                    ticked.note(());
                    // Before there is a future, and then in one.
                    assert!(ticked.len() != 1, "the first tick");
                    let second = ticked.len() == 2;
                    async move { assert!(!second, "the second tick") }
                }).unwrap();
            }
        }).await;
        eventually(rt.clock(), "it goes on", || ticks.len() > 5).await;
        assert_eq!(rt.bus().request(NOTES, 7).await, Ok(7));
    }

    /// A timer can be awaited; cancelled, it resolves to an error that says so.
    async fn v190_an_awaited_timer_fires_or_is_cancelled(rt: &TestRuntime) {
        starting(&rt, |ctx| async move {
            let before = ctx.clock().now();
            assert_eq!(ctx.timer(7 * MS).unwrap().await, Ok(()));
            assert!(ctx.clock().now() - before >= 7 * MS);
            let cancelled = ctx.timer(3_600_000 * MS).unwrap();
            assert!(ctx.cancel_timer(cancelled.id()));
            assert_eq!(cancelled.await, Err(TimerCancelled));
            let dropped = ctx.timer(3_600_000 * MS).unwrap();
            let id = dropped.id();
            drop(dropped);
            eventually(ctx.clock(), "a timer that is dropped is gone", || !ctx.cancel_timer(id)).await;
        }).await;
    }

    /// A timer ends with its instance: undeployed, nothing fires any more, and who awaits it hears of it.
    async fn v190_a_timer_ends_with_its_instance(rt: &TestRuntime) {
        let (fired, waits) = (Seen::default(), Seen::default());
        let (ticked, give) = (fired.clone(), waits.clone());
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let deployment = starting(&rt, move |ctx| {
            let (ticked, give, sender) = (ticked.clone(), give.clone(), sender.clone());
            async move {
                sender.send(ctx.timer(3_600_000 * MS).unwrap()).unwrap();
                give.note(());
                let once = ticked.clone();
                ctx.set_timer(3_600_000 * MS, move |_| async move { once.note(()) }).unwrap();
                ctx.set_periodic(MS, move |_| { ticked.note(()); async {} }).unwrap();
            }
        }).await;
        let awaited = receiver.recv().unwrap();
        eventually(rt.clock(), "the periodic one has fired", || fired.len() > 0).await;
        deployment.undeploy().await.unwrap();
        let until_then = fired.len();
        assert_eq!(awaited.await, Err(TimerCancelled));
        rt.clock().sleep(20 * MS).await;
        assert_eq!(fired.len(), until_then);
    }

    /// A thousand other threads can have timers set at once; each fires once.
    async fn v192_a_thousand_threads_set_timers_at_once(rt: &TestRuntime) {
        let fired = Seen::default();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        starting(&rt, move |ctx| {
            let sender = sender.clone();
            async move { sender.send(ctx.handle()).unwrap() }
        }).await;
        let handle = receiver.recv().unwrap();
        std::thread::scope(|threads| {
            for number in 0..1_000 {
                let (handle, fired) = (handle.clone(), fired.clone());
                std::thread::Builder::new().stack_size(64 * 1_024).spawn_scoped(threads, move || {
                    handle.run_on_context(move |ctx| async move {
                        ctx.set_timer(MS, move |_| async move { fired.note(number) }).unwrap();
                    }).unwrap();
                }).unwrap();
            }
        });
        eventually(rt.clock(), "all have fired", || fired.len() == 1_000).await;
        rt.clock().sleep(5 * MS).await;
        let mut all = fired.all();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }
}

/// On virtual time a timer is exact, and so is each tick of a periodic one, also behind a handler that takes its time.
#[test]
fn v181_on_virtual_time_timers_are_exact() {
    TestRuntime::paused(|rt| async move {
        let ticks = Seen::default();
        let ticked = ticks.clone();
        let start = rt.elapsed();
        let clockwork = starting(&rt, move |ctx| {
            let ticked = ticked.clone();
            async move {
                let at = move |what: &'static str, ctx: &Context<_>| ticked.note((what, ctx.clock().now() - start));
                let (once, slow) = (at.clone(), at.clone());
                ctx.set_timer(3_600_000 * MS, move |ctx| async move { once("once", &ctx) }).unwrap();
                ctx.set_periodic_after(10 * MS, 1_000_000 * MS, move |ctx| {
                    let slow = slow.clone();
                    async move {
                        slow("slow", &ctx);
                        // Over the next tick and into the one after: those that are missed are left out.
                        ctx.clock().sleep(1_500_000 * MS).await;
                    }
                })
                .unwrap();
            }
        })
        .await;
        rt.clock().sleep(4_500_000 * MS).await;
        let expected = [("slow", 10), ("slow", 2_000_010), ("once", 3_600_000), ("slow", 4_000_010)];
        assert_eq!(ticks.all(), expected.map(|(what, at)| (what, at * MS)));
        clockwork.undeploy().await.unwrap();
    });
}

/// Timers are numbered upwards from 0, in one count for the runtime.
#[test]
fn v182_timers_are_numbered_from_zero() {
    for _ in 0..2 {
        TestRuntime::paused(|rt| async move {
            let numbers = Seen::default();
            for _ in 0..3 {
                let noted = numbers.clone();
                starting(&rt, move |ctx| {
                    let noted = noted.clone();
                    async move {
                        noted.note(ctx.set_timer(MS, |_| async {}).unwrap().to_string());
                        noted.note(ctx.timer(MS).unwrap().id().to_string());
                    }
                })
                .await;
            }
            assert_eq!(numbers.all(), ["0", "1", "2", "3", "4", "5"]);
        });
    }
}

/// An instance has at most 65,536 timers at a time; the next is refused, and has its place when one has gone.
#[test]
fn v184_more_timers_than_may_be_are_refused() {
    TestRuntime::paused(|rt| async move {
        starting(&rt, |ctx| async move {
            let first = ctx.set_timer(3_600_000 * MS, |_| async {}).unwrap();
            for _ in 1..65_536 {
                ctx.set_timer(3_600_000 * MS, |_| async {}).unwrap();
            }
            assert_eq!(ctx.set_timer(MS, |_| async {}).err(), Some(TimerError::TooMany));
            assert!(ctx.cancel_timer(first));
            assert!(ctx.set_timer(MS, |_| async {}).is_ok());
        })
        .await;
    });
}

/// A verticle that tries to set a timer when it is gone.
struct Late(Seen<Option<TimerError>>);

impl Verticle for Late {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let (own, seen) = (ctx.clone(), self.0.clone());
        ctx.spawn(async move {
            let _at_the_end = OnDrop::new(move || seen.note(own.set_timer(MS, |_| async {}).err()));
            std::future::pending::<()>().await;
        });

        Ok(())
    }
}

promises! {
    /// When the instance has stopped, no timer is set any more: it would never fire.
    async fn v190_a_stopped_instance_sets_no_timer(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        let late = rt.deploy(Deploy::new(move || Late(noted.clone()))).await.unwrap();
        late.undeploy().await.unwrap();
        eventually(rt.clock(), "the task is gone", || seen.len() == 1).await;
        assert_eq!(seen.all(), [Some(TimerError::Stopped)]);
    }
}
