//! Charts as inline SVG. Positions are percentages, so that a chart fills the page width while its text keeps its size.

use maud::{Markup, html};
use ringbolt::bench::time;

use super::figures::{round_count, round_time};

/// Number of distinct line styles (colour and dash pattern).
const STYLES: usize = 6;

/// The most labels that fit below a chart on a phone.
const LABELS: usize = 7;

/// The most labels if they are times, which are wider.
const TIMES: usize = 6;

/// One line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// A figure shown in the legend.
    pub(super) note: String,
    /// In order of x.
    pub(super) points: Vec<(f64, f64)>,
}

/// The unit of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Time,
    Count,
    Percent,
}

impl Unit {
    fn round(self, value: f64) -> String {
        match self {
            Unit::Time => round_time(value),
            Unit::Count => round_count(value),
            Unit::Percent => format!("{value:.0} %"),
        }
    }

    fn exact(self, value: f64) -> String {
        match self {
            Unit::Time => time(value),
            Unit::Count => super::figures::count(value),
            Unit::Percent => format!("{value:.2} %"),
        }
    }
}

/// An axis and its labels.
#[derive(Debug)]
pub(super) struct Axis {
    name: &'static str,
    unit: Unit,
    low: f64,
    high: f64,
    log: bool,
    labels: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to 100 %.
    pub(super) fn percent(name: &'static str) -> Axis {
        let labels = [0.0, 25.0, 50.0, 75.0, 100.0].map(|at| (at, Unit::Percent.round(at))).to_vec();
        Axis { name, unit: Unit::Percent, low: 0.0, high: 100.0, log: false, labels }
    }

    /// A logarithmic axis, labelled at these values only.
    pub(super) fn values(name: &'static str, values: &[f64], label: impl Fn(f64) -> String) -> Axis {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (low, high) = (values.first().copied().unwrap_or(1.0), values.last().copied().unwrap_or(1.0));
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let every = values.len().div_ceil(LABELS).max(1);
        let labels = values.iter().step_by(every).map(|value| (*value, label(*value))).collect();
        Axis { name, unit: Unit::Count, low, high, log: true, labels }
    }

    /// A linear axis from 0; logarithmic if the smallest values would be indistinguishable from 0.
    pub(super) fn amount(name: &'static str, unit: Unit, values: impl Iterator<Item = f64> + Clone) -> Axis {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        if low > 0.0 && high / low > 30.0 {
            return Axis::log(name, unit, values);
        }
        let high = if high > 0.0 { high } else { 1.0 };
        let power = 10_f64.powf((high / 5.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| high / step <= 5.0);
        let step = step.unwrap_or(high);
        let steps = (high / step).ceil();
        let labels = (0..=steps as u32).map(|n| f64::from(n) * step).map(|at| (at, unit.round(at))).collect();
        Axis { name, unit, low: 0.0, high: steps * step, log: false, labels }
    }

    /// A logarithmic axis.
    pub(super) fn log(name: &'static str, unit: Unit, values: impl Iterator<Item = f64> + Clone) -> Axis {
        // 1e-3 µs, a nanosecond, is shorter than anything measured here.
        let positive = values.filter(|value| value.is_finite()).map(|value| value.max(1e-3));
        let lowest = positive.clone().fold(f64::INFINITY, f64::min);
        let (lowest, highest) =
            if lowest.is_finite() { (lowest, positive.fold(lowest, f64::max)) } else { (1.0, 10.0) };
        let round = |factors: &[f64], every: i32| -> Vec<f64> {
            let powers = (lowest.log10().floor() as i32 - 1)..=(highest.log10().ceil() as i32 + 1);
            powers
                .filter(|power| power.rem_euclid(every) == 0)
                .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
                .collect()
        };
        let fine = round(&[1.0, 2.0, 5.0], 1);
        let low = fine.iter().copied().rfind(|at| *at <= lowest * 1.0001).unwrap_or(lowest);
        let high = fine.iter().copied().find(|at| *at >= highest * 0.9999 && *at > low).unwrap_or(highest);
        let within = |all: Vec<f64>| -> Vec<f64> {
            all.into_iter().filter(|at| (low * 0.9999..=high * 1.0001).contains(at)).collect()
        };
        let choices = [within(fine), within(round(&[1.0, 3.0], 1)), within(round(&[1.0], 1)), within(round(&[1.0], 2))];
        let sparse = choices.len() - 1;
        let chosen = choices.iter().position(|labels| labels.len() <= TIMES).unwrap_or(sparse);
        let labels = choices[chosen].iter().map(|at| (*at, unit.round(*at))).collect();
        Axis { name, unit, low, high, log: true, labels }
    }

