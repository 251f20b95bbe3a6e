//! Headers: what they keep, and how they arrive.

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Headers, Verticle};

use crate::promises;

/// Replies with the headers it was given.
struct Mirror;

const MIRROR: Address<(), Headers> = Address::new("mirror");

impl Verticle for Mirror {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(MIRROR).register()?;
        Ok(())
    }
}

impl Handler<()> for Mirror {
    type Reply = Headers;

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<Headers, Failure> {
        Ok(ctx.headers().clone())
    }
}

promises! {
    /// Headers are a multimap: names are compared without case, values of a repeated name keep their order.
    async fn v053_names_have_no_case_and_repeated_ones_keep_all_values(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Mirror).instances(4)).await.unwrap();
        for _ in 0..4 {
            let asked = rt.bus().request(MIRROR, ()).header("Accept", "a").header("trace", "t").header("ACCEPT", "b");
            let headers = asked.await.unwrap();
            assert_eq!(headers.get_all("accept").collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!((headers.get("aCCept"), headers.get("Trace"), headers.len()), (Some("a"), Some("t"), 3));
            assert_eq!(headers.iter().collect::<Vec<_>>(), [("Accept", "a"), ("trace", "t"), ("ACCEPT", "b")]);
        }
    }

    /// A header is a name and a value, both text, and empty text is text. That nothing else is one is a matter of the
    /// compiler's; `Headers::append` shows it.
    async fn v054_empty_text_is_text(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Mirror)).await.unwrap();
        let headers = rt.bus().request(MIRROR, ()).header("", "").header("a", "").await.unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("", ""), ("a", "")]);
        assert_eq!((headers.get("a"), headers.get("b")), (Some(""), None));
    }

    /// A message without headers arrives with empty ones.
    async fn v056_no_headers_are_empty_headers(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Mirror).instances(4)).await.unwrap();
        for _ in 0..4 {
            // The one before had some; they are not this one's.
            rt.bus().request(MIRROR, ()).header("a", "b").await.unwrap();
            let headers = rt.bus().request(MIRROR, ()).await.unwrap();
            assert_eq!((headers.len(), headers.is_empty(), headers), (0, true, Headers::default()));
        }
    }
}
