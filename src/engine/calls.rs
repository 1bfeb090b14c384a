//! The calls of a plan as plain system calls.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, fchown};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens};
use nix::sys::uio::pwritev;
use nix::unistd::{AccessFlags, UnlinkatFlags, close, faccessat, linkat, unlinkat};

use super::Job;
use crate::fs::scan::file_type;
use crate::fs::{empty_dirs, sys};
use crate::protocol::{Call, Condition, Existing, Fate, Owner, Version};

/// The flags for creating a temporary file: it must not exist, and symbolic links are not followed.
pub(super) const TEMP_FLAGS: OFlag =
    OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW);

/// Makes one call.
pub(super) fn run(call: &Call, job: &mut Job) -> Fate {
    let result = match call {
        // A failed open is not a failed sync: it does not close the store.
        Call::SyncPresent => match present(job) {
            Ok(files) => sync_present(job, files),
            Err(errno) => return Fate::Failed(errno),
        },
        call => make(call, job),
    };
    job.watch(call, result.is_err());
    match result {
        Ok(n) => Fate::Done(n),
        Err(errno) => Fate::Failed(errno),
    }
}

fn make(call: &Call, job: &mut Job) -> nix::Result<usize> {
    match call {
        Call::CreateTemp { mode } => {
            job.file = Some(create(job, *mode)?);
            Ok(0)
        }
        Call::SetOwner(owner) => set_owner(job, *owner),
        Call::SetAttributes => set_attributes(job),
        Call::SetMode { mode } => fchmod(file(job)?, Mode::from_bits_truncate(*mode as _)).map(|()| 0),
        // Only a chain has a synced write; plans for plain calls have an fsync.
        Call::Write { sync: true, .. } => Err(Errno::EOPNOTSUPP),
        Call::Write { range, sync: false } => write(job, range.clone()),
        Call::Stamp { version } => {
            let time = version.to_time();
            futimens(file(job)?, &time, &time).map(|()| 0)
        }
        Call::StartSync => sys::start_sync(file(job)?).map(|()| 0),
        Call::SyncFile => sys::sync_file(file(job)?).map(|()| 0),
        Call::WriteOut | Call::SyncRange => sys::sync_range(file(job)?).map(|()| 0),
        Call::SyncFilesystem => sys::sync_filesystem(job.dir.fd()).map(|()| 0),
        Call::CloseFile => close_file(job.file.take().ok_or(Errno::EBADF)?),
        Call::Describe => {
            let stat = fstat(file(job)?)?;
            job.described = Some((stat.st_mode as u32 & 0o7777, Owner { uid: stat.st_uid, gid: stat.st_gid }));
            Ok(0)
        }
        Call::Admit(condition) => admit(job, *condition),
        // `run` makes the first; a commit makes the others for many changes at once.
        Call::SyncPresent | Call::LogFileRules | Call::LogChange => Err(Errno::EOPNOTSUPP),
        Call::Compare { expected } => compare(job, *expected),
        Call::CheckSource => check_source(job),
        Call::Publish { existing } => rename(job, *existing),
        Call::PublishByLink => linkat(job.dir.fd(), &*job.temp, job.dir.fd(), &*job.name, AtFlags::empty()).map(|()| 0),
        Call::Move => {
            let (source, name) = job.source.as_ref().ok_or(Errno::EBADF)?;
            sys::rename(source.fd(), name, job.dir.fd(), &job.name, Existing::Replace).map(|()| 0)
        }
        Call::Unlink => unlinkat(job.dir.fd(), &*job.name, UnlinkatFlags::NoRemoveDir).map(|()| 0),
        Call::ClearName { existing } => empty_dirs::clear_name(&job.dir, &job.name, *existing).map(|()| 0),
        Call::SyncDir => sys::sync_dir(job.dir.fd()).map(|()| 0),
        Call::SyncSourceDir => sys::sync_dir(job.source.as_ref().ok_or(Errno::EBADF)?.0.fd()).map(|()| 0),
        Call::RemoveTemp => unlinkat(job.dir.fd(), &*job.temp, UnlinkatFlags::NoRemoveDir).map(|()| 0),
    }
}

/// `Errno::ESTALE` unless the name is a file with this version.
fn compare(job: &Job, expected: Version) -> nix::Result<usize> {
    match fstatat(job.dir.fd(), &*job.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if file_type(&stat) != SFlag::S_IFREG => Err(Errno::ESTALE),
        Ok(stat) if Version::of(&stat) == expected => Ok(0),
        Ok(_) | Err(Errno::ENOENT) => Err(Errno::ESTALE),
        Err(errno) => Err(errno),
    }
}

