//! Wall time and CPU time between two moments.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What some operations took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// From the first to the last of them.
    pub wall: Duration,
    /// CPU time meanwhile: of the whole process, unless the question says whose.
    pub cpu: Duration,
}

/// Runs from its start.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn start() -> Self {
        let cpu = cpu_now();
        Self { wall: Instant::now(), cpu }
    }

    /// What the time since the start took.
    #[must_use]
    pub fn stop(&self) -> Measured {
        let wall = self.wall.elapsed();
        Measured { wall, cpu: cpu_now().saturating_sub(self.cpu) }
    }
}

/// CPU time the calling thread has used in its life.
pub(crate) fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn cpu_now() -> Duration {
    // A system call: it surrounds a run, never an operation.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
