//! Changes, as callers hand them in; and how one is made by its caller alone.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Answer, Applied, Core};
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::key::Key;
use crate::payload::Payload;
use crate::plan::{Existing, FileSync, Plan};
use crate::put_options::PutOptions;
use crate::queue::Load;
use crate::version::Version;
use crate::writer::{Content, Writer};

/// A change of one key.
#[derive(Debug)]
pub(crate) struct Change {
    /// Checked to be one; or the reason why it is none, which is then the answer.
    pub(crate) key: Result<String>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Put {
        bytes: Payload,
        options: PutOptions,
    },
    /// Publishes a temporary file that is written and still open.
    Publish {
        file: Written,
        options: PutOptions,
    },
    Delete {
        expected: Option<Version>,
    },
    Rename {
        to: Result<String>,
    },
}

/// A temporary file that is written and still open; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Written {
    dir: Arc<Dir>,
    temp: CString,
    file: Option<OwnedFd>,
    /// Set if it cannot be removed.
    stuck: Arc<AtomicBool>,
}

impl Written {
    pub(crate) fn new(writer: &Writer, dir: &Arc<Dir>, temp: CString, file: OwnedFd) -> Written {
        Written { dir: Arc::clone(dir), temp, file: Some(file), stuck: writer.stuck() }
    }

    /// The file beside something that is needed to publish it; where that is not to be had, it stays for another try.
    pub(super) fn with<T>(mut self, needed: Result<T>) -> Result<(T, Written)> {
        match needed {
            Ok(needed) => Ok((needed, self)),
            Err(error) => {
                self.file = None;
                Err(error.with_content_kept())
            }
        }
    }

    /// Its directory, its name, and itself: whoever takes it also removes it.
    pub(super) fn take(mut self) -> (Arc<Dir>, CString, Option<OwnedFd>) {
        (Arc::clone(&self.dir), std::mem::take(&mut self.temp), self.file.take())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Refused before anything was done with it.
        if self.file.take().is_some() && unlinkat(self.dir.fd(), &*self.temp, UnlinkatFlags::NoRemoveDir).is_err() {
            self.stuck.store(true, Ordering::Release);
        }
    }
}

impl Change {
    pub(crate) fn put(key: &str, bytes: impl Into<Payload>, options: PutOptions) -> Change {
        Change { key: check(key), what: What::Put { bytes: bytes.into(), options } }
    }

    pub(crate) fn delete(key: &str, expected: Option<Version>) -> Change {
        Change { key: check(key), what: What::Delete { expected } }
    }

    pub(crate) fn rename(from: &str, to: &str) -> Change {
        Change { key: check(from), what: What::Rename { to: check(to) } }
    }

    /// What it takes of the queue: content, and names.
    pub(crate) fn load(&self) -> Load {
        let len = |key: &Result<String>| key.as_ref().map_or(0, String::len);
        let to = if let What::Rename { to } = &self.what { len(to) } else { 0 };
        Load { files: 1, bytes: self.content_len() + len(&self.key) + to }
    }

    /// Whether it gives a key new content, and so a version.
    pub(super) fn is_put(&self) -> bool {
        matches!(self.what, What::Put { .. } | What::Publish { .. })
    }

