//! Two verticles that know each other's address and nothing else.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};

struct Rounds(u32);
struct Ping(u32);
#[derive(Debug, PartialEq)]
struct Pong(u32);

const PLAY: Address<Rounds, u32> = Address::new("pinger.play");
const PING: Address<Ping, Pong> = Address::new("ponger.ping");

struct Pinger;

impl Verticle for Pinger {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(PLAY).register()?;
        Ok(())
    }
}

impl Handler<Rounds> for Pinger {
    type Reply = u32;

    async fn handle(&self, rounds: Rounds, ctx: &Context<Self>) -> Result<u32, Failure> {
        for round in 0..rounds.0 {
            // A request that fails makes this handler fail in turn, with the same code.
            let Pong(back) = ctx.bus().request(PING, Ping(round)).timeout(Duration::from_secs(1)).await?;
            println!("ping {round}, pong {back}");
        }
        Ok(rounds.0)
    }
}

struct Ponger;

impl Verticle for Ponger {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(PING).register()?;
        Ok(())
    }
}

impl Handler<Ping> for Ponger {
    type Reply = Pong;

    async fn handle(&self, ping: Ping, _: &Context<Self>) -> Result<Pong, Failure> {
        Ok(Pong(ping.0))
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    rt.block_on(async {
        rt.deploy(Deploy::new(|| Ponger)).await?;
        rt.deploy(Deploy::new(|| Pinger)).await?;
        assert_eq!(rt.bus().request(PLAY, Rounds(3)).await?, 3);
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
