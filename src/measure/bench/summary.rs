//! What the numbers mean, in words.

use super::replace::STEPS;
use super::results::{Results, Series};

/// A sync that is faster than this on a disk that caches writes has hardly reached the disk.
const SUSPICIOUS_US: f64 = 20.0;

/// From so many operations on, a p99 is more than the slowest.
const ENOUGH_FOR_P99: u64 = 100;

/// One sentence: what a durable replace costs, and where the time goes.
pub(super) fn sentence(results: &Results) -> Option<String> {
    let whole = results.get("replace/plain-calls").or_else(|| results.get("replace/portable"))?;
    let steps: Vec<&Series> = STEPS.iter().filter_map(|step| results.get(step)).collect();
    let all: f64 = steps.iter().map(|step| step.p50_us).sum();
    let mut largest = steps.clone();
    largest.sort_by(|a, b| b.p50_us.total_cmp(&a.p50_us));
    let share = |step: &Series| format!("{:.0} % of it is {}", 100.0 * step.p50_us / all, part(&step.name));
    let shares: Vec<String> = largest.iter().take(2).map(|step| share(step)).collect();
    let many = results
        .results
        .iter()
        .filter(|series| series.name.starts_with("store/"))
        .max_by(|a, b| a.ops_per_s.total_cmp(&b.ops_per_s))
        .filter(|best| best.ops_per_s > whole.ops_per_s && results.method.rate_per_s.is_none())
        .and_then(|best| Some((best.name.strip_prefix("store/")?.split_once('x')?.0.to_owned(), best.ops_per_s)))
        .map(|(writers, per_s)| {
            format!(
                "; {writers} writers at once reach {} files a second instead of {}",
                rounded(per_s),
                rounded(whole.ops_per_s)
            )
        });
    let volatile = if results.environment.filesystem.volatile { " (but nothing is durable here)" } else { "" };
    Some(format!(
        "A durable replace of {} costs {} at the median, {} at p99{volatile}: {}{}.",
        bytes(results.method.size_bytes),
        time(whole.p50_us),
        time(whole.p99_us),
        shares.join(", "),
        many.unwrap_or_default(),
    ))
}

/// What makes the numbers doubtful.
pub(super) fn doubts(results: &Results) -> Vec<String> {
    let mut doubts = Vec::new();
    let caches = results.environment.device.iter().any(|device| device.write_cache.as_deref() == Some("write back"));
    if let Some(flushes) = results.get("replace/plain-calls").and_then(|series| series.flushes_per_op)
        && caches
        && flushes < 0.5
        && !results.environment.filesystem.volatile
    {
        doubts.push(format!(
            "the disk has a write-back cache, and a replace flushes it {flushes:.1} times: are barriers off? Ask `ringbolt doctor`"
        ));
    }
    // Not by the clean fsync, which some filesystems rightly answer without asking the disk.
    if let Some(floor) = results.get("floor/overwrite-fdatasync")
        && caches
        && floor.p50_us < SUSPICIOUS_US
        && !results.environment.filesystem.volatile
    {
        doubts.push(format!(
            "an fdatasync takes {} on a disk with a write-back cache, which is suspiciously fast; only a power cut proves a disk honest",
            time(floor.p50_us)
        ));
    }
    if let Some(whole) = results.get("replace/plain-calls").filter(|whole| whole.n < ENOUGH_FOR_P99) {
        doubts.push(format!("{} replaces are too few for a p99 that means something; take a longer run", whole.n));
    }
    doubts
}

/// A step in the words of the sentence.
fn part(step: &str) -> &'static str {
    match step {
        "step/openat" => "the creation of the file",
        "step/write" => "the write",
        "step/fsync" => "the file's fsync",
        "step/close" => "the close",
        "step/renameat" => "the rename",
        _ => "the directory's fsync",
    }
}

/// A time as a person reads it.
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

/// Two digits that mean something, and thousands apart.
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
