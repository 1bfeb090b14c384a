//! Recovery from an interrupted writer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::tree::{Tree, Visit};
use crate::error::{Error, Result, Step};
use crate::fs::{Dir, sys, temp};

/// Removes the temporary files of an interrupted writer and syncs every directory.
///
/// The writer may have changed names in a directory that it did not sync. Those changes are visible now and must not change back
/// in a later power cut, so every directory is synced; one without changes costs little. The lock is held, so no temporary file
/// of the store is in use. (Those of single writes have other names, and stay.)
pub(super) fn recover(root: &Arc<Dir>) -> Result<()> {
    for visit in Tree::new(Arc::clone(root)) {
        let Visit { dir, path, files } = visit.map_err(|error| error.at_step(Step::Sweep))?;
        for name in files.into_iter().filter(|name| temp::is_swept(name)) {
            match unlinkat(&dir, &*name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(Error::from_errno(errno, Step::Sweep, path.join(OsStr::from_bytes(name.to_bytes()))));
                }
            }
        }
        sys::sync_dir(&dir).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path))?;
    }
    Ok(())
}
