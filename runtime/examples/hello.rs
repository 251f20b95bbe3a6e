//! The smallest whole program: one verticle, two instances, one request.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};

const GREET: Address<String, String> = Address::new("greeter.greet");

struct Greeter;

impl Verticle for Greeter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(GREET).register()?;
        Ok(())
    }
}

impl Handler<String> for Greeter {
    type Reply = String;
    async fn handle(&self, name: String, ctx: &Context<Self>) -> Result<String, Failure> {
        Ok(format!("hello {name}, from loop {}", ctx.event_loop()))
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    rt.block_on(async {
        rt.deploy(Deploy::new(|| Greeter).instances(2)).await?;
        println!("{}", rt.bus().request(GREET, "world".to_owned()).await?);
        rt.shutdown(std::time::Duration::from_secs(5)).await;
        Ok(())
    })
}
