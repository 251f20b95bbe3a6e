//! The work on ractor.

use std::sync::Arc;

use adtrack_benches::Body;
use ractor::rpc::CallResult;
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use vertebra::BoxError;

use crate::actor::Actor;
use crate::ticks::tick;

struct Echo;

pub(crate) enum Message {
    Tell(Arc<Body>),
    Ask(Arc<Body>, RpcReplyPort<u64>),
}

impl ractor::Actor for Echo {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(body) => tick(&body),
            Message::Ask(body, reply) => reply.send(body.look())?,
        }
        Ok(())
    }
}

impl Actor for ActorRef<Message> {
    async fn start() -> Result<Self, BoxError> {
        let (actor, _) = ractor::Actor::spawn(None, Echo, ()).await?;
        Ok(actor)
    }

    fn tell(&self, body: Arc<Body>) -> Result<(), BoxError> {
        Ok(self.cast(Message::Tell(body))?)
    }

    async fn ask(&self, body: Arc<Body>) -> Result<u64, BoxError> {
        match self.call(|reply| Message::Ask(body, reply), None).await? {
            CallResult::Success(seen) => Ok(seen),
            CallResult::Timeout => Err("ractor: a time-out, and none was set".into()),
            CallResult::SenderError => Err("ractor: the actor did not reply".into()),
        }
    }
}
