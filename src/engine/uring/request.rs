//! The requests that the ring makes, and which calls they stand for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::AtomicU64;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};
// nix has neither RWF_SYNC nor, except for glibc, RENAME_NOREPLACE.
use nix::libc;

use super::ring::Kept;
use crate::engine::{Job, Payload, calls};
use crate::fs::buffer::AlignedBuffer;
use crate::protocol::{Call, Existing};

/// Whether the ring has a request for every call of the stage. All other calls are plain ones on the caller's thread:
/// there is no request for `fchown`, `fchmod`, `futimens` or `syncfs`, and a link or the removal of a temporary file is
/// too rare to be worth one. A write of several chunks has none either: it would need a list of them that outlives it.
pub(super) fn has_request(stage: &[Call], content: &Payload) -> bool {
    !stage.is_empty()
        && stage.iter().all(|call| match call {
            Call::Write { .. } => content.contiguous().is_some(),
            Call::CreateTemp { .. } | Call::SyncFile | Call::CloseFile => true,
            Call::Publish { .. } | Call::Move | Call::Unlink | Call::SyncDir | Call::SyncSourceDir => true,
            Call::SetOwner(_) | Call::SetAttributes => false,
            Call::SetMode { .. } | Call::Stamp { .. } | Call::StartSync | Call::WriteOut | Call::SyncRange => false,
            Call::Compare { .. } | Call::CheckSource | Call::Describe | Call::Admit(_) => false,
            Call::SyncPresent | Call::LogFileRules | Call::LogChange => false,
            Call::SyncFilesystem | Call::PublishByLink | Call::ClearName { .. } | Call::RemoveTemp => false,
        })
}

/// A request to push. It points only into a static or into the [`Kept`] value that it was made from.
///
/// The unsafe code in `ring.rs` relies on this, so the constructors in this file are the only ones.
pub(super) struct Request(Entry);

impl Request {
    /// The request for a call. It points into `job`.
    pub(super) fn of(call: &Call, job: &Kept<'_, Job>, slot: u32) -> Request {
        let dir = types::Fd(job.dir.fd().as_raw_fd());
        let file = job.file.as_ref().map(|file| types::Fd(file.as_fd().as_raw_fd()));
        Request(match call {
            Call::CreateTemp { mode } => {
                let slot = types::DestinationSlot::try_from_slot_target(slot).expect("a small number");
                // No O_CLOEXEC: the kernel refuses it for a slot of the file table, which is not a descriptor.
                let flags = calls::TEMP_FLAGS.bits();
                opcode::OpenAt::new(dir, job.temp.as_ptr()).flags(flags).mode(*mode).file_index(Some(slot)).build()
            }
            Call::Write { range, sync } => {
                let data = &job.bytes.contiguous().expect("has_request says so")[range.clone()];
                let (data, len, offset) = (data.as_ptr(), data.len() as u32, range.start as u64);
                let flags = if *sync { libc::RWF_SYNC } else { 0 };
                match file {
                    Some(file) => opcode::Write::new(file, data, len).offset(offset).rw_flags(flags).build(),
                    None => opcode::Write::new(types::Fixed(slot), data, len).offset(offset).rw_flags(flags).build(),
                }
            }
            Call::SyncFile => match file {
                Some(file) => opcode::Fsync::new(file).build(),
                None => opcode::Fsync::new(types::Fixed(slot)).build(),
            },
            Call::CloseFile => match file {
                Some(file) => opcode::Close::new(file).build(),
                None => opcode::Close::new(types::Fixed(slot)).build(),
            },
            Call::Publish { existing } => {
                let flags = match existing {
                    // A version to match was compared before.
                    Existing::Replace | Existing::Match(_) => 0,
                    Existing::Refuse => libc::RENAME_NOREPLACE,
                };
                opcode::RenameAt::new(dir, job.temp.as_ptr(), dir, job.name.as_ptr()).flags(flags).build()
            }
            Call::Move => {
                let (source, name) = job.source.as_ref().expect("a move has a source");
                let source = types::Fd(source.fd().as_raw_fd());
                opcode::RenameAt::new(source, name.as_ptr(), dir, job.name.as_ptr()).build()
            }
            Call::Unlink => opcode::UnlinkAt::new(dir, job.name.as_ptr()).build(),
            Call::SyncDir => opcode::Fsync::new(dir).build(),
            Call::SyncSourceDir => {
                let (source, _) = job.source.as_ref().expect("a move has a source");
                opcode::Fsync::new(types::Fd(source.fd().as_raw_fd())).build()
            }
            _ => unreachable!("has_request says so"),
        })
    }

    pub(super) fn nop() -> Request {
        Request(opcode::Nop::new().build())
    }

    /// A write of one byte, which fails if `fd` is not open for writing.
    pub(super) fn write_byte(fd: RawFd) -> Request {
        static BYTE: [u8; 1] = [0];
        Request(opcode::Write::new(types::Fd(fd), BYTE.as_ptr(), 1).build())
    }

    pub(super) fn fsync(fd: RawFd) -> Request {
        Request(opcode::Fsync::new(types::Fd(fd)).build())
    }

    /// A write of the first `len` bytes at `offset` with these flags of `pwritev2`.
    pub(super) fn write_at(
        file: BorrowedFd<'_>,
        bytes: &Kept<'_, AlignedBuffer>,
        len: usize,
        offset: u64,
        flags: i32,
    ) -> Request {
        let bytes = &bytes[..len];
        let len = u32::try_from(len).expect("a record is shorter");
        let write = opcode::Write::new(types::Fd(file.as_raw_fd()), bytes.as_ptr(), len);
        Request(write.offset(offset).rw_flags(flags).build())
    }

    /// A read of an event descriptor into `count`.
    pub(super) fn read_event(fd: BorrowedFd<'_>, count: &Kept<'_, AtomicU64>) -> Request {
        Request(opcode::Read::new(types::Fd(fd.as_raw_fd()), count.as_ptr().cast(), 8).build())
    }

    /// The same request with this user data.
    pub(super) fn tagged(self, tag: u64) -> Request {
        Request(self.0.user_data(tag))
    }

    pub(super) fn into_entry(self, flags: Flags) -> Entry {
        self.0.flags(flags)
    }
}
