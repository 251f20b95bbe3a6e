//! The test kit: the real runtime, on virtual time.

use std::future::Future;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

use crate::address::Address;
use crate::clock::Clock;
use crate::context::Context;
use crate::deploy::Deploy;
use crate::deployment::Deployment;
use crate::error::{BoxError, DeployError, Failure};
use crate::event_loop::{LoopCore, OnLoop, before_sleep, note_sleep};
use crate::message::Message;
use crate::runtime::Runtime;
use crate::verticle::Verticle;

/// A runtime for one test.
///
/// [`paused`](TestRuntime::paused) runs everything - the test itself and one event loop - on the calling thread, on
/// virtual time that jumps to the next timer when there is nothing else to do: an hour passes at once, and a wait can
/// be stated as an equality. [`on_loops`](TestRuntime::on_loops) runs the same test on real loops and real time, for
/// what needs threads or sockets.
///
/// ```
/// # use std::{future::pending, time::Duration};
/// use vertebra::{Address, RequestError, testing::TestRuntime};
///
/// const FETCH: Address<&'static str, u64> = Address::new("store.fetch");
///
/// TestRuntime::paused(|rt| async move {
///     let stuck = rt.stub(FETCH, |_key| pending()).await.unwrap();
///     let asked = rt.bus().request(FETCH, "a").timeout(Duration::from_millis(50)).await;
///     assert!(matches!(asked, Err(RequestError::Timeout { .. })));
///     assert_eq!(rt.elapsed(), Duration::from_millis(50));
///     stuck.undeploy_within(Duration::ZERO).await.unwrap(); // work still in flight at the end fails the test
/// });
/// ```
#[derive(Debug)]
pub struct TestRuntime {
    runtime: Runtime,
}

impl TestRuntime {
    /// Runs a test on one thread and virtual time.
    ///
    /// Do not use sockets in it: time jumps while they wait.
    ///
    /// # Panics
    /// When the test does; or when it ends and a verticle still has work: a message queued, a handler in flight.
    pub fn paused<T, F: Future<Output = T>>(test: impl FnOnce(Self) -> F) -> T {
        let executor = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .on_thread_park(before_sleep)
            .on_thread_unpark(note_sleep)
            .build_local(LocalOptions::default());
        let executor = match executor {
            Ok(executor) => executor,
            Err(error) => panic!("no event queue for the test: {error}"),
        };
        executor.block_on(async {
            let (runtime, core, driver) = Runtime::builder().build_here(Clock::virtual_time());
            let _on_loop = OnLoop::enter(&core);
            let driver = tokio::task::spawn_local(driver.run());
            let outcome = test(Self { runtime: runtime.clone() }).await;
            assert_no_work(&core).await;
            runtime.shutdown(Duration::from_secs(10)).await;
            drop(driver.await);
            outcome
        })
    }

    /// Runs a test on real event loops and real time. The test itself runs on a thread of its own kind: on no loop.
    ///
    /// # Panics
    /// When the test does; or when the runtime cannot be built.
    pub fn on_loops<T, F: Future<Output = T>>(event_loops: usize, test: impl FnOnce(Self) -> F) -> T {
        let runtime = match Runtime::builder().event_loops(event_loops).named_loop("io").build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no runtime for the test: {error}"),
        };
        runtime.block_on(async {
            let outcome = test(Self { runtime: runtime.clone() }).await;
            runtime.shutdown(Duration::from_secs(10)).await;
            outcome
        })
    }

    /// Serves an address by a closure, in place of the verticle that would.
    ///
    /// # Errors
    /// [`DeployError`] when the address is served already, with other types.
    pub async fn stub<M, R, H, F>(&self, address: Address<M, R>, handler: H) -> Result<Deployment, DeployError>
    where
        M: Message,
        R: Message,
        H: Fn(M) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<R, Failure>> + 'static,
    {
        let name = format!("stub of {address}");
        let factory = move || Stub { address: address.clone(), handler: handler.clone() };
        self.runtime.deploy(Deploy::new(factory).name(name)).await
    }

    /// How much time has passed since the test began.
    pub fn elapsed(&self) -> Duration {
        self.runtime.clock().now()
    }
}

impl Deref for TestRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}

struct Stub<M, R, H> {
    address: Address<M, R>,
    handler: H,
}

impl<M, R, H, F> Verticle for Stub<M, R, H>
where
    M: Message,
    R: Message,
    H: Fn(M) -> F + Clone + 'static,
    F: Future<Output = Result<R, Failure>> + 'static,
{
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(self.address.clone(), self.handler.clone()).register()?;
        Ok(())
    }
}

/// What is ready gets its turn first; what is left after that waits for something that will not come.
async fn assert_no_work(core: &Rc<LoopCore>) {
    for _ in 0..64 {
        if core.is_idle() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the test ended while a verticle still had work: a message queued, or a handler in flight");
}
