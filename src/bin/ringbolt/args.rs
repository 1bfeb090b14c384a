//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use ringbolt::{Barrier, Engine, Stats, Store, Version};

use crate::bench::args::BenchArgs;
use crate::problem::{self, Problem};
use crate::sidecar::args::SidecarArgs;

/// Store files that survive a power cut.
///
/// DIR is a directory with one file per KEY. A key is a relative path such as `a/b/c`. A change takes effect completely
/// or not at all, and is durable once the command exits with status 0.
///
/// Each error is one line on stderr. It names what failed, the step, the path, and whether anything was changed.
#[derive(Debug, Parser)]
#[command(
    name = "ringbolt",
    version,
    max_term_width = 100,
    after_help = "Run `ringbolt help COMMAND` for details.",
    after_long_help = "\
Exit status:
  0  success: all changes are durable
  1  failed
  2  usage error
  130, 143, 129  interrupted by Ctrl-C, SIGTERM, SIGHUP; unfinished changes are discarded

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
    Log(LogArgs),
    Recover(RecoverArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Write a file durably, from FILE or standard input.
///
/// Creates DIR if its parent exists, and the directories within KEY. Readers see the old content until the new content is
/// complete. The new file has mode 0600, reduced by the umask, unless --mode is given; the mode of the old file is not kept.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The key to write, such as `a/b/c`
    pub(crate) key: String,
    /// The file to read the content from; `-` is standard input
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Permission bits of the new file, in octal [default: 600, reduced by the umask]
    #[arg(long, value_parser = mode, value_name = "OCTAL")]
    pub(crate) mode: Option<u32>,
    /// Fail if the key exists
    #[arg(long, conflicts_with = "if_version")]
    pub(crate) new: bool,
    /// Turn DIR into a store even if it already holds files; they become its keys
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Fail unless the key has this version, as shown by `ls --json` and `put --verbose`
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
    /// Write only these bytes, counted from 0: `START..END` (END excluded), `START..` or `..END`. The range is cut off
    /// at the end of the content
    #[arg(long, value_name = "START..END")]
    pub(crate) range: Option<String>,
}

/// List keys, in byte order.
///
/// On a terminal, control characters in keys are escaped; otherwise keys are printed unchanged. A key can contain a
/// newline, so scripts should use --json.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// List only keys that start with this; `a/` lists a directory
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// List only keys that sort after this one, which need not exist
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<String>,
    /// List at most this many keys; pass the last one to `--after` to continue
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<String>,
    /// Show mode, length in bytes and modification time
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) long: bool,
    /// Print a JSON array of objects with key, len, mode, modified and version; version is null on a filesystem that
    /// does not keep versions
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove keys durably.
///
/// Removes all keys in one commit, in order. If one fails, the others are still removed and the exit status is 1. Empty
/// directories stay until a key needs their name.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The keys to remove
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Fail unless the key has this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Copy files and directories into DIR durably.
///
/// A file becomes a key with its own name. A directory is copied recursively, under its own name. Permission bits (rwx)
/// are kept; times are not. Symbolic links and special files within a directory are not copied. Existing keys are
/// replaced. Creates DIR if its parent exists. If one file fails, the others are still copied and the exit status is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// Files and directories to copy
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<PathBuf>,
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Number of files to copy at once; files copied together share disk flushes
    #[arg(long, short, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// Turn DIR into a store even if it already holds files; they become its keys
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Show the changes in the intent log of a store.
///
/// After a writer was interrupted, these changes are acknowledged, but may be missing from the files until the store is opened for
/// writing or recovered. The first line describes the log. Each further line is a change, in the order of the log: the sequence
/// number of its record, `put`, `delete` or `file-rules` (the file was made durable and changed without the log since), then length
/// in bytes, mode, owner, version and key. On a terminal, control characters in keys are escaped.
///
/// Fails if a writer has the store open. Changes nothing, and prints no content unless --values is given.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Print a JSON object with the superblock and the records
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the content of each put, too: short text as a quoted line, other content as its length; in base64 with --json
    #[arg(long)]
    pub(crate) values: bool,
}

