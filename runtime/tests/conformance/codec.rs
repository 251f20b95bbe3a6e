//! Bodies: which there are, in which form they travel, and that nobody can change another's.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use vertebra::testing::TestRuntime;
use vertebra::{Address, Failure, FailureType, Message, RegisterError, ReplyFailure, RequestError, SendError};

use crate::promises;
use crate::support::{Seen, eventually};

#[derive(Debug, Clone, PartialEq)]
struct Order {
    item: String,
    lines: Vec<(u32, f64)>,
    notes: BTreeMap<String, Option<bool>>,
}

fn order() -> Order {
    let notes = BTreeMap::from([("gift".to_owned(), Some(true)), ("none".to_owned(), None)]);
    Order { item: "lamp".into(), lines: vec![(1, 0.5), (2, f64::MIN_POSITIVE)], notes }
}

/// Sends a body there and back, asked, sent and published.
async fn travels<B: Message + Clone + PartialEq + Debug>(rt: &TestRuntime, kind: &str, body: B) {
    let seen = Seen::default();
    let noted = seen.clone();
    let address: Address<B, B> = Address::dynamic(format!("echo.{kind}"));
    let echo = move |body: B| {
        noted.note(body.clone());
        async move { Ok(body) }
    };
    rt.stub(address.clone(), echo).await.unwrap();
    assert_eq!(rt.bus().request(address.clone(), body.clone()).await.as_ref(), Ok(&body), "{kind}");
    rt.bus().send(address.clone(), body.clone()).await.unwrap();
    assert_eq!(rt.bus().publish(address, body.clone()).reached, 1);
    eventually(rt.clock(), "all have arrived", || seen.len() == 3).await;
    assert!(seen.all().iter().all(|arrived| *arrived == body), "{kind}");
}

const NUMBER: Address<u32, u32> = Address::new("number");

