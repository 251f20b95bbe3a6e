//! Who serves what, across all event loops.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use crate::address::{BuildCarriedHash, Name};
use crate::error::RegisterError;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::consume::ConsumerKey;
use super::credit::Credit;
use super::route::Route;

/// The types spoken at an address, comparable and printable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken {
    types: (TypeId, TypeId),
    pub(crate) name: &'static str,
}

impl Spoken {
    pub(crate) fn of<M: 'static, R: 'static>() -> Self {
        Self { types: (TypeId::of::<M>(), TypeId::of::<R>()), name: std::any::type_name::<fn(M) -> R>() }
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
    pub(crate) text: Arc<str>,
    pub(crate) spoken: Spoken,
    pub(crate) route: Route,
    version: AtomicU64,
    /// Whose turn it is for senders that are on no loop.
    pub(crate) turn: AtomicUsize,
    registrations: Mutex<Vec<Registration>>,
}

impl Served {
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The registrations, in the order they were made, and the version they belong to.
    pub(crate) fn registrations(&self) -> (u64, Vec<Registration>) {
        let registrations = lock(&self.registrations);
        (self.version.load(Ordering::Acquire), registrations.clone())
    }
}

/// All addresses that are served. An address whose last consumer goes away goes away itself.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    served: Mutex<HashMap<Name, Arc<Served>, BuildCarriedHash>>,
}

impl Registry {
    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Served>> {
        lock(&self.served).get(name).cloned()
    }

    pub(crate) fn add(
        &self,
        name: &Name,
        spoken: Spoken,
        route: Route,
        registration: Registration,
    ) -> Result<(), RegisterError> {
        let mut all = lock(&self.served);
        let served = all.entry(name.clone()).or_insert_with(|| {
            Arc::new(Served {
                text: name.as_str().into(),
                spoken,
                route,
                version: AtomicU64::new(0),
                turn: AtomicUsize::new(0),
                registrations: Mutex::default(),
            })
        });
        let address = || Arc::clone(&served.text);
        if served.spoken != spoken {
            return Err(RegisterError::WrongType {
                address: address(),
                served: served.spoken.name,
                wanted: spoken.name,
            });
        }
        if served.route != route {
            return Err(RegisterError::WrongRoute { address: address(), served: served.route, wanted: route });
        }
        let mut registrations = lock(&served.registrations);
        registrations.push(registration);
        served.version.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &Name, event_loop: usize, consumer: ConsumerKey) {
        let mut all = lock(&self.served);
        let Some(served) = all.get(name).cloned() else { return };
        let mut registrations = lock(&served.registrations);
        registrations.retain(|known| (known.event_loop, known.consumer) != (event_loop, consumer));
        served.version.fetch_add(1, Ordering::AcqRel);
        if registrations.is_empty() {
            all.remove(name);
        }
    }

    /// Takes back every registration of an event loop: it ends.
    pub(crate) fn remove_loop(&self, event_loop: usize) {
        lock(&self.served).retain(|_, served| {
            let mut registrations = lock(&served.registrations);
            let before = registrations.len();
            registrations.retain(|known| known.event_loop != event_loop);
            if registrations.len() < before {
                served.version.fetch_add(1, Ordering::AcqRel);
            }
            !registrations.is_empty()
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
