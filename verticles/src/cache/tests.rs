#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adtrack_config::CacheConfig;
use adtrack_proto::program::Deletion;
use vertebra::testing::TestRuntime;
use vertebra::{Clock, Deploy};

use super::*;

mod versions;

const TTL: Duration = Duration::from_secs(600);
const ABSENT_TTL: Duration = Duration::from_secs(5);
const STORE_TIMEOUT: Duration = Duration::from_millis(600);

fn id(text: &str) -> ProgramId {
    ProgramId::new(text).unwrap()
}

/// With a version of its own to be told by.
pub(super) fn program(id: impl Display, version: i32) -> Arc<Program> {
    let json = format!(
        r#"{{"programId":"{id}","programName":"a","checksum":"c","customerId":{version},"customerName":"n","valid":true}}"#
    );
    Arc::new(Program::from_json(json.as_bytes()).unwrap())
}

/// A store whose answers, delay and health the test sets.
#[derive(Clone, Default)]
struct Store {
    state: Arc<Mutex<StoreState>>,
    reads: Arc<AtomicUsize>,
}

#[derive(Default)]
struct StoreState {
    programs: HashMap<ProgramId, Arc<Program>>,
    deleted: HashMap<ProgramId, u64>,
    delay: Duration,
    failure: Option<i32>,
}

impl Store {
    fn put(&self, program: Arc<Program>) {
        self.state.lock().unwrap().programs.insert(program.program_id.clone(), program);
    }

    fn delete(&self, id: ProgramId, version: u64) {
        let mut state = self.state.lock().unwrap();
        state.programs.remove(&id);
        state.deleted.insert(id, version);
    }

    fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    fn fail(&self, code: impl Into<Option<i32>>) {
        self.state.lock().unwrap().failure = code.into();
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// The answer is taken when the question comes, and given when the delay is over.
    async fn answer(self, id: ProgramId, clock: Clock) -> Result<Found, Failure> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let (answer, delay) = {
            let state = self.state.lock().unwrap();
            let answer = match state.failure {
                Some(code) => Err(Failure::new(code, "as the test wants it")),
                None => Ok(match (state.programs.get(&id), state.deleted.get(&id)) {
                    (Some(program), _) => Found::Program(Arc::clone(program)),
                    (None, Some(version)) => Found::Deleted { version: *version },
                    (None, None) => Found::Nothing,
                }),
            };
            (answer, state.delay)
        };
        if !delay.is_zero() {
            clock.sleep(delay).await;
        }
        answer
    }
}

struct Under {
    rt: TestRuntime,
    store: Store,
    metrics: Metrics,
}

impl Under {
    async fn new(rt: TestRuntime, instances: usize) -> Self {
        let config =
            CacheConfig { programs_max: 1_000, ttl: TTL, absent_ttl: Some(ABSENT_TTL), fill_programs_max: 1_000 };
        let (store, metrics) = (Store::default(), Metrics::default());
        let (shared, counted) = (SharedPrograms::new(&config), metrics.clone());
        let cache = Deploy::new(move || Cache::new(shared.clone(), STORE_TIMEOUT, counted.clone()));
        rt.deploy(cache.instances(instances)).await.unwrap();
        let (stub, clock) = (store.clone(), rt.clock().clone());
        rt.stub(STORE_LOOKUP, move |lookup: Lookup| stub.clone().answer(lookup.program_id, clock.clone()))
            .await
            .unwrap();
        Self { rt, store, metrics }
    }

    async fn lookup(&self, text: &str) -> Result<Option<Arc<Program>>, RequestError> {
        self.rt.bus().request(LOOKUP, Lookup { program_id: id(text) }).await
    }

    /// The customer id, which these tests use as a version.
    async fn version(&self, text: &str) -> Option<i32> {
        self.lookup(text).await.unwrap().map(|program| program.customer_id)
    }

    /// Publishes a change and waits until it was taken: a lookup is on another address and may overtake it.
    async fn push(&self, change: Change) {
        let pushes = self.metrics.pushes.get();
        assert_eq!(self.rt.bus().publish(CHANGED, change).dropped, 0);
        let deadline = self.rt.elapsed() + Duration::from_secs(5);
        while self.metrics.pushes.get() == pushes {
            assert!(self.rt.elapsed() < deadline, "the push is not taken");
            tokio::task::yield_now().await;
        }
    }

    async fn sleep(&self, time: Duration) {
        self.rt.clock().sleep(time).await;
    }

    async fn revalidate(&self) {
        self.rt.bus().request(CACHE_REVALIDATE, Revalidate).await.unwrap();
    }
}

fn paused<F: Future<Output = ()>>(test: impl FnOnce(Under) -> F) {
    TestRuntime::paused(|rt| async move { test(Under::new(rt, 1).await).await });
}

