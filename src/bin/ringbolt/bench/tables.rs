//! The tables of the report: all series, the machine, the demands.

use maud::{Markup, html};
use ringbolt::bench::{Results, Series, time};
use ringbolt::environment::{Device, Environment};

use super::chart;
use super::figures::{bytes, count, span, thousands};

/// The families of series: the first part of their names, and a title.
const FAMILIES: [(&str, &str); 7] = [
    ("step", "The steps of one replace"),
    ("replace", "One replace, in total"),
    ("store", "Concurrent writers"),
    ("batch", "Batches"),
    ("size", "File sizes"),
    ("floor", "The floor: the least a sync can cost"),
    ("method", "Other ways to write"),
];

const HEADS: [&str; 14] = [
    "n",
    "p50",
    "95\u{a0}% interval of\u{a0}p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "ops per\u{a0}s",
    "flushes per\u{a0}op",
    "writes per\u{a0}op",
    "KiB per\u{a0}op",
    "CPU\u{a0}µs per\u{a0}op",
    "switches per\u{a0}op",
    "p50 of\u{a0}each round",
];

const DEVICE: [&str; 8] = ["Device", "Kind", "Model or file", "Size", "Rotational", "Scheduler", "Write cache", "FUA"];

/// The title of a family, or its name if it has none.
fn title(family: &str) -> &str {
    FAMILIES.iter().find(|known| known.0 == family).map_or(family, |known| known.1)
}

/// The table of all series, grouped by family.
pub(super) fn series(results: &Results) -> Markup {
    let family = |series: &Series| series.name.split('/').next().unwrap_or_default().to_owned();
    // The series of a family may not be adjacent in the results.
    let mut families: Vec<(String, Vec<&Series>)> = Vec::new();
    for series in &results.results {
        let name = family(series);
        match families.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(series),
            None => families.push((name, vec![series])),
        }
    }
    html! {
        section .wide {
            h2 { "All series" }
            @if families.is_empty() {
                p .quiet { "Nothing was measured." }
            } @else {
                div .scroll tabindex="0" role="region" aria-label="All series" {
                    table .series {
                        thead {
                            tr {
                                th scope="col" { "Series" }
                                @for head in HEADS { th scope="col" .number { (head) } }
                            }
                        }
                        @for (name, members) in &families {
                            tbody {
                                tr .family {
                                    th scope="rowgroup" colspan=(HEADS.len() + 1) {
                                        span { (title(name)) }
                                    }
                                }
                                @for series in members { (row(series)) }
                            }
                        }
                    }
                }
                ul .notes {
                    li {
                        "–: unknown on this machine, or not known for this series alone: "
                        "a step shares its counters with the whole replace."
                    }
                    li {
                        "95 % interval of p50: the confidence interval of the median of the rounds, "
                        "by resampling them; needs 5 rounds. "
                        "p50 itself covers all operations and may lie outside. p99.9 needs 10,000 operations."
                    }
                    li {
                        "p50 of each round: from first to last. A slope is drift; "
                        "the full height is at least ±20 %."
                    }
                    li { "flushes, writes and KiB: executed by the disk. switches: context switches." }
                }
            }
        }
    }
}

fn row(series: &Series) -> Markup {
    let times = [Some(series.p90_us), Some(series.p99_us), series.p999_us, Some(series.max_us)];
    let counts = [
        Some(series.ops_per_s),
        series.flushes_per_op,
        series.writes_per_op,
        series.kib_per_op,
        series.cpu_us_per_op,
        series.ctx_switches_per_op,
    ];
    html! {
        tr {
            th scope="row" .name { (series.name) }
            (cell(Some(thousands(series.n as f64))))
            td .number.main { (time(series.p50_us)) }
            (cell(series.p50_interval_us.map(|(low, high)| span(low, high))))
            @for us in times { (cell(us.map(time))) }
            @for number in counts { (cell(number.map(count))) }
            td .number { (chart::sparkline(&series.rounds_p50_us)) }
        }
    }
}

fn cell(text: Option<String>) -> Markup {
    html! {
        @match text {
            Some(text) => { td .number { (text) } }
            None => { td .number.none { "–" } }
        }
    }
}

/// The series that could not be measured, and why.
pub(super) fn not_measured(results: &Results) -> Markup {
    html! {
        @if !results.not_measured.is_empty() {
            section {
                h2 { "Not measured" }
                dl .facts {
                    @for missing in &results.not_measured {
                        div { dt .name { (missing.name) } dd { (missing.reason) } }
                    }
                }
            }
        }
    }
}

