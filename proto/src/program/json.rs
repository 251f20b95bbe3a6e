//! Programs in JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};

use super::{Draft, Field, Program, ProgramError, ProgramId, ProgramListError, Scalar, Update};

pub(super) fn one(json: &[u8]) -> Result<Program, ProgramError> {
    draft(json)?.finish()
}

pub(super) fn update(json: &[u8]) -> Result<Update, ProgramError> {
    draft(json)?.finish_update()
}

fn draft(json: &[u8]) -> Result<Draft, ProgramError> {
    serde_json::from_slice::<Read>(json).map_err(|error| syntax(&error))?.0
}

pub(super) fn list(json: &[u8]) -> Result<Vec<Program>, ProgramListError> {
    let is_list = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_list {
        return Ok(vec![one(json).map_err(|error| ProgramListError { index: 1, error })?]);
    }
    let mut list = ReadList { programs: Vec::new(), failed: None };
    let mut parser = serde_json::Deserializer::from_slice(json);
    let parsed = (&mut parser).deserialize_seq(&mut list).and_then(|()| parser.end());
    let index = list.programs.len() + 1;
    match (list.failed, parsed) {
        (Some(error), _) => Err(ProgramListError { index, error }),
        (None, Err(error)) => Err(ProgramListError { index, error: syntax(&error) }),
        (None, Ok(())) => Ok(list.programs),
    }
}

fn syntax(error: &serde_json::Error) -> ProgramError {
    ProgramError::Json { reason: error.to_string() }
}

pub(super) fn write(program: &Program) -> String {
    // Writing scalars into memory cannot fail: there is no I/O, and no map whose keys might not be text.
    serde_json::to_string(&Contract { program, version: program.version }).unwrap_or_default()
}

pub(super) fn write_unversioned(program: &Program) -> String {
    serde_json::to_string(&Contract { program, version: None }).unwrap_or_default()
}

/// What was read from an object: its fields, or why one of them is wrong. Only wrong syntax is the parser's error.
struct Read(Result<Draft, ProgramError>);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadObject).map(Self)
    }
}

struct ReadObject;

impl<'de> Visitor<'de> for ReadObject {
    type Value = Result<Draft, ProgramError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a program as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut draft = Draft::default();
        let mut failed = None;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            match Field::named(&name) {
                Some(field) if failed.is_none() => failed = draft.set(field, map.next_value()?).err(),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(failed.map_or(Ok(draft), Err))
    }
}

/// Collects the elements of an array up to the first that is no program.
struct ReadList {
    programs: Vec<Program>,
    failed: Option<ProgramError>,
}

impl<'de> Visitor<'de> for &mut ReadList {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of programs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Read(read)) = seq.next_element()? {
            match read.and_then(Draft::finish) {
                Ok(program) => self.programs.push(program),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(serde::de::Error::custom("an element is not a program"));
                }
            }
        }
        Ok(())
    }
}

/// A field's name, borrowed from the input where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a field's name must be text")),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadScalar)
    }
}

struct ReadScalar;

impl<'de> Visitor<'de> for ReadScalar {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}

pub(super) fn write_deletion(program_id: &ProgramId, version: Option<u64>) -> String {
    let mut json = format!(r#"{{"programId":{},"deleted":true"#, serde_json::Value::from(program_id.as_str()));
    if let Some(version) = version {
        json.push_str(&format!(r#","version":{version}"#));
    }
    json.push('}');
    json
}

/// A program in the order of the contract.
struct Contract<'a> {
    program: &'a Program,
    version: Option<u64>,
}

impl Serialize for Contract<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Program { program_id, program_name, checksum, customer_id, customer_name, valid, version: _ } =
            self.program;
        let mut object = serializer.serialize_struct("Program", 8 + usize::from(self.version.is_some()))?;
        object.serialize_field(Field::UserAgent.name(), "")?;
        object.serialize_field(Field::ProgramId.name(), program_id)?;
        object.serialize_field(Field::ProgramName.name(), program_name)?;
        object.serialize_field(Field::Checksum.name(), checksum)?;
        object.serialize_field(Field::CustomerId.name(), customer_id)?;
        object.serialize_field(Field::CustomerName.name(), customer_name)?;
        object.serialize_field(Field::MessageId.name(), "")?;
        object.serialize_field(Field::Valid.name(), valid)?;
        // Last, and only where there is one: without it this is the object of the reference to the byte.
        if let Some(version) = self.version {
            object.serialize_field(Field::Version.name(), &version)?;
        }
        object.end()
    }
}
