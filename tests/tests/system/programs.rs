//! `adtrack programs` and what its changes do to a service with the embedded store.

use std::process::Output;

use adtrack_tests::adtrack::Adtrack;
use http::StatusCode;

use crate::support::{
    DEADLINE, KNOWN, beside_others, dependency, errors, event, id_in, log_events, logged, metric, name_in, printed,
    program, run_to_end, until,
};

/// Runs `adtrack programs` beside the service, or where it was.
fn programs(service: &Adtrack, arguments: &[&str], input: &str) -> Output {
    let arguments: Vec<_> = ["programs"].iter().chain(arguments).copied().collect();
    service.command(&arguments, input).unwrap()
}

#[track_caller]
fn put(service: &Adtrack, json: &str) {
    let output = programs(service, &["put", "-"], json);
    assert!(output.status.success(), "{}", errors(&output));
}

fn invalid(id: &str) -> String {
    program(id, "over").replace(r#""valid":true"#, r#""valid":false"#)
}

#[tokio::test]
async fn a_program_that_is_put_changes_the_next_answer() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    for round in 0..20 {
        let name = format!("round {round}");
        put(&service, &program(KNOWN, &name));
        assert_eq!(name_in(&event(&service, KNOWN).await), name);
    }
}

#[tokio::test]
async fn a_program_that_was_just_unknown_is_known_as_soon_as_it_is_put() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    assert_eq!(event(&service, "new").await.status, StatusCode::NOT_FOUND);
    put(&service, &program("new", "fresh"));
    assert_eq!(name_in(&event(&service, "new").await), "fresh");
}

#[tokio::test]
async fn a_program_is_read_from_a_file_too() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let file = service.data_dir().join("one.json");
    std::fs::write(&file, program("from-file", "filed")).unwrap();
    let output = programs(&service, &["put", file.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(name_in(&event(&service, "from-file").await), "filed");
}

#[tokio::test]
async fn programs_are_got_and_listed_in_the_contracts_shape() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let got = programs(&service, &["get", KNOWN], "");
    assert_eq!(printed(&got).trim_end(), program(KNOWN, "program2"));
    let absent = programs(&service, &["get", "999999"], "");
    assert!(!absent.status.success(), "an absent program is a failure for a script");
    assert!(printed(&absent).is_empty() && errors(&absent).contains("999999"), "{}", errors(&absent));
    let listed = printed(&programs(&service, &["list"], ""));
    let mut names: Vec<_> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["programName"].to_string())
        .collect();
    names.sort();
    assert_eq!(names, [r#""program1""#, r#""program2""#, r#""program3""#]);
}

#[tokio::test]
async fn an_import_takes_what_is_a_program_and_names_the_lines_that_are_not() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let lines =
        [&program("a", "first"), "nonsense", &program("b", "x").replace("9124", "1e999"), &program("c", "third")];
    let output = programs(&service, &["import", "-"], &lines.join("\n"));
    assert!(!output.status.success(), "a script must see that not everything was imported");
    let said = format!("{}{}", printed(&output), errors(&output));
    assert!(said.contains("line 2") && said.contains("line 3") && !said.contains("line 4"), "{said}");
    assert_eq!(name_in(&event(&service, "a").await), "first");
    assert_eq!(name_in(&event(&service, "c").await), "third");
    assert_eq!(event(&service, "b").await.status, StatusCode::NOT_FOUND);
    let all = programs(&service, &["import", "-"], &format!("[{},\n{}]", program("d", "x"), program("e", "y")));
    assert!(all.status.success(), "{}", errors(&all));
    assert_eq!(name_in(&event(&service, "e").await), "y");
}

#[tokio::test]
async fn what_is_no_program_is_refused_with_the_field_and_its_value() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    for (wrong, named) in [
        (program("x", "n").replace("9124", "99999999999"), "customerId"),
        (program("", "n"), "programId"),
        (program("a b", "n"), "programId"),
        (program("x", "n").replace("true", "7"), "valid"),
        ("[".repeat(100_000), "standard input"),
        ("{".to_owned(), "standard input"),
    ] {
        let output = programs(&service, &["put", "-"], &wrong);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains(named), "{}", errors(&output));
    }
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
}

#[tokio::test]
async fn a_program_that_no_url_can_ask_for_is_refused_by_the_command_and_by_the_service() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let refused = programs(&service, &["put", "-"], &program("a/b", "n"));
    assert_eq!(refused.status.code(), Some(1));
    let said = errors(&refused);
    assert!(said.contains("programId has '/'") && said.contains("http.program_id_chars"), "{said}");
    let answer = service.admin_post("/programs", &program("a/b", "n")).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("http.program_id_chars"), "{}", answer.text());
    assert_eq!(programs(&service, &["get", "a/b"], "").status.code(), Some(1), "it is not there");
}

