//! How much work a record is for the server: it is the sink of load tests, and must not be what they measure.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test has a time of its own")]
#![allow(clippy::print_stdout, reason = "the figure is shown to whoever runs it with --nocapture")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use adtrack_tests::kinesis_server::KinesisServer;

const CONNECTIONS: usize = 4;
const CALLS_OF_EACH: usize = 200;
const RECORDS: usize = 500;
const RECORD_BYTES: usize = 250;
/// 200,000 records a second of one core.
const RECORD_CPU_MAX: Duration = Duration::from_micros(5);

/// A `PutRecords` call with everything around it; keys differ from call to call.
fn call(number: usize) -> Vec<u8> {
    use base64::Engine;
    let data = base64::engine::general_purpose::STANDARD.encode([7; RECORD_BYTES]);
    let entry = |record: usize| {
        let key = (number * RECORDS + record) as u128 * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        format!(r#"{{"Data":"{data}","PartitionKey":"{key:036x}"}}"#)
    };
    let entries: Vec<_> = (0..RECORDS).map(entry).collect();
    let body = format!(r#"{{"StreamName":"s","Records":[{}]}}"#, entries.join(","));
    format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: Kinesis_20131202.PutRecords\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one whole answer; it must be a 200.
fn read_answer(socket: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut chunk = [0; 65_536];
    loop {
        let read = socket.read(&mut chunk).unwrap();
        assert!(read > 0, "closed");
        buffer.extend_from_slice(&chunk[..read]);
        let Some(head) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
        if buffer.len() >= head + 4 + length {
            return;
        }
    }
}

/// Time that the threads of this name have had a core.
fn cpu_of_threads(name: &str) -> Duration {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let of = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if of("comm").trim_end() == name {
            nanoseconds +=
                of("schedstat").split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or_default();
        }
    }
    Duration::from_nanos(nanoseconds)
}

#[test]
fn a_record_costs_at_most_five_microseconds_of_one_core() {
    let server = KinesisServer::start().unwrap();
    server.create_stream("s", 4).unwrap();
    server.count_records();
    let port = server.port();
    let calls: Vec<Vec<Vec<u8>>> =
        (0..CONNECTIONS).map(|connection| (0..8).map(|number| call(connection * 8 + number)).collect()).collect();
    let (begun, cpu) = (Instant::now(), cpu_of_threads("kinesis-server"));
    let clients: Vec<_> = calls
        .into_iter()
        .map(|calls| {
            std::thread::spawn(move || {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let mut buffer = Vec::new();
                for call in calls.iter().cycle().take(CALLS_OF_EACH) {
                    socket.write_all(call).unwrap();
                    read_answer(&mut socket, &mut buffer);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let (elapsed, cpu) = (begun.elapsed(), cpu_of_threads("kinesis-server") - cpu);
    let records = CONNECTIONS * CALLS_OF_EACH * RECORDS;
    let each = cpu / u32::try_from(records).unwrap();
    println!(
        "{records} records of {RECORD_BYTES} bytes in calls of {RECORDS}: {each:?} of a core each, {:.0} a second beside the client",
        records as f64 / elapsed.as_secs_f64()
    );
    assert_eq!(server.totals("s").unwrap().records, records as u64);
    assert!(each <= RECORD_CPU_MAX, "{each:?}");
}
