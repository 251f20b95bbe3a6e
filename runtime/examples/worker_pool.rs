//! Work that blocks, on threads where that is allowed. Nothing else changes: same traits, same addresses.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::collections::BTreeSet;
use std::time::Duration;

use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};

/// How many primes there are below a number, and which thread has counted them.
const COUNT: Address<u32, (usize, String)> = Address::new("primes.count");

struct Primes;

impl Verticle for Primes {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(COUNT).register()?;
        Ok(())
    }
}

impl Handler<u32> for Primes {
    type Reply = (usize, String);

    async fn handle(&self, below: u32, _: &Context<Self>) -> Result<(usize, String), Failure> {
        let is_prime =
            |number: &u32| (2..*number).take_while(|by| by * by <= *number).all(|by| !number.is_multiple_of(by));
        let thread = std::thread::current().name().unwrap_or("a thread").to_owned();
        Ok(((2..below).filter(is_prime).count(), thread))
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(1).build()?;
    rt.block_on(async {
        // Two instances on two threads: each stays on its own, so that its state need not be `Send`.
        rt.deploy(Deploy::new(|| Primes).worker("cpu", 2).instances(2)).await?;
        let mut threads = BTreeSet::new();
        for below in [10, 100, 1_000, 10_000] {
            let (primes, thread) = rt.bus().request(COUNT, below).await?;
            println!("{primes} primes below {below}, says {thread}");
            threads.insert(thread);
        }
        assert_eq!(threads, ["cpu-0".to_owned(), "cpu-1".to_owned()].into());
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
