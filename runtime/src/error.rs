//! How things can end other than well: one type per operation, one variant per thing a caller would do differently.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An error of user code, from [`Verticle::start`](crate::Verticle::start) for example.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A handler's "no": a code the caller can act on, and words for a person.
///
/// Absence is not a failure: a lookup that finds nothing replies `Ok(None)`.
///
/// ```
/// use vertebra::Failure;
///
/// let failure = Failure::new(409, "version 7 is older than the stored 9");
/// assert_eq!(failure.code(), 409);
/// assert_eq!(failure.to_string(), "(409) version 7 is older than the stored 9");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    // One pointer: the usual outcome, which is no failure, is moved in registers.
    said: Arc<Said>,
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    message: Arc<str>,
}

impl Failure {
    /// The code of a failure that user code did not choose: a panic, or an error of the bus handed on by `?`.
    pub const UNSPECIFIED: i32 = -1;

    /// A failure with a code that the caller and the handler have agreed on.
    pub fn new(code: i32, message: impl Into<Arc<str>>) -> Self {
        Self { said: Arc::new(Said { code, message: message.into() }) }
    }

    /// What a program acts on.
    pub fn code(&self) -> i32 {
        self.said.code
    }

    /// What a person reads.
    pub fn message(&self) -> &str {
        &self.said.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.code(), self.message())
    }
}

impl Error for Failure {}

/// A request inside a handler that ends badly makes that handler fail in turn, keeping the code where there is one.
impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Failed(failure) => failure,
            other => Self::new(Self::UNSPECIFIED, other.to_string()),
        }
    }
}

/// Why a request has no reply. Every request ends, in a reply or in one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody serves the address. Known at once, without waiting for the time-out.
    #[error("no handlers for address {address}")]
    NoHandlers {
        /// Where the request was sent.
        address: Arc<str>,
    },
    /// No reply came in time. The handler may have run, or may still run: its effect is unknown.
    #[error("no reply from {address} within {after:?}")]
    Timeout {
        /// Where the request was sent.
        address: Arc<str>,
        /// How long was waited.
        after: Duration,
    },
    /// The mailbox of the consumer whose turn it was is full. The handler did not run.
    #[error("the mailbox of {address} is full")]
    Overloaded {
        /// Where the request was sent.
        address: Arc<str>,
    },
    /// The handler said no, or panicked (code [`Failure::UNSPECIFIED`]).
    #[error("{0}")]
    Failed(Failure),
    /// The consumer went away - its verticle was undeployed, or the runtime shut down - before it replied. Whether the
    /// handler had begun is unknown.
    #[error("the consumer at {address} closed before it replied")]
    Closed {
        /// Where the request was sent.
        address: Arc<str>,
    },
    /// The address is served with other types than those it was called with: two constants share one name.
    #[error("{address} is served as {served}, not as {called}")]
    WrongType {
        /// Where the request was sent.
        address: Arc<str>,
        /// The types it is served with.
        served: &'static str,
        /// The types it was called with.
        called: &'static str,
    },
}

/// Why a message was not sent. It comes back inside, so that nothing is lost by trying.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// Nobody serves the address.
    NoHandlers(M),
    /// The mailbox was full: at once for `try_send`, until the time-out for `send`.
    Full(M),
    /// The runtime has shut down.
    Closed(M),
    /// The address is served with other types than those it was called with: two constants share one name.
    WrongType(M),
    /// An outbound interceptor failed it.
    Failed(M, Failure),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::NoHandlers(message)
            | Self::Full(message)
            | Self::Closed(message)
            | Self::WrongType(message)
            | Self::Failed(message, _) => message,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoHandlers(_) => "no handlers for the address",
            Self::Full(_) => "the mailbox is full",
            Self::Closed(_) => "the runtime has shut down",
            Self::WrongType(_) => "the address is served with other types",
            Self::Failed(..) => "an interceptor failed it",
        }
    }
}

// Written by hand: a message need not be `Debug` for its error to be.
impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(&self.reason()).finish()
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl<M> Error for SendError<M> {}

