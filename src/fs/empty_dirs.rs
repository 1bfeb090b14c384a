//! Empty directories, which deleted keys leave behind and which may have the name of a new key.

use std::ffi::CStr;
use std::ops::ControlFlow;

use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::Dir;
use super::scan::scan;
use super::{key, sys};
use crate::protocol::Existing;

/// Removes the directory `name` in `dir` and all directories beneath it, unless they contain anything else.
///
/// Nothing is synced here: the rename that follows syncs `dir`. The kernel refuses to remove a directory in which a file was
/// created meanwhile, and refuses to create a file in a removed directory. So a concurrent put into one of these directories
/// either keeps it, or finds it gone and starts over.
///
/// # Errors
///
/// EISDIR if it contains anything but directories, EEXIST if it is not a directory and `existing` says refuse, or another error
/// of the kernel such as EBUSY for a mount point.
pub(crate) fn clear_name(dir: &Dir, name: &CStr, existing: Existing) -> nix::Result<()> {
    match dir.look(name) {
        Ok(SFlag::S_IFDIR) => {}
        Ok(_) if existing == Existing::Refuse => return Err(Errno::EEXIST),
        // Removed or replaced meanwhile.
        Ok(_) | Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let root = name.to_str().map_err(|_| Errno::EISDIR)?.to_owned();
    // Parents before children. All are read before the first is removed: a file anywhere leaves the tree as it is.
    let mut found = vec![root];
    let mut read = 0;
    while read < found.len() {
        let beneath = directories(dir, &found[read])?;
        found.extend(beneath);
        read += 1;
    }
    found.iter().rev().try_for_each(|path| remove(dir, path))
}

/// The subdirectories of a directory. EISDIR if it contains anything else.
fn directories(dir: &Dir, path: &str) -> nix::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut is_pure = true;
    let scanned = scan(dir, path, |entry| match (entry.name.to_str(), entry.kind()) {
        // A reserved name is a store within the store, whatever is in it.
        (Ok(name), Some(Type::Directory)) if !key::is_reserved(name.as_bytes()) => {
            found.push(format!("{path}/{name}"));
            ControlFlow::Continue(())
        }
        _ => {
            is_pure = false;
            ControlFlow::Break(())
        }
    });
    match scanned {
        // Removed by another program meanwhile.
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
        Ok(_) if is_pure => Ok(found),
        Ok(_) => Err(Errno::EISDIR),
    }
}

fn remove(dir: &Dir, path: &str) -> nix::Result<()> {
    let removed = match path.rsplit_once('/') {
        None => unlinkat(dir.fd(), path, UnlinkatFlags::RemoveDir),
        // Opened without following links, as everywhere beneath a store.
        Some((parent, name)) => sys::open_beneath(dir.fd(), parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .and_then(|parent| unlinkat(&parent, name, UnlinkatFlags::RemoveDir)),
    };
    match removed {
        Err(Errno::ENOENT) => Ok(()),
        // A file was created in it meanwhile.
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Err(Errno::EISDIR),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn clear(at: &std::path::Path, existing: Existing) -> nix::Result<()> {
        clear_name(&Dir::open(at).unwrap(), c"a", existing)
    }

    #[test]
    fn empty_directories_go_and_everything_else_stays() {
        let at = tempfile::tempdir().unwrap();
        let path = |name: &str| at.path().join(name);
        fs::create_dir_all(path("a/b/c")).unwrap();
        fs::create_dir_all(path("a/d")).unwrap();
        assert_eq!(clear(at.path(), Existing::Replace), Ok(()));
        assert!(!path("a").exists());
        assert_eq!(clear(at.path(), Existing::Refuse), Ok(()));

        for entry in ["a/b/c/file", "a/.ringbolt/lock"] {
            fs::create_dir_all(path("a/empty")).unwrap();
            fs::create_dir_all(path(entry).parent().unwrap()).unwrap();
            fs::write(path(entry), "").unwrap();
            assert_eq!(clear(at.path(), Existing::Replace), Err(Errno::EISDIR), "{entry}");
            assert!(path(entry).exists() && path("a/empty").exists());
            fs::remove_dir_all(path("a")).unwrap();
        }
        // A store within the store that was never completed.
        fs::create_dir_all(path("a/.ringbolt")).unwrap();
        assert_eq!(clear(at.path(), Existing::Replace), Err(Errno::EISDIR));
        fs::remove_dir_all(path("a")).unwrap();

        fs::create_dir_all(path("a")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("a/link")).unwrap();
        assert_eq!(clear(at.path(), Existing::Replace), Err(Errno::EISDIR));
        fs::remove_dir_all(path("a")).unwrap();

        fs::write(path("a"), "").unwrap();
        assert_eq!(clear(at.path(), Existing::Replace), Ok(()));
        assert_eq!(clear(at.path(), Existing::Refuse), Err(Errno::EEXIST));
        assert!(path("a").exists());
    }
}
