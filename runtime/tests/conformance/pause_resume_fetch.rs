//! Holding messages back, and letting them come.

use std::cell::OnceCell;
use std::thread::{self, ThreadId};

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Consumer, Context, Deploy, Failure, Handler, Verticle};

use super::tap::{NUMBERS, Tap, Turn, ask, send, turn};
use crate::promises;
use crate::support::{Seen, eventually};

const PAUSED: Address<bool> = Address::new("paused");

promises! {
    /// A consumer flows until it is paused; then messages wait, and come in their order when it is resumed.
    async fn v108_a_consumer_flows_until_it_is_paused(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        send(&rt, 0..3).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), [0, 1, 2]);
        turn(&rt, Turn::Pause).await;
        send(&rt, 3..6).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.len(), 3, "messages wait");
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "those that waited", || tap.seen.len() == 6).await;
        send(&rt, 6..8).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), (0..8).collect::<Vec<_>>());
    }

    /// While paused, fetching n handles exactly n - of those that wait, and of those that come -, then messages wait again;
    /// two fetches add up, and a pause forgets what was fetched and has not come.
    async fn v109_fetching_n_while_paused_handles_exactly_n(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        turn(&rt, Turn::Pause).await;
        send(&rt, 0..6).await;
        turn(&rt, Turn::Fetch(4)).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), [0, 1, 2, 3]);
        turn(&rt, Turn::Fetch(1)).await;
        turn(&rt, Turn::Fetch(3)).await;
        send(&rt, 6..9).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), (0..8).collect::<Vec<_>>(), "two that waited and two that came");
        turn(&rt, Turn::Fetch(9)).await;
        turn(&rt, Turn::Nothing).await;
        turn(&rt, Turn::Pause).await;
        send(&rt, 9..12).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.len(), 9, "eight of nine were asked for and did not come before the pause");
        turn(&rt, Turn::Resume).await;
    }

    /// Fetching none changes nothing; fewer than none is no `usize`. On a consumer that flows, fetching changes nothing.
    async fn v111_fetching_none_does_nothing(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 8).await;
        send(&rt, 0..3).await;
        turn(&rt, Turn::Fetch(0)).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.len(), 0);
        turn(&rt, Turn::Resume).await;
        turn(&rt, Turn::Fetch(0)).await;
        turn(&rt, Turn::Fetch(1)).await;
        send(&rt, 3..6).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), (0..6).collect::<Vec<_>>());
    }

    /// A consumer can be registered paused: no message is handled before the first fetch, and none is lost. A request to it
    /// waits like any other message, and is not run in place.
    async fn v112_a_consumer_can_be_registered_paused(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 8).await;
        send(&rt, 0..2).await;
        let asked = ask(&rt, 2).await;
        assert_eq!(tap.seen.len(), 0);
        turn(&rt, Turn::Fetch(2)).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), [0, 1]);
        assert!(!asked.is_finished());
        turn(&rt, Turn::Resume).await;
        assert_eq!(asked.await.unwrap(), Ok(2));
        assert_eq!(rt.bus().request(NUMBERS, 3).await, Ok(3));
    }

    /// A consumer of a worker verticle that is paused and resumed handles on the thread its instance is pinned to, as before.
    async fn v113_a_worker_that_is_resumed_handles_on_its_own_thread(rt: &TestRuntime) {
        struct Working {
            consumer: OnceCell<Consumer>,
            threads: Seen<(u32, ThreadId)>,
        }
        impl Verticle for Working {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let consumer = ctx.serve(NUMBERS).register()?;
                self.consumer.get_or_init(|| consumer);
                ctx.serve(PAUSED).register()?;
                Ok(())
            }
        }
        impl Handler<u32> for Working {
            type Reply = u32;
            async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
                self.threads.note((number, thread::current().id()));
                Ok(number)
            }
        }
        impl Handler<bool> for Working {
            type Reply = ();
            async fn handle(&self, paused: bool, _: &Context<Self>) -> Result<(), Failure> {
                match (paused, self.consumer.get()) {
                    (true, Some(consumer)) => consumer.pause(),
                    (false, Some(consumer)) => consumer.resume(),
                    (_, None) => {}
                }
                Ok(())
            }
        }
        let threads = Seen::default();
        let kept = threads.clone();
        let factory = move || Working { consumer: OnceCell::new(), threads: kept.clone() };
        rt.deploy(Deploy::new(factory).worker("pool", 2)).await.unwrap();
        rt.bus().request(NUMBERS, 0).await.unwrap();
        rt.bus().request(PAUSED, true).await.unwrap();
        send(&rt, 1..4).await;
        rt.bus().request(PAUSED, true).await.unwrap();
        assert_eq!(threads.len(), 1);
        rt.bus().request(PAUSED, false).await.unwrap();
        eventually(rt.clock(), "those that waited", || threads.len() == 4).await;
        let (numbers, mut on): (Vec<_>, Vec<_>) = threads.all().into_iter().unzip();
        on.dedup();
        assert_eq!((numbers, on.len()), (vec![0, 1, 2, 3], 1));
    }
}
