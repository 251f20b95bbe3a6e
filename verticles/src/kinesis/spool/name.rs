//! How the files of the log are called.

use std::fmt;

/// The name of one segment: when it was begun, by which loop, and the how-many-eth of that loop.
///
/// Names sort by time, as text and as values. Nothing but the order is read out of them: how many loops there were when
/// a segment was written does not matter to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// When it was begun, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The instance that wrote it.
    pub event_loop: u32,
    /// Tells segments of one loop and one millisecond apart, also when the clock was set back to that one.
    pub seq: u32,
}

/// What a file of the log's folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A segment: `.log`.
    Log,
    /// A segment that was found damaged and is kept for a person to look at: `.damaged`.
    Damaged,
    /// Records the stream refuses for good: `.dead`.
    DeadLetter,
    /// What the stream has of the segments: `.cursor`.
    Cursor,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Log, Self::Damaged, Self::DeadLetter, Self::Cursor];

    /// How its file names end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Damaged => "damaged",
            Self::DeadLetter => "dead",
            Self::Cursor => "cursor",
        }
    }
}

impl SegmentName {
    /// The file name.
    pub fn file_name(self, kind: Kind) -> String {
        format!("{self}.{}", kind.extension())
    }

    /// Reads a file name; `None` for every name that [`file_name`](Self::file_name) does not write.
    pub fn parse(file_name: &str) -> Option<(Self, Kind)> {
        let (stem, extension) = file_name.rsplit_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        let mut parts = stem.split('-');
        let created_ms = parts.next()?.parse().ok()?;
        let event_loop = parts.next()?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        let name = Self { created_ms, event_loop, seq };
        // Parsing is lenient (signs, missing zeros); a name of ours is written back the same.
        (name.to_string() == stem).then_some((name, kind))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}-{:03}-{:06}", self.created_ms, self.event_loop, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_sort_by_time_as_text_too() {
        let name = |created_ms, event_loop, seq| SegmentName { created_ms, event_loop, seq };
        let ordered = [name(999_999, 1, 1), name(1_000_000, 0, 2), name(1_000_000, 0, 10), name(1_000_000, 2, 1)];
        assert!(ordered.is_sorted());
        assert!(ordered.map(|name| name.file_name(Kind::Log)).is_sorted());
    }

    #[test]
    fn a_foreign_name_is_not_taken_for_a_segment() {
        let foreign = ["", "lock", ".log", "a-b-c.log", "0000000000001-000-000001.txt", "1-2-3.log", "programs.json"];
        for name in foreign.into_iter().chain(["0000000000001-000-000001-4.log", "+000000000001-000-000001.log"]) {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_back_as_it_was_written(created_ms: u64, event_loop: u32, seq: u32) {
            let name = SegmentName { created_ms, event_loop, seq };
            for kind in Kind::ALL {
                prop_assert_eq!(SegmentName::parse(&name.file_name(kind)), Some((name, kind)));
            }
        }

        #[test]
        fn no_name_makes_the_parser_panic(name: String) {
            let _parsed = SegmentName::parse(&name);
        }
    }
}
