//! Names: what they match, and what they do not.

use vertebra::testing::TestRuntime;
use vertebra::{Address, RequestError, SendError};

use crate::promises;

promises! {
    /// A name is matched exactly: no wildcard, no hierarchy, case counts, and the empty name is a name.
    async fn v001_a_name_is_matched_exactly_and_may_be_empty(rt: &TestRuntime) {
        let names = ["", "news", "News", "news.", "news.sport", "news.*", "*"];
        for (number, name) in names.into_iter().enumerate() {
            let alone = Address::<(), usize>::dynamic(name);
            assert!(matches!(rt.bus().request(alone.clone(), ()).await, Err(RequestError::NoHandlers { .. })), "{name:?}");
            assert_eq!(rt.bus().try_send(alone.clone(), ()), Err(SendError::NoHandlers(())), "{name:?}");
            rt.stub(alone, move |()| async move { Ok(number) }).await.unwrap();
        }
        for (number, name) in names.into_iter().enumerate() {
            assert_eq!(rt.bus().request(Address::dynamic(name), ()).await, Ok(number), "{name:?}");
        }
    }
}