/// The method and the machine.
pub(super) fn environment(results: &Results) -> Markup {
    let environment = &results.environment;
    html! {
        section {
            h2 { "Method and machine" }
            dl .facts {
                (fact("Method", &method(results)))
                (fact("Directory", &environment.directory.display().to_string()))
                (fact("Kernel", &environment.kernel))
                (fact("Processors", &match environment.processors { 0 => String::new(), n => n.to_string() }))
                (fact("Engine", &because(&environment.engine, &environment.engine_reason)))
                (fact("io_uring", &io_uring(environment)))
                (fact("Barriers", &barriers(environment)))
                (fact("Filesystem", &filesystem(environment)))
                (fact("Options", &environment.filesystem.options.join(", ")))
                (fact("Directory sync", &directory_fsync(environment)))
            }
            @if !environment.device.is_empty() {
                h3 { "Devices, from the filesystem down to the disk" }
                (devices(&environment.device))
            }
        }
    }
}

fn fact(name: &str, text: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            @if text.is_empty() { dd .quiet { "unknown" } } @else { dd { (text) } }
        }
    }
}

fn because(what: &str, why: &str) -> String {
    match (what, why) {
        (what, "") => what.to_owned(),
        ("", why) => why.to_owned(),
        (what, why) => format!("{what}: {why}"),
    }
}

fn method(results: &Results) -> String {
    let method = &results.method;
    let rounds = if method.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", method.rounds) };
    let pace = match method.rate_per_s {
        Some(rate) => format!("{} operations per second and writer, measured from their intended start", count(rate)),
        None => "closed loop: each operation starts when the previous one ends".to_owned(),
    };
    format!(
        "{} mode; {rounds}; in each round every series has a turn of {} ms, in rotating order; files of {}; {pace}",
        method.mode,
        method.turn_ms,
        bytes(method.size_bytes as f64)
    )
}

fn io_uring(environment: &Environment) -> String {
    let found = &environment.io_uring;
    let mut text = because(if found.available { "available" } else { "not available" }, &found.reason);
    match found.failing_fsync_severs_links {
        Some(true) => text += "; a failing fsync cancels the requests linked after it",
        Some(false) => text += "; a failing fsync does NOT cancel the requests linked after it",
        None => {}
    }
    if !found.missing_operations.is_empty() {
        text += &format!("; the kernel lacks {}", found.missing_operations.join(", "));
    }
    text
}

fn barriers(environment: &Environment) -> String {
    let mut text = environment.barriers.join(", ");
    for refused in &environment.barriers_refused {
        text += if text.is_empty() { "" } else { "; " };
        text += refused;
    }
    text
}

fn filesystem(environment: &Environment) -> String {
    let found = &environment.filesystem;
    let mut parts = Vec::new();
    parts.extend((!found.kind.is_empty()).then(|| found.kind.clone()));
    parts.extend(found.source.as_ref().map(|source| format!("from {source}")));
    parts.extend(found.mount_point.as_ref().map(|at| format!("at {}", at.display())));
    let marks = [
        (found.volatile.then_some(true), "loses everything at a power cut", ""),
        (found.network.then_some(true), "on another machine", ""),
        (found.fuse.then_some(true), "FUSE", ""),
        (found.journal, "with a journal", "without a journal"),
        (found.fast_commit, "fast commit", "no fast commit"),
        (found.barriers, "syncs flush the device", "syncs do NOT flush the device"),
    ];
    parts.extend(marks.iter().filter_map(|(mark, yes, no)| Some(if (*mark)? { *yes } else { *no }.to_owned())));
    parts.extend(found.free_bytes.map(|free| format!("{} free", bytes(free as f64))));
    parts.join(", ")
}

fn directory_fsync(environment: &Environment) -> String {
    match (&environment.directory_fsync.error, environment.directory_fsync.works) {
        (_, true) => "works".to_owned(),
        (Some(error), false) => format!("does not work: {error}"),
        (None, false) => String::new(),
    }
}

fn devices(devices: &[Device]) -> Markup {
    let yes = |what: Option<bool>| what.map(|yes| if yes { "yes" } else { "no" }.to_owned());
    let text = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    html! {
        div .scroll tabindex="0" role="region" aria-label="Devices" {
            table .devices {
                thead {
                    tr {
                        @for head in DEVICE { th scope="col" { (head) } }
                    }
                }
                tbody {
                    @for device in devices {
                        @let file = device.backing_file.as_ref().map(|file| file.display().to_string());
                        tr {
                            th scope="row" .name { (device.name) }
                            td { (device.kind) }
                            td { (text(device.model.clone().or(file))) }
                            td { (text(device.size_bytes.map(|size| bytes(size as f64)))) }
                            td { (text(yes(device.rotational))) }
                            td { (text(device.scheduler.clone())) }
                            td { (text(device.write_cache.clone())) }
                            td { (text(yes(device.fua))) }
                        }
                    }
                }
            }
        }
    }
}

/// The demands, and whether they are met.
pub(super) fn verdicts(verdicts: &[(String, bool, String)]) -> Markup {
    html! {
        @if !verdicts.is_empty() {
            section #verdicts {
                h2 { "Demands" }
                ul .verdicts {
                    @for (demand, holds, found) in verdicts {
                        li .(if *holds { "pass" } else { "fail" }) {
                            strong { @if *holds { "✓ met" } @else { "✗ not met" } }
                            span .name { (demand) }
                            span { (found) }
                        }
                    }
                }
            }
        }
    }
}
