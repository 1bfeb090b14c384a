//! Compares two runs: which series changed, and whether the difference is significant.

use std::collections::HashSet;
use std::fmt;

use serde::de::Error as _;

use super::record::resampled;
use super::results::{Results, SCHEMA};

/// Differences smaller than this are ignored: 5 %.
const SAME: f64 = 0.05;

/// How the speed of a series changed between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeedChange {
    /// Within 5 %, with 99 % confidence.
    Same,
    /// Slower by more than 5 %, with 99 % confidence.
    Slower,
    /// Faster by more than 5 %, with 99 % confidence.
    Faster,
    /// The rounds vary too much, or there are too few.
    CannotTell,
}

impl fmt::Display for SpeedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SpeedChange::Same => "same",
            SpeedChange::Slower => "slower",
            SpeedChange::Faster => "faster",
            SpeedChange::CannotTell => "cannot tell",
        })
    }
}

/// One series in both runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Compared {
    /// The name of the series.
    pub name: String,
    /// The medians of the old and the new run, in microseconds.
    pub p50_us: (f64, f64),
    /// The relative change of the median: 0.1 is 10 % slower.
    pub shift: f64,
    /// The 99 % confidence interval of the relative change, from resampling the rounds of both runs; `None` if there are too few.
    pub interval: Option<(f64, f64)>,
    /// The conclusion.
    pub change: SpeedChange,
}

/// A comparison of two runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The series that both runs have.
    pub series: Vec<Compared>,
    /// The series that only one run has.
    pub missing: Vec<String>,
    /// How the machines or the runs differ.
    pub differences: Vec<String>,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The text is not JSON, or a field is missing.
    #[error("not benchmark results: {0}")]
    Json(#[from] serde_json::Error),
    /// The schema is missing or unknown.
    #[error("unsupported schema {found}; this version reads {SCHEMA:?}")]
    Schema {
        /// The schema of the text.
        found: String,
    },
    /// The runs did different work.
    #[error("not comparable: {0}")]
    Work(String),
}

impl Results {
    /// Parses the JSON results of a run.
    ///
    /// # Errors
    ///
    /// The text is not JSON, has another schema, or contains a series twice.
    pub fn from_json(json: &[u8]) -> Result<Results, CompareError> {
        let value: serde_json::Value = serde_json::from_slice(json)?;
        let results: Results = match value.get("schema") {
            Some(schema) if schema == SCHEMA => serde_json::from_value(value)?,
            // Escaped, because it is printed.
            Some(serde_json::Value::String(schema)) => {
                return Err(CompareError::Schema { found: format!("{schema:?}") });
            }
            Some(_) => return Err(CompareError::Schema { found: "(not a string)".to_owned() }),
            None => return Err(CompareError::Schema { found: "(none)".to_owned() }),
        };
        // Series are looked up by name, so names must be unique.
        let mut names = HashSet::new();
        match results.results.iter().find(|series| !names.insert(&series.name)) {
            Some(series) => Err(serde_json::Error::custom(format!("series {:?} occurs twice", series.name)).into()),
            None => Ok(results),
        }
    }
}

impl Comparison {
    /// Compares two runs.
    ///
    /// # Errors
    ///
    /// [`CompareError::Work`]: the file sizes or rates differ, or the runs have no series in common.
    pub fn of(old: &Results, new: &Results) -> Result<Comparison, CompareError> {
        let (before, after) = (&old.method, &new.method);
        if before.size_bytes != after.size_bytes {
            let why = format!("the file sizes differ: {} and {} bytes", before.size_bytes, after.size_bytes);
            return Err(CompareError::Work(why));
        }
        if before.rate_per_s != after.rate_per_s {
            return Err(CompareError::Work("the rates differ".to_owned()));
        }
        let series: Vec<Compared> = old
            .results
            .iter()
            .filter_map(|a| {
                let b = new.get(&a.name)?;
                let interval = resampled(&a.rounds_p50_us, &b.rounds_p50_us);
                let shift = if a.p50_us > 0.0 { b.p50_us / a.p50_us - 1.0 } else { 0.0 };
                let change = judge(shift, interval);
                Some(Compared { name: a.name.clone(), p50_us: (a.p50_us, b.p50_us), shift, interval, change })
            })
            .collect();
        if series.is_empty() {
            return Err(CompareError::Work("the runs have no series in common".to_owned()));
        }
        let only = |one: &Results, other: &Results, whose: &str| {
            let names = one.results.iter().filter(|series| other.get(&series.name).is_none());
            names.map(|series| format!("{} ({whose} only)", series.name)).collect::<Vec<_>>()
        };
        let missing = [only(old, new, "old"), only(new, old, "new")].concat();
        Ok(Comparison { series, missing, differences: differences(old, new) })
    }

    /// Whether more than three quarters of the series moved by more than 5 % in the same direction. That suggests a
    /// busier machine rather than a change in what was measured.
    pub fn is_drift(&self) -> bool {
        let threshold = self.series.len() * 3 / 4;
        let moved = |slower: bool| {
            self.series.iter().filter(|series| series.shift.abs() > SAME && (series.shift > 0.0) == slower).count()
        };
        self.series.len() > 3 && (moved(true) > threshold || moved(false) > threshold)
    }

    /// Whether any series is slower.
    pub fn is_slower(&self) -> bool {
        self.series.iter().any(|series| series.change == SpeedChange::Slower)
    }
}

fn judge(shift: f64, interval: Option<(f64, f64)>) -> SpeedChange {
    match interval {
        Some((low, _)) if low > SAME && shift > SAME => SpeedChange::Slower,
        Some((_, high)) if high < -SAME && shift < -SAME => SpeedChange::Faster,
        Some((low, high)) if low > -SAME && high < SAME => SpeedChange::Same,
        _ => SpeedChange::CannotTell,
    }
}

fn differences(old: &Results, new: &Results) -> Vec<String> {
    let (a, b) = (&old.environment, &new.environment);
    let disk = |results: &Results| {
        let devices = results.environment.device.iter().map(|device| device.model.as_deref().unwrap_or(&device.name));
        devices.collect::<Vec<_>>().join(" on ")
    };
    let mut found = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            found.push(format!("{what}: {a:?} and {b:?}"));
        }
    };
    differ("ringbolt", &old.version, &new.version);
    differ("kernel", &a.kernel, &b.kernel);
    differ("processors", &a.processors.to_string(), &b.processors.to_string());
    differ("filesystem", &a.filesystem.kind, &b.filesystem.kind);
    differ("mount options", &a.filesystem.options.join(","), &b.filesystem.options.join(","));
    differ("device", &disk(old), &disk(new));
    differ("mode", &old.method.mode, &new.method.mode);
    for (results, whose) in [(old, "old"), (new, "new")] {
        if results.partial {
            found.push(format!("the {whose} run ended early"));
        }
    }
    found
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
