//! Changes as callers hand them in.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::load::Load;
use crate::engine::Payload;
use crate::error::Result;
use crate::fs::{Dir, Key};
use crate::protocol::{Owner, PutOptions, Version};

/// A change of one key.
#[derive(Debug)]
pub(crate) struct Change {
    /// The validated key, or the validation error to return.
    pub(crate) key: Result<String>,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Put {
        bytes: Payload,
        options: PutOptions,
    },
    /// A put that a log holds: with the version, mode and owner that its file had.
    Restore {
        bytes: Payload,
        options: PutOptions,
        version: Version,
        owner: Owner,
    },
    /// Publishes a temporary file that is written and still open.
    Publish {
        file: WrittenFile,
        options: PutOptions,
    },
    Delete {
        expected: Option<Version>,
    },
    Rename {
        to: Result<String>,
    },
}

/// A temporary file that is written and still open. Its writer removes it if the change fails.
#[derive(Debug)]
pub(crate) struct WrittenFile {
    pub(crate) dir: Arc<Dir>,
    pub(crate) temp: CString,
    pub(crate) file: OwnedFd,
}

impl Change {
    pub(crate) fn put(key: &str, bytes: impl Into<Payload>, options: PutOptions) -> Change {
        Change { key: check(key), action: Action::Put { bytes: bytes.into(), options } }
    }

    pub(crate) fn delete(key: &str, expected: Option<Version>) -> Change {
        Change { key: check(key), action: Action::Delete { expected } }
    }

    pub(crate) fn rename(from: &str, to: &str) -> Change {
        Change { key: check(from), action: Action::Rename { to: check(to) } }
    }

    /// How much of the queue's limit it takes: content and names.
    pub(crate) fn load(&self) -> Load {
        let len = |key: &Result<String>| key.as_ref().map_or(0, String::len);
        let to = if let Action::Rename { to } = &self.action { len(to) } else { 0 };
        Load { files: 1, bytes: self.content_len() + len(&self.key) + to }
    }

    /// Whether it writes new content, which gets a new version.
    pub(super) fn is_put(&self) -> bool {
        matches!(self.action, Action::Put { .. } | Action::Publish { .. })
    }

    /// The length of the new content in bytes.
    pub(super) fn content_len(&self) -> usize {
        match &self.action {
            Action::Put { bytes, .. } | Action::Restore { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

fn check(key: &str) -> Result<String> {
    Key::parse(key).map(|key| key.as_str().to_owned())
}

/// Changes that a caller hands in together: groups in order, each durable before the next becomes visible.
#[derive(Debug)]
pub(crate) struct ChangeGroups {
    pub(crate) groups: Vec<Vec<Change>>,
    pub(crate) since: Instant,
}

impl ChangeGroups {
    pub(crate) fn one(change: Change) -> ChangeGroups {
        ChangeGroups::of(vec![vec![change]])
    }

    pub(crate) fn of(groups: Vec<Vec<Change>>) -> ChangeGroups {
        ChangeGroups { groups, since: Instant::now() }
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    pub(crate) fn load(&self) -> Load {
        self.groups.iter().flatten().map(Change::load).fold(Load::default(), Load::saturating_add)
    }
}
