//! The results of a run: the schema of the JSON.

use serde::{Deserialize, Serialize};

use crate::measure::environment::Environment;

/// The name and version of the schema.
pub const SCHEMA: &str = "ringbolt-bench/1";

/// What stands for the engine in the names of stores with an intent log: `store/64xintent-log`.
pub(super) const LOGGED: &str = "intent-log";

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of ringbolt that measured.
    pub version: String,
    /// When the run started: RFC 3339, UTC.
    pub began: String,
    /// How long the run took, in seconds.
    pub took_s: f64,
    /// Whether the run ended early.
    pub partial: bool,
    /// How the series were measured.
    pub method: Method,
    /// Where the series were measured.
    pub environment: Environment,
    /// A summary in one sentence, if enough was measured.
    pub summary: Option<String>,
    /// What to know before trusting the numbers.
    pub warnings: Vec<String>,
    /// The series, in display order.
    pub results: Vec<Series>,
    /// The series that could not be measured here, and why.
    pub not_measured: Vec<NotMeasured>,
}

/// How a run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// `quick`, `default` or `full`.
    pub mode: String,
    /// The number of rounds; in each, every series has one turn.
    pub rounds: u32,
    /// The length of a turn, in milliseconds.
    pub turn_ms: u64,
    /// The file size, in bytes.
    pub size_bytes: usize,
    /// Operations per second and writer, measured from their intended start. `None` for a closed loop: each operation
    /// starts when the previous one ends.
    pub rate_per_s: Option<f64>,
}

/// The figures of one series. `None` where a figure is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The stable name: `step/fsync`, `replace/portable`, `store/64xportable`.
    pub name: String,
    /// The number of latencies measured.
    pub n: u64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The 90th percentile, in microseconds.
    pub p90_us: f64,
    /// The 99th percentile, in microseconds.
    pub p99_us: f64,
    /// The 99.9th percentile, in microseconds; `None` below 10,000 operations.
    pub p999_us: Option<f64>,
    /// The maximum, in microseconds.
    pub max_us: f64,
    /// The 95 % confidence interval of the median, from resampling the rounds, in microseconds; `None` below 5 rounds.
    pub p50_interval_us: Option<(f64, f64)>,
    /// Operations per second during the turns of this series.
    pub ops_per_s: f64,
    /// Flushes executed by the device, per operation.
    pub flushes_per_op: Option<f64>,
    /// Writes executed by the device, per operation.
    pub writes_per_op: Option<f64>,
    /// KiB written to the device, per operation.
    pub kib_per_op: Option<f64>,
    /// CPU time of this process, user and system, in microseconds per operation.
    pub cpu_us_per_op: Option<f64>,
    /// Context switches of this process, per operation.
    pub ctx_switches_per_op: Option<f64>,
    /// The median of each round, in microseconds, to show drift.
    pub rounds_p50_us: Vec<f64>,
    /// The distribution: pairs of a quantile (0 to 1, ascending) and the latency in microseconds.
    pub quantiles_us: Vec<(f64, f64)>,
}

/// A series that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// The name of the series.
    pub name: String,
    /// Why it was not measured.
    pub reason: String,
}

impl Results {
    /// The series with this name.
    pub fn get(&self, name: &str) -> Option<&Series> {
        self.results.iter().find(|series| series.name == name)
    }

    /// The store with the most files per second, and its number of concurrent writers: among stores with an intent log, or among
    /// those without.
    pub fn fastest_store(&self, has_log: bool) -> Option<(u32, &Series)> {
        let stores = self.results.iter().filter_map(|series| {
            let (writers, kind) = series.name.strip_prefix("store/")?.split_once('x')?;
            Some((writers.parse().ok()?, series)).filter(|_| (kind == LOGGED) == has_log)
        });
        stores.max_by(|(_, a), (_, b)| a.ops_per_s.total_cmp(&b.ops_per_s))
    }
}
