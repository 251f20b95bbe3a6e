//! More tracking URLs beside `/event/`.

use std::fmt;
use std::str::FromStr;

use crate::Durability;
use crate::reader::Choice;

/// What becomes of an event that finds a bound reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBound {
    /// 503, so that it is sent again.
    Refuse,
    /// 200, counted, and kept nowhere.
    Drop,
}

/// A tracking URL, written as `/impression/ memory drop`: what comes behind the path is a program id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingRoute {
    /// The path without its slashes: in metrics, and the type of its events that name none.
    pub name: String,
    /// What holds its events before they are answered.
    pub durability: Durability,
    /// What becomes of those that find a bound reached.
    pub at_bound: AtBound,
}

/// Why a text is no tracking route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackingRouteError {
    /// It has not three parts.
    #[error("not three words")]
    Words,
    /// The path is not one name between slashes.
    #[error("the path is not a name of 1 to 64 of A-Z a-z 0-9 _ - between slashes")]
    Path,
    /// The path is one that is served already.
    #[error("the names event, health, cache, admin and other are taken")]
    Taken,
    /// There is no such level.
    #[error("the level is not memory, spool, sync or stream")]
    Level,
    /// It is not known what to do at a bound.
    #[error("at a bound is neither refuse nor drop")]
    AtBound,
}

/// Paths of the service, and the names it counts other requests under.
const TAKEN: [&str; 5] = ["event", "health", "cache", "admin", "other"];
const NAME_BYTES_MAX: usize = 64;

impl FromStr for TrackingRoute {
    type Err = TrackingRouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [path, level, at_bound] = words[..] else { return Err(TrackingRouteError::Words) };
        let name = path.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|name| is_name(name));
        let name = name.ok_or(TrackingRouteError::Path)?;
        if TAKEN.contains(&name) {
            return Err(TrackingRouteError::Taken);
        }
        Ok(Self {
            name: name.to_owned(),
            durability: word::<Durability>(level).ok_or(TrackingRouteError::Level)?,
            at_bound: word::<AtBound>(at_bound).ok_or(TrackingRouteError::AtBound)?,
        })
    }
}

impl TrackingRoute {
    /// The path, with its slashes.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/", self.name)
    }
}

impl fmt::Display for TrackingRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.path(), text_of(self.durability), text_of(self.at_bound))
    }
}

fn word<T: Choice>(text: &str) -> Option<T> {
    T::ALL.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
}

fn text_of<T: Choice + PartialEq>(choice: T) -> &'static str {
    T::ALL.iter().find(|(_, each)| *each == choice).map_or("", |(word, _)| word)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_route_is_a_path_a_level_and_what_to_do_at_a_bound() {
        let route: TrackingRoute = " /impression/  memory drop ".parse().unwrap();
        let expected =
            TrackingRoute { name: "impression".into(), durability: Durability::Memory, at_bound: AtBound::Drop };
        assert_eq!(route, expected);
        assert_eq!(route.to_string(), "/impression/ memory drop");
        assert_eq!(route.to_string().parse(), Ok(route));
    }

    #[test]
    fn what_is_wrong_with_a_route_is_told() {
        for (text, error) in [
            ("/impression/", TrackingRouteError::Words),
            ("/impression/ memory drop now", TrackingRouteError::Words),
            ("impression memory drop", TrackingRouteError::Path),
            ("/a/b/ memory drop", TrackingRouteError::Path),
            ("// memory drop", TrackingRouteError::Path),
            ("/event/ memory drop", TrackingRouteError::Taken),
            ("/health/ memory drop", TrackingRouteError::Taken),
            ("/a/ none drop", TrackingRouteError::Level),
            ("/a/ Memory drop", TrackingRouteError::Level),
            ("/a/ memory shed", TrackingRouteError::AtBound),
        ] {
            assert_eq!(text.parse::<TrackingRoute>(), Err(error), "{text}");
        }
        assert_eq!(format!("/{}/ memory drop", "x".repeat(65)).parse::<TrackingRoute>(), Err(TrackingRouteError::Path));
    }
}
