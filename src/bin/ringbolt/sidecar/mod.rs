//! `ringbolt sidecar`: manages keys.json from the command line.

pub(crate) mod args;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringbolt::sidecar::{KeyId, Location, Purpose, Sidecar, SidecarError, SidecarKey, SidecarOptions};
use serde_json::{Value, json};

use crate::problem::{self, Problem};
use crate::read::shown;
use args::{CheckArgs, InitArgs, SetActiveArgs, ShowArgs, SidecarArgs, SidecarCommand, UpgradeArgs};

/// Exit status: the file does not exist.
const MISSING: u8 = 3;

/// Exit status: the file could not be read.
const UNKNOWN: u8 = 4;

pub(crate) fn run(args: &SidecarArgs) -> Result<ExitCode, Problem> {
    match &args.command {
        SidecarCommand::Init(args) => init(args),
        SidecarCommand::Show(args) => show(args),
        SidecarCommand::Check(args) => check(args),
        SidecarCommand::SetActive(args) => set_active(args),
        SidecarCommand::Upgrade(args) => upgrade(args),
    }
}

fn init(args: &InitArgs) -> Result<ExitCode, Problem> {
    let sidecar = Sidecar { storage_envelope_cutover_index: args.storage_cutover_index, ..Sidecar::default() };
    let options = SidecarOptions::new().engine(args.writing.engine());
    match options.create(&args.path, sidecar) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => failed("sidecar init", &args.path, error),
    }
}

fn set_active(args: &SetActiveArgs) -> Result<ExitCode, Problem> {
    let change = || {
        let options = args.file.options().engine(args.writing.engine()).allow_bad_active(true);
        let store = options.open(&args.file.path)?;
        store.try_update(|sidecar| sidecar.set_active(args.purpose, args.id.0))
    };
    match change() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => failed("sidecar set-active", &args.file.path, error),
    }
}

