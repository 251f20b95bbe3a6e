//! Takes one setting after the other, checks it, and goes on after an error, so that all can be told.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use crate::config::Described;
use crate::raw::{Raw, Setting, Written};
use crate::{CharSet, Cidr, ConfigError, ConfigErrors, Origin, Secret, TrackingRoute, syntax};

/// Networks in one list.
const NETWORKS_MAX: usize = 64;
/// Tracking routes beside the one there always is: every request may be compared with each.
const ROUTES_MAX: usize = 16;

/// What a token must be, wherever it stands.
pub(crate) const TOKEN_ALLOWED: &str = "16 to 256 visible ASCII characters";

/// A setting with a few words to choose from.
pub(crate) trait Choice: Copy + 'static {
    /// The words and what they mean.
    const ALL: &'static [(&'static str, Self)];
    /// What stands in for a wrong word until the error is told.
    const FALLBACK: Self;
}

/// Reads settings. After an error it returns any value of the right type: the result is thrown away then.
pub(crate) struct Reader<'a> {
    raw: &'a Raw,
    errors: ConfigErrors,
    described: Vec<Described>,
    failed: HashSet<&'static str>,
}

impl<'a> Reader<'a> {
    /// `errors` is what was found before, `failed` the keys that are known to be wrong.
    pub(crate) fn new(raw: &'a Raw, errors: ConfigErrors, failed: &[&'static str]) -> Self {
        let failed = failed.iter().copied().collect();
        Self { raw, errors, described: Vec::new(), failed }
    }

    /// What was read, in the order of reading, or all errors.
    pub(crate) fn finish(self) -> Result<Vec<Described>, ConfigErrors> {
        if self.errors.is_empty() { Ok(self.described) } else { Err(self.errors) }
    }

    pub(crate) fn number<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + Into<Number>,
    {
        let allowed = format!("{}, {}..={}", unit(key), range.start(), range.end());
        let parsed = self.take(key, &allowed, |written| {
            let number = T::try_from(written.whole()?).ok().filter(|number| range.contains(number))?;
            Some((number, Value::Integer(number.into().0)))
        });
        parsed.unwrap_or(*range.start())
    }

    pub(crate) fn millis(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, range))
    }

    /// A time of which 0 means that there is none.
    pub(crate) fn millis_or_none(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        Some(self.millis(key, range)).filter(|time| !time.is_zero())
    }

    /// The same in seconds.
    pub(crate) fn seconds_or_none(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        Some(Duration::from_secs(self.number(key, range))).filter(|time| !time.is_zero())
    }

    pub(crate) fn truth(&mut self, key: &'static str) -> bool {
        let parsed = self.take(key, "true or false", |written| {
            let truth = written.truth()?;
            Some((truth, Value::Boolean(truth)))
        });
        parsed.unwrap_or(false)
    }

    pub(crate) fn choice<T: Choice>(&mut self, key: &'static str) -> T {
        let words: Vec<String> = T::ALL.iter().map(|(word, _)| format!("{word:?}")).collect();
        let parsed = self.take(key, &words.join(" or "), |written| {
            let text = written.text()?;
            let (word, choice) = T::ALL.iter().find(|(word, _)| *word == text)?;
            Some((*choice, Value::String((*word).to_owned())))
        });
        parsed.unwrap_or(T::FALLBACK)
    }

    pub(crate) fn text(&mut self, key: &'static str, allowed: &str, is_valid: impl FnOnce(&str) -> bool) -> String {
        let parsed = self.take(key, allowed, |written| {
            let text = written.text().filter(|text| is_valid(text))?;
            Some((text.to_owned(), Value::String(text.to_owned())))
        });
        parsed.unwrap_or_default()
    }

    /// A text of which the empty one means that there is none.
    pub(crate) fn text_or_none(
        &mut self,
        key: &'static str,
        allowed: &str,
        is_valid: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        let allowed = format!("empty or {allowed}");
        let text = self.text(key, &allowed, |text| text.is_empty() || is_valid(text));
        Some(text).filter(|text| !text.is_empty())
    }

    /// A secret of which the empty one means that there is none. Its text goes neither into an error nor a description.
    pub(crate) fn secret(
        &mut self,
        key: &'static str,
        allowed: &str,
        is_valid: impl FnOnce(&str) -> bool,
    ) -> Option<Secret> {
        let parsed = self.take_shown(
            key,
            &format!("empty or {allowed}"),
            |_| "***".to_owned(),
            |written| {
                let text = written.text().filter(|text| text.is_empty() || is_valid(text))?;
                let shown = if text.is_empty() { "" } else { "***" };
                Some((Secret::new(text.to_owned()), Value::String(shown.to_owned())))
            },
        );
        parsed.filter(|secret| !secret.expose().is_empty())
    }

    pub(crate) fn token(&mut self, key: &'static str) -> Option<Secret> {
        self.secret(key, TOKEN_ALLOWED, syntax::is_token)
    }

    pub(crate) fn address(&mut self, key: &'static str) -> SocketAddr {
        let allowed = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        let parsed = self.take(key, allowed, |written| {
            let address = SocketAddr::from_str(written.text()?).ok()?;
            Some((address, Value::String(address.to_string())))
        });
        parsed.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    pub(crate) fn char_set(&mut self, key: &'static str, allowed: &str) -> CharSet {
        let reason = self.reason(key, |written| written.text()?.parse::<CharSet>().err());
        let parsed = self.take(key, &format!("{allowed}{reason}"), |written| {
            let text = written.text()?;
            Some((text.parse().ok()?, Value::String(text.to_owned())))
        });
        parsed.unwrap_or(CharSet::NONE)
    }

    /// A list of words, each at most once.
    pub(crate) fn choices<T: Choice>(&mut self, key: &'static str) -> Vec<T> {
        let words: Vec<String> = T::ALL.iter().map(|(word, _)| format!("{word:?}")).collect();
        let parsed = self.take(key, &format!("a list of {}", words.join(", ")), |written| {
            let list = written.list().filter(|list| list.len() <= T::ALL.len())?;
            let find = |text: &&str| T::ALL.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice);
            let choices = list.iter().map(find).collect::<Option<_>>()?;
            let shown = list.iter().map(|each| Value::String((*each).to_owned())).collect();
            Some((choices, Value::Array(shown)))
        });
        parsed.unwrap_or_default()
    }

    pub(crate) fn networks(&mut self, key: &'static str) -> Vec<Cidr> {
        let reason = self.reason(key, |written| {
            written
                .list()?
                .into_iter()
                .find_map(|each| each.parse::<Cidr>().err().map(|error| format!("{each:?}: {error}")))
        });
        let allowed = format!("at most {NETWORKS_MAX} networks such as \"10.0.0.0/8\"{reason}");
        let parsed = self.take(key, &allowed, |written| {
            let list = written.list().filter(|list| list.len() <= NETWORKS_MAX)?;
            let networks: Vec<Cidr> = list.iter().map(|each| each.parse().ok()).collect::<Option<_>>()?;
            let shown = list.iter().map(|each| Value::String((*each).to_owned())).collect();
            Some((networks, Value::Array(shown)))
        });
        parsed.unwrap_or_default()
    }

    /// Tracking routes, each path at most once.
    pub(crate) fn routes(&mut self, key: &'static str) -> Vec<TrackingRoute> {
        let reason = self.reason(key, |written| {
            let list = written.list()?;
            let wrong = list.iter().find_map(|each| {
                let error = each.parse::<TrackingRoute>().err()?;
                Some(format!("{each:?}: {error}"))
            });
            wrong.or_else(|| first_twice(&list).map(|path| format!("{path} stands there twice")))
        });
        let allowed = format!("at most {ROUTES_MAX} routes such as \"/impression/ memory drop\"{reason}");
        let parsed = self.take(key, &allowed, |written| {
            let list = written.list().filter(|list| list.len() <= ROUTES_MAX && first_twice(list).is_none())?;
            let routes: Vec<TrackingRoute> = list.iter().map(|each| each.parse().ok()).collect::<Option<_>>()?;
            let shown = routes.iter().map(|each| Value::String(each.to_string())).collect();
            Some((routes, Value::Array(shown)))
        });
        parsed.unwrap_or_default()
    }

    /// A rule between settings; `key` is the one to change. Not judged if one of them is wrong by itself.
    pub(crate) fn rule(&mut self, key: &'static str, other: &'static str, holds: bool, allowed: &str) {
        if holds || self.failed.contains(key) || self.failed.contains(other) {
            return;
        }
        let (Some(ours), Some(theirs)) = (self.description(key), self.description(other)) else {
            return;
        };
        let allowed = format!("{allowed} {other} = {} ({})", theirs.value, theirs.origin);
        let error = ConfigError::Invalid { key, value: ours.value.clone(), allowed, origin: ours.origin.clone() };
        self.errors.push(error);
    }

    /// A setting that another one makes necessary.
    pub(crate) fn required(&mut self, key: &'static str, other: &'static str, is_there: bool, allowed: &str) {
        if is_there || self.failed.contains(key) || self.failed.contains(other) {
            return;
        }
        let Some(theirs) = self.description(other) else {
            return;
        };
        let because = format!("{other} = {} ({}) needs it", theirs.value, theirs.origin);
        self.errors.push(ConfigError::Missing { key, because, allowed: allowed.to_owned() });
    }

    fn description(&self, key: &str) -> Option<&Described> {
        self.described.iter().find(|described| described.key == key)
    }

    /// Why a value does not parse, to stand behind what is allowed.
    fn reason<E: Display>(&self, key: &str, error_of: impl FnOnce(&Written) -> Option<E>) -> String {
        let error = self.raw.get(key).and_then(|setting| error_of(&setting.written));
        error.map_or_else(String::new, |error| format!(" ({error})"))
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&Written) -> Option<(T, Value)>,
    ) -> Option<T> {
        self.take_shown(key, allowed, Written::shown, parse)
    }

    fn take_shown<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        show: impl FnOnce(&Written) -> String,
        parse: impl FnOnce(&Written) -> Option<(T, Value)>,
    ) -> Option<T> {
        // Only when `default.toml` lacks the key, which a test excludes.
        let nowhere = Setting { written: Written::Foreign("nothing"), origin: Origin::Default };
        let Setting { written, origin } = self.raw.get(key).unwrap_or(&nowhere);
        if let Some((value, described)) = parse(written) {
            self.described.push(Described { key, value: described.to_string(), origin: origin.clone() });
            return Some(value);
        }
        self.failed.insert(key);
        let (value, allowed, origin) = (show(written), allowed.to_owned(), origin.clone());
        self.errors.push(ConfigError::Invalid { key, value, allowed, origin });
        None
    }
}

/// The first path that two routes have.
fn first_twice<'a>(routes: &[&'a str]) -> Option<&'a str> {
    let mut seen = HashSet::new();
    routes.iter().filter_map(|route| route.split_ascii_whitespace().next()).find(|path| !seen.insert(*path))
}

/// A number as TOML writes it.
pub(crate) struct Number(i64);

impl From<u16> for Number {
    fn from(number: u16) -> Self {
        Self(number.into())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number.try_into().unwrap_or(i64::MAX))
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self(number.try_into().unwrap_or(i64::MAX))
    }
}

/// What a number of this key counts, by the end of its name.
fn unit(key: &str) -> &'static str {
    let has = |word: &str| key.split(['.', '_']).any(|each| each == word);
    // A rate is a number of something.
    if has("per") {
        "a whole number"
    } else if has("ms") {
        "milliseconds as a whole number"
    } else if has("s") {
        "seconds as a whole number"
    } else if has("bytes") {
        "bytes as a whole number"
    } else {
        "a whole number"
    }
}
