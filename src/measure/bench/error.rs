//! Errors of a benchmark run.

use std::io;
use std::path::PathBuf;

use super::turn::Subject;

/// Why a run failed. Its files were removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The path is a file or a device. Only directories are accepted, so that nothing can be overwritten.
    #[error("{path:?} is not a directory; give a directory on the disk to measure")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file operation in the directory failed.
    #[error("cannot use {path:?}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filesystem has too little free space.
    #[error("{path:?} has {} MiB free, but {} MiB are needed", .free >> 20, (.needed >> 20) + 1)]
    TooLittleRoom {
        /// The directory.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// The most bytes needed at one time.
        needed: u64,
    },
    /// An operation failed.
    #[error("{series}: {why}")]
    Failed {
        /// The series being measured.
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
