//! Failures: their types, their codes, how they read, and that they reach whoever asked.

use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, Failure, FailureType, ReplyFailure, RequestError, UnknownFailureType};

use crate::kit::{Kit, NOBODY, NOTES};
use crate::promises;
use crate::support::{Seen, eventually};

const PICKY: Address<i32, u32> = Address::new("picky");
/// The same name, other types: what arrives cannot be read there.
const PICKY_MISREAD: Address<String, u32> = Address::new("picky");

/// An error of a verticle's own.
#[derive(Debug, Clone, PartialEq)]
struct OutOfStock {
    item: String,
}

promises! {
    /// A failure is a type, a code and words; the code is -1 unless a handler chose it, and the type tells them apart.
    async fn v044_the_code_is_minus_one_unless_a_handler_chose_it(rt: &TestRuntime) {
        let kit = Kit { in_flight: 1, mailbox: 1, ..Kit::held() };
        kit.deploy(&rt, 1).await;
        rt.stub(PICKY, |code| async move { Err(Failure::new(code, "no")) }).await.unwrap();
        let of = |error: RequestError| (error.failure_type(), error.reply_failure().code());
        assert_eq!(of(rt.bus().request(NOBODY, 1).await.unwrap_err()), (FailureType::NoHandlers, -1));
        let timed_out = rt.bus().request(NOTES, 1).timeout(Duration::from_millis(1)).await;
        assert_eq!(of(timed_out.unwrap_err()), (FailureType::Timeout, -1));
        let misread = rt.bus().request(PICKY_MISREAD, String::new()).await;
        assert_eq!(of(misread.unwrap_err()), (FailureType::Error, -1));
        for code in [0, 7, -1, i32::MAX, i32::MIN] {
            let failure = rt.bus().request(PICKY, code).await.unwrap_err().reply_failure();
            assert_eq!((failure.failure_type(), failure.code(), failure.message()), (FailureType::RecipientFailure, code, "no"));
        }
        kit.gate.open();
    }

    /// A handler that fails a message nobody waits for changes nothing: the next one is handled.
    async fn v046_failing_what_nobody_asked_changes_nothing(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.stub(PICKY, move |code| { noted.note(code); async move { Err(Failure::new(code, "no")) } }).await.unwrap();
        rt.bus().send(PICKY, 1).await.unwrap();
        assert_eq!(rt.bus().publish(PICKY, 2).reached, 1);
        assert_eq!(rt.bus().request(PICKY, 3).await, Err(RequestError::Failed(Failure::new(3, "no"))));
        assert_eq!(seen.all(), [1, 2, 3]);
    }

    /// Returning an error is how a handler fails; an error type of one's own is kept by replying with a `Result`.
    async fn v047_an_error_returned_is_a_failure_and_one_of_its_own_type_is_kept(rt: &TestRuntime) {
        rt.stub(PICKY, |code| async move { if code > 0 { Ok(1) } else { Err(Failure::new(code, "not above 0")) } }).await.unwrap();
        assert_eq!(rt.bus().request(PICKY, 1).await, Ok(1));
        let failed = rt.bus().request(PICKY, 0).await;
        assert_eq!(failed.unwrap_err().failure(), Some(&Failure::new(0, "not above 0")));
        let order: Address<String, Result<u32, OutOfStock>> = Address::new("order");
        rt.stub(order.clone(), |item| async move { Ok(Err(OutOfStock { item })) }).await.unwrap();
        assert_eq!(rt.bus().request(order, "lamp".into()).await, Ok(Err(OutOfStock { item: "lamp".into() })));
    }

    /// Where Vert.x leaves the caller to its time-out, a handler that breaks off fails its request at once.
    async fn v048_a_handler_that_panics_fails_its_request_at_once(rt: &TestRuntime) {
        rt.stub(PICKY, |code| async move { panic!("broken by {code}") }).await.unwrap();
        let before = rt.clock().now();
        let failure = rt.bus().request(PICKY, 9).await.unwrap_err().reply_failure();
        assert_eq!((failure.failure_type(), failure.code()), (FailureType::RecipientFailure, -1));
        assert!(failure.message().ends_with("broken by 9"), "{failure}");
        assert!(rt.clock().now() - before < Duration::from_secs(10), "it did not wait for the time-out");
    }

    /// A request that finds a full mailbox fails at once, with the type TIMEOUT.
    async fn v050_a_full_mailbox_fails_a_request_at_once(rt: &TestRuntime) {
        let kit = Kit { in_flight: 1, mailbox: 1, ..Kit::held() };
        kit.deploy(&rt, 1).await;
        rt.bus().send(NOTES, 1).await.unwrap();
        eventually(rt.clock(), "the first has begun", || kit.seen.len() == 1).await;
        rt.bus().send(NOTES, 2).await.unwrap();
        let before = rt.clock().now();
        let refused = rt.bus().request(NOTES, 3).await.unwrap_err();
        assert_eq!(refused, RequestError::Overloaded { address: "notes".into() });
        assert_eq!((refused.failure_type(), refused.reply_failure().code()), (FailureType::Timeout, -1));
        assert!(rt.clock().now() - before < Duration::from_secs(10), "it did not wait for the time-out");
        kit.gate.open();
        eventually(rt.clock(), "what was taken is handled", || kit.numbers() == [1, 2]).await;
    }

    /// A message the receiver cannot read fails with the type ERROR, and its handler does not see it.
    async fn v052_what_cannot_be_read_fails_with_error(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.stub(PICKY, move |code| { noted.note(code); async { Ok(0) } }).await.unwrap();
        let misread = rt.bus().request(PICKY_MISREAD, "7".into()).await.unwrap_err();
        assert_eq!(misread.failure_type(), FailureType::Error);
        assert!(misread.to_string().contains("i32") && misread.to_string().contains("String"), "{misread}");
        assert_eq!(rt.bus().request(PICKY, 7).await, Ok(0));
        assert_eq!(seen.all(), [7]);
    }
}

/// Four types with fixed numbers; another number is none.
#[test]
fn v043_failure_types_have_fixed_numbers() {
    let types = [FailureType::Timeout, FailureType::NoHandlers, FailureType::RecipientFailure, FailureType::Error];
    assert_eq!(types.map(FailureType::number), [0, 1, 2, 3]);
    assert_eq!([0, 1, 2, 3].map(FailureType::try_from), types.map(Ok));
    for number in [-1, 4, i32::MAX] {
        assert_eq!(FailureType::try_from(number), Err(UnknownFailureType { number }));
    }
}

/// A failure reads `(TYPE,code) message`; with no words nothing follows the space.
#[test]
fn v051_a_failure_reads_as_type_code_and_words() {
    let text = |kind, code, words: &str| ReplyFailure::new(kind, code, words).to_string();
    assert_eq!(text(FailureType::RecipientFailure, 409, "too old"), "(RECIPIENT_FAILURE,409) too old");
    assert_eq!(text(FailureType::Timeout, -1, ""), "(TIMEOUT,-1) ");
    assert_eq!(text(FailureType::NoHandlers, -1, "none"), "(NO_HANDLERS,-1) none");
    assert_eq!(text(FailureType::Error, -1, "?"), "(ERROR,-1) ?");
}
