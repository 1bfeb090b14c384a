//! The results as CSV and Markdown.

use ringbolt::bench::{Results, Series, time};

use super::demand::DemandResult;
use super::terminal;

type Column = (&'static str, fn(&Series) -> Option<f64>);

const COLUMNS: [Column; 12] = [
    ("n", |series| Some(series.n as f64)),
    ("p50_us", |series| Some(series.p50_us)),
    ("p90_us", |series| Some(series.p90_us)),
    ("p99_us", |series| Some(series.p99_us)),
    ("p999_us", |series| series.p999_us),
    ("max_us", |series| Some(series.max_us)),
    ("ops_per_s", |series| Some(series.ops_per_s)),
    ("flushes_per_op", |series| series.flushes_per_op),
    ("writes_per_op", |series| series.writes_per_op),
    ("kib_per_op", |series| series.kib_per_op),
    ("cpu_us_per_op", |series| series.cpu_us_per_op),
    ("ctx_switches_per_op", |series| series.ctx_switches_per_op),
];

/// One line per series. A cell is empty if the value is unknown.
pub(crate) fn csv(results: &Results) -> String {
    let mut text = format!("name,{}\n", COLUMNS.map(|(name, _)| name).join(","));
    for series in &results.results {
        let cells = COLUMNS.map(|(_, of)| of(series).map_or_else(String::new, |value| format!("{value:.3}")));
        text += &format!("{},{}\n", series.name, cells.join(","));
    }
    text
}

pub(crate) fn markdown(results: &Results, demands: &[DemandResult]) -> String {
    let mut text = terminal::head(results);
    text += "\n| | p50 | p90 | p99 | p99.9 | max | ops/s | flushes | writes | KiB | CPU µs | switches |\n";
    text += &format!("|---|{}\n", "--:|".repeat(11));
    for series in &results.results {
        let times =
            [Some(series.p50_us), Some(series.p90_us), Some(series.p99_us), series.p999_us, Some(series.max_us)];
        let counts = [
            series.flushes_per_op,
            series.writes_per_op,
            series.kib_per_op,
            series.cpu_us_per_op,
            series.ctx_switches_per_op,
        ];
        let mut cells: Vec<String> = times.iter().map(|us| us.map_or_else(String::new, time)).collect();
        cells.push(format!("{:.0}", series.ops_per_s));
        cells.extend(counts.iter().map(|count| count.map_or_else(String::new, |count| format!("{count:.2}"))));
        text += &format!("| `{}` | {} |\n", series.name, cells.join(" | "));
    }
    text += "\n";
    text += &terminal::tail(results, demands);
    text
}
