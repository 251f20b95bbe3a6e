//! Requests: what they resolve to, when, where, and how often.

use std::sync::Arc;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, BuildError, Context, ConversationError, Deploy, Failure, FailureType, Handler, RequestError,
    Runtime, Verticle,
};

use crate::kit::{Kit, NOBODY, NOTES, starting};
use crate::promises;
use crate::support::{Census, Gate, Seen, eventually};

const SLOW: Address<u32, Arc<()>> = Address::new("slow");
/// The reply is where to go on; what is replied there is where to go on from there.
const STAIRS: Address<(), Step> = Address::new("stairs");
const PATIENCE: Duration = Duration::from_secs(5);

/// How far up, and where the next step is asked for.
struct Step(u32, Address<(), Step>);

/// Leads upwards, by a conversation for each step.
struct Stairs(Seen<ConversationError>);

impl Verticle for Stairs {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(STAIRS).register()?;
        Ok(())
    }
}

impl Handler<()> for Stairs {
    type Reply = Step;

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<Step, Failure> {
        let (address, mut conversation) = ctx.conversation(PATIENCE);
        let task = ctx.clone();
        ctx.spawn(async move {
            for height in 1.. {
                match conversation.next().await {
                    Ok(((), answer)) => {
                        let (next, then) = task.conversation(PATIENCE);
                        answer.reply(Step(height, next));
                        conversation = then;
                    }
                    Err(error) => return task.verticle().0.note(error),
                }
            }
        });
        Ok(Step(0, address))
    }
}

async fn stairs(rt: &TestRuntime) -> Seen<ConversationError> {
    let ended = Seen::default();
    let noted = ended.clone();
    rt.deploy(Deploy::new(move || Stairs(noted.clone()))).await.unwrap();
    ended
}

