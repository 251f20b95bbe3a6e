//! One question to many at once, and what has come back when the time is up. Their addresses are made at run time.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, RequestError, Runtime, Verticle};

#[derive(Clone)]
struct Item(&'static str);

#[derive(Debug, PartialEq)]
struct Offers {
    best: Option<u32>,
    missing: usize,
}

const BEST_OFFER: Address<Item, Offers> = Address::new("broker.best-offer");

fn shop(name: &str) -> Address<Item, u32> {
    Address::dynamic(format!("shop.{name}"))
}

struct Shop {
    name: &'static str,
    /// `None`: it does not come to answer.
    price: Option<u32>,
}

impl Verticle for Shop {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(shop(self.name)).register()?;
        Ok(())
    }
}

impl Handler<Item> for Shop {
    type Reply = u32;

    async fn handle(&self, item: Item, _: &Context<Self>) -> Result<u32, Failure> {
        println!("shop {} is asked for a {}", self.name, item.0);
        match self.price {
            Some(price) => Ok(price),
            None => std::future::pending().await,
        }
    }
}

struct Broker;

impl Verticle for Broker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(BEST_OFFER).register()?;
        Ok(())
    }
}

impl Handler<Item> for Broker {
    type Reply = Offers;

    async fn handle(&self, item: Item, ctx: &Context<Self>) -> Result<Offers, Failure> {
        let ask = |name| ctx.bus().request(shop(name), item.clone()).timeout(Duration::from_millis(50));
        let answers: [Result<u32, RequestError>; 3] = tokio::join!(ask("a"), ask("b"), ask("c")).into();
        let missing = answers.iter().filter(|answer| answer.is_err()).count();
        Ok(Offers { best: answers.into_iter().flatten().min(), missing })
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    rt.block_on(async {
        for (name, price) in [("a", Some(30)), ("b", None), ("c", Some(20))] {
            rt.deploy(Deploy::new(move || Shop { name, price }).name(format!("shop {name}"))).await?;
        }
        rt.deploy(Deploy::new(|| Broker)).await?;
        let offers = rt.bus().request(BEST_OFFER, Item("bicycle")).await?;
        assert_eq!(offers, Offers { best: Some(20), missing: 1 });
        println!("{offers:?}");
        // The shop that does not answer still has a handler in flight: it is given up, and the report counts it.
        let report = rt.shutdown(Duration::from_millis(50)).await;
        assert_eq!(report.abandoned, 1);
        Ok(())
    })
}
