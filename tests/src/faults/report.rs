//! What a scenario found, and the table of all of them.

use std::fmt;
use std::time::Duration;

use super::latencies::Latencies;
use super::ledger::Ledger;
use super::load::Loaded;
use super::stand::Stand;
use crate::faults::RunError;

/// The figure of every scenario.
const LOST: &str = "lost";

/// One figure with what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was measured.
    pub what: String,
    /// What came out.
    pub found: String,
    /// What was asked.
    pub asked: String,
    /// Whether it was met.
    pub is_met: bool,
}

impl Check {
    /// A figure that was met or not.
    pub fn new(what: impl Into<String>, found: impl Into<String>, asked: impl Into<String>, is_met: bool) -> Self {
        Self { what: what.into(), found: found.into(), asked: asked.into(), is_met }
    }

    /// A count that must not exceed another.
    pub fn at_most(what: &str, found: u64, asked: u64) -> Self {
        Self::new(what, found.to_string(), format!("at most {asked}"), found <= asked)
    }

    /// A time that must not exceed another.
    pub fn within(what: &str, found: Duration, asked: Duration) -> Self {
        Self::new(what, format!("{found:.1?}"), format!("at most {asked:.1?}"), found <= asked)
    }

    /// A time that must not exceed another, when it came at all.
    pub fn came_within(what: &str, found: Option<Duration>, asked: Duration) -> Self {
        match found {
            Some(found) => Self::within(what, found, asked),
            None => Self::new(what, "never", format!("at most {asked:.1?}"), false),
        }
    }
}

/// One line of the table: a scenario, or one kind of trouble of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub scenario: String,
    /// Requests that were sent.
    pub sent: u64,
    /// Answers with 200.
    pub accepted: u64,
    /// Different events in the stream.
    pub delivered: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Answered with 200, and neither in the stream nor on the disk.
    pub lost: u64,
    /// Of the answers with 200.
    pub latencies: Latencies,
    /// The figures, `lost` among them.
    pub checks: Vec<Check>,
}

/// What one scenario came to.
#[derive(Debug)]
pub enum Outcome {
    /// It ran.
    Rows(Vec<Row>),
    /// It cannot run here, and why.
    Skipped(String),
}

impl Row {
    /// Accounts for everything that was asked of this stand; the service may be running or not. Nothing may be on its way any more.
    pub(crate) fn account(scenario: &str, stand: &mut Stand, loaded: &Loaded) -> Result<Self, RunError> {
        stand.look();
        let mut held = stand.exported("log")?;
        held.extend(stand.exported("dead")?);
        held.sort_unstable();
        let is_lost = |id: &u128| !stand.contents.has(*id) && held.binary_search(id).is_err();
        let mut row = Self {
            scenario: scenario.to_owned(),
            sent: loaded.sent,
            accepted: loaded.accepted().count() as u64,
            delivered: stand.contents.distinct(),
            duplicates: stand.contents.duplicates(),
            lost: loaded.accepted().filter(is_lost).count() as u64,
            latencies: Latencies::of(loaded.answers.iter().filter(|a| a.status == 200).map(|a| a.latency_us)),
            checks: Vec::new(),
        };
        row.check(Check::at_most(LOST, row.lost, 0));
        row.check(Check::at_most("records in the stream that are no events", stand.contents.foreign(), 0));
        row.check_ledger(&stand.ledger);
        Ok(row)
    }

    /// Adds a figure.
    pub fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Adds what was seen of the ledger, where there is one.
    pub(crate) fn check_ledger(&mut self, ledger: &Ledger) {
        if ledger.looks() == 0 {
            return;
        }
        let found = ledger.uneven().map_or_else(|| "even".to_owned(), ToString::to_string);
        let what = format!("/admin/ledger, looked at {} times", ledger.looks());
        self.check(Check::new(what, found, "even", ledger.uneven().is_none()));
    }

    /// Adds another round of the same scenario. Its figures are the caller's to join.
    pub(crate) fn add(&mut self, round: &Self, latencies: &mut Vec<u32>) {
        self.sent += round.sent;
        self.accepted += round.accepted;
        self.delivered += round.delivered;
        self.duplicates += round.duplicates;
        self.lost += round.lost;
        latencies.extend(round.latencies.us());
        // What every round is asked is told once, unless it was missed: `lost` is summed up, and so the caller's.
        let missed = round.checks.iter().filter(|check| !check.is_met && check.what != LOST);
        self.checks.extend(missed.cloned());
    }

    /// A line without anything in it yet.
    pub(crate) fn empty(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            sent: 0,
            accepted: 0,
            delivered: 0,
            duplicates: 0,
            lost: 0,
            latencies: Latencies::default(),
            checks: Vec::new(),
        }
    }

    /// Whether every figure was met.
    pub fn is_met(&self) -> bool {
        self.checks.iter().all(|check| check.is_met)
    }
}

/// The head of the table.
pub const HEAD: &str = "\
scenario               |    sent | accepted | delivered | duplicates | lost |  p50 ms |  p99 ms | p99.9 ms | verdict
-----------------------|--------:|---------:|----------:|-----------:|-----:|--------:|--------:|---------:|--------";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, sent, accepted, delivered, duplicates, lost, latencies, checks } = self;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| latencies.percentile_ms(share));
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(
            f,
            "{scenario:<22} | {sent:>7} | {accepted:>8} | {delivered:>9} | {duplicates:>10} | {lost:>4} | {p50:>7.2} | {p99:>7.2} | \
             {p999:>8.2} | {verdict}"
        )?;
        for Check { what, found, asked, is_met } in checks {
            let mark = if *is_met { "     " } else { "MISS " };
            write!(f, "\n  {mark}{what}: {found} (asked: {asked})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_met_when_each_of_its_figures_is() {
        let mut row = Row::empty("calm");
        row.check(Check::at_most("lost", 0, 0));
        assert!(row.is_met() && row.to_string().contains("| met\n       lost: 0 (asked: at most 0)"), "{row}");
        row.check(Check::came_within("recovery", None, Duration::from_secs(2)));
        assert!(!row.is_met() && row.to_string().ends_with("\n  MISS recovery: never (asked: at most 2.0s)"), "{row}");
    }

    #[test]
    fn the_columns_stand_below_their_names() {
        let bars = |line: &str| line.match_indices('|').map(|(at, _)| at).collect::<Vec<_>>();
        let head = HEAD.lines().next().unwrap_or_default();
        assert_eq!(bars(head), bars(&Row::empty("calm").to_string()));
    }
}
