//! Watches the loops from a thread of its own, and says which one is blocked, by whom, and for how long.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::{Culprit, Event};
use crate::event_loop::shared::LoopShared;
use crate::event_loop::watched::{Look, Whose};
use crate::runtime::Shared;

/// The watching thread. Stopped and waited for when it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, until) = (Arc::clone(shared), Arc::clone(&stopped));
        let watch = move || {
            let mut watches = HashMap::new();
            while !until.load(Ordering::Acquire) {
                std::thread::park_timeout(shared.options.blocked_check_interval);
                check(&shared, &mut watches);
            }
        };
        let thread = std::thread::Builder::new().name("vertebra-watchdog".to_owned()).spawn(watch)?;
        Ok(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // The hook runs there; it may be the one that ends the runtime.
        if thread.thread().id() != std::thread::current().id() {
            drop(thread.join());
        }
    }
}

/// Looks at every loop once.
fn check(shared: &Shared, watches: &mut HashMap<usize, Watch>) {
    let now = shared.clock.now();
    let loops = shared.all_loops();
    watches.retain(|id, _| loops.iter().any(|known| known.id == *id));
    for event_loop in loops {
        let look = event_loop.watched.look();
        let watch = watches.entry(event_loop.id).or_insert_with(|| Watch::new(now, look));
        match watch.look_again(now, look) {
            Seen::GoesOn => {}
            // It may have had nothing to do for the runtime, with a library's tasks only. This gives it something.
            Seen::Still(blocked_for) if blocked_for < event_loop.busy_max => event_loop.nudge(),
            Seen::Still(blocked_for) => report(shared, &event_loop, look.whose, blocked_for),
        }
    }
}

fn report(shared: &Shared, event_loop: &LoopShared, whose: Whose, blocked_for: Duration) {
    let by = whose.instance().map(|(deployment, instance)| {
        let verticle = shared.deployments.name(deployment).unwrap_or_else(|| "an undeployed verticle".into());
        Culprit { verticle: verticle.to_string(), deployment, instance }
    });
    let culprit = by.as_ref().map_or_else(|| "code of no verticle".to_owned(), Culprit::to_string);
    let (name, allowed) = (event_loop.name.as_str(), event_loop.busy_max);
    tracing::warn!(event_loop = name, by = culprit, ?blocked_for, ?allowed, "an event loop is blocked");
    shared.hook.tell(|| Event::Blocked { event_loop: name.to_owned(), by, blocked_for });
}

/// What is remembered of a loop between two looks.
#[derive(Debug)]
struct Watch {
    progress: u64,
    since: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    GoesOn,
    /// For so long it has been where it is, and was not asleep.
    Still(Duration),
}

impl Watch {
    fn new(now: Duration, look: Look) -> Self {
        Self { progress: look.progress, since: now }
    }

    fn look_again(&mut self, now: Duration, look: Look) -> Seen {
        if look.asleep || look.progress != self.progress {
            *self = Self::new(now, look);
            return Seen::GoesOn;
        }
        Seen::Still(now.saturating_sub(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(progress: u64, asleep: bool) -> Look {
        Look { progress, whose: Whose::NOBODY, asleep }
    }

    #[test]
    fn a_loop_that_stays_where_it_is_gets_older_by_the_look() {
        let s = Duration::from_secs;
        let mut watch = Watch::new(s(1), look(7, false));
        assert_eq!(watch.look_again(s(2), look(7, false)), Seen::Still(s(1)));
        assert_eq!(watch.look_again(s(4), look(7, false)), Seen::Still(s(3)));
        assert_eq!(watch.look_again(s(5), look(8, false)), Seen::GoesOn);
        assert_eq!(watch.look_again(s(6), look(8, false)), Seen::Still(s(1)));
    }

    #[test]
    fn a_loop_that_sleeps_is_not_blocked_however_long() {
        let s = Duration::from_secs;
        let mut watch = Watch::new(s(1), look(7, true));
        assert_eq!(watch.look_again(s(100), look(7, true)), Seen::GoesOn);
        assert_eq!(watch.look_again(s(101), look(7, false)), Seen::Still(s(1)));
    }
}
