#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const CONTRACT: &str = r#"{"userAgent":"curl/7.54.0","programId":"212313","programName":"program2","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"06bc2944-886c-4e56-907c-fa248c8af023","valid":true}"#;

fn program2() -> Program {
    Program {
        program_id: ProgramId::new("212313").unwrap(),
        program_name: "program2".to_owned(),
        checksum: "124".to_owned(),
        customer_id: 9124,
        customer_name: "Customer2".to_owned(),
        valid: true,
        version: None,
    }
}

fn with(field: &str, value: &str) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(CONTRACT).unwrap();
    object.insert(field.to_owned(), serde_json::Value::Null);
    serde_json::to_string(&object).unwrap().replace(&format!("\"{field}\":null"), &format!("\"{field}\":{value}"))
}

#[test]
fn the_contracts_own_example_is_a_program() {
    assert_eq!(Program::from_json(CONTRACT.as_bytes()), Ok(program2()));
}

#[test]
fn a_program_is_written_in_the_contracts_order_with_the_events_fields_empty() {
    let expected = r#"{"userAgent":"","programId":"212313","programName":"program2","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"","valid":true}"#;
    assert_eq!(program2().to_json(), expected);
}

#[test]
fn the_hash_has_the_references_fields_in_its_order() {
    let names = program2().to_fields().map(|(name, _)| name).join(" ");
    assert_eq!(names, "userAgent programId programName checksum customerId customerName messageId valid");
}

#[test]
fn a_hash_written_by_hand_without_the_events_fields_is_a_program() {
    let program = program2();
    let by_hand = program.to_fields().into_iter().filter(|(name, _)| !["userAgent", "messageId"].contains(name));
    assert_eq!(Program::from_fields(by_hand), Ok(program2()));
}

