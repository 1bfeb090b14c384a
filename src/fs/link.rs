//! Resolving a symbolic link at the end of a path, step by step, to a directory and a name.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use super::dir::Dir;
use super::path::{file_name, parent};
use super::scan::file_type;
use crate::error::{Error, ErrorKind, Result, Step};

/// As many links as Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The directory and the name that `path` resolves to. If a file has that name, it is a regular file.
pub(crate) fn resolve(path: &Path) -> Result<(Dir, CString)> {
    let mut dir = Dir::open(parent(path))?;
    let mut name = file_name(path)?;
    for _ in 0..=LINKS_MAX {
        let at = dir.path_of(&name);
        let found = match fstatat(dir.fd(), &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Ok((dir, name)),
            Err(errno) => return Err(Error::from_errno(errno, Step::OpenFile, at)),
        };
        match file_type(&found) {
            SFlag::S_IFREG => return Ok((dir, name)),
            SFlag::S_IFDIR => return Err(Error::from_errno(Errno::EISDIR, Step::OpenFile, at)),
            SFlag::S_IFLNK => {}
            _ => return Err(Error::new(ErrorKind::NotAFile, Step::OpenFile, at)),
        }
        if !may_follow(&dir, &found) {
            return Err(Error::from_errno(Errno::EACCES, Step::OpenFile, at));
        }
        let target = match readlinkat(dir.fd(), &*name) {
            Ok(target) => PathBuf::from(target),
            // Replaced meanwhile by something that is not a link: look again.
            Err(Errno::EINVAL | Errno::ENOENT) => continue,
            Err(errno) => return Err(Error::from_errno(errno, Step::OpenFile, at)),
        };
        (dir, name) = step(&dir, &target, &at)?;
    }
    Err(Error::from_errno(Errno::ELOOP, Step::OpenFile, path))
}

/// The directory and the name that the link at `at` in `dir` points to.
fn step(dir: &Dir, target: &Path, at: &Path) -> Result<(Dir, CString)> {
    let names_directory = ends_like_directory(target.as_os_str());
    let next = dir.open_from(if names_directory { target } else { parent(target) })?;
    if names_directory {
        return Err(Error::from_errno(Errno::EISDIR, Step::OpenFile, at));
    }
    Ok((next, file_name(target)?))
}

fn ends_like_directory(target: &OsStr) -> bool {
    let target: OsString = target.into();
    let last = target.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

/// The rule of `fs.protected_symlinks` (proc_sys_fs(5)), whether or not it is switched on: in a world-writable directory with the
/// sticky bit, such as `/tmp`, a link is followed only if this user or the directory's owner owns it. Then nobody else can
/// replace the link before it is read.
fn may_follow(dir: &Dir, link: &FileStat) -> bool {
    let Ok(place) = fstat(dir.fd()) else { return false };
    let shared = place.st_mode & 0o1002 == 0o1002;
    !shared || link.st_uid == geteuid().as_raw() || link.st_uid == place.st_uid
}
