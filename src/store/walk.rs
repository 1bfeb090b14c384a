//! The walk of a listing: directory by directory in the order of the keys, in bounded memory.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};

use super::list_options::ListOptions;
#[cfg(feature = "object_store")]
use super::tree::join;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::Dir;
use crate::fs::key::{self, Key};
use crate::fs::scan::{kind, open_dir, scan};

/// The most names of one directory that are held in memory. A larger directory is read in several passes.
pub(super) const NAMES_MAX: usize = 65_536;

/// Walks through the keys of a store in the order of their bytes.
///
/// Each level of the stack is a directory on the way to the current key. It holds the smallest names after those already
/// delivered, at most `names_max` of them. When they run out, the directory is read again for the next ones.
#[derive(Debug)]
pub(super) struct Walk {
    root: Arc<Dir>,
    prefix: String,
    start_after: String,
    /// The maximum number of names to hold of a directory.
    names_max: usize,
    /// Whether to keep the current directory open, for [`stat`](Walk::stat).
    keeps_open: bool,
    pub(super) levels: Vec<Level>,
    /// How often a directory was read.
    #[cfg(test)]
    pub(super) passes: usize,
}

/// A directory of the walk.
#[derive(Debug)]
pub(super) struct Level {
    /// `""`, or a path with a slash at its end.
    path: String,
    /// The names still to deliver, the next one last. Those of directories end in a slash, so that the order of names is the
    /// order of keys.
    pub(super) names: Vec<String>,
    /// The name after which the next pass starts. `None` if the last pass saw everything.
    resume_after: Option<String>,
    /// The maximum number of names of the last pass.
    held: usize,
    /// Only the level on top of the stack is kept open, so descriptors do not grow with the depth of the tree.
    dir: Option<OwnedFd>,
}

/// Which names of a directory a pass looks for.
#[derive(Debug)]
struct Window<'a> {
    prefix: &'a str,
    after: &'a str,
    /// Whether a directory that contains `after` counts as well.
    within: bool,
    held: usize,
}

impl Walk {
    /// Starts at the directory that the prefix is in, or names.
    pub(super) fn new(root: Arc<Dir>, options: &ListOptions, names_max: usize) -> Result<Walk> {
        if let ErrorKind::DirectoryRemoved = root.not_found() {
            return Err(Error::new(ErrorKind::DirectoryRemoved, Step::List, root.path()));
        }
        let prefix = options.prefix.clone();
        let from = prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)].to_owned();
        let start_after = options.start_after.clone().unwrap_or_default();
        let mut walk = Walk {
            root,
            prefix,
            start_after,
            names_max,
            keeps_open: false,
            levels: Vec::new(),
            #[cfg(test)]
            passes: 0,
        };
        // No key has an invalid prefix; `a//` must not be read as `a/`.
        let possible = from.is_empty() || Key::parse(&from[..from.len() - 1]).is_ok();
        if possible && options.limit != Some(0) {
            walk.enter(from, options.limit)?;
        }
        Ok(walk)
    }

    /// Keeps the current directory open from now on.
    pub(super) fn keep_open(&mut self) {
        self.keeps_open = true;
    }

    /// The next key. `wanted` is how many keys the caller still wants: a pass need not hold more.
    pub(super) fn next_key(&mut self, wanted: Option<usize>) -> Option<Result<String>> {
        loop {
            match self.next_name()? {
                Ok(name) if name.ends_with('/') => {
                    if let Err(error) = self.enter(name, wanted) {
                        return Some(Err(error));
                    }
                }
                result => return Some(result),
            }
        }
    }

    /// The next name as a path, with a slash at its end if it is a directory, which is not entered.
    pub(super) fn next_name(&mut self) -> Option<Result<String>> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some(name) = level.names.pop() {
                return Some(Ok(format!("{}{name}", level.path)));
            }
            let Some(after) = level.resume_after.take() else {
                self.levels.pop();
                continue;
            };
            // The names for a limit were not enough (directories without keys, say). Grow, so that the number of passes does not
            // grow with the directory.
            let held = level.held.saturating_mul(2).min(self.names_max);
            let path = std::mem::take(&mut level.path);
            self.levels.pop();
            if let Err(error) = self.pass(path, &after, false, held) {
                return Some(Err(error));
            }
        }
    }

    /// The metadata of the key that [`next_key`](Walk::next_key) or [`next_name`](Walk::next_name) has just returned. `None` if
    /// it is not a regular file any more.
    pub(super) fn stat(&mut self, key: &str) -> Result<Option<FileStat>> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        if level.dir.is_none() {
            match open_dir(&self.root, level.path.trim_end_matches('/')) {
                Ok(dir) => level.dir = Some(dir),
                Err(errno) => {
                    let path = std::mem::take(&mut level.path);
                    self.levels.pop();
                    return if holds_nothing(&path, errno) { Ok(None) } else { Err(self.failed(errno, &path)) };
                }
            }
        }
        let Some(dir) = &level.dir else { return Ok(None) };
        match fstatat(dir, &key[level.path.len()..], AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == Some(Type::File) => Ok(Some(stat)),
            Ok(_) | Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed(errno, key)),
        }
    }

    /// Enters a directory: `""`, or a path with a slash at its end.
    fn enter(&mut self, path: String, wanted: Option<usize>) -> Result<()> {
        if let Some(level) = self.levels.last_mut() {
            level.dir = None;
        }
        let after = match self.start_after.strip_prefix(&*path) {
            Some(rest) => rest.to_owned(),
            // The whole directory comes before the start.
            None if *self.start_after > *path => return Ok(()),
            None => String::new(),
        };
        let held = wanted.map_or(self.names_max, |wanted| wanted.clamp(1, self.names_max));
        self.pass(path, &after, true, held)
    }

    /// Reads a directory once and pushes its names on the stack.
    fn pass(&mut self, path: String, after: &str, within: bool, held: usize) -> Result<()> {
        #[cfg(test)]
        {
            self.passes += 1;
        }
        let prefix = self.prefix.strip_prefix(&*path).unwrap_or("");
        match smallest(&self.root, &path, &Window { prefix, after, within, held }) {
            Ok((dir, names, all)) => {
                let resume_after = names.first().filter(|_| !all).cloned();
                let dir = self.keeps_open.then_some(dir);
                self.levels.push(Level { path, names, resume_after, held, dir });
                Ok(())
            }
            Err(errno) if holds_nothing(&path, errno) => Ok(()),
            Err(errno) => Err(self.failed(errno, &path)),
        }
    }

    fn failed(&self, errno: Errno, path: &str) -> Error {
        Error::from_errno(errno, Step::List, self.root.path().join(path))
    }

    #[cfg(test)]
    pub(super) fn open_dirs(&self) -> usize {
        self.levels.iter().filter(|level| level.dir.is_some()).count()
    }

    #[cfg(feature = "object_store")]
    pub(super) fn root(&self) -> &Arc<Dir> {
        &self.root
    }
}

