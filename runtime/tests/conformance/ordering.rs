//! Order: what is promised between one sender and one consumer, and what is not beyond that.

use vertebra::testing::TestRuntime;

use crate::kit::{Kit, NOTES, starting};
use crate::promises;
use crate::support::eventually;

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
}
