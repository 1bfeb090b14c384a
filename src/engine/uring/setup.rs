//! Builds the kernel's ring: checks its features, restricts it, and tests that a failed write cancels what is linked
//! behind it. Every plan relies on that.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::Flags;
use io_uring::{Builder, IoUring, Probe, opcode, register::Restriction};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::pipe;

use super::refusal::{Refusal, Surroundings};
use super::request::Request;
use super::ring::{Kernel, Queues, SLOTS, WriteRing};
use crate::protocol::call::STAGE_MAX;

/// The size of the submission queue: a whole stage for every slot, and the wake-up.
const QUEUE: u32 = (SLOTS as usize * STAGE_MAX * 2).next_power_of_two() as u32;

/// Kernel threads that run this ring's blocking requests: opens, syncs and renames all block. The default is four a CPU.
/// On a small machine that is fewer concurrent fsyncs than filesystems can merge into one journal commit.
const WORKERS: u32 = SLOTS;

/// The opcodes that this crate uses. The ring is not allowed to run any other.
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

/// What the self-test found out about this kernel's io_uring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Whether the ring is restricted to [`OPCODES`] (Linux 5.10).
    pub(super) restricted: bool,
    /// Whether a failed fsync cancels the request linked behind it. It does not since about Linux 6.0. The protocol
    /// does not need it to: it is reported because many programs do.
    pub(super) fsync_breaks_link: bool,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("io_uring works here")?;
        if self.restricted {
            f.write_str(", restricted to the eight opcodes that ringbolt uses")?;
        }
        if !self.fsync_breaks_link {
            f.write_str("; a failed fsync does not cancel the requests linked behind it here, and ringbolt does not rely on that")?;
        }
        Ok(())
    }
}

/// Why the ring was not built.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another engine may take over.
    Refused(Refusal),
    /// An error that another engine must not hide.
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

/// Builds the ring. The thread that calls this must be the one that uses it (SINGLE_ISSUER).
pub(super) fn build() -> Result<(Kernel, Facts), Failure> {
    let (io, can_disable) = create()?;
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe)?;
    check_features(io.params().is_feature_linked_file(), |code| probe.is_supported(code)).map_err(Failure::Refused)?;

    io.submitter().register_files(&[-1; SLOTS as usize])?;
    io.submitter().register_iowq_max_workers(&mut [WORKERS, 0])?;
    let restricted = can_disable && restrict(&io);
    if can_disable {
        io.submitter().register_enable_rings()?;
    }

    let mut kernel = Kernel::new(io);
    let (unwritable, _kept_open) = pipe().map_err(io::Error::from)?;
    if !failure_breaks_link(&mut kernel, Request::write_byte(unwritable.as_raw_fd()))? {
        return Err(Failure::Refused(Refusal::Feature("the cancellation of requests linked behind a failed write")));
    }
    let fsync_breaks_link = failure_breaks_link(&mut kernel, Request::fsync(unwritable.as_raw_fd()))?;
    Ok((kernel, Facts { restricted, fsync_breaks_link }))
}

/// Builds a ring that can write, and do nothing else. Any thread may use it.
pub(super) fn build_writer(flags: i32) -> Result<WriteRing, Failure> {
    let attempts: [fn(&mut Builder); 3] = [
        |builder| _ = builder.setup_coop_taskrun().setup_r_disabled(),
        |builder| _ = builder.setup_r_disabled(),
        |_| (),
    ];
    let (io, can_disable) = build_first(&attempts, 1)?;
    if can_disable {
        // Linux 5.10 restricts a ring; it works without.
        let _ = io.submitter().register_restrictions(&mut [Restriction::sqe_op(opcode::Write::CODE)]);
        io.submitter().register_enable_rings()?;
    }
    Ok(WriteRing::new(io, flags))
}

/// Whether the failure of `first`, which must fail, cancels a request linked behind it. Nothing else is in flight.
fn failure_breaks_link(kernel: &mut Kernel, first: Request) -> io::Result<bool> {
    kernel.push(vec![first.tagged(0), Request::nop().tagged(1)]);
    let mut results = [None; 2];
    while results.contains(&None) {
        if !kernel.enter(1)?.is_empty() {
            return Err(io::Error::other("the kernel took a part of a chain only"));
        }
        for (tag, result) in kernel.reap() {
            results[tag as usize] = Some(result);
        }
    }
    if results[0].is_some_and(|result| result >= 0) {
        return Err(io::Error::other("a request that must fail succeeded"));
    }
    Ok(results[1] == Some(-(Errno::ECANCELED as i32)))
}

