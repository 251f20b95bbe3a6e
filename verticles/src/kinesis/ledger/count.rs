//! Whose events a segment holds, by reading it.

use std::path::Path;

use adtrack_proto::wire::Identity;

use super::Ledger;
use super::tally::Tally;
use crate::kinesis::spool::reader::ReadError;
use crate::kinesis::spool::scan::{self, Found};

/// Counts the events of a segment by customer, as far as it can be read; nothing when it is gone. Blocks.
pub(crate) fn count(ledger: &Ledger, path: &Path) -> Option<Tally> {
    let mut tally = Tally::default();
    let scanned = scan::scan::<ReadError>(path, |found| {
        if let Found::Record(payload) = found {
            let customer_id = Identity::of(&payload).unwrap_or_default().customer_id;
            tally.add(ledger.account_of(customer_id), 1, 0);
        }
        Ok(())
    });
    match scanned {
        Err(ReadError::Gone) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the events of a segment cannot all be counted");
            Some(tally)
        }
        Ok(_) => Some(tally),
    }
}
