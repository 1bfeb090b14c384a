//! Throughput as a bar chart: reads and writes the measured points and draws them as one SVG.
//!
//! All bars have the same scale, and each is labelled with its value. The chart has its own background, so it is
//! readable on light and dark pages. The fills differ in lightness, and those of the journal are hatched, so it is also
//! readable in black and white.

use std::fmt::Write;

use serde_json::{Value, json};

/// The throughput of one series with a number of threads: the median over the rounds, in files per second, and the
/// quartiles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// The filesystem and its device, such as `ext4`.
    pub(crate) disk: String,
    /// The kernel and the number of processors.
    pub(crate) machine: String,
    pub(crate) writers: u64,
    pub(crate) series: String,
    pub(crate) rounds: u64,
    pub(crate) median: f64,
    pub(crate) quartiles: (f64, f64),
}

impl Point {
    /// One line of JSON.
    pub(crate) fn to_line(&self) -> String {
        let Point { disk, machine, writers, series, rounds, median, quartiles: (low, high) } = self;
        let rate = |value: f64| (value * 10.0).round() / 10.0;
        json!({
            "disk": disk, "machine": machine, "writers": writers, "series": series, "rounds": rounds,
            "files_per_s": rate(*median), "quartiles": [rate(*low), rate(*high)],
        })
        .to_string()
    }

    fn of_line(line: &str) -> Result<Point, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let missing = |what: &str| format!("no {what} in {line}");
        let text = |name: &str| value[name].as_str().map(str::to_owned).ok_or_else(|| missing(name));
        let count = |name: &str| value[name].as_u64().ok_or_else(|| missing(name));
        let number = |value: &Value, name: &str| value.as_f64().ok_or_else(|| missing(name));
        Ok(Point {
            disk: text("disk")?,
            machine: text("machine")?,
            writers: count("writers")?,
            series: text("series")?,
            rounds: count("rounds")?,
            median: number(&value["files_per_s"], "files_per_s")?,
            quartiles: (number(&value["quartiles"][0], "quartiles")?, number(&value["quartiles"][1], "quartiles")?),
        })
    }
}

/// Parses points, one per line.
pub(crate) fn parse(text: &str) -> Result<Vec<Point>, String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(Point::of_line).collect()
}

/// The series to draw: name in the measurements, name in the chart, CSS class.
const SERIES: [(&str, &str, &str); 4] = [
    ("six plain calls", "six plain calls", "plain"),
    ("atomic-write-file 0.3.1", "atomic-write-file", "peer"),
    ("ringbolt", "ringbolt", "ours"),
    ("ringbolt, journal", "ringbolt, Journal", "journal"),
];

const WRITERS: [u64; 3] = [1, 8, 64];

const WIDTH: f64 = 860.0;
const EDGE: f64 = 20.0;
/// The x position where the row names end and the first panel begins.
const LABELS: f64 = 150.0;
/// The y position of the first group.
const TOP: f64 = 112.0;
const ROW: f64 = 19.0;
const BAR: f64 = 13.0;
/// The space above each group, for its heading.
const HEADING: f64 = 26.0;
/// The space between panels.
const GAP: f64 = 26.0;
/// The space to the right of the longest bar, for its value.
const FIGURE: f64 = 82.0;

/// One bar.
struct Bar<'a> {
    point: &'a Point,
    class: &'static str,
    /// The number of threads, if fewer than the group's were faster.
    fewer: bool,
    /// The ratio to the best peer.
    ratio: Option<f64>,
}

