//! Names: what they match, and what they do not.

use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, RequestError, SendError, Verticle};

use crate::kit::{Kit, NOTES};
use crate::promises;
use crate::support::{Seen, eventually};

const PLAIN: Address<u32, usize> = Address::new("plain");

/// Notes each number with how many headers it came with.
struct Plain(Seen<(u32, usize)>);

impl Verticle for Plain {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(PLAIN).register()?;
        Ok(())
    }
}

impl Handler<u32> for Plain {
    type Reply = usize;

    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<usize, Failure> {
        self.0.note((number, ctx.headers().len()));
        Ok(ctx.headers().len())
    }
}

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

    /// A call without options behaves by the defaults, as one that gives them does.
    async fn v002_a_call_without_options_has_the_defaults(rt: &TestRuntime) {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.deploy(Deploy::new(move || Plain(noted.clone()))).await.unwrap();
        rt.bus().send(PLAIN, 1).await.unwrap();
        rt.bus().send(PLAIN, 2).timeout(Duration::from_secs(30)).await.unwrap();
        assert_eq!(rt.bus().publish(PLAIN, 3).reached, 1);
        assert_eq!(rt.bus().request(PLAIN, 4).await, Ok(0));
        let spelt_out = rt.bus().request(PLAIN, 5).headers(Default::default()).timeout(Duration::from_secs(30));
        assert_eq!(spelt_out.await, Ok(0));
        assert_eq!(seen.all(), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
    }

    /// What is sent or published to one address is never seen at another.
    async fn v004_addresses_are_isolated(rt: &TestRuntime) {
        let (here, there) = (Kit::open(), Kit::open());
        let other = Address::new("notes.other");
        here.deploy(&rt, 2).await;
        rt.deploy(there.noter(other.clone()).instances(2)).await.unwrap();
        for number in 0..10 {
            rt.bus().send(NOTES, number).await.unwrap();
            rt.bus().publish(other.clone(), 100 + number);
        }
        eventually(rt.clock(), "all are handled", || here.seen.len() == 10 && there.seen.len() == 20).await;
        assert!(here.numbers().iter().all(|number| *number < 100));
        assert!(there.numbers().iter().all(|number| *number >= 100));
    }

    /// When its last consumer goes, an address is as if it had never been served.
    async fn v005_an_address_goes_with_its_last_consumer(rt: &TestRuntime) {
        let kit = Kit::open();
        let (first, last) = (kit.deploy(&rt, 1).await, kit.deploy(&rt, 1).await);
        first.undeploy().await.unwrap();
        assert_eq!(rt.bus().request(NOTES, 1).await, Ok(1));
        last.undeploy().await.unwrap();
        assert_eq!(rt.bus().request(NOTES, 2).await, Err(RequestError::NoHandlers { address: "notes".into() }));
        assert_eq!(rt.bus().send(NOTES, 3).await, Err(SendError::NoHandlers(3)));
        // Nothing is left of it: not even the types it was served with.
        rt.stub(Address::<String, String>::new("notes"), |text| async move { Ok(text) }).await.unwrap();
        assert_eq!(rt.bus().request(Address::<String, String>::new("notes"), "new".to_owned()).await, Ok("new".to_owned()));
    }
}
