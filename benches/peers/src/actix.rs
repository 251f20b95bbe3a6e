//! The work on actix.

use std::sync::Arc;

use actix::{Addr, Context, Handler, Message};
use adtrack_benches::Body;
use vertebra::BoxError;

use crate::actor::Actor;
use crate::ticks::tick;

pub(crate) struct Echo;

impl actix::Actor for Echo {
    type Context = Context<Self>;
}

struct Tell(Arc<Body>);

impl Message for Tell {
    type Result = ();
}

impl Handler<Tell> for Echo {
    type Result = ();

    fn handle(&mut self, tell: Tell, _: &mut Context<Self>) {
        tick(&tell.0);
    }
}

struct Ask(Arc<Body>);

impl Message for Ask {
    type Result = u64;
}

impl Handler<Ask> for Echo {
    type Result = u64;

    fn handle(&mut self, ask: Ask, _: &mut Context<Self>) -> u64 {
        ask.0.look()
    }
}

impl Actor for Addr<Echo> {
    async fn start() -> Result<Self, BoxError> {
        Ok(actix::Actor::start(Echo))
    }

    fn tell(&self, body: Arc<Body>) -> Result<(), BoxError> {
        self.do_send(Tell(body));
        Ok(())
    }

    async fn ask(&self, body: Arc<Body>) -> Result<u64, BoxError> {
        Ok(self.send(Ask(body)).await?)
    }
}
