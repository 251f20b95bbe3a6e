//! Ends: asked for, and sudden. What was answered is never missing.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::binary::adtrack_binary;
use adtrack_tests::client::{Client, once};
use adtrack_tests::kinesis_server::Faults;
use adtrack_tests::services::{Process, Signal};
use http::{Method, StatusCode};

use crate::support::{
    DEADLINE, KNOWN, KNOWN_PATH, Load, accepted, alone, beside_others, delivered, event, id_in, kinesis, logged,
    metric, until, until_accepted, until_delivered, with_stream,
};

const CONNECTIONS: usize = 16;
/// How long an orderly end may take when everything works.
const EXIT: Duration = Duration::from_secs(10);
/// How long it may take whatever is down, with the default settings.
const EXIT_ALWAYS: Duration = Duration::from_secs(25);
/// The exit code when the stream has everything, and when it has not.
const ALL_DELIVERED: i32 = 0;
const EVENTS_LEFT: i32 = 3;

/// Ends a service under load by SIGTERM, and gives what it had answered, and how long its end took.
async fn terminate_under_load(service: &mut Adtrack, expected: i32) -> (BTreeSet<String>, Duration) {
    let load = Load::start(service.public(), CONNECTIONS);
    until_accepted(service, 3_000.0).await;
    let begun = Instant::now();
    service.sigterm().unwrap();
    let code = service.wait_exit(EXIT_ALWAYS).unwrap();
    let took = begun.elapsed();
    let accepted = accepted(&load.finish());
    assert_eq!(code, Some(expected), "{}", service.log());
    assert!(took < if expected == ALL_DELIVERED { EXIT } else { EXIT_ALWAYS }, "{took:?}");
    (accepted, took)
}

/// How many events the service says it has left.
fn told_left(service: &Adtrack) -> usize {
    let log = service.log();
    let line = log.lines().find(|line| line.contains("until the next start") && line.starts_with("adtrack: "));
    let line = line.unwrap_or_else(|| panic!("no word of what is left in\n{log}"));
    line.split(' ').nth(1).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[tokio::test]
async fn a_service_told_to_end_under_load_has_everything_in_the_stream_and_exits_0_within_10_s() {
    let _turn = alone().await;
    let kinesis = kinesis();
    let mut service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let (accepted, took) = terminate_under_load(&mut service, ALL_DELIVERED).await;
    // Nobody sends any more: this is what there is.
    let delivered = delivered(&kinesis);
    println!(
        "SIGTERM under load: {} answered, {} missing, {} twice, exit 0 after {took:.1?}",
        accepted.len(),
        delivered.missing(&accepted).len(),
        delivered.duplicates
    );
    assert!(delivered.missing(&accepted).is_empty());
}

#[tokio::test]
async fn a_service_told_to_end_under_load_without_a_stream_has_everything_in_the_log() {
    let _turn = alone().await;
    let mut service = Adtrack::builder().start().unwrap();
    let (accepted, took) = terminate_under_load(&mut service, ALL_DELIVERED).await;
    let logged = logged(&service);
    println!("SIGTERM under load, no stream: {} answered, exit 0 after {took:.1?}", accepted.len());
    assert!(logged.missing(&accepted).is_empty());
    assert_eq!(logged.duplicates, 0);
}

#[tokio::test]
async fn a_service_told_to_end_while_the_stream_is_down_keeps_everything_for_the_next_start() {
    let _turn = alone().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint());
    let mut service = service.env("ADTRACK_RUNTIME_SHUTDOWN_GRACE_MS", "4000").start().unwrap();
    let (accepted, took) = terminate_under_load(&mut service, EVENTS_LEFT).await;
    println!("SIGTERM under load, stream down: {} answered, exit 3 after {took:.1?}", accepted.len());
    assert!(took < Duration::from_secs(7), "2 s after the grace of 4 s, and a busy machine: {took:?}");
    assert!(told_left(&service) >= accepted.len(), "{} of {}", told_left(&service), accepted.len());
    kinesis.restart().unwrap();
    service.restart().unwrap();
    until_delivered(&kinesis, &accepted, DEADLINE).await;
}

#[tokio::test]
async fn a_service_told_to_end_while_the_stream_hangs_ends_in_time_and_loses_nothing() {
    let _turn = alone().await;
    let kinesis = kinesis();
    kinesis.set_faults(Faults::default().refuse_next(1, 500, "InternalFailure").hang_next(u32::MAX, 60_000));
    let mut service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let (accepted, took) = terminate_under_load(&mut service, EVENTS_LEFT).await;
    kinesis.set_faults(Faults::default());
    service.restart().unwrap();
    let delivered = until_delivered(&kinesis, &accepted, DEADLINE).await;
    println!(
        "SIGTERM under load, stream hanging: {} answered, exit 3 after {took:.1?}, 0 missing after the restart, {} twice",
        accepted.len(),
        delivered.duplicates
    );
}

