//! The command line of `ringbolt bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use ringbolt::bench::{Assertion, Mode};

/// Measure what a durable write costs in DIR.
///
/// Makes a new directory in DIR, replaces small files in it in every way that ringbolt knows, in turns, and removes it. Tells what one
/// durable replace costs and where the time goes, beside what the machine is. Nothing else in DIR is touched; the disk is kept
/// busy meanwhile. Ctrl-C ends it early, and shows what was measured so far.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Exit status:
  0  measured, and every demand holds; compare: same, faster, or cannot tell
  1  failed, or a demand does not hold; compare: slower, or not comparable
  2  wrong usage
  130, 143, 129  ended by Ctrl-C, SIGTERM, SIGHUP, after what was measured so far was shown

Demands (--assert) name a series, a figure, a comparison and a limit:
  replace.p99<5ms                      the engine that a store would use here
  step/fsync.p50<1ms
  store/64xportable.ops_per_s>=5000
Figures: p50 p90 p99 p999 max ops_per_s flushes_per_op writes_per_op kib_per_op
cpu_us_per_op ctx_switches_per_op

Examples:
  ringbolt bench /data
  ringbolt bench /data --profile etcd --html report.html
  ringbolt bench /data --json before.json
  ringbolt bench compare before.json after.json"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) compare: Option<BenchCommand>,
    /// The directory to measure in
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Take about 3 s instead of 20
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also measure sizes, writers, batches and methods, which takes some minutes
    #[arg(long)]
    full: bool,
    /// The length of the files in bytes, up to 64 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=64 << 20))]
    pub(crate) size: u64,
    /// Begin so many operations a second in each series, and measure from when each was to begin
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Write everything as JSON to FILE; `-` is standard output, here and below
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) json: Option<PathBuf>,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) csv: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) markdown: Option<PathBuf>,
    /// Write a report for a browser: one file, with charts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Demand something of a figure, such as 'replace.p99<5ms'; may be given more than once
    #[arg(long = "assert", value_name = "DEMAND")]
    pub(crate) assertions: Vec<Assertion>,
    /// Demand what others demand of a disk: etcd, openshift, or a FILE with demands
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
}

impl BenchArgs {
    pub(crate) fn mode(&self) -> Mode {
        match (self.quick, self.full) {
            (true, _) => Mode::Quick,
            (_, true) => Mode::Full,
            _ => Mode::Default,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Compare(CompareArgs),
}

/// Tell what has changed between two runs, by their JSON.
///
/// A series is slower or faster if its median moved by more than 5 %, with the whole 99 % interval of that, which comes from the
/// differences among the rounds of each run. What differs between two runs of the same thing, on a shared machine, it cannot
/// see: run each more than once, in turn. Where the machines differ, that is said.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The JSON of the run before
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) old: PathBuf,
    /// The JSON of the run after
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) new: PathBuf,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.1..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number of operations from 0.1 to 1000000".to_owned()),
    }
}
