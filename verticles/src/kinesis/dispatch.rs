//! Sending: batches are taken when they are due, and each is followed until no entry is left in it: settled, or back in the
//! queue because the stream took only others.

use std::time::Duration;

use vertebra::Context;

use super::batch::Take;
use super::burial;
use super::client::{Outcome, PutError, StreamClient};
use super::entry::{self, Entry};
use super::flow::Permit;
use super::ledger::Place;
use super::retry::{self, Count, Judged};
use super::shipper::Shipper;

/// Takes batches as long as the instance lives.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    loop {
        match next(shipper, ctx.clock().now()) {
            Take::Batch(batch) => {
                let under_way = UnderWay::new(ctx.clone());
                ctx.spawn(under_way.ship(batch));
            }
            Take::WaitUntil(due) => {
                let wait = due.saturating_sub(ctx.clock().now());
                // Whether it is time or something has come: both mean to look again.
                let _either = ctx.clock().timeout(wait, shipper.work.rung()).await;
            }
            Take::Nothing => shipper.work.rung().await,
        }
    }
}

fn next<C: StreamClient>(shipper: &Shipper<C>, now: Duration) -> Take {
    let state = &mut *shipper.state.borrow_mut();
    if state.outbox.is_idle() {
        return Take::Nothing;
    }
    match state.flow.may_begin(state.in_flight, now) {
        Permit::Now => {
            let take = state.outbox.take(now, state.flushing);
            shipper.let_go(state, now);
            take
        }
        Permit::At(time) => Take::WaitUntil(time),
        Permit::Later => Take::Nothing,
    }
}

/// A batch under way; its place is free again when this is dropped, however its task ends.
struct UnderWay<C: StreamClient> {
    ctx: Context<Shipper<C>>,
}

impl<C: StreamClient> UnderWay<C> {
    fn new(ctx: Context<Shipper<C>>) -> Self {
        ctx.verticle().state.borrow_mut().in_flight += 1;
        Self { ctx }
    }

    /// Sends entries until each of them is settled, or given back.
    async fn ship(self, batch: Vec<Entry>) {
        let mut groups = vec![(batch, 0)];
        while let Some((entries, tries)) = groups.pop() {
            let judged = self.attempt(entries, tries).await;
            let again = self.conclude(judged).await;
            if again.groups.is_empty() {
                continue;
            }
            // The stream works when it took some: there is no reason to wait longer and longer for the others.
            let times = if again.progress { 1 } else { tries + 1 };
            if again.pause {
                self.ctx.clock().sleep(self.pause(times)).await;
            }
            if again.progress {
                // In company: a batch that went on alone would end in calls of a few entries, its place taken all the while.
                let shipper = self.ctx.verticle();
                shipper.give_back(again.groups.into_iter().flatten().collect(), self.ctx.clock().now());
                continue;
            }
            // A group that was halved is a new one: it has not been tried.
            let tries = if again.groups.len() == 1 { times } else { 0 };
            groups.extend(again.groups.into_iter().rev().map(|group| (group, tries)));
        }
    }

    fn pause(&self, times: u32) -> Duration {
        let config = self.ctx.verticle().config();
        retry::pause(times, config.backoff_min, config.backoff_max, fastrand::u32(..))
    }

    /// One call.
    async fn attempt(&self, entries: Vec<Entry>, tries: u32) -> Judged {
        let shipper = self.ctx.verticle();
        let (fits, oversized) = part_oversized(entries, shipper.config().record_bytes_max);
        let oversized = retry::oversized(oversized);
        if fits.is_empty() {
            return oversized;
        }
        let metrics = shipper.log.metrics();
        metrics.calls.inc();
        metrics.entries_sent.inc_by(fits.len() as u64);
        metrics.calls_in_flight.inc();
        let begun = self.ctx.clock().now();
        let answer = call(&self.ctx, &fits).await;
        let now = self.ctx.clock().now();
        metrics.calls_in_flight.dec();
        metrics.call_seconds.observe(now.saturating_sub(begun).as_secs_f64());
        let proven = shipper.state.borrow().proven;
        self.note_shards(&fits, &answer);
        let mut judged = retry::judge(fits, answer, tries, proven);
        judged.dead.extend(oversized.dead);
        judged.apart.extend(oversized.apart);
        let mut state = shipper.state.borrow_mut();
        match &judged.trouble {
            None | Some(PutError::Refused(_)) => {
                if state.flow.answered() {
                    state.outbox.outage_ended();
                }
            }
            Some(_) => state.flow.failed(begun, now, fastrand::u32(..)),
        }
        drop(state);
        shipper.note_call(now, judged.trouble.clone());
        judged
    }

