//! Promises of `send`, `try_send` and `publish`: who gets a message, in which order, and what happens at the bound.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{Gate, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Context, Deploy, Failure, Handler, Published, RequestError, Route, SendError, Verticle,
};

const NOTE: Address<u32> = Address::new("notes");
const TALK: Address<(u32, u32)> = Address::new("talk");

/// Notes who saw what; waits at the gate before it finishes.
struct Noter {
    seen: Seen<(usize, u32)>,
    gate: Gate,
    mailbox: usize,
    in_flight: usize,
    route: Route,
}

impl Verticle for Noter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NOTE).mailbox(self.mailbox).in_flight(self.in_flight).route(self.route).register()?;
        Ok(())
    }
}

impl Handler<u32> for Noter {
    type Reply = ();
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        self.seen.note((ctx.instance(), number));
        self.gate.wait().await;
        Ok(())
    }
}

struct Kit {
    seen: Seen<(usize, u32)>,
    gate: Gate,
}

impl Kit {
    /// Handlers that wait at a closed gate.
    fn held() -> Self {
        Self { seen: Seen::default(), gate: Gate::default() }
    }

    fn open() -> Self {
        let kit = Self::held();
        kit.gate.open();
        kit
    }

    fn deploy(&self, mailbox: usize, in_flight: usize, route: Route) -> Deploy<Noter> {
        let (seen, gate) = (self.seen.clone(), self.gate.clone());
        Deploy::new(move || Noter { seen: seen.clone(), gate: gate.clone(), mailbox, in_flight, route })
    }

    fn numbers_of(&self, instance: usize) -> Vec<u32> {
        self.seen.all().into_iter().filter(|(who, _)| *who == instance).map(|(_, number)| number).collect()
    }
}

