//! A verticle that panics now and then. Its caller is told, the next message finds a new instance, nothing else notices.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use vertebra::{Address, BoxError, Context, Deploy, Event, Failure, Handler, RequestError, Restart, Runtime, Verticle};

const DIVIDE: Address<(u32, u32), u32> = Address::new("divider.divide");

/// Divides, and does not look at what by.
#[derive(Default)]
struct Divider {
    divided: Cell<u32>,
}

impl Verticle for Divider {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(DIVIDE).register()?;
        Ok(())
    }
}

impl Handler<(u32, u32)> for Divider {
    type Reply = u32;

    async fn handle(&self, (number, by): (u32, u32), _: &Context<Self>) -> Result<u32, Failure> {
        self.divided.set(self.divided.get() + 1);
        Ok(number / by)
    }
}

fn main() -> Result<(), BoxError> {
    let rebuilt = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rebuilt);
    let rt = Runtime::builder().event_loops(1).on_event(move |event| {
        if let Event::Rebuilt { by, times } = event {
            println!("{by} was rebuilt, {times} times by now");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let rt = rt.build()?;
    rt.block_on(async {
        let restart = Restart::at_most(3, Duration::from_secs(60));
        rt.deploy(Deploy::new(Divider::default).restart(restart)).await?;
        for by in [2, 0, 5] {
            match rt.bus().request(DIVIDE, (100, by)).await {
                Ok(quotient) => println!("100 / {by} is {quotient}"),
                // A code that no handler has chosen: it panicked.
                Err(RequestError::Failed(failure)) if failure.code() == Failure::UNSPECIFIED => {
                    println!("100 / {by}: {failure}");
                }
                Err(other) => return Err(other.into()),
            }
        }
        rt.shutdown(Duration::from_secs(5)).await;
        assert_eq!(rebuilt.load(Ordering::Relaxed), 1);
        Ok(())
    })
}
