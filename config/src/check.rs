//! What was written -> what is true. Every range stands here once, and for people in `default.toml`; a test compares them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Choice, Reader};
use crate::{
    AdminConfig, AtBound, CacheConfig, CharSet, ClientIp, Compat, Config, ConfigErrors, DataConfig, Durability,
    EventsConfig, HttpConfig, KinesisConfig, LogConfig, LogFormat, OnInvalid, PartitionKey, RecordFormat, RedisConfig,
    RuntimeConfig, Secret, StoreConfig, rules, syntax,
};

const PATH: &str = "the path of a file";

/// Checks every setting and every rule between settings.
pub(crate) fn check(mut reader: Reader<'_>) -> Result<Config, ConfigErrors> {
    let mut config = Config {
        compat: reader.choice("compat"),
        runtime: runtime(&mut reader),
        http: http(&mut reader),
        admin: admin(&mut reader),
        cache: cache(&mut reader),
        redis: redis(&mut reader),
        kinesis: kinesis(&mut reader),
        events: events(&mut reader),
        data: data(&mut reader),
        log: log(&mut reader),
        store: store(&mut reader),
        described: Vec::new(),
    };
    let may_sync = config.levels().any(|level| level == Durability::Sync);
    config.events.may_sync = may_sync;
    rules::check(&config, &mut reader);
    config.described = reader.finish()?;
    Ok(config)
}

fn runtime(r: &mut Reader<'_>) -> RuntimeConfig {
    RuntimeConfig {
        loops: NonZeroUsize::new(r.number("runtime.loops", 0..=256)),
        request_timeout: r.millis("runtime.request_timeout_ms", 1..=600_000),
        mailbox_messages_max: r.number("runtime.mailbox_messages_max", 1..=1_048_576),
        shutdown_grace: r.millis("runtime.shutdown_grace_ms", 1000..=600_000),
    }
}

fn http(r: &mut Reader<'_>) -> HttpConfig {
    HttpConfig {
        listen: r.address("http.listen"),
        header_read_timeout: r.millis("http.header_read_timeout_ms", 100..=600_000),
        request_timeout: r.millis("http.request_timeout_ms", 100..=600_000),
        idle_timeout: r.millis("http.idle_timeout_ms", 100..=3_600_000),
        // hyper panics below 8192.
        header_bytes_max: r.number("http.header_bytes_max", 8192..=1_048_576),
        headers_max: r.number("http.headers_max", 1..=1024),
        // The `http` crate's longest URL.
        url_bytes_max: r.number("http.url_bytes_max", 64..=65_534),
        connections_max: r.number("http.connections_max", 1..=1_000_000),
        requests_in_flight_max: r.number("http.requests_in_flight_max", 1..=1_000_000),
        program_id_bytes_max: r.number("http.program_id_bytes_max", 1..=128),
        program_id_chars: program_id_chars(r),
        user_agent_bytes_max: r.number("http.user_agent_bytes_max", 0..=16_384),
        query_parameters_max: r.number("http.query_parameters_max", 0..=1024),
        query_bytes_max: r.number("http.query_bytes_max", 0..=65_534),
        on_invalid: r.choice("http.on_invalid"),
        client_ip: r.choice("http.client_ip"),
        cookie_name: r.text_or_none(
            "http.cookie_name",
            "1 to 64 of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~",
            syntax::is_cookie_name,
        ),
        trusted_proxies: r.networks("http.trusted_proxies"),
        routes: r.routes("http.routes"),
        retry_after: Duration::from_secs(r.number("http.retry_after_s", 1..=3600)),
        lookup_timeout: r.millis("http.lookup_timeout_ms", 100..=1000),
        drain_delay: r.millis("http.drain_delay_ms", 0..=300_000),
        compat_admin_routes: r.truth("http.compat_admin_routes"),
        compat_admin_token: r.token("http.compat_admin_token"),
    }
}

