#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::cache::tests::program;

const AT: Duration = Duration::from_secs(1);

fn shared(programs_max: usize) -> SharedPrograms {
    let (ttl, absent_ttl) = (Duration::from_secs(600), Some(Duration::from_secs(5)));
    SharedPrograms::new(&CacheConfig { programs_max, ttl, absent_ttl, fill_programs_max: 1 })
}

/// What can happen to one program, in any order.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody writes the next version to the store.
    Write,
    /// A read begins: it will bring what the store holds now.
    Begin,
    /// The oldest (or the newest) read under way comes back.
    Settle {
        newest: bool,
    },
    /// The last version written is pushed.
    Push,
    /// Memory is short.
    Evict,
    Revalidate,
    Purge,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Write),
        4 => Just(Step::Begin),
        4 => any::<bool>().prop_map(|newest| Step::Settle { newest }),
        3 => Just(Step::Push),
        1 => Just(Step::Evict),
        1 => Just(Step::Revalidate),
        1 => Just(Step::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Reads overlap pushes in every way; what memory vouches for is never older than the last push, nor than what it
    /// vouched for before.
    #[test]
    fn memory_never_goes_back_behind_a_push(steps in prop::collection::vec(any_step(), 1..60)) {
        let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
        let (mut stored, mut pushed) = (0, 0);
        let mut under_way = std::collections::VecDeque::new();
        for step in steps {
            match step {
                Step::Write => stored += 1,
                Step::Begin => under_way.push_back((shared.begin(&id, AT), stored)),
                Step::Settle { newest } => {
                    let read = if newest { under_way.pop_back() } else { under_way.pop_front() };
                    if let Some((ticket, version)) = read {
                        let settled = shared.settle(&id, &ticket, Found::Program(program(&id, version)), AT);
                        if let Settled::Newer(newer) = settled {
                            prop_assert!(newer.unwrap().customer_id >= pushed);
                        }
                    }
                }
                Step::Push => {
                    pushed = stored;
                    shared.push(Change::Put(program(&id, stored)), AT);
                }
                Step::Evict => shared.inner.known.invalidate(&id),
                Step::Revalidate => shared.revalidate(),
                Step::Purge => shared.purge(),
            }
            if let Standing::Fresh(Some(known)) | Standing::Stale(known) = shared.get(&id, AT) {
                prop_assert!(known.customer_id >= pushed, "version {} is known, {pushed} was pushed", known.customer_id);
            }
        }
    }
}

/// With a version, which is its customer id as well.
fn versioned(id: &ProgramId, version: u32) -> Arc<Program> {
    let program = Program::clone(&program(id, i32::try_from(version).unwrap()));
    Arc::new(Program { version: Some(version.into()), ..program })
}

fn deleted(id: &ProgramId, version: Option<u64>) -> Change {
    Change::Deleted(Deletion { program_id: id.clone(), version })
}

/// Versions on their way to one program.
#[derive(Debug, Clone)]
enum Way {
    /// One is pushed, whatever was pushed before.
    Push(u32),
    /// A read begins that will bring this one.
    Begin(u32),
    /// A read under way comes back: the oldest or the newest.
    Settle {
        newest: bool,
    },
    Revalidate,
}

