//! The servers that the system tests start do what those tests rely on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests have a time of their own")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use adtrack_tests::services::{Kinesalite, RedisServer, foreign_judge_is_skipped, protobuf_python};

const DEADLINE: Duration = Duration::from_secs(10);
/// Long enough for a Redis that runs to answer a thousand times.
const SILENCE: Duration = Duration::from_millis(100);

fn connects(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_redis_keeps_what_redis_cli_writes() {
    let redis = RedisServer::start().unwrap();
    assert_eq!(redis.cli(&["HSET", "212313", "programName", "program2"]).unwrap(), "1");
    assert_eq!(redis.cli(&["HGET", "212313", "programName"]).unwrap(), "program2");
}

#[test]
fn a_refused_redis_command_is_a_failure() {
    let redis = RedisServer::start().unwrap();
    let error = redis.cli(&["NOSUCHCOMMAND"]).unwrap_err();
    assert!(error.to_string().contains("unknown command"), "{error}");
}

#[test]
fn a_killed_redis_is_gone_and_comes_back_empty_on_the_same_port() {
    let mut redis = RedisServer::start().unwrap();
    let port = redis.port();
    redis.cli(&["SET", "key", "value"]).unwrap();
    redis.kill();
    assert!(!connects(port));
    assert!(redis.cli(&["PING"]).is_err());
    redis.restart().unwrap();
    assert_eq!(redis.port(), port);
    assert_eq!(redis.cli(&["EXISTS", "key"]).unwrap(), "0");
}

#[test]
fn a_paused_redis_accepts_and_is_silent_until_it_is_resumed() {
    let mut redis = RedisServer::start().unwrap();
    let port = redis.port();
    redis.pause().unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(b"PING\r\n").unwrap();
    connection.set_read_timeout(Some(SILENCE)).unwrap();
    let mut answer = [0; 7];
    let silent = connection.read(&mut answer).unwrap_err().kind();
    assert_eq!(silent, ErrorKind::WouldBlock, "the system accepts for it, and nobody answers");
    redis.resume().unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_dropped_redis_leaves_its_port() {
    let redis = RedisServer::start().unwrap();
    let port = redis.port();
    drop(redis);
    assert!(!connects(port));
}

#[test]
fn two_redis_servers_know_nothing_of_one_another() {
    let (one, two) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    assert_ne!(one.port(), two.port());
    one.cli(&["SET", "key", "value"]).unwrap();
    assert_eq!(two.cli(&["EXISTS", "key"]).unwrap(), "0");
}

#[test]
fn a_kinesalite_listens_and_ends_with_its_owner() {
    if foreign_judge_is_skipped() {
        eprintln!("skipped: TEST_SKIP_FOREIGN=1");
        return;
    }
    let kinesalite = Kinesalite::start().unwrap_or_else(|error| panic!("{error}"));
    let address = kinesalite.endpoint().replace("http://", "");
    TcpStream::connect(&address).unwrap();
    drop(kinesalite);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn the_independent_protobuf_decoder_accepts_what_protoc_generates() {
    let dir = tempfile::tempdir().unwrap();
    let schema = "syntax = \"proto3\"; message Sample { string text = 1; sint32 number = 2; }";
    std::fs::write(dir.path().join("sample.proto"), schema).unwrap();
    let status = Command::new("protoc").args(["--python_out=.", "sample.proto"]).current_dir(dir.path()).status();
    assert!(status.unwrap().success());
    let program = "import sample_pb2; print(sample_pb2.Sample.FromString(bytes.fromhex('0a0161')).text)";
    let python = protobuf_python().unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(python).args(["-c", program]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\n", "{}", String::from_utf8_lossy(&output.stderr));
}
