//! An answer's body, whole or byte by byte.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// What is left to be sent.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    rest: Bytes,
    /// One byte at each tick; without it all at once.
    pace: Option<Interval>,
}

impl AnswerBody {
    /// All at once.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { rest: bytes.into(), pace: None }
    }

    /// A byte every so many milliseconds; 0 is all at once. Needs a runtime with timers.
    pub(crate) fn paced(bytes: impl Into<Bytes>, byte_ms: u64) -> Self {
        let pace = (byte_ms > 0).then(|| {
            let mut pace = interval(Duration::from_millis(byte_ms));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        Self { rest: bytes.into(), pace }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let now = match &mut self.pace {
            None => std::mem::take(&mut self.rest),
            Some(pace) => {
                std::task::ready!(pace.poll_tick(context));
                self.rest.split_to(1)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(now))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn frames(mut body: AnswerBody) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            lengths.push(frame.data_ref().map_or(0, Bytes::len));
        }
        lengths
    }

    #[tokio::test]
    async fn a_paced_body_comes_byte_by_byte_and_an_unpaced_one_at_once() {
        assert_eq!(frames(AnswerBody::paced("abc", 1)).await, [1, 1, 1]);
        assert_eq!(frames(AnswerBody::paced("abc", 0)).await, [3]);
        assert_eq!(frames(AnswerBody::whole("")).await, [0; 0]);
    }
}
