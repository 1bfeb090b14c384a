//! `ringbolt bench compare`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use ringbolt::bench::{Comparison, Results, time};

use super::args::CompareArgs;
use super::print;
use crate::problem::Problem;

pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode, Problem> {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let comparison = Comparison::of(&old, &new).map_err(|error| Problem::Read(format!("bench compare: {error}")))?;
    print(&text(&comparison))?;
    Ok(if comparison.is_slower() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &Path) -> Result<Results, Problem> {
    let fail = |error: &dyn std::fmt::Display| Problem::Read(format!("bench compare: {path:?}: {error}"));
    Results::from_json(&fs::read(path).map_err(|error| fail(&error))?).map_err(|error| fail(&error))
}

fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for difference in &comparison.differences {
        text += &format!("note: different {difference}\n");
    }
    if !text.is_empty() {
        text += "\n";
    }
    let wide = comparison.series.iter().map(|series| series.name.len()).max().unwrap_or(0);
    text += &format!("{:wide$}{:>9}{:>9}{:>9}{:>16}\n", "", "old p50", "new p50", "change", "99 % interval");
    for series in &comparison.series {
        let percent = |share: f64| format!("{:+.0} %", share * 100.0);
        let interval = series.interval.map_or_else(
            || "too few rounds".to_owned(),
            |(low, high)| format!("{:+.0} to {:+.0} %", low * 100.0, high * 100.0),
        );
        let (old, new) = (time(series.p50_us.0), time(series.p50_us.1));
        text += &format!(
            "{:<wide$}{old:>9}{new:>9}{:>9}{interval:>16}  {}\n",
            series.name,
            percent(series.shift),
            series.change
        );
    }
    if comparison.is_drift() {
        text += "\nnote: most series moved in the same direction; probably the machine was busier\n";
        text += "during one of the runs. Run both again, in turn.\n";
    }
    for missing in &comparison.missing {
        text += &format!("{missing}\n");
    }
    text
}
