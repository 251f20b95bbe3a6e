//! Promises of conversations: the answer to a reply, without an address that all the world knows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{Seen, eventually};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Context, ConversationError, Deploy, Deployment, Failure, Handler, RequestError, SendError,
    Verticle,
};

/// Asks for a number to be guessed; the reply is where to guess.
const GUESSING: Address<u32, Address<u32, &'static str>> = Address::new("guessing");
/// What a number of its own is not guessed at, but thrown away.
const UNANSWERED: u32 = 0;
/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Guessing {
    patience: Duration,
    ended: Seen<ConversationError>,
    addresses: Seen<String>,
}

impl Verticle for Guessing {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(GUESSING).register()?;
        Ok(())
    }

    /// Tasks are still there, and have a turn to see that it is over.
    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.clock().sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

impl Handler<u32> for Guessing {
    type Reply = Address<u32, &'static str>;
    async fn handle(&self, secret: u32, ctx: &Context<Self>) -> Result<Address<u32, &'static str>, Failure> {
        let (address, mut conversation) = ctx.conversation(self.patience);
        self.addresses.note(address.name().to_owned());
        let own = ctx.clone();
        ctx.spawn(async move {
            loop {
                match conversation.next().await {
                    Ok((UNANSWERED, answer)) => drop(answer),
                    Ok((guess, answer)) if guess == secret => return answer.reply("found"),
                    Ok((guess, answer)) if guess > 100 => answer.fail(Failure::new(400, "at most 100")),
                    Ok((_, answer)) => answer.reply("no"),
                    Err(error) => return own.verticle().ended.note(error),
                }
            }
        });
        Ok(address)
    }
}

async fn deploy(rt: &TestRuntime) -> (Guessing, Deployment) {
    deploy_with(rt, PATIENCE).await
}

async fn deploy_with(rt: &TestRuntime, patience: Duration) -> (Guessing, Deployment) {
    let guessing = Guessing { patience, ended: Seen::default(), addresses: Seen::default() };
    let factory = guessing.clone();
    let deployment = rt.deploy(Deploy::new(move || factory.clone()).instances(2)).await.unwrap();
    (guessing, deployment)
}