promises! {
    async fn messages_of_other_loops_take_no_room_of_this_ones_and_the_other_way_round(rt: &TestRuntime) {
        const BOTH: Address<u32> = Address::new("both");
        struct Crowded;
        impl Verticle for Crowded {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let consumer = ctx.serve_fn(BOTH, |_| async { Ok(()) }).mailbox(4).paused().register()?;
                let bus = ctx.bus().clone();
                let elsewhere = move || (0..6).map(|number| bus.try_send(BOTH, number).is_ok()).collect::<Vec<_>>();
                let taken = ctx.execute_blocking(elsewhere).await?;
                assert_eq!(taken, [true, true, true, true, false, false]);
                while ctx.bus().metrics().await.loops.iter().any(|event_loop| event_loop.inbox > 0) {}
                assert_eq!(ctx.bus().room(BOTH), 4);
                let taken: Vec<_> = (0..6).map(|number| ctx.bus().try_send(BOTH, number).is_ok()).collect();
                assert_eq!((taken, ctx.bus().room(BOTH)), (vec![true, true, true, true, false, false], 0));
                let pending = ctx.bus().metrics().await.address("both").map(|both| both.pending);
                assert_eq!(pending, Some(8));
                consumer.resume();
                while ctx.bus().room(BOTH) < 4 {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        }
        rt.deploy(Deploy::new(|| Crowded)).await.unwrap().undeploy().await.unwrap();
        let metrics = rt.metrics().await;
        assert_eq!(metrics.address("both").map(|both| (both.delivered, both.discarded, both.refused)), Some((8, 0, 4)));
    }

    async fn what_is_said_with_other_types_is_counted_once_whatever_the_verb(rt: &TestRuntime) {
        const TEXT: Address<&str> = Address::new("notes");
        let deployment = rt.stub(NOTE, |_| async { Ok(()) }).await.unwrap();
        let verbs = |bus: vertebra::Bus, _| async move {
            assert!(matches!(bus.request(TEXT, "a").await, Err(RequestError::WrongType { .. })));
            assert_eq!(bus.send(TEXT, "b").await, Err(SendError::WrongType("b")));
            assert_eq!(bus.try_send(TEXT, "c"), Err(SendError::WrongType("c")));
            assert_eq!(bus.publish(TEXT, "d"), Published::default());
        };
        verbs(rt.bus().clone(), rt.clock().clone()).await;
        on_a_loop(&rt, verbs).await;
        assert_eq!(rt.metrics().await.address("notes").map(|notes| notes.sent), Some(8));
        deployment.undeploy().await.unwrap();
    }

    async fn a_sent_message_reaches_exactly_one_consumer_in_turn(rt: &TestRuntime) {
        let kit = Kit::open();
        rt.deploy(kit.deploy(1_024, 64, Route::RoundRobin).instances(10)).await.unwrap();
        for number in 0..100 {
            rt.bus().send(NOTE, number).await.unwrap();
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 100).await;
        for instance in 0..10 {
            assert_eq!(kit.numbers_of(instance).len(), 10, "instance {instance}");
        }
    }

    async fn messages_of_one_sender_to_one_consumer_keep_their_order(rt: &TestRuntime) {
        let kit = Kit::open();
        rt.deploy(kit.deploy(64, 4, Route::RoundRobin)).await.unwrap();
        for number in 0..2_000 {
            match number % 3 {
                0 => rt.bus().send(NOTE, number).await.unwrap(),
                1 => rt.bus().request(NOTE, number).await.unwrap(),
                _ => while rt.bus().publish(NOTE, number).reached == 0 {
                    rt.clock().sleep(Duration::from_millis(1)).await;
                },
            }
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 2_000).await;
        assert_eq!(kit.numbers_of(0), (0..2_000).collect::<Vec<_>>());
    }

    async fn a_published_message_reaches_every_consumer_and_is_counted(rt: &TestRuntime) {
        let kit = Kit::open();
        rt.deploy(kit.deploy(8, 64, Route::RoundRobin).instances(5)).await.unwrap();
        assert_eq!(rt.bus().publish(NOTE, 7), Published { reached: 5, dropped: 0 });
        eventually(rt.clock(), "all have it", || kit.seen.len() == 5).await;
        let mut who: Vec<_> = kit.seen.all().into_iter().map(|(who, _)| who).collect();
        who.sort_unstable();
        assert_eq!(who, [0, 1, 2, 3, 4]);
    }

    async fn publishing_to_nobody_reaches_nobody(rt: &TestRuntime) {
        assert_eq!(rt.bus().publish(NOTE, 7), Published { reached: 0, dropped: 0 });
    }

    async fn a_message_to_nobody_comes_back(rt: &TestRuntime) {
        assert_eq!(rt.bus().try_send(NOTE, 7), Err(SendError::NoHandlers(7)));
        assert_eq!(rt.bus().send(NOTE, 8).await, Err(SendError::NoHandlers(8)));
    }

    async fn a_consumer_registered_afterwards_does_not_see_what_was_sent_before(rt: &TestRuntime) {
        assert!(rt.bus().try_send(NOTE, 1).is_err());
        rt.bus().publish(NOTE, 2);
        assert!(rt.bus().request(NOTE, 3).await.is_err());
        let kit = Kit::open();
        rt.deploy(kit.deploy(8, 8, Route::RoundRobin)).await.unwrap();
        rt.bus().request(NOTE, 4).await.unwrap();
        assert_eq!(kit.numbers_of(0), [4]);
    }

    async fn by_default_a_mailbox_holds_1024_messages_and_as_many_are_in_flight(rt: &TestRuntime) {
        let gate = Gate::default();
        let wait = gate.clone();
        let seen = Seen::default();
        let note = seen.clone();
        rt.stub(NOTE, move |number| {
            let (wait, note) = (wait.clone(), note.clone());
            async move { note.note(number); wait.wait().await; Ok(()) }
        }).await.unwrap();
        for number in 0..1_024 {
            rt.bus().send(NOTE, number).await.unwrap();
        }
        eventually(rt.clock(), "so many are in flight", || seen.len() == 1_024).await;
        rt.clock().sleep(Duration::from_millis(20)).await;
        let taken = (0..3_000).filter(|number| rt.bus().try_send(NOTE, *number).is_ok()).count();
        assert_eq!((taken, seen.len()), (1_024, 1_024));
        gate.open();
        eventually(rt.clock(), "all are handled", || seen.len() == 2_048).await;
    }

    async fn a_send_goes_on_to_the_consumer_that_has_room_and_a_try_does_not(rt: &TestRuntime) {
        let (full, free) = (Kit::held(), Kit::open());
        let stuck = rt.deploy(full.deploy(1, 1, Route::RoundRobin)).await.unwrap();
        rt.bus().send(NOTE, 0).await.unwrap();
        eventually(rt.clock(), "one is in flight", || full.seen.len() == 1).await;
        rt.clock().sleep(Duration::from_millis(20)).await;
        rt.bus().send(NOTE, 1).await.unwrap();
        rt.deploy(free.deploy(64, 1, Route::RoundRobin)).await.unwrap();
        for number in 2..12 {
            rt.bus().send(NOTE, number).timeout(Duration::from_secs(5)).await.unwrap();
        }
        eventually(rt.clock(), "the other has them all", || free.seen.len() == 10).await;
        let refused = (0..10).filter(|number| rt.bus().try_send(NOTE, *number).is_err()).count();
        assert_eq!(refused, 5);
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    }

    async fn a_full_mailbox_gives_the_message_back_and_loses_none_it_took(rt: &TestRuntime) {
        let kit = Kit::held();
        rt.deploy(kit.deploy(3, 1, Route::RoundRobin)).await.unwrap();
        let mut taken = Vec::new();
        rt.bus().send(NOTE, 0).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || kit.seen.len() == 1).await;
        // A place is free again a moment after its message has begun; from then on exactly three fit.
        rt.clock().sleep(Duration::from_millis(20)).await;
        for number in 1..=10 {
            match rt.bus().try_send(NOTE, number) {
                Ok(()) => taken.push(number),
                Err(error) => assert_eq!(error, SendError::Full(number)),
            }
        }
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!(rt.bus().publish(NOTE, 11), Published { reached: 0, dropped: 1 });
        kit.gate.open();
        eventually(rt.clock(), "those taken are handled", || kit.seen.len() == 4).await;
        assert_eq!(kit.numbers_of(0), [0, 1, 2, 3]);
    }

    async fn a_waiting_send_gets_its_room_when_there_is_some(rt: &TestRuntime) {
        let kit = Kit::held();
        rt.deploy(kit.deploy(1, 1, Route::RoundRobin)).await.unwrap();
        rt.bus().send(NOTE, 0).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || kit.seen.len() == 1).await;
        let bus = rt.bus().clone();
        let sender = tokio::task::spawn_local(async move {
            for number in 1..50 {
                bus.send(NOTE, number).await.unwrap();
            }
        });
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert!(!sender.is_finished());
        kit.gate.open();
        sender.await.unwrap();
        assert!(rt.elapsed() < Duration::from_secs(20), "it is woken for it, and not by its time-out");
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 50).await;
        assert_eq!(kit.numbers_of(0), (0..50).collect::<Vec<_>>());
    }

    async fn a_strict_consumer_finishes_one_message_before_the_next(rt: &TestRuntime) {
        let kit = Kit::held();
        rt.deploy(kit.deploy(8, 1, Route::RoundRobin)).await.unwrap();
        for number in 0..4 {
            rt.bus().send(NOTE, number).await.unwrap();
        }
        eventually(rt.clock(), "the first begins", || kit.seen.len() == 1).await;
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert_eq!(kit.seen.len(), 1);
        kit.gate.open();
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 4).await;
    }

    async fn two_senders_lose_nothing_and_each_keeps_its_order(rt: &TestRuntime) {
        let seen = Seen::default();
        let note = seen.clone();
        rt.stub(TALK, move |word| {
            note.note(word);
            async { Ok(()) }
        }).await.unwrap();
        let talkers = rt.deploy(Deploy::new(|| Talker).instances(4)).await.unwrap();
        eventually(rt.clock(), "all is said", || seen.len() == 4_000).await;
        for talker in 0..4 {
            let said: Vec<_> = seen.all().into_iter().filter(|(who, _)| *who == talker).map(|(_, word)| word).collect();
            assert_eq!(said, (0..1_000).collect::<Vec<_>>(), "talker {talker}");
        }
        assert!(talkers.undeploy().await.unwrap().failures.is_empty());
    }
}

