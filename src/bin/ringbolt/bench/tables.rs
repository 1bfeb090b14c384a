//! The tables of the report: every series, the machine, the verdicts.

use maud::{Markup, html};
use ringbolt::bench::{Results, Series, time};
use ringbolt::environment::{Device, Environment};

use super::chart;
use super::figures::{bytes, count, span, thousands};

/// The families of series, by the first part of their names.
const FAMILIES: [(&str, &str); 7] = [
    ("step", "The steps of one replace"),
    ("replace", "One replace, whole"),
    ("store", "Writers at once"),
    ("batch", "Batches"),
    ("size", "Lengths of the file"),
    ("floor", "The floor: the least that a sync can cost"),
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

const DEVICE: [&str; 8] = ["Device", "Kind", "Model or file", "Size", "Turns", "Scheduler", "Write cache", "FUA"];

/// What a family is, or its bare name.
fn title(family: &str) -> &str {
    FAMILIES.iter().find(|known| known.0 == family).map_or(family, |known| known.1)
}

/// All series.
pub(super) fn series(results: &Results) -> Markup {
    let family = |series: &Series| series.name.split('/').next().unwrap_or_default().to_owned();
    // Those of a family may come apart, but are shown together.
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
            h2 { "Every series" }
            @if families.is_empty() {
                p .quiet { "Nothing was measured." }
            } @else {
                div .scroll tabindex="0" role="region" aria-label="Every series" {
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
                        "–: this machine doesn’t tell, or nothing can be said of this series alone: "
                        "a step shares the counters with its replace."
                    }
                    li {
                        "95 % interval of p50: the confidence interval of the median of the rounds, "
                        "by resampling them, from 5 rounds on; "
                        "p50 itself is of all operations, and may lie outside. p99.9: from 10,000 operations on."
                    }
                    li {
                        "p50 of each round: from the first to the last. A slope is drift; "
                        "less than a fifth up or down looks calm."
                    }
                    li { "flushes, writes and KiB are what the disk executed, switches are changes of context." }
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

/// What is missing, and why.
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

/// The machine, and the method.
pub(super) fn environment(results: &Results) -> Markup {
    let environment = &results.environment;
    html! {
        section {
            h2 { "Where, and how" }
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
                (fact("Sync of a directory", &directory_fsync(environment)))
            }
            @if !environment.device.is_empty() {
                h3 { "From the filesystem down to the disk" }
                (devices(&environment.device))
            }
        }
    }
}

fn fact(name: &str, text: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            @if text.is_empty() { dd .quiet { "not known" } } @else { dd { (text) } }
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
        Some(rate) => format!("{} operations a second of each writer, measured from their intended start", count(rate)),
        None => "closed loop: each operation begins when the last has ended".to_owned(),
    };
    format!(
        "{} mode; {rounds}, in each of which every series has a turn of {} ms, in rotating order; files of {}; {pace}",
        method.mode,
        method.turn_ms,
        bytes(method.size_bytes as f64)
    )
}

fn io_uring(environment: &Environment) -> String {
    let found = &environment.io_uring;
    let mut text = because(if found.available { "available" } else { "not available" }, &found.reason);
    match found.failing_fsync_severs_links {
        Some(true) => text += "; a failing fsync cancels what is linked behind it",
        Some(false) => text += "; a failing fsync does NOT cancel what is linked behind it",
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
        (found.volatile.then_some(true), "forgets everything when the power goes", ""),
        (found.network.then_some(true), "on another machine", ""),
        (found.fuse.then_some(true), "served by a process", ""),
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

/// What was demanded, and what came of it.
pub(super) fn verdicts(verdicts: &[(String, bool, String)]) -> Markup {
    html! {
        @if !verdicts.is_empty() {
            section #verdicts {
                h2 { "What was demanded" }
                ul .verdicts {
                    @for (demand, holds, found) in verdicts {
                        li .(if *holds { "pass" } else { "fail" }) {
                            strong { @if *holds { "✓ holds" } @else { "✗ fails" } }
                            span .name { (demand) }
                            span { (found) }
                        }
                    }
                }
            }
        }
    }
}