/// Why a consumer could not be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The address is served already, with other types: two constants share one name.
    #[error("{address} is served as {served}, it cannot be served as {wanted} as well")]
    WrongType {
        /// The address.
        address: Arc<str>,
        /// The types it is served with.
        served: &'static str,
        /// The types of the refused registration.
        wanted: &'static str,
    },
    /// The address is served already, with another routing policy; the policy belongs to the address.
    #[error("{address} is routed {served:?}, it cannot be routed {wanted:?} as well")]
    WrongRoute {
        /// The address.
        address: Arc<str>,
        /// The policy it has.
        served: crate::Route,
        /// The policy of the refused registration.
        wanted: crate::Route,
    },
    /// The verticle is stopping; it takes no new work.
    #[error("{address} cannot be served: its verticle is stopping")]
    Stopping {
        /// The address.
        address: Arc<str>,
    },
}

/// Why a conversation does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The other side sent nothing in time.
    #[error("the conversation did not go on within {after:?}")]
    Timeout {
        /// How long was waited.
        after: std::time::Duration,
    },
    /// The instance is stopping.
    #[error("the conversation was closed")]
    Closed,
}

/// Why a deployment did not come to be. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// `instances(0)`.
    #[error("deployment {name}: at least one instance is needed")]
    NoInstances {
        /// The deployment's name.
        name: String,
    },
    /// The runtime has no event loop of this name.
    #[error("deployment {name}: there is no event loop named {event_loop}")]
    NoSuchLoop {
        /// The deployment's name.
        name: String,
        /// The name that was asked for.
        event_loop: String,
    },
    /// The factory or `start` panicked.
    #[error("deployment {name}: instance {instance} panicked while starting: {panic}")]
    Panicked {
        /// The deployment's name.
        name: String,
        /// Which instance, from 0.
        instance: usize,
        /// What it said.
        panic: String,
    },
    /// `start` returned an error.
    #[error("deployment {name}: instance {instance} did not start")]
    Start {
        /// The deployment's name.
        name: String,
        /// Which instance, from 0.
        instance: usize,
        /// Its error.
        source: BoxError,
    },
    /// More instances than a deployment may have.
    #[error("deployment {name}: instances is {instances}, it must be 1 to 1048576")]
    TooManyInstances {
        /// The deployment's name.
        name: String,
        /// How many were asked for.
        instances: usize,
    },
    /// It was undeployed before all its instances had started.
    #[error("deployment {name} was undeployed before it had started")]
    Undeployed {
        /// The deployment's name.
        name: String,
    },
    /// A worker pool with a name or a number of threads that it cannot have.
    #[error("deployment {name}: {key} is {value}, it must be {allowed}")]
    OutOfRange {
        /// The deployment's name.
        name: String,
        /// What was set.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The operating system refused a thread for the worker pool.
    #[error("deployment {name}: the threads of worker pool {pool} could not be started")]
    Io {
        /// The deployment's name.
        name: String,
        /// The pool's.
        pool: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The event loop it was to be on has ended: it is lost, or could not be started.
    #[error("deployment {name}: event loop {event_loop} has ended")]
    LoopEnded {
        /// The deployment's name.
        name: String,
        /// The loop's.
        event_loop: String,
    },
    /// It was to be a child of a deployment that is being undeployed.
    #[error("deployment {name} cannot be a child: its parent is being undeployed")]
    ParentStopping {
        /// The deployment's name.
        name: String,
    },
    /// The runtime is shutting down.
    #[error("deployment {name}: the runtime is shutting down")]
    ShuttingDown {
        /// The deployment's name.
        name: String,
    },
}

/// Why an undeployment has nothing to report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndeployError {
    /// There is no such deployment: it never was, or it is undeployed already.
    #[error("unknown deployment {id}")]
    Unknown {
        /// The id that was asked for.
        id: crate::DeploymentId,
    },
}

/// Why a runtime could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value outside its range.
    #[error("{key} is {value}, it must be {allowed}")]
    OutOfRange {
        /// The builder's method.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The operating system refused a thread or an event queue.
    #[error("event loop {event_loop} could not be started")]
    Io {
        /// Which loop.
        event_loop: String,
        /// Its reason.
        source: std::io::Error,
    },
}

/// Why blocking work gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The closure panicked.
    #[error("the blocking work panicked: {panic}")]
    Panicked {
        /// What it said.
        panic: String,
    },
    /// The instance has ended, or the runtime is shutting down.
    #[error("the blocking work was cancelled: its instance has ended, or the runtime is shutting down")]
    Cancelled,
}
