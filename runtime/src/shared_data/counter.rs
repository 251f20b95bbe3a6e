//! A number that verticles count on together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A number shared by name; see [`SharedData::counter`](crate::SharedData::counter). Starts at 0.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Adds to it - a number below 0 takes away - and gives the sum. Goes round at the ends of its range.
    pub fn add(&self, number: i64) -> i64 {
        self.0.fetch_add(number, Ordering::SeqCst).wrapping_add(number)
    }

    /// Sets it, provided it is what is expected; says whether it was.
    ///
    /// ```
    /// # let rt = vertebra::Runtime::builder().event_loops(1).build()?;
    /// let leader = rt.shared_data().counter("leader")?;
    /// assert!(leader.compare_and_set(0, 7));
    /// assert!(!leader.compare_and_set(0, 8));
    /// assert_eq!(leader.get(), 7);
    /// # Ok::<(), vertebra::BoxError>(())
    /// ```
    pub fn compare_and_set(&self, expected: i64, number: i64) -> bool {
        self.0.compare_exchange(expected, number, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
