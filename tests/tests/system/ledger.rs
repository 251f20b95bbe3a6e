//! The ledger: every event is accounted for, under load, through an outage, and across a kill; and shares are fair.

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::kinesis_server::Faults;
use adtrack_tests::load::{self, Until};
use http::StatusCode;
use serde_json::Value;

use crate::support::{
    DEADLINE, KNOWN_PATH, Load, accepted, alone, assert_unavailable, beside_others, delivered, fill, kinesis, logged,
    metric, printed, until, until_accepted, until_delivered, with_stream,
};

const IMBALANCE: &str = "adtrack_ledger_imbalance_events";
/// The three sample programs are of three customers.
const PROGRAMS: [(&str, i64); 3] = [("212312", 9123), ("212313", 9124), ("212314", 9125)];

async fn ledger(service: &Adtrack) -> Value {
    let answer = service.admin_get("/admin/ledger").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

fn number(account: &Value, name: &str) -> i64 {
    account[name].as_i64().unwrap_or_else(|| panic!("no {name} in {account}"))
}

/// What came, and what is somewhere; by the sum of all numbers of an account.
fn both_sides(account: &Value) -> (i64, i64) {
    let sum = |names: &[&str]| names.iter().map(|name| number(account, name)).sum::<i64>();
    let dropped: i64 = account["dropped"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
    let came = sum(&["accepted", "recovered", "replayed"]);
    (came, sum(&["spooled", "inFlight", "delivered", "deadLettered"]) + dropped)
}

/// Waits until nothing moves any more, and gives the ledger; it must come out even, for every customer too.
async fn settled(service: &Adtrack) -> Value {
    let told = until("everything to be settled", DEADLINE, async || {
        let told = ledger(service).await;
        (number(&told["total"], "inFlight") == 0 && number(&told["total"], "spooled") == 0).then_some(told)
    })
    .await;
    let accounts = told["customers"].as_array().unwrap().iter().chain([&told["total"], &told["other"]]);
    for account in accounts {
        let (came, held) = both_sides(account);
        assert_eq!(came, held, "{account}");
    }
    assert_eq!(told["imbalance"], 0);
    told
}

#[tokio::test]
async fn the_ledger_comes_out_even_under_load_through_an_outage_and_across_a_kill() {
    let _turn = alone().await;
    let mut kinesis = kinesis();
    let mut service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_KINESIS_QUEUE_EVENTS_MAX", "1000")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "262144")
        .start()
        .unwrap();
    let load = Load::start(service.public(), 16);
    until_accepted(&service, 3_000.0).await;
    kinesis.stop();
    until_accepted(&service, 10_000.0).await;
    let during = ledger(&service).await;
    assert!(number(&during["total"], "spooled") > 0, "{during}");
    kinesis.restart().unwrap();
    let more = metric(&service, "adtrack_kinesis_events_accepted_total").await + 2_000.0;
    until_accepted(&service, more).await;
    assert_eq!(metric(&service, IMBALANCE).await, 0.0);
    let mut answered = accepted(&load.finish());
    let first = settled(&service).await;
    assert_eq!(number(&first["total"], "accepted"), answered.len() as i64, "each answer is one event");
    assert_eq!(number(&first["total"], "delivered"), answered.len() as i64);

    kinesis.stop();
    let load = Load::start(service.public(), 16);
    let more = metric(&service, "adtrack_kinesis_events_accepted_total").await + 3_000.0;
    until_accepted(&service, more).await;
    service.kill_9();
    let killed = accepted(&load.finish());
    kinesis.restart().unwrap();
    service.restart().unwrap();
    answered.extend(killed.iter().cloned());
    until_delivered(&kinesis, &answered, DEADLINE).await;
    let second = settled(&service).await;
    let recovered = number(&second["total"], "recovered");
    assert!(recovered >= killed.len() as i64, "{recovered} of {}", killed.len());
    assert_eq!(number(&second["total"], "accepted"), 0);
    println!(
        "ledger: {} accepted and delivered through an outage; after kill -9 {} answered, {recovered} recovered; even",
        answered.len() - killed.len(),
        killed.len(),
    );
}

#[tokio::test]
async fn each_customer_has_an_account_and_the_metrics_show_the_first_of_them() {
    let _turn = beside_others().await;
    let kinesis = kinesis();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_EVENTS_LEDGER_CUSTOMERS_SHOWN", "2")
        .start()
        .unwrap();
    for (requests, (program, _)) in (1..).map(|index| index * 100).zip(PROGRAMS) {
        let answered = load::run(service.public(), &format!("/event/{program}"), 2, Until::Requests(requests)).await;
        assert_eq!(accepted(&answered).len() as u64, requests);
    }
    until("all to be delivered", DEADLINE, async || {
        (number(&ledger(&service).await["total"], "delivered") == 600).then_some(())
    })
    .await;
    let told = settled(&service).await;
    let customers: Vec<_> = told["customers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|customer| (number(customer, "customerId"), number(customer, "delivered")))
        .collect();
    assert_eq!(customers, [(9125, 300), (9124, 200)], "those of whom most has come");
    assert_eq!(number(&told["other"], "delivered"), 100);
    for (customer, events) in [("9125", 300.0), ("9124", 200.0), ("other", 100.0)] {
        let name = format!(r#"adtrack_ledger_events{{customer="{customer}",place="delivered"}}"#);
        assert_eq!(metric(&service, &name).await, events, "{name}");
    }
}

#[tokio::test]
async fn without_a_stream_the_ledger_is_what_the_log_holds_also_after_a_kill() {
    let _turn = beside_others().await;
    let mut service = Adtrack::builder().start().unwrap();
    let (answered, _) = fill(&service, KNOWN_PATH, 300).await;
    assert_eq!(number(&ledger(&service).await["total"], "spooled"), 300);
    service.kill_9();
    service.restart().unwrap();
    let (later, _) = fill(&service, KNOWN_PATH, 100).await;
    let told = until("what was there to be counted", DEADLINE, async || {
        let told = ledger(&service).await;
        (number(&told["total"], "recovered") == 300).then_some(told)
    })
    .await;
    assert_eq!((number(&told["total"], "accepted"), number(&told["total"], "spooled")), (100, 400));
    assert_eq!(logged(&service).ids.len(), answered.len() + later.len());
}

#[tokio::test]
async fn a_customer_that_bursts_into_a_hanging_stream_is_refused_and_the_others_are_not() {
    let _turn = alone().await;
    let kinesis = kinesis();
    kinesis.set_faults(Faults::default().hang_next(u32::MAX, 60_000));
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_EVENTS_DISK_BYTES_MAX", "1048576")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "65536")
        .start()
        .unwrap();
    let path = |program: &str| format!("/event/{program}?filler={}", "x".repeat(300));
    // They are known before the burst.
    let mut answered = std::collections::BTreeSet::new();
    for (program, _) in PROGRAMS {
        answered.extend(fill(&service, &path(program), 1).await.0);
    }
    let [quiet, burst, other] = PROGRAMS.map(|(program, _)| program);
    let (taken, refused) = fill(&service, &path(burst), 20_000).await;
    let burst_taken = taken.len();
    assert_unavailable(&refused.unwrap());
    answered.extend(taken);
    let mut share = 0;
    for _ in 0..100 {
        // It goes on bursting, fifty times as much as the others.
        for _ in 0..10 {
            let (taken, refused) = fill(&service, &path(burst), 1).await;
            assert!(refused.is_none_or(|refused| refused.status == StatusCode::SERVICE_UNAVAILABLE));
            answered.extend(taken);
        }
        for program in [quiet, other] {
            let (taken, refused) = fill(&service, &path(program), 1).await;
            assert!(refused.is_none(), "{program} after {share} events: {refused:?}");
            share += 1;
            answered.extend(taken);
        }
    }
    let refused = metric(&service, r#"adtrack_kinesis_events_refused_total{reason="fair_share"}"#).await;
    println!(
        "fair shares: {burst_taken} events of a burst taken, {refused} refused; {share} of two others, none refused"
    );
    assert!(refused >= 900.0);
    assert_eq!(metric(&service, r#"adtrack_kinesis_events_refused_total{reason="log_full"}"#).await, 0.0);
    kinesis.set_faults(Faults::default());
    until_delivered(&kinesis, &answered, DEADLINE * 2).await;
    settled(&service).await;
}

#[tokio::test]
async fn what_the_stream_has_refused_is_sent_once_more_when_somebody_asks_for_it() {
    let _turn = beside_others().await;
    let kinesis = kinesis();
    let settings = |service, bytes_max| {
        with_stream(service, &kinesis.endpoint())
            .env("ADTRACK_KINESIS_RECORD_BYTES_MAX", bytes_max)
            .env("ADTRACK_KINESIS_AGGREGATE_BYTES_MAX", "1024")
    };
    let mut service = settings(Adtrack::builder(), "1024").start().unwrap();
    let long = format!("/event/212313?filler={}", "x".repeat(2_000));
    let (answered, _) = fill(&service, &long, 5).await;
    until("them to be set aside", DEADLINE, async || {
        (number(&ledger(&service).await["total"], "deadLettered") == 5).then_some(())
    })
    .await;
    // The running service refuses them again.
    let again = service.command(&["events", "replay"], "").unwrap();
    assert!(again.status.success(), "{again:?}");
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("5 events of 1 files are in the log again and are sent"), "{told}");
    until("them to be set aside again", DEADLINE, async || {
        let told = ledger(&service).await;
        (number(&told["total"], "deadLettered") == 10 && number(&told["total"], "replayed") == 5).then_some(())
    })
    .await;
    settled(&service).await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(0), "what is set aside is not undelivered");
    // No service runs: the next one, with a higher limit, sends them.
    let by_itself = service.command(&["events", "replay"], "").unwrap();
    assert!(by_itself.status.success(), "{}", printed(&by_itself));
    std::fs::rename(service.data_dir(), &data).unwrap();
    let next = settings(Adtrack::builder().data_dir(&data), "1048576").start().unwrap();
    let delivered_all = until_delivered(&kinesis, &answered, DEADLINE).await;
    assert_eq!((delivered_all.ids, delivered_all.duplicates), (answered, 0));
    assert_eq!(number(&settled(&next).await["total"], "recovered"), 5);
    assert_eq!(delivered(&kinesis).ids.len(), 5);
}
