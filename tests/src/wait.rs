//! Waiting for a condition, with a deadline and without guessing how long it takes.

use std::time::{Duration, Instant};

/// Between two looks.
const POLL_MS: u64 = 5;

/// The condition did not come true in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {waited_ms} ms for {what}")]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited_ms: u128,
}

/// Blocks until `look` gives something; looks at least once.
///
/// # Errors
/// [`TimedOut`] after `timeout`.
pub fn until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(TimedOut { what: what.to_owned(), waited_ms: timeout.as_millis() });
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// Like [`until`], for a look that awaits; the deadline is checked between looks and does not cut one off.
///
/// # Errors
/// [`TimedOut`] after `timeout`.
pub async fn until_async<T>(
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(TimedOut { what: what.to_owned(), waited_ms: timeout.as_millis() });
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_found_without_a_wait() {
        assert_eq!(until("it", Duration::ZERO, || Some(1)), Ok(1));
    }

    #[test]
    fn what_comes_later_is_found_then() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(10), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Ok(3));
    }

    #[test]
    fn what_never_comes_is_named() {
        let error = until::<()>("godot", Duration::from_millis(1), || None).map_err(|error| error.to_string());
        assert_eq!(error, Err("waited 1 ms for godot".to_owned()));
    }
}
