//! The walk over all directories of a store.

use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::dir::Type;
use nix::errno::Errno;

use super::format::OWN;
use crate::error::{Error, Result, Step};
use crate::fs::Dir;
use crate::fs::scan::scan;

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
