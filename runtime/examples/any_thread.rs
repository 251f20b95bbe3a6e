//! Work that is done elsewhere: on threads for what blocks, and on a thread that knows nothing of verticles and calls back.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use vertebra::{
    Address, BlockingError, BoxError, Context, ContextHandle, Deploy, Failure, HandleError, Handler, Runtime, Verticle,
};

/// The warmest it has been so far.
const WARMEST: Address<(), u32> = Address::new("weather.warmest");

#[derive(Default)]
struct Weather {
    warmest: Cell<u32>,
    readings: Cell<u32>,
}

/// A driver, as some library brings it along: it has a thread and calls back on it.
fn thermometer(on_reading: impl Fn(u32) -> bool + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for degrees in [18, 23, 21] {
            assert!(on_reading(degrees));
        }
    })
}

impl Verticle for Weather {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(WARMEST).register()?;
        // A file would be read here. Two pieces of blocking work of one instance run one after the other, these do.
        let archive = ctx.execute_blocking(|| vec![12, 16, 14]).await?;
        self.warmest.set(archive.into_iter().max().unwrap_or_default());
        // These need not: they are done side by side.
        let both = tokio::join!(
            ctx.execute_blocking_unordered(|| 7 * 6),
            ctx.execute_blocking_unordered(|| "12,5".parse::<u32>().expect("a whole number")),
        );
        assert_eq!(both.0, Ok(42));
        assert!(matches!(both.1, Err(BlockingError::Panicked { panic }) if panic.contains("a whole number")));

        // The state is this loop's alone, without a lock: what another thread has comes here and is noted here.
        let handle: ContextHandle<Self> = ctx.handle();
        let noted = move |degrees| {
            let handed_in = handle.run_on_context(async move |ctx| {
                let weather = ctx.verticle();
                weather.warmest.set(weather.warmest.get().max(degrees));
                weather.readings.set(weather.readings.get() + 1);
            });
            match handed_in {
                Ok(()) => true,
                // Nothing waits for ever: there is no room, or nobody is there any more.
                Err(HandleError::Full | HandleError::Stopped) | Err(_) => false,
            }
        };
        drop(thermometer(noted));
        Ok(())
    }
}

impl Handler<()> for Weather {
    type Reply = u32;

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<u32, Failure> {
        while self.readings.get() < 3 {
            ctx.clock().sleep(Duration::from_millis(1)).await;
        }
        Ok(self.warmest.get())
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(1).build()?;
    rt.block_on(async {
        rt.deploy(Deploy::new(Weather::default)).await?;
        println!("{} degrees at most", rt.bus().request(WARMEST, ()).await?);
        assert_eq!(rt.bus().request(WARMEST, ()).await, Ok(23));
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
