//! Shared code of the regression benchmarks: directories, durations and engines.

use std::path::PathBuf;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use ringbolt::Engine;
use tempfile::TempDir;

/// The engines and their names in benchmark ids.
#[allow(dead_code, reason = "single calls are not made by every engine")]
pub(crate) const ENGINES: [(Engine, &str); 2] = [(Engine::Portable, "portable"), (Engine::Uring, "uring")];

/// A fresh directory, removed on drop, in `RINGBOLT_BENCH_DIR` or in the target directory. Not in the system's
/// temporary directory, which may be in memory.
pub(crate) fn fresh_dir() -> TempDir {
    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in")
}

/// A group whose samples all have the same number of iterations, because waiting for a device does not get faster by
/// repetition.
pub(crate) fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(15)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1500));
    group
}

/// Prints why a series is missing.
#[allow(clippy::print_stderr, reason = "it is for whoever runs the benchmark")]
pub(crate) fn skip(id: &str, why: impl std::fmt::Display) {
    eprintln!("skipped: {id}: {why}");
}
