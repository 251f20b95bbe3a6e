//! A reply that can be answered: two verticles bargain, at an address that is there for the two of them alone.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use vertebra::{
    Address, Answer, BoxError, Context, Conversation, ConversationError, Deploy, Failure, Handler, Runtime, Verticle,
};

/// A bid is answered: not at that price, or sold.
type Bids = Address<u32, Verdict>;

#[derive(Debug, PartialEq)]
enum Verdict {
    More,
    Sold,
}

struct Offer {
    price: u32,
    bids: Bids,
}

const LAMP: Address<(), Offer> = Address::new("market.lamp");

struct Seller;

impl Verticle for Seller {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(LAMP).register()?;
        Ok(())
    }
}

impl Handler<()> for Seller {
    type Reply = Offer;

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<Offer, Failure> {
        let (bids, conversation) = ctx.conversation(Duration::from_millis(50));
        ctx.spawn(bargain(conversation));
        Ok(Offer { price: 20, bids })
    }
}

/// Ends with the sale, or when no bid has come for a while. The address is gone then.
async fn bargain(mut bids: Conversation<u32, Verdict>) {
    loop {
        let (bid, answer): (u32, Answer<Verdict>) = match bids.next().await {
            Ok(next) => next,
            Err(ConversationError::Timeout { after }) => return println!("nobody bids within {after:?}"),
            Err(error) => return println!("{error}"),
        };
        match bid {
            0 => answer.fail(Failure::new(1, "it is not for nothing")),
            1..15 => answer.reply(Verdict::More),
            _ => return answer.reply(Verdict::Sold),
        }
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    let bus = rt.bus();
    rt.block_on(async {
        rt.deploy(Deploy::new(|| Seller)).await?;
        let Offer { price, bids } = bus.request(LAMP, ()).await?;
        let begging = bus.request(bids.clone(), 0).await;
        assert_eq!(begging.err().and_then(|error| error.code()), Some(1));
        assert_eq!(bus.request(bids.clone(), price / 2).await?, Verdict::More);
        assert_eq!(bus.request(bids.clone(), price - 4).await?, Verdict::Sold);
        assert!(bus.request(bids, price).await.is_err(), "it is sold");

        // Who asks and does not bid is not waited for for ever.
        let Offer { bids, .. } = bus.request(LAMP, ()).await?;
        rt.clock().sleep(Duration::from_millis(80)).await;
        assert!(bus.request(bids, price).await.is_err());
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