#[test]
fn numbers_and_truth_may_be_text() {
    assert_eq!(Program::from_json(with("customerId", r#""9124""#).as_bytes()), Ok(program2()));
    assert_eq!(Program::from_json(with("valid", r#""true""#).as_bytes()), Ok(program2()));
    assert!(!Program::from_json(with("valid", r#""false""#).as_bytes()).unwrap().valid);
    assert_eq!(Program::from_json(with("customerId", "-1").as_bytes()).unwrap().customer_id, -1);
}

#[test]
fn a_version_is_any_u64_as_number_or_text_and_may_be_missing() {
    for (value, version) in [("0", 0), ("7", 7), (r#""7""#, 7), ("18446744073709551615", u64::MAX)] {
        let versioned = Program { version: Some(version), ..program2() };
        assert_eq!(Program::from_json(with("version", value).as_bytes()), Ok(versioned.clone()), "{value}");
        let text = version.to_string();
        let unversioned = program2();
        let hash = unversioned.to_fields().into_iter().chain([("version", text.as_str().into())]);
        assert_eq!(Program::from_fields(hash), Ok(versioned));
    }
    assert_eq!(Program::from_json(CONTRACT.as_bytes()).unwrap().version, None);
}

#[test]
fn a_version_is_written_last() {
    let versioned = Program { version: Some(7), ..program2() };
    assert_eq!(versioned.to_json(), program2().to_json().replace("true}", "true,\"version\":7}"));
}

#[test]
fn an_update_is_a_program_or_its_deletion() {
    let deletion = |version| Update::Deleted(Deletion { program_id: ProgramId::new("7").unwrap(), version });
    assert_eq!(Update::from_json(CONTRACT.as_bytes()), Ok(Update::Put(program2())));
    assert_eq!(Update::from_json(br#"{"programId":"7","deleted":true}"#), Ok(deletion(None)));
    assert_eq!(Update::from_json(br#"{"version":"8","deleted":"true","programId":"7"}"#), Ok(deletion(Some(8))));
    for (json, kind) in [
        (r#"{"deleted":true}"#, "missing"),
        (r#"{"programId":"a b","deleted":true}"#, "id"),
        (r#"{"programId":"7","deleted":true,"version":-1}"#, "value"),
        (r#"{"programId":"7","deleted":false}"#, "missing"),
    ] {
        assert_eq!(Update::from_json(json.as_bytes()).unwrap_err().kind(), kind, "{json}");
    }
    for other in ["false", "null", "0", r#""no""#, "[1]"] {
        assert_eq!(Update::from_json(with("deleted", other).as_bytes()), Ok(Update::Put(program2())), "{other}");
    }
}

#[test]
fn a_deletion_is_no_program() {
    assert_eq!(Program::from_json(with("deleted", "true").as_bytes()), Err(ProgramError::Deleted));
    assert_eq!(Program::list_from_json(with("deleted", "true").as_bytes()).unwrap_err().error, ProgramError::Deleted);
    let hash = program2();
    let hash = hash.to_fields().into_iter().chain([("deleted", "true".into())]);
    assert_eq!(Program::from_fields(hash), Err(ProgramError::Deleted));
}

#[test]
fn what_is_not_known_is_not_looked_at() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(Program::from_json(with("addedLater", &deep).as_bytes()), Ok(program2()));
    assert_eq!(Program::from_json(with("userAgent", "null").as_bytes()), Ok(program2()));
    assert_eq!(Program::from_json(with("messageId", "{\"a\":[1]}").as_bytes()), Ok(program2()));
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    let cases = [
        ("customerId", r#""x""#, "customerId is \"x\", it must be an integer"),
        ("customerId", r#""+9124""#, "customerId is \"+9124\", it must be"),
        ("customerId", r#"" 9124""#, "customerId is \" 9124\", it must be"),
        ("customerId", "2147483648", "customerId is 2147483648, it must be"),
        ("customerId", "18446744073709551616", "customerId is 18446744073709552000, it must be"),
        ("customerId", "9124.5", "customerId is 9124.5, it must be"),
        (
            "customerId",
            "5.0",
            "customerId is 5.0, it must be an integer between -2147483648 and 2147483647 without a point or an exponent",
        ),
        ("customerId", "1e3", "customerId is 1000.0, it must be an integer between -2147483648 and 2147483647 without"),
        ("customerId", "null", "customerId is null, it must be"),
        ("customerId", "[9124]", "customerId is an array or object, it must be"),
        ("programName", "7", "programName is 7, it must be text"),
        ("programName", "{}", "programName is an array or object, it must be text"),
        ("checksum", "124", "checksum is 124, it must be text"),
        ("version", "-1", "version is -1, it must be an integer between 0 and 18446744073709551615"),
        ("version", "18446744073709551616", "version is 18446744073709552000, it must be"),
        ("version", r#""18446744073709551616""#, "version is \"18446744073709551616\", it must be"),
        ("version", "7.0", "version is 7.0, it must be"),
        ("version", r#""""#, "version is \"\", it must be"),
        ("version", r#""+7""#, "version is \"+7\", it must be"),
        ("version", "null", "version is null, it must be"),
        ("version", "[7]", "version is an array or object, it must be"),
        ("valid", "1", "valid is 1, it must be true or false"),
        ("valid", r#""TRUE""#, "valid is \"TRUE\", it must be true or false"),
        ("programId", r#""""#, "programId is empty"),
        ("programId", r#""a b""#, "programId has ' ' at byte 1"),
        ("programId", r#""a\u0000""#, "programId has '\\0' at byte 1"),
        ("programId", r#""é""#, "programId has 'é' at byte 0"),
    ];
    for (field, value, message) in cases {
        let error = Program::from_json(with(field, value).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(message), "{field} = {value}: {error}");
    }
}

#[test]
fn an_error_shows_a_long_value_cut() {
    let long = format!("\"{}\"", "9".repeat(60_000));
    let error = Program::from_json(with("customerId", &long).as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}

#[test]
fn a_missing_or_repeated_field_is_named() {
    let twice = CONTRACT.replacen('{', r#"{"version":1,"version":1,"#, 1);
    assert_eq!(Program::from_json(twice.as_bytes()), Err(ProgramError::Duplicate { field: "version" }));
    for field in ["programId", "programName", "checksum", "customerId", "customerName", "valid"] {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(CONTRACT).unwrap();
        object.remove(field);
        let missing = Program::from_json(&serde_json::to_vec(&object).unwrap());
        assert_eq!(missing, Err(ProgramError::Missing { field }));

        let again =
            CONTRACT.replacen('{', &format!("{{\"{field}\":\"0\","), 1).replace("\"valid\":\"0\"", "\"valid\":true");
        assert_eq!(Program::from_json(again.as_bytes()), Err(ProgramError::Duplicate { field }));
    }
}

#[test]
fn text_that_is_no_json_object_is_refused() {
    let bom = [b"\xef\xbb\xbf", CONTRACT.as_bytes()].concat();
    let trailing = [CONTRACT.as_bytes(), b" {}"].concat();
    let deep = "[".repeat(100_000);
    let deep_name = with("programName", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let surrogate = with("programName", r#""\ud800""#);
    let huge_number = with("customerId", "1e999");
    let nan = with("customerId", "NaN");
    let binary = [0_u8, 159, 146, 150];
    let wrong_utf8 = with("programName", "\"x\"").replace('x', "\u{1}").into_bytes();
    let cases: [&[u8]; 14] = [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{",
        b"\"x\"",
        &bom,
        &trailing,
        deep.as_bytes(),
        surrogate.as_bytes(),
        huge_number.as_bytes(),
        nan.as_bytes(),
        &binary,
        &wrong_utf8,
    ];
    for case in cases {
        let error = Program::from_json(case).unwrap_err();
        assert_eq!(error.kind(), "json", "{error}");
    }
    let nested = Program::from_json(deep_name.as_bytes()).unwrap_err();
    assert!(matches!(nested, ProgramError::Value { .. } | ProgramError::Json { .. }), "{nested}");
}

#[test]
fn a_list_is_an_array_or_a_single_object() {
    let one = CONTRACT.as_bytes();
    let two = format!(" [{CONTRACT} , {CONTRACT}] ");
    assert_eq!(Program::list_from_json(one), Ok(vec![program2()]));
    assert_eq!(Program::list_from_json(two.as_bytes()), Ok(vec![program2(), program2()]));
    assert_eq!(Program::list_from_json(b"[]"), Ok(vec![]));
}

#[test]
fn the_first_faulty_element_of_a_list_is_named() {
    let list = format!("[{CONTRACT},{}]", with("valid", "1"));
    let error = Program::list_from_json(list.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "program 2: valid is 1, it must be true or false");
    let cut = format!("[{CONTRACT},");
    assert_eq!(Program::list_from_json(cut.as_bytes()).unwrap_err().index, 2);
    let trailing = format!("[{CONTRACT}] x");
    assert_eq!(Program::list_from_json(trailing.as_bytes()).unwrap_err().error.kind(), "json");
}

#[test]
fn an_id_has_1_to_128_visible_ascii_characters() {
    assert!(ProgramId::new("~!a:B._-9").is_ok());
    assert!(ProgramId::new("a".repeat(128)).is_ok());
    assert_eq!(ProgramId::new(""), Err(ProgramIdError::Empty));
    assert_eq!(ProgramId::new("a".repeat(129)), Err(ProgramIdError::TooLong { bytes: 129 }));
    assert_eq!(ProgramId::new("a\n"), Err(ProgramIdError::Character { character: '\n', at: 1 }));
    assert_eq!(ProgramId::new("a\u{7f}"), Err(ProgramIdError::Character { character: '\u{7f}', at: 1 }));
}

#[test]
fn an_id_goes_through_serde_as_text_and_is_checked() {
    let id = ProgramId::new("212313").unwrap();
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"212313\"");
    assert_eq!(serde_json::from_str::<ProgramId>("\"212313\"").unwrap(), id);
    assert!(serde_json::from_str::<ProgramId>("\"a b\"").is_err());
}

#[test]
fn an_id_hashes_as_its_text() {
    let known = std::collections::HashSet::from([ProgramId::new("212313").unwrap()]);
    assert!(known.contains("212313"));
}

fn any_program() -> impl Strategy<Value = Program> {
    (any_id(), ".*", ".*", any::<i32>(), ".*", any::<bool>(), any::<Option<u64>>()).prop_map(
        |(program_id, program_name, checksum, customer_id, customer_name, valid, version)| Program {
            program_id,
            program_name,
            checksum,
            customer_id,
            customer_name,
            valid,
            version,
        },
    )
}

fn any_id() -> impl Strategy<Value = ProgramId> {
    "[!-~]{1,128}".prop_map(|text| ProgramId::new(text).unwrap())
}

proptest! {
    #[test]
    fn json_gives_back_the_program_that_was_written(program in any_program()) {
        prop_assert_eq!(Program::from_json(program.to_json().as_bytes()), Ok(program));
    }

    #[test]
    fn json_gives_back_the_deletion_that_was_written(program_id in any_id(), version: Option<u64>) {
        let deletion = Deletion { program_id, version };
        prop_assert_eq!(Update::from_json(deletion.to_json().as_bytes()), Ok(Update::Deleted(deletion.clone())));
    }

    #[test]
    fn a_hash_gives_back_the_program_that_was_written(program in any_program()) {
        let version = program.version.map(|version| ("version", version.to_string().into()));
        let read = Program::from_fields(program.to_fields().into_iter().chain(version));
        prop_assert_eq!(read, Ok(program.clone()));
    }

    #[test]
    fn a_list_gives_back_the_programs_that_were_written(programs in prop::collection::vec(any_program(), 0..5)) {
        let json = format!("[{}]", programs.iter().map(Program::to_json).collect::<Vec<_>>().join(","));
        prop_assert_eq!(Program::list_from_json(json.as_bytes()), Ok(programs));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(Program::from_json(&bytes));
        drop(Update::from_json(&bytes));
        drop(Program::list_from_json(&bytes));
    }

    #[test]
    fn no_damage_to_a_program_makes_the_reader_panic(at in 0..CONTRACT.len(), byte: u8, cut in 0..=CONTRACT.len()) {
        let mut json = CONTRACT.as_bytes().to_vec();
        json[at] = byte;
        drop(Program::from_json(&json));
        drop(Update::from_json(&json));
        drop(Program::from_json(&json[..cut]));
    }

    #[test]
    fn no_fields_make_the_reader_panic(fields in prop::collection::vec((".*", ".*"), 0..10)) {
        drop(Program::from_fields(fields));
    }
}
