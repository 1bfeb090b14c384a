//! A turn: one subject works for a short time, and tells how long each operation took.

use std::thread;
use std::time::{Duration, Instant};

/// What is measured. It has made all it needs before its first turn, so that between two looks at the clock there is nothing but
/// the calls that it is about.
pub(super) trait Subject {
    /// The names of its series; and whether what the system counts in its turns is theirs alone.
    fn series(&self) -> Vec<(String, bool)>;

    /// Works until the pace says that the turn is over.
    fn turn(&mut self, pace: Pace, latencies: &mut Latencies) -> Result<(), String>;
}

/// What a turn has taken, in nanoseconds.
#[derive(Debug)]
pub(super) struct Latencies {
    /// In the order of the subject's series.
    pub(super) of: Vec<Vec<u64>>,
    /// How many operations that was.
    pub(super) operations: u64,
    /// The time that went into preparing them.
    pub(super) aside: Duration,
}

impl Latencies {
    /// With room for so many, that no turn has to ask for memory.
    pub(super) fn new(series: usize, most: usize) -> Latencies {
        Latencies { of: (0..series).map(|_| Vec::with_capacity(most)).collect(), operations: 0, aside: Duration::ZERO }
    }

    pub(super) fn clear(&mut self) {
        self.of.iter_mut().for_each(Vec::clear);
        self.operations = 0;
        self.aside = Duration::ZERO;
    }

    /// Notes one operation of a subject with one series.
    pub(super) fn note(&mut self, begin: Instant) {
        self.of[0].push(nanos(begin, Instant::now()));
        self.operations += 1;
    }
}

/// The most operations of one turn.
pub(super) const MOST: usize = 1 << 16;

/// When operations begin, and when the turn is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    turn: Duration,
    /// The time between two intended starts; `None`: one after the other.
    interval: Option<Duration>,
    begin: Option<Instant>,
    begun: usize,
}

impl Pace {
    pub(super) fn new(turn: Duration, rate_per_s: Option<f64>) -> Pace {
        let interval = rate_per_s.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Pace { turn, interval, begin: None, begun: 0 }
    }

    /// When the next operation begins, or was to begin: with a rate, an operation that the one before it has held up is late from
    /// the start, and that counts ("coordinated omission"). `None` when the turn is over. There is at least one in a turn.
    pub(super) fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let begin = *self.begin.get_or_insert(now);
        let start = match self.interval {
            None => now,
            Some(interval) => begin + interval.mul_f64(self.begun as f64),
        };
        if self.begun >= MOST || (self.begun > 0 && start.duration_since(begin) >= self.turn) {
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
        assert_eq!((0..MOST + 10).filter(|_| pace.next().is_some()).count(), MOST);
    }

    #[test]
    fn with_a_rate_starts_are_evenly_spaced_however_late() {
        let mut pace = Pace::new(Duration::from_millis(3), Some(1000.0));
        let first = pace.next().unwrap();
        let starts: Vec<_> = std::iter::from_fn(|| pace.next()).map(|start| start - first).collect();
        assert_eq!(starts, [Duration::from_millis(1), Duration::from_millis(2)]);
    }
}
