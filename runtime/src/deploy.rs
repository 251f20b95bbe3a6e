//! What a caller asks for: a factory, how many instances, and where.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

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
    pub(crate) event_loop: Option<String>,
    pub(crate) config: Option<Arc<dyn Any + Send + Sync>>,
}

impl<V> Clone for Deploy<V> {
    fn clone(&self) -> Self {
        Self {
            factory: Arc::clone(&self.factory),
            name: self.name.clone(),
            instances: self.instances,
            event_loop: self.event_loop.clone(),
            config: self.config.clone(),
        }
    }
}

impl<V: Verticle> Deploy<V> {
    /// One instance of what the factory makes, named after its type, on the event loop whose turn it is.
    pub fn new(factory: impl Fn() -> V + Send + Sync + 'static) -> Self {
        let name = std::any::type_name::<V>();
        let name = name.split('<').next().unwrap_or(name);
        let name = name.rsplit("::").next().unwrap_or(name).to_owned();
        Self { factory: Arc::new(factory), name, instances: 1, event_loop: None, config: None }
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

    /// Puts all instances on the loop of this name; see [`RuntimeBuilder::named_loop`](crate::RuntimeBuilder::named_loop).
    pub fn on_loop(mut self, event_loop: impl Into<String>) -> Self {
        self.event_loop = Some(event_loop.into());
        self
    }
}

impl<V> fmt::Debug for Deploy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploy")
            .field("name", &self.name)
            .field("instances", &self.instances)
            .field("event_loop", &self.event_loop)
            .finish_non_exhaustive()
    }
}