fn program_id_chars(r: &mut Reader<'_>) -> CharSet {
    let allowed = "visible ASCII characters and ranges of them, such as \"A-Za-z0-9._:~-\"";
    r.char_set("http.program_id_chars", allowed)
}

fn admin(r: &mut Reader<'_>) -> AdminConfig {
    AdminConfig { listen: r.address("admin.listen"), token: admin_token(r) }
}

fn admin_token(r: &mut Reader<'_>) -> Option<Secret> {
    let token = r.token("admin.token");
    r.text_or_none("admin.token_file", PATH, syntax::is_path);
    token
}

fn cache(r: &mut Reader<'_>) -> CacheConfig {
    CacheConfig {
        programs_max: r.number("cache.programs_max", 1..=100_000_000),
        ttl: r.millis("cache.ttl_ms", 10..=604_800_000),
        absent_ttl: r.millis_or_none("cache.absent_ttl_ms", 0..=3_600_000),
        fill_programs_max: r.number("cache.fill_programs_max", 1..=100_000_000),
    }
}

fn redis(r: &mut Reader<'_>) -> RedisConfig {
    let host = "a host name or IP address without scheme and port";
    RedisConfig {
        host: r.text_or_none("redis.host", host, syntax::is_host),
        port: r.number("redis.port", 1..=u16::MAX),
        database: r.number("redis.database", 0..=u16::MAX),
        username: r.text_or_none("redis.username", "at most 256 characters", |text| syntax::is_plain(text, 256)),
        password: redis_password(r),
        channel: r.text("redis.channel", "1 to 256 visible characters", syntax::is_channel),
        changes_key: r.text("redis.changes_key", "1 to 256 visible characters", syntax::is_channel),
        changes_max: r.number("redis.changes_max", 1_000..=100_000_000),
        connect_timeout: r.millis("redis.connect_timeout_ms", 10..=60_000),
        response_timeout: r.millis("redis.response_timeout_ms", 10..=60_000),
        ping_interval: r.millis("redis.ping_interval_ms", 10..=60_000),
        payload_bytes_max: r.number("redis.payload_bytes_max", 256..=16_777_216),
        reconnect_delay_max: r.millis("redis.reconnect_delay_ms_max", 10..=60_000),
    }
}

/// Of the two keys of a secret only one is left to check: the content of the file is the secret by now.
fn redis_password(r: &mut Reader<'_>) -> Option<Secret> {
    let password = r.secret("redis.password", "at most 1024 characters", |text| syntax::is_plain(text, 1024));
    r.text_or_none("redis.password_file", PATH, syntax::is_path);
    password
}

fn kinesis(r: &mut Reader<'_>) -> KinesisConfig {
    let stream = "1 to 128 of A-Z a-z 0-9 _ . -";
    let endpoint = "a URL of scheme, host and perhaps port, such as \"http://localhost:4567\"";
    KinesisConfig {
        stream: r.text_or_none("kinesis.stream", stream, syntax::is_stream_name),
        region: r.text("kinesis.region", "an AWS region such as \"eu-west-1\"", syntax::is_region),
        endpoint: r.text_or_none("kinesis.endpoint", endpoint, syntax::is_endpoint),
        partition_key: r.choice("kinesis.partition_key"),
        format: r.choice("kinesis.format"),
        aggregate_bytes_max: r.number("kinesis.aggregate_bytes_max", 1024..=1_048_576),
        linger: r.millis("kinesis.linger_ms", 0..=10_000),
        batch_records_max: r.number("kinesis.batch_records_max", 1..=500),
        batch_bytes_max: r.number("kinesis.batch_bytes_max", 1024..=10_485_760),
        record_bytes_max: r.number("kinesis.record_bytes_max", 1024..=10_485_760),
        shard_records_per_s: r.number("kinesis.shard_records_per_s", 0..=1_000_000),
        shard_bytes_per_s: r.number("kinesis.shard_bytes_per_s", 0..=1_073_741_824),
        ordered: r.truth("kinesis.ordered"),
        in_flight_max: r.number("kinesis.in_flight_max", 1..=256),
        queue_events_max: r.number("kinesis.queue_events_max", 1..=10_000_000),
        attempt_timeout: r.millis("kinesis.attempt_timeout_ms", 10..=60_000),
        operation_timeout: r.millis("kinesis.operation_timeout_ms", 10..=600_000),
        connect_timeout: r.millis("kinesis.connect_timeout_ms", 10..=60_000),
        backoff_min: r.millis("kinesis.backoff_ms_min", 1..=60_000),
        backoff_max: r.millis("kinesis.backoff_ms_max", 1..=600_000),
    }
}

