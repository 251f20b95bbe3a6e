//! The log goes to standard error, and whoever reads it may be gone, slow or out of space. That costs lines, nothing else.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adtrack_tests::binary::adtrack_binary;
use adtrack_tests::client::once;
use adtrack_tests::load::{self, Until};
use adtrack_tests::wait;
use http::Method;

use super::support::{DEADLINE, KNOWN_PATH};

/// The service with this standard error, as chatty as it can be.
struct Chatty {
    service: Child,
    public: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Chatty {
    fn start(stderr: Stdio) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let service = Command::new(adtrack_binary().unwrap())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .env_clear()
            .env("ADTRACK_LOG_LEVEL", "trace")
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let noted = dir.path().join("addresses.json");
        let public = wait::until("it notes where it listens", DEADLINE, || {
            let text = std::fs::read_to_string(&noted).ok()?;
            let addresses: serde_json::Value = serde_json::from_str(&text).ok()?;
            addresses["public"].as_str()?.parse().ok()
        });
        let public = public.unwrap();
        Self { service, public, _dir: dir }
    }

    async fn answers_under_load_and_ends(mut self) {
        let answered = load::run(self.public, KNOWN_PATH, 8, Until::Requests(5_000)).await;
        assert!(answered.len() == 5_000 && answered.iter().all(|answer| answer.status == 200));
        let last = once(self.public, Method::GET, KNOWN_PATH, &[], "").await.unwrap();
        assert_eq!(last.status, 200);
        let pid = self.service.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let ended = wait::until("it ends", Duration::from_secs(10), || self.service.try_wait().unwrap());
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

impl Drop for Chatty {
    fn drop(&mut self) {
        drop(self.service.kill());
        drop(self.service.wait());
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    // The pipe is held open and never read: it is full after 64 KiB.
    let chatty = Chatty::start(Stdio::piped());
    chatty.answers_under_load_and_ends().await;
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_holds_nothing_up() {
    let mut chatty = Chatty::start(Stdio::piped());
    drop(chatty.service.stderr.take());
    chatty.answers_under_load_and_ends().await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_holds_nothing_up() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    Chatty::start(full.into()).answers_under_load_and_ends().await;
}
