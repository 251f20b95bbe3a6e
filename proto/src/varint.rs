//! Protobuf's numbers of variable length, and the keys before fields.

/// The wire type of a number.
pub(crate) const NUMBER: u64 = 0;
/// The wire type of text, bytes and nested messages.
pub(crate) const LENGTH_DELIMITED: u64 = 2;

/// Appends a number: seven bits a byte, the low ones first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits, and the mark that more follow.
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put`] writes.
pub(crate) fn len(value: u64) -> usize {
    // Seven bits a byte; zero takes one byte too.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number from the front; `None` when there is none, or one above 64 bits.
pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        // The tenth byte has room for one bit.
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = rest.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// A number, under its field's number.
    Number(u64, u64),
    /// Text, bytes or a nested message, under its field's number.
    Bytes(u64, &'a [u8]),
    /// A field of fixed length, under its field's number: nothing of ours has one.
    Fixed(u64),
}

/// Takes a field from the front; `None` when there is none. Groups, which protobuf has given up, count as none.
pub(crate) fn take_field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = u32::try_from(take(rest)?).ok()?;
    let (field, wire_type) = (u64::from(key >> 3), u64::from(key & 7));
    if field == 0 {
        return None;
    }
    let skipped = match wire_type {
        NUMBER => return Some(Field::Number(field, take(rest)?)),
        1 => 8,
        LENGTH_DELIMITED => usize::try_from(take(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(skipped)?;
    *rest = after;
    Some(if wire_type == LENGTH_DELIMITED { Field::Bytes(field, value) } else { Field::Fixed(field) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_and_its_length_told_at_every_width() {
        for value in (0..64).flat_map(|bits| [1_u64 << bits, (1 << bits) - 1]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(len(value), out.len(), "{value}");
            out.push(7);
            let mut rest = &*out;
            assert_eq!((take(&mut rest), rest), (Some(value), &[7_u8][..]), "{value}");
        }
    }

    #[test]
    fn what_is_no_number_of_64_bits_is_none() {
        for mut bytes in [&[][..], &[0x80], &[0xff; 9], &[0xff; 11], &[0xff, 255, 255, 255, 255, 255, 255, 255, 255, 2]]
        {
            assert_eq!(take(&mut bytes), None);
        }
    }

    #[test]
    fn fields_are_taken_one_after_the_other() {
        let mut rest: &[u8] = &[0x08, 5, 0x12, 2, b'a', b'b', 0x1d, 0, 0, 0, 0, 0x0a, 9];
        assert_eq!(take_field(&mut rest), Some(Field::Number(1, 5)));
        assert_eq!(take_field(&mut rest), Some(Field::Bytes(2, b"ab")));
        assert_eq!(take_field(&mut rest), Some(Field::Fixed(3)));
        assert_eq!(take_field(&mut rest), None, "longer than what is left");
        for mut bytes in [&[0x00_u8, 1][..], &[0x0b], &[0xff, 0xff, 0xff, 0xff, 0x7f, 0]] {
            assert_eq!(take_field(&mut bytes), None);
        }
    }
}
