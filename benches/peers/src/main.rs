//! The same work on vertebra and its peers, in turn, as one table and one picture. `./run` builds and starts it.
//!
//! Arguments: `--vertx CLASS_PATH` adds Vert.x; anything else is a part of the names of the work to do.

mod actix;
mod actor;
mod kameo;
mod ours;
mod publish;
mod ractor;
mod table;
mod ticks;
mod vertx;
mod work;

use std::time::Duration;

use adtrack_benches::Question;
use adtrack_benches::plot::svg;
use adtrack_benches::ratios::{Effort, measure};
use vertebra::BoxError;

use crate::vertx::Jvm;
use crate::work::{WORK, Work};

/// Long rounds: the JVM counts its CPU time in hundredths of a second.
const EFFORT: Effort = Effort { rounds: 9, round: Duration::from_millis(250) };
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/peers.svg");

fn main() -> Result<(), BoxError> {
    let (mut jvm, mut part) = (None, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--vertx" => jvm = Some(Jvm::start(&arguments.next().unwrap_or_default())?),
            work => part = work.to_owned(),
        }
    }
    let mut answers = Vec::new();
    for work in WORK.into_iter().filter(|work| work.name.contains(&part)) {
        let answer = measure(&mut question(work, jvm.as_ref())?, EFFORT)?;
        print!("{answer}");
        answers.push(answer);
    }
    println!("\n{}", table::markdown(&answers)?);
    if jvm.is_none() {
        println!("Vert.x: skipped, VERTX_CLASSPATH is not set (README.md says where its jars are).");
    }
    if part.is_empty() && jvm.is_some() {
        std::fs::write(
            PICTURE,
            svg("The same work on others: CPU time of a message, as a ratio to vertebra", &answers)?,
        )?;
        println!("drawn: {PICTURE}");
    }
    Ok(())
}

fn question(work: Work, jvm: Option<&Jvm>) -> Result<Question, BoxError> {
    let mut cases = vec![
        ours::case("vertebra", work)?,
        actor::case::<::actix::Addr<actix::Echo>>("actix", work)?,
        actor::case::<::kameo::actor::ActorRef<kameo::Echo>>("kameo", work)?,
        actor::case::<::ractor::ActorRef<ractor::Message>>("ractor", work)?,
    ];
    if let Some(jvm) = jvm {
        cases.push(jvm.case("Vert.x", work)?);
    }
    Ok(Question { two_threads: work.two_threads(), ..Question::new(work.name, cases) })
}