promises! {
    /// Unit, text, bytes, numbers of each width, truth values, characters, structures and failures are bodies.
    async fn v060_each_kind_of_body_arrives_as_it_was_sent(rt: &TestRuntime) {
        travels(&rt, "unit", ()).await;
        travels(&rt, "text", "gr\u{fc}\u{df}e \0".to_owned()).await;
        travels(&rt, "constant text", "constant").await;
        travels(&rt, "bytes", vec![0_u8, 255, 128]).await;
        travels(&rt, "shared bytes", Arc::<[u8]>::from([1_u8, 2])).await;
        travels(&rt, "i8", i8::MIN).await;
        travels(&rt, "i16", i16::MIN).await;
        travels(&rt, "i32", i32::MIN).await;
        travels(&rt, "i64", i64::MIN).await;
        travels(&rt, "f32", f32::MIN_POSITIVE).await;
        travels(&rt, "f64", -0.0_f64).await;
        travels(&rt, "truth", true).await;
        travels(&rt, "character", '\u{10ffff}').await;
        travels(&rt, "structure", order()).await;
        travels(&rt, "list", vec![Some(order()), None]).await;
        travels(&rt, "failure", ReplyFailure::new(FailureType::RecipientFailure, 7, "no")).await;
    }

    /// No consumer sees what another does to its copy, or what the sender does afterwards.
    async fn v061_nobody_changes_the_body_of_another(rt: &TestRuntime) {
        let lists: Address<Vec<u32>> = Address::new("lists");
        let seen = Seen::default();
        for consumer in 0..3 {
            let noted = seen.clone();
            rt.stub(lists.clone(), move |mut list: Vec<u32>| {
                list.push(consumer);
                noted.note(list);
                async { Ok(()) }
            }).await.unwrap();
        }
        let mut mine = vec![7];
        assert_eq!(rt.bus().publish(lists, mine.clone()).reached, 3);
        mine.push(99);
        eventually(rt.clock(), "all have it", || seen.len() == 3).await;
        let mut lists = seen.all();
        lists.sort();
        assert_eq!((lists, mine), (vec![vec![7, 0], vec![7, 1], vec![7, 2]], vec![7, 99]));
    }

    /// The form of a body is decided by the types of its address, exactly: nothing is converted or guessed.
    async fn v063_types_are_exact(rt: &TestRuntime) {
        rt.stub(NUMBER, |number| async move { Ok(number) }).await.unwrap();
        async fn refused<M: Message + Default, R: Message + Debug>(rt: &TestRuntime) {
            let asked = rt.bus().request(Address::<M, R>::new("number"), M::default()).await;
            assert!(matches!(asked, Err(RequestError::WrongType { .. })), "{asked:?}");
        }
        refused::<i32, u32>(&rt).await;
        refused::<u64, u32>(&rt).await;
        refused::<Option<u32>, u32>(&rt).await;
        refused::<Box<u32>, u32>(&rt).await;
        refused::<u32, u64>(&rt).await;
        refused::<u32, ()>(&rt).await;
        assert_eq!(rt.bus().request(NUMBER, 1).await, Ok(1));
    }

    /// A message in a form not spoken at the address is refused at once, comes back, and is not delivered.
    async fn v064_a_form_not_spoken_there_comes_back(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.stub(NUMBER, move |number| { noted.note(number); async move { Ok(number) } }).await.unwrap();
        let misread: Address<String, u32> = Address::new("number");
        assert_eq!(rt.bus().try_send(misread.clone(), "1".into()), Err(SendError::WrongType("1".into())));
        assert_eq!(rt.bus().send(misread.clone(), "2".into()).await, Err(SendError::WrongType("2".into())));
        assert_eq!(rt.bus().publish(misread, "3".into()).reached, 0);
        assert_eq!(rt.bus().request(NUMBER, 4).await, Ok(4));
        assert_eq!(seen.all(), [4]);
    }

    /// A body that cannot travel - it borrows, or is bound to its thread - is refused by the compiler: see `Message`. What
    /// only the running program can know is refused before anything is sent, by the names of the types.
    async fn v065_a_refusal_names_the_types(rt: &TestRuntime) {
        rt.stub(NUMBER, |number| async move { Ok(number) }).await.unwrap();
        let asked = rt.bus().request(Address::<Order, u32>::new("number"), order()).await.unwrap_err();
        let RequestError::WrongType { address, served, called } = asked else { panic!("{asked}") };
        assert_eq!(&*address, "number");
        assert!(served.contains("u32") && !served.contains("Order") && called.contains("Order"), "{served}, {called}");
        let second = rt.stub(Address::<Order, u32>::new("number"), |_| async { Ok(0) }).await.unwrap_err();
        let vertebra::DeployError::Start { source, .. } = second else { panic!("{second}") };
        assert!(matches!(source.downcast_ref(), Some(RegisterError::WrongType { .. })), "{source}");
    }

    /// Local delivery is the same value, not a copy.
    async fn v069_local_delivery_is_the_same_value(rt: &TestRuntime) {
        let shared: Address<Arc<Order>, Arc<Order>> = Address::new("shared");
        rt.stub(shared.clone(), |order| async move { Ok(order) }).await.unwrap();
        let mine = Arc::new(order());
        let back = rt.bus().request(shared, Arc::clone(&mine)).await.unwrap();
        assert!(Arc::ptr_eq(&mine, &back));
        // A moved body keeps its memory, too.
        let bytes: Address<Vec<u8>, Vec<u8>> = Address::new("bytes");
        rt.stub(bytes.clone(), |bytes| async move { Ok(bytes) }).await.unwrap();
        let mine = vec![7; 1_000];
        let at = mine.as_ptr() as usize;
        let back = rt.bus().request(bytes, mine).await.unwrap();
        assert_eq!(back.as_ptr() as usize, at);
    }

    /// A type of one's own that describes an error is delivered as that type, and fails nothing.
    async fn v071_an_error_as_a_body_is_delivered_as_it_is(rt: &TestRuntime) {
        #[derive(Debug, Clone, PartialEq, thiserror::Error)]
        #[error("{0}")]
        struct Mine(u32);
        let errors: Address<Mine, Failure> = Address::new("errors");
        rt.stub(errors.clone(), |Mine(code)| async move { Ok(Failure::new(code as i32, "as a reply")) }).await.unwrap();
        assert_eq!(rt.bus().request(errors, Mine(7)).await, Ok(Failure::new(7, "as a reply")));
    }
}
