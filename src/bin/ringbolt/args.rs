//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use ringbolt::{Barrier, Engine, Stats, Store, Version};

use crate::bench::args::BenchArgs;
use crate::problem::{self, Problem};
use crate::sidecar::args::SidecarArgs;

/// Durable files: what `put` has acknowledged survives a power cut.
///
/// DIR is a directory of files, one a KEY; a key is a relative path such as `a/b/c`. A file is replaced whole or not at
/// all, and is durable when the command has ended with status 0.
///
/// Errors are one line on stderr each: what failed, at which step, on which path, and what is true now.
#[derive(Debug, Parser)]
#[command(
    name = "ringbolt",
    version,
    max_term_width = 100,
    after_help = "`ringbolt help COMMAND` tells more.",
    after_long_help = "\
Exit status:
  0  done, and durable
  1  failed
  2  wrong usage
  130, 143, 129  ended by Ctrl-C, SIGTERM, SIGHUP; what was not complete is discarded

Examples:
  echo hello | ringbolt put /data/demo greeting
  ringbolt get /data/demo greeting
  ringbolt cp photos /data/demo
  ringbolt man put | man -l -"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Put(PutArgs),
    Get(GetArgs),
    Ls(LsArgs),
    Rm(RmArgs),
    Cp(CpArgs),
    Bench(BenchArgs),
    Sidecar(SidecarArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Durably write a file, from FILE or standard input.
///
/// DIR is created, durably, if its parent exists; so are the directories within KEY. The old content stays visible until
/// the new is complete. The new file has mode 0600 less the umask unless --mode says otherwise, whatever the old one had.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The key to write, such as `a/b/c`
    pub(crate) key: String,
    /// What to write; `-` is standard input
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Permission bits of the new file, in octal [default: 600 less the umask]
    #[arg(long, value_parser = mode, value_name = "OCTAL")]
    pub(crate) mode: Option<u32>,
    /// Fail if the key exists
    #[arg(long, conflicts_with = "if_version")]
    pub(crate) new: bool,
    /// Turn DIR into a store even if it holds files already, which become its keys
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Fail unless the key has this version; `ls --json` tells it, and so does `put --verbose`
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Write the content of a key to standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The key to read
    pub(crate) key: String,
    /// Write only these bytes, counted from 0: `START..END` without END itself, `START..` or `..END`. What is beyond the end of
    /// the content is left out
    #[arg(long, value_name = "START..END")]
    pub(crate) range: Option<String>,
}

/// List keys, in the order of their bytes.
///
/// On a terminal, control characters in keys are shown escaped; anywhere else keys are printed as they are. A key can
/// contain a newline: scripts should use --json.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// List only the keys that begin with this; `a/` lists a directory
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// List only the keys that come after this one, which need not exist
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<String>,
    /// List at most this many keys; with `--after` of the last one, the next ones
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<String>,
    /// Show mode, length in bytes and time of writing
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) long: bool,
    /// Print a JSON array of objects with key, len, mode, modified and version; the version is
    /// null on a filesystem that does not keep versions
    #[arg(long)]
    pub(crate) json: bool,
}

