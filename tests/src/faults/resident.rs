//! How much memory a process holds, over time.

use std::time::{Duration, Instant};

/// Resident sizes of one process, each with its time.
#[derive(Debug)]
pub(crate) struct Resident {
    begun: Instant,
    samples: Vec<(Duration, u64)>,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), samples: Vec::new() }
    }

    /// One more sample; nothing of a process that is gone.
    pub(crate) fn sample(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        self.samples.extend(kib(&status).map(|kib| (self.begun.elapsed(), kib << 10)));
    }

    /// The most of it, bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.samples.iter().map(|(_at, bytes)| *bytes).max().unwrap_or_default()
    }

    /// How much it grows over the last four fifths, MiB, by least squares.
    pub(crate) fn growth_mib(&self) -> f64 {
        let last = &self.samples[self.samples.len() / 5..];
        let points: Vec<(f64, f64)> =
            last.iter().map(|(at, bytes)| (at.as_secs_f64(), *bytes as f64 / f64::from(1 << 20))).collect();
        let seconds = points.last().map_or(0.0, |last| last.0 - points[0].0);
        slope(&points) * seconds
    }
}

/// Of the line through these points; 0 when there is none.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

fn kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_size_is_read_from_the_status() {
        assert_eq!(kib("Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t1\n"), Some(1_234));
        assert_eq!(kib("Name:\tx\n"), None);
        let mut resident = Resident::new();
        resident.sample(std::process::id());
        assert!(resident.peak() > 1 << 20);
    }

    #[test]
    fn a_slope_is_that_of_the_line_through_the_points() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 1.0)]), 0.0);
        assert_eq!((slope(&[(1.0, 1.0)]), slope(&[])), (0.0, 0.0));
    }
}
