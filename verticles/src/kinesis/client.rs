//! Talking to Kinesis: the only file that knows the AWS SDK.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use adtrack_config::KinesisConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{ProvideCredentials, SharedCredentialsProvider, SharedHttpClient};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use super::entry::Entry;
use super::shard::{Shard, ShardId};

/// What became of one entry of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stream has it, in this shard when the answer names one.
    Stored(Option<ShardId>),
    /// Its shard is at its limit.
    Throttled,
    /// The service could not store it, for the reason it gives.
    Failed(String),
}

/// Why a call as a whole has no outcomes. Whether the stream has some of its entries is then unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The stream, or the account, is at its limit.
    #[error("the stream is at its limit: {0}")]
    Throttled(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No connection, or it broke.
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    /// The service says that the call itself is wrong, and will say so again.
    #[error("the call is refused: {0}")]
    Refused(String),
    /// There is no such stream.
    #[error("there is no such stream: {0}")]
    NoStream(String),
    /// There are no credentials, or they are not valid any more.
    #[error("no valid AWS credentials: {0}")]
    Credentials(String),
    /// The signature is refused: the clocks differ by minutes, or the secret is not the key's.
    #[error("the signature is refused, by the clock or for the secret: {0}")]
    Signature(String),
    /// The credentials do not allow it.
    #[error("access denied: {0}")]
    Denied(String),
    /// Anything else the service says.
    #[error("the service failed: {0}")]
    Failed(String),
    /// The answer does not have one outcome for each entry.
    #[error("{sent} entries were sent, the answer has {answered}")]
    WrongCount {
        /// Entries sent.
        sent: usize,
        /// Outcomes in the answer.
        answered: usize,
    },
}

/// What can take entries: Kinesis, or a stand-in in a test.
pub trait StreamClient: 'static {
    /// Makes one call with these entries, without trying again; one outcome for each, in order.
    ///
    /// Not cancel safe: whether entries of a call that was dropped are stored is unknown.
    ///
    /// # Errors
    /// As [`PutError`] says.
    fn put_records(&self, entries: &[Entry]) -> impl Future<Output = Result<Vec<Outcome>, PutError>>;

    /// Lists the shards that take records. Cancel safe.
    ///
    /// # Errors
    /// They cannot be listed; [`PutError::Denied`] where the credentials do not allow it.
    fn shards(&self) -> impl Future<Output = Result<Vec<Shard>, PutError>>;

    /// Finds out whether the stream is there, without sending anything. Cancel safe.
    ///
    /// # Errors
    /// It is not, or cannot be asked.
    fn probe(&self) -> impl Future<Output = Result<(), PutError>>;
}

/// Idle connections are closed before the service closes them: it does so earlier than the SDK's own 90 s, and a call
/// on a connection that is being closed fails.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(15);

/// So many refused signatures in a row are not the clock's fault: several calls were under way when the first was refused, and each
/// of them may be one.
const UNSIGNED_MAX: u32 = 10;

/// Calls the Kinesis of the settings. Nothing is connected, and no credentials are asked for, before the first call.
pub struct KinesisClient {
    config: KinesisConfig,
    credentials: Option<SharedCredentialsProvider>,
    http: SharedHttpClient,
    // Built on the loop that uses it, since it keeps tasks there; given up when its credentials turn out invalid.
    client: RefCell<Option<Client>>,
    // Calls in a row whose signature was refused.
    unsigned: Cell<u32>,
}

impl KinesisClient {
    /// A client for the stream, region, endpoint and times of the settings, with the credentials of AWS's default chain.
    pub fn new(config: KinesisConfig) -> Self {
        let http = Builder::new()
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        Self { config, credentials: None, http, client: RefCell::new(None), unsigned: Cell::new(0) }
    }

    /// The same client with credentials of its own instead of those of the default chain.
    #[must_use]
    pub fn with_credentials(mut self, credentials: impl ProvideCredentials + 'static) -> Self {
        self.credentials = Some(SharedCredentialsProvider::new(credentials));
        self
    }

    async fn client(&self) -> Result<Client, PutError> {
        let known = self.client.borrow().clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let built = self.build().await?;
        *self.client.borrow_mut() = Some(built.clone());
        Ok(built)
    }