    /// Has the shards listed anew when an answer names another one than was expected.
    fn note_shards(&self, sent: &[Entry], answer: &Result<Vec<Outcome>, PutError>) {
        let Ok(outcomes) = answer else { return };
        let is_other = |(entry, outcome): &(&Entry, &Outcome)| match (entry.shard(), outcome) {
            (Some(expected), Outcome::Stored(Some(named))) => expected != *named,
            _ => false,
        };
        let misses = sent.iter().zip(outcomes).filter(is_other).count();
        if misses > 0 {
            let shipper = self.ctx.verticle();
            shipper.log.metrics().shard_misses.inc_by(misses as u64);
            shipper.shards_differ.ring();
        }
    }

    /// Settles what is settled, and gives what is to be sent again.
    async fn conclude(&self, judged: Judged) -> Again {
        let shipper = self.ctx.verticle();
        let metrics = shipper.log.metrics();
        metrics.shipped.inc_by(entry::events(&judged.stored) as u64);
        metrics.entries_stored.inc_by(judged.stored.len() as u64);
        metrics.payload_units.inc_by(judged.stored.iter().map(Entry::payload_units).sum::<usize>() as u64);
        metrics.throttled.inc_by(judged.throttled.events as u64);
        metrics.entries_throttled.inc_by(judged.throttled.entries as u64);
        metrics.call_failures.inc_by(u64::from(judged.trouble.is_some()));
        if !judged.stored.is_empty() {
            let mut state = shipper.state.borrow_mut();
            state.proven = true;
            state.refused_since = 0;
            for record in judged.stored.iter().flat_map(Entry::records) {
                state.acks.stored(record.id());
            }
            drop(state);
            shipper.settle(&judged.stored, Place::Delivered, self.ctx.clock());
        }
        let progress = !judged.stored.is_empty();
        let mut again = Again { groups: judged.again, pause: judged.pause, progress };
        if !judged.dead.is_empty() {
            burial::bury(&self.ctx, judged.dead).await;
        }
        for group in again.groups.iter().chain([&judged.back, &judged.turned_away]) {
            let retried = Count::of(group);
            metrics.retried.inc_by(retried.events as u64);
            metrics.entries_retried.inc_by(retried.entries as u64);
        }
        for entry in judged.apart {
            metrics.retried.inc_by(entry.events() as u64);
            metrics.entries_retried.inc_by(entry.events() as u64);
            shipper.take_apart(entry, self.ctx.clock().now());
        }
        self.leave_to_shards(judged.turned_away);
        if judged.trouble.is_some() {
            // What they wait for is the way to the service.
            shipper.give_back(judged.back, self.ctx.clock().now());
        } else if !judged.back.is_empty() {
            again.groups.push(judged.back);
            again.pause = true;
        }
        again
    }

    /// Gives back what shards have turned away, and leaves those alone.
    fn leave_to_shards(&self, turned_away: Vec<Entry>) {
        if turned_away.is_empty() {
            return;
        }
        let shipper = self.ctx.verticle();
        let now = self.ctx.clock().now();
        let shards = shipper.state.borrow_mut().outbox.turned_away(&turned_away, now, |times| self.pause(times));
        shipper.log.metrics().shard_pauses.inc_by(shards as u64);
        shipper.give_back(turned_away, now);
    }
}

impl<C: StreamClient> Drop for UnderWay<C> {
    fn drop(&mut self) {
        let shipper = self.ctx.verticle();
        shipper.state.borrow_mut().in_flight -= 1;
        shipper.work.ring();
    }
}

struct Again {
    groups: Vec<Vec<Entry>>,
    pause: bool,
    /// Whether the stream took some of the entries.
    progress: bool,
}

/// The client has times of its own; this one holds whatever it does.
async fn call<C: StreamClient>(ctx: &Context<Shipper<C>>, entries: &[Entry]) -> Result<Vec<Outcome>, PutError> {
    let shipper = ctx.verticle();
    let answer = ctx.clock().timeout(shipper.config().operation_timeout, shipper.client.put_records(entries)).await;
    answer.unwrap_or(Err(PutError::TimedOut))
}

fn part_oversized(entries: Vec<Entry>, bytes_max: usize) -> (Vec<Entry>, Vec<Entry>) {
    // The usual case costs no allocation.
    if entries.iter().all(|entry| entry.bytes() <= bytes_max) {
        return (entries, Vec::new());
    }
    entries.into_iter().partition(|entry| entry.bytes() <= bytes_max)
}
