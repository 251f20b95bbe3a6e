//! Work that blocks, off the event loops.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::ThreadId;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BlockingError, BoxError, Context, Deploy, Failure, Handler, Verticle};

use crate::promises;
use crate::support::{Seen, eventually};

const WORK: Address<Task, bool> = Address::new("work");

#[derive(Clone, Copy, PartialEq)]
enum Task {
    /// Threads of the work, before it and after it.
    Threads,
    Panic,
    InLine(u32),
    SideBySide(u32),
    WaitForOthers,
    KeepContext,
    UseKeptContext,
}

#[derive(Clone, Default)]
struct Kit {
    threads: Seen<ThreadId>,
    order: Seen<(usize, u32)>,
    overlaps: Arc<AtomicUsize>,
    outcomes: Seen<Result<(), BlockingError>>,
}

struct Blocks {
    kit: Kit,
    /// Met by work that only ends when all of it runs at once.
    met: Arc<Barrier>,
    running: Arc<AtomicUsize>,
}

impl Kit {
    fn deploy(&self, meeting: usize) -> Deploy<Blocks> {
        let (kit, met) = (self.clone(), Arc::new(Barrier::new(meeting)));
        Deploy::new(move || Blocks { kit: kit.clone(), met: met.clone(), running: Arc::default() })
    }
}

thread_local! {
    static KEPT: RefCell<Option<Context<Blocks>>> = const { RefCell::new(None) };
}

impl Verticle for Blocks {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(WORK).register()?;
        Ok(())
    }
}

impl Handler<Task> for Blocks {
    type Reply = bool;

    async fn handle(&self, task: Task, ctx: &Context<Self>) -> Result<bool, Failure> {
        let kit = self.kit.clone();
        let outcome = match task {
            Task::Threads => {
                self.kit.threads.note(std::thread::current().id());
                let done = ctx.execute_blocking(move || kit.threads.note(std::thread::current().id())).await;
                self.kit.threads.note(std::thread::current().id());
                done
            }
            Task::Panic => ctx.execute_blocking(|| panic!("the disk is on fire")).await,
            Task::InLine(number) => {
                let (running, instance) = (self.running.clone(), ctx.instance());
                ctx.execute_blocking(move || {
                    kit.overlaps.fetch_add(running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    kit.order.note((instance, number));
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
                .await
            }
            Task::SideBySide(_) => {
                let met = self.met.clone();
                ctx.execute_blocking_unordered(move || {
                    met.wait();
                })
                .await
            }
            Task::WaitForOthers => {
                let met = self.met.clone();
                ctx.execute_blocking(move || {
                    met.wait();
                })
                .await
            }
            Task::KeepContext => {
                KEPT.set(Some(ctx.clone()));
                Ok(())
            }
            Task::UseKeptContext => {
                let Some(kept) = KEPT.take() else { return Ok(false) };
                kept.execute_blocking(|| ()).await
            }
        };
        self.kit.outcomes.note(outcome.clone());
        Ok(outcome.is_ok())
    }
}

/// Asks for all of it at once, in this order.
async fn ask(rt: &TestRuntime, tasks: impl IntoIterator<Item = Task>) -> Vec<bool> {
    let mut asking = Vec::new();
    for task in tasks {
        let bus = rt.bus().clone();
        asking.push(tokio::task::spawn_local(async move { bus.request(WORK, task).await.unwrap() }));
    }
    let mut done = Vec::new();
    for asked in asking {
        done.push(asked.await.unwrap());
    }
    done
}

promises! {
    /// Blocking work runs on another thread than its verticle, and what awaits it goes on on the thread it was on.
    async fn v164_blocking_work_runs_elsewhere_and_its_result_comes_back_to_where_it_was_asked_for(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy(1)).await.unwrap();
        assert_eq!(ask(&rt, [Task::Threads]).await, [true]);
        let [before, work, after] = kit.threads.all()[..] else { panic!("three threads") };
        assert_ne!(before, work);
        assert_eq!(before, after);
    }

    /// Work that panics gives what it said to whoever awaits it, and the next piece runs.
    async fn v165_a_panic_of_blocking_work_is_its_outcome_with_what_it_said(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy(1)).await.unwrap();
        assert_eq!(ask(&rt, [Task::Panic, Task::InLine(1)]).await, [false, true]);
        let panic = "the disk is on fire".to_owned();
        assert_eq!(kit.outcomes.all(), [Err(BlockingError::Panicked { panic }), Ok(())]);
    }

    /// Unordered work runs side by side: ten pieces that wait for one another all end.
    async fn v167_unordered_blocking_work_runs_side_by_side(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy(10)).await.unwrap();
        assert_eq!(ask(&rt, (0..10).map(Task::SideBySide)).await, [true; 10]);
    }

