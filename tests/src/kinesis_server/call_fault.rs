//! What can go wrong with one call, and which calls it happens to.

use super::error::ErrorType;

/// What goes wrong with a whole call.
///
/// The first four leave nothing stored. The others meet a call that was carried out: whoever sends its records again stores them twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// Answered with this HTTP status and `__type`.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The `__type`.
        name: String,
    },
    /// The connection is closed without an answer.
    CloseBefore,
    /// No answer for so long, then the connection is closed.
    Stall {
        /// Milliseconds.
        ms: u64,
    },
    /// The answer comes so much later.
    Late {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is closed instead of an answer.
    CloseAfter,
    /// The answer's body comes byte by byte.
    SlowBody {
        /// Milliseconds between two bytes.
        byte_ms: u64,
    },
    /// A 200 whose JSON breaks off in the middle.
    CutShort,
    /// A 200 with so many results fewer than records, as far as there are any.
    Fewer(usize),
    /// A 200 with so many results more than records.
    More(usize),
}

impl CallFault {
    /// A refusal by status and `__type`.
    pub fn refuse(status: u16, name: &str) -> Self {
        Self::Refuse { status, name: name.to_owned() }
    }

    /// The call as a whole is over a limit.
    pub fn throttled() -> Self {
        Self::refuse(400, "ProvisionedThroughputExceededException")
    }

    /// A field of the call breaks a constraint.
    pub fn invalid() -> Self {
        Self::refuse(400, "ValidationException")
    }

    /// The service failed.
    pub fn failed() -> Self {
        Self::refuse(500, "InternalFailure")
    }

    /// The service is not there for the moment.
    pub fn unavailable() -> Self {
        Self::refuse(503, "ServiceUnavailable")
    }
}

/// Which calls a fault happens to.
#[derive(Debug, Clone)]
pub(crate) enum When {
    /// The next so many that come to it.
    Next(u32),
    /// This share of them, 0.0 to 1.0.
    Share(f64),
}

impl When {
    /// Whether it happens to this call; uses up one of a number.
    pub(crate) fn strikes(&mut self, random: &mut fastrand::Rng) -> bool {
        match self {
            Self::Next(0) => false,
            Self::Next(left) => {
                *left -= 1;
                true
            }
            Self::Share(share) => random.f64() < *share,
        }
    }
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Not carried out: answered with this.
    pub(crate) refuse: Option<ErrorType>,
    /// Not carried out: the connection is closed after so long.
    pub(crate) stall_ms: Option<u64>,
    /// The answer is held back this long, after the call was carried out.
    pub(crate) late_ms: u64,
    /// Carried out, but the connection is closed instead of an answer.
    pub(crate) close_after: bool,
    /// Between two bytes of the answer.
    pub(crate) byte_ms: u64,
    /// The answer's JSON breaks off.
    pub(crate) cut_short: bool,
    /// Results that the answer has too many; below zero: that it lacks.
    pub(crate) more_results: isize,
}

impl Verdict {
    /// Whether the call is carried out at all.
    pub(crate) fn is_carried_out(&self) -> bool {
        self.refuse.is_none() && self.stall_ms.is_none()
    }

    /// Whether the client cannot tell that the call was carried out, or is told too late.
    pub(crate) fn leaves_doubt(&self) -> bool {
        self.close_after || self.cut_short || self.more_results != 0 || self.late_ms > 0 || self.byte_ms > 0
    }

    /// Adds what this fault does.
    pub(crate) fn add(&mut self, fault: &CallFault) {
        match fault {
            CallFault::Refuse { status, name } => {
                self.refuse = Some(ErrorType::Injected { status: *status, name: name.clone() });
            }
            CallFault::CloseBefore => self.stall_ms = Some(0),
            CallFault::Stall { ms } => self.stall_ms = Some(*ms),
            CallFault::Late { ms } => self.late_ms += ms,
            CallFault::CloseAfter => self.close_after = true,
            CallFault::SlowBody { byte_ms } => self.byte_ms = *byte_ms,
            CallFault::CutShort => self.cut_short = true,
            CallFault::Fewer(results) => self.more_results -= results.cast_signed(),
            CallFault::More(results) => self.more_results += results.cast_signed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_calls_is_used_up_and_a_share_is_not() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut next = When::Next(2);
        assert_eq!([(); 4].map(|()| next.strikes(&mut random)), [true, true, false, false]);
        let (mut all, mut none, mut half) = (When::Share(1.0), When::Share(0.0), When::Share(0.5));
        assert!((0..100).all(|_| all.strikes(&mut random) && !none.strikes(&mut random)));
        let struck = (0..1_000).filter(|_| half.strikes(&mut random)).count();
        assert!((400..600).contains(&struck), "{struck} of 1000");
    }

    #[test]
    fn a_call_that_is_refused_or_stalled_is_not_carried_out_and_every_other_is() {
        let carried_out = |fault: CallFault| {
            let mut verdict = Verdict::default();
            verdict.add(&fault);
            verdict.is_carried_out()
        };
        for fault in [CallFault::failed(), CallFault::CloseBefore, CallFault::Stall { ms: 1 }] {
            assert!(!carried_out(fault.clone()), "{fault:?}");
        }
        let after = [CallFault::Late { ms: 1 }, CallFault::CloseAfter, CallFault::SlowBody { byte_ms: 1 }];
        for fault in after.into_iter().chain([CallFault::CutShort, CallFault::Fewer(1), CallFault::More(1)]) {
            assert!(carried_out(fault.clone()), "{fault:?}");
        }
    }
}
