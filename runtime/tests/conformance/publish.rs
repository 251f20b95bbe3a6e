//! Publishing: everybody who is there, and the count of them.

use vertebra::testing::TestRuntime;
use vertebra::{Published, Runtime};

use crate::kit::{Kit, NOBODY, NOTES, starting};
use crate::promises;
use crate::support::{Seen, eventually};

async fn undeploy_all(rt: &Runtime) {
    for known in rt.deployments() {
        rt.undeploy(known.id, std::time::Duration::from_secs(5)).await.unwrap();
    }
}

promises! {
    /// Each consumer there is at that moment gets a published message once.
    async fn v015_everybody_who_is_there_gets_it_once(rt: &TestRuntime) {
        let (kit, late) = (Kit::open(), Kit::open());
        kit.deploy(&rt, 8).await;
        assert_eq!(rt.bus().publish(NOTES, 7), Published { reached: 8, dropped: 0 });
        late.deploy(&rt, 1).await;
        undeploy_all(&rt).await;
        let mut seen = kit.seen.all();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).map(|instance| (instance, 7)).collect::<Vec<_>>());
        assert_eq!(late.seen.len(), 0);
    }

    /// Consumers of one event loop handle it in the order they were registered in.
    async fn v015_on_one_loop_in_the_order_of_registration(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        starting(&rt, move |ctx| {
            let noted = noted.clone();
            async move {
                for consumer in 0..5 {
                    let noted = noted.clone();
                    let serve = ctx.serve_fn(NOTES, move |number| {
                        noted.note((consumer, number));
                        async move { Ok(number) }
                    });
                    serve.register().unwrap();
                }
                ctx.bus().publish(NOTES, 1);
            }
        }).await;
        eventually(rt.clock(), "all have it", || seen.len() == 5).await;
        assert_eq!(rt.bus().publish(NOTES, 2).reached, 5);
        eventually(rt.clock(), "all have the second", || seen.len() == 10).await;
        let expected: Vec<_> = [1, 2].into_iter().flat_map(|number| (0..5).map(move |consumer| (consumer, number))).collect();
        assert_eq!(seen.all(), expected);
    }

    /// A handler can tell that its message was published: from a loop and from elsewhere, also when it alone has it.
    async fn v016_a_handler_can_tell_that_its_message_was_published(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 1).await;
        assert_eq!(rt.bus().publish(NOTES, 1).reached, 1);
        kit.deploy(&rt, 3).await;
        assert_eq!(rt.bus().publish(NOTES, 2).reached, 4);
        starting(&rt, |ctx| async move {
            assert_eq!(ctx.bus().publish(NOTES, 3).reached, 4);
        }).await;
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 9).await;
        assert!(kit.told.all().into_iter().all(|(_, sent)| !sent));
    }

    /// Publishing to nobody is no error: the result says so, from a loop and from elsewhere.
    async fn v018_publishing_to_nobody_reaches_nobody(rt: &TestRuntime) {
        assert_eq!(rt.bus().publish(NOBODY, 7), Published { reached: 0, dropped: 0 });
        starting(&rt, |ctx| async move {
            assert_eq!(ctx.bus().publish(NOBODY, 7), Published { reached: 0, dropped: 0 });
        }).await;
    }

    /// The result counts the mailboxes that have the message, without waiting for a handler.
    async fn v019_the_result_counts_mailboxes_and_waits_for_no_handler(rt: &TestRuntime) {
        let kit = Kit { in_flight: 1, mailbox: 1, ..Kit::held() };
        kit.deploy(&rt, 3).await;
        assert_eq!(rt.bus().publish(NOTES, 1), Published { reached: 3, dropped: 0 });
        eventually(rt.clock(), "all have begun", || kit.seen.len() == 3).await;
        assert_eq!(rt.bus().publish(NOTES, 2), Published { reached: 3, dropped: 0 });
        assert_eq!(rt.bus().publish(NOTES, 3), Published { reached: 0, dropped: 3 });
        assert_eq!(kit.seen.len(), 3, "no handler has finished, none of the second has begun");
        kit.gate.open();
        eventually(rt.clock(), "what was reached is handled", || kit.seen.len() == 6).await;
    }

    /// A consumer taken back before gets nothing of a publish, and the others do.
    async fn v020_who_was_taken_back_gets_nothing(rt: &TestRuntime) {
        let (gone, stays) = (Kit::open(), Kit::open());
        let first = gone.deploy(&rt, 1).await;
        stays.deploy(&rt, 2).await;
        first.undeploy().await.unwrap();
        assert_eq!(rt.bus().publish(NOTES, 7), Published { reached: 2, dropped: 0 });
        undeploy_all(&rt).await;
        assert_eq!((gone.seen.len(), stays.seen.len()), (0, 2));
    }
}
