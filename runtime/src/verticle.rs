//! What user code is made of: verticles, and their handlers.

use std::future::{Future, ready};

use crate::context::Context;
use crate::error::{BoxError, Failure};
use crate::message::Message;

/// A unit of deployment: state, and the handlers that work on it.
///
/// An instance is built on its event loop by a factory and never leaves it. Its handlers never run on two threads at
/// once, so plain cells are enough; it need not be `Send`. Two handlers of one instance do interleave at an await, up
/// to the bound given at registration: what must not be seen half-done is not held across one.
///
/// ```
/// use vertebra::{Address, BoxError, Context, Failure, Handler, Verticle};
/// use std::cell::Cell;
///
/// const COUNT: Address<(), u64> = Address::new("counter.next");
///
/// #[derive(Default)]
/// struct Counter { count: Cell<u64> }
///
/// impl Verticle for Counter {
///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
///         ctx.serve(COUNT).register()?;
///         Ok(())
///     }
/// }
///
/// impl Handler<()> for Counter {
///     type Reply = u64;
///     async fn handle(&self, (): (), _: &Context<Self>) -> Result<u64, Failure> {
///         self.count.set(self.count.get() + 1);
///         Ok(self.count.get())
///     }
/// }
/// ```
pub trait Verticle: Sized + 'static {
    /// Registers consumers, opens what is needed. Until it is done the deployment is not; an error undoes it.
    ///
    /// # Errors
    /// Whatever keeps the verticle from working; the deployment fails with it.
    fn start(&self, ctx: &Context<Self>) -> impl Future<Output = Result<(), BoxError>> {
        let _ = ctx;
        ready(Ok(()))
    }

    /// Flushes, closes. Runs when the intake has stopped and accepted messages are handled; tasks of the instance are
    /// still alive. Not called when `start` failed, nor for an instance that
    /// is replaced after a panic. It may be cut off when the time for stopping is up.
    ///
    /// # Errors
    /// Whatever went wrong; it is reported, and the instance goes all the same.
    fn stop(&self, ctx: &Context<Self>) -> impl Future<Output = Result<(), BoxError>> {
        let _ = ctx;
        ready(Ok(()))
    }
}

/// How a verticle handles messages of one type.
///
/// The compiler refuses an address that the verticle has no handler for, naming both, and one whose reply is another type
/// than the handler's. With no handler at all:
///
/// ```compile_fail,E0277
/// # use vertebra::{Address, BoxError, Context, Verticle};
/// # const COUNT: Address<u64, u64> = Address::new("counter.add");
/// # struct Counter;
/// impl Verticle for Counter {
///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
///         ctx.serve(COUNT).register()?; // `Counter` has no handler for `u64`
///         Ok(())
///     }
/// }
/// ```
///
/// With one for another message, and with one that replies something else:
///
/// ```compile_fail,E0277
/// # use vertebra::{Address, BoxError, Context, Failure, Handler, Verticle};
/// # const COUNT: Address<u64, u64> = Address::new("counter.add");
/// # struct Counter;
/// # impl Handler<String> for Counter {
/// #     type Reply = u64;
/// #     async fn handle(&self, _: String, _: &Context<Self>) -> Result<u64, Failure> { Ok(0) }
/// # }
/// impl Verticle for Counter {
///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
///         ctx.serve(COUNT).register()?; // `Counter` has no handler for `u64`
///         Ok(())
///     }
/// }
/// ```
///
/// ```compile_fail,E0271
/// # use vertebra::{Address, BoxError, Context, Failure, Handler, Verticle};
/// # const COUNT: Address<u64, u64> = Address::new("counter.add");
/// # struct Counter;
/// # impl Handler<u64> for Counter {
/// #     type Reply = u32;
/// #     async fn handle(&self, _: u64, _: &Context<Self>) -> Result<u32, Failure> { Ok(0) }
/// # }
/// impl Verticle for Counter {
///     async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
///         ctx.serve(COUNT).register()?; // type mismatch resolving `<Counter as Handler<u64>>::Reply == u64`
///         Ok(())
///     }
/// }
/// ```
///
/// Messages start in the order they arrive and interleave at awaits, up to
/// [`in_flight`](crate::Serve::in_flight). The reply is what is returned: forgetting it cannot be written. A panic fails
/// this message only; what becomes of the instance is a matter of its [`Restart`](crate::Restart).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handler for `{M}`",
    label = "served here, handled nowhere",
    note = "add `impl Handler<{M}> for {Self}`"
)]
pub trait Handler<M: Message>: Verticle {
    /// What the caller gets.
    type Reply: Message;

    /// Handles one message.
    ///
    /// The future may be dropped at an await when the verticle's time for stopping is up.
    ///
    /// # Errors
    /// A [`Failure`], which the caller of a request gets as [`RequestError::Failed`](crate::RequestError::Failed).
    fn handle(&self, message: M, ctx: &Context<Self>) -> impl Future<Output = Result<Self::Reply, Failure>>;
}

/// A message that cannot exist. Because every verticle "handles" this one and [`NeverEver`], there is never just one
/// candidate for a missing handler, and the compiler names the missing one instead of reporting mismatched types.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

/// The second of its kind: for a verticle that has no handler of its own.
#[doc(hidden)]
#[derive(Debug)]
pub enum NeverEver {}

#[diagnostic::do_not_recommend]
impl<V: Verticle> Handler<Never> for V {
    type Reply = Never;

    async fn handle(&self, message: Never, _: &Context<Self>) -> Result<Never, Failure> {
        match message {}
    }
}

#[diagnostic::do_not_recommend]
impl<V: Verticle> Handler<NeverEver> for V {
    type Reply = NeverEver;

    async fn handle(&self, message: NeverEver, _: &Context<Self>) -> Result<NeverEver, Failure> {
        match message {}
    }
}
