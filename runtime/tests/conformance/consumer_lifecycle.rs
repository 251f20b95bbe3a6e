//! A consumer from its registration to its end.

use std::cell::Cell;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Context, Deploy, Failure, Handler, Published, Request, RequestError, SendError, Verticle,
};

use super::tap::{LAST, NUMBERS, Registering, Tap, Turn, WAITS, ask, send, turn};
use crate::promises;
use crate::support::{Seen, eventually, on_a_loop};

async fn in_order(asked: Vec<Request<'_, u32, u32>>) -> Vec<u32> {
    let mut replies = Vec::new();
    for asked in asked {
        replies.push(asked.await.unwrap());
    }
    replies
}

const OPEN: Registering = Registering { mailbox: Some(16), paused: false };

promises! {
    /// A consumer cannot be registered without its handler - that does not compile, see `Handler` -, and one that is only
    /// described is not there: `register` makes it so. It says whether it is.
    async fn v091_a_consumer_is_registered_by_register_and_not_before(rt: &TestRuntime) {
        struct Described(Seen<bool>);
        impl Verticle for Described {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let described = ctx.serve_fn(NUMBERS, |number| async move { Ok(number) });
                self.0.note(ctx.bus().try_send(NUMBERS, 1) == Err(SendError::NoHandlers(1)));
                let consumer = described.register()?;
                self.0.note(consumer.is_registered() && consumer.address() == NUMBERS.name());
                self.0.note(ctx.bus().request(NUMBERS, 2).await == Ok(2));
                consumer.unregister_now();
                self.0.note(!consumer.is_registered());
                Ok(())
            }
        }
        let seen = Seen::default();
        let kept = seen.clone();
        rt.deploy(Deploy::new(move || Described(kept.clone()))).await.unwrap();
        assert_eq!(seen.all(), [true; 4]);
    }

    /// A handler cannot be taken away without the registration: taking that back is how it is said. What was accepted is
    /// handled, what comes then finds nobody.
    async fn v092_taking_the_registration_back_handles_what_was_accepted(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 16).await;
        send(&rt, 0..5).await;
        assert_eq!(turn(&rt, Turn::IsRegistered).await, 1);
        turn(&rt, Turn::Unregister).await;
        assert_eq!(tap.finished.all(), [0, 1, 2, 3, 4], "also those that waited at a paused consumer");
        assert_eq!(turn(&rt, Turn::IsRegistered).await, 0);
        assert_eq!(rt.bus().try_send(NUMBERS, 5), Err(SendError::NoHandlers(5)));
    }

    /// When registering has returned the consumer is there, and nothing of it has run inside the call.
    async fn v094_registering_is_done_when_it_returns_and_runs_nothing(rt: &TestRuntime) {
        struct Early(Seen<&'static str>);
        impl Verticle for Early {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                ctx.serve(NUMBERS).register()?;
                self.0.note("registered");
                ctx.bus().try_send(NUMBERS, 1)?;
                self.0.note("sent");
                Ok(())
            }
        }
        impl Handler<u32> for Early {
            type Reply = u32;
            async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
                self.0.note("handled");
                Ok(number)
            }
        }
        let seen = Seen::default();
        let kept = seen.clone();
        rt.deploy(Deploy::new(move || Early(kept.clone()))).await.unwrap();
        eventually(rt.clock(), "the message", || seen.len() == 3).await;
        assert_eq!(seen.all(), ["registered", "sent", "handled"]);
    }

    /// Registering and taking back at once succeeds, both of them, as often as one likes.
    async fn v095_registering_and_taking_back_at_once_succeeds(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        turn(&rt, Turn::UnregisterNow).await;
        for round in 1..=3 {
            assert_eq!(turn(&rt, Turn::RegisterAndUnregister).await, 1);
            eventually(rt.clock(), "its end", || tap.ended.len() == round + 1).await;
            let asked = rt.bus().request(NUMBERS, 1).await;
            assert_eq!(asked, Err(RequestError::NoHandlers { address: "tap.numbers".into() }));
        }
    }

    /// Whoever waits for a consumer's end hears of it where he waits: after unregistering, when the last handler is done;
    /// after undeploying; and after what was not finished in time is given up.
    async fn v096_whoever_waits_for_the_end_of_a_consumer_hears_of_it(rt: &TestRuntime) {
        let tap = Tap::default();
        let deployment = tap.deploy(&rt, OPEN).await;
        let asked = ask(&rt, WAITS).await;
        turn(&rt, Turn::UnregisterNow).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.ended.len(), 0, "a handler is in flight");
        tap.gate.open();
        assert_eq!(asked.await.unwrap(), Ok(WAITS));
        eventually(rt.clock(), "the end by unregistering", || tap.ended.len() == 1).await;
        turn(&rt, Turn::Register).await;
        deployment.undeploy().await.unwrap();
        eventually(rt.clock(), "the end by undeploying", || tap.ended.len() == 2).await;

        let stuck = Tap::default();
        let deployment = stuck.deploy(&rt, OPEN).await;
        let asked = ask(&rt, WAITS).await;
        deployment.undeploy_within(Duration::ZERO).await.unwrap();
        assert!(matches!(asked.await.unwrap(), Err(RequestError::Closed { .. })));
        eventually(rt.clock(), "the end by giving up", || stuck.ended.len() == 1).await;
    }

    /// After an unregistration at once no message reaches the handler: what was queued is discarded, and its number given.
    async fn v098_after_unregistering_at_once_no_message_reaches_the_handler(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 16).await;
        send(&rt, 0..4).await;
        assert_eq!(turn(&rt, Turn::UnregisterNow).await, 4);
        assert_eq!(rt.bus().send(NUMBERS, 4).await, Err(SendError::NoHandlers(4)));
        turn(&rt, Turn::Register).await;
        turn(&rt, Turn::Resume).await;
        send(&rt, [5]).await;
        eventually(rt.clock(), "what came to the next registration", || tap.seen.len() == 1).await;
        assert_eq!(tap.seen.all(), [5]);
    }

    /// A handler may take back its own consumer: it finishes itself and its caller has the reply, what is queued is
    /// discarded.
    async fn v099_a_handler_may_unregister_its_own_consumer(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 16).await;
        send(&rt, [0]).await;
        let last = ask(&rt, LAST).await;
        send(&rt, 1..4).await;
        turn(&rt, Turn::Resume).await;
        assert_eq!(last.await.unwrap(), Ok(3), "so many were discarded");
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), [0, LAST]);
        eventually(rt.clock(), "its end", || tap.ended.len() == 1).await;
        assert_eq!(turn(&rt, Turn::IsRegistered).await, 0);
    }

    /// Taking back what is not registered any more does nothing: not to the address, which another consumer serves by then.
    async fn v100_unregistering_twice_does_nothing_to_anybody_else(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        assert_eq!(turn(&rt, Turn::UnregisterNow).await, 0);
        let other = rt.stub(NUMBERS, |number| async move { Ok(number + 1) }).await.unwrap();
        for again in [Turn::UnregisterNow, Turn::Unregister, Turn::Pause, Turn::Resume, Turn::Fetch(1)] {
            assert_eq!(turn(&rt, again).await, 0);
            assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(2));
        }
        assert_eq!((tap.seen.len(), tap.ended.len()), (0, 1));
        other.undeploy().await.unwrap();
    }

    /// What handles an address can be exchanged without registering again: the registration is the verticle's, the strategy
    /// is a value in it. Not one message is lost or handled by both.
    async fn v102_what_handles_an_address_can_be_exchanged_without_registering_again(rt: &TestRuntime) {
        type Strategy = fn(u32) -> u32;
        const STRATEGY: Address<Strategy> = Address::new("strategy");
        struct Exchanged(Cell<Strategy>);
        impl Verticle for Exchanged {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                ctx.serve(NUMBERS).register()?;
                ctx.serve(STRATEGY).register()?;
                Ok(())
            }
        }
        impl Handler<u32> for Exchanged {
            type Reply = u32;
            async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
                Ok(self.0.get()(number))
            }
        }
        impl Handler<Strategy> for Exchanged {
            type Reply = ();
            async fn handle(&self, strategy: Strategy, _: &Context<Self>) -> Result<(), Failure> {
                self.0.set(strategy);
                Ok(())
            }
        }
        rt.deploy(Deploy::new(|| Exchanged(Cell::new(|number| number + 1)))).await.unwrap();
        let before: Vec<_> = (0..3).map(|number| rt.bus().request(NUMBERS, number)).collect();
        let before = in_order(before).await;
        rt.bus().request(STRATEGY, (|number| number * 10) as Strategy).await.unwrap();
        let after: Vec<_> = (0..3).map(|number| rt.bus().request(NUMBERS, number)).collect();
        assert_eq!((before, in_order(after).await), (vec![1, 2, 3], vec![0, 10, 20]));
    }

    /// A handler gets the body alone; a closure that serves an address does, too. The rest is asked for, of the context.
    async fn v103_a_handler_gets_the_body_alone(rt: &TestRuntime) {
        const TEXT: Address<String, String> = Address::new("text");
        struct Upper;
        impl Verticle for Upper {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                ctx.serve(TEXT).register()?;
                Ok(())
            }
        }
        impl Handler<String> for Upper {
            type Reply = String;
            async fn handle(&self, text: String, ctx: &Context<Self>) -> Result<String, Failure> {
                Ok(format!("{}/{:?}", text.to_uppercase(), ctx.headers().get("tenant")))
            }
        }
        let deployed = rt.deploy(Deploy::new(|| Upper)).await.unwrap();
        let asked = rt.bus().request(TEXT, "a".to_owned()).header("tenant", "t1").await;
        assert_eq!(asked.unwrap(), "A/Some(\"t1\")");
        deployed.undeploy().await.unwrap();
        rt.stub(TEXT, |text| async move { Ok(text + "!") }).await.unwrap();
        assert_eq!(rt.bus().request(TEXT, "a".to_owned()).header("tenant", "t1").await.unwrap(), "a!");
    }

    /// A handler that fails or panics stays registered: the next message is handled, by the same consumer.
    async fn v106_a_handler_that_fails_or_panics_stays_registered(rt: &TestRuntime) {
        let seen = Seen::default();
        let kept = seen.clone();
        rt.stub(NUMBERS, move |number| {
            let seen = kept.clone();
            async move {
                seen.note(number);
                match number {
                    0 => Err(Failure::new(409, "no")),
                    1 => panic!("at one"),
                    _ => Ok(number),
                }
            }
        })
        .await
        .unwrap();
        send(&rt, [0, 1, 2]).await;
        assert_eq!(rt.bus().request(NUMBERS, 0).await.map_err(|error| error.code()), Err(Some(409)));
        assert_eq!(rt.bus().request(NUMBERS, 1).await.map_err(|error| error.code()), Err(Some(Failure::UNSPECIFIED)));
        assert_eq!(rt.bus().request(NUMBERS, 2).await, Ok(2));
        assert_eq!(seen.all(), [0, 1, 2, 0, 1, 2]);
    }

    /// In one process every consumer is a local one, and there is no other kind to register: it is reached from its own
    /// loop, from others and from threads that are none, by every verb, and nothing about it leaves the process.
    async fn v107_every_consumer_is_a_local_one(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        let verbs = |bus: vertebra::Bus, _| async move {
            bus.send(NUMBERS, 1).await.unwrap();
            assert_eq!(bus.publish(NUMBERS, 2), Published { reached: 1, dropped: 0 });
            assert_eq!(bus.request(NUMBERS, 3).await, Ok(3));
        };
        verbs(rt.bus().clone(), rt.clock().clone()).await;
        for _ in 0..4 {
            on_a_loop(&rt, verbs).await;
        }
        eventually(rt.clock(), "all of them", || tap.finished.len() == 15).await;
        assert_eq!(tap.finished.all(), [1, 2, 3].repeat(5));
    }
}