    /// The bytes that it puts.
    pub(super) fn content_len(&self) -> usize {
        match &self.what {
            What::Put { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

fn check(key: &str) -> Result<String> {
    Key::parse(key).map(|key| key.as_str().to_owned())
}

/// Changes that are handed in together: groups in order, each durable before the next becomes visible.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) groups: Vec<Vec<Change>>,
    pub(crate) since: Instant,
}

impl Unit {
    pub(crate) fn one(change: Change) -> Unit {
        Unit::of(vec![vec![change]])
    }

    pub(crate) fn of(groups: Vec<Vec<Change>>) -> Unit {
        Unit { groups, since: Instant::now() }
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    pub(crate) fn load(&self) -> Load {
        self.groups.iter().flatten().map(Change::load).fold(Load::default(), Load::saturating_add)
    }
}

impl Core {
    /// Makes a change by the strict plan, on the caller's thread.
    pub(super) fn make_alone(&self, change: Change) -> Answer {
        let key = change.key?;
        let key = Key::parse(&key)?;
        let (name, writer) = (key.name(), &self.writer);
        match change.what {
            What::Put { bytes, options } => {
                self.supports(options)?;
                self.again_if_moved(&[&key], || {
                    let dir = self.directory(&key, options)?;
                    let (stamp, sync) = (self.version()?, self.file_sync(&dir));
                    let content = Content { bytes: bytes.clone(), options, stamp: Some(stamp), sync };
                    self.count_file(sync);
                    writer.put(&dir, &name, &content)?;
                    Ok(Applied::Put(stamp))
                })
            }
            What::Publish { file, options } => {
                let (stamp, file) = file.with(self.version())?;
                let (dir, temp, file) = file.take();
                let sync = self.file_sync(&dir);
                self.count_file(sync);
                writer.complete(&dir, &name, &temp, file, Plan::commit(options, Some(stamp), sync))?;
                Ok(Applied::Put(stamp))
            }
            What::Delete { expected } => self.again_if_moved(&[&key], || {
                self.keeps(expected)?;
                let dir = self.find(&key).map_err(|error| explain_missing(error, expected))?;
                self.recorder.directories.add(1);
                writer
                    .delete(&dir, &name, Plan::delete(expected))
                    .map_err(|error| explain_delete(error, &dir, &key))?;
                Ok(Applied::Deleted)
            }),
            What::Rename { to } => {
                let to = to?;
                let to = Key::parse(&to)?;
                self.again_if_moved(&[&key, &to], || {
                    let source = self.find(&key)?;
                    look(&source, &key)?;
                    let dir = self.ensure(&to)?;
                    // A rename of a directory would succeed, and move every key in it.
                    look(&source, &key)?;
                    let between = !Arc::ptr_eq(&source, &dir);
                    self.recorder.directories.add(1 + usize::from(between));
                    writer.rename((source, name.clone()), &dir, &to.name(), Plan::rename(between))?;
                    Ok(Applied::Renamed)
                })
            }
        }
    }

    pub(super) fn count_file(&self, sync: FileSync) {
        match sync {
            FileSync::Fsync => self.recorder.files.add(1),
            FileSync::Range => self.recorder.ranges.add(1),
        }
        self.recorder.directories.add(1);
    }

    pub(crate) fn supports(&self, options: PutOptions) -> Result<()> {
        let expected = if let Existing::Match(version) = options.existing { Some(version) } else { None };
        self.keeps(expected)
    }

    /// Nothing can be compared where versions are not kept.
    pub(super) fn keeps(&self, expected: Option<Version>) -> Result<()> {
        if expected.is_some() && !self.versions.are_kept {
            return Err(Error::new(ErrorKind::UnsupportedVersion, Step::Compare, self.dirs.root().path()));
        }
        Ok(())
    }
}

/// A key whose directory is missing has not the version that is expected, nor has any other.
pub(super) fn has_no_version(error: Error) -> Error {
    if error.is_not_found() { Error::from_errno(Errno::ESTALE, Step::Compare, error.path()) } else { error }
}

/// The same for what may expect none.
pub(super) fn explain_missing(error: Error, expected: Option<Version>) -> Error {
    if expected.is_some() { has_no_version(error) } else { error }
}

/// What POSIX says of the unlink of a directory, and macOS too, is EPERM; Linux says EISDIR at once.
pub(super) fn explain_delete(error: Error, dir: &Dir, key: &Key<'_>) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => look(dir, key).err().unwrap_or(error),
        _ => error,
    }
}

/// That there is something under a key, and that it is no directory.
pub(super) fn look(dir: &Dir, key: &Key<'_>) -> Result<()> {
    let name = key.name();
    let fail = |errno| Error::from_errno(errno, Step::OpenFile, dir.path_of(&name));
    match fstatat(dir.fd(), &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
            Err(fail(Errno::EISDIR))
        }
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) => Err(fail(Errno::ENOENT).with_kind(dir.not_found())),
        Err(errno) => Err(fail(errno)),
    }
}