/// Bring the changes in the intent log of a store into its files.
///
/// Opens the store for writing and closes it, as the next writer would. If that fails, for example because the disk is full, the
/// changes stay in the log, and this can be run again.
#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The directory of the store
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Instead, write the last content of each key in the log to a file below OUTDIR, which must be missing or empty; the
    /// store stays as it is
    #[arg(long, value_name = "OUTDIR", value_hint = ValueHint::DirPath, conflicts_with = "discard")]
    pub(crate) export: Option<PathBuf>,
    /// Use a log that was copied while changes were in it. This is right if it was copied together with all files, from one
    /// snapshot of the filesystem or after a crash: what the log holds replaces what the files hold
    #[arg(long)]
    pub(crate) accept_copy: bool,
    /// Give up the changes of this key, which then has whatever file the interruption left; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) discard: Vec<String>,
}

/// Show the storage beneath DIR and what it means for durability.
///
/// Shows the kernel and its io_uring support, the filesystem and its mount options, the devices down to the disk, whether
/// directories can be synced, the engine and the barriers that a store would use, whether changes in the intent log of a store
/// wait for recovery, and warnings with advice. Writes nothing.
///
/// The exit status is 0 if a store can be kept in DIR, even with warnings, and 1 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The directory to examine
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Print the report as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options shared by all commands that write.
#[derive(Debug, clap::Args)]
pub(crate) struct Writing {
    /// The I/O engine
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// How files written at the same time are made durable
    #[arg(long, value_enum, default_value_t = BarrierArg::Auto)]
    barrier: BarrierArg,
    /// Report the engine and the reason for it, and at the end what was done, on stderr
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl Writing {
    /// Opens the store for the command `verb`. With `--verbose`, reports the engine.
    pub(crate) fn open(&self, verb: &str, dir: &Path, missing: IfMissing) -> Result<Store, Problem> {
        let barrier = match self.barrier {
            BarrierArg::Auto => Barrier::Auto,
            BarrierArg::PerFile => Barrier::PerFile,
            BarrierArg::Filesystem => Barrier::Filesystem,
            BarrierArg::Journal => Barrier::Journal,
        };
        let (create, adopt) = match missing {
            IfMissing::Fail => (false, false),
            IfMissing::Create { adopt } => (true, adopt),
        };
        let builder = Store::builder(dir).create_if_missing(create).adopt(adopt);
        let store = builder.engine(self.engine.into()).barrier(barrier).open();
        let store = store.map_err(Problem::write(verb, &dir.to_string_lossy()))?;
        if self.verbose {
            problem::report(&format_args!("engine {}", store.engine()));
            if self.engine == EngineArg::Auto {
                match ringbolt::probe_uring() {
                    Ok(()) => problem::report(&"io_uring works here, too; to use it: --engine uring"),
                    Err(error) => problem::report(&error),
                }
            }
        }
        Ok(store)
    }

    /// With `--verbose`, reports what was done.
    pub(crate) fn report(&self, stats: &Stats) {
        if !self.verbose {
            return;
        }
        let (syncs, latency) = (stats.syncs, stats.latency.change);
        let (files, whole) = (syncs.files + syncs.ranges, syncs.filesystems);
        problem::report(&format_args!(
            "changes: {}; commits: {}; syncs: {files} of files, {whole} of filesystems, {} of directories; \
             latency: p50 {:.1?}, max {:.1?}",
            stats.changes,
            stats.alone + stats.batches,
            syncs.directories,
            latency.p50,
            latency.max,
        ));
        if stats.batches > 0 {
            problem::report(&format_args!("barrier {}: {}", stats.barrier.configured, stats.barrier.reason));
        }
    }
}

/// What to do if there is no store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IfMissing {
    Fail,
    Create { adopt: bool },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BarrierArg {
    /// Whichever is faster here, found by measuring
    Auto,
    /// Sync each file, many in parallel
    PerFile,
    /// Sync the whole filesystem at once (ext4, xfs, btrfs)
    Filesystem,
    /// Rely on the filesystem's journal, even for a single file (some ext4 and xfs)
    Journal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// The engine that measured fastest
    Auto,
    /// Chained io_uring requests; fails where io_uring is refused
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

/// Print a shell completion script.
///
/// For bash: `ringbolt completions bash > /etc/bash_completion.d/ringbolt`
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print a manual page as troff: `ringbolt man | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The command to document, such as `put` or `sidecar check` [default: `ringbolt` itself]
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
