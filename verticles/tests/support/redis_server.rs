//! A real Redis server of the test's own, on a free port, gone when the test is.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adtrack_config::{Config, Overrides, RedisConfig};

/// Pauses double from 50 ms on; the longest is 2 s.
const ATTEMPTS: usize = 8;

/// The server, and the directory it works in.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    child: Option<Child>,
    dir: tempfile::TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more options, as on its command line.
    pub fn start_with(options: &[&str]) -> Self {
        let mut server = Self::stopped();
        server.options = options.iter().map(ToString::to_string).collect();
        server.restart();
        server
    }

    /// A port where no server is yet.
    pub fn stopped() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, child: None, dir: tempfile::tempdir().unwrap(), options: Vec::new() }
    }

    /// Starts it (again) on the same port, empty, and waits until it accepts.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(&self.options).current_dir(self.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = match command.spawn() {
            Ok(child) => Some(child),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("there is no redis-server on this machine: run tests/services/install")
            }
            Err(error) => panic!("redis-server cannot be started: {error}"),
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < super::DEADLINE, "redis-server does not accept");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it without a goodbye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stands in the place of a killed server and closes every connection, until so many attempts were made by
    /// this many clients that the pause between two of one has reached its longest; done when the thread is.
    pub fn outage(&self, clients: usize) -> JoinHandle<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        std::thread::spawn(move || (0..ATTEMPTS * clients).for_each(|_| drop(listener.accept())))
    }

    /// Stops it from doing anything, connections left open; or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The settings with which the service reaches it: the defaults but for host and port.
    pub fn config(&self) -> RedisConfig {
        let port = self.port.to_string();
        let environment = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", port.as_str())];
        Config::load(&Overrides::default(), &environment).unwrap().redis
    }

    /// The same, logged in as a user.
    pub fn config_as(&self, username: &str, password: &str) -> RedisConfig {
        let port = self.port.to_string();
        let environment = [
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", port.as_str()),
            ("ADTRACK_REDIS_USERNAME", username),
            ("ADTRACK_REDIS_PASSWORD", password),
        ];
        Config::load(&Overrides::default(), &environment).unwrap().redis
    }

    /// A connection for the test itself.
    pub fn client(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let connection = client.get_connection_with_timeout(Duration::from_secs(5)).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
