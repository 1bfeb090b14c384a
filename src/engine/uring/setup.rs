//! Building the ring: what it must be able to do, what it may do, and a test of the rule that everything rests on.

use std::fmt;
use std::io;
use std::sync::Arc;

use io_uring::squeue::Flags;
use io_uring::{Builder, IoUring, Probe, opcode, register::Restriction};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::pipe;

use super::refusal::{Refusal, Surroundings};
use super::ring::{Ring, SLOTS, TestRequest};
use crate::protocol::call::STAGE_MAX;

/// Requests that the queue holds: a whole stage of every slot, and the wake-up.
const QUEUE: u32 = (SLOTS as usize * STAGE_MAX * 2).next_power_of_two() as u32;

/// Threads of the kernel that run this ring's blocking requests: opens, syncs and renames all block. The default is
/// four a CPU, which on a small machine is fewer fsyncs at once than filesystems can merge into one journal commit.
const WORKERS: u32 = SLOTS;

/// The requests that this crate makes, and the only ones that the ring is allowed to run.
const OPCODES: [(u8, &str); 8] = [
    (opcode::OpenAt::CODE, "openat"),
    (opcode::Write::CODE, "write"),
    (opcode::Fsync::CODE, "fsync"),
    (opcode::Close::CODE, "close"),
    (opcode::RenameAt::CODE, "renameat"),
    (opcode::UnlinkAt::CODE, "unlinkat"),
    (opcode::Read::CODE, "read"),
    (opcode::Nop::CODE, "nop"),
];

/// What was found out about this kernel's io_uring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Whether the ring is held to [`OPCODES`] (Linux 5.10).
    pub(super) restricted: bool,
    /// Whether a linked request is cancelled when the fsync before it fails. It is not since about Linux 6.0. Nothing
    /// here depends on it; it is told because so many others do.
    pub(super) fsync_breaks_link: bool,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("io_uring works here")?;
        if self.restricted {
            f.write_str(", restricted to the eight kinds of requests that ringbolt makes")?;
        }
        if !self.fsync_breaks_link {
            f.write_str("; this kernel goes on after a failed fsync in a chain, so none is relied on")?;
        }
        Ok(())
    }
}

/// Why there is no ring.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another engine may take over.
    Refused(Refusal),
    /// Something is wrong.
    Error(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match Refusal::of(&error, Surroundings::look()) {
            Some(refusal) => Failure::Refused(refusal),
            None => Failure::Error(error),
        }
    }
}

/// Builds the ring on the thread that will own it.
pub(super) fn build(wake: Arc<EventFd>) -> Result<(Ring, Facts), Failure> {
    let (io, can_disable) = create()?;
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe)?;
    able(io.params().is_feature_linked_file(), |code| probe.is_supported(code)).map_err(Failure::Refused)?;

    io.submitter().register_files(&[-1; SLOTS as usize])?;
    io.submitter().register_iowq_max_workers(&mut [WORKERS, 0])?;
    let restricted = can_disable && restrict(&io);
    if can_disable {
        io.submitter().register_enable_rings()?;
    }

    let mut ring = Ring::new(io, wake);
    let (unwritable, _kept_open) = pipe().map_err(io::Error::from)?;
    let fd = std::os::fd::AsFd::as_fd(&unwritable);
    if !ring.failure_breaks_link(TestRequest::Write, fd)? {
        return Err(Failure::Refused(Refusal::Feature("cancelling of what is linked behind a failed write")));
    }
    let fsync_breaks_link = ring.failure_breaks_link(TestRequest::Fsync, fd)?;
    Ok((ring, Facts { restricted, fsync_breaks_link }))
}

pub(super) fn wake_fd() -> Result<EventFd, Failure> {
    // Blocking on purpose: a read through the ring then waits for a wake-up instead of failing with EAGAIN.
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(|errno| io::Error::from(errno).into())
}

/// The ring with the best flags that this kernel takes, and whether it was created disabled.
///
/// A request that fails at submission must not keep those behind it from being submitted (SUBMIT_ALL, 5.18): they may be
/// other callers'. One thread submits and reaps, so completions need interrupt nobody (COOP_TASKRUN, 5.19; SINGLE_ISSUER, 6.0). Not
/// DEFER_TASKRUN: measured, it bounces a chain through the submitter at every step.
fn create() -> io::Result<(IoUring, bool)> {
    let attempts: [fn(&mut Builder); 5] = [
        |builder| _ = builder.setup_submit_all().setup_coop_taskrun().setup_single_issuer().setup_r_disabled(),
        |builder| _ = builder.setup_submit_all().setup_coop_taskrun().setup_r_disabled(),
        |builder| _ = builder.setup_submit_all().setup_r_disabled(),
        |builder| _ = builder.setup_r_disabled(),
        |_| (),
    ];
    let mut refused = None;
    for (i, attempt) in attempts.iter().enumerate() {
        let mut builder = IoUring::builder();
        attempt(&mut builder);
        match builder.build(QUEUE) {
            Ok(io) => return Ok((io, i < attempts.len() - 1)),
            // A flag that this kernel does not know.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.expect("every attempt was refused"))
}

/// Whether a kernel with these abilities can run our plans.
fn able(linked_file: bool, supports: impl Fn(u8) -> bool) -> Result<(), Refusal> {
    let missing: Vec<&str> = OPCODES.iter().filter(|(code, _)| !supports(*code)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Err(Refusal::Opcodes(missing));
    }
    if !linked_file {
        return Err(Refusal::Feature("links that use a file opened earlier in the chain (IORING_FEAT_LINKED_FILE)"));
    }
    Ok(())
}

/// Holds the ring to the requests that we make, so that whoever gets hold of its descriptor can do no more than we.
/// A kernel before 5.10 knows no restrictions, and the ring works without them.
fn restrict(io: &IoUring) -> bool {
    let mut restrictions: Vec<Restriction> = OPCODES.iter().map(|(code, _)| Restriction::sqe_op(*code)).collect();
    let flags = Flags::IO_LINK | Flags::FIXED_FILE;
    restrictions.push(Restriction::sqe_flags_allowed(flags.bits()));
    io.submitter().register_restrictions(&mut restrictions).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_an_opcode_is_refused_by_name() {
        let without = |missing: u8| able(true, |code| code != missing);
        for (code, name) in OPCODES {
            assert_eq!(without(code), Err(Refusal::Opcodes(vec![name])));
        }
        assert!(able(true, |_| true).is_ok());
        // Linux 5.15: every opcode, but a link cannot use a slot that an earlier one fills.
        assert!(matches!(able(false, |_| true), Err(Refusal::Feature(_))));
        // Linux 5.10 knows no renameat and no unlinkat (5.11).
        let text = able(false, |code| code < opcode::RenameAt::CODE).unwrap_err().to_string();
        assert!(text.contains("renameat, unlinkat"), "{text}");
    }

    #[allow(clippy::print_stderr)]
    /// The fact that decides the protocol's form. If a kernel changes it, this test says so.
    #[test]
    fn a_failed_write_breaks_the_chain_and_a_failed_fsync_does_not() {
        let facts = match build(Arc::new(wake_fd().unwrap())) {
            Ok((_, facts)) => facts,
            Err(Failure::Refused(why)) => return eprintln!("skipped: {why}"),
            Err(Failure::Error(error)) => panic!("{error}"),
        };
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let major: u32 = release.split('.').next().unwrap().parse().unwrap();
        assert!(major < 6 || !facts.fsync_breaks_link, "Linux {release}: a failed fsync now cancels its link");
        assert!(facts.restricted || major < 6);
    }
}
