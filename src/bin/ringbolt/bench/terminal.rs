//! The results as a person reads them on a terminal of 80 columns.

use ringbolt::bench::{Results, Series, time};
use ringbolt::environment::{Device, Environment};

use super::demand::Outcome;

/// The groups in their order: what their series' names begin with, and the heading.
const GROUPS: [(&str, &str); 7] = [
    ("step/", "one durable replace, by its calls"),
    ("replace/", "one durable replace, whole"),
    ("store/", "a store: so many writers at once"),
    ("batch/", "a store: batches (latency of a batch, files/s)"),
    ("size/", "one durable replace, by the length of the file"),
    ("floor/", "the floor"),
    ("method/", "other methods"),
];

/// How many characters the rounds take.
const SPARKS: usize = 10;

/// How wide a line may be.
const WIDTH: usize = 80;

pub(crate) fn text(results: &Results, outcomes: &[Outcome]) -> String {
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
    text + &tail(results, outcomes)
}

/// The sentence, and the machine.
pub(crate) fn head(results: &Results) -> String {
    let mut text = String::new();
    if results.partial {
        text += "PARTIAL: ended before it was complete.\n\n";
    }
    let sentence = results.summary.as_deref().unwrap_or("Too little was measured to say what a durable replace costs.");
    text += &format!("{}\n\n", wrap(sentence, ""));
    text += &format!("{}\n", wrap(&machine(&results.environment), ""));
    let loop_kind = match results.method.rate_per_s {
        None => "closed loop: each operation begins when the last has ended".to_owned(),
        Some(rate) => format!("{rate} operations a second, measured from when each was to begin"),
    };
    let method = format!("{} rounds of turns of {} ms; {loop_kind}", results.method.rounds, results.method.turn_ms);
    text += &format!("{}\n", wrap(&method, ""));
    let warnings = results.environment.warnings.iter().map(|warning| format!("{} {}", warning.what, warning.advice));
    for warning in results.warnings.iter().cloned().chain(warnings) {
        text += &format!("{}\n", wrap(&format!("WARNING: {warning}"), "  "));
    }
    text
}

/// What could not be measured, and what became of the demands.
pub(crate) fn tail(results: &Results, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for missing in &results.not_measured {
        text += &format!("{}\n", wrap(&format!("not measured: {}: {}", missing.name, missing.reason), "  "));
    }
    for outcome in outcomes {
        let verdict = if outcome.holds { "holds" } else { "DOES NOT HOLD" };
        let line = format!("{verdict}: {} ({})", outcome.demand, outcome.found);
        text += &format!("{}\n", wrap(&line, "  "));
        if let Some((source, quote)) = &outcome.source {
            text += &format!("{}\n  {source}\n", wrap(&format!("  \"{quote}\""), "  "));
        }
    }
    text
}

fn machine(environment: &Environment) -> String {
    let filesystem = &environment.filesystem;
    let journal = match (filesystem.volatile, filesystem.journal) {
        (true, _) => ", which forgets everything",
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
    format!("{}{journal}{on}; {kernel}, {processors}; a store uses the engine {engine}", filesystem.kind)
}

fn device(device: &Device) -> String {
    let facts =
        [device.model.clone(), device.write_cache.clone(), device.fua.filter(|fua| *fua).map(|_| "FUA".to_owned())];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { device.name.clone() } else { format!("{} ({})", device.name, facts.join(", ")) }
}

/// The medians of the rounds, from zero: what looks level is level.
fn sparks(rounds: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = rounds.iter().copied().fold(0.0, f64::max);
    let columns = rounds.len().min(SPARKS);
    (0..columns)
        .map(|column| {
            let round = rounds[column * rounds.len() / columns];
            LEVELS[((round / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
        })
        .collect()
}

/// A share as a bar.
fn bar(share: f64) -> String {
    let eighths = (share * SPARKS as f64 * 8.0).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// Lines of at most 80 columns; all but the first are indented.
fn wrap(text: &str, indent: &str) -> String {
    textwrap::fill(text, textwrap::Options::new(WIDTH).subsequent_indent(indent).break_words(false))
}
