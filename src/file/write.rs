//! Durable replaces of single files, without a store.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use super::atomic_file::AtomicFile;
use super::draft::Draft;
use super::writer::{Content, Writer};
use crate::engine::{Engine, Payload, select};
use crate::error::Result;
use crate::fs::path::{file_name, make_durable, parent};
use crate::fs::preserved::Preserved;
use crate::fs::{Dir, Maker, link};
use crate::protocol::{Medium, PutOptions};

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

/// Options for writing one file.
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
    preserve: bool,
    follow_symlink: bool,
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
        WriteOptions {
            put: PutOptions::new(),
            create_parents: false,
            preserve: false,
            follow_symlink: false,
            engine: Engine::Auto,
        }
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

    /// Creates missing parent directories (mode 0777 less the umask), each synced into its parent before the next. This costs one
    /// directory sync even if none is missing.
    pub fn create_parents(mut self, create_parents: bool) -> WriteOptions {
        self.create_parents = create_parents;
        self
    }

    /// Gives the new file the owner, group, mode and extended attributes of the file that it replaces. If there is no such file,
    /// this has no effect.
    ///
    /// They are read from the old file first, through one descriptor, which needs read permission. Later changes to the old file
    /// are lost. They are set on the temporary file before it is synced, so they are as durable as the content. Until then the
    /// temporary file has mode 0600: it is private to its new owner before the old mode makes it accessible to others.
    ///
    /// - **Owner and group** are changed only where they differ. Where that is not permitted (only root may give a file away, and
    ///   others may give it only to a group of theirs), the write fails with
    ///   [`is_permission_denied`](crate::Error::is_permission_denied) at [`Step::SetOwner`](crate::Step::SetOwner), and nothing has changed: the file never gets
    ///   another owner silently.
    /// - **Mode**: all of it, including set-user-ID and set-group-ID. A mode set with [`mode`](WriteOptions::mode) wins. (The
    ///   kernel drops the set-group-ID bit if the owner is not a member of the group, chmod(2).)
    /// - **Extended attributes** in `user.`, and on Linux the access control list, are kept, or the write fails at
    ///   [`Step::SetAttributes`](crate::Step::SetAttributes). A file without a list gets none, whatever default list its directory has. Security labels,
    ///   capabilities and `trusted.` attributes are kept as far as the kernel permits. `security.ima` and `security.evm` are not:
    ///   they are digests of the old file.
    /// - **Not kept**: times, hard links (other names keep the old content), flags of chattr(1), and access control lists that are
    ///   not extended attributes, as on macOS.
    ///
    /// A directory, FIFO, socket or device at the path is refused, and so is a symbolic link
    /// ([`is_symlink`](crate::Error::is_symlink)) without [`follow_symlink`](WriteOptions::follow_symlink).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.conf");
    /// use std::{fs, os::unix::fs::PermissionsExt};
    ///
    /// fs::write(&path, "old")?;
    /// fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    /// ringbolt::WriteOptions::new().preserve(true).write(&path, "new")?;
    /// assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o7777, 0o640);
    /// # Ok(())
    /// # }
    /// ```
    pub fn preserve(mut self, preserve: bool) -> WriteOptions {
        self.preserve = preserve;
        self
    }

    /// Writes through a symbolic link at the path: the file that it points to is replaced, and the link stays. The temporary file
    /// is created in the directory of that file, which is the directory that is synced. A dangling link creates its target, whose
    /// directory must exist.
    ///
    /// Links are followed once, at the beginning, at most 40 of them; more, or a loop, fail with
    /// [`is_symlink`](crate::Error::is_symlink). Changing a link after that has no effect on this write. In a world-writable directory
    /// with the sticky bit, such as `/tmp`, only links of this user and of the directory's owner are followed, as with
    /// `fs.protected_symlinks`; others fail with [`is_permission_denied`](crate::Error::is_permission_denied). A directory, FIFO, socket
    /// or device is refused.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    /// std::os::unix::fs::symlink("real", &link)?;
    /// ringbolt::WriteOptions::new().follow_symlink(true).write(&link, "new")?;
    /// assert_eq!(std::fs::read(&real)?, b"new");
    /// assert!(link.is_symlink());
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_symlink(mut self, follow_symlink: bool) -> WriteOptions {
        self.follow_symlink = follow_symlink;
        self
    }

    /// The engine to use. [`Engine::Uring`] starts a ring for this one write: for more than one, open a [`Store`](crate::Store).
    pub fn engine(mut self, engine: Engine) -> WriteOptions {
        self.engine = engine;
        self
    }

    /// Durably writes one file. A symbolic link at `path` is replaced unless [`follow_symlink`](WriteOptions::follow_symlink) is
    /// set; links in the directories before it are followed as usual. The new file does not inherit the old mode unless
    /// [`preserve`](WriteOptions::preserve) is set.
    ///
    /// # Errors
    ///
    /// Any failing step, as an [`Error`](crate::Error) that names it. With [`Outcome::Unchanged`](crate::Outcome::Unchanged) the file has its
    /// old content. With [`Outcome::Unknown`](crate::Outcome::Unknown) the new content is or may be visible, and may not
    /// survive a power cut.
    ///
    /// A write beyond the file size limit (`RLIMIT_FSIZE`) returns an error only if the process ignores or blocks `SIGXFSZ`. By
    /// default the signal ends the process.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Payload>) -> Result<()> {
        let (writer, dir, name, like) = self.prepare(path.as_ref())?;
        let content = Content { bytes: bytes.into(), options: self.put, stamp: None, medium: Medium::FSYNC };
        match like {
            Some(like) => writer.put_like(&dir, &name, &content, &like),
            None => writer.put(&dir, &name, &content),
        }
    }

    /// Starts a file that is written piece by piece. With [`preserve`](WriteOptions::preserve), the owner, mode and attributes of
    /// the old file are read now and set by the commit.
    ///
    /// # Errors
    ///
    /// As [`AtomicFile::create`].
    pub fn create(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let (writer, dir, name, like) = self.prepare(path.as_ref())?;
        let draft = Draft::begin(&writer, dir, name, self.put)?;
        Ok(AtomicFile::new(writer, draft, like))
    }

    fn prepare(&self, path: &Path) -> Result<(Writer, Arc<Dir>, CString, Option<Preserved>)> {
        let name = file_name(path)?;
        let parent = parent(path);
        if self.create_parents {
            make_durable(parent)?;
        }
        let (dir, name) = if self.follow_symlink { link::resolve(path)? } else { (Dir::open(parent)?, name) };
        let like = if self.preserve { Preserved::of(&dir, &name)? } else { None };
        Ok((Writer::new(select(self.engine)?, Maker::Single), Arc::new(dir), name, like))
    }
}