fn upgrade(args: &UpgradeArgs) -> Result<ExitCode, Problem> {
    let path = &args.file.path;
    let change = || {
        let store = args.file.options().engine(args.writing.engine()).open(path)?;
        let before = store.get().storage_envelope_cutover_index;
        // Even an update without a change would rewrite a file whose bytes or mode are not canonical.
        if before.is_none() {
            store.update(|sidecar| sidecar.upgrade(args.storage_cutover_index.unwrap_or(0)))?;
        }
        Ok(before)
    };
    match (change(), args.storage_cutover_index) {
        (Err(error), _) => failed("sidecar upgrade", path, error),
        (Ok(None), _) => Ok(ExitCode::SUCCESS),
        (Ok(Some(index)), Some(asked)) if asked != index => Err(Problem::Read(format!(
            "{path:?} is already version 2, with storage cutover index {index} instead of {asked}; nothing was changed"
        ))),
        (Ok(Some(index)), _) => {
            print(&format!("{path:?} is already version 2, with storage cutover index {index}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The error message and exit status of a command that writes. The message says whether anything changed.
fn failed(doing: &str, path: &Path, error: SidecarError) -> Result<ExitCode, Problem> {
    match error {
        // Only an I/O error can leave the outcome unknown.
        SidecarError::Io(error) => Err(Problem::write(doing, &path.to_string_lossy())(error)),
        // There is no file to change, or the message already says that it was not changed.
        SidecarError::NotFound { .. } | SidecarError::ChangedBehind { .. } => refused(error, ""),
        // The error is in the new value, so its location names no file: add the path.
        error if error.location().is_some_and(|at| at.path().is_none()) => {
            Err(Problem::Read(format!("{path:?}: {error}; nothing was changed")))
        }
        error => refused(error, "; nothing was changed"),
    }
}

/// The error message and exit status of a command that only reads.
fn unreadable(error: SidecarError) -> Result<ExitCode, Problem> {
    match error {
        SidecarError::Io(error) => {
            problem::report(&error);
            Ok(ExitCode::from(UNKNOWN))
        }
        error => refused(error, ""),
    }
}

/// The message for an invalid file, with advice; `also` is appended.
fn refused(error: SidecarError, also: &str) -> Result<ExitCode, Problem> {
    match error {
        SidecarError::NotFound { .. } => {
            problem::report(&format_args!("{error}; create it with `ringbolt sidecar init`, in an existing directory"));
            Ok(ExitCode::from(MISSING))
        }
        SidecarError::Exposed { .. } => Err(Problem::Read(format!("{error} with --allow-shared{also}"))),
        error => Err(Problem::Read(format!("{error}{also}"))),
    }
}

fn check(args: &CheckArgs) -> Result<ExitCode, Problem> {
    let path = &args.file.path;
    let read = args.file.options().read(path);
    let status = match &read {
        Ok(_) => ExitCode::SUCCESS,
        Err(SidecarError::Io(_)) => ExitCode::from(UNKNOWN),
        Err(error) if error.is_not_found() => ExitCode::from(MISSING),
        Err(_) => ExitCode::FAILURE,
    };
    let canonical = read.as_ref().ok().and_then(|_| is_canonical(path));
    let mut temporary = path.clone().into_os_string();
    temporary.push(".tmp");
    let left = fs::symlink_metadata(&temporary).is_ok();
    let text = if args.json {
        let error = read.as_ref().err();
        let at = error.and_then(SidecarError::location);
        let value = json!({
            "path": path.to_string_lossy(),
            "valid": if matches!(error, Some(SidecarError::Io(_))) { Value::Null } else { read.is_ok().into() },
            "error": error.map(ToString::to_string),
            "line": at.and_then(Location::line),
            "column": at.and_then(Location::column),
            "canonical": canonical,
            "temporary": left,
        });
        format!("{value:#}\n")
    } else {
        let sidecar = match read {
            Ok(sidecar) => sidecar,
            Err(error) => return unreadable(error),
        };
        let mut text = format!("{path:?}: valid, {}\n", summary(&sidecar));
        if canonical == Some(false) {
            text += "note: the formatting differs from ringbolt's; the next write normalizes it\n";
        }
        if left {
            text += &format!(
                "note: {temporary:?} exists: a write is in progress or was interrupted; the next write removes it\n"
            );
        }
        text
    };
    match print(&text) {
        // The reader may want only the exit status.
        Err(problem) if problem.is_closed_pipe() => Ok(status),
        result => result.map(|()| status),
    }
}

/// Whether the file has exactly the bytes that `to_json` would write; `None` if it can no longer be read. Reads the
/// file again, so the bytes may be newer than the ones that were checked.
fn is_canonical(path: &Path) -> Option<bool> {
    let bytes = std::fs::read(path).ok()?;
    Some(Sidecar::from_json(&bytes).ok()?.to_json().ok()? == bytes)
}

/// `version 2, 2 keys, active: storage 305419896, raft none`
fn summary(sidecar: &Sidecar) -> String {
    let keys = match sidecar.keys.len() {
        1 => "1 key".to_owned(),
        n => format!("{n} keys"),
    };
    let active = Purpose::ALL.map(|purpose| format!("{purpose} {}", or_none(sidecar.active.get(purpose))));
    format!("version {}, {keys}, active: {}", sidecar.version(), active.join(", "))
}

fn or_none(id: Option<KeyId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

fn show(args: &ShowArgs) -> Result<ExitCode, Problem> {
    let sidecar = match args.file.options().read(&args.file.path) {
        Ok(sidecar) => sidecar,
        Err(error) => return unreadable(error),
    };
    if args.json {
        print_json(&as_json(&args.file.path, &sidecar, args.wrapped))?;
    } else {
        print(&as_text(&sidecar, args.wrapped, io::stdout().is_terminal()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_active(sidecar: &Sidecar, id: KeyId, key: &SidecarKey) -> bool {
    sidecar.active.get(key.purpose) == Some(id)
}

fn as_text(sidecar: &Sidecar, wrapped: bool, escape: bool) -> String {
    let envelope = if sidecar.storage_envelope_active { "active" } else { "not active" };
    let index = |index: Option<u64>| index.map_or_else(|| "none (version 1)".to_owned(), |index| index.to_string());
    let mut text = format!(
        "version                 {}\n\
         raft applied index      {}\n\
         storage envelope        {envelope}\n\
         storage cutover index   {}\n\
         raft cutover index      {}\n",
        sidecar.version(),
        sidecar.raft_applied_index,
        index(sidecar.storage_envelope_cutover_index),
        sidecar.raft_envelope_cutover_index,
    );
    if sidecar.keys.is_empty() {
        return text + "\nno keys\n";
    }
    text += &format!("\n{:>10}  {:7}  {:6}  {:>5}  {:>7}  created\n", "key", "purpose", "active", "epoch", "wrapped");
    for (id, key) in &sidecar.keys {
        let active = if is_active(sidecar, *id, key) { "yes" } else { "" };
        let (len, created) = (format!("{} B", key.wrapped.as_bytes().len()), shown(&key.created, escape));
        let purpose = key.purpose.as_str();
        text += &format!("{id:>10}  {purpose:7}  {active:6}  {:>5}  {len:>7}  {created}\n", key.local_epoch);
        if wrapped {
            text += &format!("{:>10}  {}\n", "", STANDARD.encode(key.wrapped.as_bytes()));
        }
    }
    text
}

fn as_json(path: &Path, sidecar: &Sidecar, wrapped: bool) -> Value {
    let keys = sidecar.keys.iter().map(|(id, key)| {
        let mut value = json!({
            "id": id.get(),
            "purpose": key.purpose.as_str(),
            "active": is_active(sidecar, *id, key),
            "local_epoch": key.local_epoch,
            "created": key.created,
            "wrapped_bytes": key.wrapped.as_bytes().len(),
        });
        if wrapped {
            value["wrapped"] = STANDARD.encode(key.wrapped.as_bytes()).into();
        }
        value
    });
    json!({
        "path": path.to_string_lossy(),
        "version": sidecar.version(),
        "raft_applied_index": sidecar.raft_applied_index,
        "storage_envelope_active": sidecar.storage_envelope_active,
        "storage_envelope_cutover_index": sidecar.storage_envelope_cutover_index,
        "raft_envelope_cutover_index": sidecar.raft_envelope_cutover_index,
        "active": {
            "storage": sidecar.active.storage.map(KeyId::get),
            "raft": sidecar.active.raft.map(KeyId::get),
        },
        "keys": keys.collect::<Vec<_>>(),
    })
}

fn print_json(value: &Value) -> Result<(), Problem> {
    print(&format!("{value:#}\n"))
}

fn print(text: &str) -> Result<(), Problem> {
    crate::print(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a terminal, control and bidirectional characters in `created` are escaped; elsewhere they are printed unchanged.
    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        let key = SidecarKey {
            purpose: Purpose::Storage,
            wrapped: vec![0xa5; 60].into(),
            created: "\u{1b}[2Jnow\u{202e}\n\u{7f}".into(),
            local_epoch: u16::MAX,
        };
        let id = KeyId::new(u32::MAX).unwrap();
        let sidecar = Sidecar { keys: [(id, key)].into(), ..Sidecar::default() };
        let text = as_text(&sidecar, false, true);
        assert!(text.ends_with("  \\u{1b}[2Jnow\\u{202e}\\n\\u{7f}\n"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{text:?}");
        assert!(as_text(&sidecar, false, false).ends_with("  \u{1b}[2Jnow\u{202e}\n\u{7f}\n"));
    }
}
