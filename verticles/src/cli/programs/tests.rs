#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::net::TcpListener;
use std::path::Path;

use adtrack_config::{Config, Overrides};

use super::*;
use crate::addresses::Addresses;
use crate::cli::EmbeddedTarget;
use crate::embedded::{Limits, ProgramFile};

const LIMITS: Limits = Limits { programs_max: 10_000, file_bytes_max: 1 << 30 };

/// The store in a directory, of a service whose admin API nobody knows.
fn store(dir: &Path) -> EmbeddedTarget {
    let admin = "127.0.0.1:0".parse().unwrap();
    EmbeddedTarget { data_dir: dir.to_owned(), limits: LIMITS, admin, token: None }
}

fn embedded(dir: &Path) -> Target {
    Target::Embedded(store(dir))
}

fn ids() -> ProgramIdRule {
    Config::load(&Overrides::default(), &[("ADTRACK_HTTP_LISTEN", "127.0.0.1:0")]).unwrap().http.program_id_rule()
}

fn input(text: impl Into<String>) -> Input {
    Input::new("input", Cursor::new(text.into().into_bytes()))
}

fn json(id: &str) -> String {
    format!(
        r#"{{"programId":"{id}","programName":"p","checksum":"c","customerId":"9124","customerName":"n","valid":true}}"#
    )
}

fn listed(target: &Target) -> Vec<String> {
    let mut out = Vec::new();
    let count = list(target, &mut out).unwrap();
    let lines: Vec<_> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len() as u64, count);
    lines
}

#[test]
fn without_a_service_the_file_is_put_into_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let stored = put(&target, &ids(), input(json("7"))).unwrap();
    assert_eq!((stored.program_id.as_str(), stored.published), ("7", false));
    assert_eq!(get(&target, "7").unwrap().unwrap().customer_id, 9124);
    assert_eq!(get(&target, "8").unwrap(), None);
    assert_eq!(get(&target, "212313").unwrap().unwrap().program_name, "program2");
    assert_eq!(listed(&target).len(), 4);
}

#[test]
fn without_a_service_a_program_is_deleted_from_the_file_and_what_is_put_again_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    put(&target, &ids(), input(json("7"))).unwrap();
    assert_eq!(delete(&target, "7").unwrap(), Deletion { was_stored: true, published: false });
    assert_eq!(get(&target, "7").unwrap(), None);
    assert_eq!(delete(&target, "7").unwrap(), Deletion { was_stored: false, published: false });
    assert!(matches!(delete(&target, "a b"), Err(ProgramsError::Id(_))));
    put(&target, &ids(), input(json("7"))).unwrap();
    assert_eq!(listed(&target).len(), 4);
}

#[test]
fn a_lower_version_is_refused_and_in_an_import_those_beside_it_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let versioned = |id, version| json(id).replace("true}", &format!("true,\"version\":{version}}}"));
    put(&target, &ids(), input(versioned("7", 10))).unwrap();
    let refused = put(&target, &ids(), input(versioned("7", 9))).unwrap_err().to_string();
    assert!(refused.starts_with("program 7 is not stored: its version 9 is below 10"), "{refused}");
    let mut report = Vec::new();
    let lines = format!("{}\n{}\n{}\n", versioned("7", 8), json("8"), versioned("7", 11));
    let imported = import(&target, &ids(), input(lines), &mut report).unwrap();
    assert_eq!(imported, Imported { imported: 2, failed: 1, published: false });
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("program 7 is not stored: its version 8"), "{report}");
    assert_eq!(get(&target, "7").unwrap().unwrap().version, Some(11));
}

#[test]
fn looking_at_a_directory_without_a_store_says_so_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("mistyped");
    let file = tempfile::NamedTempFile::new().unwrap();
    for data_dir in [&missing, dir.path(), file.path()] {
        let target = embedded(data_dir);
        let told =
            [get(&target, "212313").unwrap_err().to_string(), list(&target, &mut Vec::new()).unwrap_err().to_string()];
        for told in told {
            let expected = format!("data.dir is {}: there is no program store in it", data_dir.display());
            assert!(told.starts_with(&expected), "{told}");
        }
    }
    assert!(!missing.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_program_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let refused = put(&target, &ids(), input(json("7").replace("9124", "x"))).unwrap_err().to_string();
    assert_eq!(
        refused,
        "input is not a program: customerId is \"x\", it must be an integer between -2147483648 and 2147483647, or that as \
         text"
    );
    let long = put(&target, &ids(), input("x".repeat(70_000))).unwrap_err();
    assert!(matches!(long, ProgramsError::TooLong { .. }));
    assert!(matches!(get(&target, "a b"), Err(ProgramsError::Id(_))));
    assert!(matches!(Input::open("/nowhere/at/all"), Err(ProgramsError::Input { .. })));
}

