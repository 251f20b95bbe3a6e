//! The headers that go from a message to those its handler sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::Future;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Headers, RuntimeBuilder, Verticle};

use support::{Gate, Seen, eventually};

const FIRST: Address<&'static str, String> = Address::new("trace.first");
const SECOND: Address<u32, String> = Address::new("trace.second");

/// Asks the second address in its handler, and says what that one got.
#[derive(Clone, Default)]
struct Relay {
    gate: Gate,
}

impl Verticle for Relay {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(FIRST).register()?;
        ctx.serve(SECOND).register()?;
        Ok(())
    }
}

impl Handler<&'static str> for Relay {
    type Reply = String;
    async fn handle(&self, own: &'static str, ctx: &Context<Self>) -> Result<String, Failure> {
        let at_once = ctx.bus().request(SECOND, 1).await?;
        self.gate.wait().await;
        let mut later = ctx.bus().request(SECOND, 2);
        if !own.is_empty() {
            later = later.header("traceparent", own);
        }
        Ok(format!("{at_once} {}", later.await?))
    }
}

impl Handler<u32> for Relay {
    type Reply = String;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<String, Failure> {
        let value = |name| ctx.headers().get(name).unwrap_or("-");
        Ok(format!("{number}:{}/{}/{}", value("traceparent"), value("tracestate"), value("tenant")))
    }
}

fn traced(trace: &str) -> Headers {
    let mut headers = Headers::default();
    headers.append("Traceparent", trace);
    headers.append("tracestate", "s");
    headers.append("tenant", "t");
    headers
}

const CARRIED: [&str; 2] = ["traceparent", "tracestate"];

/// On virtual time, and on 2 and 4 real loops.
fn everywhere<F: Future<Output = ()>>(carrying: bool, test: impl Fn(TestRuntime) -> F) {
    let carry = |builder: RuntimeBuilder| if carrying { builder.carry_headers(CARRIED) } else { builder };
    TestRuntime::paused_with(carry, &test);
    TestRuntime::on_loops_with(2, carry, &test);
    TestRuntime::on_loops_with(4, carry, &test);
}

fn run(carrying: bool, own: &'static str, expected: [&'static str; 2]) {
    everywhere(carrying, |rt| async move {
        let relay = Relay::default();
        let factory = relay.clone();
        rt.deploy(Deploy::new(move || factory.clone()).instances(2)).await.unwrap();
        let asks = [("a", expected[0]), ("b", expected[1])].map(|(trace, expected)| {
            let bus = rt.bus().clone();
            let asking = async move { bus.request(FIRST, own).headers(traced(trace)).await };
            (tokio::task::spawn_local(asking), expected)
        });
        tokio::task::yield_now().await;
        relay.gate.open();
        for (asking, expected) in asks {
            assert_eq!(asking.await.unwrap().unwrap(), expected);
        }
        let without = rt.bus().request(FIRST, own).await.unwrap();
        let own = if own.is_empty() { "-" } else { own };
        assert_eq!(without, format!("1:-/-/- 2:{own}/-/-"), "nothing is left of those before");
    });
}

/// Two messages are handled at the same time, and each hands on its own context, before and after it was suspended.
#[test]
fn headers_of_these_names_go_on_from_a_message_to_what_its_handler_sends() {
    run(true, "", ["1:a/s/- 2:a/s/-", "1:b/s/- 2:b/s/-"]);
}

#[test]
fn a_value_of_its_own_comes_before_one_that_is_carried_on() {
    run(true, "own", ["1:a/s/- 2:own/s/-", "1:b/s/- 2:own/s/-"]);
}

#[test]
fn nothing_is_carried_on_unless_it_was_asked_for() {
    run(false, "", ["1:-/-/- 2:-/-/-", "1:-/-/- 2:-/-/-"]);
}

/// One of a row of verticles: each hands on to the next.
struct Hop {
    number: usize,
    seen: Seen<Arrival>,
}

/// At which hop, on which loop, with which trace.
#[derive(Clone, Debug)]
struct Arrival {
    letter: &'static str,
    hop: usize,
    event_loop: usize,
    trace: String,
}

fn hop(number: usize) -> Address<&'static str> {
    Address::dynamic(format!("trace.hop.{number}"))
}

impl Verticle for Hop {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(hop(self.number)).register()?;
        Ok(())
    }
}

impl Handler<&'static str> for Hop {
    type Reply = ();
    async fn handle(&self, letter: &'static str, ctx: &Context<Self>) -> Result<(), Failure> {
        let trace = ctx.headers().get("traceparent").unwrap_or("-").to_owned();
        self.seen.note(Arrival { letter, hop: self.number, event_loop: ctx.event_loop(), trace });
        match self.number {
            0 => ctx.bus().request(hop(1), letter).await?,
            1 => {
                ctx.clock().sleep(Duration::from_millis(1)).await;
                ctx.bus().send(hop(2), letter).await.map_err(|error| Failure::new(1, error.to_string()))?;
            }
            2 => {
                assert_eq!(ctx.bus().publish(hop(3), letter).reached, 1);
                let bus = ctx.bus().clone();
                ctx.spawn(async move { bus.send(hop(4), letter).await.unwrap() });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Asked, asked in turn, sent, published: the trace goes along, and not into a task. Two such rows at the same time keep
/// theirs apart. On real loops each hop is on another loop than the one before.
#[test]
fn headers_go_on_from_hop_to_hop_whatever_the_verb_and_the_loop() {
    everywhere(true, |rt| async move {
        let seen = Seen::default();
        for number in 0..5 {
            let seen = seen.clone();
            rt.deploy(Deploy::new(move || Hop { number, seen: seen.clone() })).await.unwrap();
        }
        let ask = |letter| rt.bus().request(hop(0), letter).headers(traced(letter));
        assert_eq!(tokio::join!(ask("a"), ask("b")), (Ok(()), Ok(())));
        eventually(rt.clock(), "all have arrived", || seen.len() == 10).await;
        let mut arrivals = seen.all();
        arrivals.sort_by_key(|arrival| (arrival.letter, arrival.hop));
        let traces: Vec<_> = arrivals.iter().map(|arrival| (arrival.hop, arrival.trace.as_str())).collect();
        let row = |trace| [(0, trace), (1, trace), (2, trace), (3, trace), (4, "-")];
        assert_eq!(traces, [row("a"), row("b")].concat());
        let crossed = arrivals.windows(2).all(|pair| pair[0].event_loop != pair[1].event_loop || pair[1].hop == 0);
        assert_eq!(crossed, rt.event_loops() > 1, "{arrivals:?}");
    });
}
