//! Starting, refusing to start, and the commands that look at a service.

use adtrack_tests::adtrack::Adtrack;
use http::StatusCode;

use crate::support::{beside_others, event, printed, run_to_end};

/// EX_CONFIG of sysexits.h.
const EXIT_CONFIG: i32 = 78;

#[tokio::test]
async fn a_second_service_on_one_data_directory_is_refused_and_the_first_goes_on() {
    let _turn = beside_others().await;
    let first = Adtrack::builder().start().unwrap();
    let dir = first.data_dir().to_str().unwrap();
    let (code, said) =
        run_to_end(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", dir], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another process") && said.contains(dir), "{said}");
    assert_eq!(event(&first, "212312").await.status, StatusCode::OK);
    assert!(
        first.command(&["health", "--listen", "127.0.0.1:0"], "").unwrap().status.success(),
        "its addresses stay noted"
    );
}

#[tokio::test]
async fn a_second_service_on_one_port_is_refused_with_the_key_and_the_address() {
    let _turn = beside_others().await;
    let first = Adtrack::builder().start().unwrap();
    let (public, admin) = (first.public().to_string(), first.admin().to_string());
    let free = "127.0.0.1:0";
    for (listen, admin_listen, key, taken) in
        [(&*public, free, "http.listen", &public), (free, &*admin, "admin.listen", &admin)]
    {
        let (code, said) = run_to_end(&["--listen", listen, "--admin-listen", admin_listen], &[]);
        assert_eq!(code, Some(1));
        assert!(said.contains(key) && said.contains(taken), "{said}");
    }
}

#[tokio::test]
async fn health_is_success_while_the_service_is_ready_and_failure_when_it_is_gone() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    let public = service.public().to_string();
    // By the address it was given, and by the one the service has noted.
    for listen in [&*public, "127.0.0.1:0"] {
        assert_eq!(service.command(&["health", "--listen", listen], "").unwrap().status.code(), Some(0), "{listen}");
    }
    assert_eq!(service.get("/health/check").await.unwrap().status, StatusCode::OK);
    service.kill_9();
    for listen in [&*public, "127.0.0.1:0"] {
        let output = service.command(&["health", "--listen", listen], "").unwrap();
        assert_eq!(output.status.code(), Some(1), "{listen}");
        assert!(!output.stderr.is_empty(), "it says why");
    }
}

#[tokio::test]
async fn the_settings_are_printed_with_their_values_and_origins() {
    let _turn = beside_others().await;
    let environment = [
        ("ADTRACK_KINESIS_LINGER_MS", "7"),
        ("REDIS_HOST", "redis.example"),
        ("ADTRACK_ADMIN_TOKEN", "0123456789abcdef"),
    ];
    let (code, said) = run_to_end(&["check-config", "--listen", "127.0.0.1:8181"], &environment);
    assert_eq!(code, Some(0));
    for (key, value, origin) in [
        ("http.listen", "127.0.0.1:8181", "--listen"),
        ("kinesis.linger_ms", "7", "ADTRACK_KINESIS_LINGER_MS"),
        ("redis.host", "redis.example", "REDIS_HOST"),
        ("cache.ttl_ms", "600", "default"),
    ] {
        let line = said.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} is not in {said}"));
        assert!(line.contains(value) && line.contains(origin), "{line}");
    }
    assert!(!said.contains("0123456789abcdef"), "a secret is not printed");
}

#[tokio::test]
async fn bad_settings_are_all_told_with_key_value_and_range() {
    let _turn = beside_others().await;
    let environment = [
        ("ADTRACK_HTTP_LOOKUP_TIMEOUT_MS", "5000"),
        ("ADTRACK_KINESIS_BATCH_RECORDS_MAX", "501"),
        ("ADTRACK_HTTP_LISTEN", "localhost"),
        ("ADTRACK_HTTP_ON_INVALID", "ignore"),
        ("REDIS_PORT", "x"),
        ("ADTRACK_KINESIS_LINGERMS", "1"),
    ];
    for command in ["serve", "check-config"] {
        let (code, said) = run_to_end(&[command], &environment);
        assert_eq!(code, Some(EXIT_CONFIG), "{said}");
        for parts in [
            ["http.lookup_timeout_ms", "5000", "1000"],
            ["kinesis.batch_records_max", "501", "500"],
            ["http.listen", "localhost", "port"],
            ["http.on_invalid", "ignore", "reject"],
            ["redis.port", "x", "65535"],
            ["ADTRACK_KINESIS_LINGERMS", "ADTRACK_KINESIS_LINGER_MS", ""],
        ] {
            let told = said
                .lines()
                .any(|line| parts.iter().all(|part| line.replace('_', "").contains(&part.replace('_', ""))));
            assert!(told, "{parts:?} is not in\n{said}");
        }
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_named() {
    let _turn = beside_others().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let (code, said) =
        run_to_end(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", path], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("data.dir") && said.contains(path), "{said}");
}

#[tokio::test]
async fn settings_come_from_a_file_below_the_environment() {
    let _turn = beside_others().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adtrack.toml");
    std::fs::write(&file, "[http]\nuser_agent_bytes_max = 3\nurl_bytes_max = 100\n").unwrap();
    let service =
        Adtrack::builder().env("ADTRACK_HTTP_URL_BYTES_MAX", "200").arg("--config").arg(&file).start().unwrap();
    let headers = [("user-agent", "abcdef")];
    let answer = crate::support::event_with(&service, crate::support::KNOWN_PATH, &headers).await;
    assert_eq!(answer.json()["userAgent"], "abc");
    let long = format!("/event/212313?{}", "x".repeat(150));
    assert_eq!(service.get(&long).await.unwrap().status, StatusCode::OK, "the environment is above the file");
}

#[tokio::test]
async fn the_start_says_where_it_listens_and_in_which_mode() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let said = service.log();
    assert!(said.contains(&format!("curl http://{}/event/212313", service.public())), "{said}");
    assert!(said.contains("programs from") && said.contains("events stay in"), "{said}");
    let deps = service.admin_get("/health/deps").await.unwrap().json();
    assert_eq!(deps["status"], "ok", "{deps}");
    assert_eq!(deps["dataDir"], service.data_dir().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(crate::support::metric(&service, "adtrack_log_lines_dropped_total").await, 0.0);
    let version = service.command(&["--version"], "").unwrap();
    assert!(printed(&version).starts_with("adtrack "));
}
