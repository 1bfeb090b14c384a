//! The summary and the warnings that follow from the figures.

use super::replace::STEPS;
use super::results::{Results, Series};

/// A sync faster than this, on a disk with a write-back cache, has probably not reached the disk.
const SUSPICIOUS_US: f64 = 20.0;

/// With fewer operations, p99 is just the maximum.
const ENOUGH_FOR_P99: u64 = 100;

/// The summary: what a durable replace costs and where the time goes, in one sentence.
pub(super) fn sentence(results: &Results) -> Option<String> {
    let whole = results.get("replace/plain-calls").or_else(|| results.get("replace/portable"))?;
    let steps: Vec<&Series> = STEPS.iter().filter_map(|step| results.get(step)).collect();
    let all: f64 = steps.iter().map(|step| step.p50_us).sum();
    let mut largest = steps.clone();
    largest.sort_by(|a, b| b.p50_us.total_cmp(&a.p50_us));
    let share = |step: &Series| format!("{:.0} % of it is {}", 100.0 * step.p50_us / all, step_phrase(&step.name));
    let shares: Vec<String> = largest.iter().take(2).map(|step| share(step)).collect();
    let crowd = |is_logged: bool| {
        results
            .fastest_store(is_logged)
            .filter(|(_, best)| best.ops_per_s > whole.ops_per_s && results.method.rate_per_s.is_none())
            .map(|(writers, best)| (writers, rounded(best.ops_per_s)))
    };
    let instead = rounded(whole.ops_per_s);
    let concurrent = match (crowd(false), crowd(true)) {
        (Some((writers, plain)), Some((same, logged))) if writers == same => format!(
            "; {writers} concurrent writers reach {plain} files per second instead of {instead}, and {logged} with an intent log"
        ),
        (Some((writers, plain)), _) => {
            format!("; {writers} concurrent writers reach {plain} files per second instead of {instead}")
        }
        (None, Some((writers, logged))) => format!(
            "; with an intent log, {writers} concurrent writers reach {logged} files per second instead of {instead}"
        ),
        (None, None) => String::new(),
    };
    let volatile = if results.environment.filesystem.volatile { " (but nothing is durable here)" } else { "" };
    Some(format!(
        "A durable replace of {} costs {} at the median, {} at p99{volatile}: {}{}.",
        bytes(results.method.size_bytes),
        time(whole.p50_us),
        time(whole.p99_us),
        shares.join(", "),
        concurrent,
    ))
}

/// Reasons to doubt the figures.
pub(super) fn doubts(results: &Results) -> Vec<String> {
    let mut doubts = Vec::new();
    let caches = results.environment.device.iter().any(|device| device.write_cache.as_deref() == Some("write back"));
    if let Some(flushes) = results.get("replace/plain-calls").and_then(|series| series.flushes_per_op)
        && caches
        && flushes < 0.5
        && !results.environment.filesystem.volatile
    {
        doubts.push(format!(
            "the disk has a write-back cache, but a replace flushes it only {flushes:.1} times; barriers may be off, see `ringbolt doctor`"
        ));
    }
    // Do not use the clean fsync: some filesystems correctly skip the disk then.
    if let Some(floor) = results.get("floor/overwrite-fdatasync")
        && caches
        && floor.p50_us < SUSPICIOUS_US
        && !results.environment.filesystem.volatile
    {
        doubts.push(format!(
            "an fdatasync takes {} on a disk with a write-back cache, which is suspiciously fast; only a power cut proves that a disk is honest",
            time(floor.p50_us)
        ));
    }
    if let Some(whole) = results.get("replace/plain-calls").filter(|whole| whole.n < ENOUGH_FOR_P99) {
        doubts.push(format!("{} replaces are too few for a meaningful p99; use a longer run", whole.n));
    }
    doubts
}

/// A step as the summary names it.
fn step_phrase(step: &str) -> &'static str {
    match step {
        "step/openat" => "the creation of the file",
        "step/write" => "the write",
        "step/fsync" => "the file's fsync",
        "step/close" => "the close",
        "step/renameat" => "the rename",
        _ => "the directory's fsync",
    }
}

/// Formats a time given in microseconds, in a readable unit: `7.9 µs`, `1.54 ms`.
pub fn time(us: f64) -> String {
    match us {
        us if us < 9.95 => format!("{us:.1} µs"),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 9_995.0 => format!("{:.2} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn bytes(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        1 => "1 byte".to_owned(),
        bytes => format!("{bytes} bytes"),
    }
}

/// Formats a number with two significant digits and thousands separators.
fn rounded(per_s: f64) -> String {
    let unit = 10_f64.powf((per_s.max(1.0).log10().floor() - 1.0).max(0.0));
    let number = ((per_s / unit).round() * unit) as u64;
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
