//! Walking the directories of a store, and listing its keys.

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::dir::{Dir as Entries, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstatat};

use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::format::OWN;
use crate::key::{self, Key};
use crate::sys;

/// The names in one directory, by kind. What is neither a file nor a directory is left out.
#[derive(Debug, Default)]
struct Names {
    files: Vec<CString>,
    dirs: Vec<CString>,
}

/// Opens and reads one directory: `""` is the root.
fn read(root: &Dir, path: &str) -> nix::Result<(Entries, Names)> {
    let mut names = Names::default();
    let entries = scan(root, path, |name, kind| {
        match kind {
            Type::File => names.files.push(name.to_owned()),
            Type::Directory => names.dirs.push(name.to_owned()),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok((entries, names))
}

/// Shows what is in a directory, one after the other, until told to stop.
fn scan(root: &Dir, path: &str, mut show: impl FnMut(&CStr, Type) -> ControlFlow<()>) -> nix::Result<Entries> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let fd = sys::open_beneath(root.fd(), if path.is_empty() { "." } else { path }, flags)?;
    let mut entries = Entries::from_fd(fd)?;
    let mut untyped = Vec::new();
    let mut goes_on = ControlFlow::Continue(());
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            _ if matches!(name.to_bytes(), b"." | b"..") => {}
            Some(kind) => goes_on = show(name, kind),
            None => untyped.push(name.to_owned()),
        }
        if goes_on.is_break() {
            break;
        }
    }
    for name in untyped {
        if goes_on.is_continue()
            && let Some(kind) = look(&entries, &name)
        {
            goes_on = show(&name, kind);
        }
    }
    Ok(entries)
}

/// The first entry of a directory that is `wanted`.
pub(super) fn first_entry(root: &Dir, wanted: impl Fn(&CStr) -> bool) -> Result<Option<CString>> {
    let mut found = None;
    let scanned = scan(root, "", |name, _| {
        if wanted(name) {
            found = Some(name.to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    scanned.map_err(|errno| Error::from_errno(errno, Step::List, root.path()))?;
    Ok(found)
}

/// The type of an entry where the filesystem does not tell it with the name. `None` if it is gone.
fn look(dir: impl AsFd, name: &CStr) -> Option<Type> {
    let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Some(Type::File),
        SFlag::S_IFDIR => Some(Type::Directory),
        _ => None,
    }
}

/// All directories of a store, our own among them, in no particular order. Only paths are remembered, so neither
/// descriptors nor the stack grow with the tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<Dir>,
    todo: Vec<String>,
}

/// One directory of the walk.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) dir: Entries,
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
            let (dir, Names { files, dirs }) = match read(&self.root, &at) {
                Ok(found) => found,
                // Where we may not go we have left nothing (`lost+found` on a volume of one's own, for example); and
                // what has gone meanwhile, or is too deep to be a key, holds nothing of ours.
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

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The keys of a store that begin with a prefix, in the order of their bytes. Read directory by directory as the iterator
/// advances: a key that is put or deleted meanwhile may or may not be seen. After an error (a directory that may not be read)
/// it goes on with the next directory.
#[derive(Debug)]
#[must_use = "an iterator does nothing unless it is advanced"]
pub struct List {
    root: Arc<Dir>,
    prefix: String,
    /// What is still to come, the next one last. Directories end in a slash, so that the order of the stack is the order
    /// of the keys.
    todo: Vec<String>,
}

impl List {
    pub(super) fn new(root: Arc<Dir>, prefix: &str) -> Result<List> {
        let from = &prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)];
        if let ErrorKind::DirectoryRemoved = root.not_found() {
            return Err(Error::new(ErrorKind::DirectoryRemoved, Step::List, root.path()));
        }
        let mut list = List { root, prefix: prefix.to_owned(), todo: Vec::new() };
        // A prefix that no key can have has no keys; `a//` must not be read as `a/`.
        let possible = from.is_empty() || Key::parse(&from[..from.len() - 1]).is_ok();
        if possible {
            list.enter(from)?;
        }
        Ok(list)
    }

    /// What is directly in the directory that the prefix names, or is: keys, and directories with a slash at their end. Those
    /// without a key beneath are left out, for which no more is read of each than up to its first.
    #[cfg(feature = "object_store")]
    pub(crate) fn one_level(self) -> impl Iterator<Item = Result<String>> {
        let List { root, todo, .. } = self;
        todo.into_iter().rev().filter_map(move |key| match key.strip_suffix('/').map(|dir| holds_a_key(&root, dir)) {
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(false)) => None,
            Some(Ok(true)) | None => Some(Ok(key)),
        })
    }

    /// Reads a directory: `""`, or a path with a slash at its end.
    fn enter(&mut self, path: &str) -> Result<()> {
        let (_, Names { files, dirs }) = match read(&self.root, path.trim_end_matches('/')) {
            Ok(found) => found,
            Err(errno) if holds_nothing(path, errno) => return Ok(()),
            Err(errno) => return Err(Error::from_errno(errno, Step::List, self.root.path().join(path))),
        };
        let keys = |names: Vec<CString>, end: &'static str| {
            names.into_iter().filter(|name| !key::is_reserved(name.to_bytes())).filter_map(move |name| {
                // A name that is not UTF-8 is no key.
                name.into_string().ok().map(|name| format!("{path}{name}{end}"))
            })
        };
        let mut found: Vec<String> = keys(files, "").chain(keys(dirs, "/")).collect();
        found.retain(|key| key.starts_with(&self.prefix) || (key.ends_with('/') && self.prefix.starts_with(&**key)));
        found.sort_unstable_by(|a, b| b.cmp(a));
        self.todo.append(&mut found);
        Ok(())
    }
}

/// Whether a directory that cannot be read has no keys: one that has gone, or was never there.
fn holds_nothing(path: &str, errno: Errno) -> bool {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG => !path.is_empty(),
        // At the top of a volume of one's own.
        Errno::EACCES => path.trim_end_matches('/') == "lost+found",
        _ => false,
    }
}

/// Whether there is a key beneath a directory: reads up to the first.
#[cfg(feature = "object_store")]
fn holds_a_key(root: &Dir, path: &str) -> Result<bool> {
    let mut todo = vec![path.to_owned()];
    while let Some(at) = todo.pop() {
        let mut found = false;
        let scanned = scan(root, &at, |name, kind| {
            match name.to_str() {
                Ok(name) if !key::is_reserved(name.as_bytes()) => match kind {
                    Type::File => found = true,
                    Type::Directory => todo.push(join(&at, name)),
                    _ => {}
                },
                _ => {}
            }
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match scanned {
            Ok(_) if found => return Ok(true),
            Ok(_) => {}
            Err(errno) if holds_nothing(&at, errno) => {}
            Err(errno) => return Err(Error::from_errno(errno, Step::List, root.path().join(at))),
        }
    }
    Ok(false)
}

impl Iterator for List {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        loop {
            let next = self.todo.pop()?;
            if !next.ends_with('/') {
                return Some(Ok(next));
            }
            if let Err(error) = self.enter(&next) {
                return Some(Err(error));
            }
        }
    }
}