/// Says a thousand words as fast as there is room.
struct Talker;

impl Verticle for Talker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let own = ctx.clone();
        ctx.spawn(async move {
            let who = own.instance() as u32;
            for word in 0..1_000 {
                own.bus().send(TALK, (who, word)).await.unwrap();
            }
        });
        Ok(())
    }
}

#[test]
fn a_send_that_finds_no_room_in_its_time_gives_the_message_back_then() {
    TestRuntime::paused(|rt| async move {
        let kit = Kit::held();
        let stuck = rt.deploy(kit.deploy(1, 1, Route::RoundRobin)).await.unwrap();
        rt.bus().send(NOTE, 0).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || kit.seen.len() == 1).await;
        rt.bus().send(NOTE, 1).await.unwrap();
        let before = rt.elapsed();
        let sent = rt.bus().send(NOTE, 2).timeout(Duration::from_millis(70)).await;
        assert_eq!(sent, Err(SendError::Full(2)));
        assert_eq!(rt.elapsed() - before, Duration::from_millis(70));
        assert_eq!(stuck.undeploy_within(Duration::ZERO).await.unwrap().abandoned, 2);
    });
}

#[test]
fn a_request_to_a_full_mailbox_is_refused_at_once() {
    TestRuntime::paused(|rt| async move {
        let kit = Kit::held();
        let stuck = rt.deploy(kit.deploy(1, 1, Route::RoundRobin)).await.unwrap();
        rt.bus().send(NOTE, 0).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || kit.seen.len() == 1).await;
        rt.bus().send(NOTE, 1).await.unwrap();
        let before = rt.elapsed();
        assert_eq!(rt.bus().request(NOTE, 2).await, Err(RequestError::Overloaded { address: "notes".into() }));
        assert_eq!(rt.elapsed(), before);
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn a_flood_from_outside_is_handled_to_its_end_without_another_push() {
    TestRuntime::on_loops(1, |rt| async move {
        let kit = Kit::open();
        rt.deploy(kit.deploy(2_000, 2_000, Route::RoundRobin)).await.unwrap();
        let (let_go, held) = std::sync::mpsc::sync_channel(1);
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        const HOLD: Address<()> = Address::new("hold");
        let blocked = Seen::default();
        let note = blocked.clone();
        rt.stub(HOLD, move |()| {
            let held = held.clone();
            note.note(());
            async move {
                held.lock().unwrap().recv().unwrap();
                Ok(())
            }
        })
        .await
        .unwrap();
        rt.bus().send(HOLD, ()).await.unwrap();
        eventually(rt.clock(), "the loop is blocked", || blocked.len() == 1).await;
        // The inbox of a loop holds 1,024 parcels; each of these is one. What comes then is refused, and nothing is lost.
        let taken = (0..2_000).filter(|number| rt.bus().try_send(NOTE, *number).is_ok()).count();
        assert_eq!(taken, 1_024);
        let bus = rt.bus().clone();
        let waiting = tokio::task::spawn_local(async move { bus.send(NOTE, 5_000).await });
        let (bus, late) = (rt.bus().clone(), Duration::from_millis(20));
        assert_eq!(bus.send(NOTE, 6_000).timeout(late).await, Err(SendError::Full(6_000)));
        assert!(matches!(bus.request(NOTE, 7_000).timeout(late).await, Err(RequestError::Timeout { .. })));
        let_go.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()));
        eventually(rt.clock(), "all are handled", || kit.seen.len() == taken + 1).await;
        assert_eq!(kit.numbers_of(0).last(), Some(&5_000));
    });
}

