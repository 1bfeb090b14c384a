//! One question per kind of failure, for `if` and match guards; [`Error::kind`] has them all in one place.

use super::{Error, ErrorKind};

macro_rules! predicates {
    ($($name:ident: $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("Whether the kind is [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(&self) -> bool {
                    self.kind() == ErrorKind::$kind
                }
            )*
        }
    };
}

predicates! {
    is_already_exists: AlreadyExists,
    is_damaged_log: DamagedLog,
    is_directory_not_empty: DirectoryNotEmpty,
    is_directory_removed: DirectoryRemoved,
    is_engine_lost: EngineLost,
    is_engine_unavailable: EngineUnavailable,
    is_file_too_large: FileTooLarge,
    is_forked: Forked,
    is_in_use: InUse,
    is_invalid_key: InvalidKey,
    is_a_directory: IsADirectory,
    is_locked: Locked,
    is_not_a_directory: NotADirectory,
    is_not_a_file: NotAFile,
    is_not_a_store: NotAStore,
    is_not_attempted: NotAttempted,
    is_not_found: NotFound,
    is_permission_denied: PermissionDenied,
    is_poisoned: Poisoned,
    is_read_only: ReadOnly,
    is_recovery_needed: RecoveryNeeded,
    is_storage_full: StorageFull,
    is_symlink: Symlink,
    is_too_many_open_files: TooManyOpenFiles,
    is_unknown_format: UnknownFormat,
    is_unsupported_barrier: UnsupportedBarrier,
    is_unsupported_filesystem: UnsupportedFilesystem,
    is_unsupported_version: UnsupportedVersion,
    is_version_mismatch: VersionMismatch,
}
