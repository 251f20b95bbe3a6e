//! Doing an operation many times, so many at a time.

use std::future::poll_fn;
use std::task::Poll;

use tokio::task::spawn_local;
use vertebra::BoxError;

use crate::stopwatch::{Measured, Stopwatch};

/// Runs an operation `operations` times. With a window of 1 it is done again and again in the calling task; otherwise
/// that many tasks of this loop share the work, each waiting for its own - as so many connections do.
///
/// # Errors
/// When an operation fails.
pub async fn windowed<O>(window: u64, operations: u64, operation: O) -> Result<Measured, BoxError>
where
    O: AsyncFn() -> Result<u64, BoxError> + Clone + 'static,
{
    let stopwatch = Stopwatch::start();
    if window == 1 {
        for _ in 0..operations {
            std::hint::black_box(operation().await?);
        }
        return Ok(stopwatch.stop());
    }
    let share = |task| operations / window + u64::from(task < operations % window);
    let tasks: Vec<_> = (0..window)
        .map(|task| {
            let (operation, share) = (operation.clone(), share(task));
            spawn_local(async move {
                for _ in 0..share {
                    std::hint::black_box(operation().await?);
                }
                Ok::<(), BoxError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(stopwatch.stop())
}

/// Gives the other tasks of this loop their turn. Unlike tokio's, it does not go round the I/O driver first.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
