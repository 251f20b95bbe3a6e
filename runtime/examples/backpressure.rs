//! What each verb does when a consumer is slower than its senders. No queue grows without a bound.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use tokio::sync::watch;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, RequestError, Runtime, SendError, Verticle};

const PRINT: Address<u32> = Address::new("printer.print");

struct Printer {
    at_work: watch::Sender<bool>,
    paper: watch::Receiver<bool>,
}

impl Verticle for Printer {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        // Four may wait, one is being printed.
        ctx.serve(PRINT).mailbox(4).in_flight(1).register()?;
        Ok(())
    }
}

impl Handler<u32> for Printer {
    type Reply = ();

    async fn handle(&self, page: u32, _: &Context<Self>) -> Result<(), Failure> {
        self.at_work.send_replace(true);
        let mut paper = self.paper.clone();
        paper.wait_for(|there| *there).await.map_err(|_| Failure::new(1, "no paper will come"))?;
        println!("page {page}");
        Ok(())
    }
}

/// Sends more than the printer can take.
struct Office {
    at_work: watch::Receiver<bool>,
    paper: watch::Sender<bool>,
}

impl Verticle for Office {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let bus = ctx.bus();
        bus.send(PRINT, 0).await?;
        self.at_work.clone().wait_for(|begun| *begun).await?;

        // `try_send` never waits: it gives the message back.
        let mut page = 1;
        let refused = loop {
            match bus.try_send(PRINT, page) {
                Ok(()) => page += 1,
                Err(SendError::Full(page)) => break page,
                Err(error) => return Err(error.into()),
            }
        };
        assert_eq!(refused, 5);
        println!("page 0 waits for paper, four wait behind it, page {refused} came back");

        // `request` fails at once, `publish` drops and counts.
        assert!(matches!(bus.request(PRINT, 99).await, Err(RequestError::Overloaded { .. })));
        assert_eq!(bus.publish(PRINT, 99).dropped, 1);

        // `send` waits for room, until its time is up: then it gives the message back, too.
        let waited = bus.send(PRINT, refused).timeout(Duration::from_millis(20)).await;
        assert_eq!(waited, Err(SendError::Full(refused)));

        self.paper.send_replace(true);
        bus.send(PRINT, refused).await?;
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(1).build()?;
    let (paper, there) = watch::channel(false);
    let (begun, at_work) = watch::channel(false);
    rt.block_on(async {
        rt.deploy(Deploy::new(move || Printer { at_work: begun.clone(), paper: there.clone() })).await?;
        rt.deploy(Deploy::new(move || Office { at_work: at_work.clone(), paper: paper.clone() })).await?;
        // What was accepted is printed before the shutdown is done.
        let report = rt.shutdown(Duration::from_secs(5)).await;
        assert!(report.is_clean());
        Ok(())
    })
}
