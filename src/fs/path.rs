//! Paths of single files: their directory, their name, and making the directories durable.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::dir::{Dir, make_in};
use super::key;
use crate::error::{Error, ErrorKind, Result, Step};

/// The last component of a path that names a file.
pub(crate) fn file_name(path: &Path) -> Result<CString> {
    let invalid = |why| Error::new(ErrorKind::InvalidKey, Step::Check, path).with_detail(why);
    let name = path.file_name().ok_or_else(|| invalid("it names no file"))?.as_bytes();
    // `Path` ignores a slash or a dot at the end; the kernel does not.
    if !path.as_os_str().as_bytes().ends_with(name) {
        return Err(invalid("it ends like a directory"));
    }
    if key::is_reserved(name) {
        return Err(invalid("names that begin with `.ringbolt` are reserved"));
    }
    if name.len() > key::COMPONENT_MAX {
        return Err(invalid("its name is longer than 255 bytes"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(invalid("it contains a NUL byte"));
    }
    Ok(CString::new(name).expect("checked: no NUL"))
}

/// The directory of a path that names a file; `""` is the current directory.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Creates a directory and its missing ancestors, each durable before the next. Of the existing ancestors only the deepest may
/// have been created by a process that has not synced the parent yet, so its name is synced here.
pub(crate) fn make_durable(path: &Path) -> Result<()> {
    match Dir::open(path) {
        Ok(dir) => return dir.sync_parent(),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Dir::open(path).map(drop);
    };
    make_durable(parent)?;
    make_in(&Dir::open(parent)?, name.as_ref(), 0o777)
}
