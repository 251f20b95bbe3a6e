//! What an operator sees: every event told to one hook, every number as a value, handed on as often as is wanted.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use vertebra::{
    Address, AddressMetrics, BoxError, Context, Culprit, Deploy, Event, Failure, FailureType, Handler, LoopMetrics,
    Metrics, ReplyFailures, RequestError, Runtime, Verticle,
};

const HASH: Address<u64, u64> = Address::new("hasher.hash");

/// Computes, now and then for so long that nothing else on its loop goes on.
struct Hasher {
    blocked: watch::Receiver<Option<Culprit>>,
}

impl Verticle for Hasher {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(HASH).register()?;
        Ok(())
    }
}

impl Handler<u64> for Hasher {
    type Reply = u64;

    async fn handle(&self, rounds: u64, ctx: &Context<Self>) -> Result<u64, Failure> {
        if rounds == 0 {
            return Err(Failure::new(7, "nothing to do"));
        }
        let give_up = ctx.clock().now() + Duration::from_secs(30);
        let mut hash = rounds;
        while rounds > 1_000 && self.blocked.borrow().is_none() && ctx.clock().now() < give_up {
            hash = hash.wrapping_mul(0x0100_0000_01b3);
        }
        Ok(hash)
    }
}

fn report(metrics: &Metrics) -> String {
    let of_address = |at: &AddressMetrics| {
        let median = at.handler_time.quantile(0.5).unwrap_or_default();
        format!("{}: {} sent, {} failed, {median:?} at the median", at.address, at.sent, at.failed)
    };
    let of_loop = |at: &LoopMetrics| format!("{}: {} wait, {:?} behind", at.name, at.pending, at.lag);
    let addresses = metrics.addresses.iter().map(of_address);
    addresses.chain(metrics.loops.iter().map(of_loop)).collect::<Vec<_>>().join("; ")
}

fn main() -> Result<(), BoxError> {
    let (tell, blocked) = watch::channel(None);
    let (exported, mut exports) = watch::channel(String::new());
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&events);
    let rt = Runtime::builder()
        .event_loops(1)
        // By default a loop is looked at once a second, and two seconds are too long; a minute for a worker.
        .blocked_check_interval(Duration::from_millis(2))
        .event_loop_time_max(Duration::from_millis(10))
        .worker_time_max(Duration::from_secs(10))
        .on_event(move |event| match event {
            Event::Blocked { event_loop, by, blocked_for } => {
                println!("{event_loop} is blocked, for {blocked_for:?} by now");
                tell.send_if_modified(|known| {
                    known.is_none() && {
                        known.clone_from(by);
                        true
                    }
                });
            }
            Event::Deployed(deployment) => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} is there", deployment.name));
            }
            other => println!("{other:?}"),
        })
        .handler_time_one_in(1)
        .metrics_every(Duration::from_millis(20), move |metrics| {
            exported.send_replace(report(metrics));
        })
        .build()?;
    rt.block_on(async {
        let known = blocked.clone();
        rt.deploy(Deploy::new(move || Hasher { blocked: known.clone() }).name("hasher")).await?;
        assert_eq!(*events.lock().unwrap_or_else(PoisonError::into_inner), ["hasher is there"]);
        for rounds in [1, 10, 1_000_000] {
            rt.bus().request(HASH, rounds).await?;
        }
        let refused: RequestError = rt.bus().request(HASH, 0).await.err().ok_or("there was something to do")?;
        assert_eq!((refused.failure_type(), refused.code()), (FailureType::RecipientFailure, Some(7)));

        let culprit = blocked.borrow().clone().ok_or("nobody has blocked the loop")?;
        println!("it was {culprit}");
        let metrics = rt.metrics().await;
        let hasher = metrics.address(HASH.name()).ok_or("nothing was sent")?;
        let ReplyFailures { recipient_failure, timeout, .. } = hasher.reply_failures;
        assert_eq!((hasher.sent, hasher.failed, recipient_failure, timeout), (4, 1, 1, 0));
        assert_eq!(hasher.handler_time.count(), 4);
        assert!(hasher.handler_time.quantile(1.0) > Some(Duration::from_millis(1)));
        println!("{}", exports.wait_for(|exported| exported.contains("4 sent")).await?.as_str());
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
