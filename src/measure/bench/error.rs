//! Why nothing was measured.

use std::io;
use std::path::PathBuf;

use super::turn::Subject;

/// Why a run has failed. What it made is removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The path is a file, or a device: only directories are measured, so nothing can be overwritten.
    #[error("{path:?} is not a directory; name one on the disk that is to be measured")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory cannot be written.
    #[error("cannot work in {path:?}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filesystem has too little room.
    #[error("{path:?} has {} MiB free, and {} MiB are needed", .free >> 20, (.needed >> 20) + 1)]
    TooLittleRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that may be needed at once.
        needed: u64,
    },
    /// An operation failed.
    #[error("{series}: {why}")]
    Failed {
        /// What was being measured.
        series: String,
        /// Why it failed.
        why: String,
    },
}

impl BenchError {
    pub(super) fn failed(subject: &dyn Subject, why: String) -> BenchError {
        let series = subject.series().pop().map_or_else(String::new, |(name, _)| name);
        BenchError::Failed { series, why }
    }
}