#[test]
fn a_send_never_runs_the_handler_before_it_returns() {
    TestRuntime::paused(|rt| async move {
        let kit = Kit::open();
        rt.deploy(kit.deploy(8, 8, Route::RoundRobin)).await.unwrap();
        rt.bus().try_send(NOTE, 1).unwrap();
        assert_eq!(kit.seen.len(), 0);
        eventually(rt.clock(), "it runs afterwards", || kit.seen.len() == 1).await;
    });
}

/// Asks its own loop's consumer, and says on which loop it found it.
struct Local;

const WHERE: Address<(), usize> = Address::new("where");
const ASK: Address<(), (usize, usize)> = Address::new("ask");

impl Verticle for Local {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let own = ctx.event_loop();
        ctx.serve_fn(WHERE, move |()| async move { Ok(own) }).route(Route::PreferLocal).register()?;
        let asker = ctx.clone();
        ctx.serve_fn(ASK, move |()| {
            let ctx = asker.clone();
            async move { Ok((ctx.event_loop(), ctx.bus().request(WHERE, ()).await?)) }
        })
        .register()?;
        Ok(())
    }
}

#[test]
fn a_prefer_local_address_is_answered_on_the_senders_loop() {
    TestRuntime::on_loops(4, |rt| async move {
        rt.deploy(Deploy::new(|| Local).instances(4)).await.unwrap();
        for _ in 0..40 {
            let (asked_on, answered_on) = rt.bus().request(ASK, ()).await.unwrap();
            assert_eq!(asked_on, answered_on);
        }
    });
}