#[test]
fn a_program_that_no_url_can_ask_for_is_refused_with_the_setting_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let refused = put(&target, &ids(), input(json("a/b"))).unwrap_err().to_string();
    assert!(refused.starts_with("input is not stored: programId has '/'"), "{refused}");
    assert!(refused.contains("http.program_id_chars"), "{refused}");
    let narrow = [("ADTRACK_HTTP_PROGRAM_ID_BYTES_MAX", "3"), ("ADTRACK_HTTP_PROGRAM_ID_CHARS", "a-z/")];
    let narrow = Config::load(&Overrides::default(), &narrow).unwrap().http.program_id_rule();
    let refused = put(&target, &narrow, input(json("abcd"))).unwrap_err().to_string();
    assert!(refused.ends_with("http.program_id_bytes_max is 3"), "{refused}");
    assert_eq!(put(&target, &narrow, input(json("a/b"))).unwrap().program_id.as_str(), "a/b");

    let mut report = Vec::new();
    let lines = format!("{}\n{}\n", json("c"), json("c+d"));
    assert_eq!(
        import(&target, &ids(), input(lines), &mut report).unwrap(),
        Imported { imported: 1, failed: 1, published: false }
    );
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("input, line 2: programId has '+'"), "{report}");
    assert_eq!(get(&target, "c+d").unwrap(), None);
}

#[test]
fn an_import_stores_what_is_a_program_and_names_the_lines_that_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let lines = format!("{}\n\nnonsense\n{}\n{}\n", json("a"), json("b").replace("true", "1"), json("c"));
    let mut report = Vec::new();
    let imported = import(&target, &ids(), input(lines), &mut report).unwrap();
    assert_eq!(imported, Imported { imported: 2, failed: 2, published: false });
    let report = String::from_utf8(report).unwrap();
    assert!(
        report.contains("input, line 3: not a JSON object") && report.contains("input, line 4: valid is 1"),
        "{report}"
    );
    assert!(get(&target, "a").unwrap().is_some() && get(&target, "b").unwrap().is_none());
}

#[test]
fn an_import_of_many_goes_in_batches_and_shows_progress() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let programs: Vec<_> = (0..9_900).map(|n| json(&format!("p{n}"))).collect();
    let twice = format!("[{},\n{}]", programs.join(","), programs[..200].join(","));
    let mut report = Vec::new();
    assert_eq!(
        import(&target, &ids(), input(twice), &mut report).unwrap(),
        Imported { imported: 10_100, failed: 0, published: false }
    );
    assert!(String::from_utf8(report).unwrap().contains("programs imported"));
    assert_eq!(listed(&target).len(), 9_903);
}

#[test]
fn an_import_into_a_full_store_tells_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { programs_max: 1_500, ..LIMITS };
    let target = Target::Embedded(EmbeddedTarget { limits, ..store(dir.path()) });
    let programs: Vec<_> = (0..2_000).map(|n| json(&format!("p{n}"))).collect();
    let stopped = import(&target, &ids(), input(programs.join("\n")), &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(stopped, "stopped after 1000 programs: the store is full: store.programs_max is 1500");
}

#[test]
fn a_store_in_use_whose_service_is_not_known_or_not_there_is_read_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let held = ProgramFile::open(dir.path(), "[]", LIMITS).unwrap();
    let put = || super::put(&target, &ids(), input(json("7")));
    let unknown = put().unwrap_err().to_string();
    assert!(unknown.contains("where its service listens is not known"), "{unknown}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Addresses { public: nobody, admin: nobody, pid: 1 }.write(dir.path()).unwrap();
    let unreachable = put().unwrap_err().to_string();
    assert!(unreachable.contains("cannot be reached"), "{unreachable}");
    assert_eq!(get(&target, "7").unwrap(), None);
    drop(held);
    assert!(!put().unwrap().published);
}

#[test]
fn commands_at_the_same_time_wait_for_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(dir.path());
    let stored = std::thread::scope(|scope| {
        let puts: Vec<_> = (0..8)
            .map(|n| {
                let target = &target;
                scope.spawn(move || put(target, &ids(), input(json(&format!("p{n}")))).map(|_| ()))
            })
            .collect();
        puts.into_iter().map(|put| put.join().unwrap()).collect::<Result<Vec<()>, _>>()
    });
    stored.unwrap();
    assert_eq!(listed(&target).len(), 3 + 8);
}