    /// Gives the client up when its credentials are to be asked for anew.
    ///
    /// Not the first time that its signature is refused: with the answer it has learned what time it is there, and signs for that
    /// from now on. One that is built anew would not know.
    fn note(&self, error: &PutError) {
        let unsigned = if matches!(error, PutError::Signature(_)) { self.unsigned.get() + 1 } else { 0 };
        let anew = matches!(error, PutError::Credentials(_)) || unsigned >= UNSIGNED_MAX;
        self.unsigned.set(if anew { 0 } else { unsigned });
        if anew {
            self.client.borrow_mut().take();
        }
    }

    async fn build(&self) -> Result<Client, PutError> {
        let config = &self.config;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .operation_timeout(config.operation_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .region(Region::new(config.region.clone()))
            .timeout_config(timeouts)
            // Ours tries again, record by record; the two together would multiply.
            .retry_config(RetryConfig::disabled())
            // It watches bodies that stream; ours are small and have times of their own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let sdk = loader.load().await;
        // Asked for here, because a call that lacks them says so in words that nobody understands.
        let Some(provider) = sdk.credentials_provider() else {
            return Err(PutError::Credentials("no provider".to_owned()));
        };
        match provider.provide_credentials().await {
            Ok(_) => Ok(Client::new(&sdk)),
            Err(error) => Err(PutError::Credentials(format!(
                "{}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
                words(&error)
            ))),
        }
    }
}

impl StreamClient for KinesisClient {
    async fn put_records(&self, entries: &[Entry]) -> Result<Vec<Outcome>, PutError> {
        let client = self.client().await?;
        let stream = self.config.stream.as_deref().unwrap_or_default();
        let entries = entries.iter().map(request_entry).collect::<Result<Vec<_>, _>>()?;
        let answer = client.put_records().stream_name(stream).set_records(Some(entries)).send().await;
        match answer {
            Ok(answer) => {
                self.unsigned.set(0);
                Ok(answer.records().iter().map(outcome).collect())
            }
            Err(error) => {
                let error = put_error(&error);
                self.note(&error);
                Err(error)
            }
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, PutError> {
        let client = self.client().await?;
        let stream = self.config.stream.as_deref().unwrap_or_default();
        let mut shards = Vec::new();
        let mut next = None;
        for _ in 0..SHARD_PAGES_MAX {
            let call = client.list_shards();
            // A page that follows another is named by its token alone.
            let call = match next.take() {
                Some(token) => call.next_token(token),
                None => call.stream_name(stream),
            };
            let page = call.send().await.map_err(|error| put_error(&error))?;
            shards.extend(page.shards().iter().filter_map(open_shard));
            next = page.next_token;
            if next.is_none() {
                return Ok(shards);
            }
        }
        Err(PutError::Failed(format!("a list of shards that has not ended after {SHARD_PAGES_MAX} pages")))
    }

    async fn probe(&self) -> Result<(), PutError> {
        let client = self.client().await?;
        let stream = self.config.stream.as_deref().unwrap_or_default();
        match client.describe_stream_summary().stream_name(stream).send().await.map_err(|error| put_error(&error)) {
            Ok(_) => Ok(()),
            Err(error @ (PutError::TimedOut | PutError::Unreachable(_) | PutError::NoStream(_))) => Err(error),
            Err(error @ (PutError::Credentials(_) | PutError::Signature(_))) => {
                self.note(&error);
                Err(error)
            }
            // It answered. Whether it lets itself be described is not what was asked: few roles need the right to.
            Err(_) => Ok(()),
        }
    }
}

impl fmt::Debug for KinesisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisClient").field("stream", &self.config.stream).finish_non_exhaustive()
    }
}

fn request_entry(entry: &Entry) -> Result<PutRecordsRequestEntry, PutError> {
    PutRecordsRequestEntry::builder()
        .partition_key(entry.partition_key())
        .set_explicit_hash_key(entry.explicit_hash_key().map(|key| key.to_string()))
        .data(Blob::new(&entry.data()[..]))
        .build()
        .map_err(|error| PutError::Refused(error.to_string()))
}

fn outcome(entry: &PutRecordsResultEntry) -> Outcome {
    match entry.error_code() {
        None => Outcome::Stored(entry.shard_id().and_then(ShardId::parse)),
        Some("ProvisionedThroughputExceededException") => Outcome::Throttled,
        Some(code) => Outcome::Failed(code.to_owned()),
    }
}

/// Pages of a list of shards, 1,000 each.
const SHARD_PAGES_MAX: usize = 100;

/// A shard that is not closed: its sequence numbers have no end.
fn open_shard(shard: &aws_sdk_kinesis::types::Shard) -> Option<Shard> {
    let is_open = shard.sequence_number_range()?.ending_sequence_number().is_none();
    let first_hash_key = shard.hash_key_range()?.starting_hash_key().parse().ok()?;
    let id = ShardId::parse(shard.shard_id())?;
    is_open.then_some(Shard { id, first_hash_key })
}

const CONTENT_TOO_LARGE: u16 = 413;

fn put_error<E: Error + ProvideErrorMetadata + 'static>(error: &SdkError<E>) -> PutError {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    match error {
        _ if status == Some(CONTENT_TOO_LARGE) => PutError::Refused("content too large".to_owned()),
        SdkError::TimeoutError(_) => PutError::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => PutError::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_io() => PutError::Unreachable(words(error)),
        SdkError::ResponseError(_) => {
            PutError::Unreachable(format!("an answer that cannot be read, status {}", status.unwrap_or_default()))
        }
        SdkError::ServiceError(answered) => {
            let service = answered.err();
            let code = service.code().unwrap_or("no code");
            by_code(code, format!("{code}: {}", service.message().unwrap_or("no message")))
        }
        // What is left failed before it was sent; credentials that cannot be had are the usual cause.
        _ => {
            let words = words(error);
            if words.to_ascii_lowercase().contains("credential") {
                PutError::Credentials(words)
            } else {
                PutError::Failed(words)
            }
        }
    }
}

