//! The command line of `ringbolt sidecar`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use ringbolt::Engine;
use ringbolt::sidecar::{KeyId, Purpose, SidecarOptions};

use crate::args::EngineArg;

/// Look after a keys.json, a storage node's wrapped encryption keys.
///
/// What is changed is durable when the command has ended with status 0. A node that has the file open is not disturbed: while it
/// runs, it is the only writer.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status:
  0  done; the file is valid
  1  failed; the file is damaged, or others than its owner may read it
  2  wrong usage
  3  there is no such file
  4  the file could not be looked at, so nothing is known of it (show, check)")]
pub(crate) struct SidecarArgs {
    #[command(subcommand)]
    pub(crate) command: SidecarCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SidecarCommand {
    Init(InitArgs),
    Show(ShowArgs),
    Check(CheckArgs),
    SetActive(SetActiveArgs),
    Upgrade(UpgradeArgs),
}

/// Create a sidecar without keys.
///
/// The directory must exist; the file must not.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to create, such as `keys.json`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Create version 2, with this storage cutover index [default: version 1, without one]
    #[arg(long, value_name = "INDEX")]
    pub(crate) storage_cutover_index: Option<u64>,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// Show what is in a sidecar; not the wrapped keys, unless asked to.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) file: File,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the wrapped keys, too, as base64
    #[arg(long)]
    pub(crate) wrapped: bool,
}

/// Tell in one line whether a sidecar is valid; if not, what is wrong and what to do.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) file: File,
    /// Print a JSON object with path, valid, error, line, column, canonical and temporary
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a key the active one of its purpose.
///
/// Also in a file whose active ids are wrong, to set them right.
#[derive(Debug, Args)]
pub(crate) struct SetActiveArgs {
    #[command(flatten)]
    pub(crate) file: File,
    /// Whose active key
    pub(crate) purpose: PurposeArg,
    /// The id of a key that is there, or `none`
    #[arg(value_parser = id)]
    pub(crate) id: Choice,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// Make a sidecar version 2: give it a storage cutover index.
///
/// One that is version 2 already is left alone; if it has another index than the one asked for, that is an error. The index
/// cannot be changed later.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    pub(crate) file: File,
    /// The index from which what is stored is in the envelope [default: 0]
    #[arg(long, value_name = "INDEX")]
    pub(crate) storage_cutover_index: Option<u64>,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// A file that is there.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// The file, such as `keys.json`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Read it even if group or others may
    #[arg(long)]
    pub(crate) allow_shared: bool,
}

impl File {
    pub(crate) fn options(&self) -> SidecarOptions {
        SidecarOptions::new().allow_shared(self.allow_shared)
    }
}

/// What every command that writes takes.
#[derive(Debug, Args)]
pub(crate) struct WritingFile {
    /// What does the I/O
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
}

impl WritingFile {
    pub(crate) fn engine(&self) -> Engine {
        self.engine.into()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PurposeArg {
    Storage,
    Raft,
}

impl From<PurposeArg> for Purpose {
    fn from(purpose: PurposeArg) -> Purpose {
        match purpose {
            PurposeArg::Storage => Purpose::Storage,
            PurposeArg::Raft => Purpose::Raft,
        }
    }
}

/// A key, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice(pub(crate) Option<KeyId>);

fn id(text: &str) -> Result<Choice, String> {
    match text {
        "none" | "0" => Ok(Choice(None)),
        text => text.parse().map(|id| Choice(Some(id))).map_err(|error| format!("{error}")),
    }
}