promises! {
    /// A request resolves to what its handler returned.
    async fn v026_a_request_resolves_to_what_its_handler_returned(rt: &TestRuntime) {
        Kit::open().deploy(&rt, 3).await;
        for number in 0..10 {
            assert_eq!(rt.bus().request(NOTES, number).await, Ok(number));
        }
        starting(&rt, |ctx| async move {
            for number in 0..10 {
                assert_eq!(ctx.bus().request(NOTES, number).await, Ok(number));
            }
        }).await;
    }

    /// A single time-out below a millisecond counts as one; it is not an error, and it does not wait for ever.
    async fn v027_a_time_out_below_a_millisecond_counts_as_one(rt: &TestRuntime) {
        let kit = Kit::held();
        kit.deploy(&rt, 1).await;
        let asked = rt.bus().request(NOTES, 1).timeout(Duration::ZERO).await;
        assert_eq!(asked, Err(RequestError::Timeout { address: "notes".into(), after: Duration::from_millis(1) }));
        kit.gate.open();
    }

    /// A request nobody serves fails at once, with the type, the code and the text of Vert.x.
    async fn v029_a_request_to_nobody_fails_at_once(rt: &TestRuntime) {
        let before = rt.clock().now();
        let failure = rt.bus().request(NOBODY, 1).timeout(Duration::from_secs(3_600)).await.unwrap_err().reply_failure();
        assert!(rt.clock().now() - before < Duration::from_secs(10), "it did not wait");
        assert_eq!((failure.failure_type(), failure.code()), (FailureType::NoHandlers, -1));
        assert_eq!(failure.message(), "No handlers for address nobody");
    }

    /// A reply after the time-out is dropped; the caller sees the time-out alone.
    async fn v030_a_late_reply_is_dropped(rt: &TestRuntime) {
        let (census, gate, replied) = (Census::default(), Gate::default(), Seen::default());
        let (counted, wait, noted) = (census.clone(), gate.clone(), replied.clone());
        rt.stub(SLOW, move |_| {
            let (counted, wait, noted) = (counted.clone(), wait.clone(), noted.clone());
            async move { wait.wait().await; noted.note(()); Ok(counted.token()) }
        }).await.unwrap();
        let asked = rt.bus().request(SLOW, 1).timeout(Duration::from_millis(5)).await;
        assert!(matches!(asked, Err(RequestError::Timeout { .. })));
        gate.open();
        eventually(rt.clock(), "the handler has replied", || replied.len() == 1).await;
        eventually(rt.clock(), "nobody keeps the reply", || census.alive() == 0).await;
        // The next request gets its own reply and not the late one.
        rt.bus().request(SLOW, 2).await.unwrap();
        assert_eq!(replied.len(), 2);
    }

    /// After a reply no time-out follows.
    async fn v031_after_a_reply_no_time_out_follows(rt: &TestRuntime) {
        Kit::open().deploy(&rt, 1).await;
        let ended = Seen::default();
        let noted = ended.clone();
        starting(&rt, move |ctx| {
            let noted = noted.clone();
            async move {
                let outcome = ctx.bus().request(NOTES, 1).timeout(Duration::from_millis(5)).await;
                noted.note(outcome.is_ok());
                ctx.clock().sleep(Duration::from_millis(20)).await;
            }
        }).await;
        assert_eq!(ended.all(), [true]);
    }

    /// What a handler returns when nobody asked is dropped.
    async fn v034_a_reply_nobody_asked_for_is_dropped(rt: &TestRuntime) {
        let census = Census::default();
        let (counted, handled) = (census.clone(), Seen::default());
        let noted = handled.clone();
        rt.stub(SLOW, move |number| {
            let reply = counted.token();
            noted.note(number);
            async move { Ok(reply) }
        }).await.unwrap();
        rt.bus().send(SLOW, 1).await.unwrap();
        assert_eq!(rt.bus().publish(SLOW, 2).reached, 1);
        eventually(rt.clock(), "both are handled", || handled.len() == 2).await;
        eventually(rt.clock(), "nobody keeps a reply", || census.alive() == 0).await;
    }

    /// A reply can carry an address to answer to, and so on for as long as both sides want.
    async fn v035_a_reply_can_be_answered_again_and_again(rt: &TestRuntime) {
        stairs(&rt).await;
        let Step(height, mut next) = rt.bus().request(STAIRS, ()).await.unwrap();
        assert_eq!(height, 0);
        for expected in 1..=50 {
            let Step(height, then) = rt.bus().request(next.clone(), ()).await.unwrap();
            assert_eq!(height, expected);
            // What has been answered is over: its address is nobody's.
            eventually(rt.clock(), "the step before is gone", || rt.bus().try_send(next.clone(), ()).is_err()).await;
            next = then;
        }
    }

    /// A caller goes on where it asked: on its own event loop, or on its own thread when that is none.
    async fn v038_a_caller_goes_on_where_it_asked(rt: &TestRuntime) {
        Kit::open().deploy(&rt, 4).await;
        let here = || std::thread::current().id();
        let (before, loops) = (here(), rt.event_loops());
        for number in 0..4 {
            rt.bus().request(NOTES, number).await.unwrap();
            assert_eq!(here(), before);
        }
        assert!(rt.bus().request(NOBODY, 0).await.is_err());
        assert_eq!(here(), before);
        let threads = Seen::default();
        for _ in 0..loops {
            let noted = threads.clone();
            starting(&rt, move |ctx| {
                let noted = noted.clone();
                async move {
                    let before = std::thread::current().id();
                    for number in 0..4 {
                        ctx.bus().request(NOTES, number).await.unwrap();
                        assert_eq!(std::thread::current().id(), before);
                    }
                    assert!(ctx.bus().request(NOBODY, 0).await.is_err());
                    noted.note(std::thread::current().id() == before);
                }
            }).await;
        }
        assert_eq!(threads.all(), vec![true; loops]);
    }

    /// A request reaches one consumer only, by the same turns as a send.
    async fn v041_a_request_reaches_one_consumer_by_turns(rt: &TestRuntime) {
        let kit = Kit::open();
        kit.deploy(&rt, 4).await;
        for number in 0..40 {
            match number % 2 {
                0 => rt.bus().request(NOTES, number).await.map(drop).unwrap(),
                _ => rt.bus().send(NOTES, number).await.unwrap(),
            }
        }
        eventually(rt.clock(), "all are handled", || kit.seen.len() == 40).await;
        assert_eq!((0..4).map(|instance| kit.numbers_of(instance).len()).collect::<Vec<_>>(), [10; 4]);
    }

    /// A verticle that is undeployed while it waits for a reply leaves nothing waiting behind.
    async fn v042_who_is_undeployed_waits_for_no_reply(rt: &TestRuntime) {
        let (census, gate) = (Census::default(), Gate::default());
        let (counted, wait, asked) = (census.clone(), gate.clone(), Seen::default());
        let noted = asked.clone();
        rt.stub(SLOW, move |number| {
            noted.note(number);
            let (counted, wait) = (counted.clone(), wait.clone());
            async move { wait.wait().await; Ok(counted.token()) }
        }).await.unwrap();
        let (waiting, mine) = (census.clone(), census.token());
        let requester = starting(&rt, move |ctx| {
            let mine = Arc::clone(&mine);
            let task = ctx.clone();
            async move {
                ctx.spawn(async move {
                    drop(task.bus().request(SLOW, 1).await);
                    unreachable!("{mine:?} is gone before the reply comes");
                });
            }
        }).await;
        eventually(rt.clock(), "the request is made", || asked.len() == 1).await;
        requester.undeploy().await.unwrap();
        eventually(rt.clock(), "what waited is gone", || waiting.alive() == 0).await;
        gate.open();
        assert!(rt.bus().request(SLOW, 2).await.is_ok());
        eventually(rt.clock(), "nobody keeps the reply that came too late", || census.alive() == 0).await;
    }
}

