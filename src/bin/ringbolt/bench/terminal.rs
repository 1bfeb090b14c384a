//! The results as text, for a terminal of 80 columns.

use ringbolt::bench::{Results, Series, time};
use ringbolt::environment::{Device, Environment};

use super::demand::DemandResult;

/// The groups in display order: the prefix of their series' names, and the heading.
const GROUPS: [(&str, &str); 7] = [
    ("step/", "one durable replace, by system call"),
    ("replace/", "one durable replace, in total"),
    ("store/", "a store with this many concurrent writers"),
    ("batch/", "a store with batches (latency per batch, files/s)"),
    ("size/", "one durable replace, by file size"),
    ("floor/", "the floor: the least a sync can cost"),
    ("method/", "other methods"),
];

/// Width of a sparkline, in characters.
const SPARKS: usize = 10;

/// The maximum line width, in columns.
const WIDTH: usize = 80;

pub(crate) fn text(results: &Results, demands: &[DemandResult]) -> String {
    let mut text = head(results);
    for (prefix, heading) in GROUPS {
        let series: Vec<&Series> = results.results.iter().filter(|series| series.name.starts_with(prefix)).collect();
        if series.is_empty() {
            continue;
        }
        let last = if prefix == "step/" { "share" } else { "rounds" };
        text += &format!(
            "\n{heading}\n{:<24}{:>9}{:>9}{:>9}{:>9}{:>8}  {last}\n",
            "", "p50", "p99", "max", "ops/s", "flushes"
        );
        let all: f64 = series.iter().map(|series| series.p50_us).sum();
        for series in series {
            let name = series.name.strip_prefix(prefix).unwrap_or(&series.name);
            let (rate, last) = match prefix {
                "step/" => (String::new(), bar(series.p50_us / all)),
                _ => (format!("{:.0}", series.ops_per_s), sparks(&series.rounds_p50_us)),
            };
            let flushes = series.flushes_per_op.map_or_else(String::new, |flushes| format!("{flushes:.2}"));
            let [p50, p99, max] = [series.p50_us, series.p99_us, series.max_us].map(time);
            text += format!("  {name:<22}{p50:>9}{p99:>9}{max:>9}{rate:>9}{flushes:>8}  {last}").trim_end();
            text += "\n";
        }
    }
    text += "\n";
    text + &tail(results, demands)
}

/// The summary, the machine, the method and warnings.
pub(crate) fn head(results: &Results) -> String {
    let mut text = String::new();
    if results.partial {
        text += "PARTIAL: the run ended early.\n\n";
    }
    let sentence = results.summary.as_deref().unwrap_or("Too little was measured to say what a durable replace costs.");
    text += &format!("{}\n\n", wrap(sentence, ""));
    text += &format!("{}\n", wrap(&machine(&results.environment), ""));
    let loop_kind = match results.method.rate_per_s {
        None => "closed loop: each operation starts when the previous one ends".to_owned(),
        Some(rate) => format!("{rate} operations per second, measured from the intended start"),
    };
    let method = format!("{} rounds with turns of {} ms; {loop_kind}", results.method.rounds, results.method.turn_ms);
    text += &format!("{}\n", wrap(&method, ""));
    let warnings = results.environment.warnings.iter().map(|warning| format!("{} {}", warning.what, warning.advice));
    for warning in results.warnings.iter().cloned().chain(warnings) {
        text += &format!("{}\n", wrap(&format!("WARNING: {warning}"), "  "));
    }
    text
}

/// What could not be measured, and whether the demands are met.
pub(crate) fn tail(results: &Results, demands: &[DemandResult]) -> String {
    let mut text = String::new();
    for missing in &results.not_measured {
        text += &format!("{}\n", wrap(&format!("not measured: {}: {}", missing.name, missing.reason), "  "));
    }
    for demand in demands {
        let verdict = if demand.holds { "met" } else { "NOT MET" };
        let line = format!("{verdict}: {} ({})", demand.demand, demand.found);
        text += &format!("{}\n", wrap(&line, "  "));
        if let Some((source, quote)) = &demand.source {
            text += &format!("{}\n  {source}\n", wrap(&format!("  \"{quote}\""), "  "));
        }
    }
    text
}

fn machine(environment: &Environment) -> String {
    let filesystem = &environment.filesystem;
    let journal = match (filesystem.volatile, filesystem.journal) {
        (true, _) => " (in memory)",
        (_, Some(false)) => " without a journal",
        _ => "",
    };
    let devices: Vec<String> = environment.device.iter().map(device).collect();
    let on = if devices.is_empty() { String::new() } else { format!(" on {}", devices.join(" on ")) };
    let processors = match environment.processors {
        1 => "1 processor".to_owned(),
        n => format!("{n} processors"),
    };
    let Environment { kernel, engine, .. } = environment;
    format!("{}{journal}{on}; {kernel}, {processors}; a store uses engine {engine}", filesystem.kind)
}

fn device(device: &Device) -> String {
    let facts =
        [device.model.clone(), device.write_cache.clone(), device.fua.filter(|fua| *fua).map(|_| "FUA".to_owned())];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { device.name.clone() } else { format!("{} ({})", device.name, facts.join(", ")) }
}

/// The medians of the rounds as bars. The scale starts at zero, so that small differences look small.
fn sparks(rounds: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = rounds.iter().copied().fold(0.0, f64::max);
    let columns = rounds.len().min(SPARKS);
    (0..columns)
        .map(|column| {
            let round = rounds[column * rounds.len() / columns];
            LEVELS[((round / highest * 8.0).ceil() as usize).clamp(1, 8) - 1]
        })
        .collect()
}

/// Draws a share (0 to 1) as a bar.
fn bar(share: f64) -> String {
    let eighths = (share * SPARKS as f64 * 8.0).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// Wraps to 80 columns; indents all lines but the first.
fn wrap(text: &str, indent: &str) -> String {
    textwrap::fill(text, textwrap::Options::new(WIDTH).subsequent_indent(indent).break_words(false))
}
