//! Senders and publishers: an address with its options, for many messages.

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Verticle};

use crate::kit::{Kit, NOTES, starting};
use crate::promises;
use crate::support::{Seen, eventually};

const MAIL: Address<u32, u32> = Address::new("mail");

/// A message, whether it was sent, and its headers.
type Arrived = (u32, bool, Vec<(String, String)>);

struct Postbox(Seen<Arrived>);

impl Verticle for Postbox {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(MAIL).register()?;
        Ok(())
    }
}

impl Handler<u32> for Postbox {
    type Reply = u32;

    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        let headers = ctx.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.0.note((number, ctx.is_send(), headers));
        Ok(number)
    }
}

async fn postbox(rt: &TestRuntime) -> Seen<Arrived> {
    let seen = Seen::default();
    let noted = seen.clone();
    rt.deploy(Deploy::new(move || Postbox(noted.clone()))).await.unwrap();
    seen
}

fn arrived(number: u32, sent: bool, headers: &[(&str, &str)]) -> Arrived {
    (number, sent, headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

promises! {
    /// A sender or publisher keeps its address and options, and each message goes with them: from a loop and elsewhere.
    async fn v022_a_producer_keeps_its_address_and_options(rt: &TestRuntime) {
        let seen = postbox(&rt).await;
        let sender = rt.bus().sender(MAIL).header("k", "v");
        assert_eq!(sender.address().name(), "mail");
        sender.send(0).await.unwrap();
        sender.try_send(1).unwrap();
        assert_eq!(sender.request(2).await, Ok(2));
        let publisher = rt.bus().publisher(MAIL).header("p", "q");
        assert_eq!((publisher.address().name(), publisher.publish(3).reached), ("mail", 1));
        eventually(rt.clock(), "four have arrived", || seen.len() == 4).await;
        starting(&rt, |ctx| async move {
            let sender = ctx.bus().sender(MAIL).header("k", "v");
            let publisher = ctx.bus().publisher(MAIL).header("p", "q");
            sender.send(4).await.unwrap();
            sender.try_send(5).unwrap();
            assert_eq!(sender.request(6).await, Ok(6));
            assert_eq!(publisher.publish(7).reached, 1);
        }).await;
        eventually(rt.clock(), "all have arrived", || seen.len() == 8).await;
        let expected = [0, 1, 2, 3, 4, 5, 6, 7].map(|number| match number % 4 {
            3 => arrived(number, false, &[("p", "q")]),
            _ => arrived(number, true, &[("k", "v")]),
        });
        assert_eq!(seen.all(), expected);
    }

    /// Options of a producer can be changed for all messages from then on, and for one message alone.
    async fn v023_options_change_for_all_or_for_one(rt: &TestRuntime) {
        let seen = postbox(&rt).await;
        let sender = rt.bus().sender(MAIL).header("k", "1");
        sender.send(0).await.unwrap();
        // For one alone, whatever the verb: by a clone, or on the request itself.
        sender.clone().headers(Default::default()).header("k", "2").send(1).await.unwrap();
        assert_eq!(sender.request(2).header("k", "3").await, Ok(2));
        sender.send(3).await.unwrap();
        let sender = sender.header("more", "4");
        sender.send(4).await.unwrap();
        assert_eq!(sender.request(5).await, Ok(5));
        let publisher = rt.bus().publisher(MAIL);
        publisher.publish(6);
        publisher.clone().header("k", "5").publish(7);
        publisher.publish(8);
        publisher.header("k", "6").publish(9);
        eventually(rt.clock(), "all have arrived", || seen.len() == 10).await;
        assert_eq!(seen.all(), [
            arrived(0, true, &[("k", "1")]),
            arrived(1, true, &[("k", "2")]),
            arrived(2, true, &[("k", "1"), ("k", "3")]),
            arrived(3, true, &[("k", "1")]),
            arrived(4, true, &[("k", "1"), ("more", "4")]),
            arrived(5, true, &[("k", "1"), ("more", "4")]),
            arrived(6, false, &[]),
            arrived(7, false, &[("k", "5")]),
            arrived(8, false, &[]),
            arrived(9, false, &[("k", "6")]),
        ]);
    }

    /// Dropping a producer has no effect on consumers, and a producer does not mind its consumers going.
    async fn v025_dropping_a_producer_has_no_effect_on_consumers(rt: &TestRuntime) {
        let kit = Kit::open();
        let first = kit.deploy(&rt, 1).await;
        for round in 0..2 {
            let sender = rt.bus().sender(NOTES);
            let publisher = rt.bus().publisher(NOTES);
            assert_eq!(sender.request(10 * round).await, Ok(10 * round));
            assert_eq!(publisher.publish(10 * round + 1).reached, 1);
        }
        let sender = rt.bus().sender(NOTES);
        assert_eq!(sender.request(20).await, Ok(20));
        first.undeploy().await.unwrap();
        assert!(sender.try_send(21).is_err());
        kit.deploy(&rt, 1).await;
        assert_eq!(sender.request(22).await, Ok(22));
        assert_eq!(kit.numbers(), [0, 1, 10, 11, 20, 22]);
    }
}
