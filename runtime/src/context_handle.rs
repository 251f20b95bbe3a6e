//! The way back to an instance from any thread.

use std::any::Any;
use std::cell::OnceCell;
use std::fmt;
use std::future::Future;

use crate::context::Context;
use crate::life::Task;
use crate::verticle::Verticle;

/// Pieces of work that may wait for their instance.
const WAITING_MAX: usize = 1_024;
/// Begun before others on the loop have their turn.
const BEGUN_PER_TURN: usize = 64;

type Work<V> = Box<dyn FnOnce(&Context<V>) + Send>;

/// Runs work on an instance's loop, from any thread: for callbacks of foreign threads, and from within blocking work. See
/// [`Context::handle`].
///
/// Cheap to clone. It does not keep the instance: when that has stopped, the handle says so.
pub struct ContextHandle<V: Verticle> {
    work: flume::Sender<Work<V>>,
}

/// Why work did not reach its instance. The work is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// As much work waits for the instance as may.
    #[error("{WAITING_MAX} pieces of work wait for the instance, no more may")]
    Full,
    /// The instance has stopped.
    #[error("the instance has stopped")]
    Stopped,
}

impl<V: Verticle> ContextHandle<V> {
    /// Has the work begin on the instance's loop, as a task of the instance. Work handed in by one thread begins in the
    /// order it was handed in. Never waits.
    ///
    /// ```
    /// # use vertebra::{Address, BoxError, Context, Deploy, Verticle, testing::TestRuntime};
    /// # const FOUND: Address<u64> = Address::new("found");
    /// struct Miner;
    /// impl Verticle for Miner {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         let handle = ctx.handle();
    ///         std::thread::spawn(move || {
    ///             let nonce = 42; // found by long computation
    ///             handle.run_on_context(move |ctx| async move {
    ///                 ctx.bus().publish(FOUND, nonce);
    ///             })
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// # TestRuntime::on_loops(1, |rt| async move { rt.deploy(Deploy::new(|| Miner)).await.unwrap(); });
    /// ```
    ///
    /// # Errors
    /// [`HandleError`] when 1,024 pieces of work wait already, or the instance has stopped.
    pub fn run_on_context<R>(&self, work: impl FnOnce(Context<V>) -> R + Send + 'static) -> Result<(), HandleError>
    where
        R: Future<Output = ()> + 'static,
    {
        let begin: Work<V> = Box::new(|ctx| drop(ctx.run_on_context(work)));
        self.work.try_send(begin).map_err(|refused| match refused {
            flume::TrySendError::Full(_) => HandleError::Full,
            flume::TrySendError::Disconnected(_) => HandleError::Stopped,
        })
    }
}

impl<V: Verticle> Clone for ContextHandle<V> {
    fn clone(&self) -> Self {
        Self { work: self.work.clone() }
    }
}

impl<V: Verticle> fmt::Debug for ContextHandle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextHandle").field("waiting", &self.work.len()).finish_non_exhaustive()
    }
}

/// An instance's handle, made when it is first asked for; `ContextHandle<V>` with its type forgotten.
#[derive(Default)]
pub(crate) struct KeptHandle(OnceCell<Box<dyn Any>>);

impl<V: Verticle> Context<V> {
    /// The way back to this instance from any thread.
    pub fn handle(&self) -> ContextHandle<V> {
        let kept = self.instance.life.more().handle.0.get_or_init(|| Box::new(self.new_handle()));
        match kept.downcast_ref::<ContextHandle<V>>() {
            Some(handle) => handle.clone(),
            None => unreachable!("an instance has one type"),
        }
    }

    fn new_handle(&self) -> ContextHandle<V> {
        let (work, waiting) = flume::bounded::<Work<V>>(WAITING_MAX);
        let ctx = self.detached();
        self.spawn(async move {
            let mut begun = 0;
            while let Ok(begin) = waiting.recv_async().await {
                begin(&ctx);
                begun += 1;
                if begun % BEGUN_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        ContextHandle { work }
    }

    /// Runs work as a task of this instance, in a context of its own: after whatever runs now, and in the order of these
    /// calls. It is [`spawn`](Self::spawn) for work that wants the context.
    ///
    /// ```
    /// # use std::cell::Cell;
    /// # use vertebra::{BoxError, Context, Deploy, Verticle, testing::TestRuntime};
    /// #[derive(Default)]
    /// struct Lazy { ready: Cell<bool> }
    /// impl Verticle for Lazy {
    ///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
    ///         ctx.run_on_context(|ctx| async move { ctx.verticle().ready.set(true) });
    ///         assert!(!self.ready.get(), "not before this has had its turn");
    ///         Ok(())
    ///     }
    /// }
    /// # TestRuntime::paused(|rt| async move { rt.deploy(Deploy::new(Lazy::default)).await.unwrap(); });
    /// ```
    pub fn run_on_context<R>(&self, work: impl FnOnce(Self) -> R + 'static) -> Task
    where
        R: Future<Output = ()> + 'static,
    {
        let ctx = self.detached();
        self.spawn(async move { work(ctx).await })
    }
}
