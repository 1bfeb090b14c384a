//! Changes as callers hand them in.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::unistd::{UnlinkatFlags, unlinkat};

use super::queue::Load;
use crate::engine::payload::Payload;
use crate::error::Result;
use crate::file::writer::Writer;
use crate::fs::dir::Dir;
use crate::fs::key::Key;
use crate::protocol::options::PutOptions;
use crate::protocol::version::Version;

/// A change of one key.
#[derive(Debug)]
pub(crate) struct Change {
    /// The validated key, or the validation error to return.
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
    /// Set when the file cannot be removed.
    stuck: Arc<AtomicBool>,
}

impl Written {
    pub(crate) fn new(writer: &Writer, dir: &Arc<Dir>, temp: CString, file: OwnedFd) -> Written {
        Written { dir: Arc::clone(dir), temp, file: Some(file), stuck: writer.stuck() }
    }

    /// The file together with something that is needed to publish it. If that is an error, the file stays for another try.
    pub(super) fn with<T>(mut self, needed: Result<T>) -> Result<(T, Written)> {
        match needed {
            Ok(needed) => Ok((needed, self)),
            Err(error) => {
                self.file = None;
                Err(error.with_content_kept())
            }
        }
    }

    /// The directory, the name and the open file. The caller becomes responsible for removing it.
    pub(super) fn take(mut self) -> (Arc<Dir>, CString, Option<OwnedFd>) {
        (Arc::clone(&self.dir), std::mem::take(&mut self.temp), self.file.take())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // The change was refused before the file was used.
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

    /// How much of the queue's limit it takes: content and names.
    pub(crate) fn load(&self) -> Load {
        let len = |key: &Result<String>| key.as_ref().map_or(0, String::len);
        let to = if let What::Rename { to } = &self.what { len(to) } else { 0 };
        Load { files: 1, bytes: self.content_len() + len(&self.key) + to }
    }

    /// Whether it writes new content, which gets a version.
    pub(super) fn is_put(&self) -> bool {
        matches!(self.what, What::Put { .. } | What::Publish { .. })
    }

    /// The length of the new content in bytes.
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

/// Changes that a caller hands in together: groups in order, each durable before the next becomes visible.
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
        self.groups.iter().flatten().map(Change::load).fold(Load::default(), Load::plus)
    }
}
