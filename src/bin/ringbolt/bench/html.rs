//! The HTML report: one self-contained file without scripts, for a browser or for printing.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use ringbolt::bench::{Results, Series, time};

use super::chart::{self, Axis, Line, Unit};
use super::figures::{bytes, count, thousands};
use super::tables;

const CSS: &str = include_str!("report.css");

/// Forbids loading or running anything, whatever the text in the results contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The six calls of a replace, and what each does.
const STEPS: [(&str, &str); 6] = [
    ("openat", "creates the temporary file"),
    ("write", "copies the content to the kernel"),
    ("fsync", "flushes the file to the disk"),
    ("close", "closes it"),
    ("renameat", "replaces the old file"),
    ("fsync-dir", "flushes the new name to the disk"),
];

/// The page. Each verdict is the demand, whether it is met, and what was found.
pub(crate) fn page(results: &Results, verdicts: &[(String, bool, String)]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(format!("ringbolt {}", results.version));
                title { @if results.partial { "Partial: " } "What durability costs in " (directory(results)) }
                style { (PreEscaped(CSS)) }
            }
            body {
                (head(results, verdicts))
                main {
                    (notices(results))
                    (steps(results))
                    (distribution(results))
                    (throughput(results))
                    (tables::series(results))
                    (tables::not_measured(results))
                    (tables::environment(results))
                    (tables::verdicts(verdicts))
                }
                footer {
                    p {
                        "Measured in a new directory, on a machine that may be shared. "
                        "Only a power cut proves that a disk is honest."
                    }
                    p .quiet { "ringbolt " (results.version) " · " (results.schema) }
                }
            }
        }
    };
    page.into_string()
}

fn directory(results: &Results) -> String {
    results.environment.directory.display().to_string()
}

fn head(results: &Results, verdicts: &[(String, bool, String)]) -> Markup {
    let holding = verdicts.iter().filter(|(_, holds, _)| *holds).count();
    html! {
        header {
            p .eyebrow {
                span .brand { "ringbolt bench" }
                time datetime=(results.began) { (moment(&results.began)) }
                span { (results.method.mode) " mode, " (format!("{:.0}", results.took_s)) " s" }
                @if results.partial { strong .badge.bad { "Partial" } }
                @if !verdicts.is_empty() {
                    a .badge.(if holding == verdicts.len() { "good" } else { "bad" }) href="#verdicts" {
                        (holding) " of " (verdicts.len()) " demands met"
                    }
                }
            }
            h1 { "What durability costs in " code { (directory(results)) } }
            p .lead {
                @match &results.summary {
                    Some(summary) => (unbroken(summary)),
                    None => "Too little was measured for a summary.",
                }
            }
            (tiles(results))
        }
    }
}

/// Puts non-breaking spaces between numbers and their units.
fn unbroken(text: &str) -> String {
    let units = [" %", " µs", " ms", " s ", " KiB", " MiB", " bytes"];
    units.iter().fold(text.to_owned(), |text, unit| text.replace(unit, &unit.replacen(' ', "\u{a0}", 1)))
}

/// `22 November 2026, 22:28 UTC`; or the text itself, if it is not a date.
fn moment(began: &str) -> String {
    match began.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.strftime("%-d %B %Y, %H:%M UTC").to_string(),
        Err(_) => began.to_owned(),
    }
}

/// The most important figures, shown as tiles.
fn tiles(results: &Results) -> Markup {
    let mut tiles = Vec::new();
    if let Some(whole) = results.get("replace/plain-calls").or_else(|| results.get("replace/portable")) {
        tiles.push((time(whole.p50_us), "p50: the median of one durable replace".to_owned()));
        tiles.push((time(whole.p99_us), "p99: 99 of 100 take at most this long".to_owned()));
        if let Some(flushes) = whole.flushes_per_op {
            tiles.push((count(flushes), "disk flushes per replace".to_owned()));
        }
    }
    for (is_logged, with) in [(false, "with"), (true, "with an intent log and")] {
        if let Some((writers, best)) = results.fastest_store(is_logged) {
            let several = if writers == 1 { "writer" } else { "writers" };
            tiles.push((thousands(best.ops_per_s), format!("files per second, {with} {writers} concurrent {several}")));
        }
    }
    html! {
        @if !tiles.is_empty() {
            dl .tiles {
                @for (figure, of) in &tiles {
                    div { dt { (of) } dd { (figure) } }
                }
            }
        }
    }
}

