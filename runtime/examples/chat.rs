//! A room is an address; whoever is in it serves it; what is said is published.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vertebra::{Address, BoxError, Context, Deploy, Deployment, Failure, Handler, Runtime, Verticle};

/// Shared by all who hear it, never copied.
#[derive(Debug, Clone)]
struct Said {
    by: &'static str,
    text: Arc<str>,
}

const ROOM: Address<Said> = Address::new("room.lobby");

/// What everybody heard, for the end of the example.
type Heard = Arc<Mutex<Vec<String>>>;

struct Member {
    name: &'static str,
    heard: Heard,
}

impl Verticle for Member {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ROOM).register()?;
        ctx.bus().publish(ROOM, Said { by: self.name, text: "hello, everybody".into() });
        Ok(())
    }
}

impl Handler<Said> for Member {
    type Reply = ();

    async fn handle(&self, said: Said, _: &Context<Self>) -> Result<(), Failure> {
        if said.by != self.name {
            let line = format!("{} hears {}: {}", self.name, said.by, said.text);
            println!("{line}");
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        Ok(())
    }
}

async fn enter(rt: &Runtime, name: &'static str, heard: &Heard) -> Result<Deployment, BoxError> {
    let heard = Arc::clone(heard);
    Ok(rt.deploy(Deploy::new(move || Member { name, heard: Arc::clone(&heard) }).name(name)).await?)
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    let heard = Heard::default();
    rt.block_on(async {
        enter(&rt, "ada", &heard).await?;
        enter(&rt, "bob", &heard).await?;
        let cyd = enter(&rt, "cyd", &heard).await?;
        cyd.undeploy().await?;
        let reached = rt.bus().publish(ROOM, Said { by: "the house", text: "we close".into() }).reached;
        assert_eq!(reached, 2);
        rt.shutdown(Duration::from_secs(5)).await;
        // Ada heard bob and cyd come, bob heard cyd, and both heard the house.
        assert_eq!(heard.lock().unwrap_or_else(PoisonError::into_inner).len(), 5);
        Ok(())
    })
}