#[test]
fn a_service_that_names_the_directory_is_asked_also_when_its_files_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let deps = format!("{{\"dataDir\":\"{}\"}}", data_dir.display());
    let service = answering(vec![
        ("200 OK", deps.clone()),
        ("503 Service Unavailable", "{\"error\":\"removed\"}".to_owned()),
        ("200 OK", deps),
        ("200 OK", json("7")),
        ("200 OK", "{\"dataDir\":\"/elsewhere\"}".to_owned()),
    ]);
    let target = Target::Embedded(EmbeddedTarget { admin: service.address, ..store(&data_dir) });
    let refused = put(&target, &ids(), input(json("7"))).unwrap_err().to_string();
    assert!(refused.contains("503") && refused.contains("removed"), "{refused}");
    assert!(!data_dir.exists(), "there is no second store");
    assert_eq!(get(&target, "7").unwrap().unwrap().customer_id, 9124);
    // A service of another directory is none of ours.
    assert!(matches!(get(&target, "7"), Err(ProgramsError::Store(StoreError::NoStore { .. }))));
    drop(service.requests());
}

#[test]
fn a_running_service_is_asked_through_its_admin_api_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("ADTRACK_ADMIN_TOKEN", "0123456789abcdef")];
    let token = Config::load(&Overrides::default(), &environment).unwrap().admin.token;
    let target = Target::Embedded(EmbeddedTarget { token, ..store(dir.path()) });
    let _held = ProgramFile::open(dir.path(), "[]", LIMITS).unwrap();
    let page = format!("{{\"programs\":[{}],\"next\":\"a/b\"}}", json("7"));
    // The first question of each command is whose service this is.
    let who = || ("200 OK", "{}".to_owned());
    let service = answering(vec![
        who(),
        ("204 No Content", String::new()),
        who(),
        ("200 OK", json("7")),
        who(),
        ("404 Not Found", "\"no\"".to_owned()),
        who(),
        ("200 OK", page),
        ("200 OK", "{\"programs\":[],\"next\":null}".to_owned()),
        who(),
        ("503 Service Unavailable", "{\"error\":\"down\"}".to_owned()),
        ("401 Unauthorized", String::new()),
        ("401 Unauthorized", String::new()),
    ]);
    let admin = service.address;
    Addresses { public: admin, admin, pid: 1 }.write(dir.path()).unwrap();

    assert!(put(&target, &ids(), input(json("7"))).unwrap().published);
    assert_eq!(get(&target, "7").unwrap().unwrap().customer_id, 9124);
    assert_eq!(get(&target, "a/7").unwrap(), None);
    assert_eq!(listed(&target).len(), 1);
    let down = put(&target, &ids(), input(json("7"))).unwrap_err().to_string();
    assert!(down.ends_with("answered 503 Service Unavailable: {\\\"error\\\":\\\"down\\\"}"), "{down}");
    let refused = get(&target, "7").unwrap_err().to_string();
    assert!(refused.contains("refuses the token") && !refused.contains("0123456789"), "{refused}");

    let requests = service.requests();
    assert!(requests.iter().all(|request| request.contains("authorization: Bearer 0123456789abcdef")));
    let requests: Vec<_> = requests.iter().filter(|request| !request.starts_with("GET /health/deps ")).collect();
    let firsts: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        firsts[..5],
        [
            "POST /programs HTTP/1.1",
            "GET /programs/7 HTTP/1.1",
            "GET /programs/a%2F7 HTTP/1.1",
            "GET /programs?limit=500 HTTP/1.1",
            "GET /programs?limit=500&cursor=a%2Fb HTTP/1.1",
        ]
    );
    let stored = Program::list_from_json(requests[0].split("\r\n\r\n").nth(1).unwrap().as_bytes()).unwrap();
    assert_eq!(stored[0].program_id.as_str(), "7");
}

/// A service that has its answers ready, one for each connection.
struct Answering {
    address: std::net::SocketAddr,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Answering {
    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn answering(answers: Vec<(&'static str, String)>) -> Answering {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let answer = |(status, body): (&str, String)| {
            let (mut socket, _) = listener.accept().unwrap();
            let request = read_request(&mut socket);
            let length =
                if status.starts_with("204") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
            write!(socket, "HTTP/1.1 {status}\r\n{length}connection: close\r\n\r\n{body}").unwrap();
            request
        };
        answers.into_iter().map(answer).collect()
    });
    Answering { address, thread }
}

fn read_request(socket: &mut std::net::TcpStream) -> String {
    let mut reader = BufReader::new(socket);
    let (mut request, mut length) = (String::new(), 0);
    while !request.ends_with("\r\n\r\n") {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request + &String::from_utf8(body).unwrap()
}
