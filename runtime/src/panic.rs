//! Panics of user code, kept where they belong.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::event_loop::with_current;

/// What a panic said, as far as it can be told.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

/// Runs what should not panic but is foreign all the same: a waker, the `Drop` of a message. A panic in it is counted
/// and logged, and nobody else suffers from it.
pub(crate) fn contain<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(foreign)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let panic = panic_text(panic.as_ref());
            with_current(|core| core.count_panic());
            tracing::error!(panic, "a waker or the drop of a value panicked");
            None
        }
    }
}

/// A future whose panic is its result.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future: Pin<Box<F>> = Box::pin(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic_text(panic.as_ref()))),
    })
    .await
}
