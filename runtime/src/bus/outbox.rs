//! What leaves a loop for another one, gathered over a turn and sent as one parcel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::event_loop::LoopCore;
use crate::event_loop::shared::{LoopShared, Parcel, Refused};
use crate::panic::contain;
use crate::runtime::Shared;

/// Something that can be handed over in a batch.
pub(crate) trait Batch: Send + Sized + 'static {
    /// Runs on the loop it was sent to.
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>);
    /// That loop has ended before it was delivered. Runs on any thread, mostly on that of the loop that sent it.
    fn lost(items: Vec<Self>, shared: &Arc<Shared>);
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
    /// The same when it cannot be tried again, because this loop ends: it gets there all the same.
    fn flush_last(&self, core: &LoopCore);
}

impl<T: Batch> Flush for Outbox<T> {
    fn flush(&self, core: &LoopCore) -> bool {
        let items = self.items.take();
        self.usual.set(items.len().min(USUAL_MAX));
        let refused = if items.is_empty() { None } else { post(core.shared(), &self.target, items).err() };
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
                T::lost(items, core.shared());
            }
            None => self.dirty.set(false),
        }
        true
    }

    fn flush_last(&self, core: &LoopCore) {
        if self.flush(core) {
            return;
        }
        let items = self.items.take();
        // Once for each outbox of a loop: so many jobs more are no flood. What this loop has posted before goes first.
        let deliver = move |core: &Rc<LoopCore>| {
            core.open_inbox();
            T::deliver(items, core);
        };
        // Dropped when that loop has ended, too: then nobody is left to be told, here or there.
        contain(|| self.target.do_job(deliver));
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
pub(crate) fn post<T: Batch>(shared: &Arc<Shared>, to: &LoopShared, items: Vec<T>) -> Result<(), Unposted<T>> {
    // The parcel that comes back is the one made here, so its type is known.
    let unpack =
        |parcel: Box<dyn Parcel>| parcel.into_any().downcast::<Vec<T>>().map(|items| *items).unwrap_or_default();
    match to.try_post(Box::new(BatchParcel(items))) {
        Ok(stranded) => {
            stranded.into_iter().for_each(|parcel| parcel.lost(shared));
            Ok(())
        }
        Err(Refused::Full(parcel)) => Err(Unposted::Full(unpack(parcel))),
        Err(Refused::Ended(parcel)) => Err(Unposted::Ended(unpack(parcel))),
    }
}

struct BatchParcel<T>(Vec<T>);

impl<T: Batch> Parcel for BatchParcel<T> {
    fn open(self: Box<Self>, core: &Rc<LoopCore>) {
        T::deliver(self.0, core);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        Box::new(self.0)
    }

    fn lost(self: Box<Self>, shared: &Arc<Shared>) {
        T::lost(self.0, shared);
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::bus::consume::ConsumerKey;
    use crate::bus::delivery::RemoteMessage;
    use crate::bus::envelope::ReplyTo;
    use crate::bus::replies::Outcome;
    use crate::message::Headers;
    use crate::testing::TestRuntime;

    #[test]
    fn whoever_waits_for_what_is_stranded_on_a_loop_that_has_ended_is_told_at_once() {
        TestRuntime::on_loops(2, |rt| async move {
            let shared = &rt.bus().shared;
            let (gone, _inbox) = LoopShared::new(7, "gone".to_owned(), Duration::MAX);
            let (asking, told) = oneshot::channel();
            let (known, key) = oneshot::channel();
            shared.event_loop(1).do_job(move |core| {
                let key = core.replies::<u32>().wait_for(core, u64::MAX, asking);
                assert!(known.send(key).is_ok());
            });
            let to = ConsumerKey { place: 0, generation: 1 };
            let unasked = RemoteMessage::<u32, u32>::unasked(to, 1, Headers::default());
            let asked = RemoteMessage { reply_to: ReplyTo::remote(1, key.await.unwrap()), ..unasked };
            assert!(post(shared, &gone, vec![asked]).is_ok());
            // As a poster does who finds that the loop has ended meanwhile.
            drop(gone.end());
            gone.empty_inbox().into_iter().for_each(|parcel| parcel.lost(shared));
            assert!(matches!(told.await, Ok(Outcome::Closed)));
        });
    }
}
