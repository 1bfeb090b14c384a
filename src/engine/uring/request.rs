//! The request that each call is, for a ring.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use nix::libc;

use crate::engine::payload::Payload;
use crate::engine::{Job, calls};
use crate::protocol::{Call, Existing};

/// Whether every call of the stage is a request that this ring makes. The rest are plain calls on the caller's thread:
/// there is no request for `fchown`, `fchmod`, `futimens` or `syncfs`, and a link or the removal of a temporary file is too rare to be
/// worth one. Nor is there one for a write of several chunks, which would need a list of them that outlives it.
pub(super) fn has_request(stage: &[Call], content: &Payload) -> bool {
    !stage.is_empty()
        && stage.iter().all(|call| match call {
            Call::Write { .. } => content.contiguous().is_some(),
            Call::CreateTemp { .. } | Call::SyncFile | Call::CloseFile => true,
            Call::Publish { .. } | Call::Move | Call::Unlink | Call::SyncDir | Call::SyncSourceDir => true,
            Call::SetOwner(_) | Call::SetAttributes => false,
            Call::SetMode { .. } | Call::Stamp { .. } | Call::StartSync | Call::WriteOut | Call::SyncRange => false,
            Call::Compare { .. } | Call::CheckSource => false,
            Call::SyncFilesystem | Call::PublishByLink | Call::ClearName { .. } | Call::RemoveTemp => false,
        })
}

/// The request for a call. Its pointers lead into `job`.
pub(super) fn request(call: &Call, job: &Job, slot: u32) -> Entry {
    let dir = types::Fd(job.dir.fd().as_raw_fd());
    let file = job.file.as_ref().map(|file| types::Fd(file.as_fd().as_raw_fd()));
    match call {
        Call::CreateTemp { mode } => {
            let slot = types::DestinationSlot::try_from_slot_target(slot).expect("a small number");
            // No O_CLOEXEC: a slot of the file table is no descriptor, and the kernel refuses the flag for one.
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
                // What must match has been compared before.
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
    }
}
