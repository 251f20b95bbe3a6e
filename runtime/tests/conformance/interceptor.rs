//! What interceptors see, and what they may do.

use std::thread::{self, ThreadId};

use vertebra::testing::TestRuntime;
use vertebra::{Address, Delivery, Failure, Published, RequestError, SendError};

use super::tap::{self, Tap};
use crate::promises;
use crate::support::{Seen, eventually, on_a_loop};

const NUMBERS: Address<u32, u32> = Address::new("numbers");

/// What an interceptor saw: which one, whether it was sent, whether it is a reply, and the number or the failure's code.
type Sight = (&'static str, bool, bool, i64);

fn sight(who: &'static str, message: &Delivery<'_>) -> Sight {
    assert_eq!(message.address(), "numbers");
    let number = message.body().downcast_ref::<u32>().map(|number| i64::from(*number));
    let code = message.body().downcast_ref::<Failure>().map(|failure| i64::from(failure.code()));
    (who, message.is_send(), message.is_reply(), number.or(code).unwrap())
}

/// One of each kind, which note what they see.
fn watch(rt: &TestRuntime) -> Seen<Sight> {
    let seen = Seen::default();
    let (outbound, inbound) = (seen.clone(), seen.clone());
    rt.bus().add_outbound_interceptor(move |message| {
        outbound.note(sight("out", message));
        Ok(())
    });
    rt.bus().add_inbound_interceptor(move |message| {
        inbound.note(sight("in", message));
        Ok(())
    });
    seen
}

/// Serves the address by the number's tenfold, and notes what was handled. Zero is refused with code 409.
async fn tenfold(rt: &TestRuntime) -> Seen<u32> {
    let handled = Seen::default();
    let kept = handled.clone();
    let handler = move |number| {
        let handled = kept.clone();
        async move {
            handled.note(number);
            if number == 0 { Err(Failure::new(409, "nothing")) } else { Ok(number * 10) }
        }
    };
    rt.stub(NUMBERS, handler).await.unwrap();
    handled
}

promises! {
    /// Outbound interceptors run once for each send and publish, also for a send that has to wait for room; inbound ones
    /// once for each delivery, before the handler.
    async fn v077_outbound_once_for_each_call_inbound_once_for_each_delivery(rt: &TestRuntime) {
        let (first, second) = (tenfold(&rt).await, tenfold(&rt).await);
        let seen = watch(&rt);
        rt.bus().send(NUMBERS, 1).await.unwrap();
        rt.bus().try_send(NUMBERS, 2).unwrap();
        assert_eq!(rt.bus().publish(NUMBERS, 3), Published { reached: 2, dropped: 0 });
        eventually(rt.clock(), "all are handled", || first.len() + second.len() == 4).await;
        let count = |wanted: Sight| seen.all().iter().filter(|sight| **sight == wanted).count();
        for number in [1, 2] {
            assert_eq!((count(("out", true, false, number)), count(("in", true, false, number))), (1, 1));
        }
        assert_eq!((count(("out", false, false, 3)), count(("in", false, false, 3))), (1, 2));
        assert_eq!(seen.len(), 7);
    }

    /// A send that waits for room is seen by the outbound interceptors when it is made, and not again at each try.
    async fn v077_a_send_that_waits_is_seen_once(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 1).await;
        let outbound = Seen::default();
        let kept = outbound.clone();
        rt.bus().add_outbound_interceptor(move |message| {
            if let Some(number) = message.body().downcast_ref::<u32>() {
                kept.note(*number);
            }
            Ok(())
        });
        rt.bus().send(tap::NUMBERS, 1).await.unwrap();
        let bus = rt.bus().clone();
        let waiting = tokio::task::spawn_local(async move { bus.send(tap::NUMBERS, 2).await });
        tap::turn(&rt, tap::Turn::Nothing).await;
        tap::turn(&rt, tap::Turn::Resume).await;
        waiting.await.unwrap().unwrap();
        eventually(rt.clock(), "both", || tap.seen.len() == 2).await;
        assert_eq!(outbound.all().iter().filter(|number| **number == 2).count(), 1);
    }

    /// Interceptors run in the order they were added, and not after they were taken out.
    async fn v078_interceptors_run_in_the_order_they_were_added(rt: &TestRuntime) {
        tenfold(&rt).await;
        let seen = Seen::default();
        let add = |name: &'static str, outbound: bool| {
            let seen = seen.clone();
            let interceptor = move |message: &mut Delivery<'_>| {
                if !message.is_reply() {
                    seen.note(name);
                }
                Ok(())
            };
            match outbound {
                true => rt.bus().add_outbound_interceptor(interceptor),
                false => rt.bus().add_inbound_interceptor(interceptor),
            }
        };
        let ids = [add("in 1", false), add("out 1", true), add("out 2", true), add("in 2", false), add("out 3", true)];
        assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(10));
        assert_eq!(seen.all(), ["out 1", "out 2", "out 3", "in 1", "in 2"]);
        for id in [ids[0], ids[2]] {
            assert!(rt.bus().remove_interceptor(id));
            assert!(!rt.bus().remove_interceptor(id), "once");
        }
        assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(10));
        assert_eq!(seen.all()[5..], ["out 1", "out 3", "in 2"]);
        for id in [ids[1], ids[3], ids[4]] {
            assert!(rt.bus().remove_interceptor(id));
        }
        assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(10));
        assert_eq!(seen.len(), 8, "none is left");
    }

    /// An interceptor sees address, body, and whether it was sent; and what it does to the headers is what those after it
    /// see, and the handler.
    async fn v080_an_interceptor_sees_all_of_a_message_and_changes_its_headers(rt: &TestRuntime) {
        const TEXT: Address<&'static str, String> = Address::new("text");
        use vertebra::{BoxError, Context, Deploy, Handler, Verticle};
        struct Headed;
        impl Verticle for Headed {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                ctx.serve(TEXT).register()?;
                Ok(())
            }
        }
        impl Handler<&'static str> for Headed {
            type Reply = String;
            async fn handle(&self, text: &'static str, ctx: &Context<Self>) -> Result<String, Failure> {
                Ok(format!("{text}{:?}", ctx.headers()))
            }
        }
        rt.deploy(Deploy::new(|| Headed)).await.unwrap();
        rt.bus().add_outbound_interceptor(|message| {
            if message.address() == "text" && !message.is_reply() {
                assert!(message.is_send());
                let body = message.body().downcast_ref::<&str>().copied().unwrap_or("of another type");
                message.headers_mut().append("outbound", body);
            }
            Ok(())
        });
        rt.bus().add_inbound_interceptor(|message| {
            let outbound = message.headers().get("outbound").map(str::to_owned);
            message.headers_mut().set("inbound", outbound.as_deref().unwrap_or("nothing"));
            Ok(())
        });
        let reply = rt.bus().request(TEXT, "a").header("own", "1").await;
        assert_eq!(reply.unwrap(), r#"a{"own": "1", "outbound": "a", "inbound": "a"}"#);
        let asked_on_a_loop = on_a_loop(&rt, |bus, _| async move { bus.request(TEXT, "b").await });
        assert_eq!(asked_on_a_loop.await.unwrap(), r#"b{"outbound": "b", "inbound": "b"}"#);
    }

    /// Replies pass through both kinds: a request and its reply are two outbound and two inbound passes, wherever asked.
    async fn v081_replies_pass_through_both_kinds(rt: &TestRuntime) {
        tenfold(&rt).await;
        let seen = watch(&rt);
        let passes =
            [("out", true, false, 4), ("in", true, false, 4), ("out", true, true, 40), ("in", true, true, 40)];
        assert_eq!(rt.bus().request(NUMBERS, 4).await, Ok(40));
        assert_eq!(seen.all(), passes);
        assert_eq!(on_a_loop(&rt, |bus, _| async move { bus.request(NUMBERS, 4).await }).await, Ok(40));
        assert_eq!(seen.all()[4..], passes);
    }

    /// The reply of a handler that failed is seen as well, by its failure, on the thread of the caller.
    async fn v082_failure_replies_are_seen_where_the_caller_is(rt: &TestRuntime) {
        tenfold(&rt).await;
        let seen: Seen<(i32, ThreadId)> = Seen::default();
        let kept = seen.clone();
        rt.bus().add_inbound_interceptor(move |message| {
            if message.is_reply() && let Some(failure) = message.body().downcast_ref::<Failure>() {
                kept.note((failure.code(), thread::current().id()));
            }
            Ok(())
        });
        let nothing = RequestError::Failed(Failure::new(409, "nothing"));
        assert_eq!(rt.bus().request(NUMBERS, 0).await, Err(nothing.clone()));
        let ask = |bus: vertebra::Bus, _| async move { (bus.request(NUMBERS, 0).await, thread::current().id()) };
        let (asked, on_a_loop) = on_a_loop(&rt, ask).await;
        assert_eq!(asked, Err(nothing));
        assert_eq!(seen.all(), [(409, thread::current().id()), (409, on_a_loop)]);
    }

    /// Outbound interceptors run on the caller's thread, inside the call - also when that thread is no loop.
    async fn v085_outbound_interceptors_run_on_the_callers_thread_inside_the_call(rt: &TestRuntime) {
        tenfold(&rt).await;
        let seen = Seen::default();
        let kept = seen.clone();
        rt.bus().add_outbound_interceptor(move |message| {
            if !message.is_reply() {
                kept.note(thread::current().id());
            }
            Ok(())
        });
        rt.bus().publish(NUMBERS, 1);
        rt.bus().try_send(NUMBERS, 1).unwrap();
        assert_eq!(seen.all(), [thread::current().id(); 2], "before the call returned");
        let bus = rt.bus().clone();
        let elsewhere = thread::spawn(move || {
            bus.try_send(NUMBERS, 2).unwrap();
            thread::current().id()
        });
        assert_eq!(elsewhere.join().unwrap(), seen.all()[2]);
    }

    /// A panic in an interceptor is contained: its message fails with code -1, nobody else notices, and later interceptors
    /// do not see the message.
    async fn v086_an_interceptor_that_panics_fails_its_message_only(rt: &TestRuntime) {
        let handled = tenfold(&rt).await;
        let outbound = rt.bus().add_outbound_interceptor(|message| match message.body().downcast_ref::<u32>() {
            Some(13) => panic!("thirteen"),
            _ => Ok(()),
        });
        let seen = watch(&rt);
        let failure = || Failure::new(Failure::UNSPECIFIED, "an interceptor of numbers panicked: thirteen");
        assert_eq!(rt.bus().send(NUMBERS, 13).await, Err(SendError::Failed(13, failure())));
        assert_eq!(rt.bus().publish(NUMBERS, 13), Published::default());
        assert_eq!(rt.bus().request(NUMBERS, 13).await, Err(RequestError::Failed(failure())));
        assert_eq!((handled.len(), seen.len()), (0, 0));
        assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(10));
        assert!(rt.bus().remove_interceptor(outbound));
        rt.bus().add_inbound_interceptor(|message| match message.body().downcast_ref::<u32>() {
            Some(13) => panic!("thirteen"),
            _ => Ok(()),
        });
        assert_eq!(rt.bus().request(NUMBERS, 13).await, Err(RequestError::Failed(failure())));
        assert_eq!(rt.bus().request(NUMBERS, 1).await, Ok(10));
        assert_eq!(handled.all(), [1, 1]);
    }

    /// An outbound interceptor that fails a message fails its send, which gives it back; a request ends with that very
    /// failure; a publish reaches nobody. A reply that it fails is the failure.
    async fn v088_an_outbound_interceptor_fails_what_it_sees(rt: &TestRuntime) {
        let handled = tenfold(&rt).await;
        let too_large = || Failure::new(413, "too large");
        rt.bus().add_outbound_interceptor(|message| match message.body().downcast_ref::<u32>() {
            Some(100..) => Err(Failure::new(413, "too large")),
            _ => Ok(()),
        });
        assert_eq!(rt.bus().send(NUMBERS, 100).await, Err(SendError::Failed(100, too_large())));
        assert_eq!(rt.bus().try_send(NUMBERS, 101), Err(SendError::Failed(101, too_large())));
        assert_eq!(rt.bus().request(NUMBERS, 102).await, Err(RequestError::Failed(too_large())));
        assert_eq!(rt.bus().publish(NUMBERS, 103), Published { reached: 0, dropped: 0 });
        assert_eq!(handled.len(), 0);
        assert_eq!(rt.bus().request(NUMBERS, 10).await, Err(RequestError::Failed(too_large())), "by its reply");
        assert_eq!(on_a_loop(&rt, |bus, _| async move { bus.request(NUMBERS, 10).await }).await.map_err(|e| e.code()), Err(Some(413)));
        assert_eq!(handled.all(), [10, 10]);
    }

    /// An inbound interceptor that fails a message keeps it from the handler and from later interceptors. A request ends
    /// with its code; a send has succeeded already.
    async fn v089_an_inbound_interceptor_keeps_a_message_from_its_handler(rt: &TestRuntime) {
        let handled = tenfold(&rt).await;
        rt.bus().add_inbound_interceptor(|message| match message.body().downcast_ref::<u32>() {
            Some(7) => Err(Failure::new(403, "not seven")),
            _ => Ok(()),
        });
        let later = Seen::default();
        let kept = later.clone();
        rt.bus().add_inbound_interceptor(move |message| {
            if !message.is_reply() {
                kept.note(message.body().downcast_ref::<u32>().copied());
            }
            Ok(())
        });
        assert_eq!(rt.bus().send(NUMBERS, 7).await, Ok(()));
        let failed = rt.bus().request(NUMBERS, 7).await;
        assert_eq!(failed, Err(RequestError::Failed(Failure::new(403, "not seven"))));
        assert_eq!(on_a_loop(&rt, |bus, _| async move { bus.request(NUMBERS, 7).await }).await, failed);
        assert_eq!(rt.bus().request(NUMBERS, 8).await, Ok(80));
        assert_eq!((handled.all(), later.all()), (vec![8], vec![Some(8)]));
    }

    /// A decision is made once, by what the interceptor returns: the first that fails a message has failed it, and no later
    /// one can change that or fail it again.
    async fn v090_the_first_interceptor_that_fails_a_message_has_decided(rt: &TestRuntime) {
        let handled = tenfold(&rt).await;
        let asked = Seen::default();
        for code in [401, 402] {
            let asked = asked.clone();
            rt.bus().add_outbound_interceptor(move |_| {
                asked.note(code);
                Err(Failure::new(code, "no"))
            });
        }
        let asked_for = rt.bus().request(NUMBERS, 1).await;
        assert_eq!(asked_for.map_err(|error| error.code()), Err(Some(401)));
        assert_eq!((asked.all(), handled.len()), (vec![401], 0));
    }
}
