//! Promises of a published message on its own loop, where it is one entry for all consumers, and of senders and publishers,
//! which keep their way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use support::{Census, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Bus, Context, Deploy, Failure, Handler, Headers, Published, SendError, Sender, Verticle,
};

const NEWS: Address<u32> = Address::new("news");
const STUCK: Address<u32> = Address::new("stuck");
const FRAGILE: Address<Fragile> = Address::new("fragile");

/// Notes what it gets, and suspends so many times before it is done.
struct Reader {
    seen: Seen<(usize, u32)>,
    suspends: u32,
    in_flight: usize,
    mailbox: usize,
}

impl Verticle for Reader {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NEWS).in_flight(self.in_flight).mailbox(self.mailbox).register()?;
        Ok(())
    }
}

impl Handler<u32> for Reader {
    type Reply = ();
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        self.seen.note((ctx.instance(), number));
        for _ in 0..self.suspends {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn readers(seen: &Seen<(usize, u32)>, in_flight: usize, mailbox: usize, suspends: u32) -> Deploy<Reader> {
    let seen = seen.clone();
    Deploy::new(move || Reader { seen: seen.clone(), suspends, in_flight, mailbox })
}

/// Numbers by every verb in an order drawn from the seed; gives how many deliveries there must be.
async fn mixed(bus: Bus, seed: u64, messages: u32, readers: usize) -> usize {
    let mut drawn = seed;
    let mut draw = move || {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        drawn >> 60
    };
    let mut deliveries = 0;
    for number in 0..messages {
        match draw() {
            0..=6 => deliveries += bus.publish(NEWS, number).reached,
            7..=9 => deliveries += usize::from(bus.send(NEWS, number).await.is_ok()),
            10 => deliveries += usize::from(bus.request(NEWS, number).await.is_ok()),
            11..=12 => {
                let bus = bus.clone();
                let asked = tokio::task::spawn_local(async move { bus.request(NEWS, number).await.is_ok() });
                // Sent when it is first polled.
                tokio::task::yield_now().await;
                deliveries += 1;
                drop(asked);
            }
            _ => tokio::task::yield_now().await,
        }
    }
    assert!(deliveries >= readers);
    deliveries
}

#[test]
fn what_is_published_overtakes_nothing_and_is_overtaken_by_nothing() {
    for (in_flight, suspends, count) in [(1, 0, 1), (1, 1, 3), (2, 3, 3), (64, 1, 5)] {
        for seed in 0..40 {
            TestRuntime::paused(move |rt| async move {
                let seen = Seen::default();
                rt.deploy(readers(&seen, in_flight, 1_024, suspends).instances(count)).await.unwrap();
                let deliveries = on_a_loop(&rt, move |bus, _| mixed(bus, seed, 300, count)).await;
                eventually(rt.clock(), "all are handled", || seen.len() == deliveries).await;
                for reader in 0..count {
                    let own: Vec<_> = seen.all().into_iter().filter(|(who, _)| *who == reader).collect();
                    assert!(own.is_sorted(), "seed {seed}, {in_flight} in flight, {count} readers: {own:?}");
                }
            });
        }
    }
}

#[test]
fn what_is_published_and_not_handed_in_yet_counts_in_the_mailbox() {
    TestRuntime::paused(|rt| async move {
        let seen = Seen::default();
        rt.deploy(readers(&seen, 64, 4, 0)).await.unwrap();
        let (published, sent) = on_a_loop(&rt, |bus, _| async move {
            let published: Vec<_> = (0..6).map(|number| bus.publish(NEWS, number)).collect();
            (published, bus.try_send(NEWS, 6))
        })
        .await;
        assert_eq!(published.iter().map(|one| one.reached).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0]);
        assert_eq!(published[5], Published { reached: 0, dropped: 1 });
        assert_eq!(sent, Err(SendError::Full(6)));
        eventually(rt.clock(), "those that were taken are handled", || seen.len() == 4).await;
        assert_eq!(seen.all(), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    });
}

#[test]
fn a_message_for_a_thousand_consumers_reaches_them_all_and_the_next_one_after_it() {
    TestRuntime::paused(|rt| async move {
        let seen = Seen::default();
        rt.deploy(readers(&seen, 64, 8, 0).instances(1_000)).await.unwrap();
        let published = on_a_loop(&rt, |bus, _| async move { [bus.publish(NEWS, 1), bus.publish(NEWS, 2)] }).await;
        assert_eq!(published, [Published { reached: 1_000, dropped: 0 }; 2]);
        eventually(rt.clock(), "all have both", || seen.len() == 2_000).await;
        let numbers: Vec<_> = seen.all().into_iter().map(|(_, number)| number).collect();
        assert!(numbers.is_sorted(), "nobody has the second one before everybody has the first");
    });
}

/// Panics when it is cloned for the second time.
struct Fragile {
    clones: Arc<AtomicU32>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.clones.fetch_add(1, Ordering::Relaxed), 1, "the second clone");
        Self { clones: Arc::clone(&self.clones) }
    }
}

