//! What an event is put into a shard by. Pure.

use adtrack_config::PartitionKey;
use adtrack_proto::wire::Identity;
use bytes::Bytes;

/// The longest partition key the service takes, in characters.
const CHARS_MAX: usize = 256;

/// Whether the service takes this key.
pub(crate) fn is_usable(key: &str) -> bool {
    // Text of that many bytes has no more characters.
    !key.is_empty() && (key.len() <= CHARS_MAX || key.chars().count() <= CHARS_MAX)
}

/// The partition key of a payload, of which `identity` was read; `None` when that is its message id, also because it does not have
/// the other.
pub(crate) fn of(payload: &Bytes, identity: &Identity<'_>, by: PartitionKey) -> Option<Bytes> {
    let text = match by {
        PartitionKey::MessageId => return None,
        PartitionKey::Customer => return Some(Bytes::from(identity.customer_id.to_string())),
        PartitionKey::Program => identity.program_id,
        PartitionKey::Cookie => identity.cookie_id,
    };
    text.filter(|text| is_usable(text)).map(|text| payload.slice_ref(text.as_bytes()))
}
