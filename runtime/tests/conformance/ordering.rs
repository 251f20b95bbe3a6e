//! Order: what is promised between one sender and one consumer, and what is not beyond that.

use std::cell::{Cell, OnceCell};

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Consumer, Context, Deploy, Failure, Handler, Verticle};

use crate::kit::{Kit, NOTES, starting};
use crate::promises;
use crate::support::{Seen, eventually};
use crate::tap::{NUMBERS, Tap, Turn, turn};

const SLUICE: Address<u32> = Address::new("sluice");
/// Lets the consumer of the sluice go on; replies with what was handled until then.
const GO_ON: Address<u32, Vec<u32>> = Address::new("sluice.go-on");

/// Pauses its own consumer at every third message.
struct Sluice {
    consumer: OnceCell<Consumer>,
    handled: Cell<u32>,
    seen: Seen<u32>,
}

impl Verticle for Sluice {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let consumer = ctx.serve(SLUICE).register()?;
        self.consumer.get_or_init(|| consumer);
        let (own, seen) = (ctx.clone(), self.seen.clone());
        ctx.serve_fn(GO_ON, move |_| {
            let so_far = seen.all();
            if let Some(consumer) = own.verticle().consumer.get() {
                consumer.resume();
            }
            async move { Ok(so_far) }
        })
        .register()?;
        Ok(())
    }
}

impl Handler<u32> for Sluice {
    type Reply = ();

    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<(), Failure> {
        self.seen.note(number);
        self.handled.set(self.handled.get() + 1);
        if self.handled.get().is_multiple_of(3)
            && let Some(consumer) = self.consumer.get()
        {
            consumer.pause();
        }
        Ok(())
    }
}

promises! {
    /// Messages of one sender to one consumer start in the order they were sent, whatever verb sent them.
    async fn v072_one_sender_to_one_consumer_keeps_its_order(rt: &TestRuntime) {
        const MANY: u32 = 2_000;
        let kit = Kit { in_flight: 4, mailbox: 64, ..Kit::open() };
        kit.deploy(&rt, 1).await;
        let senders = rt.event_loops() as u32;
        for round in 0..senders {
            // A sender on each loop: one of them is the consumer's own.
            starting(&rt, move |ctx| async move {
                let first = round * MANY;
                for number in first..first + MANY {
                    match number % 3 {
                        0 => ctx.bus().send(NOTES, number).await.unwrap(),
                        1 => assert_eq!(ctx.bus().request(NOTES, number).await, Ok(number)),
                        _ => while ctx.bus().publish(NOTES, number).reached == 0 {
                            tokio::task::yield_now().await;
                        },
                    }
                }
            }).await;
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == (MANY * senders) as usize).await;
        for sender in 0..senders {
            let own: Vec<_> = kit.numbers().into_iter().filter(|number| number / MANY == sender).collect();
            assert!(own.into_iter().eq(sender * MANY..(sender + 1) * MANY), "sender {sender}");
        }
    }

    /// Senders that send at the same time may overtake each other, and each keeps its own order.
    async fn v072_senders_that_mix_each_keep_their_order(rt: &TestRuntime) {
        const SENDERS: u32 = 4;
        const EACH: u32 = 500;
        let kit = Kit { mailbox: 16, ..Kit::open() };
        kit.deploy(&rt, 1).await;
        for sender in 0..SENDERS {
            starting(&rt, move |ctx| {
                let task = ctx.clone();
                async move {
                    ctx.spawn(async move {
                        for number in 0..EACH {
                            task.bus().send(NOTES, sender * EACH + number).await.unwrap();
                        }
                    });
                }
            }).await;
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == (SENDERS * EACH) as usize).await;
        for sender in 0..SENDERS {
            let own: Vec<_> = kit.numbers().into_iter().filter(|number| number / EACH == sender).collect();
            assert!(own.into_iter().eq(sender * EACH..(sender + 1) * EACH), "sender {sender}");
        }
    }

    /// Over several consumers a sequence is spread by turns, and each keeps the order of its own part.
    async fn v073_each_consumer_keeps_the_order_of_its_part(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 4).await;
        for number in 0..400 {
            rt.bus().send(NOTES, number).await.unwrap();
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 400).await;
        let mut firsts = Vec::new();
        for instance in 0..4 {
            let part = kit.numbers_of(instance);
            assert!(part.windows(2).all(|pair| pair[1] == pair[0] + 4), "every fourth, in order: {part:?}");
            firsts.push(part[0]);
        }
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2, 3]);
    }

    /// After a resume, what was kept while paused is handled before what comes then.
    async fn v075_what_was_kept_comes_before_what_comes_then(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        turn(&rt, Turn::Pause).await;
        for number in 0..5 {
            rt.bus().send(NUMBERS, number).await.unwrap();
        }
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.len(), 0);
        turn(&rt, Turn::Resume).await;
        for number in 5..10 {
            rt.bus().send(NUMBERS, number).await.unwrap();
        }
        eventually(rt.clock(), "all are handled", || tap.seen.len() == 10).await;
        assert_eq!(tap.seen.all(), (0..10).collect::<Vec<_>>());
    }

    /// A handler that pauses its consumer is the last to run: the next message stays where it is.
    async fn v076_after_a_handler_that_pauses_none_begins(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.deploy(Deploy::new(move || Sluice { consumer: OnceCell::new(), handled: Cell::new(0), seen: noted.clone() })).await.unwrap();
        for number in 0..8 {
            rt.bus().send(SLUICE, number).await.unwrap();
        }
        for handled in [3, 6] {
            eventually(rt.clock(), "some are handled", || seen.len() >= handled).await;
            // The reply was made behind whatever that turn has begun.
            let so_far = rt.bus().request(GO_ON, 0).await.unwrap();
            assert!(so_far.into_iter().eq(0..handled as u32));
        }
        eventually(rt.clock(), "the rest is handled", || seen.len() == 8).await;
    }
}