promises! {
    async fn a_reply_can_be_answered_and_its_answer_again(rt: &TestRuntime) {
        deploy(&rt).await;
        let first = rt.bus().request(GUESSING, 7).await.unwrap();
        let second = rt.bus().request(GUESSING, 8).await.unwrap();
        assert_eq!(rt.bus().request(first.clone(), 8).await, Ok("no"));
        assert_eq!(rt.bus().request(second.clone(), 8).await, Ok("found"), "each has its own");
        let too_much = rt.bus().request(first.clone(), 101).await;
        assert_eq!(too_much, Err(RequestError::Failed(Failure::new(400, "at most 100"))));
        rt.bus().send(first.clone(), 9).await.unwrap();
        assert_eq!(rt.bus().request(first, 7).await, Ok("found"));
    }

    async fn an_answer_that_is_thrown_away_fails_its_request(rt: &TestRuntime) {
        deploy(&rt).await;
        let guess = rt.bus().request(GUESSING, 7).await.unwrap();
        let thrown_away = rt.bus().request(guess.clone(), UNANSWERED).await;
        assert_eq!(thrown_away.map_err(|error| error.code()), Err(Some(Failure::UNSPECIFIED)));
        assert_eq!(rt.bus().request(guess, 7).await, Ok("found"), "the conversation goes on");
    }

    async fn a_conversation_that_is_over_has_no_address(rt: &TestRuntime) {
        let (guessing, deployment) = deploy(&rt).await;
        let guess = rt.bus().request(GUESSING, 7).await.unwrap();
        assert_eq!(rt.bus().request(guess.clone(), 7).await, Ok("found"));
        let mut after = rt.bus().try_send(guess.clone(), 7);
        while after.is_ok() {
            tokio::task::yield_now().await;
            after = rt.bus().try_send(guess.clone(), 7);
        }
        assert_eq!(after, Err(SendError::NoHandlers(7)));
        assert_eq!(guessing.ended.len(), 0);
        deployment.undeploy().await.unwrap();
    }

    /// However many there are, they take no name from an address that stays.
    async fn all_conversations_are_counted_under_one_name(rt: &TestRuntime) {
        const ROUNDS: u64 = 4_200;
        let (_, deployment) = deploy(&rt).await;
        for _ in 0..ROUNDS {
            let guess = rt.bus().request(GUESSING, 7).await.unwrap();
            assert_eq!(rt.bus().request(guess, 7).await, Ok("found"));
        }
        let open = rt.bus().request(GUESSING, 7).await.unwrap();
        let talking = rt.metrics().await;
        let names: Vec<_> = talking.addresses.iter().map(|address| &*address.address).collect();
        assert_eq!(names, ["guessing", "vertebra.conversation"]);
        let counted = talking.address("vertebra.conversation").unwrap();
        assert_eq!((counted.sent, counted.delivered), (ROUNDS, ROUNDS));
        assert!(counted.consumers >= 1, "one goes on");
        assert_eq!(rt.bus().request(open, 7).await, Ok("found"));
        deployment.undeploy().await.unwrap();
        let over = rt.metrics().await;
        assert_eq!(over.address("guessing").map(|guessing| guessing.delivered), Some(ROUNDS + 1));
        assert!(over.address("(others)").is_none());
    }

    async fn a_conversation_waits_no_longer_than_it_was_given(rt: &TestRuntime) {
        let patience = Duration::from_millis(50);
        let (guessing, _) = deploy_with(&rt, patience).await;
        let began = rt.elapsed();
        let guess = rt.bus().request(GUESSING, 7).await.unwrap();
        eventually(rt.clock(), "its end", || guessing.ended.len() == 1).await;
        assert!(rt.elapsed() - began >= patience);
        assert_eq!(guessing.ended.all(), [ConversationError::Timeout { after: patience }]);
        let late = rt.bus().request(guess, 7).await;
        let address = guessing.addresses.all()[0].as_str().into();
        assert_eq!(late, Err(RequestError::NoHandlers { address }));
    }

    async fn an_instance_that_stops_ends_its_conversations(rt: &TestRuntime) {
        let (guessing, deployment) = deploy(&rt).await;
        let guess = rt.bus().request(GUESSING, 7).await.unwrap();
        let undeployed = deployment.undeploy().await.unwrap();
        assert_eq!((undeployed.abandoned, undeployed.failures.len()), (0, 0));
        assert_eq!(guessing.ended.all(), [ConversationError::Closed]);
        assert!(matches!(rt.bus().request(guess, 7).await, Err(RequestError::NoHandlers { .. })));
    }

    /// More than wait to be taken are refused, as at any mailbox that is full.
    async fn messages_that_nobody_takes_are_refused_beyond_the_bound(rt: &TestRuntime) {
        struct Deaf(Seen<Address<u32>>);
        impl Verticle for Deaf {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let (address, conversation) = ctx.conversation::<u32, ()>(PATIENCE);
                self.0.note(address);
                ctx.spawn(async move {
                    let _kept = conversation;
                    std::future::pending().await
                });
                Ok(())
            }
        }
        let seen = Seen::default();
        let kept = seen.clone();
        let deployment = rt.deploy(Deploy::new(move || Deaf(kept.clone()))).await.unwrap();
        let address = seen.all()[0].clone();
        let mut accepted = 0;
        loop {
            match rt.bus().try_send(address.clone(), accepted) {
                Ok(()) => accepted += 1,
                Err(full) => {
                    assert_eq!(full, SendError::Full(accepted));
                    // What is taken out of the mailbox makes room there, until as many wait behind it.
                    let before = accepted;
                    eventually(rt.clock(), "all have begun", || rt.bus().room(address.clone()) <= 16).await;
                    rt.clock().sleep(Duration::from_millis(2)).await;
                    if rt.bus().room(address.clone()) == 0 && before == accepted {
                        break;
                    }
                }
            }
        }
        assert_eq!(accepted, 32);
        let undeployed = deployment.undeploy_within(Duration::from_millis(10)).await.unwrap();
        assert_eq!(undeployed.abandoned, 32);
    }
}
