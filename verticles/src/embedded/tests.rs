#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use adtrack_proto::bus::{CACHE_REVALIDATE, CHANGED, Change, Outdated};
use adtrack_proto::program::Deletion;
use vertebra::testing::TestRuntime;
use vertebra::{Deploy, Deployment, RequestError};

use super::*;

const SEED: &str = adtrack_config::SAMPLE_PROGRAMS;

fn id(text: &str) -> ProgramId {
    ProgramId::new(text).unwrap()
}

fn program(id: &str, name: &str) -> Arc<Program> {
    let mut program = Program::list_from_json(SEED.as_bytes()).unwrap().remove(0);
    program.program_id = ProgramId::new(id).unwrap();
    program.program_name = name.to_owned();
    Arc::new(program)
}

struct Under {
    rt: TestRuntime,
    metrics: Metrics,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Under {
    async fn new(rt: TestRuntime) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&changes);
        rt.stub(CHANGED, move |change| {
            seen.lock().unwrap().push(change);
            async { Ok(()) }
        })
        .await
        .unwrap();
        Self { rt, metrics: Metrics::default(), changes }
    }

    async fn deploy(&self, dir: &Path) -> Deployment {
        self.rt.deploy(self.factory(dir, 1_000)).await.unwrap()
    }

    fn factory(&self, dir: &Path, programs_max: usize) -> Deploy<Embedded> {
        let limits = Limits { programs_max, file_bytes_max: 1 << 30 };
        let options = Options { data_dir: dir.to_owned(), seed: SEED.to_owned(), limits };
        let metrics = self.metrics.clone();
        Deploy::new(move || Embedded::new(options.clone(), metrics.clone()))
    }

    async fn put(&self, programs: impl IntoIterator<Item = Arc<Program>>) -> Result<Stored, RequestError> {
        let programs = programs.into_iter().collect();
        self.rt.bus().request(STORE_PUT, PutPrograms { programs }).await
    }

    async fn name(&self, text: &str) -> Option<String> {
        let found = self.rt.bus().request(STORE_LOOKUP, Lookup { program_id: id(text) }).await.unwrap();
        found.program().map(|program| program.program_name.clone())
    }

    async fn page(&self, cursor: Option<String>, limit: usize) -> ProgramPage {
        self.rt.bus().request(STORE_LIST, ListPrograms { cursor, limit }).await.unwrap()
    }
}

fn paused<F: Future<Output = ()>>(test: impl FnOnce(Under, tempfile::TempDir) -> F) {
    TestRuntime::paused(|rt| async move { test(Under::new(rt).await, tempfile::tempdir().unwrap()).await });
}

#[test]
fn a_new_store_holds_the_sample_programs() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        assert_eq!(under.name("212313").await.as_deref(), Some("program2"));
        assert_eq!(under.name("1").await, None);
        assert_eq!(under.metrics.programs.get(), 3);
    });
}

#[test]
fn what_was_confirmed_is_there_after_a_restart() {
    paused(|under, dir| async move {
        let first = under.deploy(dir.path()).await;
        under.put([program("1", "a"), program("2", "b")]).await.unwrap();
        under.put([program("1", "c")]).await.unwrap();
        first.undeploy().await.unwrap();
        under.deploy(dir.path()).await;
        assert_eq!(under.name("1").await.as_deref(), Some("c"));
        assert_eq!(under.name("2").await.as_deref(), Some("b"));
    });
}

#[test]
fn a_file_that_was_removed_or_replaced_is_told_and_nothing_is_put_until_it_is_back() {
    paused(|under, dir| async move {
        let store = dir.path().join("data");
        under.deploy(&store).await;
        let (file, away) = (store.join(FILE_NAME), dir.path().join("away"));
        let ask = || under.rt.bus().request(STORE_HEALTH, AskHealth);
        let look = || under.rt.clock().sleep(2 * journal::LOOK_EVERY);
        for (what, told) in [("removed", "was removed"), ("replaced", "was replaced")] {
            fs::rename(&file, &away).unwrap();
            if what == "replaced" {
                fs::write(&file, "").unwrap();
            }
            look().await;
            let health = ask().await.unwrap();
            assert!(!health.up && health.detail.contains(told) && health.detail.contains(FILE_NAME), "{health:?}");
            let refused = under.put([program("1", what)]).await.unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
            under.rt.bus().request(STORE_PURGE, PurgeStore).await.unwrap_err();
            assert_eq!(under.name("212313").await.as_deref(), Some("program2"), "what is known is answered");
            assert_eq!(fs::read(&file).unwrap_or_default(), b"", "nothing of somebody else's is touched");
            fs::rename(&away, &file).unwrap();
            look().await;
            under.put([program("1", what)]).await.unwrap();
            assert!(ask().await.unwrap().up);
        }
    });
}