fn code(result: Result<Option<Arc<Program>>, RequestError>) -> i32 {
    match result {
        Err(RequestError::Failed(failure)) => failure.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_is_asked_for_once_and_then_answered_from_memory_until_its_time_is_over() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        assert_eq!(under.version("1").await, Some(1));
        under.store.put(program("1", 2));
        under.sleep(TTL - Duration::from_secs(1)).await;
        assert_eq!(under.version("1").await, Some(1));
        assert_eq!(under.store.reads(), 1);
        under.sleep(Duration::from_secs(2)).await;
        assert_eq!(under.version("1").await, Some(2));
        assert_eq!(under.store.reads(), 2);
        under.sleep(TICK).await;
        assert_eq!((under.metrics.hits.get(), under.metrics.misses.get()), (1, 2));
    });
}

#[test]
fn absence_is_remembered_for_a_short_time() {
    paused(|under| async move {
        assert_eq!(under.version("1").await, None);
        under.sleep(ABSENT_TTL - Duration::from_millis(1)).await;
        assert_eq!(under.version("1").await, None);
        assert_eq!(under.store.reads(), 1);
        under.store.put(program("1", 1));
        under.sleep(Duration::from_millis(1)).await;
        assert_eq!(under.version("1").await, Some(1));
    });
}

#[test]
fn a_push_is_the_next_answer_and_clears_a_remembered_absence() {
    paused(|under| async move {
        assert_eq!(under.version("1").await, None);
        under.push(Change::Put(program("1", 1))).await;
        assert_eq!(under.version("1").await, Some(1));
        under.push(Change::Put(program("1", 2))).await;
        assert_eq!(under.version("1").await, Some(2));
        assert_eq!(under.store.reads(), 1);
        assert_eq!(under.metrics.pushes.get(), 2);
    });
}

#[test]
fn a_deletion_is_the_next_answer() {
    paused(|under| async move {
        under.push(Change::Put(program("1", 1))).await;
        assert_eq!(under.version("1").await, Some(1));
        under.push(Change::Deleted(Deletion { program_id: id("1"), version: None })).await;
        assert_eq!(under.version("1").await, None);
        assert_eq!(under.store.reads(), 0);
    });
}

#[test]
fn a_known_program_is_answered_past_its_time_while_the_store_is_down_and_an_unknown_one_fails() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        assert_eq!(under.version("1").await, Some(1));
        assert_eq!(under.version("2").await, None);
        under.store.fail(UNAVAILABLE);
        for _ in 0..20 {
            under.sleep(TTL).await;
            assert_eq!(under.version("1").await, Some(1));
            assert_eq!(code(under.lookup("2").await), UNAVAILABLE);
            assert_eq!(code(under.lookup("3").await), UNAVAILABLE);
        }
        assert_eq!(under.metrics.stale_served.get(), 20);
        assert_eq!(under.metrics.unavailable.get(), 40);
        under.store.fail(None);
        under.store.put(program("1", 2));
        under.sleep(REST).await;
        assert_eq!(under.version("1").await, Some(2));
    });
}

#[test]
fn a_program_past_its_time_is_not_answered_for_ever() {
    paused(|under| async move {
        under.push(Change::Put(program("1", 1))).await;
        assert_eq!(under.version("1").await, Some(1));
        under.store.fail(UNAVAILABLE);
        under.sleep(TTL + STALE_MAX).await;
        assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
    });
}

#[test]
fn a_store_that_hangs_fails_unknown_programs_in_time_and_holds_up_known_ones_once_a_second_at_most() {
    paused(|under| async move {
        under.push(Change::Put(program("1", 1))).await;
        under.sleep(TTL).await;
        under.store.delay(Duration::from_secs(3_600));
        let began = under.rt.elapsed();
        assert_eq!(code(under.lookup("2").await), UNAVAILABLE);
        assert_eq!(under.rt.elapsed() - began, STORE_TIMEOUT);
        for _ in 0..100 {
            assert_eq!(under.version("1").await, Some(1));
        }
        assert_eq!(under.rt.elapsed() - began, STORE_TIMEOUT, "while it rests, nobody waits");
        under.sleep(REST).await;
        assert_eq!(under.version("1").await, Some(1));
        assert_eq!(under.rt.elapsed() - began, STORE_TIMEOUT + REST + STORE_TIMEOUT);
        under.sleep(Duration::from_secs(3_600)).await;
    });
}

#[test]
fn an_overloaded_store_is_told_apart_from_one_that_is_down() {
    paused(|under| async move {
        under.store.fail(OVERLOADED);
        assert_eq!(code(under.lookup("1").await), OVERLOADED);
    });
}

#[test]
fn lookups_of_one_program_share_one_question() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.delay(Duration::from_millis(100));
        let lookups = (0..50).map(|_| under.lookup("1"));
        for answer in join_all(lookups).await {
            assert_eq!(answer.unwrap(), Some(program("1", 1)));
        }
        assert_eq!(under.store.reads(), 1);
        assert_eq!(under.metrics.coalesced.get(), 49);
    });
}

#[test]
fn a_failed_question_fails_everybody_who_waits_for_it() {
    paused(|under| async move {
        under.store.fail(UNAVAILABLE);
        under.store.delay(Duration::from_millis(100));
        for answer in join_all((0..3).map(|_| under.lookup("1"))).await {
            assert_eq!(code(answer), UNAVAILABLE);
        }
        assert_eq!(under.store.reads(), 1);
    });
}

