#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const LIMITS: Limits = Limits { programs_max: 100, file_bytes_max: 1 << 20 };
const SEED: &str =
    r#"[{"programId":"1","programName":"a","checksum":"c","customerId":1,"customerName":"n","valid":true}]"#;

fn program(id: &str, name: &str) -> Arc<Program> {
    let mut program = Program::list_from_json(SEED.as_bytes()).unwrap().remove(0);
    program.program_id = ProgramId::new(id).unwrap();
    program.program_name = name.to_owned();
    Arc::new(program)
}

fn open(dir: &Path) -> Opened {
    ProgramFile::open(dir, SEED, LIMITS).unwrap()
}

fn names(programs: &Programs) -> Vec<(&str, &str)> {
    programs.iter().map(|(id, program)| (id.as_str(), program.program_name.as_str())).collect()
}

#[test]
fn a_new_store_begins_with_the_seed_and_an_emptied_one_does_not_get_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    assert!(opened.seeded);
    assert_eq!(names(&opened.programs), [("1", "a")]);
    opened.file.clear().unwrap();
    drop(opened);
    let again = open(dir.path());
    assert!(!again.seeded);
    assert!(again.programs.is_empty());
}

#[test]
fn what_was_put_last_is_found_when_the_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path()).file;
    file.append(&[program("2", "b"), program("1", "z")], 2).unwrap();
    file.append(&[program("2", "y")], 2).unwrap();
    drop(file);
    assert_eq!(names(&open(dir.path()).programs), [("1", "z"), ("2", "y")]);
}

#[test]
fn what_was_deleted_is_not_found_when_the_file_is_opened_again_nor_after_it_was_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path()).file;
    file.append(&[program("2", "b")], 2).unwrap();
    file.delete(&Deletion { program_id: ProgramId::new("1").unwrap(), version: Some(1) }, 1).unwrap();
    drop(file);
    let mut opened = open(dir.path());
    assert_eq!(names(&opened.programs), [("2", "b")]);
    opened.file.compact().unwrap();
    drop(opened);
    assert_eq!(names(&open(dir.path()).programs), [("2", "b")]);
}

#[test]
fn a_second_writer_is_refused_and_told_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = ProgramFile::open(dir.path(), SEED, LIMITS).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }));
    assert!(second.to_string().contains("programs.lock is in use by another process"), "{second}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_was_torn_and_what_is_put_next_is_whole() {
    let line = line_of(&program("2", "b"));
    for cut in 1..line.len() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let path = dir.path().join(FILE_NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&line.as_bytes()[..cut]);
        fs::write(&path, bytes).unwrap();

        let mut opened = open(dir.path());
        let complete = cut == line.len() - 1;
        assert_eq!(opened.torn_bytes, if complete { 0 } else { cut as u64 });
        opened.file.append(&[program("3", "c")], 3).unwrap();
        drop(opened);
        let expected: &[_] = if complete { &[("1", "a"), ("2", "b"), ("3", "c")] } else { &[("1", "a"), ("3", "c")] };
        assert_eq!(names(&open(dir.path()).programs), expected, "cut at {cut}");
    }
}

#[test]
fn a_damaged_file_is_left_as_it_is_and_the_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let bytes =
        [line_of(&program("1", "a")).as_bytes(), b"\x00garbage\n", line_of(&program("2", "b")).as_bytes()].concat();
    fs::write(&path, &bytes).unwrap();
    let error = ProgramFile::open(dir.path(), SEED, LIMITS).unwrap_err().to_string();
    assert!(error.contains("programs.ndjson is damaged at line 2"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_line_without_end_is_damage_and_is_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(ProgramFile::open(dir.path(), SEED, LIMITS), Err(OpenError::Damaged { line: 1, .. })));
}

#[test]
fn a_file_of_outdated_lines_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path()).file;
    for round in 0..30 {
        let batch: Vec<_> = (0..100).map(|n| program("2", &format!("{round}-{n}"))).collect();
        file.append(&batch, 2).unwrap();
    }
    assert!(file.lines <= OUTDATED_LINES_MIN + 102, "{} lines", file.lines);
    assert_eq!(fs::metadata(file.path()).unwrap().len(), file.bytes);
    drop(file);
    assert_eq!(names(&open(dir.path()).programs), [("1", "a"), ("2", "29-99")]);
}

#[test]
fn at_the_byte_bound_puts_are_refused_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes_max: 1_000, ..LIMITS };
    let mut file = ProgramFile::open(dir.path(), SEED, limits).unwrap().file;
    let mut stored = 1;
    let refused = loop {
        match file.append(&[program(&format!("p{stored}"), "b")], stored + 1) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WriteError::Full { .. }), "{refused}");
    // An outdated line makes room for as much as it takes itself.
    file.append(&[program("p1", "c")], stored).unwrap_err();
    drop(file);
    assert_eq!(open(dir.path()).programs.len(), stored);
}

#[test]
fn a_file_with_too_many_programs_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path()).file;
    file.append(&[program("2", "b")], 2).unwrap();
    drop(file);
    let limits = Limits { programs_max: 1, ..LIMITS };
    assert!(matches!(ProgramFile::open(dir.path(), SEED, limits), Err(OpenError::Full { .. })));
}

#[test]
fn a_program_too_long_for_a_line_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes_max: 1 << 30, ..LIMITS };
    let mut file = ProgramFile::open(dir.path(), SEED, limits).unwrap().file;
    let long = program("2", &"x".repeat(LINE_BYTES_MAX));
    assert!(matches!(file.append(&[long], 2), Err(WriteError::TooLong { .. })));
}