#[test]
fn a_confirmed_put_was_taken_by_the_caches() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        under.put([program("1", "a"), program("2", "b")]).await.unwrap();
        let changes = under.changes.lock().unwrap().clone();
        let now_ms = u64::try_from(under.rt.clock().unix_ms()).unwrap();
        for (change, given) in changes.iter().zip([program("1", "a"), program("2", "b")]) {
            let Change::Put(told) = change else { panic!("{change:?}") };
            assert!(told.version.is_some_and(|version| version <= now_ms), "{told:?}");
            assert_eq!(Program { version: None, ..Program::clone(told) }, *given);
        }
    });
}

fn versioned_program(id: &str, name: &str, version: u64) -> Arc<Program> {
    Arc::new(Program { version: Some(version), ..Program::clone(&program(id, name)) })
}

#[test]
fn a_lower_version_is_neither_stored_nor_told_and_those_beside_it_are() {
    paused(|under, dir| async move {
        let first = under.deploy(dir.path()).await;
        assert_eq!(under.put([versioned_program("1", "high", 1 << 60)]).await, Ok(Stored::default()));
        let puts = [versioned_program("1", "low", 9), program("2", "b")];
        let stored = under.put(puts).await.unwrap();
        let refused = Outdated { program_id: id("1"), version: Some(9), stored: 1 << 60 };
        assert_eq!(stored.outdated, [refused]);
        under.put([program("1", "next")]).await.unwrap();
        let told: Vec<_> = under.changes.lock().unwrap().iter().map(|change| format!("{change:?}")).collect();
        assert!(!told.iter().any(|change| change.contains("low")), "{told:?}");
        first.undeploy().await.unwrap();
        under.deploy(dir.path()).await;
        assert_eq!(under.name("1").await.as_deref(), Some("next"));
        assert_eq!(under.name("2").await.as_deref(), Some("b"));
        let lower = under.put([versioned_program("1", "low", 1 << 60)]).await.unwrap();
        assert_eq!(lower.outdated[0].stored, (1 << 60) + 1, "the file keeps versions");
    });
}

#[test]
fn a_deletion_lasts_and_what_is_put_again_is_newer_than_it() {
    paused(|under, dir| async move {
        let delete =
            async |text| under.rt.bus().request(STORE_DELETE, DeleteProgram { program_id: id(text) }).await.unwrap();
        let find = async |text| under.rt.bus().request(STORE_LOOKUP, Lookup { program_id: id(text) }).await.unwrap();
        let first = under.deploy(dir.path()).await;
        under.put([versioned_program("1", "a", 1 << 60)]).await.unwrap();
        let version = (1 << 60) + 1;
        assert_eq!(delete("1").await, Deleted { version, was_stored: true });
        assert_eq!(find("1").await, Found::Deleted { version });
        let told = under.changes.lock().unwrap().last().cloned();
        assert_eq!(told, Some(Change::Deleted(Deletion { program_id: id("1"), version: Some(version) })));
        assert!(!delete("never-there").await.was_stored);
        let late = under.put([versioned_program("1", "late", 1 << 60)]).await.unwrap();
        assert_eq!(late.outdated[0].stored, version);
        delete("212313").await;
        assert_eq!(under.metrics.programs.get(), 2);
        first.undeploy().await.unwrap();
        under.deploy(dir.path()).await;
        assert_eq!((under.name("1").await, under.name("212313").await), (None, None));
        assert_eq!(under.name("212312").await.as_deref(), Some("program1"));
        under.put([program("1", "again")]).await.unwrap();
        assert_eq!(under.name("1").await.as_deref(), Some("again"));
    });
}

#[test]
fn puts_that_share_a_write_hear_each_of_its_own() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        under.put([versioned_program("1", "a", 10), versioned_program("2", "a", 10)]).await.unwrap();
        let mut puts = tokio::task::JoinSet::new();
        for (place, (number, version)) in [("1", 9), ("2", 11), ("2", 8), ("3", 1)].into_iter().enumerate() {
            let (bus, programs) = (under.rt.bus().clone(), vec![versioned_program(number, "b", version)]);
            puts.spawn_local(async move { (place, bus.request(STORE_PUT, PutPrograms { programs }).await.unwrap()) });
        }
        let mut answers = puts.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        let refused: Vec<_> = answers.iter().map(|(_, stored)| stored.outdated.first().map(|it| it.stored)).collect();
        assert_eq!(refused, [Some(10), None, Some(11), None]);
    });
}

