//! The elements of a file of programs, one at a time: those of a JSON array, or the lines of an NDJSON file.
//!
//! A faulty element is given like any other, with its line, and the ones behind it follow; how much is held in memory is
//! bounded by one element.

use std::io::{self, BufRead};

/// The longest element; no change on the channel may be longer either.
pub(super) const ELEMENT_BYTES_MAX: usize = 65_536;

/// Why there is no text for an element.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElementError {
    #[error("longer than {ELEMENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("the array is not closed")]
    NotClosed,
    #[error("there is something behind the array")]
    Trailing,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// One element as text that nobody has parsed yet.
#[derive(Debug)]
pub(super) struct Element {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) text: Result<Vec<u8>, ElementError>,
}

/// Reads elements from an input, which is an array if its first character says so.
#[derive(Debug)]
pub(super) struct Elements<R> {
    input: R,
    line: usize,
    shape: Option<Shape>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lines,
    /// `after_comma`: an element must follow.
    Array {
        after_comma: bool,
    },
}

/// An element of an array while it is read.
#[derive(Default)]
struct Scan {
    text: Vec<u8>,
    bytes: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes a byte; `false` when it is the separator that ends the element.
    fn take(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return false,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.bytes += 1;
        if self.bytes <= ELEMENT_BYTES_MAX {
            self.text.push(byte);
        }
        true
    }

    fn finish(self) -> Result<Vec<u8>, ElementError> {
        if self.bytes > ELEMENT_BYTES_MAX { Err(ElementError::TooLong) } else { Ok(self.text) }
    }
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: 1, shape: None, ended: false }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn bump(&mut self, byte: u8) {
        self.line += usize::from(byte == b'\n');
        self.input.consume(1);
    }

    /// The next byte that is no white space; it stays in the input.
    fn next_visible(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.bump(byte);
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Element>, ElementError> {
        let shape = match self.shape {
            Some(shape) => shape,
            None => self.find_shape()?,
        };
        match shape {
            Shape::Lines => self.read_line(),
            Shape::Array { after_comma } => self.read_member(after_comma),
        }
    }

    fn find_shape(&mut self) -> Result<Shape, ElementError> {
        let shape = if self.next_visible()? == Some(b'[') {
            self.bump(b'[');
            Shape::Array { after_comma: false }
        } else {
            Shape::Lines
        };
        self.shape = Some(shape);
        Ok(shape)
    }

    fn read_line(&mut self) -> Result<Option<Element>, ElementError> {
        if self.next_visible()?.is_none() {
            return Ok(None);
        }
        let line = self.line;
        let mut text = Vec::new();
        io::Read::take(&mut self.input, ELEMENT_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if text.len() <= ELEMENT_BYTES_MAX || text.ends_with(b"\n") {
            self.line += 1;
            return Ok(Some(Element { line, text: Ok(text) }));
        }
        while let Some(byte) = self.peek()? {
            self.bump(byte);
            if byte == b'\n' {
                break;
            }
        }
        Ok(Some(Element { line, text: Err(ElementError::TooLong) }))
    }

    fn read_member(&mut self, after_comma: bool) -> Result<Option<Element>, ElementError> {
        match self.next_visible()? {
            None => return Err(ElementError::NotClosed),
            Some(b']') if !after_comma => {
                self.bump(b']');
                return if self.next_visible()?.is_some() { Err(ElementError::Trailing) } else { Ok(None) };
            }
            Some(_) => {}
        }
        let line = self.line;
        let mut scan = Scan::default();
        while let Some(byte) = self.peek()? {
            if !scan.take(byte) {
                let comma = byte == b',';
                if comma {
                    self.bump(byte);
                }
                self.shape = Some(Shape::Array { after_comma: comma });
                return Ok(Some(Element { line, text: scan.finish() }));
            }
            self.bump(byte);
        }
        Err(ElementError::NotClosed)
    }
}

impl<R: BufRead> Iterator for Elements<R> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        if self.ended {
            return None;
        }
        match self.read() {
            Ok(Some(element)) => Some(element),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Element { line: self.line, text: Err(error) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn elements(input: &str) -> Vec<(usize, String)> {
        let shown = |text: Result<Vec<u8>, ElementError>| match text {
            Ok(text) => String::from_utf8(text).unwrap().trim().to_owned(),
            Err(error) => format!("! {error}"),
        };
        Elements::new(input.as_bytes()).map(|element| (element.line, shown(element.text))).collect()
    }

    fn expect(input: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
        assert_eq!(elements(input), expected, "{input:?}");
    }

    #[test]
    fn lines_are_elements_and_empty_ones_are_not() {
        expect("{}\n\n  \n{\"a\":1}\r\nx", &[(1, "{}"), (4, "{\"a\":1}"), (5, "x")]);
        expect("", &[]);
        expect("\n \n", &[]);
    }

    #[test]
    fn members_of_an_array_are_elements_with_the_line_they_begin_at() {
        expect("[]", &[]);
        expect(" [\n ] \n", &[]);
        expect("[{\"a\":\n[1,2]},\n\n {\"b\":\"],[\\\",\"} ]", &[(1, "{\"a\":\n[1,2]}"), (4, "{\"b\":\"],[\\\",\"}")]);
        expect("[1 2,,3]", &[(1, "1 2"), (1, ""), (1, "3")]);
        expect("[1,]", &[(1, "1"), (1, "")]);
    }

    #[test]
    fn an_array_that_does_not_end_where_it_should_is_told_after_what_could_be_read() {
        expect("[1,\n{\"a\":", &[(1, "1"), (2, "! the array is not closed")]);
        expect("[1", &[(1, "! the array is not closed")]);
        expect("[1]\n2", &[(1, "1"), (2, "! there is something behind the array")]);
    }

    #[test]
    fn an_element_too_long_is_told_and_the_next_one_is_read() {
        let long = "x".repeat(ELEMENT_BYTES_MAX + 1);
        let told = format!("! longer than {ELEMENT_BYTES_MAX} bytes");
        expect(&format!("{long}\nb"), &[(1, &told), (2, "b")]);
        expect(&format!("[\"{long}\",\nb]"), &[(1, &told), (2, "b")]);
    }

    proptest! {
        #[test]
        fn any_input_comes_to_an_end(input in prop::collection::vec(any::<u8>(), 0..300), array: bool) {
            let input = if array { [b"[".as_slice(), &input].concat() } else { input };
            prop_assert!(Elements::new(&input[..]).count() <= input.len() + 2);
        }

        #[test]
        fn values_come_back_as_they_were_written(values in prop::collection::vec("\\PC*", 0..10)) {
            let values: Vec<_> = values.iter().map(|text| serde_json::json!({ "a": text, "b": [text] })).collect();
            let array = serde_json::to_string_pretty(&values).unwrap();
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            for input in [array, lines] {
                let read: Vec<serde_json::Value> =
                    Elements::new(input.as_bytes()).map(|element| serde_json::from_slice(&element.text.unwrap()).unwrap()).collect();
                prop_assert_eq!(&read, &values);
            }
        }
    }
}
