//! The steps of an operation, in the words of an error message.

use std::fmt;

/// A step of an operation, in the words of an error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Checking a key or a path.
    Check,
    /// Starting the engine that does the I/O.
    StartEngine,
    /// Opening a directory.
    OpenDir,
    /// Creating a directory.
    CreateDir,
    /// Taking the lock of a store.
    Lock,
    /// Removing what an earlier writer left behind.
    Sweep,
    /// Opening the intent log.
    OpenLog,
    /// Reading the intent log.
    ReadLog,
    /// Writing a record or a superblock of the intent log.
    WriteLog,
    /// Opening a file to read it.
    OpenFile,
    /// Reading a file.
    Read,
    /// Reading a directory.
    List,
    /// Creating the temporary file.
    CreateTemp,
    /// Setting the owner and the group of the temporary file.
    SetOwner,
    /// Setting the extended attributes of the temporary file.
    SetAttributes,
    /// Setting the mode of the temporary file.
    SetMode,
    /// Writing the temporary file.
    Write,
    /// Setting the version (the time of modification) of the temporary file.
    Stamp,
    /// Syncing the temporary file.
    SyncFile,
    /// Syncing the filesystem that holds the temporary file.
    SyncFilesystem,
    /// Closing the temporary file.
    Close,
    /// Comparing the version of the target.
    Compare,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Unlink,
    /// Syncing a directory.
    SyncDir,
    /// Removing the temporary file.
    RemoveTemp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Check => "check",
            Step::StartEngine => "start of the engine",
            Step::OpenDir => "open of the directory",
            Step::CreateDir => "creation of the directory",
            Step::Lock => "lock",
            Step::Sweep => "sweep of stale temporary files",
            Step::OpenLog => "open of the log",
            Step::ReadLog => "read of the log",
            Step::WriteLog => "write of the log",
            Step::OpenFile => "open",
            Step::Read => "read",
            Step::List => "listing",
            Step::CreateTemp => "creation of the temporary file",
            Step::SetOwner => "fchown of the temporary file",
            Step::SetAttributes => "fsetxattr of the temporary file",
            Step::SetMode => "fchmod of the temporary file",
            Step::Write => "write of the temporary file",
            Step::Stamp => "futimens of the temporary file",
            Step::SyncFile => "fsync of the temporary file",
            Step::SyncFilesystem => "syncfs",
            Step::Close => "close of the temporary file",
            Step::Compare => "comparison of versions",
            Step::Rename => "rename",
            Step::Unlink => "unlink",
            Step::SyncDir => "fsync of the directory",
            Step::RemoveTemp => "removal of the temporary file",
        })
    }
}