    /// Ordered work of one instance runs piece by piece, in the order it was asked for; of two, neither waits for the other.
    async fn v168_blocking_work_is_ordered_within_its_instance_only(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy(1)).await.unwrap();
        assert_eq!(ask(&rt, (0..50).map(Task::InLine)).await, [true; 50]);
        assert_eq!(kit.order.all(), (0..50).map(|number| (0, number)).collect::<Vec<_>>());
        assert_eq!(kit.overlaps.load(Ordering::SeqCst), 0);
    }

    /// Work that is still to begin when whoever wants it goes away does not begin.
    async fn work_that_nobody_waits_for_any_more_does_not_begin(rt: &TestRuntime) {
        let ran = Seen::default();
        let note = ran.clone();
        rt.deploy(Deploy::new(move || GivesUp(note.clone()))).await.unwrap();
        eventually(rt.clock(), "the last has run", || ran.len() == 2).await;
        assert_eq!(ran.all(), ["first", "third"]);
    }

    /// An instance that has ended gets no blocking work done any more.
    async fn v172_blocking_work_of_an_instance_that_has_ended_is_refused(rt: &TestRuntime) {
        let kit = Kit::default();
        let loops = rt.event_loops();
        // One on each loop, so that the next one on the loop finds what this one has left.
        let gone = rt.deploy(kit.deploy(1).instances(loops)).await.unwrap();
        ask(&rt, vec![Task::KeepContext; loops]).await;
        gone.undeploy().await.unwrap();
        rt.deploy(kit.deploy(1).instances(loops)).await.unwrap();
        assert_eq!(ask(&rt, vec![Task::UseKeptContext; loops]).await, vec![false; loops]);
        assert_eq!(kit.outcomes.all()[loops..], vec![Err(BlockingError::Cancelled); loops]);
    }
}

struct GivesUp(Seen<&'static str>);

impl Verticle for GivesUp {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let begun = Arc::new(Barrier::new(2));
        let (note, meet) = (self.0.clone(), begun.clone());
        let own = ctx.clone();
        let first = ctx.spawn(async move {
            let work = own.execute_blocking(move || {
                meet.wait();
                note.note("first");
            });
            work.await.unwrap();
        });
        tokio::task::yield_now().await;
        let (note, own) = (self.0.clone(), ctx.clone());
        let second = ctx.spawn(async move { own.execute_blocking(move || note.note("second")).await.unwrap() });
        tokio::task::yield_now().await;
        assert!(!first.is_finished());
        second.abort();
        tokio::task::yield_now().await;
        begun.wait();
        let note = self.0.clone();
        ctx.execute_blocking(move || note.note("third")).await?;
        Ok(())
    }
}

/// Two instances in whose lines stands work that waits for the other's.
#[test]
fn the_line_of_one_instance_does_not_wait_for_that_of_another() {
    TestRuntime::on_loops(2, |rt| async move {
        let kit = Kit::default();
        rt.deploy(kit.deploy(2).instances(2)).await.unwrap();
        assert_eq!(ask(&rt, [Task::WaitForOthers, Task::WaitForOthers]).await, [true, true]);
    });
}
