//! A verticle that notes what it is given, for promises about who gets what.

use std::future::Future;
use std::pin::Pin;

use vertebra::{Address, BoxError, Context, Deploy, Deployment, Failure, Handler, Restart, Route, Runtime, Verticle};

use crate::support::{Gate, Seen};

/// What a note says: a number, and what the handler replies.
pub(crate) type Notes = Address<u32, u32>;
pub(crate) const NOTES: Notes = Address::new("notes");
/// Nobody serves it.
pub(crate) const NOBODY: Notes = Address::new("nobody");

/// Notes the number with its instance, waits at the gate, and replies the number.
pub(crate) struct Noter {
    told: Seen<(u32, bool)>,
    address: Notes,
    seen: Seen<(usize, u32)>,
    gate: Gate,
    in_flight: usize,
    mailbox: usize,
    route: Route,
}

impl Verticle for Noter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let serve = ctx.serve(self.address.clone()).in_flight(self.in_flight).mailbox(self.mailbox);
        serve.route(self.route).register()?;
        Ok(())
    }
}

impl Handler<u32> for Noter {
    type Reply = u32;

    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        self.told.note((number, ctx.is_send()));
        self.seen.note((ctx.instance(), number));
        self.gate.wait().await;
        Ok(number)
    }
}

/// What the noters of a test have in common.
#[derive(Clone)]
pub(crate) struct Kit {
    pub(crate) seen: Seen<(usize, u32)>,
    /// Whether each number was sent.
    pub(crate) told: Seen<(u32, bool)>,
    pub(crate) gate: Gate,
    pub(crate) in_flight: usize,
    pub(crate) mailbox: usize,
}

impl Kit {
    /// Handlers that wait until the test opens the gate.
    pub(crate) fn held() -> Self {
        Self { seen: Seen::default(), told: Seen::default(), gate: Gate::default(), in_flight: 1_024, mailbox: 1_024 }
    }

    /// Handlers that finish at once.
    pub(crate) fn open() -> Self {
        let kit = Self::held();
        kit.gate.open();
        kit
    }

    pub(crate) fn noter(&self, address: Notes) -> Deploy<Noter> {
        let kit = self.clone();
        Deploy::new(move || Noter {
            address: address.clone(),
            seen: kit.seen.clone(),
            told: kit.told.clone(),
            gate: kit.gate.clone(),
            in_flight: kit.in_flight,
            mailbox: kit.mailbox,
            route: Route::RoundRobin,
        })
    }

    pub(crate) async fn deploy(&self, rt: &Runtime, instances: usize) -> Deployment {
        rt.deploy(self.noter(NOTES).instances(instances)).await.unwrap()
    }

    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.seen.all().into_iter().map(|(_, number)| number).collect()
    }

    pub(crate) fn numbers_of(&self, instance: usize) -> Vec<u32> {
        self.seen.all().into_iter().filter(|(who, _)| *who == instance).map(|(_, number)| number).collect()
    }
}

/// A verticle made of what it does at its start.
pub(crate) struct Starts(Box<dyn Fn(Context<Starts>) -> Doing>);

type Doing = Pin<Box<dyn Future<Output = ()>>>;

impl Verticle for Starts {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        (self.0)(ctx.clone()).await;
        Ok(())
    }
}

/// Deploys a verticle that does this when it starts.
pub(crate) async fn starting<R>(
    rt: &Runtime,
    act: impl Fn(Context<Starts>) -> R + Clone + Send + Sync + 'static,
) -> Deployment
where
    R: Future<Output = ()> + 'static,
{
    let factory = move || {
        let act = act.clone();
        Starts(Box::new(move |ctx| Box::pin(act(ctx))))
    };
    // What it does when it starts, it does once.
    rt.deploy(Deploy::new(factory).restart(Restart::keep())).await.unwrap()
}
