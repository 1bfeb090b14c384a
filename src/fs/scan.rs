//! Reading directories.

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir as Entries, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstatat};

use super::dir::Dir;
use super::sys;

/// An entry of a directory that is being read.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) name: &'a CStr,
    kind: Option<Type>,
    dir: &'a OwnedFd,
}

impl Found<'_> {
    /// The type of the entry; looks at the file where the filesystem does not return the type with the name. `None` if the
    /// file is gone.
    pub(crate) fn kind(&self) -> Option<Type> {
        self.kind
            .or_else(|| fstatat(self.dir, self.name, AtFlags::AT_SYMLINK_NOFOLLOW).ok().and_then(|stat| kind(&stat)))
    }
}

/// The type of a file.
pub(crate) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Regular file or directory; `None` for anything else.
pub(crate) fn kind(stat: &FileStat) -> Option<Type> {
    match file_type(stat) {
        SFlag::S_IFREG => Some(Type::File),
        SFlag::S_IFDIR => Some(Type::Directory),
        _ => None,
    }
}

/// Opens a directory to read it: `""` is the root.
pub(crate) fn open_dir(root: &Dir, path: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    sys::open_beneath(root.fd(), if path.is_empty() { "." } else { path }, flags)
}

/// Calls `show` for each entry of a directory until it breaks. Returns the directory.
pub(crate) fn scan(
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
