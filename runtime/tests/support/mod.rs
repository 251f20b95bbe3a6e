//! What the promise suites share: each promise is run on one thread and virtual time, and again on real loops.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use vertebra::testing::TestRuntime;
use vertebra::{BoxError, Bus, Clock, Context, Deploy, Runtime, Verticle};

/// A promise as its four tests run it. One type for all of them: what runs it is compiled once and not for each.
pub type Promise = fn(TestRuntime) -> Pin<Box<dyn Future<Output = ()>>>;

/// Declares promises: each `async fn` becomes a test on virtual time and one on 1, 2 and 4 real loops.
#[macro_export]
macro_rules! promises {
    ($($(#[$doc:meta])* async fn $name:ident($rt:ident: &TestRuntime) $body:block)*) => {
        $(
            mod $name {
                #[allow(unused_imports, reason = "not every promise uses everything above it")]
                use super::*;

                $(#[$doc])*
                async fn promise($rt: TestRuntime) $body

                const PROMISE: $crate::support::Promise = |rt| Box::pin(promise(rt));

                #[test]
                fn on_virtual_time() {
                    TestRuntime::paused(PROMISE);
                }

                #[test]
                fn on_one_loop() {
                    TestRuntime::on_loops(1, PROMISE);
                }

                #[test]
                fn on_two_loops() {
                    TestRuntime::on_loops(2, PROMISE);
                }

                #[test]
                fn on_four_loops() {
                    TestRuntime::on_loops(4, PROMISE);
                }
            }
        )*
    };
}

/// What handlers saw, in order.
#[derive(Clone)]
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Seen<T> {
    pub fn note(&self, what: T) {
        self.0.lock().unwrap().push(what);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A gate that handlers wait at until the test opens it. Works across loops.
#[derive(Clone)]
pub struct Gate(tokio::sync::watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }
}

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn wait(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Polls a condition until it holds, at most ten seconds.
pub async fn eventually(clock: &Clock, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock.now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(clock.now() < deadline, "{what}: not within ten seconds");
        clock.sleep(std::time::Duration::from_millis(1)).await;
    }
}

pub type Shared<T> = Rc<RefCell<T>>;

/// A verticle that runs something when it starts.
struct Probe {
    work: Box<dyn Fn(Bus, Clock) -> Done>,
}

type Done = Pin<Box<dyn Future<Output = ()>>>;

impl Verticle for Probe {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        (self.work)(ctx.bus().clone(), ctx.clock().clone()).await;
        Ok(())
    }
}

/// Runs something on an event loop and gives what comes of it.
pub async fn on_a_loop<T, W, F>(rt: &Runtime, work: W) -> T
where
    T: Send + 'static,
    W: Fn(Bus, Clock) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = T> + 'static,
{
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let factory = move || {
        let (tell, work) = (tell.clone(), work.clone());
        let work = move |bus, clock| {
            let (tell, work) = (tell.clone(), work(bus, clock));
            Box::pin(async move { tell.send(work.await).unwrap() }) as Done
        };
        Probe { work: Box::new(work) }
    };
    let deployment = rt.deploy(Deploy::new(factory).name("probe")).await.unwrap();
    deployment.undeploy().await.unwrap();
    told.recv().unwrap()
}

/// Counts how many of its tokens there are: for what must be dropped.
#[derive(Clone, Default)]
pub struct Census(Arc<Tokens>);

#[derive(Default)]
struct Tokens {
    first: Arc<()>,
}

impl Census {
    pub fn token(&self) -> Arc<()> {
        Arc::clone(&self.0.first)
    }

    pub fn alive(&self) -> usize {
        Arc::strong_count(&self.0.first) - 1
    }
}

/// Does something when it is dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub fn new(act: F) -> Self {
        Self(Some(act))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}