/// Notices to read before the numbers.
fn notices(results: &Results) -> Markup {
    let filesystem = &results.environment.filesystem;
    let kind = if filesystem.kind.is_empty() { "filesystem" } else { &filesystem.kind };
    let warned = !results.warnings.is_empty() || !results.environment.warnings.is_empty();
    html! {
        @if filesystem.volatile {
            section .notice.bad role="note" aria-label="Nothing is durable here" {
                h2 { "Nothing is durable here" }
                p {
                    "This " (kind) " loses everything at a power cut. The figures show what the system calls cost, "
                    "not what a disk would add."
                }
            }
        }
        @if results.partial {
            section .notice.bad role="note" aria-label="Partial" {
                h2 { "Partial" }
                p { "The run ended early. Some series have fewer rounds than others, or none." }
            }
        }
        @if warned {
            section .notice.care role="note" aria-label="Warnings" {
                h2 { "Before you trust the numbers" }
                ul {
                    @for warning in &results.warnings { li { (warning) } }
                    @for warning in &results.environment.warnings {
                        li {
                            strong { (warning.what) }
                            @if !warning.advice.is_empty() { " " (warning.advice) }
                        }
                    }
                }
            }
        }
    }
}

fn steps(results: &Results) -> Markup {
    let find = |(name, aim)| results.get(&format!("step/{name}")).map(|series| (name, aim, series));
    let steps: Vec<(&str, &str, &Series)> = STEPS.into_iter().filter_map(find).collect();
    let parts: Vec<_> = steps.iter().map(|(name, _, series)| (*name, series.p50_us)).collect();
    let all: f64 = parts.iter().map(|(_, us)| us).sum();
    let labels: Vec<_> = parts.iter().map(|(name, us)| format!("{name} {}", time(*us))).collect();
    html! {
        section {
            h2 { "The steps of one replace" }
            @if steps.is_empty() {
                p .quiet { "The steps were not measured." }
            } @else {
                p .quiet {
                    "The median of each call; the sum is " (time(all)) "."
                    @if steps.len() < STEPS.len() { " Some of the steps were not measured." }
                }
                (chart::stack(&format!("The medians of the steps: {}", labels.join(", ")), &parts))
                div .scroll tabindex="0" role="region" aria-label="The steps of one replace" {
                    table .steps {
                        thead {
                            tr {
                                th scope="col" { "Step" }
                                th scope="col" .number { "Share" }
                                @for head in ["p50", "p90", "p99", "max"] { th scope="col" .number { (head) } }
                            }
                        }
                        tbody {
                            @for (i, (name, aim, series)) in steps.iter().enumerate() {
                                tr {
                                    th scope="row" {
                                        span .key.(chart::style(i)) { (i + 1) }
                                        span .name { (name) }
                                        span .aim { (aim) }
                                    }
                                    td .number { (format!("{:.1} %", 100.0 * series.p50_us / all.max(1e-9))) }
                                    @for us in [series.p50_us, series.p90_us, series.p99_us, series.max_us] {
                                        td .number { (time(us)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn distribution(results: &Results) -> Markup {
    let replaces = results.results.iter().filter_map(|series| Some((series.name.strip_prefix("replace/")?, series)));
    let lines: Vec<Line> = replaces
        .filter(|(_, series)| !series.quantiles_us.is_empty())
        .map(|(engine, series)| Line {
            label: engine.to_owned(),
            note: format!("{} · p99 {}", time(series.p50_us), time(series.p99_us)),
            points: series.quantiles_us.iter().map(|(quantile, us)| (*us, 100.0 * quantile)).collect(),
        })
        .collect();
    let times = lines.iter().flat_map(|line| line.points.iter().map(|(us, _)| *us));
    let x = Axis::log("Time of one replace (logarithmic)", Unit::Time, times);
    let y = Axis::percent("Share of replaces that took at most this long");
    html! {
        section {
            h2 { "How long a replace takes" }
            @if lines.is_empty() {
                p .quiet { "No whole replace was measured." }
            } @else {
                p .quiet {
                    "Further left is faster; a steep line is consistent. Next to each name: the median and p99."
                }
                (chart::lines("Latency distribution of a replace, by engine", &x, &y, &lines, false))
            }
        }
    }
}

/// Splits `store/64xportable` into `64` and `portable`.
fn writers(name: &str) -> Option<(u32, &str)> {
    let (writers, engine) = name.strip_prefix("store/")?.split_once('x')?;
    Some((writers.parse().ok()?, engine))
}

/// Splits `batch/64/journal` into `64` and `journal`.
fn batch(name: &str) -> Option<(u32, &str)> {
    let (files, barrier) = name.strip_prefix("batch/")?.split_once('/')?;
    Some((files.parse().ok()?, barrier))
}

fn throughput(results: &Results) -> Markup {
    let writers = (
        lines_of(results, writers),
        "Throughput by number of writers",
        "Concurrent writers",
        "Each writer replaces its own files.",
    );
    let batches = (
        lines_of(results, batch),
        "Throughput by batch size",
        "Files per batch",
        "A batch becomes durable as a whole; each line is one barrier.",
    );
    let mut charts = vec![writers, batches];
    // A single point makes no line; it is in the table.
    charts.retain(|(lines, ..)| xs(lines).len() > 1);
    html! {
        @for (lines, title, across, aim) in &charts {
            @let x = Axis::values(across, &xs(lines), thousands);
            @let y = Axis::amount("Files per second", Unit::Count, ys(lines));
            section {
                h2 { (title) }
                p .quiet { (aim) " Next to each name: its maximum." }
                (chart::lines(title, &x, &y, lines, true))
            }
        }
        (sizes(results))
    }
}

/// One line for each engine or barrier, in order of first appearance.
fn lines_of<'a>(results: &'a Results, parse: impl Fn(&'a str) -> Option<(u32, &'a str)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for series in &results.results {
        let Some((n, kind)) = parse(&series.name) else { continue };
        let point = (f64::from(n), series.ops_per_s);
        match lines.iter_mut().find(|line| line.label == kind) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { label: kind.to_owned(), note: String::new(), points: vec![point] }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        line.note = format!("{}/s", thousands(line.points.iter().map(|point| point.1).fold(0.0, f64::max)));
    }
    lines
}

fn sizes(results: &Results) -> Markup {
    let size = |series: &Series| series.name.strip_prefix("size/")?.parse::<u32>().ok().map(f64::from);
    let mut found: Vec<_> = results.results.iter().filter_map(|series| Some((size(series)?, series))).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line = |label: &str, figure: fn(&Series) -> f64| {
        let points = found.iter().map(|(size, series)| (*size, figure(series))).collect();
        Line { label: label.to_owned(), note: String::new(), points }
    };
    let lines = [line("median", |series| series.p50_us), line("p99", |series| series.p99_us)];
    let x = Axis::values("File size", &xs(&lines), bytes);
    let y = Axis::amount("Time of one replace", Unit::Time, ys(&lines));
    html! {
        @if found.len() > 1 {
            section {
                h2 { "Latency by file size" }
                p .quiet { "One durable replace, with the engine that a store would use here." }
                (chart::lines("Latency of a replace by file size", &x, &y, &lines, true))
            }
        }
    }
}

fn xs(lines: &[Line]) -> Vec<f64> {
    let whole: BTreeSet<u64> = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0 as u64)).collect();
    whole.into_iter().map(|x| x as f64).collect()
}

fn ys(lines: &[Line]) -> impl Iterator<Item = f64> + Clone {
    lines.iter().flat_map(|line| line.points.iter().map(|point| point.1))
}
