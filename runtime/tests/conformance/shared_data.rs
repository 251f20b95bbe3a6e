//! Shared data: one map, counter and lock for a name, wherever it is asked for.

use std::sync::Arc;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{LockError, MapFull, SharedDataError};

use crate::kit::starting;
use crate::promises;
use crate::support::{Gate, Seen, eventually};

const MS: Duration = Duration::from_millis(1);

promises! {
    /// A local map of one name is one map, from every loop; with other types it is refused, naming both.
    async fn v193_a_map_of_one_name_is_one_map(rt: &TestRuntime) {
        for number in 0..8_u32 {
            starting(&rt, move |ctx| async move {
                let map = ctx.shared_data().local_map::<u32, String>("numbers").unwrap();
                assert_eq!(map.insert(number, number.to_string()), Ok(None));
                // Another name is another map.
                let other = ctx.shared_data().local_map::<u32, String>("others").unwrap();
                assert_eq!(other.get(&number), None);
            }).await;
        }
        let map = rt.shared_data().local_map::<u32, String>("numbers").unwrap();
        let mut keys = map.keys();
        keys.sort_unstable();
        assert_eq!((keys, map.len()), ((0..8).collect(), 8));
        assert_eq!(map.remove(&3), Some("3".to_owned()));
        assert_eq!((map.get(&3), map.remove(&3), map.get(&4)), (None, None, Some("4".to_owned())));
        assert_eq!(map.insert(4, "four".to_owned()), Ok(Some("4".to_owned())));
        assert_eq!(map.insert_if_absent(4, "IV".to_owned()), Ok(Some("four".to_owned())));
        assert_eq!(map.insert_if_absent(3, "III".to_owned()), Ok(None));
        let refused = rt.shared_data().local_map::<u32, u32>("numbers").unwrap_err();
        let SharedDataError::WrongType { name, held, wanted } = refused else { panic!("{refused}") };
        assert!(name == "numbers" && held.contains("String") && !wanted.contains("String"), "{held}, {wanted}");
    }

    /// A counter of one name is one number.
    async fn v193_a_counter_of_one_name_is_one_number(rt: &TestRuntime) {
        let counted = Seen::default();
        for _ in 0..8 {
            let noted = counted.clone();
            starting(&rt, move |ctx| {
                let noted = noted.clone();
                async move { noted.note(ctx.shared_data().counter("count").unwrap().add(1)) }
            }).await;
        }
        assert_eq!(counted.all(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let counter = rt.shared_data().counter("count").unwrap();
        assert_eq!((counter.add(-10), counter.get()), (-2, -2));
        assert!(counter.compare_and_set(-2, 5) && !counter.compare_and_set(-2, 6));
        assert_eq!(rt.shared_data().counter("another").unwrap().get(), 0);
    }

    /// What is read from a map is a copy, or shares what cannot be changed; so are its keys and values.
    async fn v194_what_is_read_from_a_map_is_a_copy(rt: &TestRuntime) {
        let lists = rt.shared_data().local_map::<String, Vec<u32>>("lists").unwrap();
        let mut mine = vec![1];
        assert_eq!(lists.insert("a".to_owned(), mine.clone()), Ok(None));
        mine.push(2);
        let key = "a".to_owned();
        lists.get(&key).unwrap().push(3);
        lists.values()[0].push(4);
        let mut keys = lists.keys();
        keys[0].push('!');
        assert_eq!((lists.get(&key), lists.keys(), lists.values()), (Some(vec![1]), vec![key], vec![vec![1]]));
        let shared = rt.shared_data().local_map::<u32, Arc<Vec<u32>>>("shared").unwrap();
        let value = Arc::new(vec![7]);
        assert_eq!(shared.insert(1, Arc::clone(&value)), Ok(None));
        assert!(Arc::ptr_eq(&shared.get(&1).unwrap(), &value));
    }

    /// A lock is given to those that wait for it in the order they asked.
    async fn v196_a_lock_is_given_in_the_order_it_was_asked_for(rt: &TestRuntime) {
        let (order, gate) = (Seen::default(), Gate::default());
        let first = rt.shared_data().lock("door").await.unwrap();
        for number in 0..10 {
            let (asking, order, gate) = (Seen::default(), order.clone(), gate.clone());
            let asks = asking.clone();
            starting(&rt, move |ctx| {
                let (asks, order, gate) = (asks.clone(), order.clone(), gate.clone());
                async move {
                    ctx.run_on_context(move |ctx| async move {
                        let mut lock = std::pin::pin!(ctx.shared_data().lock("door").timeout(Duration::from_secs(60)));
                        let waiting = std::future::poll_fn(|cx| std::task::Poll::Ready(lock.as_mut().poll(cx).is_pending()));
                        asks.note(waiting.await);
                        let held = lock.await.unwrap();
                        order.note(number);
                        gate.wait().await;
                        held.release();
                    });
                }
            }).await;
            eventually(rt.clock(), "it waits", || asking.all() == [true]).await;
        }
        assert_eq!(order.len(), 0);
        gate.open();
        first.release();
        eventually(rt.clock(), "all have had it", || order.len() == 10).await;
        assert_eq!(order.all(), (0..10).collect::<Vec<_>>());
    }

    /// Waiting for a lock that does not come fails, with words that name it; who gave up takes nobody's turn.
    async fn v196_waiting_for_a_lock_has_an_end(rt: &TestRuntime) {
        let held = rt.shared_data().lock("door").await.unwrap();
        let before = rt.clock().now();
        let waited = rt.shared_data().lock("door").timeout(5 * MS).await.unwrap_err();
        assert!(rt.clock().now() - before >= 5 * MS);
        assert_eq!(waited, LockError::Timeout { name: "door".into(), after: 5 * MS });
        assert_eq!(waited.to_string(), "Timed out waiting to get lock door");
        // A lock of another name does not wait for this one.
        rt.shared_data().lock("window").timeout(MS).await.unwrap().release();
        drop(held);
        rt.shared_data().lock("door").timeout(MS).await.unwrap().release();
    }

    /// A lock that is released is handed on once: one of those that wait has it, not two.
    async fn v197_a_released_lock_is_handed_on_once(rt: &TestRuntime) {
        let holders = Seen::default();
        let first = rt.shared_data().lock("door").await.unwrap();
        let gates: Vec<_> = (0..2).map(|_| Gate::default()).collect();
        for gate in &gates {
            let (gate, holders) = (gate.clone(), holders.clone());
            starting(&rt, move |ctx| {
                let (gate, holders) = (gate.clone(), holders.clone());
                async move {
                    ctx.run_on_context(move |ctx| async move {
                        let held = ctx.shared_data().lock("door").await.unwrap();
                        holders.note(());
                        gate.wait().await;
                        drop(held);
                    });
                }
            }).await;
        }
        first.release();
        eventually(rt.clock(), "the next one has it", || holders.len() == 1).await;
        rt.clock().sleep(10 * MS).await;
        assert_eq!(holders.len(), 1);
        gates.iter().for_each(Gate::open);
        eventually(rt.clock(), "and then the last", || holders.len() == 2).await;
        rt.shared_data().lock("door").await.unwrap().release();
    }

    /// Work done under a lock releases it when it ends: well, with an error, in a panic, or cut off.
    async fn v198_work_under_a_lock_releases_it_however_it_ends(rt: &TestRuntime) {
        for end in 0..4 {
            let began = Seen::default();
            let noted = began.clone();
            let worker = starting(&rt, move |ctx| {
                let noted = noted.clone();
                async move {
                    ctx.run_on_context(move |ctx| async move {
                        let work = async {
                            let _held = ctx.shared_data().lock("door").await?;
                            noted.note(());
                            match end {
                                0 => Ok(()),
                                1 => Err(LockError::TooMany { name: "an error like any other".into() }),
                                2 => panic!("under a lock"),
                                _ => std::future::pending().await,
                            }
                        };
                        drop(work.await);
                    });
                }
            }).await;
            eventually(rt.clock(), "it has the lock", || began.len() == 1).await;
            if end == 3 {
                worker.undeploy().await.unwrap();
            }
            rt.shared_data().lock("door").timeout(Duration::from_secs(5)).await.unwrap().release();
        }
    }

    /// A map holds no absent keys or values: they do not compile - see `LocalMap` - and what is not there reads as `None`.
    async fn v200_what_is_not_there_reads_as_none(rt: &TestRuntime) {
        let map = rt.shared_data().local_map::<Option<u32>, Option<u32>>("options").unwrap();
        assert!(map.is_empty());
        // An optional key or value is a value like any other, and none that is absent.
        assert_eq!((map.get(&None), map.insert(None, None)), (None, Ok(None)));
        assert_eq!((map.get(&None), map.get(&Some(0)), map.len()), (Some(None), None, 1));
        assert_eq!((map.remove(&None), map.get(&None)), (Some(None), None));
    }
}

/// Waiting for a lock ends after 10 s unless told otherwise, to the millisecond.
#[test]
fn v196_a_lock_is_waited_for_ten_seconds_unless_told_otherwise() {
    TestRuntime::paused(|rt| async move {
        let _held = rt.shared_data().lock("door").await.unwrap();
        let before = rt.elapsed();
        assert!(matches!(rt.shared_data().lock("door").await, Err(LockError::Timeout { .. })));
        assert_eq!(rt.elapsed() - before, Duration::from_secs(10));
    });
}

/// A map holds 1,048,576 entries; one more comes back, one that is there can still be changed.
#[test]
fn v193_a_map_that_is_full_gives_the_entry_back() {
    TestRuntime::paused(|rt| async move {
        let map = rt.shared_data().local_map::<u32, u32>("full").unwrap();
        for number in 0..1_048_576 {
            map.insert(number, number).unwrap();
        }
        assert_eq!(map.insert(9_999_999, 7), Err(MapFull(9_999_999, 7)));
        assert_eq!(map.insert_if_absent(9_999_999, 7), Err(MapFull(9_999_999, 7)));
        assert_eq!(map.insert(5, 7), Ok(Some(5)));
        assert_eq!(map.remove(&6), Some(6));
        assert_eq!(map.insert(9_999_999, 7), Ok(None));
    });
}

/// There are at most 65,536 maps and as many counters; the next name is refused, those there are stay reachable.
#[test]
fn v193_there_are_so_many_names_and_no_more() {
    TestRuntime::paused(|rt| async move {
        let data = rt.shared_data();
        for number in 0..65_536 {
            data.counter(&number.to_string()).unwrap();
            data.local_map::<u8, u8>(&number.to_string()).unwrap();
        }
        let full = SharedDataError::TooManyNames { name: "one more".into() };
        assert_eq!(data.counter("one more").unwrap_err(), full);
        assert_eq!(data.local_map::<u8, u8>("one more").unwrap_err(), full);
        assert!(data.counter("7").is_ok() && data.local_map::<u8, u8>("7").is_ok());
    });
}

/// Of those that hold and want a lock there are at most 65,536; names of locks nobody holds or wants take no place.
#[test]
fn v196_so_many_want_a_lock_and_no_more() {
    TestRuntime::paused(|rt| async move {
        let data = rt.shared_data();
        for number in 0..100_000 {
            data.lock(&number.to_string()).await.unwrap().release();
        }
        let held = data.lock("door").await.unwrap();
        let mut waiting: Vec<_> = (1..65_536).map(|_| Box::pin(data.lock("door"))).collect();
        let begin = std::future::poll_fn(|cx| {
            assert!(waiting.iter_mut().all(|lock| lock.as_mut().poll(cx).is_pending()));
            std::task::Poll::Ready(())
        });
        begin.await;
        assert_eq!(data.lock("door").await.unwrap_err(), LockError::TooMany { name: "door".into() });
        waiting.pop();
        let last = data.lock("door").timeout(MS).await.unwrap_err();
        assert!(matches!(last, LockError::Timeout { .. }), "{last}");
        drop((waiting, held));
        data.lock("door").await.unwrap().release();
    });
}
