//! Collects the latencies of one series, turn by turn.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::counters::Spent;
use super::results::Series;

/// The fewest operations for a meaningful p99.9.
const ENOUGH_FOR_P999: u64 = 10_000;

/// The fewest rounds for a meaningful confidence interval.
const ENOUGH_FOR_INTERVAL: usize = 5;

/// The measurements of one series.
#[derive(Debug)]
pub(super) struct Record {
    name: String,
    /// In nanoseconds.
    latencies: Histogram<u64>,
    medians: Vec<f64>,
    operations: u64,
    took: Duration,
    spent: Option<Spent>,
}

impl Record {
    /// `counted`: whether the counters of a turn belong to this series alone.
    pub(super) fn new(name: &str, counted: bool) -> Record {
        Record {
            name: name.to_owned(),
            latencies: histogram(),
            medians: Vec::new(),
            operations: 0,
            took: Duration::ZERO,
            spent: counted.then_some(Spent::ZERO),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds the latencies of one turn, in nanoseconds. `operations` is their number, except for batches.
    pub(super) fn turn(&mut self, latencies: &[u64], operations: u64, took: Duration, spent: Spent) {
        if latencies.is_empty() {
            return;
        }
        let mut sorted = latencies.to_vec();
        sorted.sort_unstable();
        self.medians.push(sorted[sorted.len() / 2] as f64 / 1e3);
        for latency in latencies {
            self.latencies.saturating_record(*latency);
        }
        self.operations += operations;
        self.took += took;
        if let Some(sum) = &mut self.spent {
            sum.add(spent);
        }
    }

    /// The finished series; `None` if nothing was recorded.
    pub(super) fn finish(&self) -> Option<Series> {
        if self.latencies.is_empty() {
            return None;
        }
        let at = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let operations = self.operations as f64;
        let per_op = |field: fn(&Spent) -> Option<f64>| Some(field(self.spent.as_ref()?)? / operations);
        Some(Series {
            name: self.name.clone(),
            n: self.latencies.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: (self.latencies.len() >= ENOUGH_FOR_P999).then(|| at(0.999)),
            max_us: self.latencies.max() as f64 / 1e3,
            p50_interval_us: interval(&self.medians),
            ops_per_s: operations / self.took.as_secs_f64().max(1e-9),
            flushes_per_op: per_op(|spent| spent.flushes),
            writes_per_op: per_op(|spent| spent.writes),
            kib_per_op: per_op(|spent| spent.kib),
            cpu_us_per_op: per_op(|spent| spent.cpu_us),
            ctx_switches_per_op: per_op(|spent| spent.switches),
            rounds_p50_us: self.medians.clone(),
            quantiles_us: self.quantiles(),
        })
    }

    /// Points for a curve, denser in the tail.
    fn quantiles(&self) -> Vec<(f64, f64)> {
        let percent = (0..=95).step_by(5).map(|percent| f64::from(percent) / 100.0);
        let tail = [0.97, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0];
        let resolution = 1.0 / self.latencies.len() as f64;
        percent
            .chain(tail)
            .filter(|quantile| *quantile == 1.0 || 1.0 - quantile >= resolution)
            .map(|quantile| (quantile, self.latencies.value_at_quantile(quantile) as f64 / 1e3))
            .collect()
    }
}

/// A histogram of nanoseconds up to a minute, with 3 significant digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// The 95 % confidence interval of the median of the rounds' medians.
fn interval(medians: &[f64]) -> Option<(f64, f64)> {
    resample(&[medians], |drawn| drawn[0], 0.95)
}

/// The 99 % confidence interval of the relative change from `old` to `new`: 0.1 is 10 % slower.
pub(super) fn resampled(old: &[f64], new: &[f64]) -> Option<(f64, f64)> {
    resample(&[old, new], |drawn| drawn[1] / drawn[0] - 1.0, 0.99)
}

/// Resamples the rounds 2,000 times, with replacement, and returns the middle of the resulting figures (the percentile
/// bootstrap; Efron, 1979). Deterministic. `None` if there are too few rounds.
fn resample(rounds: &[&[f64]], figure: impl Fn(&[f64]) -> f64, confidence: f64) -> Option<(f64, f64)> {
    const TIMES: usize = 2000;
    if rounds.iter().any(|rounds| rounds.len() < ENOUGH_FOR_INTERVAL) {
        return None;
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |rounds: &[f64]| {
        // xorshift64 (Marsaglia, 2003). Any generator would do; this one is repeatable.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        rounds[(random % rounds.len() as u64) as usize]
    };
    let mut figures: Vec<f64> = (0..TIMES)
        .map(|_| {
            let drawn =
                rounds.iter().map(|rounds| median(&mut rounds.iter().map(|_| draw(rounds)).collect::<Vec<_>>()));
            figure(&drawn.collect::<Vec<_>>())
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    let cut = ((1.0 - confidence) / 2.0 * TIMES as f64) as usize;
    Some((figures[cut], figures[TIMES - 1 - cut]))
}

/// The median; for an even number of values, the mean of the middle two.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_the_recorded_figures() {
        let mut record = Record::new("x", true);
        assert!(record.finish().is_none());
        let spent = Spent { flushes: Some(200.0), ..Spent::ZERO };
        for round in 0..10 {
            let latencies: Vec<u64> = (1..=100).map(|i| i * 1000 + round).collect();
            record.turn(&latencies, 100, Duration::from_millis(10), spent);
        }
        let series = record.finish().unwrap();
        assert_eq!((series.n, series.name.as_str()), (1000, "x"));
        assert!((series.p50_us - 50.0).abs() < 0.1 && (series.p99_us - 99.0).abs() < 0.2, "{series:?}");
        assert!((series.max_us - 100.0).abs() < 0.2 && series.p999_us.is_none());
        assert_eq!((series.flushes_per_op, series.ops_per_s.round()), (Some(2.0), 10_000.0));
        assert_eq!(series.rounds_p50_us.len(), 10);
        let (low, high) = series.p50_interval_us.unwrap();
        assert!(low <= 51.01 && high >= 51.0 && high - low < 0.1, "{low} {high}");
        assert!(series.quantiles_us.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn the_interval_covers_the_spread_of_the_rounds() {
        assert_eq!(interval(&[1.0; 4]), None);
        assert_eq!(interval(&[1.0; 5]), Some((1.0, 1.0)));
        let (low, high) = interval(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        assert!((1.0..=4.0).contains(&low) && (6.0..=9.0).contains(&high), "{low} {high}");
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
