//! A list that mostly has one element: that one is in place, and not in a box.

#[derive(Debug, Clone)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(crate) fn push(&mut self, next: T) {
        *self = match std::mem::take(self) {
            Self::Many(none) if none.is_empty() => Self::One(next),
            Self::Many(mut many) => {
                many.push(next);
                Self::Many(many)
            }
            Self::One(first) => Self::Many(vec![first, next]),
        };
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut all = Vec::from(std::mem::take(self));
        all.retain(keep);
        *self = match all.len() {
            1 => all.pop().map_or_else(Self::default, Self::One),
            _ => Self::Many(all),
        };
    }
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(all: OneOrMany<T>) -> Self {
        match all {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_and_not_taken_out_in_its_order() {
        let mut list = OneOrMany::default();
        assert!(list.as_slice().is_empty());
        for number in 0..4 {
            list.push(number);
            assert_eq!(list.as_slice(), (0..=number).collect::<Vec<_>>());
        }
        list.retain(|number| number % 2 == 1);
        assert_eq!(list.as_slice(), [1, 3]);
        list.retain(|number| *number == 3);
        assert!(matches!(list, OneOrMany::One(3)));
        list.push(5);
        assert_eq!(Vec::from(list.clone()), [3, 5]);
        list.retain(|_| false);
        assert!(list.as_slice().is_empty());
        list.push(7);
        assert!(matches!(list, OneOrMany::One(7)));
    }
}
