//! A turn: one subject runs for a short time and records the latency of each operation.

use std::thread;
use std::time::{Duration, Instant};

/// Something to measure. It is fully set up before its first turn, so that only the measured calls happen between two
/// reads of the clock.
pub(super) trait Subject {
    /// The names of its series, and whether the counters of its turns belong to that series alone.
    fn series(&self) -> Vec<(String, bool)>;

    /// Runs operations until `pace` ends the turn.
    fn turn(&mut self, pace: Pace, latencies: &mut Latencies) -> Result<(), String>;
}

/// The latencies of a turn, in nanoseconds.
#[derive(Debug)]
pub(super) struct Latencies {
    /// In the order of the subject's series.
    pub(super) by_series: Vec<Vec<u64>>,
    /// The number of operations.
    pub(super) operations: u64,
    /// The time spent on preparation, which does not count.
    pub(super) excluded: Duration,
}

impl Latencies {
    /// Allocates `capacity` latencies per series, so that no turn has to allocate.
    pub(super) fn new(series: usize, capacity: usize) -> Latencies {
        Latencies {
            by_series: (0..series).map(|_| Vec::with_capacity(capacity)).collect(),
            operations: 0,
            excluded: Duration::ZERO,
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_series.iter_mut().for_each(Vec::clear);
        self.operations = 0;
        self.excluded = Duration::ZERO;
    }

    /// Records one operation of a subject with one series.
    pub(super) fn record(&mut self, begin: Instant) {
        self.by_series[0].push(nanos(begin, Instant::now()));
        self.operations += 1;
    }
}

/// The most operations in one turn.
pub(super) const OPERATIONS_MAX: usize = 1 << 16;

/// Decides when operations start and when the turn ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    turn: Duration,
    /// The time between two intended starts; `None` for a closed loop.
    interval: Option<Duration>,
    begin: Option<Instant>,
    begun: usize,
}

impl Pace {
    pub(super) fn new(turn: Duration, rate_per_s: Option<f64>) -> Pace {
        let interval = rate_per_s.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Pace { turn, interval, begin: None, begun: 0 }
    }

    /// The start of the next operation; `None` if the turn is over. A turn has at least one operation. With a rate, this is the
    /// intended start: if the previous operation took too long, the delay counts as latency. That avoids "coordinated omission".
    pub(super) fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let begin = *self.begin.get_or_insert(now);
        let start = match self.interval {
            None => now,
            Some(interval) => begin + interval.mul_f64(self.begun as f64),
        };
        if self.begun >= OPERATIONS_MAX || (self.begun > 0 && start.duration_since(begin) >= self.turn) {
            return None;
        }
        self.begun += 1;
        thread::sleep(start.saturating_duration_since(now));
        Some(start)
    }
}

pub(super) fn nanos(begin: Instant, end: Instant) -> u64 {
    u64::try_from(end.duration_since(begin).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_operation_at_least_and_ends() {
        let mut pace = Pace::new(Duration::ZERO, None);
        assert!(pace.next().is_some() && pace.next().is_none());
        let mut pace = Pace::new(Duration::from_secs(3600), None);
        assert_eq!((0..OPERATIONS_MAX + 10).filter(|_| pace.next().is_some()).count(), OPERATIONS_MAX);
    }

    #[test]
    fn with_a_rate_starts_are_evenly_spaced_however_late() {
        let mut pace = Pace::new(Duration::from_millis(3), Some(1000.0));
        let first = pace.next().unwrap();
        let starts: Vec<_> = std::iter::from_fn(|| pace.next()).map(|start| start - first).collect();
        assert_eq!(starts, [Duration::from_millis(1), Duration::from_millis(2)]);
    }
}