#[tokio::test]
async fn a_second_signal_ends_what_a_hanging_stream_holds_up_at_once_and_loses_nothing() {
    let _turn = alone().await;
    let kinesis = kinesis();
    kinesis.set_faults(Faults::default().hang_next(u32::MAX, 60_000));
    let mut service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_EVENTS_DURABILITY_ALLOWED", "stream")
        .start()
        .unwrap();
    let (answered, refused) = crate::support::fill(&service, KNOWN_PATH, 500).await;
    assert!(refused.is_none());
    // Somebody waits for the stream itself.
    let address = service.public();
    let waiting =
        tokio::spawn(
            async move { once(address, Method::GET, KNOWN_PATH, &[("adtrack-durability", "stream")], "").await },
        );
    until_accepted(&service, 501.0).await;
    service.sigterm().unwrap();
    until("it to stop accepting", DEADLINE, async || service.get("/health/check").await.is_err().then_some(())).await;
    assert_eq!(service.wait_exit(Duration::ZERO).unwrap(), None, "it waits for the request, and for the stream");
    let hurried = Instant::now();
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(EVENTS_LEFT), "{}", service.log());
    println!("SIGTERM twice, stream hanging: exit 3 after {:.1?}", hurried.elapsed());
    assert!(hurried.elapsed() < Duration::from_secs(3), "{:?}", hurried.elapsed());
    assert!(waiting.await.unwrap().is_err() || told_left(&service) == 501);
    let verified = service.command(&["events", "verify"], "").unwrap();
    assert!(verified.status.success(), "the log was closed in order: {verified:?}");
    kinesis.set_faults(Faults::default());
    service.restart().unwrap();
    until_delivered(&kinesis, &answered, DEADLINE).await;
}

#[tokio::test]
async fn a_service_told_to_end_while_it_starts_ends_in_order() {
    let _turn = beside_others().await;
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(adtrack_binary().unwrap());
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", "data"]);
        command.env_clear().current_dir(dir.path());
        let mut process = Process::spawn(command, &dir.path().join("out")).unwrap();
        // One of its first steps; the others are under way when the signal comes.
        let lock = dir.path().join("data/events/lock");
        process.wait_until("the log to be opened", DEADLINE, || lock.exists().then_some(())).unwrap();
        process.signal(Signal::Term).unwrap();
        let status = process.wait(EXIT).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(ALL_DELIVERED), "{}", process.log());
        assert!(!dir.path().join("data/addresses.json").exists(), "nobody is there");
    }
}

#[tokio::test]
async fn a_draining_service_says_so_and_goes_on_answering_until_the_delay_is_over() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().env("ADTRACK_HTTP_DRAIN_DELAY_MS", "2000").start().unwrap();
    let mut client = Client::connect(service.public()).await.unwrap();
    assert_eq!(client.get("/health/check").await.unwrap().status, StatusCode::OK);
    let begun = Instant::now();
    service.sigterm().unwrap();
    until("/health/check to be 503", Duration::from_millis(1_500), async || {
        (service.get("/health/check").await.ok()?.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK, "new connections are served");
    assert!(!service.command(&["health", "--listen", &service.public().to_string()], "").unwrap().status.success());
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(2_000), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < EXIT, "{:?}", begun.elapsed());
    assert!(service.get("/health/check").await.is_err());
}

#[tokio::test]
async fn events_that_are_lost_because_they_were_answered_before_they_were_written_are_no_good_end() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder()
        .env("ADTRACK_EVENTS_DURABILITY", "memory")
        .env("ADTRACK_HTTP_DRAIN_DELAY_MS", "3000")
        .start()
        .unwrap();
    let folder = service.data_dir().join("events");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    service.sigterm().unwrap();
    until("/health/check to be 503", Duration::from_millis(2_000), async || {
        (service.get("/health/check").await.ok()?.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK, "answered, and then not to be written");
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(1), "{}", service.log());
    assert!(service.log().contains("adtrack: 1 events are lost"), "{}", service.log());
}

#[tokio::test]
async fn a_second_signal_cuts_the_delay_short() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder()
        .env("ADTRACK_HTTP_DRAIN_DELAY_MS", "60000")
        .env("ADTRACK_RUNTIME_SHUTDOWN_GRACE_MS", "120000")
        .start()
        .unwrap();
    service.sigterm().unwrap();
    until("/health/check to be 503", DEADLINE, async || {
        (service.get("/health/check").await.ok()?.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(EXIT).unwrap(), Some(0));
}

#[tokio::test]
async fn clients_that_never_finish_do_not_keep_a_service_from_ending() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    let mut open = Vec::new();
    for begun in ["", "GET /event/212313 HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut socket = std::net::TcpStream::connect(service.public()).unwrap();
        socket.write_all(begun.as_bytes()).unwrap();
        open.push(socket);
    }
    let mut idle = Client::connect(service.public()).await.unwrap();
    assert_eq!(idle.get(KNOWN_PATH).await.unwrap().status, StatusCode::OK);
    let begun = Instant::now();
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(0), "{}", service.log());
    println!("SIGTERM with unfinished clients: exit 0 after {:.1?}", begun.elapsed());
    assert!(begun.elapsed() < EXIT, "{:?}", begun.elapsed());
}