fn any_way() -> impl Strategy<Value = Way> {
    prop_oneof![
        3 => (0..20_u32).prop_map(Way::Push),
        3 => (0..20_u32).prop_map(Way::Begin),
        3 => any::<bool>().prop_map(|newest| Way::Settle { newest }),
        1 => Just(Way::Revalidate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Old pushes, old replicas, reads that overlap both: what memory holds is the highest version it was ever told.
    #[test]
    fn memory_holds_the_highest_version_that_came_by_whatever_way(ways in prop::collection::vec(any_way(), 1..60)) {
        let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
        let (mut highest, mut under_way) = (None, std::collections::VecDeque::new());
        for way in ways {
            match way {
                Way::Push(version) => {
                    let verdict = shared.push(Change::Put(versioned(&id, version)), AT);
                    prop_assert_eq!(verdict == Verdict::Newer, Some(version) > highest);
                    highest = highest.max(Some(version));
                }
                Way::Begin(version) => under_way.push_back((shared.begin(&id, AT), version)),
                Way::Settle { newest } => {
                    let read = if newest { under_way.pop_back() } else { under_way.pop_front() };
                    if let Some((ticket, version)) = read {
                        let settled = shared.settle(&id, &ticket, Found::Program(versioned(&id, version)), AT);
                        highest = highest.max(Some(version));
                        if let Settled::Newer(answer) | Settled::Older(answer) = settled {
                            prop_assert_eq!(answer.unwrap().customer_id, i32::try_from(highest.unwrap()).unwrap());
                        }
                    }
                }
                Way::Revalidate => shared.revalidate(),
            }
            let known = shared.find(&id).and_then(|known| known.answer).map(|known| known.customer_id.unsigned_abs());
            prop_assert_eq!(known, highest);
        }
    }
}

#[test]
fn a_deleted_program_of_which_a_version_is_known_does_not_come_back_with_an_older_one() {
    let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
    shared.push(Change::Put(versioned(&id, 5)), AT);
    shared.push(deleted(&id, Some(6)), AT);
    for unknown in 0..10_000 {
        let unknown = ProgramId::new(format!("unknown{unknown}")).unwrap();
        let ticket = shared.begin(&unknown, AT);
        shared.settle(&unknown, &ticket, Found::Nothing, AT);
    }
    shared.tidy();
    assert_eq!(shared.push(Change::Put(versioned(&id, 5)), AT), Verdict::Older);
    assert_eq!(shared.get(&id, AT), Standing::Fresh(None));
    assert_eq!(shared.count_programs(AT), 0);
    assert_eq!(shared.push(Change::Put(versioned(&id, 7)), AT), Verdict::Newer);
}

#[test]
fn a_deletion_that_the_store_remembers_ends_a_program_of_a_lower_version_alone() {
    let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
    shared.push(Change::Put(versioned(&id, 5)), AT);
    let read = |version| {
        let ticket = shared.begin(&id, AT);
        shared.settle(&id, &ticket, Found::Deleted { version }, AT)
    };
    assert_eq!(read(4), Settled::Older(Some(versioned(&id, 5))), "it was put again, and the store has fallen back");
    assert_eq!(read(6), Settled::Kept);
    assert_eq!(shared.get(&id, AT), Standing::Fresh(None));
    assert_eq!(shared.push(Change::Put(versioned(&id, 5)), AT), Verdict::Older);
}

#[test]
fn a_purge_forgets_versions_too() {
    let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
    shared.push(Change::Put(versioned(&id, 5)), AT);
    shared.purge();
    assert_eq!(shared.push(Change::Put(versioned(&id, 4)), AT), Verdict::Newer);
}

#[test]
fn the_bound_of_programs_holds() {
    let shared = shared(100);
    for n in 0..10_000 {
        let id = ProgramId::new(format!("p{n}")).unwrap();
        shared.push(Change::Put(program(&id, n)), AT);
    }
    assert!(shared.tidy() <= 100);
    assert!(shared.count_programs(AT) <= 100);
}

#[test]
fn a_push_wins_over_reads_on_other_threads() {
    let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
    let stored = std::sync::atomic::AtomicI32::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let ticket = shared.begin(&id, AT);
                    let version = stored.load(Ordering::SeqCst);
                    std::thread::yield_now();
                    shared.settle(&id, &ticket, Found::Program(program(&id, version)), AT);
                }
            });
        }
        for version in 1..20_000 {
            stored.store(version, Ordering::SeqCst);
            shared.push(Change::Put(program(&id, version)), AT);
            let Standing::Fresh(Some(known)) = shared.get(&id, AT) else { panic!("the push is gone") };
            assert_eq!(known.customer_id, version);
            if version % 16 == 0 {
                shared.inner.known.invalidate(&id);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// A push counts its change before moka shows its program; a read can begin between the two on another loop.
#[test]
fn a_read_that_begins_in_the_middle_of_a_push_does_not_replace_it() {
    let (shared, id) = (shared(100), ProgramId::new("1").unwrap());
    shared.changes_of(&id).fetch_add(1, Ordering::SeqCst);
    let ticket = shared.begin(&id, AT);
    let known =
        Known { answer: Some(program(&id, 1)), highest: None, since: AT, era: shared.era(), stamp: shared.stamp() };
    shared.inner.known.insert(id.clone(), known);
    assert_eq!(shared.settle(&id, &ticket, Found::Program(program(&id, 0)), AT), Settled::Newer(Some(program(&id, 1))));
}

#[test]
fn a_flood_of_unknown_ids_costs_no_program_its_place_and_keeps_none_out() {
    let shared = shared(100);
    let id = |number: u32| ProgramId::new(format!("p{number}")).unwrap();
    let change = |number| Change::Put(program(id(number), 1));
    (0..50).for_each(|number| assert_eq!(shared.push(change(number), AT), Verdict::Newer));
    for unknown in 0..10_000 {
        let unknown = ProgramId::new(format!("unknown{unknown}")).unwrap();
        let ticket = shared.begin(&unknown, AT);
        assert_eq!(shared.settle(&unknown, &ticket, Found::Nothing, AT), Settled::Kept);
    }
    (50..100).for_each(|number| assert_eq!(shared.push(change(number), AT), Verdict::Newer));
    shared.tidy();
    for number in 0..100 {
        assert!(matches!(shared.get(&id(number), AT), Standing::Fresh(Some(_))), "program {number}");
    }
    assert!(shared.tidy() <= 200);
}

#[test]
fn a_program_that_is_pushed_into_a_full_memory_stays_and_the_longest_unused_goes() {
    let shared = shared(10);
    let id = |number: u32| ProgramId::new(format!("p{number}")).unwrap();
    for number in 0..30 {
        shared.push(Change::Put(program(id(number), 1)), AT);
        shared.tidy();
        assert!(matches!(shared.get(&id(number), AT), Standing::Fresh(Some(_))), "program {number}");
    }
    assert_eq!(shared.get(&id(0), AT), Standing::Gone);
}
