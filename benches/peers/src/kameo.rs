//! The work on kameo.

use std::convert::Infallible;
use std::sync::Arc;

use adtrack_benches::Body;
use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};
use vertebra::BoxError;

use crate::actor::Actor;
use crate::ticks::tick;

pub(crate) struct Echo;

impl kameo::Actor for Echo {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(args: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(args)
    }
}

struct Tell(Arc<Body>);

impl Message<Tell> for Echo {
    type Reply = ();

    async fn handle(&mut self, tell: Tell, _: &mut Context<Self, ()>) {
        tick(&tell.0);
    }
}

struct Ask(Arc<Body>);

impl Message<Ask> for Echo {
    type Reply = u64;

    async fn handle(&mut self, ask: Ask, _: &mut Context<Self, u64>) -> u64 {
        ask.0.look()
    }
}

impl Actor for ActorRef<Echo> {
    async fn start() -> Result<Self, BoxError> {
        Ok(Echo::spawn_with_mailbox(Echo, mailbox::unbounded()))
    }

    fn tell(&self, body: Arc<Body>) -> Result<(), BoxError> {
        Ok(self.tell(Tell(body)).try_send()?)
    }

    async fn ask(&self, body: Arc<Body>) -> Result<u64, BoxError> {
        Ok(self.ask(Ask(body)).await?)
    }
}