/// Fails as the rename or unlink would that follows, as far as that can be told before.
fn admit(job: &Job, condition: Condition) -> nix::Result<usize> {
    // A temporary file in the directory shows that names may change there.
    let source = job.source.as_ref().map(|(dir, _)| dir);
    let untried = source.map(|_| &job.dir).or(matches!(condition, Condition::Delete(_)).then_some(&job.dir));
    for dir in untried.into_iter().chain(source) {
        faccessat(dir.fd(), ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    }
    let found = match fstatat(job.dir.fd(), &*job.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(errno),
    };
    let is_dir = found.as_ref().is_some_and(|stat| file_type(stat) == SFlag::S_IFDIR);
    match (condition, found) {
        (Condition::Put(Existing::Match(expected)) | Condition::Delete(Some(expected)), found) => {
            let matches = |stat: FileStat| file_type(&stat) == SFlag::S_IFREG && Version::of(&stat) == expected;
            if found.is_some_and(matches) { Ok(0) } else { Err(Errno::ESTALE) }
        }
        (Condition::Put(Existing::Refuse), Some(_)) => Err(Errno::EEXIST),
        (Condition::Put(Existing::Replace) | Condition::Delete(None), Some(_)) if is_dir => Err(Errno::EISDIR),
        (Condition::Delete(None), None) => Err(Errno::ENOENT),
        // A directory that was removed takes no more names.
        (Condition::Put(_), None) if fstat(job.dir.fd())?.st_nlink == 0 => Err(Errno::ENOENT),
        (Condition::Put(_) | Condition::Delete(None), _) => Ok(0),
    }
}

/// The files that have the names of a change now, as far as there are any.
fn present(job: &Job) -> nix::Result<Vec<OwnedFd>> {
    let names = [Some((&job.dir, &job.name)), job.source.as_ref().map(|(dir, name)| (dir, name))];
    let mut files = Vec::new();
    for (dir, name) in names.into_iter().flatten() {
        let open = |access| {
            let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            openat(dir.fd(), &**name, flags, Mode::empty())
        };
        match open(OFlag::O_RDONLY)
            .or_else(|errno| if errno == Errno::EACCES { open(OFlag::O_WRONLY) } else { Err(errno) })
        {
            Ok(file) => files.push(file),
            // Nothing, or something that no put has made.
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(files)
}

/// Syncs these files, then their names.
fn sync_present(job: &Job, files: Vec<OwnedFd>) -> nix::Result<usize> {
    files.iter().try_for_each(sys::sync_file)?;
    sys::sync_dir(job.dir.fd())?;
    job.source.as_ref().map_or(Ok(0), |(dir, _)| sys::sync_dir(dir.fd()).map(|()| 0))
}

/// `Errno::EISDIR` if the source is a directory: a rename would succeed, and move every key in it.
fn check_source(job: &Job) -> nix::Result<usize> {
    let (source, name) = job.source.as_ref().ok_or(Errno::EBADF)?;
    match source.look(name)? {
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        _ => Ok(0),
    }
}

fn rename(job: &Job, existing: Existing) -> nix::Result<usize> {
    sys::rename(job.dir.fd(), &job.temp, job.dir.fd(), &job.name, existing).map(|()| 0)
}

fn set_attributes(job: &Job) -> nix::Result<usize> {
    sys::set_attributes(file(job)?, job.attributes.as_ref().ok_or(Errno::EBADF)?).map(|()| 0)
}

/// Changes only what differs: setting an owner may be refused even if the file has it already.
fn set_owner(job: &Job, owner: Owner) -> nix::Result<usize> {
    let file = file(job)?;
    let found = fstat(file)?;
    let uid = (found.st_uid != owner.uid).then_some(owner.uid);
    let gid = (found.st_gid != owner.gid).then_some(owner.gid);
    if uid.is_some() || gid.is_some() {
        fchown(file, uid, gid).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    }
    Ok(0)
}

fn file(job: &Job) -> nix::Result<std::os::fd::BorrowedFd<'_>> {
    job.file.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
}

fn create(job: &Job, mode: u32) -> nix::Result<OwnedFd> {
    // Not repeated if interrupted: the first attempt may have created the file.
    openat(job.dir.fd(), &*job.temp, TEMP_FLAGS | OFlag::O_CLOEXEC, Mode::from_bits_truncate(mode as _))
}

/// Writes as much of the range as one call takes; a call takes a limited number of chunks.
fn write(job: &mut Job, range: Range<usize>) -> nix::Result<usize> {
    let Some(bytes) = job.bytes.contiguous() else {
        let offset = range.start.try_into().map_err(|_| Errno::EFBIG)?;
        return pwritev(file(job)?, &job.bytes.slices(range), offset);
    };
    let file = File::from(job.file.take().ok_or(Errno::EBADF)?);
    let result = file.write_at(&bytes[range.clone()], range.start as u64);
    job.file = Some(file.into());
    result.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// On Linux the descriptor is closed whatever close returns, and the data was synced before: EINTR does not matter. (close(2))
fn close_file(file: OwnedFd) -> nix::Result<usize> {
    match close(file) {
        Ok(()) | Err(Errno::EINTR) => Ok(0),
        Err(errno) => Err(errno),
    }
}