#[tokio::test]
async fn looking_into_a_mistyped_data_directory_says_so_and_makes_nothing() {
    let _turn = beside_others().await;
    let dir = tempfile::tempdir().unwrap();
    let mistyped = dir.path().join("adtrack-date");
    let mistyped_name = mistyped.to_str().unwrap();
    for command in [&["programs", "get", KNOWN][..], &["programs", "list"]] {
        let arguments: Vec<_> = command.iter().chain(&["--data-dir", mistyped_name]).copied().collect();
        let (code, said) = run_to_end(&arguments, &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("data.dir is") && said.contains(mistyped_name), "{said}");
        assert!(!mistyped.exists());
    }
}

#[tokio::test]
async fn a_put_says_who_knows_of_it() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    let told = |output: &Output| errors(output).trim_end().to_owned();
    assert_eq!(told(&programs(&service, &["put", "-"], &program("a", "n"))), "a is stored and published");
    service.kill_9();
    let alone = told(&programs(&service, &["put", "-"], &program("b", "n")));
    assert!(alone.starts_with("b is stored in ") && alone.ends_with("no service is running there"), "{alone}");
}

#[tokio::test]
async fn a_data_directory_removed_under_the_service_is_told_and_gets_no_second_store() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    std::fs::remove_dir_all(service.data_dir()).unwrap();
    let health = until("the store to notice", DEADLINE, async || {
        let health = dependency(&service, 0).await;
        (health["up"] == false).then_some(health)
    })
    .await;
    assert!(health["detail"].as_str().unwrap().contains("programs.ndjson: the file was removed"), "{health}");
    let note = service.data_dir().join("addresses.json");
    until("the addresses to be noted again", DEADLINE, async || note.exists().then_some(())).await;
    let refused = programs(&service, &["put", "-"], &program(KNOWN, "second store"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("was removed while the store was open"), "{}", errors(&refused));
    assert!(!service.data_dir().join("programs.ndjson").exists());
    assert_eq!(printed(&programs(&service, &["get", KNOWN], "")).trim_end(), program(KNOWN, "program2"));
    // Events go on: their log is made anew, and is this service's alone.
    let kept = id_in(&event(&service, KNOWN).await);
    assert_eq!(logged(&service).ids.into_iter().collect::<Vec<_>>(), [kept]);
    let dir = service.data_dir().to_str().unwrap();
    let (code, said) =
        run_to_end(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", dir], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another process"), "{said}");
}

#[tokio::test]
async fn a_program_that_is_deleted_is_gone_at_once_and_after_a_restart() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    let deleted = programs(&service, &["delete", KNOWN], "");
    assert!(deleted.status.success() && errors(&deleted).contains("is deleted and published"), "{}", errors(&deleted));
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::NOT_FOUND);
    service.kill_9();
    let deleted = programs(&service, &["delete", "212312"], "");
    assert!(
        errors(&deleted).contains("is deleted in") && errors(&deleted).contains("for the next start"),
        "{}",
        errors(&deleted)
    );
    service.restart().unwrap();
    for id in [KNOWN, "212312"] {
        assert_eq!(event(&service, id).await.status, StatusCode::NOT_FOUND, "{id}");
    }
    assert_eq!(name_in(&event(&service, "212314").await), "program3");
}

#[tokio::test]
async fn programs_put_while_the_service_is_down_are_there_when_it_is_back() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    put(&service, &program("while-up", "one"));
    service.kill_9();
    put(&service, &program("while-down", "two"));
    let got = printed(&programs(&service, &["get", "while-up"], ""));
    let unversioned = program("while-up", "one");
    assert!(got.starts_with(&format!("{},\"version\":", unversioned.trim_end_matches('}'))), "{got}");
    assert_eq!(printed(&programs(&service, &["list"], "")).lines().count(), 5);
    service.restart().unwrap();
    assert_eq!(name_in(&event(&service, "while-up").await), "one");
    assert_eq!(name_in(&event(&service, "while-down").await), "two");
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
}

#[tokio::test]
async fn events_of_a_program_that_is_no_longer_valid_are_kept_and_say_so() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    put(&service, &invalid("ended"));
    let answer = event(&service, "ended").await;
    assert_eq!((answer.status, &answer.json()["valid"]), (StatusCode::OK, &false.into()));
    let events = log_events(&service);
    assert_eq!((&events[0]["messageId"], &events[0]["valid"]), (&id_in(&answer).into(), &false.into()));
}

#[tokio::test]
async fn events_of_an_invalid_program_are_410_and_not_kept_when_told_to_reject_them() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().env("ADTRACK_HTTP_ON_INVALID", "reject").start().unwrap();
    put(&service, &invalid("ended"));
    let answer = event(&service, "ended").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::GONE, "application/json"));
    let kept = id_in(&event(&service, KNOWN).await);
    assert_eq!(logged(&service).ids.into_iter().collect::<Vec<_>>(), [kept]);
    assert_eq!(metric(&service, "adtrack_http_events_rejected_invalid_total").await, 1.0);
}

#[tokio::test]
async fn a_service_that_demands_a_token_is_changed_with_it() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().env("ADTRACK_ADMIN_TOKEN", "0123456789abcdef").start().unwrap();
    put(&service, &program("with-token", "trusted"));
    assert_eq!(name_in(&event(&service, "with-token").await), "trusted");
}
