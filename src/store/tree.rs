//! Reading directories, and the walk over all directories of a store.

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::dir::{Dir as Entries, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstatat};

use super::format::OWN;
use crate::error::{Error, Result, Step};
use crate::fs::dir::Dir;
use crate::fs::sys;

/// An entry of a directory that is being read.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) name: &'a CStr,
    kind: Option<Type>,
    dir: &'a OwnedFd,
}

impl Found<'_> {
    /// The type of the entry; looks at the file where the filesystem does not return the type with the name. `None` if the
    /// file is gone.
    pub(super) fn kind(&self) -> Option<Type> {
        self.kind
            .or_else(|| fstatat(self.dir, self.name, AtFlags::AT_SYMLINK_NOFOLLOW).ok().and_then(|stat| kind(&stat)))
    }
}

/// Regular file or directory; `None` for anything else.
pub(super) fn kind(stat: &FileStat) -> Option<Type> {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Some(Type::File),
        SFlag::S_IFDIR => Some(Type::Directory),
        _ => None,
    }
}

/// Opens a directory to read it: `""` is the root.
pub(super) fn open_dir(root: &Dir, path: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    sys::open_beneath(root.fd(), if path.is_empty() { "." } else { path }, flags)
}

/// Calls `show` for each entry of a directory until it breaks. Returns the directory.
pub(super) fn scan(
    root: &Dir,
    path: &str,
    mut show: impl FnMut(&Found<'_>) -> ControlFlow<()>,
) -> nix::Result<OwnedFd> {
    let dir = open_dir(root, path)?;
    let reader = dir.as_fd().try_clone_to_owned().map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
    let mut entries = Entries::from_fd(reader)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if show(&Found { name, kind: entry.file_type(), dir: &dir }).is_break() {
            break;
        }
    }
    Ok(dir)
}

/// All directories of a store, including its own, in no particular order. Only paths are kept, so neither descriptors nor the
/// stack grow with the tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<Dir>,
    todo: Vec<String>,
}

/// One directory of the walk.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) dir: OwnedFd,
    /// Its path, for messages.
    pub(super) path: PathBuf,
    /// The files in it.
    pub(super) files: Vec<CString>,
}

impl Tree {
    pub(super) fn new(root: Arc<Dir>) -> Tree {
        Tree { root, todo: vec![String::new()] }
    }
}

impl Iterator for Tree {
    type Item = Result<Visit>;

    fn next(&mut self) -> Option<Result<Visit>> {
        loop {
            let at = self.todo.pop()?;
            let path = self.root.path().join(&at);
            let (mut files, mut dirs) = (Vec::new(), Vec::new());
            let scanned = scan(&self.root, &at, |found| {
                match found.kind() {
                    Some(Type::File) => files.push(found.name.to_owned()),
                    Some(Type::Directory) => dirs.push(found.name.to_owned()),
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            let dir = match scanned {
                Ok(dir) => dir,
                // A directory without permission (`lost+found`, for example) contains nothing of the store, nor does one that was
                // removed meanwhile or is too deep for a key.
                Err(Errno::EACCES | Errno::ENOENT | Errno::ENAMETOOLONG) if !at.is_empty() => continue,
                Err(errno) => return Some(Err(Error::from_errno(errno, Step::List, path))),
            };
            // A store within the store has a writer of its own.
            if !at.is_empty() && dirs.iter().any(|name| name.as_bytes() == OWN.as_bytes()) {
                continue;
            }
            self.todo.extend(dirs.iter().filter_map(|name| name.to_str().ok()).map(|name| join(&at, name)));
            return Some(Ok(Visit { dir, path, files }));
        }
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some filesystems return names without types.
    #[test]
    fn an_entry_without_a_type_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let fd = open_dir(&Dir::open(dir.path()).unwrap(), "").unwrap();
        let found = |name| Found { name, kind: None, dir: &fd }.kind();
        assert_eq!(
            [c"file", c"dir", c"link", c"gone"].map(found),
            [Some(Type::File), Some(Type::Directory), None, None]
        );
    }
}
