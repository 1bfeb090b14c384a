//! One durable replace of one file, without a store.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::atomic_file::{AtomicFile, Owner};
use crate::dir::Dir;
use crate::engine::{Engine, select};
use crate::error::{Error, Kind, Result, Step};
use crate::key;
use crate::payload::Payload;
use crate::plan::FileSync;
use crate::put_options::PutOptions;
use crate::temp::Maker;
use crate::writer::{Content, Writer};

/// Durably replaces the content of the file at `path`, or creates it, with the defaults of [`WriteOptions`].
///
/// When this returns `Ok`, a power cut at any later moment leaves the new content. Before that, it leaves the old content
/// or the new, whole.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("keys.json");
/// ringbolt::write(&path, "{}")?;
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`WriteOptions::write`].
pub fn write(path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
    WriteOptions::new().write(path, bytes)
}

/// How one file is written.
///
/// By default: mode 0600 less the umask, an existing file is replaced, the directory must exist, and the engine is
/// [`Engine::Auto`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("a/b/motd");
/// ringbolt::WriteOptions::new().mode(0o644).create_parents(true).write(&path, "hello\n")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing before `write` or `create`"]
pub struct WriteOptions {
    put: PutOptions,
    create_parents: bool,
    engine: Engine,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions::new()
    }
}

impl WriteOptions {
    /// The defaults.
    pub fn new() -> WriteOptions {
        WriteOptions { put: PutOptions::new(), create_parents: false, engine: Engine::Auto }
    }

    /// See [`PutOptions::mode`].
    pub fn mode(mut self, mode: u32) -> WriteOptions {
        self.put = self.put.mode(mode);
        self
    }

    /// See [`PutOptions::create_new`].
    pub fn create_new(mut self, create_new: bool) -> WriteOptions {
        self.put = self.put.create_new(create_new);
        self
    }

    /// Create missing directories on the way (mode 0777 less the umask), each synced into its parent before the next. It
    /// costs one sync of a directory even if none is missing.
    pub fn create_parents(mut self, create_parents: bool) -> WriteOptions {
        self.create_parents = create_parents;
        self
    }

    /// The engine to use. [`Engine::Uring`] starts a ring for this one write: for more than one, open a
    /// [`Store`](crate::Store).
    pub fn engine(mut self, engine: Engine) -> WriteOptions {
        self.engine = engine;
        self
    }

    /// Durably writes one file. A symbolic link at `path` is replaced, not followed; one on the way to it is followed, as
    /// everywhere. The new file has the mode asked for, whatever the old one had.
    ///
    /// # Errors
    ///
    /// Any failing step, as an [`Error`] that names it. With [`Outcome::Unchanged`](crate::Outcome::Unchanged) the file
    /// is what it was. With [`Outcome::Unknown`](crate::Outcome::Unknown) the new content is visible, and may not survive
    /// a power cut.
    ///
    /// A write beyond the limit of file sizes (`RLIMIT_FSIZE`) is such an error only in a process that ignores or blocks
    /// `SIGXFSZ`: the signal's default ends the process.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
        let (writer, dir, name) = self.prepare(path.as_ref())?;
        let content = Content { bytes: bytes.into(), options: self.put, stamp: None, sync: FileSync::Fsync };
        writer.put(&dir, &name, &content)
    }

    /// Begins a file that is written piece by piece.
    ///
    /// # Errors
    ///
    /// As [`AtomicFile::create`].
    pub fn create(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let (writer, dir, name) = self.prepare(path.as_ref())?;
        AtomicFile::begin(Owner::Alone(writer), dir, name, self.put)
    }

    fn prepare(&self, path: &Path) -> Result<(Writer, Arc<Dir>, CString)> {
        let name = file_name(path)?;
        let parent = parent(path);
        if self.create_parents {
            make_durable(parent)?;
        }
        let dir = Dir::open(parent)?;
        Ok((Writer::new(select(self.engine)?, Maker::Single), Arc::new(dir), name))
    }
}

/// The last component of a path that names a file.
pub(crate) fn file_name(path: &Path) -> Result<CString> {
    let invalid = |why| Error::new(Kind::InvalidKey(why), Step::Check, path);
    let name = path.file_name().ok_or_else(|| invalid("it names no file"))?.as_bytes();
    // `Path` overlooks a slash or a dot at the end; the kernel does not.
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

/// The directory of a path that names a file; `""` is the current one.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Creates a directory and its missing ancestors, each durable before the next. So of those that exist already only the
/// deepest can have been created by somebody who has not synced its parent (yet): that is done here.
fn make_durable(path: &Path) -> Result<()> {
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

/// Creates a directory in `parent` and makes it durable there; also if another creates it at the same moment and has not
/// synced it yet.
pub(crate) fn make_in(parent: &Dir, name: &Path, mode: u32) -> Result<()> {
    parent.make(name, mode)?;
    parent.sync()
}
