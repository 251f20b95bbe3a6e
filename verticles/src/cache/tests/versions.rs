//! A lower version never takes the place of a higher one, whatever way it comes.

use super::*;

fn versioned(text: &str, version: u64) -> Arc<Program> {
    let content = Program::clone(&program(text, i32::try_from(version).unwrap()));
    Arc::new(Program { version: Some(version), ..content })
}

#[test]
fn a_read_that_brings_a_higher_version_wins_over_an_old_push_that_came_meanwhile() {
    paused(|under| async move {
        under.store.put(versioned("1", 2));
        under.store.delay(Duration::from_millis(100));
        let pushed = async {
            under.sleep(Duration::from_millis(50)).await;
            under.push(Change::Put(versioned("1", 1))).await;
        };
        let (read, ()) = tokio::join!(under.version("1"), pushed);
        assert_eq!((read, under.version("1").await), (Some(2), Some(2)));
        assert_eq!(under.store.reads(), 1);
    });
}

#[test]
fn an_old_push_changes_nothing_and_is_counted() {
    paused(|under| async move {
        under.push(Change::Put(versioned("1", 2))).await;
        under.push(Change::Put(versioned("1", 1))).await;
        assert_eq!(under.version("1").await, Some(2));
        assert_eq!(under.metrics.outdated.get(), 1);
        under.push(Change::Put(program("1", 9))).await;
        assert_eq!(under.version("1").await, Some(9), "who counts no versions is believed");
        under.push(Change::Put(versioned("1", 2))).await;
        assert_eq!(under.version("1").await, Some(9), "an old message that comes twice takes nothing back");
    });
}

#[test]
fn a_store_that_falls_back_to_an_older_version_is_asked_once_a_ttl_and_not_believed() {
    paused(|under| async move {
        under.store.put(versioned("1", 2));
        assert_eq!(under.version("1").await, Some(2));
        under.store.put(versioned("1", 1));
        for round in 1..4 {
            under.sleep(TTL).await;
            assert_eq!((under.version("1").await, under.version("1").await), (Some(2), Some(2)));
            assert_eq!((under.store.reads(), under.metrics.outdated.get()), (round + 1, round as u64));
        }
        under.store.put(versioned("1", 3));
        under.sleep(TTL).await;
        assert_eq!(under.version("1").await, Some(3));
    });
}

#[test]
fn a_deletion_that_the_store_remembers_is_believed_at_once_after_a_revalidation() {
    paused(|under| async move {
        under.push(Change::Put(versioned("1", 5))).await;
        under.store.delete(id("1"), 6);
        assert_eq!(under.version("1").await, Some(5));
        under.revalidate().await;
        assert_eq!(under.version("1").await, None);
        under.push(Change::Put(versioned("1", 5))).await;
        assert_eq!(under.version("1").await, None, "a late push does not bring it back");
        assert_eq!((under.metrics.unconfirmed.get(), under.metrics.outdated.get()), (0, 1));
        under.push(Change::Put(versioned("1", 7))).await;
        assert_eq!(under.version("1").await, Some(7));
    });
}

#[test]
fn a_deletion_is_remembered_longer_than_an_absence() {
    paused(|under| async move {
        under.push(Change::Deleted(Deletion { program_id: id("1"), version: Some(6) })).await;
        under.sleep(2 * ABSENT_TTL).await;
        under.push(Change::Put(versioned("1", 5))).await;
        assert_eq!(under.version("1").await, None);
    });
}

/// A read that is under way while the program changes, in every order of question, change, push and answer; with versions and
/// without.
#[test]
fn no_read_that_began_before_a_push_is_answered_after_it_in_100_000_interleavings() {
    paused(|under| async move {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..100_000 {
            let name = format!("p{round}");
            let of = |version| match round % 2 {
                0 => versioned(&name, version),
                _ => program(&name, i32::try_from(version).unwrap()),
            };
            under.store.put(of(1));
            under.store.delay(Duration::from_millis(random.u64(0..10)));
            let (asked_at, changed_at) = (random.u64(0..10), random.u64(0..10));
            let read = async {
                under.sleep(Duration::from_millis(asked_at)).await;
                under.version(&name).await
            };
            let pushed = async {
                under.sleep(Duration::from_millis(changed_at)).await;
                under.store.put(of(2));
                under.push(Change::Put(of(2))).await;
            };
            let (read, ()) = tokio::join!(read, pushed);
            assert!(read == Some(2) || asked_at <= changed_at && read == Some(1), "round {round}: {read:?}");
            assert_eq!(under.version(&name).await, Some(2), "round {round}");
        }
    });
}
