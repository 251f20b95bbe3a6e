//! Many verticles, and many addresses.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use vertebra::{Address, BoxError, Bus, Context, Deploy, Failure, Handler, Verticle};

use crate::loops::{Inside, Loops};
use crate::stopwatch::{Measured, Stopwatch};

/// How many there are of everything.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    verticles: usize,
    few: usize,
    many: usize,
    requests: usize,
    rounds: usize,
}

impl Size {
    /// What is measured.
    pub const FULL: Self = Self { verticles: 100_000, few: 100, many: 1_000_000, requests: 200_000, rounds: 5 };
    /// That it runs.
    pub const TRIAL: Self = Self { verticles: 100, few: 10, many: 100, requests: 100, rounds: 1 };
}

/// Serves one address of its own and does nothing else. Its own state is this byte.
struct Idle(u8);

impl Verticle for Idle {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(numbered("idle", ctx.instance())).register()?;
        Ok(())
    }
}

impl Handler<u32> for Idle {
    type Reply = u32;

    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        Ok(number + u32::from(self.0))
    }
}

/// Serves so many addresses.
struct Many(usize);

impl Verticle for Many {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        for number in 0..self.0 {
            ctx.serve(numbered("many", number)).register()?;
        }
        Ok(())
    }
}

impl Handler<u32> for Many {
    type Reply = u32;

    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        Ok(number + 1)
    }
}

fn numbered(name: &str, number: usize) -> Address<u32, u32> {
    Address::dynamic(format!("{name}.{number}"))
}

/// Measures, and writes what came of it.
///
/// # Errors
/// When something cannot be deployed or is not answered.
pub fn print(size: Size, out: &mut impl Write) -> Result<(), BoxError> {
    idle(size, out)?;
    addresses(size, out)
}

fn idle(size: Size, out: &mut impl Write) -> Result<(), BoxError> {
    let loops = Loops::new()?;
    let before = resident_bytes()?;
    let stopwatch = Stopwatch::start();
    loops.deploy_here(Deploy::new(|| Idle(1)).instances(size.verticles))?;
    let took = stopwatch.stop();
    let each = resident_bytes()?.saturating_sub(before) / size.verticles;
    writeln!(out, "{} verticles, each with an address of its own", size.verticles)?;
    writeln!(out, "  started in {:?} (CPU {:?}), {each} bytes resident each", took.wall, took.cpu)?;
    let stopwatch = Stopwatch::start();
    drop(loops);
    writeln!(out, "  gone with their runtime in {:?}", stopwatch.stop().wall)?;
    Ok(())
}

/// A request to one address among few, to one among many, and to those among many in an order drawn at random: the last
/// touches memory that no cache holds. Beside it stand what any table of as many boxes pays in the same order: a walk, whose
/// reads overlap, and look-ups that each wait for the one before, as a request waits for its reply.
fn addresses(size: Size, out: &mut impl Write) -> Result<(), BoxError> {
    let few = served(size.few)?;
    let many = served(size.many)?;
    let mut rows = vec![
        ("one of few addresses", Vec::new()),
        ("one of many addresses", Vec::new()),
        ("few addresses in turn, at random", Vec::new()),
        ("many addresses in turn, at random", Vec::new()),
        ("as many boxes, at random", Vec::new()),
        ("a table of as many boxes, one at a time", Vec::new()),
    ];
    let boxes: Vec<Box<[u64; 8]>> = (0..size.many as u64).map(|number| Box::new([number; 8])).collect();
    let table: HashMap<u64, Box<[u64; 8]>> = (0..size.many as u64).map(|number| (number, Box::new([0; 8]))).collect();
    for _ in 0..size.rounds {
        rows[0].1.push(ask(&few, vec![7; size.requests])?);
        rows[1].1.push(ask(&many, vec![7; size.requests])?);
        rows[2].1.push(ask(&few, at_random(size.requests, size.few))?);
        rows[3].1.push(ask(&many, at_random(size.requests, size.many))?);
        let stopwatch = Stopwatch::start();
        for at in at_random(size.requests, size.many) {
            black_box(boxes[at][3]);
        }
        rows[4].1.push(stopwatch.stop());
        let drawn = at_random(size.requests, size.many);
        let mut before = 0;
        let stopwatch = Stopwatch::start();
        for at in drawn {
            // What was found is 0, but only who has it knows that.
            before = black_box(table[&(at as u64 + before)][3]);
        }
        rows[5].1.push(stopwatch.stop());
    }
    writeln!(out, "a request in place, with {} and with {} addresses", size.few, size.many)?;
    for (name, rounds) in rows {
        let mut each: Vec<_> = rounds.iter().map(|one: &Measured| per(one.cpu, size.requests)).collect();
        each.sort_by(f64::total_cmp);
        writeln!(out, "  {name:<40} {:>7.0} ns CPU", each[each.len() / 2])?;
    }
    Ok(())
}

fn per(time: Duration, operations: usize) -> f64 {
    time.as_nanos() as f64 / operations as f64
}

fn served(addresses: usize) -> Result<Loops, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(move || Many(addresses)))?;
    Ok(loops)
}

/// The addresses are made before the time is taken: they would be constants, or kept by whoever uses them.
fn ask(loops: &Loops, numbers: Vec<usize>) -> Result<Measured, BoxError> {
    let addresses: Vec<_> = numbers.into_iter().map(|number| numbered("many", number)).collect();
    loops.drive(Inside::Task, move |bus: Bus| async move {
        // The way to each is looked for once.
        for address in &addresses {
            black_box(bus.request(address.clone(), 1).await?);
        }
        let stopwatch = Stopwatch::start();
        for address in &addresses {
            black_box(bus.request(address.clone(), 1).await?);
        }
        Ok(stopwatch.stop())
    })
}

/// Numbers below the bound, the same in each round.
fn at_random(count: usize, below: usize) -> Vec<usize> {
    let mut drawn = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        drawn ^= drawn << 13;
        drawn ^= drawn >> 7;
        drawn ^= drawn << 17;
        drawn as usize % below
    };
    (0..count).map(|_| draw()).collect()
}

/// What the system says the process holds in memory.
fn resident_bytes() -> Result<usize, BoxError> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("no second field in statm")?.parse()?;
    Ok(pages * rustix::param::page_size())
}
