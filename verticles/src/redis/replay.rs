//! What the stream of changes has of the time when nobody listened.

use ::redis::aio::ConnectionLike;
use ::redis::{RedisResult, cmd};

/// Changes read at a time.
const PAGE_CHANGES: usize = 200;

/// One change in the stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    /// As it was published; `None` when somebody else has added something else.
    pub(super) change: Option<Vec<u8>>,
}

/// An entry as Redis gives it.
type Raw = (String, Vec<(Vec<u8>, Vec<u8>)>);

/// The id of the latest entry; `None` when there is none.
pub(super) async fn newest(connection: &mut impl ConnectionLike, stream: &str) -> RedisResult<Option<String>> {
    let mut newest = cmd("XREVRANGE");
    newest.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<Raw> = newest.query_async(connection).await?;
    Ok(entries.into_iter().next().map(|(id, _)| id))
}

/// The entry with this id and some of those behind it, in order. The first one is another when the one with this id is gone:
/// then some behind it may be gone as well.
pub(super) async fn page(connection: &mut impl ConnectionLike, stream: &str, from: &str) -> RedisResult<Vec<Entry>> {
    let mut page = cmd("XRANGE");
    page.arg(stream).arg(from).arg("+").arg("COUNT").arg(PAGE_CHANGES);
    let entries: Vec<Raw> = page.query_async(connection).await?;
    let change = |fields: Vec<(Vec<u8>, Vec<u8>)>| fields.into_iter().find(|(name, _)| name == b"change");
    Ok(entries.into_iter().map(|(id, fields)| Entry { id, change: change(fields).map(|(_, json)| json) }).collect())
}

/// When the entry with an id was made, in seconds since the Unix epoch.
pub(super) fn seconds_of(id: &str) -> Option<i64> {
    let (milliseconds, _) = id.split_once('-')?;
    Some(milliseconds.parse::<i64>().ok()? / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_the_time() {
        assert_eq!(seconds_of("1795233971057-3"), Some(1_795_233_971));
        for other in ["", "-", "x-1", "1795233971057"] {
            assert_eq!(seconds_of(other), None, "{other}");
        }
    }
}
