//! What leaves a loop for another one, gathered over a turn and sent as one parcel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::event_loop::{LoopCore, LoopShared, Parcel};

/// Something that can be handed over in a batch.
pub(crate) trait Batch: Send + Sized + 'static {
    /// Runs on the loop it was sent to. Takes everything out, so that the vector can go back and be used again.
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>);
}

/// One loop's batch for one target. Sent once per turn: a wake-up per message would cost more than all the rest.
pub(crate) struct Outbox<T> {
    target: usize,
    items: RefCell<Vec<T>>,
    dirty: Cell<bool>,
}

impl<T: Batch> Outbox<T> {
    pub(crate) fn new(target: usize) -> Rc<Self> {
        Rc::new(Self { target, items: RefCell::default(), dirty: Cell::new(false) })
    }

    pub(crate) fn push(self: &Rc<Self>, core: &LoopCore, item: T) {
        self.items.borrow_mut().push(item);
        if !self.dirty.replace(true) {
            core.flush_later(self.clone());
        }
    }
}

/// An outbox with its type forgotten.
pub(crate) trait Flush {
    /// Sends what is there; `false` when the other loop's inbox is full, in which case it must be tried again.
    fn flush(&self, core: &LoopCore) -> bool;
}

impl<T: Batch> Flush for Outbox<T> {
    fn flush(&self, core: &LoopCore) -> bool {
        let items = self.items.take();
        if items.is_empty() {
            self.dirty.set(false);
            return true;
        }
        match post(core.shared().event_loop(self.target), items) {
            Ok(()) => {
                self.dirty.set(false);
                true
            }
            Err(items) => {
                // The bound on what piles up here is the credit that every item has taken already.
                self.items.replace(items);
                false
            }
        }
    }
}

/// Posts a batch into a loop's inbox; back it comes when that is full.
pub(crate) fn post<T: Batch>(to: &LoopShared, items: Vec<T>) -> Result<(), Vec<T>> {
    to.try_post(Box::new(BatchParcel(items))).map_err(|parcel| {
        // The parcel is the one made above, so its type is known.
        parcel.into_any().downcast::<Vec<T>>().map(|items| *items).unwrap_or_default()
    })
}

struct BatchParcel<T>(Vec<T>);

impl<T: Batch> Parcel for BatchParcel<T> {
    fn open(self: Box<Self>, core: &Rc<LoopCore>) {
        T::deliver(self.0, core);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        Box::new(self.0)
    }
}
