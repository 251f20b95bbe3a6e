//! A verticle whose consumer the tests open and shut from outside: the handle itself stays on its loop.

use std::cell::RefCell;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Consumer, Context, Deploy, Deployment, Failure, Handler};
use vertebra::{RequestError, Verticle};

use crate::support::{Gate, Seen};

/// What is opened and shut. Numbers from [`WAITS`] on wait at the gate.
pub(crate) const NUMBERS: Address<u32, u32> = Address::new("tap.numbers");
/// Takes its own consumer back at once, in the handler.
pub(crate) const LAST: u32 = 999_999;
/// The least number that waits.
pub(crate) const WAITS: u32 = 1_000_000;

/// Turns of the loop in which what is ready has begun.
const TURNS: usize = 4;

const TURN: Address<Turn, usize> = Address::new("tap.turn");

/// What is done with the consumer. The reply is the number it gives, 0 for none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    Pause,
    Resume,
    Fetch(usize),
    /// Nothing: what was sent before this has begun when it returns, if it begins at all.
    Nothing,
    Register,
    /// Registers and takes back at once; gives whether it was registered in between.
    RegisterAndUnregister,
    Unregister,
    UnregisterNow,
    IsRegistered,
}

/// How the consumer is registered.
#[derive(Clone, Copy)]
pub(crate) struct Registering {
    /// The runtime's when there is none.
    pub(crate) mailbox: Option<usize>,
    pub(crate) paused: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Tap {
    pub(crate) seen: Seen<u32>,
    pub(crate) finished: Seen<u32>,
    pub(crate) ended: Seen<String>,
    pub(crate) gate: Gate,
}

struct Tapped {
    tap: Tap,
    how: Registering,
    consumer: RefCell<Option<Consumer>>,
}

impl Tap {
    pub(crate) async fn deploy(&self, rt: &TestRuntime, how: Registering) -> Deployment {
        let tap = self.clone();
        let factory = move || Tapped { tap: tap.clone(), how, consumer: RefCell::default() };
        rt.deploy(Deploy::new(factory).name("tap")).await.unwrap()
    }

    /// A consumer that takes what comes.
    pub(crate) async fn open(rt: &TestRuntime) -> Self {
        let tap = Self::default();
        tap.deploy(rt, Registering { mailbox: None, paused: false }).await;
        tap
    }

    /// A consumer that is registered paused, with this mailbox.
    pub(crate) async fn shut(rt: &TestRuntime, mailbox: usize) -> Self {
        let tap = Self::default();
        tap.deploy(rt, Registering { mailbox: Some(mailbox), paused: true }).await;
        tap
    }
}

pub(crate) async fn turn(rt: &TestRuntime, turn: Turn) -> usize {
    let given = rt.bus().request(TURN, turn).await.unwrap();
    // On one thread the request was run in place, and the loop has not had its turn yet.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    given
}

/// Sends them one by one.
pub(crate) async fn send(rt: &TestRuntime, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        rt.bus().send(NUMBERS, number).await.unwrap();
    }
}

/// Begins a request and lets it wait; the message is in the mailbox when this returns.
pub(crate) async fn ask(rt: &TestRuntime, number: u32) -> tokio::task::JoinHandle<Result<u32, RequestError>> {
    let bus = rt.bus().clone();
    let asking = tokio::task::spawn_local(async move { bus.request(NUMBERS, number).await });
    tokio::task::yield_now().await;
    turn(rt, Turn::Nothing).await;
    asking
}

impl Tapped {
    fn register(&self, ctx: &Context<Self>) -> Result<Consumer, BoxError> {
        let mut serve = ctx.serve(NUMBERS);
        if let Some(messages) = self.how.mailbox {
            serve = serve.mailbox(messages);
        }
        if self.how.paused {
            serve = serve.paused();
        }
        let consumer = serve.register()?;
        let (ended, seen) = (consumer.ended(), self.tap.ended.clone());
        let name = ctx.event_loop().to_string();
        // On a task of its own and not of the instance: that one's tasks end with it.
        tokio::task::spawn_local(async move {
            ended.await;
            seen.note(name);
        });
        Ok(consumer)
    }
}

impl Verticle for Tapped {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let consumer = self.register(ctx)?;
        self.consumer.replace(Some(consumer));
        ctx.serve(TURN).register()?;
        Ok(())
    }
}

impl Handler<u32> for Tapped {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        self.tap.seen.note(number);
        if number == LAST {
            let own = self.consumer.borrow().clone();
            let discarded = own.map_or(0, |own| own.unregister_now());
            return Ok(discarded as u32);
        }
        if number >= WAITS {
            self.tap.gate.wait().await;
        }
        self.tap.finished.note(number);
        Ok(number)
    }
}

impl Handler<Turn> for Tapped {
    type Reply = usize;
    async fn handle(&self, turn: Turn, ctx: &Context<Self>) -> Result<usize, Failure> {
        let known = self.consumer.borrow().clone();
        let Some(consumer) = known else { return Ok(0) };
        match turn {
            Turn::Pause => consumer.pause(),
            Turn::Resume => consumer.resume(),
            Turn::Fetch(messages) => consumer.fetch(messages),
            Turn::Nothing => {}
            Turn::Register => drop(self.consumer.replace(self.register(ctx).ok())),
            Turn::RegisterAndUnregister => {
                let new = self.register(ctx).unwrap();
                let registered = new.is_registered();
                assert_eq!(new.unregister_now(), 0);
                return Ok(usize::from(registered && !new.is_registered()));
            }
            Turn::Unregister => consumer.unregister().await,
            Turn::UnregisterNow => return Ok(consumer.unregister_now()),
            Turn::IsRegistered => return Ok(usize::from(consumer.is_registered())),
        }
        Ok(0)
    }
}
