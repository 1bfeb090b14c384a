//! A cache of open directories: a put usually opens none.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::new_dirs::NewDirs;
use crate::engine::Interpreter;
use crate::error::{Error, Result, Step};
use crate::fs::{Dir, Key};
use crate::lock;

/// The maximum number of open directories besides the root.
const HELD_MAX: usize = 256;

/// The root and a bounded number of directories beneath it. The least recently used directory is closed first.
#[derive(Debug)]
pub(crate) struct Dirs {
    root: Arc<Dir>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_path: HashMap<String, (Arc<Dir>, u64)>,
    clock: u64,
    new: NewDirs,
}

/// When the name of a new directory is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncName {
    /// Before anybody puts into it.
    AtOnce,
    /// By [`Dirs::sync_new`], or a sync of the whole filesystem.
    Later,
}

impl Held {
    fn get(&mut self, path: &str) -> Option<Arc<Dir>> {
        self.clock += 1;
        let (dir, used) = self.by_path.get_mut(path)?;
        *used = self.clock;
        Some(Arc::clone(dir))
    }

    fn insert(&mut self, path: &str, dir: Dir) -> Arc<Dir> {
        if self.by_path.len() >= HELD_MAX {
            let oldest = self.by_path.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| self.by_path.remove(&path));
        }
        let dir = Arc::new(dir);
        self.clock += 1;
        self.by_path.insert(path.to_owned(), (Arc::clone(&dir), self.clock));
        dir
    }
}

impl Dirs {
    pub(crate) fn new(root: Arc<Dir>) -> Dirs {
        Dirs { root, held: Mutex::default() }
    }

    pub(crate) fn root(&self) -> &Arc<Dir> {
        &self.root
    }

    /// The directory that holds `key`, created if it is missing.
    ///
    /// The lock is held throughout: nobody else may put into a directory whose own name must be synced first. A failed sync is
    /// passed to `latch` before the lock is released, and `check` then stops every caller that finds the directory.
    pub(crate) fn ensure(
        &self,
        engine: &dyn Interpreter,
        key: &Key<'_>,
        sync_name: SyncName,
        latch: impl Fn(&Error),
        check: impl Fn() -> Result<()>,
    ) -> Result<Arc<Dir>> {
        let path = key.parent();
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        {
            let mut held = lock(&self.held);
            match self.open(engine, &mut held, path) {
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.cannot_open(errno, path)),
                Ok(dir) => return check().map(|()| dir),
            }
        }
        let mut held = lock(&self.held);
        let mut parent = Arc::clone(&self.root);
        for end in path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]) {
            let path = &path[..end];
            parent = match self.open(engine, &mut held, path) {
                Ok(dir) => dir,
                Err(Errno::ENOENT) => {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    engine.make_dir(&parent, Path::new(name)).inspect_err(&latch)?;
                    // A sync of the root's filesystem says nothing of another one that is mounted beneath it.
                    let waits = sync_name == SyncName::Later && parent.device() == self.root.device();
                    if !(waits && held.new.add(path)) {
                        engine.sync_dir(&parent).inspect_err(&latch)?;
                    }
                    self.open(engine, &mut held, path).map_err(|errno| self.cannot_open(errno, path))?
                }
                Err(errno) => return Err(self.cannot_open(errno, path)),
            };
        }
        check().map(|()| parent)
    }

    /// The directory that holds `key`, if it exists.
    pub(crate) fn find(&self, engine: &dyn Interpreter, key: &Key<'_>) -> Result<Arc<Dir>> {
        let path = key.parent();
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        self.open(engine, &mut lock(&self.held), path).map_err(|errno| match errno {
            // The key does not exist if a parent is missing or is a file.
            Errno::ENOENT | Errno::ENOTDIR => {
                let path = self.root.path().join(key.as_str());
                Error::from_errno(errno, Step::OpenFile, path).with_kind(self.root.not_found())
            }
            errno => self.cannot_open(errno, path),
        })
    }

    /// Syncs the names of the directories that hold `key`, where they are new. A failed sync is passed to `latch`.
    pub(crate) fn sync_new(&self, engine: &dyn Interpreter, key: &Key<'_>, latch: impl Fn(&Error)) -> Result<()> {
        let mut held = lock(&self.held);
        for path in held.new.along(key.parent()) {
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            let parent = match above {
                "" => Ok(Arc::clone(&self.root)),
                above => self.open(engine, &mut held, above),
            };
            match parent {
                Ok(parent) => engine.sync_dir(&parent).inspect_err(&latch)?,
                // It was removed, and what was in it.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(self.cannot_open(errno, &path)),
            }
            held.new.forget_in(above);
        }
        Ok(())
    }

    /// The moment until which directories were made that a sync of the filesystem covers, if it begins now.
    pub(crate) fn made_until(&self) -> u64 {
        lock(&self.held).new.now()
    }

    /// Notes that the names of directories that were made until then are durable.
    pub(crate) fn names_are_durable(&self, until: u64) {
        lock(&self.held).new.forget(until);
    }

    /// Whether the names of some directories are not durable yet.
    pub(crate) fn has_new(&self) -> bool {
        !lock(&self.held).new.is_empty()
    }

    /// Drops every directory to release descriptors. A change in progress keeps its own.
    pub(crate) fn release(&self) {
        lock(&self.held).by_path.clear();
    }

    /// Drops the parents of `key`: one of them is no longer the directory that its path names.
    pub(crate) fn forget(&self, key: &Key<'_>) {
        let path = key.parent();
        lock(&self.held).by_path.retain(|held, _| !(path == held || path.starts_with(&format!("{held}/"))));
    }

    fn open(&self, engine: &dyn Interpreter, held: &mut Held, path: &str) -> nix::Result<Arc<Dir>> {
        match held.get(path) {
            Some(dir) => Ok(dir),
            None => engine.open_dir(&self.root, path).map(|dir| held.insert(path, dir)),
        }
    }

    fn cannot_open(&self, errno: Errno, path: &str) -> Error {
        Error::from_errno(errno, Step::OpenDir, self.root.path().join(path))
    }
}
