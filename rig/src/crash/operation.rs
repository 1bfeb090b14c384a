//! The kinds of operations that are tested, and the barriers that matter for each.

use std::fmt;

use ringbolt::Barrier;

/// A kind of operation to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `ringbolt::write` of new files, existing files, and files in new directories.
    Write,
    /// Creating a store, and the first put.
    Open,
    /// Puts by a single caller: as for `Write`, and create-only, with an expected version, and in pieces.
    Put,
    /// Deletes.
    Delete,
    /// Renames within a directory and between two, to new and existing names.
    Rename,
    /// Keys that replace emptied directories, and new keys in such directories.
    Emptied,
    /// Batches of all of these.
    Batch,
    /// Batches with ordered groups: files, then the manifest that names them.
    Groups,
    /// Puts by four threads.
    Crowd,
    /// Changes of `keys.json`.
    Sidecar,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 10] = [
        Operation::Write,
        Operation::Open,
        Operation::Put,
        Operation::Delete,
        Operation::Rename,
        Operation::Emptied,
        Operation::Batch,
        Operation::Groups,
        Operation::Crowd,
        Operation::Sidecar,
    ];

    /// The barriers that matter for this operation.
    pub fn barriers(self) -> &'static [Barrier] {
        match self {
            Operation::Batch | Operation::Groups | Operation::Crowd => {
                &[Barrier::PerFile, Barrier::Filesystem, Barrier::Journal, Barrier::IntentLog]
            }
            Operation::Put => &[Barrier::PerFile, Barrier::Journal, Barrier::IntentLog],
            Operation::Delete | Operation::Rename | Operation::Emptied => &[Barrier::PerFile, Barrier::IntentLog],
            Operation::Write | Operation::Open | Operation::Sidecar => &[Barrier::PerFile],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Operation::Write => "write",
            Operation::Open => "open",
            Operation::Put => "put",
            Operation::Delete => "delete",
            Operation::Rename => "rename",
            Operation::Emptied => "emptied directory",
            Operation::Batch => "batch",
            Operation::Groups => "ordered groups",
            Operation::Crowd => "4 writers",
            Operation::Sidecar => "sidecar",
        })
    }
}
