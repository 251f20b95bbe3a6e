//! What a caller asks for: a factory, how many instances, and where.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::restart::Restart;
use crate::verticle::Verticle;

/// A deployment in the making; [`Runtime::deploy`](crate::Runtime::deploy) carries it out.
///
/// The factory is called on the loop of each instance, so that the instance need not be `Send`. What instances share is
/// captured by the factory, and thereby visible. A clone is a deployment of its own: what is set on it is not set on the
/// other.
///
/// ```
/// # use vertebra::{Deploy, Verticle};
/// struct Greeter { greeting: &'static str }
/// impl Verticle for Greeter {}
///
/// let deploy = Deploy::new(|| Greeter { greeting: "hello" }).name("greeter").instances(4);
/// ```
#[must_use = "nothing is deployed until `Runtime::deploy` gets this"]
pub struct Deploy<V> {
    pub(crate) factory: Arc<dyn Fn() -> V + Send + Sync>,
    pub(crate) name: String,
    pub(crate) instances: usize,
    pub(crate) place: Place,
    pub(crate) config: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) restart: Restart,
}

/// Where instances go.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Round the event loops.
    InTurn,
    /// On the loop of this name.
    Loop(String),
    /// Round the threads of this worker pool.
    Pool { name: String, threads: usize },
}

impl<V> Clone for Deploy<V> {
    fn clone(&self) -> Self {
        Self {
            factory: Arc::clone(&self.factory),
            name: self.name.clone(),
            instances: self.instances,
            place: self.place.clone(),
            config: self.config.clone(),
            restart: self.restart,
        }
    }
}

impl<V: Verticle> Deploy<V> {
    /// One instance of what the factory makes, named after its type, on the event loop whose turn it is.
    pub fn new(factory: impl Fn() -> V + Send + Sync + 'static) -> Self {
        let name = std::any::type_name::<V>();
        let name = name.split('<').next().unwrap_or(name);
        let name = name.rsplit("::").next().unwrap_or(name).to_owned();
        Self {
            factory: Arc::new(factory),
            name,
            instances: 1,
            place: Place::InTurn,
            config: None,
            restart: Restart::default(),
        }
    }

    /// The name in logs and reports.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many instances; they are spread over the event loops in turn. Their factory is the same, their state is not.
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// What the instances read as [`Context::config`](crate::Context::config): one value of any type, shared by them all
    /// and changed by none. None unless set; set again, it replaces the one before.
    ///
    /// ```
    /// # use vertebra::{Deploy, Verticle};
    /// # struct Fetcher;
    /// # impl Verticle for Fetcher {}
    /// struct Limits { retries: u32 }
    /// let deploy = Deploy::new(|| Fetcher).config(Limits { retries: 3 });
    /// ```
    pub fn config<T: Send + Sync + 'static>(mut self, config: T) -> Self {
        self.config = Some(Arc::new(config));
        self
    }

    /// What becomes of an instance that has panicked: rebuilt up to 5 times within a minute, unless told otherwise.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Puts all instances on the loop of this name; see [`RuntimeBuilder::named_loop`](crate::RuntimeBuilder::named_loop).
    pub fn on_loop(mut self, event_loop: impl Into<String>) -> Self {
        self.place = Place::Loop(event_loop.into());
        self
    }

    /// Puts the instances on the worker pool of this name, in turn: blocking is allowed there. All of an instance - start,
    /// handlers, tasks, timers, stop - runs on one of the pool's threads, which are called `<pool>-0` and so on.
    ///
    /// The pool is there from the first deployment that names it until the last is undeployed; it has as many threads as
    /// the first asked for, 1 to 1,024. An instance that blocks keeps those that share its thread waiting. On the test
    /// kit's virtual time, which is one thread's, the instances run on that.
    ///
    /// ```
    /// # use vertebra::{BoxError, Context, Deploy, Runtime, Verticle};
    /// struct Archiver;
    /// impl Verticle for Archiver {
    ///     async fn start(&self, _: &Context<Self>) -> Result<(), BoxError> {
    ///         let thread = std::thread::current();
    ///         assert!(["archive-0", "archive-1"].contains(&thread.name().unwrap_or_default()));
    ///         Ok(())
    ///     }
    /// }
    /// # let rt = Runtime::builder().event_loops(1).build()?;
    /// rt.block_on(rt.deploy(Deploy::new(|| Archiver).worker("archive", 2).instances(4)))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn worker(mut self, pool: impl Into<String>, threads: usize) -> Self {
        self.place = Place::Pool { name: pool.into(), threads };
        self
    }
}

impl<V> fmt::Debug for Deploy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploy")
            .field("name", &self.name)
            .field("instances", &self.instances)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
