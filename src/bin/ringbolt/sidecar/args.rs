//! The command line of `ringbolt sidecar`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use ringbolt::Engine;
use ringbolt::sidecar::{KeyId, Purpose, SidecarOptions};

use crate::args::EngineArg;

/// Manage keys.json, the wrapped encryption keys of a storage node.
///
/// Changes are durable once the command exits with status 0. While a node has the file open it is the only writer, so
/// commands that write are refused.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status:
  0  success; the file is valid
  1  failed; the file is damaged, or group or others may read it
  2  usage error
  3  the file does not exist
  4  the file could not be read, so its state is unknown (show, check)")]
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

/// Create a keys.json without keys.
///
/// The directory must exist; the file must not.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to create, such as `keys.json`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Create version 2 with this storage cutover index [default: version 1, which has none]
    #[arg(long, value_name = "INDEX")]
    pub(crate) storage_cutover_index: Option<u64>,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// Show the content of a keys.json, without the wrapped keys.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) file: ExistingFile,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also show the wrapped keys, as base64
    #[arg(long)]
    pub(crate) wrapped: bool,
}

/// Check whether a keys.json is valid; if not, say what is wrong and what to do.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) file: ExistingFile,
    /// Print a JSON object with path, valid, error, line, column, canonical and temporary
    #[arg(long)]
    pub(crate) json: bool,
}

/// Set the active key of a purpose.
///
/// Also accepts a file whose active ids are invalid, to repair it.
#[derive(Debug, Args)]
pub(crate) struct SetActiveArgs {
    #[command(flatten)]
    pub(crate) file: ExistingFile,
    /// The purpose whose active key to set
    #[arg(value_parser = purpose())]
    pub(crate) purpose: Purpose,
    /// The id of an existing key, or `none`
    #[arg(value_parser = id)]
    pub(crate) id: KeyIdOrNone,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// Convert a keys.json to version 2, which has a storage cutover index.
///
/// A file that is already version 2 is left unchanged; if its index differs from the one given, that is an error. The
/// index cannot be changed later.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    pub(crate) file: ExistingFile,
    /// The index from which stored data is in the envelope [default: 0]
    #[arg(long, value_name = "INDEX")]
    pub(crate) storage_cutover_index: Option<u64>,
    #[command(flatten)]
    pub(crate) writing: WritingFile,
}

/// An existing file.
#[derive(Debug, Args)]
pub(crate) struct ExistingFile {
    /// The file, such as `keys.json`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Accept a file that group or others may read
    #[arg(long)]
    pub(crate) allow_shared: bool,
}

impl ExistingFile {
    pub(crate) fn options(&self) -> SidecarOptions {
        SidecarOptions::new().allow_shared(self.allow_shared)
    }
}

/// Options shared by all commands that write.
#[derive(Debug, Args)]
pub(crate) struct WritingFile {
    /// The I/O engine
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
}

impl WritingFile {
    pub(crate) fn engine(&self) -> Engine {
        self.engine.into()
    }
}

fn purpose() -> impl TypedValueParser<Value = Purpose> {
    PossibleValuesParser::new(Purpose::ALL.map(Purpose::as_str))
        .map(|name| Purpose::from_name(&name).expect("one of them"))
}

/// The id of a key, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyIdOrNone(pub(crate) Option<KeyId>);

fn id(text: &str) -> Result<KeyIdOrNone, String> {
    match text {
        "none" | "0" => Ok(KeyIdOrNone(None)),
        text => text.parse().map(|id| KeyIdOrNone(Some(id))).map_err(|error| format!("{error}")),
    }
}