#[test]
fn a_message_that_panics_when_it_is_cloned_is_missed_by_one_and_nobody_waits_for_it() {
    TestRuntime::paused(|rt| async move {
        let seen = Seen::default();
        for number in 0..3 {
            let seen = seen.clone();
            rt.stub(FRAGILE, move |_| {
                seen.note(number);
                async { Ok(()) }
            })
            .await
            .unwrap();
        }
        let clones = Arc::new(AtomicU32::new(0));
        let work = clones.clone();
        on_a_loop(&rt, move |bus, _| {
            let clones = work.clone();
            async move {
                bus.publish(FRAGILE, Fragile { clones: clones.clone() });
                bus.publish(FRAGILE, Fragile { clones });
            }
        })
        .await;
        eventually(rt.clock(), "all that can be are handled", || seen.len() == 5).await;
        assert_eq!(seen.all(), [0, 2, 0, 1, 2]);
        assert_eq!(rt.bus().request(FRAGILE, Fragile { clones }).await, Ok(()));
    });
}

#[test]
fn so_it_is_when_it_is_published_by_a_thread_that_is_no_loop() {
    TestRuntime::on_loops(2, |rt| async move {
        let seen = Seen::default();
        for number in 0..4 {
            let seen = seen.clone();
            let handler = move |_| {
                seen.note(number);
                async { Ok(()) }
            };
            rt.stub(FRAGILE, handler).await.unwrap();
        }
        let published = rt.bus().publish(FRAGILE, Fragile { clones: Arc::default() });
        assert_eq!(published, Published { reached: 3, dropped: 1 });
        eventually(rt.clock(), "the others have it", || seen.len() == 3).await;
        assert!(!seen.all().contains(&1), "{:?}", seen.all());
    });
}

/// Publishes, and takes the registration back before its own loop has had a turn.
struct Hasty {
    seen: Seen<u32>,
    discarded: Seen<usize>,
}

impl Verticle for Hasty {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let now = ctx.serve(NEWS).register()?;
        assert_eq!(ctx.bus().publish(NEWS, 1).reached, 1);
        self.discarded.note(now.unregister_now());
        let drained = ctx.serve(NEWS).register()?;
        assert_eq!(ctx.bus().publish(NEWS, 2).reached, 1);
        drained.unregister().await;
        self.discarded.note(self.seen.len());
        Ok(())
    }
}

impl Handler<u32> for Hasty {
    type Reply = ();
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<(), Failure> {
        self.seen.note(number);
        Ok(())
    }
}

#[test]
fn what_is_published_and_not_handed_in_yet_is_accepted() {
    TestRuntime::paused(|rt| async move {
        let (seen, discarded) = (Seen::default(), Seen::default());
        let kit = (seen.clone(), discarded.clone());
        rt.deploy(Deploy::new(move || Hasty { seen: kit.0.clone(), discarded: kit.1.clone() })).await.unwrap();
        assert_eq!(discarded.all(), [1, 1], "discarded, when it was taken back at once; handled, when it was not");
        assert_eq!(seen.all(), [2]);
    });
}

/// Sends to itself through a sender it keeps, and is counted.
struct Talker {
    seen: Seen<(u32, Option<String>)>,
    sender: RefCell<Option<Sender<u32>>>,
    _counted: Arc<()>,
}

impl Verticle for Talker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NEWS).register()?;
        let sender = ctx.bus().sender(NEWS).header("from", "me");
        sender.send(1).await?;
        sender.clone().headers(Headers::default()).send(2).await?;
        sender.clone().header("from", "you").try_send(3)?;
        sender.send(4).await?;
        ctx.bus().publisher(NEWS).header("from", "all").publish(5);
        self.sender.replace(Some(sender));
        Ok(())
    }
}