/// Kills a service under load, and gives what it had answered.
async fn kill_under_load(service: &mut Adtrack) -> BTreeSet<String> {
    let load = Load::start(service.public(), CONNECTIONS);
    until_accepted(service, 3_000.0).await;
    service.kill_9();
    accepted(&load.finish())
}

fn slow_to_ship(service: Builder) -> Builder {
    // Something is on its way to the stream whenever the end comes, and no more than this is in calls.
    service
        .env("ADTRACK_KINESIS_LINGER_MS", "300")
        .env("ADTRACK_KINESIS_BATCH_RECORDS_MAX", "100")
        .env("ADTRACK_KINESIS_IN_FLIGHT_MAX", "2")
}

/// The most that is in calls.
const IN_CALLS_MAX: usize = 200;

/// Waits until nothing is left to be sent.
async fn until_shipped(service: &Adtrack) {
    until("the log to be empty", DEADLINE, async || {
        (metric(service, "adtrack_kinesis_log_segments").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_killed_under_load_ships_everything_it_had_answered_after_its_restart() {
    let _turn = alone().await;
    let kinesis = kinesis();
    let mut service = slow_to_ship(with_stream(Adtrack::builder(), &kinesis.endpoint())).start().unwrap();
    let accepted = kill_under_load(&mut service).await;
    let before = delivered(&kinesis);
    service.restart().unwrap();
    let begun = Instant::now();
    until_delivered(&kinesis, &accepted, DEADLINE).await;
    let took = begun.elapsed();
    until_shipped(&service).await;
    let after = delivered(&kinesis);
    println!(
        "kill -9 under load: {} answered, {} not in the stream at the kill, 0 missing {:.1?} after the restart, {} twice",
        accepted.len(),
        before.missing(&accepted).len(),
        took,
        after.duplicates
    );
    assert!(!before.missing(&accepted).is_empty(), "the kill was to hit something");
    assert!(after.duplicates <= IN_CALLS_MAX, "{} twice", after.duplicates);
}

#[tokio::test]
async fn a_service_killed_again_and_again_under_load_loses_nothing() {
    let _turn = alone().await;
    let kinesis = kinesis();
    let mut service = slow_to_ship(with_stream(Adtrack::builder(), &kinesis.endpoint())).start().unwrap();
    let mut answered = BTreeSet::new();
    for _ in 0..5 {
        answered.extend(kill_under_load(&mut service).await);
        service.restart().unwrap();
    }
    until_delivered(&kinesis, &answered, DEADLINE).await;
    until_shipped(&service).await;
    let delivered = delivered(&kinesis);
    println!("kill -9 five times: {} answered, 0 missing, {} twice", answered.len(), delivered.duplicates);
    assert!(delivered.duplicates <= 5 * IN_CALLS_MAX, "{} twice", delivered.duplicates);
}

#[tokio::test]
async fn a_service_killed_under_load_without_a_stream_has_everything_in_the_log() {
    let _turn = alone().await;
    let mut service = Adtrack::builder().start().unwrap();
    let mut answered = kill_under_load(&mut service).await;
    assert!(logged(&service).missing(&answered).is_empty(), "before the restart");
    service.restart().unwrap();
    answered.insert(id_in(&event(&service, KNOWN).await));
    let logged = logged(&service);
    println!("kill -9 under load, no stream: {} answered, 0 missing", answered.len());
    assert!(logged.missing(&answered).is_empty());
    assert_eq!(logged.duplicates, 0);
}

#[tokio::test]
async fn a_torn_end_and_foreign_files_in_the_log_do_not_stop_a_start_and_cost_no_whole_event() {
    let _turn = beside_others().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let mut service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let (answered, refused) = crate::support::fill(&service, KNOWN_PATH, 200).await;
    assert!(refused.is_none());
    service.kill_9();
    let events = service.data_dir().join("events");
    let segments: Vec<_> = std::fs::read_dir(&events)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    assert!(!segments.is_empty());
    for segment in &segments {
        // The length of a record of 200 bytes, its checksum, and three bytes of it: the power went out here.
        let torn = [&200_u32.to_le_bytes()[..], &7_u32.to_le_bytes(), b"abc"].concat();
        std::fs::File::options().append(true).open(segment).unwrap().write_all(&torn).unwrap();
    }
    std::fs::write(events.join("0000000000001-000-000001.log"), b"this is no segment").unwrap();
    std::fs::write(events.join("0000000000002-000-000001.log"), b"").unwrap();
    std::fs::write(events.join("notes.txt"), b"a foreign file").unwrap();
    kinesis.restart().unwrap();
    service.restart().unwrap();
    let delivered = until_delivered(&kinesis, &answered, DEADLINE).await;
    assert_eq!(delivered.ids, answered, "nothing was made up");
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK);
    assert_eq!(std::fs::read(events.join("notes.txt")).unwrap(), b"a foreign file");
    assert!(service.log().contains("notes.txt"), "it is named in a log line");
}
