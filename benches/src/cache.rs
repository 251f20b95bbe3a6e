//! What a lookup of a program costs that is in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use adtrack::cache::{Cache, Metrics, SharedPrograms};
use adtrack_config::{CacheConfig, Config, Overrides};
use adtrack_proto::bus::{CHANGED, Change, LOOKUP, Lookup};
use adtrack_proto::{Program, ProgramId};
use prometheus_client::registry::Registry;
use vertebra::{BoxError, Bus, Deploy};

use crate::loops::{Inside, Loops};
use crate::program::program;
use crate::question::{Case, Question};
use crate::stopwatch::{Measured, Stopwatch};
use crate::window::yield_once;

/// Programs asked for in turn. Few enough to stay in the processor's caches, as those of real traffic do.
const HOT_PROGRAMS: usize = 1_000;
/// Turns of the loop until a pushed program is known; after that something is wrong.
const FILL_TURNS_MAX: usize = 100_000;

/// Every question about the cache.
///
/// # Errors
/// When the loops cannot be built.
pub fn questions() -> Result<Vec<Question>, BoxError> {
    let cases = vec![map()?, moka()?, lookup()?.ours()];
    Ok(vec![Question::new("cache hit", cases)])
}

fn programs() -> Result<Vec<Arc<Program>>, BoxError> {
    (0..HOT_PROGRAMS).map(|number| Ok(Arc::new(program(&format!("{}", 212_313 + number))?))).collect()
}

fn ids() -> Result<Vec<ProgramId>, BoxError> {
    Ok(programs()?.iter().map(|program| program.program_id.clone()).collect())
}

fn map() -> Result<Case, BoxError> {
    let map: HashMap<_, _> = programs()?.into_iter().map(|program| (program.program_id.clone(), program)).collect();
    got("HashMap", move |id| map.get(&id).cloned())
}

fn moka() -> Result<Case, BoxError> {
    let config = config()?;
    let cache = moka::sync::Cache::builder()
        .max_capacity(config.programs_max as u64)
        .time_to_live(Duration::from_secs(24 * 60 * 60))
        .build();
    for program in programs()? {
        cache.insert(program.program_id.clone(), program);
    }
    cache.run_pending_tasks();
    got("moka", move |id| cache.get(&id))
}

/// The id is cloned for each lookup in every case: that is what the door hands over.
fn got(name: &str, get: impl Fn(ProgramId) -> Option<Arc<Program>> + 'static) -> Result<Case, BoxError> {
    let ids = ids()?;
    Ok(Case::new(name, move |operations| {
        let stopwatch = Stopwatch::start();
        for id in ids.iter().cycle().take(operations as usize) {
            std::hint::black_box(get(id.clone())).ok_or("a program is not known")?;
        }
        Ok(stopwatch.stop())
    }))
}

fn lookup() -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    let shared = SharedPrograms::new(&config()?);
    let metrics = Metrics::register(&mut Registry::default());
    loops.deploy_here(Deploy::new(move || Cache::new(shared.clone(), Duration::from_secs(1), metrics.clone())))?;
    let all = programs()?;
    loops.drive(Inside::Task, |bus| fill(bus, all))?;
    let ids: Arc<[ProgramId]> = ids()?.into();
    Ok(Case::new("LOOKUP over the bus", move |operations| {
        let ids = Arc::clone(&ids);
        loops.drive(Inside::Task, move |bus| look_up(bus, ids, operations))
    }))
}

async fn look_up(bus: Bus, ids: Arc<[ProgramId]>, operations: u64) -> Result<Measured, BoxError> {
    let stopwatch = Stopwatch::start();
    for id in ids.iter().cycle().take(operations as usize) {
        let found = bus.request(LOOKUP, Lookup { program_id: id.clone() }).await?;
        std::hint::black_box(found).ok_or("a program is not known")?;
    }
    Ok(stopwatch.stop())
}

/// Pushes the programs, as the core-data listener does, and waits until the last one is known.
async fn fill(bus: Bus, programs: Vec<Arc<Program>>) -> Result<Measured, BoxError> {
    let stopwatch = Stopwatch::start();
    let last = programs.last().map(|program| program.program_id.clone()).ok_or("no programs")?;
    for program in programs {
        bus.send(CHANGED, Change::Put(program)).await?;
    }
    for _ in 0..FILL_TURNS_MAX {
        // Not there yet means: ask the store, and there is none.
        if let Ok(Some(_)) = bus.request(LOOKUP, Lookup { program_id: last.clone() }).await {
            return Ok(stopwatch.stop());
        }
        yield_once().await;
    }
    Err("the pushed programs did not arrive".into())
}

fn config() -> Result<CacheConfig, BoxError> {
    Ok(Config::load(&Overrides::new(None), &BTreeMap::<String, String>::new())?.cache)
}
