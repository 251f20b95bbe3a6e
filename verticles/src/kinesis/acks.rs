//! Who waits for the stream to have an event.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

/// One event somebody waits for, by its message id. Dropped, it tells that the stream will not have it soon.
#[derive(Debug)]
pub(crate) struct Ack {
    id: String,
    tell: oneshot::Sender<()>,
}

/// Makes one, and what its other end is told by.
pub(crate) fn ack(id: &str) -> (Ack, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    (Ack { id: id.to_owned(), tell }, told)
}

/// All of a shipper's. Bounded by the events that are in memory: with each of them goes its own.
#[derive(Debug, Default)]
pub(crate) struct Acks(HashMap<Bytes, oneshot::Sender<()>>);

impl Acks {
    /// These wait, too.
    pub(crate) fn add(&mut self, acks: Vec<Ack>) {
        self.0.extend(acks.into_iter().map(|ack| (Bytes::from(ack.id), ack.tell)));
    }

    /// The stream has the event of this message id.
    pub(crate) fn stored(&mut self, id: &str) {
        if let Some(tell) = self.take(id) {
            // Whoever waited may have gone.
            let (Ok(()) | Err(())) = tell.send(());
        }
    }

    /// The stream will never have it, or not soon.
    pub(crate) fn refused(&mut self, id: &str) {
        drop(self.take(id));
    }

    fn take(&mut self, id: &str) -> Option<oneshot::Sender<()>> {
        // Nobody waits, as a rule.
        if self.0.is_empty() { None } else { self.0.remove(id.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn who_waits_is_told_what_became_of_the_record_and_of_no_other() {
        let mut acks = Acks::default();
        let ((one, mut first), (two, mut second), (three, mut third)) = (ack("1"), ack("2"), ack("3"));
        acks.add(vec![one, two, three]);
        acks.stored("1");
        acks.refused("2");
        acks.stored("4");
        assert_eq!(first.try_recv(), Ok(()));
        assert_eq!(second.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(third.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(acks.0.len(), 1);
    }
}
