//! JSON pieces written straight into a byte buffer: nothing here allocates beside it, and nothing here can fail.

/// Appends text as a JSON string, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => {
                out.extend_from_slice(&bytes[written..index]);
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
                written = index + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..index]);
        out.extend_from_slice(escape);
        written = index + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: i64) {
    // Nineteen digits are the most an i64 has; the sign is written apart.
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        first -= 1;
        // The remainder of a division by ten fits a byte.
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn number(number: i64) -> String {
        let mut out = Vec::new();
        push_number(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ends_of_the_range_are_written_in_full() {
        assert_eq!(number(i64::MIN), i64::MIN.to_string());
        assert_eq!(number(i64::MAX), i64::MAX.to_string());
        assert_eq!(number(0), "0");
    }

    #[test]
    fn every_control_character_comes_back() {
        let text: String = (0..=0x9f_u8).map(char::from).collect();
        assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_an_independent_parser(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }

        #[test]
        fn any_number_is_written_as_the_standard_library_writes_it(value: i64) {
            prop_assert_eq!(number(value), value.to_string());
        }
    }
}
