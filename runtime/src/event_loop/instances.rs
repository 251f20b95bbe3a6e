//! The instances of a loop, each in its seat.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::seat::AnySeat;

use super::LoopCore;

/// The instances of a loop, by deployment and number.
#[derive(Default)]
pub(super) struct Instances {
    pub(super) seats: RefCell<HashMap<(u64, usize), Rc<dyn AnySeat>>>,
}

impl LoopCore {
    pub(crate) fn keep_instance(&self, deployment: u64, instance: usize, resident: Rc<dyn AnySeat>) {
        let before = self.instances.seats.borrow_mut().insert((deployment, instance), resident);
        drop(before);
    }

    pub(crate) fn instance(&self, deployment: u64, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.seats.borrow().get(&(deployment, instance)).cloned()
    }

    pub(crate) fn take_instance(&self, deployment: u64, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.seats.borrow_mut().remove(&(deployment, instance))
    }
}
