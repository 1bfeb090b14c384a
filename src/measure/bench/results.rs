//! What was measured: the schema of the JSON.

use serde::{Deserialize, Serialize};

use crate::measure::environment::Environment;

/// The name and version of the schema.
pub const SCHEMA: &str = "ringbolt-bench/1";

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of ringbolt that measured.
    pub version: String,
    /// When it began: RFC 3339, UTC.
    pub began: String,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// Whether it was ended before it was complete.
    pub partial: bool,
    /// How it was measured.
    pub method: Method,
    /// Where it was measured.
    pub environment: Environment,
    /// What it means, in one sentence, if there is enough to say it.
    pub summary: Option<String>,
    /// What to know before believing the numbers.
    pub warnings: Vec<String>,
    /// The series, in the order in which they are shown.
    pub results: Vec<Series>,
    /// What could not be measured here, and why.
    pub not_measured: Vec<NotMeasured>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// `quick`, `default` or `full`.
    pub mode: String,
    /// How often the series took turns.
    pub rounds: u32,
    /// How long one turn was, in milliseconds.
    pub turn_ms: u64,
    /// The length of the files, in bytes.
    pub size_bytes: usize,
    /// Operations a second of each writer, measured from their intended start; `None`: each begins when the last has ended
    /// (a closed loop).
    pub rate_per_s: Option<f64>,
}

/// One series. `None` where the machine cannot tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its stable name: `step/fsync`, `replace/portable`, `store/64xportable`.
    pub name: String,
    /// How many operations were measured.
    pub n: u64,
    /// The median latency in microseconds; and so on.
    pub p50_us: f64,
    /// Nine of ten took no longer.
    pub p90_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1,000; from 10,000 operations on.
    pub p999_us: Option<f64>,
    /// The longest.
    pub max_us: f64,
    /// The 95 % confidence interval of the median, by resampling the rounds; from 5 rounds on.
    pub p50_interval_us: Option<(f64, f64)>,
    /// Operations a second while it was its turn.
    pub ops_per_s: f64,
    /// Flushes that the device executed, an operation.
    pub flushes_per_op: Option<f64>,
    /// Writes that the device executed, an operation.
    pub writes_per_op: Option<f64>,
    /// KiB that were written to the device, an operation.
    pub kib_per_op: Option<f64>,
    /// Processor time of this process, user and system, in microseconds an operation.
    pub cpu_us_per_op: Option<f64>,
    /// Context switches of this process, an operation.
    pub ctx_switches_per_op: Option<f64>,
    /// The median of each round, so that drift can be seen.
    pub rounds_p50_us: Vec<f64>,
    /// The distribution: latencies in microseconds at rising quantiles (0 to 1).
    pub quantiles_us: Vec<(f64, f64)>,
}

/// A series that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// The name that it would have.
    pub name: String,
    /// Why it is not there.
    pub reason: String,
}

impl Results {
    /// The series of a name.
    pub fn get(&self, name: &str) -> Option<&Series> {
        self.results.iter().find(|series| series.name == name)
    }
}
