//! Timers: once, again and again, or awaited. They belong to their verticle and end with it.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use vertebra::{
    Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Task, Timer, TimerCancelled, TimerError, TimerId,
    Verticle,
};

const MINUTE: Duration = Duration::from_secs(60);

/// How many rockets have been launched.
const LAUNCHED: Address<(), u32> = Address::new("pad.launched");

#[derive(Default)]
struct Pad {
    left: Cell<u32>,
    launched: Cell<u32>,
    closed: Notify,
}

impl Pad {
    /// Every ten milliseconds, beginning now: three, two, one.
    fn count_down(ctx: &Context<Self>) -> Result<TimerId, TimerError> {
        ctx.verticle().left.set(3);
        ctx.set_periodic_after(Duration::ZERO, Duration::from_millis(10), |ctx| async move {
            let pad = ctx.verticle();
            println!("{}", pad.left.get());
            pad.left.set(pad.left.get() - 1);
            if pad.left.get() == 0 {
                ctx.timer_id().map(|own| ctx.cancel_timer(own));
                // What is to come after all that is due now is a task of its own.
                ctx.run_on_context(async |ctx| ctx.verticle().launch());
            }
        })
    }

    fn launch(&self) {
        self.launched.set(self.launched.get() + 1);
    }
}

impl Verticle for Pad {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(LAUNCHED).register()?;
        Self::count_down(ctx)?;
        // A timer to be awaited fires, or is cancelled.
        ctx.timer(Duration::from_millis(1))?.await?;
        let never: Timer = ctx.timer(MINUTE)?;
        assert!(ctx.cancel_timer(never.id()));
        assert_eq!(never.await, Err(TimerCancelled));
        let at_once = ctx.set_timer(Duration::ZERO, async |_| ());
        assert!(matches!(at_once, Err(TimerError::TooShort { key: "delay", .. })));
        let pad = ctx.clone();
        let closes: Task = ctx.spawn(async move {
            pad.stopping().await;
            println!("closed, after {} launches", pad.verticle().launched.get());
            pad.verticle().closed.notify_one();
        });
        assert!(!closes.is_finished());
        // It would fire in a minute. The verticle will be gone by then, and the timer with it.
        ctx.set_timer(MINUTE, async |ctx| ctx.verticle().launch())?;
        Ok(())
    }

    /// Tasks are cut off when this is over: what one of them has to do at the end is waited for here.
    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.closed.notified().await;
        Ok(())
    }
}

impl Handler<()> for Pad {
    type Reply = u32;

    async fn handle(&self, (): (), _: &Context<Self>) -> Result<u32, Failure> {
        Ok(self.launched.get())
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(1).build()?;
    rt.block_on(async {
        rt.deploy(Deploy::new(Pad::default)).await?;
        while rt.bus().request(LAUNCHED, ()).await? == 0 {
            rt.clock().sleep(Duration::from_millis(1)).await;
        }
        println!("lift-off");
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
