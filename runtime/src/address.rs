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
        Self { name: Name::of_shared(name.into()), speaks: PhantomData }
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

/// A name alone. Cloning one that is known at compile time counts nothing, nor does cloning a short one.
#[derive(Clone)]
pub(crate) enum Text {
    Plain(Plain),
    Shared(Arc<str>),
}

/// A name that is no more than what is here.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Static(&'static str),
    /// In place: comparing it looks nowhere else.
    Short(Short),
}

/// Bytes of a short name: as many as make no `Text` larger.
const SHORT_MAX: usize = 16;

/// A short name. What is left of its room is zero, so it does not end in one. Aligned as the others are, or moving a name
/// would take a move for each of its ends.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(crate) struct Short([u8; SHORT_MAX]);

impl Short {
    fn of(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.ends_with('\0')).then_some(Self(bytes))
    }

    fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.0[..len]
    }
}

impl Text {
    fn of_shared(text: Arc<str>) -> Self {
        Short::of(&text).map_or(Self::Shared(text), |short| Self::Plain(Plain::Short(short)))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Plain(Plain::Static(text)) => text,
            Self::Shared(text) => text,
            // Made of a text, so it is one.
            Self::Plain(Plain::Short(short)) => std::str::from_utf8(short.as_bytes()).unwrap_or_default(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(Plain::Static(text)) => text.as_bytes(),
            Self::Shared(text) => text.as_bytes(),
            Self::Plain(Plain::Short(short)) => short.as_bytes(),
        }
    }

    /// Whether the two read the same. A call of its own: most need none.
    #[inline(never)]
    fn reads_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(Plain::Short(a)), Self::Plain(Plain::Short(b))) => a.0 == b.0,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

/// The name behind an address, with its hash, so that looking it up hashes nothing.
#[derive(Clone)]
pub(crate) struct Name {
    hash: u64,
    text: Text,
}

impl Name {
    pub(crate) const fn of_static(text: &'static str) -> Self {
        Self { hash: fnv1a(text.as_bytes()), text: Text::Plain(Plain::Static(text)) }
    }

    fn of_shared(text: Arc<str>) -> Self {
        Self { hash: fnv1a(text.as_bytes()), text: Text::of_shared(text) }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.text.as_str()
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }
}

impl PartialEq for Name {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // The same constant is the same pointer in most calls; comparing it spares the comparison of the text.
        self.hash == other.hash
            && match (&self.text, &other.text) {
                (Text::Plain(Plain::Static(a)), Text::Plain(Plain::Static(b))) if std::ptr::eq(*a, *b) => true,
                (a, b) => a.reads_as(b),
            }
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
    fn a_name_is_the_same_whatever_its_length() {
        for length in 0..64 {
            let text = "ü".repeat(length / 2) + &"x\0"[..length % 2] + &"\0"[..length % 3 / 2];
            let (one, other) = (Address::<u8>::dynamic(text.as_str()), Address::<u8>::dynamic(text.clone()));
            assert_eq!((one.key(), one.name()), (other.key(), text.as_str()));
            assert_ne!(one.key(), Address::<u8>::dynamic(text.clone() + "\0").key());
            let fixed = Name::of_static(String::leak(text));
            assert_eq!(&fixed, one.key());
        }
        assert_eq!(size_of::<Text>(), 24, "a short name takes no more room than a long one");
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
