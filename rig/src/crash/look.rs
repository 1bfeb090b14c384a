//! The check after a power cut: lets the crate recover, then reads the contents.

use std::fs;
use std::path::{Path, PathBuf};

use ringbolt::Store;

use super::history::Contents;
use super::operation::Operation;
use super::workload::{Result, Setting};

/// Opens the files of the operation, like a restarted program, and reads all of them.
///
/// With `go_on`, also makes a change, which must succeed and be visible.
pub(super) fn look(operation: Operation, at: Setting<'_>, go_on: bool) -> Result<Contents> {
    match operation {
        Operation::Write => {
            let mut found = Contents::new();
            read_files(at.root, at.root, &mut found)?;
            // Temporary files of single writes are not removed: another process may still be writing them.
            found.retain(|name, _| !name.rsplit('/').next().unwrap_or(name).starts_with(".ringbolt-w"));
            Ok(found)
        }
        Operation::Open => {
            let mut found = Contents::new();
            for path in directories(at.root)? {
                let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
                let store = read_store(at.store_at(&path)?, go_on)?;
                found.extend(store.into_iter().map(|(key, content)| (format!("{name}/{key}"), content)));
            }
            Ok(found)
        }
        Operation::Sidecar => {
            let (path, options) = at.sidecar();
            let store = match options.open(&path) {
                Err(error) if error.is_not_found() => return Ok(Contents::new()),
                store => store?,
            };
            let found = Contents::from([("keys.json".to_owned(), fs::read(&path)?)]);
            if go_on {
                let next = store.get().raft_applied_index + 1;
                store.update(|sidecar| sidecar.raft_applied_index = next)?;
                check(options.read(&path)?.raft_applied_index == next, "a change after the cut is not seen")?;
            }
            Ok(found)
        }
        _ => read_store(at.store()?, go_on),
    }
}

fn read_store(store: Store, go_on: bool) -> Result<Contents> {
    let mut found = Contents::new();
    for key in store.list("")? {
        let key = key?;
        found.insert(key.clone(), store.get(&key)?.to_vec());
    }
    let left = temporaries(store.path())?;
    check(left.is_empty(), &format!("left by the recovery: {left:?}"))?;
    if go_on {
        store.put("after/the/cut", "works")?;
        check(store.get("after/the/cut")? == "works", "a put after the cut is not seen")?;
    }
    store.close()?;
    Ok(found)
}

fn check(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// The temporary files of stores.
fn temporaries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut temporaries(&entry.path())?);
        } else if entry.file_name().to_string_lossy().ends_with(".tmp") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn read_files(root: &Path, dir: &Path, found: &mut Contents) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            read_files(root, &path, found)?;
        } else {
            found.insert(path.strip_prefix(root)?.to_string_lossy().into_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

/// The top-level directories, except `lost+found`.
fn directories(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name() != "lost+found" {
            found.push(entry.path());
        }
    }
    Ok(found)
}