/// The smallest names of a directory within the window, in descending order, and whether there are no others.
fn smallest(root: &Dir, path: &str, window: &Window<'_>) -> nix::Result<(OwnedFd, Vec<String>, bool)> {
    let Window { prefix, after, within, held } = *window;
    let mut heap: BinaryHeap<String> = BinaryHeap::new();
    let (mut name, mut all) = (String::new(), true);
    let dir = scan(root, path.trim_end_matches('/'), |found| {
        // A name that is not UTF-8 is not a key.
        let Ok(text) = found.name.to_str() else { return ControlFlow::Continue(()) };
        let is_full = heap.len() == held;
        // These need no look at the type of the file.
        if !text.starts_with(prefix) || key::is_reserved(text.as_bytes()) || (text < after && !after.starts_with(text))
        {
            return ControlFlow::Continue(());
        }
        if is_full && heap.peek().is_some_and(|greatest| text > greatest.as_str()) {
            all = false;
            return ControlFlow::Continue(());
        }
        let end = match found.kind() {
            Some(Type::File) => "",
            Some(Type::Directory) => "/",
            _ => return ControlFlow::Continue(()),
        };
        name.clear();
        name.push_str(text);
        name.push_str(end);
        let is_after = *name > *after || (within && !end.is_empty() && after.starts_with(&*name));
        if is_after && !is_full {
            heap.push(name.clone());
        } else if is_after {
            all = false;
            if let Some(mut greatest) = heap.peek_mut()
                && name < *greatest
            {
                std::mem::swap(&mut name, &mut *greatest);
            }
        }
        ControlFlow::Continue(())
    })?;
    let mut names = heap.into_sorted_vec();
    names.reverse();
    Ok((dir, names, all))
}

/// Whether this error means that a directory has no keys: it was removed, or never existed.
fn holds_nothing(path: &str, errno: Errno) -> bool {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG => !path.is_empty(),
        // `lost+found`, for example.
        Errno::EACCES => path.trim_end_matches('/') == "lost+found",
        _ => false,
    }
}

/// Whether there is a key beneath a directory. Reads up to the first key.
#[cfg(feature = "object_store")]
pub(super) fn holds_a_key(root: &Arc<Dir>, path: &str) -> Result<bool> {
    let mut todo = vec![path.to_owned()];
    while let Some(at) = todo.pop() {
        let mut has_file = false;
        let scanned = scan(root, &at, |found| {
            match found.name.to_str() {
                Ok(name) if !key::is_reserved(name.as_bytes()) => match found.kind() {
                    Some(Type::File) => has_file = true,
                    Some(Type::Directory) => todo.push(join(&at, name)),
                    _ => {}
                },
                _ => {}
            }
            if has_file || todo.len() > NAMES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match scanned {
            Ok(_) if has_file => return Ok(true),
            // Many directories: walk through them in bounded memory.
            Ok(_) if todo.len() > NAMES_MAX => {
                let options = ListOptions::new().prefix(format!("{path}/")).limit(1);
                return Walk::new(Arc::clone(root), &options, NAMES_MAX)?
                    .next_key(Some(1))
                    .transpose()
                    .map(|key| key.is_some());
            }
            Ok(_) => {}
            Err(errno) if holds_nothing(&at, errno) => {}
            Err(errno) => return Err(Error::from_errno(errno, Step::List, root.path().join(at))),
        }
    }
    Ok(false)
}