#[test]
fn puts_that_come_during_a_write_share_the_next_one() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        let mut puts = tokio::task::JoinSet::new();
        let bus = under.rt.bus().clone();
        for n in 0..40 {
            let bus = bus.clone();
            puts.spawn_local(async move {
                let programs = vec![program(&format!("p{n}"), "a")];
                bus.request(STORE_PUT, PutPrograms { programs }).await.unwrap();
            });
        }
        puts.join_all().await;
        assert_eq!(under.metrics.programs.get(), 43);
        assert!(under.metrics.writes.get() <= 3, "{} writes", under.metrics.writes.get());
    });
}

#[test]
fn a_put_of_nothing_changes_nothing() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        under.put([]).await.unwrap();
        assert_eq!(under.name("212313").await.as_deref(), Some("program2"));
    });
}

#[test]
fn at_the_bound_new_programs_are_refused_and_known_ones_can_be_replaced() {
    paused(|under, dir| async move {
        under.rt.deploy(under.factory(dir.path(), 4)).await.unwrap();
        under.put([program("1", "a")]).await.unwrap();
        let refused = under.put([program("2", "a")]).await;
        assert!(matches!(refused, Err(RequestError::Failed(failure)) if failure.code() == OVERLOADED));
        under.put([program("1", "b")]).await.unwrap();
        assert_eq!(under.name("1").await.as_deref(), Some("b"));
        assert_eq!(under.name("2").await, None);
    });
}

#[test]
fn pages_hold_every_program_once() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        under.put((0..20).map(|n| program(&format!("p{n:02}"), "a"))).await.unwrap();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = under.page(cursor, 7).await;
            assert!(page.programs.len() <= 7);
            seen.extend(page.programs.iter().map(|program| program.program_id.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 23);
        assert!(seen.is_sorted());
    });
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    paused(|under, dir| async move {
        under.deploy(dir.path()).await;
        let list = ListPrograms { cursor: Some("a b".to_owned()), limit: 1 };
        let refused = under.rt.bus().request(STORE_LIST, list).await;
        assert!(matches!(refused, Err(RequestError::Failed(failure)) if failure.code() == INVALID));
    });
}

#[test]
fn a_purge_lasts() {
    paused(|under, dir| async move {
        let first = under.deploy(dir.path()).await;
        under.put([program("1", "a")]).await.unwrap();
        assert_eq!(under.rt.bus().request(STORE_PURGE, PurgeStore).await, Ok(4));
        assert_eq!(under.name("1").await, None);
        first.undeploy().await.unwrap();
        under.deploy(dir.path()).await;
        assert_eq!(under.name("212313").await, None);
    });
}

#[test]
fn a_damaged_file_fails_the_start_with_its_name() {
    paused(|under, dir| async move {
        fs::write(dir.path().join(FILE_NAME), "garbage\n").unwrap();
        let error = under.rt.deploy(under.factory(dir.path(), 10)).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("programs.ndjson is damaged at line 1"), "{source}");
    });
}

#[test]
fn a_store_that_cannot_write_fails_puts_answers_what_it_knows_and_recovers() {
    paused(|under, dir| async move {
        let data_dir = dir.path().join("data");
        let limits = Limits { programs_max: 1_000, file_bytes_max: 700 };
        let options = Options { data_dir, seed: SEED.to_owned(), limits };
        let metrics = under.metrics.clone();
        under.rt.deploy(Deploy::new(move || Embedded::new(options.clone(), metrics.clone()))).await.unwrap();
        let refused = under.put([program("1", &"x".repeat(600))]).await;
        assert!(matches!(refused, Err(RequestError::Failed(failure)) if failure.code() == UNAVAILABLE));
        assert_eq!(under.name("1").await, None);
        let health = under.rt.bus().request(STORE_HEALTH, AskHealth).await.unwrap();
        assert!(!health.up && health.detail.contains("store.file_bytes_max"), "{health:?}");
        under.put([program("1", "a")]).await.unwrap();
        assert_eq!(under.name("1").await.as_deref(), Some("a"));
        assert!(under.rt.bus().request(STORE_HEALTH, AskHealth).await.unwrap().up);
        assert!(!under.changes.lock().unwrap().is_empty());
    });
}

