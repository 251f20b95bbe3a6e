//! Data that verticles share by name: maps, counters, locks. For what is not worth a verticle of its own.

pub(crate) mod counter;
pub(crate) mod local_map;
pub(crate) mod lock;

use std::any::{Any, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::Shared;

use counter::Counter;
use local_map::LocalMap;
use lock::{Locking, Locks};

/// Names of maps and counters, of each kind.
const NAMES_MAX: usize = 65_536;
/// How long a lock is waited for, unless told otherwise.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Maps, counters and locks that every verticle of the runtime reaches by name, on whatever loop it is.
///
/// A name of one kind has nothing to do with the same name of another. Maps and counters live as long as the runtime, at
/// most 65,536 of each; locks as long as somebody holds or wants them. All of it is in this process and gone with it.
///
/// Behind each is a mutex that is held for as long as a look-up takes, on no account across an await or while code of
/// yours runs - but for `Eq` and `Hash` of a map's keys.
#[derive(Clone)]
pub struct SharedData {
    shared: Arc<Shared>,
}

/// Why a shared map or counter is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedDataError {
    /// A map of this name is there, with other types.
    #[error("the map {name} is a {held}, not a {wanted}")]
    WrongType {
        /// The map's name.
        name: String,
        /// The types it has.
        held: &'static str,
        /// The types it was asked for with.
        wanted: &'static str,
    },
    /// There are as many names of this kind as there may be.
    #[error("there are {NAMES_MAX} names already, {name} cannot be one more")]
    TooManyNames {
        /// The name that has no place.
        name: String,
    },
}

/// What the runtime keeps of it.
#[derive(Default)]
pub(crate) struct SharedTables {
    maps: Mutex<HashMap<Arc<str>, NamedMap>>,
    counters: Mutex<HashMap<Arc<str>, Counter>>,
    locks: Locks,
}

/// A map with its types forgotten.
struct NamedMap {
    types: &'static str,
    map: Box<dyn Any + Send>,
}

impl SharedData {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// The map of this name; made empty when there is none yet.
    ///
    /// ```
    /// # use vertebra::{Runtime, SharedDataError};
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// let prices = rt.shared_data().local_map::<&str, u64>("prices")?;
    /// prices.insert("lamp", 1_999)?;
    /// let same = rt.shared_data().local_map::<&str, u64>("prices")?;
    /// assert_eq!(same.get(&"lamp"), Some(1_999));
    /// let other = rt.shared_data().local_map::<String, String>("prices");
    /// assert!(matches!(other, Err(SharedDataError::WrongType { .. })));
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// [`SharedDataError`] when the map has other types, or there are 65,536 maps already.
    pub fn local_map<K: Send + Sync + 'static, V: Send + Sync + 'static>(
        &self,
        name: &str,
    ) -> Result<LocalMap<K, V>, SharedDataError> {
        let mut maps = self.shared.data.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = maps.get(name) {
            return known.map.downcast_ref().cloned().ok_or_else(|| SharedDataError::WrongType {
                name: name.to_owned(),
                held: known.types,
                wanted: type_name::<LocalMap<K, V>>(),
            });
        }
        has_place(maps.len(), name)?;
        let map = LocalMap::new();
        let types = type_name::<LocalMap<K, V>>();
        maps.insert(name.into(), NamedMap { types, map: Box::new(map.clone()) });
        Ok(map)
    }

    /// The counter of this name; made with 0 when there is none yet.
    ///
    /// ```
    /// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
    /// let orders = rt.shared_data().counter("orders")?;
    /// assert_eq!(orders.add(1), 1);
    /// assert_eq!(rt.shared_data().counter("orders")?.get(), 1);
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// [`SharedDataError::TooManyNames`] when there are 65,536 counters already.
    pub fn counter(&self, name: &str) -> Result<Counter, SharedDataError> {
        let mut counters = self.shared.data.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(name) {
            return Ok(counter.clone());
        }
        has_place(counters.len(), name)?;
        Ok(counters.entry(name.into()).or_default().clone())
    }

    /// The lock of this name, when it is this caller's turn: those that wait get it in the order they asked.
    ///
    /// Waits for 10 s, or what [`timeout`](Locking::timeout) says. Nothing happens before this is first polled. Cancel safe:
    /// dropped while it waits, it gives up its turn.
    ///
    /// ```
    /// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
    /// # rt.block_on(async {
    /// let held = rt.shared_data().lock("ledger").await?;
    /// // Nobody else is in here.
    /// held.release();
    /// # Ok::<(), vertebra::BoxError>(())
    /// # })?;
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    pub fn lock(&self, name: &str) -> Locking {
        Locking::new(&self.shared, name, LOCK_TIMEOUT)
    }
}

impl SharedTables {
    fn locks(&self) -> &Locks {
        &self.locks
    }
}

impl fmt::Debug for SharedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedData").finish_non_exhaustive()
    }
}

fn has_place(names: usize, name: &str) -> Result<(), SharedDataError> {
    if names < NAMES_MAX { Ok(()) } else { Err(SharedDataError::TooManyNames { name: name.to_owned() }) }
}
