//! Who serves what, across all event loops.

use std::any::TypeId;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::address::{BuildCarriedHash, Name};
use crate::error::RegisterError;
use crate::one_or_many::OneOrMany;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::consume::ConsumerKey;
use super::credit::Credit;
use super::route::Route;

/// The types spoken at an address, comparable and printable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken {
    types: TypeId,
    name: fn() -> &'static str,
}

impl Spoken {
    pub(crate) fn of<M: 'static, R: 'static>() -> Self {
        Self { types: TypeId::of::<fn(M) -> R>(), name: std::any::type_name::<fn(M) -> R> }
    }

    pub(crate) fn name(self) -> &'static str {
        (self.name)()
    }
}

impl PartialEq for Spoken {
    fn eq(&self, other: &Self) -> bool {
        self.types == other.types
    }
}

/// One registration, as other loops see it.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) event_loop: usize,
    pub(crate) consumer: ConsumerKey,
    pub(crate) credit: Arc<Credit>,
}

/// An address that is served. The version changes with every registration, so that loops know when to look again.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Name,
    pub(crate) spoken: Spoken,
    pub(crate) route: Route,
    version: AtomicU64,
    /// Whose turn it is for senders that are on no loop.
    pub(crate) turn: AtomicUsize,
    registrations: Mutex<OneOrMany<Registration>>,
}

impl Served {
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The registrations, in the order they were made, and the version they belong to.
    pub(crate) fn registrations(&self) -> (u64, Vec<Registration>) {
        let registrations = lock(&self.registrations);
        (self.version.load(Ordering::Acquire), registrations.as_slice().to_vec())
    }
}

/// An address among others: found by its name, which is not kept twice.
#[derive(Debug)]
struct ByName(Arc<Served>);

impl Borrow<Name> for ByName {
    fn borrow(&self) -> &Name {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

/// All addresses that are served. An address whose last consumer goes away goes away itself.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    served: Mutex<HashSet<ByName, BuildCarriedHash>>,
    /// Changes after every version does: while it stays, no version needs to be looked at.
    version: AtomicU64,
}

impl Registry {
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Served>> {
        lock(&self.served).get(name).map(|known| Arc::clone(&known.0))
    }

    pub(crate) fn add(
        &self,
        name: &Name,
        spoken: Spoken,
        route: Route,
        registration: Registration,
    ) -> Result<Arc<Served>, RegisterError> {
        let mut all = lock(&self.served);
        let known = all.get(name).map(|known| Arc::clone(&known.0));
        let served = known.unwrap_or_else(|| {
            let served = Arc::new(Served {
                name: name.clone(),
                spoken,
                route,
                version: AtomicU64::new(0),
                turn: AtomicUsize::new(0),
                registrations: Mutex::default(),
            });
            all.insert(ByName(Arc::clone(&served)));
            served
        });
        let address = || served.name.as_str().into();
        if served.spoken != spoken {
            return Err(RegisterError::WrongType {
                address: address(),
                served: served.spoken.name(),
                wanted: spoken.name(),
            });
        }
        if served.route != route {
            return Err(RegisterError::WrongRoute { address: address(), served: served.route, wanted: route });
        }
        lock(&served.registrations).push(registration);
        self.note_change(&served);
        drop(all);
        Ok(served)
    }

    pub(crate) fn remove(&self, name: &Name, event_loop: usize, consumer: ConsumerKey) {
        let mut all = lock(&self.served);
        let Some(served) = all.get(name).map(|known| Arc::clone(&known.0)) else { return };
        let mut registrations = lock(&served.registrations);
        registrations.retain(|known| (known.event_loop, known.consumer) != (event_loop, consumer));
        self.note_change(&served);
        if registrations.as_slice().is_empty() {
            all.remove(name);
        }
    }

    /// Takes back every registration of an event loop: it ends.
    pub(crate) fn remove_loop(&self, event_loop: usize) {
        lock(&self.served).retain(|ByName(served)| {
            let mut registrations = lock(&served.registrations);
            if registrations.as_slice().iter().any(|known| known.event_loop == event_loop) {
                registrations.retain(|known| known.event_loop != event_loop);
                self.note_change(served);
            }
            !registrations.as_slice().is_empty()
        });
    }

    fn note_change(&self, served: &Served) {
        served.version.fetch_add(1, Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
