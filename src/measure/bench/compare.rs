//! Two runs beside one another: what has changed, and whether that can be told at all.

use std::collections::HashSet;
use std::fmt;

use serde::de::Error as _;

use super::record::resampled;
use super::results::{Results, SCHEMA};

/// A difference of less than so much is none.
const SAME: f64 = 0.05;

/// What is said of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Within 5 %, with confidence.
    Same,
    /// Slower by more than 5 %, with confidence.
    Slower,
    /// Faster by more than 5 %, with confidence.
    Faster,
    /// The rounds differ too much among themselves, or are too few.
    CannotTell,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Change::Same => "same",
            Change::Slower => "slower",
            Change::Faster => "faster",
            Change::CannotTell => "cannot tell",
        })
    }
}

/// One series in both runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// The medians, in microseconds.
    pub p50_us: (f64, f64),
    /// How much longer it takes: 0.1 is 10 %.
    pub shift: f64,
    /// The 99 % interval of that, by resampling the rounds of both; `None` if there are too few.
    pub interval: Option<(f64, f64)>,
    /// What is said of it.
    pub change: Change,
}

/// Two runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The series that both have.
    pub series: Vec<Compared>,
    /// Those that only one of them has.
    pub missing: Vec<String>,
    /// In what the machines, or the runs, differ.
    pub differences: Vec<String>,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The text is not JSON, or lacks something.
    #[error("not the JSON of a benchmark: {0}")]
    Json(#[from] serde_json::Error),
    /// Another schema.
    #[error("its schema is {found}, and only {SCHEMA:?} is known")]
    Schema {
        /// What is there.
        found: String,
    },
    /// They did not do the same work.
    #[error("not comparable: {0}")]
    Work(String),
}

impl Results {
    /// Reads the JSON of a run.
    ///
    /// # Errors
    ///
    /// It is not JSON, or of another schema, or has a series twice.
    pub fn from_json(json: &[u8]) -> Result<Results, CompareError> {
        let value: serde_json::Value = serde_json::from_slice(json)?;
        let results: Results = match value.get("schema") {
            Some(schema) if schema == SCHEMA => serde_json::from_value(value)?,
            // Escaped, since it is printed.
            Some(serde_json::Value::String(schema)) => {
                return Err(CompareError::Schema { found: format!("{schema:?}") });
            }
            Some(_) => return Err(CompareError::Schema { found: "no text".to_owned() }),
            None => return Err(CompareError::Schema { found: "missing".to_owned() }),
        };
        // Series are found by their names.
        let mut names = HashSet::new();
        match results.results.iter().find(|series| !names.insert(&series.name)) {
            Some(series) => Err(serde_json::Error::custom(format!("{:?} is there twice", series.name)).into()),
            None => Ok(results),
        }
    }
}

impl Comparison {
    /// Compares two runs.
    ///
    /// # Errors
    ///
    /// [`CompareError::Work`]: files of another size, another rate, or no series in common.
    pub fn of(old: &Results, new: &Results) -> Result<Comparison, CompareError> {
        let (before, after) = (&old.method, &new.method);
        if before.size_bytes != after.size_bytes {
            let why = format!("files of {} bytes, and of {}", before.size_bytes, after.size_bytes);
            return Err(CompareError::Work(why));
        }
        if before.rate_per_s != after.rate_per_s {
            return Err(CompareError::Work("one run had another rate than the other".to_owned()));
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
            return Err(CompareError::Work("they have no series in common".to_owned()));
        }
        let only = |one: &Results, other: &Results, whose: &str| {
            let names = one.results.iter().filter(|series| other.get(&series.name).is_none());
            names.map(|series| format!("{} ({whose} only)", series.name)).collect::<Vec<_>>()
        };
        let missing = [only(old, new, "old"), only(new, old, "new")].concat();
        Ok(Comparison { series, missing, differences: differences(old, new) })
    }

    /// Whether most of it has moved in one direction, also what does not wait for the disk: a sign of a busier machine rather than
    /// of a change of what was measured.
    pub fn is_drift(&self) -> bool {
        let most = self.series.len() * 3 / 4;
        let moved = |slower: bool| {
            self.series.iter().filter(|series| series.shift.abs() > SAME && (series.shift > 0.0) == slower).count()
        };
        self.series.len() > 3 && (moved(true) > most || moved(false) > most)
    }

    /// Whether anything has become slower.
    pub fn is_slower(&self) -> bool {
        self.series.iter().any(|series| series.change == Change::Slower)
    }
}

fn judge(shift: f64, interval: Option<(f64, f64)>) -> Change {
    match interval {
        Some((low, _)) if low > SAME && shift > SAME => Change::Slower,
        Some((_, high)) if high < -SAME && shift < -SAME => Change::Faster,
        Some((low, high)) if low > -SAME && high < SAME => Change::Same,
        _ => Change::CannotTell,
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
    differ("its options", &a.filesystem.options.join(","), &b.filesystem.options.join(","));
    differ("device", &disk(old), &disk(new));
    differ("mode", &old.method.mode, &new.method.mode);
    for (results, whose) in [(old, "old"), (new, "new")] {
        if results.partial {
            found.push(format!("the {whose} run was ended early"));
        }
    }
    found
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
