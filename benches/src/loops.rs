//! What our cases run on: two event loops, and a verticle on the first that does the measuring there.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use vertebra::{Address, BoxError, Bus, Context, Deploy, Failure, Handler, Runtime, Verticle};

use crate::stopwatch::{Measured, thread_cpu};

const DRIVE: Address<Drive, Measured> = Address::new("bench.drive");
const CPU: Address<AskCpu, Duration> = Address::new("bench.cpu");
/// Longer than any measurement takes.
const DRIVE_TIMEOUT: Duration = Duration::from_secs(600);
/// The loop the measuring is not done on.
const OTHER: &str = "other";

/// Where on its loop the measuring code runs.
#[derive(Debug, Clone, Copy)]
pub enum Inside {
    /// In a task of the verticle, as the code that serves a connection does: under tokio's budget.
    Task,
    /// In a handler, as the code that one request causes does.
    Handler,
}

struct Drive {
    inside: Inside,
    work: Box<dyn FnOnce(Bus) -> Working + Send>,
}

type Working = Pin<Box<dyn Future<Output = Result<Measured, BoxError>>>>;

/// Ask what the loop's thread has used.
struct AskCpu;

/// Runs what it is sent on its own loop.
struct Driver;

impl Verticle for Driver {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(DRIVE).register()?;
        ctx.serve(CPU).register()?;
        Ok(())
    }
}

impl Handler<Drive> for Driver {
    type Reply = Measured;

    async fn handle(&self, drive: Drive, ctx: &Context<Self>) -> Result<Measured, Failure> {
        let working = (drive.work)(ctx.bus().clone());
        let measured = match drive.inside {
            Inside::Handler => working.await,
            Inside::Task => {
                let (done, outcome) = oneshot::channel();
                ctx.spawn(async move { drop(done.send(working.await)) });
                outcome.await.unwrap_or_else(|gone| Err(gone.into()))
            }
        };
        measured.map_err(|error| Failure::new(Failure::UNSPECIFIED, error.to_string()))
    }
}

impl Handler<AskCpu> for Driver {
    type Reply = Duration;

    async fn handle(&self, _: AskCpu, _: &Context<Self>) -> Result<Duration, Failure> {
        Ok(thread_cpu())
    }
}

/// Two event loops with a driver on the first.
#[derive(Debug)]
pub struct Loops {
    runtime: Runtime,
}

impl Loops {
    /// Starts them.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new() -> Result<Self, BoxError> {
        let loops = Self { runtime: Runtime::builder().event_loops(1).named_loop(OTHER).build()? };
        loops.deploy_here(Deploy::new(|| Driver))?;
        Ok(loops)
    }

    /// Deploys on the loop that measures.
    ///
    /// # Errors
    /// When the deployment fails.
    pub fn deploy_here<V: Verticle>(&self, deploy: Deploy<V>) -> Result<(), BoxError> {
        self.runtime.block_on(self.runtime.deploy(deploy))?;
        Ok(())
    }

    /// Deploys on the other loop.
    ///
    /// # Errors
    /// When the deployment fails.
    pub fn deploy_there<V: Verticle>(&self, deploy: Deploy<V>) -> Result<(), BoxError> {
        self.deploy_here(deploy.on_loop(OTHER))
    }

    /// CPU time the first loop's thread has used.
    ///
    /// # Errors
    /// When the loop has ended.
    #[cfg(feature = "service")]
    pub fn cpu(&self) -> Result<Duration, BoxError> {
        Ok(self.runtime.block_on(self.runtime.bus().request(CPU, AskCpu))?)
    }

    /// Runs the work on the first loop.
    ///
    /// # Errors
    /// When the work fails.
    pub fn drive<F>(&self, inside: Inside, work: impl FnOnce(Bus) -> F + Send + 'static) -> Result<Measured, BoxError>
    where
        F: Future<Output = Result<Measured, BoxError>> + 'static,
    {
        let work = Box::new(|bus| -> Working { Box::pin(work(bus)) });
        let bus = self.runtime.bus();
        let request = bus.request(DRIVE, Drive { inside, work }).timeout(DRIVE_TIMEOUT);
        Ok(self.runtime.block_on(request)?)
    }
}
