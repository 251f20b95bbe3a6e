//! What a loop still has when everything on it should be gone; for the test kit.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::LoopCore;

/// The instances of a loop that are alive, by name.
pub(crate) type Living = Rc<RefCell<Slab<String>>>;

/// Held by an instance for as long as it is alive.
pub(crate) struct Alive {
    living: Living,
    place: usize,
}

impl Alive {
    pub(crate) fn new(core: &LoopCore, deployment: &str, instance: usize) -> Self {
        let living = Rc::clone(&core.living);
        let place = living.borrow_mut().insert(format!("instance {instance} of `{deployment}`"));
        Self { living, place }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.living.borrow_mut().remove(self.place);
    }
}

impl LoopCore {
    /// Notes what is still there. Called when the loop is about to end; told to, everything on it was undeployed before.
    pub(super) fn note_leaks(&self) {
        if !self.own.is_stopping() {
            return;
        }
        let mut leaks = Vec::new();
        for (_, placed) in self.consumers.placed.borrow().iter() {
            leaks.push(format!("a consumer of `{}`", placed.any.name()));
        }
        for (_, instance) in self.living.borrow().iter() {
            leaks.push(format!("{instance}: a task of it has not ended, or somebody keeps its context"));
        }
        for table in self.all_reply_tables() {
            let waiting = table.waiting();
            if waiting > 0 {
                leaks.push(format!("{waiting} requests that wait for a `{}`", table.waiting_for()));
            }
        }
        self.shared.leaks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(leaks);
    }
}