#[test]
fn caches_without_room_are_told_to_revalidate_instead() {
    TestRuntime::paused(|rt| async move {
        let dir = tempfile::tempdir().unwrap();
        let revalidations = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&revalidations);
        rt.stub(CACHE_REVALIDATE, move |_| {
            *counted.lock().unwrap() += 1;
            async { Ok(()) }
        })
        .await
        .unwrap();
        let stuck = rt.stub(CHANGED, |_| std::future::pending()).await.unwrap();
        for _ in 0..3 {
            // First its handlers, then its mailbox.
            while rt.bus().publish(CHANGED, Change::Put(program("0", "a"))).dropped == 0 {}
            rt.clock().sleep(Duration::from_millis(1)).await;
        }
        let metrics = Metrics::default();
        let limits = Limits { programs_max: 10, file_bytes_max: 1 << 20 };
        let options = Options { data_dir: dir.path().to_owned(), seed: SEED.to_owned(), limits };
        rt.deploy(Deploy::new(move || Embedded::new(options.clone(), metrics.clone()))).await.unwrap();
        rt.bus().request(STORE_PUT, PutPrograms { programs: vec![program("1", "a")] }).await.unwrap();
        assert_eq!(*revalidations.lock().unwrap(), 1);
        assert!(rt.elapsed() < Duration::from_secs(5));
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn a_put_into_a_file_that_was_removed_is_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { programs_max: 1_000, file_bytes_max: 1 << 20 };
    let Opened { mut file, programs, .. } = ProgramFile::open(dir.path(), SEED, limits).unwrap();
    file.append(&[program("1", "a")], programs.len() + 1).unwrap();
    fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    let refused = file.append(&[program("2", "b")], programs.len() + 2).unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("removed"), "{cause}");
}

#[test]
fn puts_at_the_same_time_do_not_exceed_the_bound_together() {
    paused(|under, dir| async move {
        let deployment = under.rt.deploy(under.factory(dir.path(), 10)).await.unwrap();
        let bus = under.rt.bus().clone();
        let put = |first: usize| {
            let programs = (first..first + 4).map(|n| program(&format!("p{n}"), "a")).collect();
            let bus = bus.clone();
            async move { bus.request(STORE_PUT, PutPrograms { programs }).await }
        };
        let before = under.metrics.writes.get();
        let first = tokio::task::spawn_local(put(0));
        while under.metrics.writes.get() == before {
            tokio::task::yield_now().await;
        }
        // The first one is being written.
        let second = put(4).await;
        assert!(matches!(&second, Err(RequestError::Failed(full)) if full.code() == OVERLOADED), "{second:?}");
        first.await.unwrap().unwrap();
        put(0).await.unwrap();
        deployment.undeploy().await.unwrap();
        // A store that holds more than it may does not open.
        under.rt.deploy(under.factory(dir.path(), 10)).await.unwrap();
        assert_eq!(under.page(None, 100).await.programs.len(), 3 + 4);
    });
}

/// As an instance leaves it that was replaced in the middle of a write.
fn held(dir: &Path) -> ProgramFile {
    ProgramFile::open(dir, SEED, Limits { programs_max: 1_000, file_bytes_max: 1 << 20 }).unwrap().file
}

#[test]
fn a_start_waits_for_a_file_that_is_still_being_written() {
    paused(|under, dir| async move {
        let mut held = held(dir.path());
        let (rt, factory) = (under.rt.clone(), under.factory(dir.path(), 1_000));
        let starting = tokio::task::spawn_local(async move { rt.deploy(factory).await });
        under.rt.clock().sleep(IN_USE_MAX - Duration::from_secs(1)).await;
        assert!(!starting.is_finished());
        held.append(&[program("1", "a")], 4).unwrap();
        drop(held);
        starting.await.unwrap().unwrap();
        assert_eq!(under.name("1").await.as_deref(), Some("a"));
    });
}

#[test]
fn a_start_does_not_wait_for_ever_for_a_file_that_somebody_keeps() {
    paused(|under, dir| async move {
        let _held = held(dir.path());
        let began = under.rt.clock().now();
        let refused = under.rt.deploy(under.factory(dir.path(), 1_000)).await.unwrap_err();
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains("programs.lock is in use"), "{source}");
        let took = under.rt.clock().now() - began;
        assert!(took >= IN_USE_MAX && took < IN_USE_MAX + Duration::from_secs(1), "{took:?}");
    });
}