impl Handler<u32> for Talker {
    type Reply = ();
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        let from: Vec<_> = ctx.headers().get_all("from").collect();
        self.seen.note((number, (!from.is_empty()).then(|| from.join(","))));
        Ok(())
    }
}

fn talker(seen: &Seen<(u32, Option<String>)>, census: &Census) -> Deploy<Talker> {
    let (seen, census) = (seen.clone(), census.clone());
    Deploy::new(move || Talker { seen: seen.clone(), sender: RefCell::default(), _counted: census.token() })
}

promises! {
    async fn a_send_that_waits_for_the_room_of_a_published_message_goes_on_when_that_is_handed_in(rt: &TestRuntime) {
        let seen = Seen::default();
        rt.deploy(readers(&seen, 1, 1, 0)).await.unwrap();
        on_a_loop(&rt, |bus, clock| async move {
            assert_eq!(bus.publish(NEWS, 1), Published { reached: 1, dropped: 0 });
            let began = clock.now();
            bus.send(NEWS, 2).await.unwrap();
            assert!(clock.now() - began < Duration::from_secs(5), "{:?}", clock.now() - began);
        })
        .await;
        eventually(rt.clock(), "both are there", || seen.all() == [(0, 1), (0, 2)]).await;
    }

    /// A sender gives its headers to each message; a clone with others changes nothing for those that follow.
    async fn a_sender_remembers_its_options_and_a_clone_has_its_own(rt: &TestRuntime) {
        let seen = Seen::default();
        rt.deploy(talker(&seen, &Census::default())).await.unwrap();
        eventually(rt.clock(), "all are handled", || seen.len() == 5).await;
        let from = |from: &str| Some(from.to_owned());
        assert_eq!(
            seen.all(),
            [(1, from("me")), (2, None), (3, from("me,you")), (4, from("me")), (5, from("all"))]
        );
    }

    /// A verticle that keeps a sender to its own address is gone when it is undeployed, and so it is when the runtime ends.
    async fn a_sender_keeps_nobody(rt: &TestRuntime) {
        let census = Census::default();
        let first = rt.deploy(talker(&Seen::default(), &census)).await.unwrap();
        let second = rt.deploy(talker(&Seen::default(), &census)).await.unwrap();
        assert_eq!(census.alive(), 2);
        first.undeploy().await.unwrap();
        eventually(rt.clock(), "one is left", || census.alive() == 1).await;
        second.undeploy().await.unwrap();
        eventually(rt.clock(), "none is left", || census.alive() == 0).await;
    }

    /// A sender made before anybody serves its address, on a loop or not, finds whoever comes, and whoever comes after that.
    async fn a_sender_finds_whoever_serves_the_address_now(rt: &TestRuntime) {
        let (seen, sender) = (Seen::default(), rt.bus().sender(NEWS));
        let publisher = rt.bus().publisher(NEWS);
        assert_eq!(sender.send(0).await, Err(SendError::NoHandlers(0)));
        assert_eq!(publisher.publish(0).reached, 0);
        for round in 1..4 {
            let reader = rt.deploy(readers(&seen, 64, 64, 0)).await.unwrap();
            sender.send(round).await.unwrap();
            assert_eq!(publisher.publish(round).reached, 1);
            assert_eq!(sender.request(round).await, Ok(()));
            reader.undeploy().await.unwrap();
            assert_eq!(sender.try_send(round), Err(SendError::NoHandlers(round)));
        }
        assert_eq!(seen.len(), 9);
    }

    /// Where there is no room a sender waits as any send does, and gives the message back when its time is up.
    async fn a_sender_waits_for_room(rt: &TestRuntime) {
        let seen = Seen::default();
        rt.deploy(readers(&seen, 1, 2, 3)).await.unwrap();
        let sender = rt.bus().sender(NEWS);
        for number in 0..200 {
            sender.send(number).await.unwrap();
        }
        eventually(rt.clock(), "all are handled", || seen.len() == 200).await;
        assert!(seen.all().is_sorted());
        let stuck = rt.stub(STUCK, |_| std::future::pending()).await.unwrap();
        let sender = rt.bus().sender(STUCK).timeout(Duration::from_millis(20));
        let mut sent = 0;
        while sender.send(sent).await.is_ok() {
            sent += 1;
        }
        assert_eq!(sender.send(7).await, Err(SendError::Full(7)));
        // In flight, and in a mailbox.
        assert_eq!(sent, 2_048);
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    }
}
