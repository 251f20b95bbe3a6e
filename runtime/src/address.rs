//! Where messages are sent: a name, and the two types that are spoken there.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A place on the event bus: a name, the message type `M` accepted there and the reply type `R` given back.
///
/// An address needs no handle. It is declared once, as a constant in the crate that holds the contract, and used by
/// whoever serves it and whoever calls it; the two cannot disagree about the types, because both name the same
/// constant. Matching is exact and case sensitive: no wildcards, no hierarchy, and the empty name is an ordinary name.
///
/// Two constants with one name and different types cannot be told apart by the compiler. The second registration is
/// refused with [`RegisterError::WrongType`](crate::RegisterError::WrongType), and a message sent through the wrong
/// one fails with a variant of its own - never with a time-out.
///
/// ```
/// use vertebra::Address;
///
/// struct Lookup(String);
/// const LOOKUP: Address<Lookup, Option<u64>> = Address::new("cache.lookup");
/// assert_eq!(LOOKUP.name(), "cache.lookup");
///
/// // A name that is known only at run time: the same type, the same calls.
/// let plugin: Address<Vec<u8>, Vec<u8>> = Address::dynamic(format!("plugin.{}", 7));
/// assert_eq!(plugin.name(), "plugin.7");
/// ```
pub struct Address<M, R = ()> {
    name: Name,
    speaks: PhantomData<fn(M) -> R>,
}

impl<M, R> Address<M, R> {
    /// An address with a name known at compile time. Its hash is computed then, too.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Name::of_static(name), speaks: PhantomData }
    }

    /// An address whose name is known only at run time.
    pub fn dynamic(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        Self { name: Name { hash: fnv1a(name.as_bytes()), text: Text::Shared(name) }, speaks: PhantomData }
    }

    /// The name, as it was given.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn key(&self) -> &Name {
        &self.name
    }
}

impl<M, R> Clone for Address<M, R> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), speaks: PhantomData }
    }
}

impl<M, R> fmt::Debug for Address<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.name()).finish()
    }
}

impl<M, R> fmt::Display for Address<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name behind an address, with its hash, so that looking it up hashes nothing.
#[derive(Clone)]
pub(crate) struct Name {
    hash: u64,
    text: Text,
}

/// A name alone. Cloning one that is known at compile time counts nothing.
#[derive(Clone)]
pub(crate) enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl Name {
    pub(crate) const fn of_static(text: &'static str) -> Self {
        Self { hash: fnv1a(text.as_bytes()), text: Text::Static(text) }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.text.as_str()
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.as_str(), other.as_str());
        // The same constant is the same pointer in most calls; comparing it spares the comparison of the text.
        self.hash == other.hash && (std::ptr::eq(a, b) || a == b)
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hands on the hash that the name carries already.
#[derive(Default, Clone, Copy)]
pub(crate) struct CarriedHash(u64);

impl std::hash::Hasher for CarriedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(crate) type BuildCarriedHash = std::hash::BuildHasherDefault<CarriedHash>;

// FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = FNV_OFFSET;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(FNV_PRIME);
        at += 1;
    }
    // The table takes its bucket and its tag from both ends of the hash; a last mix spreads short names over both.
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_and_a_dynamic_address_of_one_name_are_the_same_place() {
        const FIXED: Address<u8> = Address::new("a.b");
        let dynamic: Address<u8> = Address::dynamic("a.b");
        assert_eq!(FIXED.key(), dynamic.key());
    }

    #[test]
    fn names_are_case_sensitive() {
        assert_ne!(Address::<u8>::new("a").key(), Address::<u8>::new("A").key());
    }

    #[test]
    fn the_hash_is_fnv1a_with_its_published_test_vector() {
        let hash = fnv1a(b"foobar");
        let published = 0x8594_4171_f739_67e8_u64;
        assert_eq!(hash, published ^ (published >> 29));
    }
}
