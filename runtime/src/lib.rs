//! Vertebra: event loops, verticles, and a typed, addressed event bus between them.
//!
//! * An **event loop** is a thread with an executor; there is one per core.
//! * A **verticle** is state plus handlers. Each instance is pinned to one loop: no `Send`, no locks, plain cells.
//! * An **address** is a constant with two types, the message and the reply. Verticles find one another by address and
//!   in no other way.
//! * Every wait ends and every queue is bounded: a request gives a reply or a typed failure, a full mailbox says so.
//!
//! ```
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! How each thing behaves - order, delivery, time-outs, overload, panics, stopping - is in [`semantics`].

mod address;
mod blocking;
mod builder;
mod bus;
mod clock;
mod consumer;
mod context;
mod context_handle;
mod conversation;
mod deploy;
mod deployment;
mod deployments;
mod error;
mod event;
mod event_loop;
mod histogram;
mod life;
mod message;
mod metrics;
mod one_or_many;
mod panic;
mod registrations;
mod reply_failure;
mod report;
mod restart;
mod runtime;
mod seat;
mod shared_data;
mod starts;
mod sync;
mod timers;
mod verticle;
mod watchdog;
mod worker_pools;

#[doc = include_str!("semantics.md")]
pub mod semantics {}

/// Guides for who comes from somewhere else.
pub mod guides {
    #[doc = include_str!("../guides/from_vertx.md")]
    pub mod from_vertx {}
    #[doc = include_str!("../guides/from_actors.md")]
    pub mod from_actors {}
    /// Whole programs, from `runtime/examples/`.
    pub mod examples {
        #[doc = concat!("```\n", include_str!("../examples/ping_pong.rs"), "\n```")]
        pub mod ping_pong {}
        #[doc = concat!("```\n", include_str!("../examples/scatter_gather.rs"), "\n```")]
        pub mod scatter_gather {}
        #[doc = concat!("```\n", include_str!("../examples/worker_pool.rs"), "\n```")]
        pub mod worker_pool {}
        #[doc = concat!("```\n", include_str!("../examples/supervised.rs"), "\n```")]
        pub mod supervised {}
        #[doc = concat!("```\n", include_str!("../examples/backpressure.rs"), "\n```")]
        pub mod backpressure {}
        #[doc = concat!("```\n", include_str!("../examples/chat.rs"), "\n```")]
        pub mod chat {}
        #[doc = concat!("```\n", include_str!("../examples/consumer_life.rs"), "\n```")]
        pub mod consumer_life {}
        #[doc = concat!("```\n", include_str!("../examples/conversation.rs"), "\n```")]
        pub mod conversation {}
        #[doc = concat!("```\n", include_str!("../examples/children.rs"), "\n```")]
        pub mod children {}
        #[doc = concat!("```\n", include_str!("../examples/timers.rs"), "\n```")]
        pub mod timers {}
        #[doc = concat!("```\n", include_str!("../examples/any_thread.rs"), "\n```")]
        pub mod any_thread {}
        #[doc = concat!("```\n", include_str!("../examples/shared_data.rs"), "\n```")]
        pub mod shared_data {}
        #[doc = concat!("```\n", include_str!("../examples/headers.rs"), "\n```")]
        pub mod headers {}
        #[doc = concat!("```\n", include_str!("../examples/observability.rs"), "\n```")]
        pub mod observability {}
        #[doc = concat!("```\n", include_str!("../examples/own_tests.rs"), "\n```")]
        pub mod own_tests {}
    }
}

#[cfg(feature = "testing")]
pub mod testing;

pub use address::Address;
pub use builder::RuntimeBuilder;
pub use bus::Bus;
pub use bus::intercept::{Delivery, InterceptorId};
pub use bus::publish::Published;
pub use bus::request::Request;
pub use bus::route::Route;
pub use bus::send::Sending;
pub use bus::sender::{Publisher, Sender};
pub use clock::{Clock, Elapsed};
pub use consumer::Consumer;
pub use context::{Context, HandlerFn, Serve};
pub use context_handle::{ContextHandle, HandleError};
pub use conversation::{Answer, Conversation};
pub use deploy::Deploy;
pub use deployment::{Deployment, DeploymentId, DeploymentInfo, Undeployed};
pub use error::{
    BlockingError, BoxError, BuildError, ConversationError, DeployError, Failure, RegisterError, RequestError,
    SendError, UndeployError,
};
pub use event::{Culprit, Event};
pub use histogram::Histogram;
pub use life::Task;
pub use message::{Headers, Message};
pub use metrics::{AddressMetrics, LoopMetrics, Metrics, ReplyFailures};
pub use reply_failure::{FailureType, ReplyFailure, UnknownFailureType};
pub use report::Report;
pub use restart::Restart;
pub use runtime::Runtime;
pub use shared_data::counter::Counter;
pub use shared_data::local_map::{LocalMap, MapFull};
pub use shared_data::lock::{Lock, LockError, Locking};
pub use shared_data::{SharedData, SharedDataError};
pub use timers::{Timer, TimerCancelled, TimerError, TimerId};
pub use verticle::{Handler, Verticle};
#[doc(hidden)]
pub use verticle::{Never, NeverEver};
