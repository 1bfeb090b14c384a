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
    operator: Operator,
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
enum Figure {
    Time(&'static str, fn(&Series) -> Option<f64>),
    Count(&'static str, fn(&Series) -> Option<f64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
}

const FIGURES: [Figure; 11] = [
    Figure::Time("p50", |series| Some(series.p50_us)),
    Figure::Time("p90", |series| Some(series.p90_us)),
    Figure::Time("p99", |series| Some(series.p99_us)),
    Figure::Time("p999", |series| series.p999_us),
    Figure::Time("max", |series| Some(series.max_us)),
    Figure::Count("ops_per_s", |series| Some(series.ops_per_s)),
    Figure::Count("flushes_per_op", |series| series.flushes_per_op),
    Figure::Count("writes_per_op", |series| series.writes_per_op),
    Figure::Count("kib_per_op", |series| series.kib_per_op),
    Figure::Count("cpu_us_per_op", |series| series.cpu_us_per_op),
    Figure::Count("ctx_switches_per_op", |series| series.ctx_switches_per_op),
];

/// Longer operators first, because each starts with a shorter one.
const OPERATORS: [(&str, Operator); 4] =
    [("<=", Operator::AtMost), (">=", Operator::AtLeast), ("<", Operator::Less), (">", Operator::More)];

impl Figure {
    fn name(&self) -> &'static str {
        match self {
            Figure::Time(name, _) | Figure::Count(name, _) => name,
        }
    }

    fn of(&self, series: &Series) -> Option<f64> {
        match self {
            Figure::Time(_, of) | Figure::Count(_, of) => of(series),
        }
    }

    fn limit(&self, text: &str) -> Result<f64, String> {
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{text:?} is not a number")),
        };
        match self {
            Figure::Count(..) => number(text),
            Figure::Time(..) => {
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
        match self {
            Figure::Time(..) => time(value),
            Figure::Count(..) => format!("{value:.1}"),
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
        let Some(value) = self.figure.of(series) else {
            return missing(format!(
                "{} of {name} is unknown: this machine does not report it, or the run was too short",
                self.figure.name()
            ));
        };
        let holds = match self.operator {
            Operator::Less => value < self.limit,
            Operator::AtMost => value <= self.limit,
            Operator::More => value > self.limit,
            Operator::AtLeast => value >= self.limit,
        };
        Asserted { holds, found: format!("{name}.{} is {}", self.figure.name(), self.figure.show(value)) }
    }
}

impl FromStr for Assertion {
    type Err = ParseAssertionError;

    fn from_str(text: &str) -> Result<Assertion, ParseAssertionError> {
        let fail = |why: String| ParseAssertionError { text: text.to_owned(), why };
        let (at, (sign, operator)) = OPERATORS
            .iter()
            .filter_map(|found| Some((text.find(found.0)?, *found)))
            .min_by_key(|(at, _)| *at)
            .ok_or_else(|| fail("there is no comparison; use <, <=, > or >=".to_owned()))?;
        let (what, limit) = (text[..at].trim(), text[at + sign.len()..].trim());
        let (series, name) =
            what.rsplit_once('.').ok_or_else(|| fail("the figure is missing, such as .p99".to_owned()))?;
        if series.is_empty() {
            return Err(fail("the series name is missing".to_owned()));
        }
        let figure = FIGURES.iter().find(|figure| figure.name() == name).ok_or_else(|| {
            let names: Vec<_> = FIGURES.iter().map(Figure::name).collect();
            fail(format!("unknown figure {name:?}; use one of {}", names.join(" ")))
        })?;
        let limit_value = figure.limit(limit).map_err(fail)?;
        let (series, text) = (series.to_owned(), limit.to_owned());
        Ok(Assertion { series, figure: *figure, operator, limit: limit_value, text })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().find(|(_, operator)| *operator == self.operator).map_or("", |(sign, _)| sign);
        write!(f, "{}.{}{sign}{}", self.series, self.figure.name(), self.text)
    }
}
