//! The instances of a loop, each in its seat.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::deployment::DeploymentId;
use crate::seat::AnySeat;

use super::LoopCore;
use super::watched::Whose;

/// The instances of a loop, by deployment and number.
#[derive(Default)]
pub(super) struct Instances {
    pub(super) seats: RefCell<HashMap<Whose, Rc<dyn AnySeat>, BuildHasherDefault<Spread>>>,
}

/// Spreads numbers that were given one after the other, by nobody who means harm.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2 to the 64th by the golden ratio
        // The table takes its bucket from the low end, which a product leaves poor.
        self.0 = spread ^ (spread >> 32);
    }
}

impl LoopCore {
    pub(crate) fn keep_instance(&self, deployment: DeploymentId, instance: usize, resident: Rc<dyn AnySeat>) {
        let before = self.instances.seats.borrow_mut().insert(Whose::of(deployment, instance), resident);
        drop(before);
    }

    pub(crate) fn instance(&self, deployment: DeploymentId, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.seats.borrow().get(&Whose::of(deployment, instance)).cloned()
    }

    pub(crate) fn take_instance(&self, deployment: DeploymentId, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.seats.borrow_mut().remove(&Whose::of(deployment, instance))
    }
}
