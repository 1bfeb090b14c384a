//! The command line of `ringbolt bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use ringbolt::bench::{Assertion, Mode};

/// Measure what a durable write costs in DIR.
///
/// Creates a new directory in DIR, replaces small files in it with each of ringbolt's methods in turn, and removes the
/// directory. Reports what one durable replace costs, where the time goes, and what the machine is. Touches nothing
/// else in DIR, but keeps the disk busy. Ctrl-C stops early and shows what was measured so far.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Exit status:
  0  measured, and every demand is met; compare: same, faster, or cannot tell
  1  failed, or a demand is not met; compare: slower, or not comparable
  2  usage error
  130, 143, 129  interrupted by Ctrl-C, SIGTERM, SIGHUP; partial results were shown

Demands (--assert) name a series, a figure, a comparison and a limit:
  replace.p99<5ms                      by the engine that a store would use here
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
    /// Run for about 3 s instead of 20
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also measure file sizes, numbers of writers, batches and other methods; takes some minutes
    #[arg(long)]
    full: bool,
    /// File size in bytes, up to 64 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=64 << 20))]
    pub(crate) size: u64,
    /// Start operations at this rate per second in each series, and measure from the intended start
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Write all results as JSON; `-` is standard output, here and below
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) json: Option<PathBuf>,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) csv: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) markdown: Option<PathBuf>,
    /// Write a self-contained HTML report with charts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Fail unless a figure meets a limit, such as 'replace.p99<5ms'; can be repeated
    #[arg(long = "assert", value_name = "DEMAND")]
    pub(crate) assertions: Vec<Assertion>,
    /// Apply a published set of demands: etcd, openshift, or a FILE with your own
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

/// Compare two runs by their JSON results.
///
/// A series is slower or faster if its median moved by more than 5 % and the whole 99 % confidence interval lies beyond
/// 5 %. The interval comes from the variation between the rounds of each run. It does not cover the variation between
/// runs on a shared machine: run each version more than once, in turn. Differences between the machines are reported.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// JSON results of the old run
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) old: PathBuf,
    /// JSON results of the new run
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) new: PathBuf,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.1..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number of operations per second from 0.1 to 1000000".to_owned()),
    }
}
