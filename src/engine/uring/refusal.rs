//! Why io_uring cannot be used here, and what to change.

use std::fmt;
use std::fs;
use std::io;

use nix::errno::Errno;

/// A reason for which another engine may take over. Any other failure is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `kernel.io_uring_disabled` is 1 or 2.
    Sysctl(u8),
    /// EPERM or ENOSYS, under a seccomp filter.
    Seccomp,
    /// EPERM without a filter: a security module, most likely.
    Permission,
    /// ENOSYS without a filter: Linux before 5.1, or a kernel built without it.
    NoSuchCall,
    /// ENOMEM: until Linux 5.12 a ring counted against the limit of locked memory.
    Memory,
    /// EMFILE: no descriptor left for the ring.
    Descriptors,
    /// Opcodes that this kernel does not have.
    Opcodes(Vec<&'static str>),
    /// A feature that this kernel's rings do not have.
    Feature(&'static str),
}

/// The state of the system that explains a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// `kernel.io_uring_disabled`, since Linux 6.6.
    pub(super) disabled: Option<u8>,
    /// Whether a seccomp filter is in force for this thread.
    pub(super) filtered: bool,
    /// Whether this thread has CAP_SYS_ADMIN.
    pub(super) admin: bool,
}

/// From capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

impl Surroundings {
    pub(super) fn look() -> Surroundings {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        Surroundings {
            admin: capabilities & 1 << CAP_SYS_ADMIN != 0,
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            filtered: field("Seccomp:").is_some_and(|mode| mode != "0"),
        }
    }
}

impl Refusal {
    /// Classifies an error of `io_uring_setup` or of a registration; `None` if it is not a refusal.
    pub(super) fn of(error: &io::Error, surroundings: Surroundings) -> Option<Refusal> {
        match (Errno::from_raw(error.raw_os_error()?), surroundings) {
            (Errno::EPERM, Surroundings { disabled: Some(level @ 2..), .. })
            | (Errno::EPERM, Surroundings { disabled: Some(level @ 1), admin: false, .. }) => {
                Some(Refusal::Sysctl(level))
            }
            (Errno::EPERM | Errno::ENOSYS, Surroundings { filtered: true, .. }) => Some(Refusal::Seccomp),
            (Errno::EPERM, _) => Some(Refusal::Permission),
            (Errno::ENOSYS, _) => Some(Refusal::NoSuchCall),
            (Errno::ENOMEM, _) => Some(Refusal::Memory),
            (Errno::EMFILE, _) => Some(Refusal::Descriptors),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Sysctl(1) => f.write_str(
                "io_uring is refused by kernel.io_uring_disabled=1: run with CAP_SYS_ADMIN or in the group \
                 kernel.io_uring_group, or set it to 0",
            ),
            Refusal::Sysctl(level) => {
                write!(f, "io_uring is refused by kernel.io_uring_disabled={level}: set it to 0 to allow it")
            }
            Refusal::Seccomp => f.write_str(
                "io_uring is refused by this container's seccomp profile: allow io_uring_setup, io_uring_enter and \
                 io_uring_register in it",
            ),
            Refusal::Permission => f.write_str(
                "io_uring is refused (EPERM) by a security policy of this system: see the audit log of SELinux or AppArmor",
            ),
            Refusal::NoSuchCall => f.write_str("this kernel has no io_uring: Linux 5.17 or later is needed"),
            Refusal::Memory => f.write_str(
                "not enough memory for an io_uring: before Linux 5.12, raise the limit on locked memory \
                 (ulimit -l)",
            ),
            Refusal::Descriptors => {
                f.write_str("no file descriptor is left for an io_uring: raise the limit (ulimit -n)")
            }
            Refusal::Opcodes(missing) => {
                write!(f, "this kernel's io_uring lacks {}: Linux 5.17 or later is needed", missing.join(", "))
            }
            Refusal::Feature(missing) => {
                write!(f, "this kernel's io_uring lacks {missing}: Linux 5.17 or later is needed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Surroundings = Surroundings { disabled: Some(0), filtered: false, admin: false };

    #[test]
    fn each_refusal_is_recognized() {
        let of = |errno: Errno, surroundings| Refusal::of(&errno.into(), surroundings);
        let filtered = Surroundings { filtered: true, ..OPEN };
        assert_eq!(of(Errno::EPERM, Surroundings { disabled: Some(2), ..OPEN }), Some(Refusal::Sysctl(2)));
        assert_eq!(of(Errno::EPERM, Surroundings { disabled: Some(1), ..filtered }), Some(Refusal::Sysctl(1)));
        assert_eq!(
            of(Errno::EPERM, Surroundings { disabled: Some(1), admin: true, ..filtered }),
            Some(Refusal::Seccomp)
        );
        assert_eq!(of(Errno::EPERM, filtered), Some(Refusal::Seccomp));
        assert_eq!(of(Errno::ENOSYS, filtered), Some(Refusal::Seccomp));
        assert_eq!(of(Errno::EPERM, OPEN), Some(Refusal::Permission));
        assert_eq!(of(Errno::ENOSYS, Surroundings { disabled: None, ..OPEN }), Some(Refusal::NoSuchCall));
        assert_eq!(of(Errno::ENOMEM, OPEN), Some(Refusal::Memory));
        assert_eq!(of(Errno::EMFILE, OPEN), Some(Refusal::Descriptors));
    }

    #[test]
    fn other_errors_are_not_refusals() {
        for errno in [Errno::EINVAL, Errno::EFAULT, Errno::EIO, Errno::ENFILE, Errno::EACCES] {
            assert_eq!(Refusal::of(&errno.into(), OPEN), None, "{errno}");
        }
        assert_eq!(Refusal::of(&io::Error::other("no errno"), OPEN), None);
    }
}
