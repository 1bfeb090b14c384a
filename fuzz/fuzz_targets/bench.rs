//! Parses the JSON of benchmarks and demands from untrusted bytes.
//!
//! An input is one run or two, then demands, one per line, separated by lines of `----`. No input may make the
//! comparison panic. A parsed run can be written and parsed again, and comparing it with itself finds no change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringbolt::bench::{Assertion, Comparison, Results, SpeedChange, time};

/// Skip longer series: resampling them is slow and finds nothing new.
const ROUNDS_MAX: usize = 64;

/// The separator of the parts of an input.
const SEPARATOR: &str = "\n----\n";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(SEPARATOR);
    let old = parts.next().and_then(read);
    let new = parts.next().and_then(read);
    if let (Some(old), Some(new)) = (&old, &new) {
        both(old, new);
        both(new, old);
    }
    let runs: Vec<&Results> = [&old, &new].into_iter().flatten().collect();
    for line in parts.next().unwrap_or(&text).lines() {
        demand(line, &runs);
    }
});

fn read(json: &str) -> Option<Results> {
    let results = match Results::from_json(json.as_bytes()) {
        Ok(results) => results,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "more than a line: {text:?}");
            return None;
        }
    };
    let written = serde_json::to_vec(&results).expect("what was read can be written");
    let again = Results::from_json(&written).expect("what was written can be read");
    let written_again = serde_json::to_vec(&again).expect("it was written once");
    assert_eq!(again, results);
    assert_eq!(written_again, written);
    if results.results.iter().any(|series| series.rounds_p50_us.len() > ROUNDS_MAX) {
        return None;
    }
    match Comparison::of(&results, &again) {
        Ok(comparison) => {
            assert_eq!(comparison.series.len(), results.results.len());
            assert!(comparison.missing.is_empty() && !comparison.is_slower() && !comparison.is_drift());
            for series in &comparison.series {
                assert!(matches!(series.change, SpeedChange::Same | SpeedChange::CannotTell), "{series:?}");
            }
            // The only note that concerns a single run.
            assert!(comparison.differences.iter().all(|note| note.ends_with("run ended early")), "{comparison:?}");
        }
        Err(error) => assert!(results.results.is_empty(), "not comparable with itself: {error}"),
    }
    Some(results)
}

fn both(old: &Results, new: &Results) {
    let Ok(comparison) = Comparison::of(old, new) else { return };
    let only = |one: &Results, other: &Results| {
        one.results.iter().filter(|series| other.results.iter().all(|other| other.name != series.name)).count()
    };
    assert_eq!(comparison.series.len() + only(old, new), old.results.len());
    assert_eq!(comparison.missing.len(), only(old, new) + only(new, old));
    assert_eq!(comparison.is_slower(), comparison.series.iter().any(|series| series.change == SpeedChange::Slower));
    for series in &comparison.series {
        let (low, high) = series.interval.unwrap_or_default();
        assert!(low <= high || low.is_nan() || high.is_nan(), "{series:?}");
        match series.change {
            SpeedChange::Slower => assert!(series.p50_us.1 > series.p50_us.0, "{series:?}"),
            SpeedChange::Faster => assert!(series.p50_us.1 < series.p50_us.0, "{series:?}"),
            SpeedChange::Same | SpeedChange::CannotTell => {}
        }
        assert!(!time(series.p50_us.0).is_empty() && !time(series.p50_us.1).is_empty());
    }
}

fn demand(text: &str, runs: &[&Results]) {
    let assertion: Assertion = match text.parse() {
        Ok(assertion) => assertion,
        Err(error) => {
            let error = format!("{error}");
            assert!(!error.contains(char::is_control), "more than a line: {error:?}");
            return;
        }
    };
    let shown = assertion.to_string();
    let again: Assertion = shown.parse().expect("what is shown can be read");
    assert_eq!(again.to_string(), shown);
    for run in runs {
        let (one, other) = (assertion.check(run), again.check(run));
        assert!(!one.found.is_empty());
        assert_eq!(one, other, "{shown:?} was {text:?}");
    }
}