/// The bars of one disk, by number of writers.
type Panel<'a> = (&'a str, [(u64, [Option<Bar<'a>>; SERIES.len()]); WRITERS.len()]);

/// Draws a panel for each disk; `None` if there is nothing to draw.
pub(crate) fn draw(points: &[Point]) -> Option<String> {
    let drawn = panels(points);
    let all = || drawn.iter().flat_map(|(_, groups)| groups.iter().flat_map(|(_, bars)| bars.iter().flatten()));
    let high = all().map(|bar| bar.point.median.max(bar.point.quartiles.1)).fold(0.0, f64::max);
    let first = all().next()?.point;
    let (step, steps) = axis(high);
    let group_height = HEADING + ROW * SERIES.len() as f64;
    let bottom = TOP + group_height * WRITERS.len() as f64 + 4.0;
    let height = bottom + 86.0;
    let panel = (WIDTH - 2.0 * EDGE - LABELS - GAP * (drawn.len() as f64 - 1.0)) / drawn.len() as f64;
    let scale = (panel - FIGURE) / (step * f64::from(steps));

    let title = "Durable replaces of 4 KiB files: throughput by number of writers";
    let rounds = all().map(|bar| bar.point.rounds).min().unwrap_or(0);
    let machine = escape(&format!("{}; medians of at least {rounds} interleaved rounds", first.machine));
    let mut svg = String::new();
    let out = &mut svg;
    line(
        out,
        format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">"#
        ),
    );
    line(out, format_args!(r#"<title id="title">{title}</title>"#));
    line(out, format_args!(r#"<desc id="desc">{}</desc>"#, escape(&describe(&drawn, &machine))));
    line(out, format_args!("{STYLE}"));
    line(
        out,
        format_args!(
            r#"<rect class="card" x="0.5" y="0.5" width="{}" height="{}" rx="6"/>"#,
            WIDTH - 1.0,
            height - 1.0
        ),
    );
    text(out, "head", EDGE, 32.0, title);
    text(out, "quiet", EDGE, 52.0, &machine);
    for (i, (heading, groups)) in drawn.iter().enumerate() {
        let left = EDGE + LABELS + (panel + GAP) * i as f64;
        text(out, "panel", left, 84.0, &escape(heading));
        for n in 0..=steps {
            let x = left + step * f64::from(n) * scale;
            line(
                out,
                format_args!(r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{}" y2="{bottom}"/>"#, TOP - 16.0),
            );
            text(out, "tick", x, bottom + 16.0, &thousands(step * f64::from(n)));
        }
        text(out, "unit", left + step * f64::from(steps) * scale / 2.0, bottom + 33.0, "files a second");
        for (j, (writers, bars)) in groups.iter().enumerate() {
            let top = TOP + group_height * j as f64;
            if i == 0 {
                text(out, "group", EDGE, top + 6.0, &threads(*writers));
            }
            for (k, (bar, (_, name, _))) in bars.iter().zip(SERIES).enumerate() {
                let y = top + HEADING - 12.0 + ROW * k as f64;
                if i == 0 {
                    text(out, "name", EDGE + LABELS - 10.0, y + 10.5, name);
                }
                match bar {
                    Some(bar) => draw_bar(out, bar, left, y, scale),
                    None => text(out, "quiet", left + 4.0, y + 10.5, "not available"),
                }
            }
        }
    }
    let notes = [
        "×: against the faster of the two peers. A peer that is faster with fewer threads is shown with those.",
        "The line at the end of a bar spans the quartiles of the rounds. Journal is Barrier::Journal, which is not the default.",
    ];
    for (note, y) in notes.into_iter().zip([height - 30.0, height - 14.0]) {
        text(out, "note", EDGE, y, note);
    }
    line(out, format_args!("</svg>"));
    Some(svg)
}

/// The disks, in the order of measurement.
fn panels(points: &[Point]) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for Point { disk, .. } in points {
        let groups = WRITERS.map(|writers| (writers, group(points, disk, writers)));
        let has_bars = groups.iter().any(|(_, bars)| bars.iter().any(Option::is_some));
        if has_bars && panels.iter().all(|(known, _)| known != disk) {
            panels.push((disk, groups));
        }
    }
    panels
}

/// The bars of a group, in the order of [`SERIES`]. A peer that is faster with fewer threads is shown with those.
fn group<'a>(points: &'a [Point], disk: &str, writers: u64) -> [Option<Bar<'a>>; SERIES.len()] {
    // The latest measurement counts.
    let of = |series: &str, writers| {
        points.iter().rfind(|point| point.disk == disk && point.series == series && point.writers == writers)
    };
    let best = |series: &str| {
        let up_to = WRITERS.into_iter().filter(|fewer| *fewer <= writers).filter_map(|fewer| of(series, fewer));
        up_to.max_by(|a, b| a.median.total_cmp(&b.median))
    };
    let peer = SERIES[..2].iter().filter_map(|(series, ..)| best(series)).map(|point| point.median).fold(0.0, f64::max);
    SERIES.map(|(series, _, class)| {
        let is_peer = matches!(class, "plain" | "peer");
        // Only if the group itself was measured.
        let own = of(series, writers)?;
        let point = if is_peer { best(series)? } else { own };
        let ratio = (!is_peer && peer > 0.0).then_some(point.median / peer);
        Some(Bar { point, class, fewer: point.writers < writers, ratio })
    })
}

fn draw_bar(out: &mut String, bar: &Bar<'_>, left: f64, y: f64, scale: f64) {
    let Bar { point, class, fewer, ratio } = bar;
    let (width, (low, high)) = (point.median * scale, (point.quartiles.0 * scale, point.quartiles.1 * scale));
    line(
        out,
        format_args!(
            r#"<rect class="bar {class}" x="{left:.2}" y="{y:.1}" width="{width:.2}" height="{BAR}" data-files-per-s="{}"><title>{}, {}: {} files a second</title></rect>"#,
            point.median,
            escape(&point.series),
            threads(point.writers),
            thousands(point.median),
        ),
    );
    let middle = y + BAR / 2.0;
    line(
        out,
        format_args!(
            r#"<line class="spread" x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#,
            left + low,
            left + high,
        ),
    );
    let mut figure = thousands(point.median);
    match ratio {
        Some(ratio) => _ = write!(figure, " · {ratio:.*}×", if *ratio < 1.5 { 2 } else { 1 }),
        None if *fewer => _ = write!(figure, " ({})", threads(point.writers)),
        None => {}
    }
    text(out, "figure", left + width.max(high) + 5.0, y + 10.5, &figure);
}

fn describe(drawn: &[Panel<'_>], machine: &str) -> String {
    let mut words = format!("{machine}.");
    for (heading, groups) in drawn {
        for (writers, bars) in groups {
            let figures = bars.iter().zip(SERIES).filter_map(|(bar, (_, name, _))| {
                bar.as_ref().map(|bar| format!("{name} {}", thousands(bar.point.median)))
            });
            let figures = figures.collect::<Vec<_>>().join(", ");
            if !figures.is_empty() {
                _ = write!(words, " {heading}, {}, files a second: {figures}.", threads(*writers));
            }
        }
    }
    words
}

/// A round step, and how many of them exceed `high`.
fn axis(high: f64) -> (f64, u32) {
    let high = high.max(1.0);
    let power = 10_f64.powf((high / 5.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| high / step <= 5.0);
    let step = step.unwrap_or(high);
    (step, (high / step).ceil() as u32)
}

fn threads(count: u64) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn text(out: &mut String, class: &str, x: f64, y: f64, content: &str) {
    line(out, format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{content}</text>"#));
}

fn line(out: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(out, "{content}").expect("a string takes all");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = r#"<style>
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.card { fill: #ffffff; stroke: #d0d7de }
.head { font-size: 16px; font-weight: 600 }
.panel, .group { font-size: 13px; font-weight: 600 }
.quiet, .note, .tick, .unit { fill: #57606a }
.note, .tick, .unit { font-size: 11px }
.name { text-anchor: end }
.figure { paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
.tick, .unit { text-anchor: middle }
.grid { stroke: #d8dee4 }
.spread { stroke: #1f2328; stroke-width: 1.5 }
.bar { stroke: #57606a; stroke-width: 0.75 }
.plain { fill: #e1e5ea }
.peer { fill: #afb8c1 }
.ours { fill: #0969da }
.journal { fill: url(#hatch) }
.under { fill: #0a3069 }
.over { stroke: #80b3ff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .card { fill: #0d1117; stroke: #30363d }
  .quiet, .note, .tick, .unit { fill: #9198a1 }
  .grid { stroke: #2b3138 }
  .spread { stroke: #f0f6fc }
  .figure { stroke: #0d1117 }
  .bar { stroke: #9198a1 }
  .plain { fill: #484f58 }
  .peer { fill: #6e7681 }
  .ours { fill: #2f81f7 }
}
</style>
<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="under" width="5" height="5"/><line class="over" x1="0" x2="0" y1="0" y2="5" stroke-width="3"/></pattern></defs>"#;