#[test]
fn a_prefer_local_address_is_answered_elsewhere_when_nobody_serves_it_here() {
    TestRuntime::on_loops(2, |rt| async move {
        rt.deploy(Deploy::new(|| Local)).await.unwrap();
        // The probe has its turn on the other loop.
        for _ in 0..3 {
            assert!(on_a_loop(&rt, |bus, _| async move { bus.request(WHERE, ()).await }).await.is_ok());
        }
    });
}

#[test]
fn a_consumer_handles_256_messages_before_the_next_one_has_its_turn() {
    TestRuntime::paused(|rt| async move {
        const ONE: Address<()> = Address::new("one");
        const TWO: Address<()> = Address::new("two");
        let seen = Seen::default();
        for (address, who) in [(ONE, 1), (TWO, 2)] {
            let note = seen.clone();
            let stub = rt.stub(address, move |()| {
                note.note(who);
                async { Ok(()) }
            });
            stub.await.unwrap();
        }
        for address in [ONE, TWO] {
            for _ in 0..600 {
                rt.bus().try_send(address.clone(), ()).unwrap();
            }
        }
        eventually(rt.clock(), "all are handled", || seen.len() == 1_200).await;
        let turns: Vec<(u32, usize)> = seen.all().chunk_by(|a, b| a == b).map(|turn| (turn[0], turn.len())).collect();
        assert_eq!(turns, [(1, 256), (2, 256), (1, 256), (2, 256), (1, 88), (2, 88)]);
    });
}

#[test]
fn a_second_registration_with_other_types_or_another_route_fails_its_deployment() {
    TestRuntime::paused(|rt| async move {
        const OTHER: Address<u8> = Address::new("notes");
        rt.deploy(Kit::open().deploy(8, 8, Route::RoundRobin)).await.unwrap();
        let refused = rt.stub(OTHER, |_| async { Ok(()) }).await.unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("notes is served as") && cause.contains("u32") && cause.contains("u8"), "{cause}");
        let refused = rt.deploy(Kit::open().deploy(8, 8, Route::PreferLocal)).await.unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("RoundRobin") && cause.contains("PreferLocal"), "{cause}");
    });
}
