//! The life of a consumer: held back, let through by number, and taken back without losing what it has accepted.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::cell::OnceCell;
use std::time::Duration;

use tokio::sync::watch;
use vertebra::{
    Address, BoxError, Consumer, Context, Deploy, Failure, Handler, RegisterError, Runtime, SendError, Verticle,
};

const PAGE: Address<u32> = Address::new("printer.page");
const PANEL: Address<Key, usize> = Address::new("printer.panel");

enum Key {
    /// Sheets of paper are put in.
    Paper(usize),
    /// There is paper without end, or somebody has opened the lid.
    Automatic(bool),
    /// No more pages are taken; those that were are printed.
    Finish,
    /// No more pages are printed; gives how many are lost.
    Cancel,
}

struct Printer {
    pages: OnceCell<Consumer>,
    printed: watch::Sender<usize>,
}

impl Verticle for Printer {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        // Pages are taken from now on, up to 16 of them, and none is printed before there is paper.
        let pages = ctx.serve(PAGE).paused().mailbox(16).register()?;
        self.pages.get_or_init(|| pages);
        ctx.serve(PANEL).register()?;
        // The types belong to the address: it cannot be served with others.
        let other: Address<String> = Address::dynamic(PAGE.name());
        let refused = ctx.serve_fn(other, async |_| Ok(())).register();
        assert!(matches!(refused, Err(RegisterError::WrongType { .. })));
        Ok(())
    }
}

impl Handler<u32> for Printer {
    type Reply = ();

    async fn handle(&self, page: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        println!("page {page}{}", if ctx.is_stopping() { ", the last ones" } else { "" });
        self.printed.send_modify(|printed| *printed += 1);
        Ok(())
    }
}

impl Handler<Key> for Printer {
    type Reply = usize;

    async fn handle(&self, key: Key, _: &Context<Self>) -> Result<usize, Failure> {
        let Some(pages) = self.pages.get().filter(|pages| pages.is_registered()) else {
            return Err(Failure::new(1, "the printer is off"));
        };
        match key {
            Key::Paper(sheets) => pages.fetch(sheets),
            Key::Automatic(true) => pages.resume(),
            Key::Automatic(false) => pages.pause(),
            Key::Finish => pages.clone().unregister().await,
            Key::Cancel => {
                let lost = pages.unregister_now();
                pages.ended().await;
                return Ok(lost);
            }
        }
        Ok(0)
    }
}

async fn printer(rt: &Runtime) -> Result<(vertebra::Deployment, watch::Receiver<usize>), BoxError> {
    let (tell, printed) = watch::channel(0);
    let factory = move || Printer { pages: OnceCell::new(), printed: tell.clone() };
    let deployment = rt.deploy(Deploy::new(factory)).await?;
    for page in 1..=5 {
        rt.bus().send(PAGE, page).await?;
    }
    Ok((deployment, printed))
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(1).build()?;
    rt.block_on(async {
        let (first, mut printed) = printer(&rt).await?;
        assert_eq!(*printed.borrow(), 0);
        rt.bus().request(PANEL, Key::Paper(2)).await?;
        printed.wait_for(|printed| *printed == 2).await?;
        rt.bus().request(PANEL, Key::Automatic(true)).await?;
        printed.wait_for(|printed| *printed == 5).await?;
        rt.bus().request(PANEL, Key::Automatic(false)).await?;
        // What waits is printed all the same, and nobody can send any more.
        rt.bus().send(PAGE, 6).await?;
        rt.bus().request(PANEL, Key::Finish).await?;
        assert_eq!(*printed.borrow(), 6);
        assert_eq!(rt.bus().send(PAGE, 7).await.map_err(SendError::into_message), Err(7));
        assert!(rt.bus().request(PANEL, Key::Paper(1)).await.is_err());
        first.undeploy().await?;

        let (second, printed) = printer(&rt).await?;
        assert_eq!(rt.bus().request(PANEL, Key::Cancel).await?, 5);
        assert_eq!(*printed.borrow(), 0);
        assert!(second.undeploy().await?.is_clean());
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