/// An error with its causes, in one line.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

fn by_code(code: &str, words: String) -> PutError {
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ThrottlingException"
        | "KMSThrottlingException" => PutError::Throttled(words),
        "ValidationException" | "InvalidArgumentException" | "SerializationException" => PutError::Refused(words),
        "ResourceNotFoundException" => PutError::NoStream(words),
        "AccessDeniedException" | "KMSAccessDeniedException" => PutError::Denied(words),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken" => PutError::Credentials(words),
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" | "RequestExpired" => {
            PutError::Signature(words)
        }
        _ => PutError::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use aws_config::profile::ProfileFileCredentialsProvider;
    use aws_config::provider_config::ProviderConfig;
    use aws_sdk_kinesis::config::Credentials;

    use super::*;
    use crate::kinesis::entry::tests::{entries, entry, several};
    use crate::kinesis::tests::kinesis_config;

    /// A server that gives every call the same answer, and the bodies of the calls on a channel.
    fn server(status: &'static str, body: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
        server_with("x-none: none", [(status, body)])
    }

    /// The same that gives the answers in turn, the last one for ever, all with this header.
    fn server_with<const N: usize>(
        header: &'static str,
        answers: [(&'static str, &'static str); N],
    ) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, bodies) = std::sync::mpsc::sync_channel(10);
        std::thread::spawn(move || {
            let mut turn = 0;
            while let Ok((mut socket, _)) = listener.accept() {
                let (status, body) = answers[turn.min(N - 1)];
                turn += 1;
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                loop {
                    let read = socket.read(&mut piece).unwrap_or(0);
                    request.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&request);
                    if read == 0 || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}')) {
                        break;
                    }
                }
                let length = body.len();
                let kind = format!("content-type: application/x-amz-json-1.1\r\n{header}\r\nconnection: close");
                let answer = format!("HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}");
                let _closed = socket.write_all(answer.as_bytes());
                let _nobody = seen.send(String::from_utf8_lossy(&request).into_owned());
            }
        });
        (address, bodies)
    }

    fn config(endpoint: String) -> KinesisConfig {
        KinesisConfig {
            endpoint: Some(endpoint),
            attempt_timeout: Duration::from_millis(300),
            operation_timeout: Duration::from_millis(600),
            connect_timeout: Duration::from_millis(300),
            ..kinesis_config()
        }
    }

    fn put(endpoint: String, entries: &[Entry]) -> Result<Vec<Outcome>, PutError> {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        executor.block_on(KinesisClient::new(config(endpoint)).with_credentials(credentials).put_records(entries))
    }

    fn answered(status: &'static str, body: &'static str) -> Result<Vec<Outcome>, PutError> {
        let (address, _bodies) = server(status, body);
        put(format!("http://{address}"), &entries(&["a", "b", "c"]))
    }

    #[test]
    fn every_entry_has_its_own_outcome() {
        let body = r#"{"FailedRecordCount":2,"Records":[{"SequenceNumber":"1","ShardId":"shardId-000000000000"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"},
            {"ErrorCode":"InternalFailure","ErrorMessage":"Internal Service Failure"}]}"#;
        let outcomes = answered("200 OK", body).unwrap();
        assert_eq!(
            outcomes,
            [Outcome::Stored(Some(ShardId(0))), Outcome::Throttled, Outcome::Failed("InternalFailure".into())]
        );
    }

    #[test]
    fn a_call_names_the_stream_and_carries_each_payload_under_its_message_id() {
        let (address, bodies) =
            server("200 OK", r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#);
        put(format!("http://{address}"), &entries(&["06bc2944"])).unwrap();
        let request = bodies.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(request.contains("Kinesis_20131202.PutRecords"), "{request}");
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["StreamName"], "events");
        assert_eq!(body["Records"][0]["PartitionKey"], "06bc2944");
        assert_eq!(body["Records"].as_array().unwrap().len(), 1);
        // 18 07 42 08 and the message id, in base64.
        assert_eq!(body["Records"][0]["Data"], "GAdCCDA2YmMyOTQ0");
    }

    #[test]
    fn the_shards_that_are_open_are_listed_with_where_their_hash_keys_begin() {
        let body = r#"{"Shards":[
            {"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},
             "SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}},
            {"ShardId":"shardId-000000000002","HashKeyRange":{"StartingHashKey":"170141183460469231731687303715884105728",
             "EndingHashKey":"340282366920938463463374607431768211455"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#;
        let (address, bodies) = server("200 OK", body);
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = KinesisClient::new(config(format!("http://{address}"))).with_credentials(credentials);
        let shards = executor.block_on(client.shards()).unwrap();
        assert_eq!(shards, [Shard { id: ShardId(2), first_hash_key: 1 << 127 }]);
        let request = bodies.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(request.contains("Kinesis_20131202.ListShards"), "{request}");
    }

    #[test]
    fn an_explicit_hash_key_is_written_as_a_decimal_number_and_left_out_where_there_is_none() {
        let (address, bodies) = server("200 OK", r#"{"Records":[{"ShardId":"s"},{"ShardId":"shardId-000000000001"}]}"#);
        let outcomes = put(format!("http://{address}"), &[several(&["a", "b"]), entry("c")]).unwrap();
        assert_eq!(outcomes, [Outcome::Stored(None), Outcome::Stored(Some(ShardId(1)))]);
        let request = bodies.recv_timeout(Duration::from_secs(5)).unwrap();
        let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        let sent = &body["Records"];
        assert_eq!((&sent[0]["PartitionKey"], &sent[0]["ExplicitHashKey"]), (&"several".into(), &"7".into()));
        assert_eq!((&sent[1]["PartitionKey"], &sent[1]["ExplicitHashKey"]), (&"c".into(), &serde_json::Value::Null));
    }

    #[test]
    fn what_the_service_says_is_told_apart_by_what_to_do_about_it() {
        let said = |code: &str| match code {
            "ResourceNotFoundException" => answered(
                "400 Bad Request",
                r#"{"__type":"ResourceNotFoundException","message":"Stream events not found"}"#,
            ),
            "ValidationException" => {
                answered("400 Bad Request", r#"{"__type":"ValidationException","message":"1 validation error"}"#)
            }
            "ExpiredTokenException" => {
                answered("400 Bad Request", r#"{"__type":"ExpiredTokenException","message":"expired"}"#)
            }
            "AccessDeniedException" => {
                answered("400 Bad Request", r#"{"__type":"AccessDeniedException","message":"not allowed"}"#)
            }
            "Throttling" => {
                answered("400 Bad Request", r#"{"__type":"ProvisionedThroughputExceededException","message":"rate"}"#)
            }
            _ => answered("500 Internal Server Error", r#"{"__type":"InternalFailure"}"#),
        };
        assert!(
            matches!(said("ResourceNotFoundException"), Err(PutError::NoStream(words)) if words.contains("Stream events not found"))
        );
        assert!(matches!(said("ValidationException"), Err(PutError::Refused(_))));
        assert!(matches!(said("ExpiredTokenException"), Err(PutError::Credentials(_))));
        assert!(matches!(said("AccessDeniedException"), Err(PutError::Denied(_))));
        assert!(matches!(said("Throttling"), Err(PutError::Throttled(_))));
        assert!(matches!(said("InternalFailure"), Err(PutError::Failed(_))));
        let too_large = answered("413 Content Too Large", "{}");
        assert!(matches!(too_large, Err(PutError::Refused(_))), "{too_large:?}");
    }

    #[test]
    fn a_clock_that_differs_is_made_up_for_after_one_refusal() {
        let stored = r#"{"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
        for code in ["InvalidSignatureException", "RequestTimeTooSkewed"] {
            let refused = match code {
                "RequestTimeTooSkewed" => r#"{"__type":"RequestTimeTooSkewed","message":"too far"}"#,
                _ => r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#,
            };
            // Long after this test was written, by a clock that knows better.
            let date = "date: Tue, 05 Jun 2040 12:00:00 GMT";
            let (address, bodies) = server_with(date, [("400 Bad Request", refused), ("200 OK", stored)]);
            let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = KinesisClient::new(config(format!("http://{address}"))).with_credentials(credentials);
            let put = || executor.block_on(client.put_records(&[entry("a")]));
            assert!(matches!(put(), Err(PutError::Signature(words)) if words.contains(code)));
            assert_eq!(put(), Ok(vec![Outcome::Stored(None)]));
            let signed: Vec<String> = bodies.try_iter().collect();
            let is_signed_then = |request: &String| request.to_ascii_lowercase().contains("x-amz-date: 20400605t");
            assert_eq!(signed.iter().map(is_signed_then).collect::<Vec<_>>(), [false, true], "{signed:?}");
        }
    }

    /// After which of these many refused calls the client was given up, so that the next one asks for credentials anew.
    fn given_up_after(body: &'static str, calls: usize) -> Vec<usize> {
        let (address, _) = server("400 Bad Request", body);
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = KinesisClient::new(config(format!("http://{address}"))).with_credentials(credentials);
        let mut given_up = Vec::new();
        for call in 1..=calls {
            executor.block_on(client.put_records(&[entry("a")])).unwrap_err();
            if client.client.borrow().is_none() {
                given_up.push(call);
            }
        }
        given_up
    }

    #[test]
    fn credentials_that_have_expired_are_asked_for_anew_at_once_and_a_secret_that_is_refused_after_a_while() {
        let expired = r#"{"__type":"ExpiredTokenException","message":"expired"}"#;
        assert_eq!(given_up_after(expired, 3), [1, 2, 3]);
        let refused = r#"{"__type":"InvalidSignatureException","message":"does not match"}"#;
        assert_eq!(given_up_after(refused, 25), [10, 20]);
        assert_eq!(given_up_after(r#"{"__type":"InternalFailure"}"#, 15), Vec::<usize>::new());
    }

    #[test]
    fn an_answer_that_is_not_one_is_an_error_and_never_a_panic() {
        for body in ["", "{", "[]", "<html>", r#"{"Records":7}"#] {
            let answer = answered("200 OK", body);
            assert!(answer.as_ref().is_err() || answer.as_ref().is_ok_and(Vec::is_empty), "{body}: {answer:?}");
        }
    }

    #[test]
    fn a_port_nobody_listens_on_is_unreachable() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = put(format!("http://{address}"), &[entry("a")]).unwrap_err();
        assert!(matches!(error, PutError::Unreachable(_)), "{error}");
    }

    #[test]
    fn a_server_that_does_not_answer_costs_no_more_than_the_time_for_one_attempt() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = put(format!("http://{}", silent.local_addr().unwrap()), &[entry("a")]).unwrap_err();
        assert_eq!(error, PutError::TimedOut);
    }

    #[test]
    fn missing_credentials_are_named_with_what_to_do_about_it() {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let nobody = ProfileFileCredentialsProvider::builder()
            .configure(&ProviderConfig::without_region().with_http_client(http))
            .profile_name("adtrack-no-such-profile")
            .build();
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = KinesisClient::new(config("http://127.0.0.1:9".into())).with_credentials(nobody);
        let error = executor.block_on(client.put_records(&[entry("a")])).unwrap_err();
        assert!(matches!(&error, PutError::Credentials(words) if words.contains("AWS_ACCESS_KEY_ID")), "{error}");
    }
}
