//! Demands on the results of a benchmark.

use std::fmt;
use std::str::FromStr;

use super::results::{Results, Series};
use super::summary::time;

/// A demand such as `replace.p99<5ms`: a series, one of its figures, a comparison and a limit.
///
/// `replace` alone means a replace with the engine that a store would use here. The figures `p50`, `p90`, `p99`, `p999`
/// and `max` take a limit in `us`, `ms` or `s`. `ops_per_s`, `flushes_per_op`, `writes_per_op`, `kib_per_op`,
/// `cpu_us_per_op` and `ctx_switches_per_op` take a limit without a unit.
///
/// ```
/// use ringbolt::bench::Assertion;
///
/// let assertion: Assertion = "store/64xportable.ops_per_s >= 5000".parse().unwrap();
/// assert_eq!(assertion.to_string(), "store/64xportable.ops_per_s>=5000");
/// assert!("replace.p99<5".parse::<Assertion>().unwrap_err().to_string().contains("5ms"));
/// ```
#[derive(Clone, Debug)]
pub struct Assertion {
    series: String,
    figure: Figure,
    comparison: Comparison,
    /// In microseconds for a time, else in the figure's own unit.
    limit: f64,
    /// The limit as written, for `Display`.
    text: String,
}

/// A text that is not a valid assertion, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a demand such as 'replace.p99<5ms': {why}")]
pub struct ParseAssertionError {
    text: String,
    why: String,
}

/// The result of checking an assertion.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Asserted {
    /// Whether the assertion holds. It does not if the series or figure was not measured.
    pub holds: bool,
    /// The measured value, or why there is none.
    pub found: String,
}

#[derive(Clone, Copy, Debug)]
struct Figure {
    name: &'static str,
    unit: Unit,
    of: fn(&Series) -> Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Time,
    Count,
}

const fn figure(name: &'static str, unit: Unit, of: fn(&Series) -> Option<f64>) -> Figure {
    Figure { name, unit, of }
}

const FIGURES: [Figure; 11] = [
    figure("p50", Unit::Time, |series| Some(series.p50_us)),
    figure("p90", Unit::Time, |series| Some(series.p90_us)),
    figure("p99", Unit::Time, |series| Some(series.p99_us)),
    figure("p999", Unit::Time, |series| series.p999_us),
    figure("max", Unit::Time, |series| Some(series.max_us)),
    figure("ops_per_s", Unit::Count, |series| Some(series.ops_per_s)),
    figure("flushes_per_op", Unit::Count, |series| series.flushes_per_op),
    figure("writes_per_op", Unit::Count, |series| series.writes_per_op),
    figure("kib_per_op", Unit::Count, |series| series.kib_per_op),
    figure("cpu_us_per_op", Unit::Count, |series| series.cpu_us_per_op),
    figure("ctx_switches_per_op", Unit::Count, |series| series.ctx_switches_per_op),
];

/// A sign, and whether it holds between a value and a limit.
type Comparison = (&'static str, fn(&f64, &f64) -> bool);

/// Longer signs first, because each starts with a shorter one.
const COMPARISONS: [Comparison; 4] = [("<=", f64::le), (">=", f64::ge), ("<", f64::lt), (">", f64::gt)];

impl Figure {
    fn limit(&self, text: &str) -> Result<f64, String> {
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{text:?} is not a number")),
        };
        match self.unit {
            Unit::Count => number(text),
            Unit::Time => {
                let units = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
                match units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor))) {
                    Some((text, factor)) => number(text).map(|number| number * factor),
                    None => {
                        number(text).and_then(|_| Err(format!("a time needs a unit: {text}ms, {text}us or {text}s")))
                    }
                }
            }
        }
    }

    fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Time => time(value),
            Unit::Count => format!("{value:.1}"),
        }
    }
}

impl Assertion {
    /// Checks the assertion against the results of a run.
    pub fn check(&self, results: &Results) -> Asserted {
        let name = match self.series.as_str() {
            "replace" => match results.environment.engine.as_str() {
                "uring" if results.get("replace/uring-chain").is_some() => "replace/uring-chain".to_owned(),
                "uring" => "replace/uring-two-stage".to_owned(),
                engine => format!("replace/{engine}"),
            },
            name => name.to_owned(),
        };
        let missing = |why: String| Asserted { holds: false, found: why };
        let Some(series) = results.get(&name) else {
            let reason = results.not_measured.iter().find(|missing| missing.name == name);
            return missing(match reason {
                Some(reason) => format!("{name} could not be measured: {}", reason.reason),
                None => format!("{name} was not measured in this run"),
            });
        };
        let Some(value) = (self.figure.of)(series) else {
            return missing(format!(
                "{} of {name} is unknown: this machine does not report it, or the run was too short",
                self.figure.name
            ));
        };
        let (_, holds) = self.comparison;
        Asserted {
            holds: holds(&value, &self.limit),
            found: format!("{name}.{} is {}", self.figure.name, self.figure.show(value)),
        }
    }
}

impl FromStr for Assertion {
    type Err = ParseAssertionError;

    fn from_str(text: &str) -> Result<Assertion, ParseAssertionError> {
        let fail = |why: String| ParseAssertionError { text: text.to_owned(), why };
        let (at, comparison) = COMPARISONS
            .iter()
            .filter_map(|found| Some((text.find(found.0)?, *found)))
            .min_by_key(|(at, _)| *at)
            .ok_or_else(|| fail("there is no comparison; use <, <=, > or >=".to_owned()))?;
        let (what, limit) = (text[..at].trim(), text[at + comparison.0.len()..].trim());
        let (series, name) =
            what.rsplit_once('.').ok_or_else(|| fail("the figure is missing, such as .p99".to_owned()))?;
        if series.is_empty() {
            return Err(fail("the series name is missing".to_owned()));
        }
        let figure = FIGURES.iter().find(|figure| figure.name == name).ok_or_else(|| {
            let names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
            fail(format!("unknown figure {name:?}; use one of {}", names.join(" ")))
        })?;
        let limit_value = figure.limit(limit).map_err(fail)?;
        let (series, text) = (series.to_owned(), limit.to_owned());
        Ok(Assertion { series, figure: *figure, comparison, limit: limit_value, text })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}{}", self.series, self.figure.name, self.comparison.0, self.text)
    }
}
