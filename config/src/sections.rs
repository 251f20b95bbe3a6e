//! The checked settings, section by section. Defaults, units and ranges stand in `default.toml`; every value here is
//! inside its range, times are [`Duration`]s, and what may be absent is an `Option`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::{AtBound, CharSet, Cidr, Secret, TrackingRoute};

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// Those of `default.toml`.
    None,
    /// Redis on localhost and the stream name of the replaced system.
    Reference,
}

/// What happens to an event of a program with `valid = false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// 200 and streamed.
    Stream,
    /// 410, not streamed, counted.
    Reject,
}

/// What holds an event before it is answered. Each survives what the one before it survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// This process.
    Memory,
    /// The log, as the system has it: it survives the end of the process.
    Spool,
    /// The log on the disk: it survives the end of the machine's power.
    Sync,
    /// The stream.
    Stream,
}

/// How much of the client's address goes into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIp {
    /// The /24 of an IPv4 and the /48 of an IPv6 address.
    Truncated,
    /// All of it.
    Full,
    /// Nothing.
    None,
}

/// What events are spread over the stream's shards by; an event without it goes by its message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionKey {
    /// The event's own id: evenly.
    MessageId,
    /// The program's id.
    Program,
    /// The customer's id.
    Customer,
    /// The value of the cookie that is kept.
    Cookie,
}

