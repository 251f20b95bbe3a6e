//! What must hold an event before it is answered: what the operator says, or within that the request.

use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{self as config, EventsConfig};
use adtrack_proto::bus::Durability;
use http::HeaderMap;
use http::header::HeaderName;

/// Asks for a level, in a request; names the one that was met, in an answer.
pub(super) const DURABILITY: HeaderName = HeaderName::from_static("adtrack-durability");
/// In an answer: nothing holds the event. It was to be dropped when a bound is reached, and was.
pub(super) const NOTHING: &str = "none";

/// The levels of the service.
#[derive(Debug, Clone)]
pub(super) struct DurabilityPolicy {
    allowed: Arc<[Durability]>,
    timeout: Duration,
}

impl DurabilityPolicy {
    /// What these settings say.
    pub(super) fn new(events: &EventsConfig) -> Self {
        Self {
            allowed: events.durability_allowed.iter().copied().map(level).collect(),
            timeout: events.durability_timeout,
        }
    }

    /// How long to wait for a level.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The level of a request; an error for people when it asks for one it may not have. To ask for the usual one of its path is
    /// always allowed.
    pub(super) fn of(&self, headers: &HeaderMap, usual: Durability) -> Result<Durability, String> {
        let Some(asked) = headers.get(DURABILITY) else { return Ok(usual) };
        let named = asked.to_str().ok().and_then(Durability::named);
        match named.filter(|level| *level == usual || self.allowed.contains(level)) {
            Some(level) => Ok(level),
            None => Err(self.refusal(&String::from_utf8_lossy(asked.as_bytes()), usual)),
        }
    }

    fn refusal(&self, asked: &str, usual: Durability) -> String {
        let others = self.allowed.iter().filter(|level| **level != usual);
        let names: Vec<&str> = std::iter::once(&usual).chain(others).map(|level| level.name()).collect();
        // As much as is needed to recognise it.
        let asked: String = asked.chars().take(ASKED_CHARS_MAX).collect();
        format!("{DURABILITY}: {asked:?} cannot be had here, only {}", names.join(", "))
    }
}

const ASKED_CHARS_MAX: usize = 32;

pub(super) fn level(setting: config::Durability) -> Durability {
    match setting {
        config::Durability::Memory => Durability::Memory,
        config::Durability::Spool => Durability::Spool,
        config::Durability::Sync => Durability::Sync,
        config::Durability::Stream => Durability::Stream,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn policy(allowed: &[Durability]) -> DurabilityPolicy {
        DurabilityPolicy { allowed: allowed.into(), timeout: Duration::from_secs(5) }
    }

    fn asking(value: &'static [u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value);
        value.into_iter().map(|value| (DURABILITY, value)).collect()
    }

    #[test]
    fn without_a_wish_it_is_the_usual_level_and_that_one_may_be_wished_for() {
        assert_eq!(policy(&[]).of(&HeaderMap::new(), Durability::Spool), Ok(Durability::Spool));
        assert_eq!(policy(&[]).of(&asking(b"spool"), Durability::Spool), Ok(Durability::Spool));
    }

    #[test]
    fn a_request_may_have_what_the_operator_allows_and_is_told_so_otherwise() {
        let policy = policy(&[Durability::Memory, Durability::Sync]);
        assert_eq!(policy.of(&asking(b"sync"), Durability::Spool), Ok(Durability::Sync));
        assert_eq!(policy.of(&asking(b"memory"), Durability::Spool), Ok(Durability::Memory));
        let refused = "adtrack-durability: \"stream\" cannot be had here, only spool, memory, sync";
        assert_eq!(policy.of(&asking(b"stream"), Durability::Spool), Err(refused.to_owned()));
    }

    #[test]
    fn nothing_that_is_asked_is_more_than_a_short_error() {
        for asked in [&b""[..], b"SYNC", b"sync,spool", b"\xff\xfe", &[b'x'; 9_000]] {
            assert!(
                policy(&[]).of(&asking(asked), Durability::Spool).is_err_and(|error| error.len() < 250),
                "{asked:?}"
            );
        }
    }
}
