//! Sending: one consumer, by turns, never before the call returns, never kept for later.

use vertebra::testing::TestRuntime;
use vertebra::{Address, RequestError, SendError};

use crate::kit::{Kit, NOBODY, NOTES, starting};
use crate::promises;
use crate::support::{Seen, eventually};

promises! {
    /// Exactly one of an address's consumers gets a sent message.
    async fn v006_one_consumer_gets_a_sent_message(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 5).await;
        rt.bus().send(NOTES, 1).await.unwrap();
        rt.bus().try_send(NOTES, 2).unwrap();
        assert_eq!(rt.bus().request(NOTES, 3).await, Ok(3));
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 3).await;
        // Undeployed, no consumer has anything left that it might still handle.
        for known in rt.deployments() {
            rt.undeploy(known.id, std::time::Duration::from_secs(5)).await.unwrap();
        }
        let mut numbers = kit.numbers();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
    }

    /// 100 messages of one sender over 10 consumers are 10 for each.
    async fn v007_consumers_take_turns(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 10).await;
        for number in 0..100 {
            rt.bus().send(NOTES, number).await.unwrap();
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 100).await;
        assert_eq!((0..10).map(|instance| kit.numbers_of(instance).len()).collect::<Vec<_>>(), [10; 10]);
    }

    /// The same when the sender is a verticle: its loop keeps its own turn.
    async fn v007_consumers_take_turns_for_a_sender_on_a_loop(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 10).await;
        starting(&rt, |ctx| async move {
            for number in 0..100 {
                ctx.bus().send(NOTES, number).await.unwrap();
            }
        }).await;
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 100).await;
        assert_eq!((0..10).map(|instance| kit.numbers_of(instance).len()).collect::<Vec<_>>(), [10; 10]);
    }

    /// A message nobody serves does no harm: it comes back in the result, and nobody ever gets it.
    async fn v009_a_message_nobody_serves_comes_back(rt: &TestRuntime) {
        assert_eq!(rt.bus().try_send(NOBODY, 1), Err(SendError::NoHandlers(1)));
        assert_eq!(rt.bus().send(NOBODY, 2).await, Err(SendError::NoHandlers(2)));
        starting(&rt, |ctx| async move {
            assert_eq!(ctx.bus().try_send(NOBODY, 3), Err(SendError::NoHandlers(3)));
            assert_eq!(ctx.bus().send(NOBODY, 4).await, Err(SendError::NoHandlers(4)));
        }).await;
        let kit = Kit::open();
        rt.deploy(kit.noter(NOBODY)).await.unwrap();
        assert_eq!(rt.bus().request(NOBODY, 5).await, Ok(5));
        assert_eq!(kit.numbers(), [5]);
    }

    /// A send returns before the handler runs, also when both are on one event loop.
    async fn v010_a_send_returns_before_its_handler_runs(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        starting(&rt, move |ctx| {
            let noted = noted.clone();
            async move {
                let handled = noted.clone();
                let serve = ctx.serve_fn(NOTES, move |number| {
                    handled.note(("handled", number));
                    async move { Ok(number) }
                });
                serve.register().unwrap();
                for number in 0..3 {
                    ctx.bus().try_send(NOTES, number).unwrap();
                    ctx.bus().publish(NOTES, 10 + number);
                    noted.note(("sent", number));
                }
                // Nothing has been awaited: whatever has run until now has run inside a call.
                assert_eq!(noted.all(), [("sent", 0), ("sent", 1), ("sent", 2)]);
            }
        }).await;
        eventually(rt.clock(), "all are handled", || seen.len() == 9).await;
    }

    /// A handler can tell that its message was sent, or asked, to it alone: from a loop and from elsewhere, in place, queued
    /// and across loops.
    async fn v011_a_handler_can_tell_that_its_message_was_sent(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 2).await;
        rt.bus().try_send(NOTES, 0).unwrap();
        rt.bus().send(NOTES, 1).await.unwrap();
        assert_eq!(rt.bus().request(NOTES, 2).await, Ok(2));
        starting(&rt, |ctx| async move {
            // In between is one that was published, which must not rub off.
            for number in [3, 6, 9] {
                ctx.bus().send(NOTES, number).await.unwrap();
                ctx.bus().publish(NOTES, 100 + number);
                assert_eq!(ctx.bus().request(NOTES, number + 1).await, Ok(number + 1));
                ctx.bus().try_send(NOTES, number + 2).unwrap();
            }
        }).await;
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 18).await;
        let mut told = kit.told.all();
        told.sort_unstable();
        let published = [103, 103, 106, 106, 109, 109].map(|number| (number, false));
        assert!(told.into_iter().eq((0..12).map(|number| (number, true)).chain(published)));
    }

    /// An empty body is a body: it can be sent, published and replied, and arrives as such.
    async fn v013_an_empty_body_is_a_body(rt: &TestRuntime) {
        let maybe: Address<Option<u32>, Option<u32>> = Address::new("maybe");
        let unit: Address<(), ()> = Address::new("unit");
        let seen = Seen::default();
        let (noted, units) = (seen.clone(), seen.clone());
        rt.stub(maybe.clone(), move |body| { noted.note(body); async move { Ok(body) } }).await.unwrap();
        rt.stub(unit.clone(), move |()| { units.note(None); async { Ok(()) } }).await.unwrap();
        rt.bus().send(maybe.clone(), None).await.unwrap();
        rt.bus().publish(maybe.clone(), None);
        assert_eq!(rt.bus().request(maybe.clone(), None).await, Ok(None));
        assert_eq!(rt.bus().request(maybe, Some(0)).await, Ok(Some(0)));
        rt.bus().send(unit.clone(), ()).await.unwrap();
        rt.bus().publish(unit.clone(), ());
        assert_eq!(rt.bus().request(unit, ()).await, Ok(()));
        assert_eq!(seen.all(), [None, None, None, Some(0), None, None, None]);
    }

    /// Nothing is kept for a consumer that comes later.
    async fn v014_nothing_is_kept_for_later(rt: &TestRuntime) {
        assert!(rt.bus().try_send(NOTES, 1).is_err());
        assert!(rt.bus().send(NOTES, 2).await.is_err());
        assert_eq!(rt.bus().publish(NOTES, 3).reached, 0);
        assert!(matches!(rt.bus().request(NOTES, 4).await, Err(RequestError::NoHandlers { .. })));
        let kit = Kit::open();
        let consumer = kit.deploy(&rt, 1).await;
        assert_eq!(rt.bus().request(NOTES, 5).await, Ok(5));
        consumer.undeploy().await.unwrap();
        assert_eq!(kit.numbers(), [5]);
    }
}