/// Durably remove keys.
///
/// All go in one commit, in order. A key that fails does not stop the others; the status is then 1. Directories stay
/// until a key needs the name of an empty one.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The keys to remove
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Remove only what has this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Durably copy files and directories into DIR.
///
/// A file becomes the key of its own name; a directory is copied with everything in it, under its own name. Permission
/// bits (rwx) are kept, times are not; symbolic links and special files within a directory are not copied. What exists is
/// replaced. DIR is created, durably, if its parent exists. A file that fails does not stop the others; the status is
/// then 1.
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// Files and directories to copy
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// How many files to copy at once: their syncs share the disk's flushes
    #[arg(long, short, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// Turn DIR into a store even if it holds files already, which become its keys
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Tell what is beneath DIR, and what that means for durability.
///
/// The kernel and its io_uring, the filesystem and how it is mounted, the devices down to the disk, whether a directory can
/// be synced, the engine that runs and the barriers that hold; then warnings, each with what to do about it. Nothing is
/// written.
///
/// The status is 0 if a store could be kept in DIR, whatever the warnings, and 1 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The directory to look at
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Print it all as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What every writing command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Writing {
    /// What does the I/O
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// How files that are written at the same time are made durable
    #[arg(long, value_enum, default_value_t = BarrierArg::Auto)]
    barrier: BarrierArg,
    /// Tell on stderr which engine runs, and why; and in the end what was done
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl Writing {
    /// Opens the store for a command of this name, and says which engine runs if asked to.
    pub(crate) fn open(&self, verb: &str, dir: &Path, missing: Missing) -> Result<Store, Problem> {
        let barrier = match self.barrier {
            BarrierArg::Auto => Barrier::Auto,
            BarrierArg::PerFile => Barrier::PerFile,
            BarrierArg::Filesystem => Barrier::Filesystem,
            BarrierArg::Journal => Barrier::Journal,
        };
        let (create, adopt) = match missing {
            Missing::Fail => (false, false),
            Missing::Create { adopt } => (true, adopt),
        };
        let builder = Store::builder(dir).create_if_missing(create).adopt(adopt);
        let store = builder.engine(self.engine.into()).barrier(barrier).open();
        let store = store.map_err(Problem::write(verb, &dir.to_string_lossy()))?;
        if self.verbose {
            problem::tell(&format_args!("engine {}", store.engine()));
            if self.engine == EngineArg::Auto {
                match ringbolt::probe_uring() {
                    Ok(()) => problem::tell(&"io_uring would work here, too: --engine uring"),
                    Err(error) => problem::tell(&error),
                }
            }
        }
        Ok(store)
    }

    /// Tells what was done, if asked to.
    pub(crate) fn tell(&self, stats: &Stats) {
        if !self.verbose {
            return;
        }
        let (syncs, latency) = (stats.syncs, stats.latency.change);
        let (files, whole) = (syncs.files + syncs.ranges, syncs.filesystems);
        problem::tell(&format_args!(
            "{} durable in {} commits, by {files} syncs of files, {whole} of the filesystem and {} of directories; \
             half of them within {:.1?}, all within {:.1?}",
            stats.changes,
            stats.alone + stats.batches,
            syncs.directories,
            latency.p50,
            latency.max,
        ));
        if stats.batches > 0 {
            problem::tell(&format_args!("barrier {}: {}", stats.barrier.configured, stats.barrier.reason));
        }
    }
}

/// What to do where there is no store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    Fail,
    Create { adopt: bool },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BarrierArg {
    /// What costs less here, found out by trying
    Auto,
    /// Each file by itself, many at the same time
    PerFile,
    /// The whole filesystem at once: ext4, xfs and btrfs
    Filesystem,
    /// By the filesystem's journal, also a file that is alone: ext4 and xfs, and only some of them
    Journal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// What measured best
    Auto,
    /// Chained io_uring requests, or an error where they are refused
    Uring,
    /// Plain system calls
    Portable,
}

impl From<EngineArg> for Engine {
    fn from(engine: EngineArg) -> Engine {
        match engine {
            EngineArg::Auto => Engine::Auto,
            EngineArg::Uring => Engine::Uring,
            EngineArg::Portable => Engine::Portable,
        }
    }
}

/// Print a completion script for a shell.
///
/// For bash: `ringbolt completions bash > /etc/bash_completion.d/ringbolt`
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, as troff: `ringbolt man | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The command to print the page of, such as `put` or `sidecar check` [default: the page of `ringbolt` itself]
    pub(crate) command: Vec<String>,
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 && !digits.starts_with('+') => Ok(mode),
        _ => Err("not octal permission bits such as 640".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }

    #[test]
    fn modes_are_octal() {
        for (text, mode) in [("600", 0o600), ("0644", 0o644), ("0o1777", 0o1777), ("0", 0)] {
            assert_eq!(super::mode(text), Ok(mode));
        }
        for text in ["", "8", "rw", "-1", "+7", "10000", "0x1"] {
            assert!(super::mode(text).is_err(), "{text}");
        }
    }
}
