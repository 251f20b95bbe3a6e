//! How a verticle of one's own is tested: the real runtime, with stubs for what it talks to, and time that jumps.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::future::pending;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, RequestError, Verticle};

const PRICE: Address<&'static str, u32> = Address::new("quotes.price");
const FEED: Address<&'static str, u32> = Address::new("feed.price");

/// Asks the feed, three times at most and each time a second longer.
struct Quotes;

impl Verticle for Quotes {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(PRICE).register()?;
        Ok(())
    }
}

impl Handler<&'static str> for Quotes {
    type Reply = u32;

    async fn handle(&self, what: &'static str, ctx: &Context<Self>) -> Result<u32, Failure> {
        for attempt in 1..=3 {
            match ctx.bus().request(FEED, what).timeout(Duration::from_secs(attempt)).await {
                Err(RequestError::Timeout { .. }) => println!("the feed is silent, attempt {attempt}"),
                other => return Ok(other?),
            }
        }
        Err(Failure::new(504, "the feed is silent"))
    }
}

async fn gives_what_the_feed_says(rt: TestRuntime) {
    let Ok(_feed) = rt.stub(FEED, async |what: &'static str| Ok(what.len() as u32)).await else { panic!("no stub") };
    let Ok(_quotes) = rt.deploy(Deploy::new(|| Quotes)).await else { panic!("not deployed") };
    let (one, two) = tokio::join!(rt.bus().request(PRICE, "lamp"), rt.bus().request(PRICE, "sofa bed"));
    assert_eq!((one, two), (Ok(4), Ok(8)));
}

async fn gives_up_after_six_seconds(rt: TestRuntime) {
    let Ok(feed) = rt.stub(FEED, |_| pending()).await else { panic!("no stub") };
    let Ok(_quotes) = rt.deploy(Deploy::new(|| Quotes)).await else { panic!("not deployed") };
    let asked = rt.bus().request(PRICE, "lamp").await;
    assert_eq!(asked, Err(RequestError::Failed(Failure::new(504, "the feed is silent"))));
    // An equality: nothing but the three waits took any time. It was over in an instant.
    assert_eq!(rt.elapsed(), Duration::from_secs(1 + 2 + 3));
    // Its handlers are still at it. Work that is left at the end would fail the test.
    assert!(feed.undeploy_within(Duration::ZERO).await.is_ok_and(|feed| feed.abandoned == 3));
}

fn main() {
    TestRuntime::paused(gives_what_the_feed_says);
    TestRuntime::paused(gives_up_after_six_seconds);
    // The same in orders drawn from a seed: a failure names its seed, and fails again with it.
    (0..20).for_each(|seed| TestRuntime::seeded(seed, gives_what_the_feed_says));
    // With a runtime that is built otherwise, and on real loops and threads.
    TestRuntime::paused_with(|builder| builder.mailbox(2), gives_what_the_feed_says);
    TestRuntime::on_loops(2, gives_what_the_feed_says);
    TestRuntime::on_loops_with(2, |builder| builder.request_timeout(Duration::from_secs(5)), gives_what_the_feed_says);
}