/// A conversation that is offered when nobody asked ends when its time is up: nobody has its address.
#[test]
fn v034_a_conversation_offered_to_nobody_ends_by_its_time() {
    TestRuntime::paused(|rt| async move {
        let ended = stairs(&rt).await;
        let before = rt.elapsed();
        rt.bus().send(STAIRS, ()).await.unwrap();
        rt.clock().sleep(PATIENCE - Duration::from_millis(1)).await;
        assert_eq!((ended.len(), rt.elapsed() - before), (0, PATIENCE - Duration::from_millis(1)));
        rt.clock().sleep(Duration::from_millis(2)).await;
        assert_eq!(ended.all(), [ConversationError::Timeout { after: PATIENCE }]);
    });
}

/// Without a time-out of its own a request waits for 30 s, to the millisecond.
#[test]
fn v027_a_request_waits_for_thirty_seconds_unless_told_otherwise() {
    TestRuntime::paused(|rt| async move {
        let kit = Kit::held();
        kit.deploy(&rt, 1).await;
        let before = rt.elapsed();
        let asked = rt.bus().request(NOTES, 1).await;
        assert_eq!(asked, Err(RequestError::Timeout { address: "notes".into(), after: Duration::from_secs(30) }));
        assert_eq!(rt.elapsed() - before, Duration::from_secs(30));
        kit.gate.open();
    });
}

/// A default below a millisecond is refused, by name, value and range.
#[test]
fn v027_a_default_time_out_below_a_millisecond_is_refused() {
    for refused in [Duration::ZERO, Duration::from_micros(999)] {
        let built = Runtime::builder().event_loops(1).request_timeout(refused).build();
        let Err(BuildError::OutOfRange { key, allowed, .. }) = built else { panic!("{built:?}") };
        assert_eq!((key, allowed), ("request_timeout", "at least 1 ms"));
    }
    assert!(Runtime::builder().event_loops(1).request_timeout(Duration::from_millis(1)).build().is_ok());
}