/// How events become records of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// One event a record.
    Record,
    /// Many, in the format of the Kinesis Producer Library.
    Aggregated,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[runtime]`
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Event loops. `None`: one per core.
    pub loops: Option<NonZeroUsize>,
    /// How long a request between verticles may take that names no time of its own.
    pub request_timeout: Duration,
    /// Messages that may wait in one mailbox between two loops.
    pub mailbox_messages_max: usize,
    /// What the end of the service may take.
    pub shutdown_grace: Duration,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Public address. Port 0: any free one.
    pub listen: SocketAddr,
    /// Time to send the request head.
    pub header_read_timeout: Duration,
    /// Time for one whole request.
    pub request_timeout: Duration,
    /// Time a kept-alive connection may stay silent.
    pub idle_timeout: Duration,
    /// Largest request head in bytes; never below 8192, the least that hyper takes.
    pub header_bytes_max: usize,
    /// Most headers of one request.
    pub headers_max: usize,
    /// Longest URL in bytes.
    pub url_bytes_max: usize,
    /// Open connections of the whole process.
    pub connections_max: usize,
    /// Requests one event loop works on at a time.
    pub requests_in_flight_max: usize,
    /// Longest program id in bytes, 128 at most: what a `ProgramId` holds.
    pub program_id_bytes_max: usize,
    /// Characters of a program id.
    pub program_id_chars: CharSet,
    /// Longest `User-Agent` kept, in bytes.
    pub user_agent_bytes_max: usize,
    /// Most query parameters kept in an event.
    pub query_parameters_max: usize,
    /// Most bytes of query kept in an event.
    pub query_bytes_max: usize,
    /// What happens to an event of a program with `valid = false`.
    pub on_invalid: OnInvalid,
    /// How much of the client's address goes into events.
    pub client_ip: ClientIp,
    /// Cookie whose value goes into events. `None`: none.
    pub cookie_name: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    /// More tracking URLs beside `/event/`; no two of one path.
    pub routes: Vec<TrackingRoute>,
    /// `Retry-After` of a 503, in whole seconds.
    pub retry_after: Duration,
    /// How long a lookup may take before the answer is 503.
    pub lookup_timeout: Duration,
    /// At shutdown: how long to go on accepting after readiness is gone; at most half of the grace.
    pub drain_delay: Duration,
    /// `GET /cache/fill` and `GET /cache/purge` on the public port.
    pub compat_admin_routes: bool,
    /// Token of these two routes; always there when they are on.
    pub compat_admin_token: Option<Secret>,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Operators' address.
    pub listen: SocketAddr,
    /// Bearer token, from `token` or `token_file`; always there when `listen` is not loopback.
    pub token: Option<Secret>,
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Programs in memory.
    pub programs_max: usize,
    /// How long a program counts as fresh.
    pub ttl: Duration,
    /// How long "there is no such program" is remembered. `None`: not at all.
    pub absent_ttl: Option<Duration>,
    /// Most programs loaded by one cache fill.
    pub fill_programs_max: usize,
}

/// `[redis]`
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Host name or IP address. `None`: the embedded store instead of Redis.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Database number.
    pub database: u16,
    /// ACL user. `None`: the default user.
    pub username: Option<String>,
    /// From `password` or `password_file`.
    pub password: Option<Secret>,
    /// Pub/sub channel that carries changed programs.
    pub channel: String,
    /// Key of the stream that keeps the latest changes.
    pub changes_key: String,
    /// How many, about.
    pub changes_max: u64,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for one answer.
    pub response_timeout: Duration,
    /// How often a quiet connection is asked whether it lives.
    pub ping_interval: Duration,
    /// Largest pub/sub payload in bytes.
    pub payload_bytes_max: usize,
    /// Longest pause between two attempts to reconnect.
    pub reconnect_delay_max: Duration,
}

/// `[kinesis]`
#[derive(Clone, Debug)]
pub struct KinesisConfig {
    /// Stream name. `None`: events stay in the local log.
    pub stream: Option<String>,
    /// AWS region.
    pub region: String,
    /// URL of the endpoint. `None`: the region's own.
    pub endpoint: Option<String>,
    /// What events are spread over the shards by.
    pub partition_key: PartitionKey,
    /// How events become records of the stream.
    pub format: RecordFormat,
    /// Longest aggregate in bytes, key included.
    pub aggregate_bytes_max: usize,
    /// How long a batch waits for more events.
    pub linger: Duration,
    /// Records in one `PutRecords` call.
    pub batch_records_max: usize,
    /// Bytes in one `PutRecords` call, keys included.
    pub batch_bytes_max: usize,
    /// Largest record in bytes, key included.
    pub record_bytes_max: usize,
    /// Records that one shard takes in a second; 0: nothing is paced by it.
    pub shard_records_per_s: u32,
    /// Bytes that one shard takes in a second, keys included; 0: nothing is paced by it.
    pub shard_bytes_per_s: u32,
    /// Whether events of one partition key reach the stream in order.
    pub ordered: bool,
    /// `PutRecords` calls under way at a time.
    pub in_flight_max: usize,
    /// Events in memory on their way to the stream.
    pub queue_events_max: usize,
    /// Time for one attempt of a call.
    pub attempt_timeout: Duration,
    /// Time for a call with its retries by the SDK.
    pub operation_timeout: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// First pause before failed records are sent again.
    pub backoff_min: Duration,
    /// Longest such pause.
    pub backoff_max: Duration,
}

/// `[events]`
#[derive(Clone, Debug)]
pub struct EventsConfig {
    /// What holds an event before it is answered.
    pub durability: Durability,
    /// Levels that a request may ask for.
    pub durability_allowed: Vec<Durability>,
    /// How long a request waits for its level.
    pub durability_timeout: Duration,
    /// What becomes of an event of `/event/` that finds a bound reached.
    pub at_bound: AtBound,
    /// Whether an event may have to be on the disk before it is answered: by `durability`, by a header, or by its route.
    pub may_sync: bool,
    /// Size in bytes at which a log file is closed and the next begun.
    pub segment_bytes_max: u64,
    /// Events in memory, in bytes: those not yet written, and those on their way to the stream.
    pub memory_bytes_max: u64,
    /// Events on disk, in bytes: the log, and the files that are kept for a person.
    pub disk_bytes_max: u64,
    /// How long a log without a stream keeps an event. `None`: as long as there is room.
    pub log_age_max: Option<Duration>,
    /// Events one loop may hold that are not yet written.
    pub loop_queue_events_max: usize,
    /// Customers that the ledger shows by themselves.
    pub ledger_customers_shown: usize,
    /// Bytes of log read at a time after a restart.
    pub recovery_bytes_per_read: usize,
}

/// `[data]`
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// Directory of the event log and the embedded store. Relative: from the working directory.
    pub dir: PathBuf,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Filter directives, such as `info,adtrack::http=debug`.
    pub level: String,
    /// How log lines look.
    pub format: LogFormat,
}

/// `[store]`, the embedded store
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Most programs.
    pub programs_max: usize,
    /// Largest file in bytes.
    pub file_bytes_max: u64,
}
