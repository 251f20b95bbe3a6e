//! A map that verticles share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries of a map.
const ENTRIES_MAX: usize = 1_048_576;

/// A map shared by name; see [`SharedData::local_map`](crate::SharedData::local_map). Cheap to clone.
///
/// What is read is a clone of what is in the map, so that nobody changes another's value by changing his own; a value that
/// is an `Arc` is shared instead. Keys and values are clones as of that moment, too.
///
/// It holds at most 1,048,576 entries. There is no absent key or value to hold:
///
/// ```compile_fail,E0308
/// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
/// let prices = rt.shared_data().local_map::<String, u64>("prices")?;
/// prices.insert("lamp".to_owned(), None)?;
/// # Ok::<(), vertebra::BoxError>(())
/// ```
pub struct LocalMap<K, V>(Arc<Mutex<Entries<K, V>>>);

/// Behind a pointer each, so that what is foreign - `Clone` and `Drop` - runs when the lock is not held.
type Entries<K, V> = HashMap<Arc<K>, Arc<V>>;

/// A map has no room for one more entry; key and value come back inside.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the map holds {ENTRIES_MAX} entries, it may hold no more")]
pub struct MapFull<K, V>(pub K, pub V);

// Written by hand: what is in it need not be `Debug` for the error to be.
impl<K, V> fmt::Debug for MapFull<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapFull").finish_non_exhaustive()
    }
}

impl<K, V> LocalMap<K, V> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, V: Clone> LocalMap<K, V> {
    /// A clone of the key's value.
    pub fn get(&self, key: &K) -> Option<V> {
        let found = self.entries().get(key).map(Arc::clone);
        found.map(owned)
    }

    /// Sets the key's value and gives the one before.
    ///
    /// # Errors
    /// [`MapFull`] when the key is new and the map holds 1,048,576 entries.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, MapFull<K, V>> {
        let (key, value) = (Arc::new(key), Arc::new(value));
        // A key that is there already is dropped by the map, under the lock: so that one is not the last.
        let own = Arc::clone(&key);
        let before = {
            let mut entries = self.entries();
            let full = entries.len() >= ENTRIES_MAX;
            match entries.entry(key) {
                Entry::Occupied(mut known) => Ok(Some(known.insert(value))),
                Entry::Vacant(place) if full => Err((place.into_key(), value)),
                Entry::Vacant(place) => {
                    place.insert(value);
                    Ok(None)
                }
            }
        };
        drop(own);
        before.map(|before| before.map(owned)).map_err(given_back)
    }

    /// Sets the key's value unless it has one; gives a clone of the one it has.
    ///
    /// ```
    /// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
    /// let owners = rt.shared_data().local_map::<u32, &str>("owners")?;
    /// assert_eq!(owners.insert_if_absent(7, "first")?, None);
    /// assert_eq!(owners.insert_if_absent(7, "second")?, Some("first"));
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// [`MapFull`] when the key is new and the map holds 1,048,576 entries.
    pub fn insert_if_absent(&self, key: K, value: V) -> Result<Option<V>, MapFull<K, V>> {
        let (key, value) = (Arc::new(key), Arc::new(value));
        // As in `insert`.
        let own = Arc::clone(&key);
        let known = {
            let mut entries = self.entries();
            let full = entries.len() >= ENTRIES_MAX;
            match entries.entry(key) {
                Entry::Occupied(known) => Ok(Some((Arc::clone(known.get()), value))),
                Entry::Vacant(place) if full => Err((place.into_key(), value)),
                Entry::Vacant(place) => {
                    place.insert(value);
                    Ok(None)
                }
            }
        };
        drop(own);
        known.map(|known| known.map(|(known, _refused)| owned(known))).map_err(given_back)
    }

    /// Takes the key's value out.
    pub fn remove(&self, key: &K) -> Option<V> {
        let removed = self.entries().remove_entry(key);
        removed.map(|(_key, value)| owned(value))
    }

    /// Clones of all values, in no order.
    pub fn values(&self) -> Vec<V> {
        let values: Vec<_> = self.entries().values().map(Arc::clone).collect();
        values.into_iter().map(owned).collect()
    }
}

impl<K: Clone, V> LocalMap<K, V> {
    /// Clones of all keys, in no order.
    pub fn keys(&self) -> Vec<K> {
        let keys: Vec<_> = self.entries().keys().map(Arc::clone).collect();
        keys.into_iter().map(owned).collect()
    }
}

/// What has just been put behind a pointer and found no place.
fn given_back<K, V>((key, value): (Arc<K>, Arc<V>)) -> MapFull<K, V> {
    match (Arc::into_inner(key), Arc::into_inner(value)) {
        (Some(key), Some(value)) => MapFull(key, value),
        _ => unreachable!("nobody else has seen them"),
    }
}

/// The value itself when nobody else has it, a clone when somebody does.
fn owned<T: Clone>(shared: Arc<T>) -> T {
    Arc::try_unwrap(shared).unwrap_or_else(|shared| T::clone(&shared))
}

impl<K, V> Clone for LocalMap<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for LocalMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalMap").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::hash::Hasher;

    use super::*;

    /// Looks whether the map is free when it is dropped.
    struct Nosy(Option<LocalMap<Nosy, u32>>);

    impl PartialEq for Nosy {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }

    impl Eq for Nosy {}

    impl Hash for Nosy {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(map) = &self.0 {
                assert!(map.0.try_lock().is_ok(), "dropped under the lock");
            }
        }
    }

    #[test]
    fn a_key_that_is_there_already_is_dropped_outside_the_lock() {
        let map = LocalMap::new();
        map.insert(Nosy(None), 1).unwrap();
        assert_eq!(map.insert(Nosy(Some(map.clone())), 2).unwrap(), Some(1));
        assert_eq!(map.insert_if_absent(Nosy(Some(map.clone())), 3).unwrap(), Some(2));
        assert_eq!(map.remove(&Nosy(Some(map.clone()))), Some(2));
    }
}
