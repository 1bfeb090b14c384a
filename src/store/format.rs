//! The format file: what makes a directory a store, and the ceiling of its versions.
//!
//! `.ringbolt/format` is the last file that creating a store writes. Its content names the format. Its modification time is the
//! ceiling: no version above it was ever given, however the session that gave it ended.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat, futimens};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::file::{Content, Writer};
use crate::fs::{Dir, sys};
use crate::protocol::{Medium, PutOptions, Version};

/// The store's own directory in its root.
pub(crate) const OWN: &str = ".ringbolt";

pub(crate) const NAME: &CStr = c"format";

const TEXT: &str = "ringbolt store 1\n";

/// The content while an intent log may hold changes that are not in their files. A version of this crate without logs refuses it.
const TEXT_WITH_LOG: &str = "ringbolt store 2\n";

/// The content of a format file, and the ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    text: String,
    pub(crate) ceiling: Version,
}

impl Format {
    /// The format of a store; `None` if its creation was never completed.
    pub(crate) fn read(own: &Dir) -> Result<Option<Format>> {
        match open(own) {
            Ok(file) => {
                Format::of(file).map(Some).map_err(|error| Error::from_io(error, Step::Read, own.path_of(NAME)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::from_errno(errno, Step::Read, own.path_of(NAME))),
        }
    }

    fn of(file: OwnedFd) -> io::Result<Format> {
        let ceiling = Version::of(&fstat(&file)?);
        let mut bytes = Vec::new();
        File::from(file).take(64).read_to_end(&mut bytes)?;
        Ok(Format { text: String::from_utf8_lossy(&bytes).into_owned(), ceiling })
    }

    /// Whether an intent log may hold changes that are not in their files.
    pub(crate) fn needs_log(&self) -> bool {
        self.text == TEXT_WITH_LOG
    }

    /// Refuses the format of a later version of this crate. `root` is the path in the error.
    pub(crate) fn check(&self, root: &Dir) -> Result<()> {
        if self.text == TEXT || self.needs_log() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::UnknownFormat, Step::Check, root.path()).with_detail(self.text.clone()))
    }
}

/// Writes the file by the protocol.
pub(crate) fn create(writer: &Writer, own: &Arc<Dir>, ceiling: Version) -> Result<()> {
    replace(writer, own, TEXT, ceiling)
}

/// Durably says whether an intent log may hold changes that are not in their files.
pub(crate) fn write(writer: &Writer, own: &Arc<Dir>, needs_log: bool) -> Result<()> {
    match Format::read(own)? {
        Some(format) if format.needs_log() == needs_log => Ok(()),
        Some(format) => replace(writer, own, if needs_log { TEXT_WITH_LOG } else { TEXT }, format.ceiling),
        None => Err(Error::new(ErrorKind::NotAStore, Step::Check, own.path_of(NAME))),
    }
}

fn replace(writer: &Writer, own: &Arc<Dir>, text: &'static str, ceiling: Version) -> Result<()> {
    let bytes = Bytes::from_static(text.as_bytes());
    let content =
        Content { bytes: bytes.into(), options: PutOptions::new(), stamp: Some(ceiling), medium: Medium::FSYNC };
    writer.put(own, NAME, &content)
}

/// Durably raises the ceiling. If the sync fails, it is unknown which ceiling is on the disk, and the store is poisoned.
pub(crate) fn raise(writer: &Writer, own: &Arc<Dir>, ceiling: Version) -> Result<()> {
    let file = open(own).map_err(|errno| Error::from_errno(errno, Step::OpenFile, own.path_of(NAME)))?;
    match writer.stamp(own, NAME, file, ceiling) {
        // Only the owner may set the times of a file. Any user who may write in the directory can replace it.
        Err(error) if error.step() == Step::Stamp && error.is_permission_denied() => {
            let needs_log = Format::read(own)?.is_some_and(|format| format.needs_log());
            replace(writer, own, if needs_log { TEXT_WITH_LOG } else { TEXT }, ceiling)
        }
        result => result,
    }
}

/// Lowers the ceiling to a bound on the versions that were given, at the end of a session. Not synced: a higher ceiling after a
/// power cut does no harm.
pub(crate) fn lower(own: &Dir, bound: Version) {
    // The same holds if this fails.
    let _: nix::Result<()> = open(own).and_then(|file| futimens(&file, &bound.to_time(), &bound.to_time()));
}

/// Checks that `root` is a store, as a reader does. Returns whether the filesystem keeps versions. A reader without permission to
/// read the format file checks only that it exists.
pub(crate) fn look(root: &Dir) -> Result<bool> {
    let path = format!("{OWN}/format");
    let fail = |errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => Error::new(ErrorKind::NotAStore, Step::Check, root.path()),
        errno => Error::from_errno(errno, Step::OpenFile, root.path().join(&path)),
    };
    match sys::open_beneath(root.fd(), &path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Ok(file) => {
            let format =
                Format::of(file).map_err(|error| Error::from_io(error, Step::Read, root.path().join(&path)))?;
            format.check(root)?;
            if format.needs_log() {
                let own = root.open_beneath(OWN).map_err(fail)?;
                super::log::refuse_unrecovered(&own)?;
            }
            Ok(format.ceiling.tells_fine_times())
        }
        Err(Errno::EACCES) => {
            match refuse_hidden_log(root).map(|()| fstatat(root.fd(), &*path, AtFlags::AT_SYMLINK_NOFOLLOW))? {
                Ok(stat) => Ok(Version::of(&stat).tells_fine_times()),
                Err(Errno::EACCES) => Ok(false),
                Err(errno) => Err(fail(errno)),
            }
        }
        Err(errno) => Err(fail(errno)),
    }
}

/// Refuses a store whose files may be incomplete, for a user who may not read the log: one with a log that was not closed in order.
fn refuse_hidden_log(root: &Dir) -> Result<()> {
    let exists = |name: &str| fstatat(root.fd(), &*format!("{OWN}/{name}"), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
    if !exists("log") || exists("clean") {
        return Ok(());
    }
    let hidden = "the store has an intent log that is in use or needs recovery, and this user may not read which";
    Err(Error::from_errno(Errno::EACCES, Step::OpenLog, root.path().join(OWN).join("log")).with_detail(hidden))
}

fn open(own: &Dir) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    openat(own.fd(), NAME, flags, Mode::empty())
}