pub(super) fn wake_fd() -> Result<EventFd, Failure> {
    // Blocking, so that a read through the ring waits for a wake-up instead of failing with EAGAIN.
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(|errno| io::Error::from(errno).into())
}

/// Creates a ring with the best flags that this kernel takes. Also returns whether the ring is created disabled.
///
/// SUBMIT_ALL (5.18): a request that fails at submission must not keep those behind it from being submitted; they may
/// belong to other callers. COOP_TASKRUN (5.19) and SINGLE_ISSUER (6.0): one thread submits and reaps, so completions need
/// not interrupt it. Not DEFER_TASKRUN: it measured slower, because a chain returns to the submitter at every step.
fn create() -> io::Result<(IoUring, bool)> {
    let attempts: [fn(&mut Builder); 5] = [
        |builder| _ = builder.setup_submit_all().setup_coop_taskrun().setup_single_issuer().setup_r_disabled(),
        |builder| _ = builder.setup_submit_all().setup_coop_taskrun().setup_r_disabled(),
        |builder| _ = builder.setup_submit_all().setup_r_disabled(),
        |builder| _ = builder.setup_r_disabled(),
        |_| (),
    ];
    build_first(&attempts, QUEUE)
}

/// Builds a ring with the first of these settings that the kernel knows. Also returns whether it was not the last.
fn build_first(attempts: &[fn(&mut Builder)], entries: u32) -> io::Result<(IoUring, bool)> {
    let mut refused = None;
    for (i, attempt) in attempts.iter().enumerate() {
        let mut builder = IoUring::builder();
        attempt(&mut builder);
        match builder.build(entries) {
            Ok(io) => return Ok((io, i < attempts.len() - 1)),
            // The kernel does not know one of the flags.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.expect("every attempt was refused"))
}

/// Checks that a kernel with these features can run our plans.
fn check_features(linked_file: bool, supports: impl Fn(u8) -> bool) -> Result<(), Refusal> {
    let missing: Vec<&str> = OPCODES.iter().filter(|(code, _)| !supports(*code)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Err(Refusal::Opcodes(missing));
    }
    if !linked_file {
        return Err(Refusal::Feature("links that use a file opened earlier in the chain (IORING_FEAT_LINKED_FILE)"));
    }
    Ok(())
}

/// Restricts the ring to the opcodes that we use, so that code which gets hold of its descriptor can do no more. Returns
/// false before Linux 5.10, which has no restrictions; the ring works without them.
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
        let without = |missing: u8| check_features(true, |code| code != missing);
        for (code, name) in OPCODES {
            assert_eq!(without(code), Err(Refusal::Opcodes(vec![name])));
        }
        assert!(check_features(true, |_| true).is_ok());
        // Linux 5.15 has every opcode, but a request cannot use a slot that an earlier one in its chain fills.
        assert!(matches!(check_features(false, |_| true), Err(Refusal::Feature(_))));
        // Linux 5.10 has neither renameat nor unlinkat (5.11).
        let text = check_features(false, |code| code < opcode::RenameAt::CODE).unwrap_err().to_string();
        assert!(text.contains("renameat, unlinkat"), "{text}");
    }

    /// Why the protocol is as it is: it links a rename behind a write, and never behind an fsync. If a kernel changes this, the
    /// test fails.
    #[allow(clippy::print_stderr)]
    #[test]
    fn a_failed_write_breaks_the_chain_and_a_failed_fsync_does_not() {
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let major: u32 = release.split('.').next().unwrap().parse().unwrap();
        let facts = match build() {
            Ok((_, facts)) => facts,
            Err(Failure::Refused(why @ Refusal::Feature(_))) if major >= 6 => panic!("{why}"),
            Err(Failure::Refused(why)) => return eprintln!("skipped: {why}"),
            Err(Failure::Error(error)) => panic!("{error}"),
        };
        assert!(major < 6 || !facts.fsync_breaks_link, "Linux {release}: a failed fsync now cancels its link");
        assert!(facts.restricted || major < 6);
    }
}
