//! What leaves a loop for another one, gathered over a turn and sent as one parcel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::event_loop::LoopCore;
use crate::event_loop::shared::{LoopShared, Parcel, Refused};

/// Something that can be handed over in a batch.
pub(crate) trait Batch: Send + Sized + 'static {
    /// Runs on the loop it was sent to.
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>);
    /// That loop has ended before it was handed over; runs on the loop that sent it.
    fn lost(items: Vec<Self>, core: &LoopCore);
}

/// One loop's batch for one target. Sent once per turn: a wake-up per message would cost more than all the rest.
pub(crate) struct Outbox<T> {
    target: Arc<LoopShared>,
    items: RefCell<Vec<T>>,
    dirty: Cell<bool>,
    /// Items of the last batch: what the next one makes room for at once, and not in steps.
    usual: Cell<usize>,
}

impl<T: Batch> Outbox<T> {
    /// For the loop of this number. Found once: a loop of a worker pool cannot be found without a lock.
    pub(crate) fn new(core: &LoopCore, target: usize) -> Rc<Self> {
        let target = core.shared().event_loop(target);
        Rc::new(Self { target, items: RefCell::default(), dirty: Cell::new(false), usual: Cell::new(0) })
    }

    /// Nothing gets there any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.target.has_ended()
    }

    pub(crate) fn push(self: &Rc<Self>, core: &LoopCore, item: T) {
        {
            let mut items = self.items.borrow_mut();
            if items.capacity() == 0 {
                items.reserve(self.usual.get());
            }
            items.push(item);
        }
        if !self.dirty.replace(true) {
            core.flush_later(self.clone());
        }
    }
}

/// A batch that was larger says nothing about the next one.
const USUAL_MAX: usize = 1_024;

/// An outbox with its type forgotten.
pub(crate) trait Flush {
    /// Sends what is there; `false` when the other loop's inbox is full, in which case it must be tried again.
    fn flush(&self, core: &LoopCore) -> bool;
}

impl<T: Batch> Flush for Outbox<T> {
    fn flush(&self, core: &LoopCore) -> bool {
        let items = self.items.take();
        self.usual.set(items.len().min(USUAL_MAX));
        let refused = if items.is_empty() { None } else { post(&self.target, items).err() };
        match refused {
            // The bound on what piles up here is the credit that every message has taken already; a reply has its
            // request waiting for it.
            Some(Unposted::Full(items)) => {
                // Nothing was added meanwhile: posting runs no foreign code.
                self.items.replace(items);
                return false;
            }
            // Told apart from "full": there is no use in trying again, and somebody may wait for a reply.
            Some(Unposted::Ended(items)) => {
                self.dirty.set(false);
                T::lost(items, core);
            }
            None => self.dirty.set(false),
        }
        true
    }
}

/// A batch that was not posted.
pub(crate) enum Unposted<T> {
    /// The inbox is full.
    Full(Vec<T>),
    /// The loop has ended.
    Ended(Vec<T>),
}

/// Posts a batch into a loop's inbox; back it comes when that is full or the loop has ended.
pub(crate) fn post<T: Batch>(to: &LoopShared, items: Vec<T>) -> Result<(), Unposted<T>> {
    // The parcel that comes back is the one made here, so its type is known.
    let unpack =
        |parcel: Box<dyn Parcel>| parcel.into_any().downcast::<Vec<T>>().map(|items| *items).unwrap_or_default();
    to.try_post(Box::new(BatchParcel(items))).map_err(|refused| match refused {
        Refused::Full(parcel) => Unposted::Full(unpack(parcel)),
        Refused::Ended(parcel) => Unposted::Ended(unpack(parcel)),
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
