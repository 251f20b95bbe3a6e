//! What travels on the bus beside the value itself: headers.

use std::fmt;

/// Anything that can be sent: it can cross to another event loop, and it borrows nothing.
///
/// Implemented for every such type; there is nothing to write. Local delivery moves the value, it is never encoded.
///
/// What is bound to its thread, or borrows, is refused where the address is declared:
///
/// ```compile_fail,E0277
/// # async fn send(bus: &vertebra::Bus) {
/// # use vertebra::Address;
/// const LOCAL: Address<std::rc::Rc<u8>> = Address::new("local");
/// bus.publish(LOCAL, std::rc::Rc::new(1)); // `Rc<u8>` cannot be sent between threads safely
/// # }
/// ```
pub trait Message: Send + 'static {}

impl<T: Send + 'static> Message for T {}

/// Text beside a message: trace ids, content types, tenant names.
///
/// A multimap with case-insensitive names that keeps the values of a repeated name in order. Empty headers - the usual
/// case - cost nothing: no allocation, one null pointer.
///
/// ```
/// use vertebra::Headers;
///
/// let mut headers = Headers::default();
/// headers.append("Trace-Id", "t1");
/// assert_eq!(headers.get("trace-id"), Some("t1"));
/// assert_eq!(headers.len(), 1);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    // Boxed as a whole, so that a message without headers carries one null pointer.
    #[expect(
        clippy::box_collection,
        reason = "an absent Vec must cost eight bytes in every envelope, not twenty-four"
    )]
    entries: Option<Box<Vec<Header>>>,
}

type Header = (Box<str>, Box<str>);

impl Headers {
    /// Adds a value behind those the name has already. Both are text, and nothing else is:
    ///
    /// ```compile_fail,E0308
    /// # let mut headers = vertebra::Headers::default();
    /// headers.append("tenant", None);
    /// ```
    pub fn append(&mut self, name: &str, value: &str) {
        self.entries.get_or_insert_default().push((name.into(), value.into()));
    }

    /// Replaces every value the name has by this one.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(entries) = &mut self.entries {
            entries.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        }
        self.append(name, value);
    }

    /// The first value of the name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value of the name, in the order they were added.
    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All names and values, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().flat_map(|entries| entries.iter()).map(|(name, value)| (&**name, &**value))
    }

    /// All values of these names, and nothing else.
    pub(crate) fn of_names(&self, names: &[Box<str>]) -> Self {
        let mut some = Self::default();
        for (name, value) in self.iter().filter(|(name, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
        {
            some.append(name, value);
        }
        some
    }

    /// The number of values, repeated names counted each time.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_keep_all_values_in_order_whatever_their_case() {
        let mut headers = Headers::default();
        headers.append("a", "1");
        headers.append("b", "2");
        headers.append("A", "3");
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), ["1", "3"]);
        headers.set("a", "4");
        assert_eq!(headers.get_all("A").collect::<Vec<_>>(), ["4"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn no_headers_cost_one_pointer() {
        assert_eq!(size_of::<Headers>(), size_of::<usize>());
        assert!(Headers::default().is_empty());
    }
}
