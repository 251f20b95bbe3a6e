//! The test kit: the real runtime, on virtual time.

use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

use crate::address::Address;
use crate::builder::RuntimeBuilder;
use crate::clock::Clock;
use crate::context::Context;
use crate::deploy::Deploy;
use crate::deployment::Deployment;
use crate::error::{BoxError, DeployError, Failure};
use crate::event_loop::{LoopCore, OnLoop, before_sleep, note_sleep};
use crate::message::Message;
use crate::panic::panic_text;
use crate::restart::Restart;
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
    /// When the test does; when it ends and a verticle still has work: a message queued, a handler in flight; and when
    /// something is left after everything was undeployed: a consumer, a request that waits, an instance that its tasks or
    /// somebody's [`Context`] keep alive. What is left is named.
    ///
    /// ```should_panic
    /// # use std::cell::RefCell;
    /// # use vertebra::{BoxError, Context, Deploy, Verticle, testing::TestRuntime};
    /// #[derive(Default)]
    /// struct Keeper { own: RefCell<Option<Context<Keeper>>> }
    /// impl Verticle for Keeper {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         self.own.replace(Some(ctx.clone())); // keeps itself alive for ever
    ///         Ok(())
    ///     }
    /// }
    /// TestRuntime::paused(|rt| async move {
    ///     rt.deploy(Deploy::new(Keeper::default)).await.unwrap();
    /// }); // left behind: instance 0 of `Keeper`
    /// ```
    pub fn paused<T, F: Future<Output = T>>(test: impl FnOnce(Self) -> F) -> T {
        Self::paused_with(|builder| builder, test)
    }

    /// The same, with a runtime that is built otherwise. There is one event loop whatever the builder says, and none with a
    /// name.
    ///
    /// ```
    /// # use std::{future::pending, time::Duration};
    /// # use vertebra::{Address, testing::TestRuntime};
    /// # const FETCH: Address<&str, u64> = Address::new("store.fetch");
    /// let second = Duration::from_secs(1);
    /// TestRuntime::paused_with(|builder| builder.request_timeout(second), |rt| async move {
    ///     let stuck = rt.stub(FETCH, |_| pending()).await.unwrap();
    ///     assert!(rt.bus().request(FETCH, "a").await.is_err());
    ///     assert_eq!(rt.elapsed(), second);
    ///     stuck.undeploy_within(Duration::ZERO).await.unwrap();
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`paused`](Self::paused) does, and when the builder has a value outside its range.
    pub fn paused_with<T, F: Future<Output = T>>(
        configure: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
        test: impl FnOnce(Self) -> F,
    ) -> T {
        on_this_thread(configure(Runtime::builder()), None, test)
    }

    /// Runs a test as [`paused`](Self::paused) does, in an order that is drawn from the seed: which consumer that has
    /// messages goes next and for how many of them, which handler and task that was woken goes on first, whether a request
    /// is handled in place or queued. Whatever is drawn keeps the promises - messages of one sender to one consumer start
    /// in their order -, so that code which relies on nothing else passes with every seed.
    ///
    /// The same seed draws the same order, provided the test does the same: a failure names its seed, and that seed fails
    /// again.
    ///
    /// ```
    /// # use vertebra::{Address, testing::TestRuntime};
    /// const DOUBLE: Address<u32, u32> = Address::new("double");
    /// for seed in 0..20 {
    ///     TestRuntime::seeded(seed, |rt| async move {
    ///         rt.stub(DOUBLE, |number| async move { Ok(number * 2) }).await.unwrap();
    ///         assert_eq!(rt.bus().request(DOUBLE, 2).await, Ok(4));
    ///     });
    /// }
    /// ```
    ///
    /// # Panics
    /// As [`paused`](Self::paused) does, with the seed.
    pub fn seeded<T, F: Future<Output = T>>(seed: u64, test: impl FnOnce(Self) -> F) -> T {
        let run = || on_this_thread(Runtime::builder(), Some(seed), test);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) => outcome,
            Err(panic) => panic!("with seed {seed}: {}", panic_text(panic.as_ref())),
        }
    }

    /// Runs a test on real event loops and real time. The test itself runs on a thread of its own kind: on no loop. There
    /// is one more loop, named `io`.
    ///
    /// ```
    /// # use vertebra::{Address, testing::TestRuntime};
    /// # const DOUBLE: Address<u32, u32> = Address::new("double");
    /// TestRuntime::on_loops(2, |rt| async move {
    ///     rt.stub(DOUBLE, |number| async move { Ok(number * 2) }).await.unwrap();
    ///     assert_eq!(rt.bus().request(DOUBLE, 2).await, Ok(4));
    /// });
    /// ```
    ///
    /// # Panics
    /// When the test does; when the runtime cannot be built; and when something is left, as [`paused`](Self::paused) does.
    pub fn on_loops<T, F: Future<Output = T>>(event_loops: usize, test: impl FnOnce(Self) -> F) -> T {
        Self::on_loops_with(event_loops, |builder| builder, test)
    }

    /// The same, with a runtime that is built otherwise.
    ///
    /// ```
    /// # use vertebra::{Address, SendError, testing::TestRuntime};
    /// # const LINES: Address<u32> = Address::new("lines");
    /// TestRuntime::on_loops_with(1, |builder| builder.mailbox(8), |rt| async move {
    ///     rt.stub(LINES, |_| async { Ok(()) }).await.unwrap();
    ///     assert_eq!(rt.bus().send(LINES, 1).await, Ok(()));
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`on_loops`](Self::on_loops) does.
    pub fn on_loops_with<T, F: Future<Output = T>>(
        event_loops: usize,
        configure: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
        test: impl FnOnce(Self) -> F,
    ) -> T {
        let builder = configure(Runtime::builder().event_loops(event_loops).named_loop("io"));
        let runtime = match builder.build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no runtime for the test: {error}"),
        };
        runtime.block_on(async {
            let outcome = test(Self { runtime: runtime.clone() }).await;
            runtime.shutdown(Duration::from_secs(10)).await;
            assert_nothing_left(&runtime);
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
        self.runtime.deploy(Deploy::new(factory).name(name).restart(Restart::keep())).await
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

/// Runs a test and its one event loop on the calling thread.
fn on_this_thread<T, F: Future<Output = T>>(
    builder: RuntimeBuilder,
    seed: Option<u64>,
    test: impl FnOnce(TestRuntime) -> F,
) -> T {
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
        let (runtime, core, driver) = match builder.build_here(Clock::virtual_time()) {
            Ok(built) => built,
            Err(error) => panic!("no runtime for the test: {error}"),
        };
        if let Some(seed) = seed {
            core.play(seed);
        }
        let _on_loop = OnLoop::enter(&core);
        let driver = tokio::task::spawn_local(driver.run());
        let outcome = test(TestRuntime { runtime: runtime.clone() }).await;
        assert_no_work(&core).await;
        runtime.shutdown(Duration::from_secs(10)).await;
        drop(driver.await);
        assert_nothing_left(&runtime);
        outcome
    })
}

/// The loops have noted what they still had when they ended.
fn assert_nothing_left(runtime: &Runtime) {
    let leaks = runtime.bus().shared.leaks.lock().map(|leaks| leaks.join("; ")).unwrap_or_default();
    assert!(leaks.is_empty(), "left behind: {leaks}");
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
