//! What goes beside a message: headers, asked for and counted by interceptors, carried on from handler to handler.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use vertebra::{
    Address, BoxError, Context, Delivery, Deploy, Failure, FailureType, Handler, Headers, InterceptorId, ReplyFailure,
    Runtime, UnknownFailureType, Verticle,
};

const ORDER: Address<&'static str, String> = Address::new("shop.order");
const STOCK: Address<u64, String> = Address::new("shop.stock");
const NEWS: Address<String> = Address::new("shop.news");

/// Takes orders and looks after the stock.
struct Shop;

impl Verticle for Shop {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ORDER).register()?;
        ctx.serve(STOCK).register()?;
        Ok(())
    }
}

impl Handler<&'static str> for Shop {
    type Reply = String;

    async fn handle(&self, what: &'static str, ctx: &Context<Self>) -> Result<String, Failure> {
        // Nothing is said of the tenant here: the headers that are carried go on by themselves.
        let place = ctx.bus().request(STOCK, what.len() as u64).await?;
        ctx.bus().publish(NEWS, format!("a {what} was sold"));
        Ok(place)
    }
}

impl Handler<u64> for Shop {
    type Reply = String;

    async fn handle(&self, shelf: u64, ctx: &Context<Self>) -> Result<String, Failure> {
        let of = |name| ctx.headers().get(name).unwrap_or("nobody");
        Ok(format!("shelf {shelf} of {}, parcel {}", of("tenant"), of("parcel")))
    }
}

/// What has no tenant goes nowhere, and what has one gets a number.
fn need_tenant(rt: &Runtime) -> InterceptorId {
    let parcels = AtomicU32::new(0);
    rt.bus().add_outbound_interceptor(move |message: &mut Delivery<'_>| {
        if message.is_reply() {
            return Ok(());
        }
        if message.headers().get("tenant").is_none() {
            return Err(Failure::new(401, format!("no tenant for {}", message.address())));
        }
        let parcel = parcels.fetch_add(1, Ordering::Relaxed) + 1;
        message.headers_mut().set("parcel", &parcel.to_string());
        Ok(())
    })
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).carry_headers(["tenant", "traceparent"]).build()?;
    let bus = rt.bus().clone();
    rt.block_on(async {
        rt.deploy(Deploy::new(|| Shop).instances(2)).await?;
        let gate = need_tenant(&rt);
        let (alone, all) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (sent, published) = (Arc::clone(&alone), Arc::clone(&all));
        bus.add_inbound_interceptor(move |message| {
            let order = message.body().downcast_ref::<&str>().unwrap_or(&"something");
            println!("{}: {order}, with {:?}", message.address(), message.headers());
            let count = if message.is_send() { &sent } else { &published };
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });

        let refused = bus.request(ORDER, "lamp").await.map_err(|error| error.reply_failure());
        assert_eq!(refused, Err(ReplyFailure::new(FailureType::RecipientFailure, 401, "no tenant for shop.order")));

        // As a gateway would hand it on: a number, a code and words, understood where there are no types.
        let number = refused.map_err(|refused| refused.failure_type().number()).err().unwrap_or_default();
        assert_eq!(FailureType::try_from(number), Ok(FailureType::RecipientFailure));
        assert_eq!(FailureType::try_from(7), Err(UnknownFailureType { number: 7 }));

        let mut headers = Headers::default();
        headers.append("tenant", "ada");
        headers.append("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let place = bus.request(ORDER, "lamp").headers(headers).await?;
        assert_eq!(place, "shelf 4 of ada, parcel 2");
        // The order, the question to the stock, and both replies; the news reached nobody.
        assert_eq!((alone.load(Ordering::Relaxed), all.load(Ordering::Relaxed)), (4, 0));

        assert!(bus.remove_interceptor(gate));
        assert_eq!(bus.request(ORDER, "sofa").await?, "shelf 4 of nobody, parcel nobody");
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