fn events(r: &mut Reader<'_>) -> EventsConfig {
    EventsConfig {
        durability: r.choice("events.durability"),
        durability_allowed: r.choices("events.durability_allowed"),
        durability_timeout: r.millis("events.durability_timeout_ms", 100..=60_000),
        at_bound: r.choice("events.at_bound"),
        may_sync: false,
        segment_bytes_max: r.number("events.segment_bytes_max", 65_536..=1_073_741_824),
        memory_bytes_max: r.number("events.memory_bytes_max", 1_048_576..=68_719_476_736),
        disk_bytes_max: r.number("events.disk_bytes_max", 262_144..=1_099_511_627_776),
        log_age_max: r.seconds_or_none("events.log_age_s_max", 0..=315_360_000),
        loop_queue_events_max: r.number("events.loop_queue_events_max", 1..=1_000_000),
        ledger_customers_shown: r.number("events.ledger_customers_shown", 0..=100),
        recovery_bytes_per_read: r.number("events.recovery_bytes_per_read", 4096..=67_108_864),
    }
}

fn data(r: &mut Reader<'_>) -> DataConfig {
    DataConfig { dir: PathBuf::from(r.text("data.dir", "the path of a directory", syntax::is_path)) }
}

fn log(r: &mut Reader<'_>) -> LogConfig {
    let level = "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or directives such as \"info,adtrack::http=debug\"";
    LogConfig { level: r.text("log.level", level, syntax::is_log_filter), format: r.choice("log.format") }
}

fn store(r: &mut Reader<'_>) -> StoreConfig {
    StoreConfig {
        programs_max: r.number("store.programs_max", 1..=100_000_000),
        file_bytes_max: r.number("store.file_bytes_max", 65_536..=1_099_511_627_776),
    }
}

impl Choice for Compat {
    const ALL: &'static [(&'static str, Self)] = &[("none", Self::None), ("reference", Self::Reference)];
    const FALLBACK: Self = Self::None;
}

impl Choice for OnInvalid {
    const ALL: &'static [(&'static str, Self)] = &[("stream", Self::Stream), ("reject", Self::Reject)];
    const FALLBACK: Self = Self::Stream;
}

impl Choice for Durability {
    const ALL: &'static [(&'static str, Self)] =
        &[("memory", Self::Memory), ("spool", Self::Spool), ("sync", Self::Sync), ("stream", Self::Stream)];
    const FALLBACK: Self = Self::Spool;
}

impl Choice for AtBound {
    const ALL: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("drop", Self::Drop)];
    const FALLBACK: Self = Self::Refuse;
}

impl Choice for ClientIp {
    const ALL: &'static [(&'static str, Self)] =
        &[("truncated", Self::Truncated), ("full", Self::Full), ("none", Self::None)];
    const FALLBACK: Self = Self::Truncated;
}

impl Choice for PartitionKey {
    const ALL: &'static [(&'static str, Self)] = &[
        ("message_id", Self::MessageId),
        ("program", Self::Program),
        ("customer", Self::Customer),
        ("cookie", Self::Cookie),
    ];
    const FALLBACK: Self = Self::MessageId;
}

impl Choice for RecordFormat {
    const ALL: &'static [(&'static str, Self)] = &[("record", Self::Record), ("aggregated", Self::Aggregated)];
    const FALLBACK: Self = Self::Record;
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
    const FALLBACK: Self = Self::Text;
}
