//! What a mailbox holds, and what happens at its bound.

use vertebra::testing::TestRuntime;
use vertebra::{Published, RequestError, SendError};

use super::tap::{NUMBERS, Registering, Tap, Turn, WAITS, ask, send, turn};
use crate::promises;
use crate::support::eventually;

/// The runtime's default.
const DEFAULT: u32 = 1_024;

promises! {
    /// A mailbox has a default bound, 1,024, set when it is registered and not to be changed afterwards: the handle has no
    /// method for it.
    async fn v114_a_mailbox_has_a_default_bound(rt: &TestRuntime) {
        let tap = Tap::default();
        tap.deploy(&rt, Registering { mailbox: None, paused: false }).await;
        turn(&rt, Turn::Pause).await;
        send(&rt, 0..DEFAULT).await;
        assert_eq!(rt.bus().try_send(NUMBERS, DEFAULT), Err(SendError::Full(DEFAULT)));
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "all are handled", || tap.seen.len() == DEFAULT as usize).await;
    }

    /// With a bound of 10, a paused consumer keeps the first ten messages. The eleventh is refused, whatever the verb: given
    /// back, failed, or dropped and counted. The oldest are kept.
    async fn v115_a_paused_consumer_keeps_the_first_and_refuses_the_rest(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 10).await;
        send(&rt, 0..10).await;
        assert_eq!(rt.bus().try_send(NUMBERS, 10), Err(SendError::Full(10)));
        assert_eq!(rt.bus().publish(NUMBERS, 11), Published { reached: 0, dropped: 1 });
        let asked = rt.bus().request(NUMBERS, 12).await;
        assert_eq!(asked, Err(RequestError::Overloaded { address: "tap.numbers".into() }));
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "those that were kept", || tap.seen.len() == 10).await;
        assert_eq!(tap.seen.all(), (0..10).collect::<Vec<_>>());
    }

    /// A bound of 5 and a fetch of 4: of 11 published in two parts, 4 are handled, 5 are kept and 2 are dropped.
    async fn v117_four_fetched_and_five_kept_of_eleven_published(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 5).await;
        let publish = |numbers: std::ops::Range<u32>| {
            numbers.map(|number| rt.bus().publish(NUMBERS, number).dropped).sum::<usize>()
        };
        turn(&rt, Turn::Fetch(4)).await;
        let first = publish(0..4);
        turn(&rt, Turn::Nothing).await;
        assert_eq!((first, tap.seen.all()), (0, vec![0, 1, 2, 3]));
        assert_eq!(publish(4..11), 2);
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.len(), 4);
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "those that were kept", || tap.seen.len() == 9).await;
        assert_eq!(tap.seen.all(), (0..9).collect::<Vec<_>>());
    }

    /// A bound below 1 is none: 0 counts as 1, and less cannot be written.
    async fn v119_a_bound_below_one_counts_as_one(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 0).await;
        send(&rt, [0]).await;
        assert_eq!(rt.bus().try_send(NUMBERS, 1), Err(SendError::Full(1)));
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "the one", || tap.seen.len() == 1).await;
    }

    /// Unregistering at once discards what is queued, gives its number, and ends the requests among it; a handler in flight
    /// goes on to its end, and its caller has its reply.
    async fn v121_unregistering_at_once_discards_what_is_queued(rt: &TestRuntime) {
        let tap = Tap::default();
        tap.deploy(&rt, Registering { mailbox: Some(16), paused: false }).await;
        let in_flight = ask(&rt, WAITS).await;
        turn(&rt, Turn::Pause).await;
        send(&rt, 0..5).await;
        let queued = ask(&rt, 5).await;
        assert_eq!(turn(&rt, Turn::UnregisterNow).await, 6);
        let closed = RequestError::Closed { address: "tap.numbers".into() };
        assert_eq!(queued.await.unwrap(), Err(closed));
        assert_eq!(turn(&rt, Turn::UnregisterNow).await, 0, "once");
        tap.gate.open();
        assert_eq!(in_flight.await.unwrap(), Ok(WAITS));
        turn(&rt, Turn::Resume).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(tap.seen.all(), [WAITS]);
    }
}