#[test]
fn beyond_the_bound_of_questions_a_lookup_is_refused_at_once_and_known_programs_are_still_answered() {
    paused(|under| async move {
        under.push(Change::Put(program("known", 1))).await;
        under.store.delay(Duration::from_millis(500));
        let names: Vec<_> = (0..READS_MAX).map(|n| format!("p{n}")).collect();
        let waiting = join_all(names.iter().map(|name| under.lookup(name)));
        let probes = async {
            under.sleep(Duration::from_millis(10)).await;
            let began = under.rt.elapsed();
            assert_eq!(code(under.lookup("more").await), OVERLOADED);
            assert_eq!(under.version("known").await, Some(1));
            assert_eq!(under.rt.elapsed(), began);
        };
        let (answers, ()) = tokio::join!(waiting, probes);
        assert!(answers.into_iter().all(|answer| answer == Ok(None)));
        assert_eq!(under.metrics.refused.get(), 1);
        assert_eq!(under.store.reads(), READS_MAX);
    });
}

#[test]
fn a_push_wins_over_a_read_that_began_before_it() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.delay(Duration::from_millis(100));
        let pushed = async {
            under.sleep(Duration::from_millis(50)).await;
            under.push(Change::Put(program("1", 2))).await;
        };
        let (read, ()) = tokio::join!(under.version("1"), pushed);
        assert_eq!(read, Some(2), "the lookup that was under way sees the push as well");
        assert_eq!(under.version("1").await, Some(2));
        assert_eq!(under.metrics.overtaken.get(), 1);
    });
}

#[test]
fn a_deletion_wins_over_a_read_that_began_before_it() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.delay(Duration::from_millis(100));
        let deleted = async {
            under.sleep(Duration::from_millis(50)).await;
            under.push(Change::Deleted(Deletion { program_id: id("1"), version: None })).await;
        };
        let (read, ()) = tokio::join!(under.version("1"), deleted);
        assert_eq!(read, None);
        assert_eq!(under.version("1").await, None);
    });
}

#[test]
fn a_revalidation_has_everything_asked_for_again_and_answers_from_memory_if_that_fails() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.put(program("2", 1));
        assert_eq!((under.version("1").await, under.version("2").await), (Some(1), Some(1)));
        under.store.put(program("1", 2));
        under.revalidate().await;
        assert_eq!(under.version("1").await, Some(2));
        under.store.fail(UNAVAILABLE);
        assert_eq!(under.version("2").await, Some(1));
        assert_eq!(under.version("1").await, Some(2));
        assert_eq!(under.metrics.stale_served.get(), 1);
    });
}

#[test]
fn a_program_that_a_revalidation_does_not_find_is_answered_until_its_time_is_over() {
    paused(|under| async move {
        under.push(Change::Put(program("1", 1))).await;
        under.sleep(TTL / 2).await;
        under.revalidate().await;
        assert_eq!(under.version("1").await, Some(1));
        assert_eq!(under.version("1").await, Some(1));
        assert_eq!((under.store.reads(), under.metrics.unconfirmed.get()), (1, 1));
        under.sleep(TTL / 2).await;
        assert_eq!(under.version("1").await, None);
    });
}

#[test]
fn a_read_that_began_before_a_revalidation_is_asked_for_again() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.delay(Duration::from_millis(100));
        let missed = async {
            under.sleep(Duration::from_millis(50)).await;
            under.store.put(program("1", 2));
            under.revalidate().await;
        };
        tokio::join!(under.version("1"), missed);
        assert_eq!(under.version("1").await, Some(2));
    });
}

#[test]
fn a_purge_forgets_everything_and_counts_the_programs() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.put(program("2", 1));
        assert_eq!(
            (under.version("1").await, under.version("2").await, under.version("3").await),
            (Some(1), Some(1), None)
        );
        under.store.put(program("1", 2));
        let forgotten = under.rt.bus().request(CACHE_PURGE, PurgeCache).await;
        assert_eq!(forgotten, Ok(2));
        assert_eq!(under.version("1").await, Some(2));
        under.store.fail(UNAVAILABLE);
        assert_eq!(code(under.lookup("2").await), UNAVAILABLE, "what is forgotten is not answered");
    });
}

#[test]
fn a_read_that_began_before_a_purge_is_not_kept() {
    paused(|under| async move {
        under.store.put(program("1", 1));
        under.store.delay(Duration::from_millis(100));
        let purged = async {
            under.sleep(Duration::from_millis(50)).await;
            under.store.put(program("1", 2));
            under.rt.bus().request(CACHE_PURGE, PurgeCache).await.unwrap();
        };
        tokio::join!(under.version("1"), purged);
        assert_eq!(under.version("1").await, Some(2));
    });
}

#[test]
fn instances_share_what_is_known() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::new(rt, 2).await;
        under.store.put(program("1", 1));
        for _ in 0..20 {
            assert_eq!(under.version("1").await, Some(1));
        }
        assert!(under.store.reads() <= 2);
        under.push(Change::Put(program("1", 2))).await;
        for _ in 0..20 {
            assert_eq!(under.version("1").await, Some(2));
        }
    });
}

async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}