    /// The position of a value on the axis, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let at = if self.log {
            (value.max(1e-3) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if at.is_finite() { at.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A line chart with a grid and a legend. With `dots`, marks the measured points; the lines between them only guide the eye.
pub(super) fn lines(what: &str, x: &Axis, y: &Axis, lines: &[Line], dots: bool) -> Markup {
    html! {
        div .chart {
            ul .legend {
                @for (i, line) in lines.iter().enumerate() {
                    li {
                        svg .sample width="34" height="10" aria-hidden="true" {
                            line .line.(style(i)) x1="0" x2="34" y1="5" y2="5" {}
                            @if dots { circle .dot.(style(i)) cx="17" cy="5" r="3.5" {} }
                        }
                        span .name { (line.label) }
                        @if !line.note.is_empty() { span .quiet { (line.note) } }
                    }
                }
            }
            p .axis { (y.name) @if y.log { " (logarithmic)" } }
            div .plot {
                svg width="100%" height="100%" role="img" aria-label=(what) {
                    @for (value, label) in &y.labels {
                        @let at = percent(1.0 - y.at(*value));
                        line .grid x1="0" x2="100%" y1=(at) y2=(at) {}
                        text .label x="-10" y=(at) dy="0.35em" text-anchor="end" { (label) }
                    }
                    @for (value, label) in &x.labels {
                        @let at = percent(x.at(*value));
                        line .grid x1=(at) x2=(at) y1="0" y2="100%" {}
                        text .label x=(at) y="100%" dy="1.7em" text-anchor="middle" { (label) }
                    }
                    line .base x1="0" x2="100%" y1="100%" y2="100%" {}
                    svg width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none" {
                        @for (i, line) in lines.iter().enumerate() {
                            @if line.points.len() > 1 { path .line.(style(i)) d=(path(x, y, &line.points)) {} }
                        }
                    }
                    @if dots {
                        @for (i, line) in lines.iter().enumerate() {
                            @for (at, value) in &line.points {
                                @let (cx, cy) = (percent(x.at(*at)), percent(1.0 - y.at(*value)));
                                circle .dot.(style(i)) cx=(cx) cy=(cy) r="3.5" {
                                    title { (line.label) ", " (x.unit.round(*at)) ": " (y.unit.exact(*value)) }
                                }
                            }
                        }
                    }
                }
            }
            p .axis.below { (x.name) }
        }
    }
}

/// A bar divided into steps, each as wide as its share. Wide steps show their name, narrow ones their number.
pub(super) fn stack(what: &str, parts: &[(&str, f64)]) -> Markup {
    let all: f64 = parts.iter().map(|(_, length)| length).sum();
    let all = if all > 0.0 { all } else { 1.0 };
    let mut begin = 0.0;
    let placed: Vec<_> = parts
        .iter()
        .map(|(name, length)| {
            let from = begin;
            begin += length / all;
            (*name, *length, from, length / all)
        })
        .collect();
    html! {
        svg .stack width="100%" height="56" role="img" aria-label=(what) {
            @for (i, (name, length, from, share)) in placed.iter().enumerate() {
                @let middle = percent(from + share / 2.0);
                rect .part.(style(i)) x=(percent(*from)) width=(percent(*share)) y="0" height="100%" {
                    title { (name) ": " (time(*length)) }
                }
                @if *share >= 0.3 {
                    text .on x=(middle) y="50%" dy="-0.25em" text-anchor="middle" { (i + 1) " " (name) }
                    text .on x=(middle) y="50%" dy="1.05em" text-anchor="middle" { (time(*length)) }
                } @else if *share >= 0.04 {
                    text .on x=(middle) y="50%" dy="0.35em" text-anchor="middle" { (i + 1) }
                }
            }
            @for pair in placed.windows(2) {
                @if pair[0].3 > 0.01 && pair[1].3 > 0.01 {
                    line .gap x1=(percent(pair[1].2)) x2=(percent(pair[1].2)) y1="0" y2="100%" {}
                }
            }
        }
    }
}

/// The medians of the rounds, in order. The full height is at least ±20 %, so that small differences look small.
pub(super) fn sparkline(rounds: &[f64]) -> Markup {
    const WIDTH: f64 = 84.0;
    const HEIGHT: f64 = 22.0;
    const EDGE: f64 = 3.0;
    let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().copied().fold(0.0, f64::max);
    let middle = (lowest + highest) / 2.0;
    let half = ((highest - lowest) / 2.0).max(middle * 0.2).max(1e-6);
    let at = |i: usize| {
        let x = if rounds.len() < 2 {
            WIDTH / 2.0
        } else {
            EDGE + (WIDTH - 2.0 * EDGE) * i as f64 / (rounds.len() - 1) as f64
        };
        (x, HEIGHT / 2.0 - (HEIGHT / 2.0 - EDGE) * (rounds[i] - middle) / half)
    };
    let points: Vec<_> = (0..rounds.len()).map(at).collect();
    let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let what = match rounds {
        [] => return html! { "–" },
        [only] => format!("one round: {}", time(*only)),
        _ => format!("{} rounds, medians from {} to {}", rounds.len(), time(lowest), time(highest)),
    };
    html! {
        svg .spark width=(WIDTH) height=(HEIGHT) role="img" aria-label=(what) {
            title { (what) }
            @if points.len() > 1 { polyline points=(path.join(" ")) {} }
            @if let Some((x, y)) = points.last() { circle cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="2" {} }
        }
    }
}

/// The CSS class of the nth line or step.
pub(super) fn style(nth: usize) -> String {
    format!("s{}", nth % STYLES + 1)
}

fn path(x: &Axis, y: &Axis, points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (at, value)) in points.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        path += &format!("{command}{:.1} {:.1}", 1000.0 * x.at(*at), 1000.0 * (1.0 - y.at(*value)));
    }
    path
}

fn percent(share: f64) -> String {
    format!("{:.3}%", 100.0 * share)
}
