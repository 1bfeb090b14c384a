//! The results of the calls of a plan, and what they mean for the target.

use std::ops::Range;

use nix::errno::Errno;

use super::call::{Call, Existing};
use crate::error::Step;

/// The result of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It succeeded; a write wrote this many bytes.
    Done(usize),
    Failed(Errno),
    /// It did not run, because a call before it failed.
    Skipped,
    /// The engine was lost while the call was in flight: it may have run or not.
    Lost,
}

/// The results, call by call, in the order of the plan.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(super) log: Vec<(Call, Fate)>,
    /// How many syncs of directories among them were made once for several changes.
    pub(super) shared_dir_syncs: usize,
}

/// Numbers of sync calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyncsMade {
    pub(crate) files: usize,
    pub(crate) ranges: usize,
    pub(crate) directories: usize,
}

/// What a report means for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Durable,
    /// The target has not changed. `temp_left`: a temporary file may exist.
    Unchanged {
        step: Step,
        errno: Errno,
        temp_left: bool,
    },
    /// The change is or may be visible; it is unknown whether it is durable.
    Unknown {
        step: Step,
        errno: Errno,
    },
}

impl Report {
    /// The report of an engine that is gone: nobody knows what ran.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    pub(super) fn lost() -> Report {
        Report { log: vec![(Call::Publish { existing: Existing::Replace }, Fate::Lost)], shared_dir_syncs: 0 }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let visible =
            self.log.iter().any(|(call, fate)| call.is_visible() && matches!(fate, Fate::Done(_) | Fate::Lost));
        let cleared = self.log.iter().position(|(call, _)| matches!(call, Call::ClearName { .. }));
        let by_link = self.log.iter().any(|(call, _)| *call == Call::PublishByLink);
        let failed = self.log.iter().enumerate().find_map(|(at, (call, fate))| match fate {
            Fate::Done(_) => None,
            Fate::Failed(errno) if call.may_fail(*errno) => None,
            // Superseded: retried after the empty directory was removed, or that removal failed and its error is reported.
            Fate::Failed(errno) if call.meets_directory(*errno) && cleared.is_some_and(|cleared| at < cleared) => None,
            // The rest of the write was tried again.
            Fate::Failed(_) if unwritten(call, fate).is_some() => None,
            Fate::Failed(Errno::EINVAL) if *call == Call::REFUSE && by_link => None,
            // A second name of a published file does no harm, and the next sweep removes it.
            Fate::Failed(_) if *call == Call::RemoveTemp && visible => None,
            Fate::Failed(errno) => Some((call.step(), *errno)),
            Fate::Skipped | Fate::Lost => Some((call.step(), Errno::ECANCELED)),
        });
        let Some((step, errno)) = failed else { return Verdict::Durable };
        // After an ambiguous error, the presence of the temporary file tells whether its rename happened. Links, moves and unlinks
        // leave no such evidence.
        let asked_in_vain = self.log.iter().any(|(call, fate)| {
            let silent = matches!(call, Call::PublishByLink | Call::Move | Call::Unlink);
            silent && matches!(fate, Fate::Failed(errno) if is_ambiguous(*errno))
        });
        // A record that may be durable is rolled forward by the next open.
        let recorded = self.log.iter().any(|(call, fate)| *call == Call::LogChange && *fate != Fate::Skipped);
        if visible || asked_in_vain || recorded {
            return Verdict::Unknown { step, errno };
        }
        let created = self.log.iter().find(|(call, _)| matches!(call, Call::CreateTemp { .. }));
        let temp_left = match created {
            Some((_, Fate::Failed(errno))) => !certainly_not_created(*errno),
            Some((_, Fate::Skipped)) => false,
            _ => true,
        };
        Verdict::Unchanged { step, errno, temp_left }
    }

    /// How many syncs were made for this change alone, successfully or not.
    pub(crate) fn syncs_made(&self) -> SyncsMade {
        let mut made = SyncsMade::default();
        for (call, _) in self.log.iter().filter(|(_, fate)| *fate != Fate::Skipped) {
            match call {
                Call::SyncFile => made.files += 1,
                Call::SyncRange => made.ranges += 1,
                Call::SyncDir | Call::SyncSourceDir => made.directories += 1,
                _ => {}
            }
        }
        made.directories -= self.shared_dir_syncs;
        made
    }

    /// The result of the first of these calls.
    pub(crate) fn fate_of(&self, wanted: &Call) -> Fate {
        self.log.iter().find(|(call, _)| call == wanted).map_or(Fate::Lost, |(_, fate)| fate.clone())
    }

    /// Whether a directory sync failed, whatever else failed: the kernel does not report that error again.
    #[cfg(test)]
    pub(crate) fn dir_sync_failed(&self) -> bool {
        self.log.iter().any(is_failed_sync)
    }

    /// Whether a temporary name stays behind a file that was published by a link.
    pub(crate) fn left_temp(&self) -> bool {
        self.log.iter().any(|(call, fate)| *call == Call::RemoveTemp && !matches!(fate, Fate::Done(_)))
    }

    /// Whether the filesystem refused `RWF_SYNC`, so that the next plan for it should not ask again.
    pub(crate) fn sync_write_refused(&self) -> bool {
        self.log.iter().any(|(call, fate)| {
            matches!(call, Call::Write { sync: true, .. }) && *fate == Fate::Failed(Errno::EOPNOTSUPP)
        })
    }
}

/// After one of these errors it is unknown whether a name was changed.
pub(crate) fn is_ambiguous(errno: Errno) -> bool {
    matches!(errno, Errno::EIO | Errno::EINTR | Errno::ETIMEDOUT)
}

/// An open that failed for one of these reasons has created nothing. After any other error the file may exist: a ring, for one,
/// can fail to install the descriptor of a file that it has just created.
pub(crate) fn certainly_not_created(errno: Errno) -> bool {
    use Errno::*;
    [EEXIST, ENOENT, ENOTDIR, EACCES, EPERM, EROFS, ENOSPC, EDQUOT, ENAMETOOLONG, ELOOP, EMFILE, ENFILE]
        .contains(&errno)
}

pub(super) fn is_failed_sync((call, fate): &(Call, Fate)) -> bool {
    call.is_dir_sync() && matches!(fate, Fate::Failed(_))
}

/// The rest of a write that is worth continuing: it was short or interrupted, or the filesystem refused `RWF_SYNC` and needs a
/// plain write with an fsync.
pub(super) fn unwritten(call: &Call, fate: &Fate) -> Option<Range<usize>> {
    let Call::Write { range, sync } = call else { return None };
    match fate {
        Fate::Done(n) if *n > 0 && *n < range.len() => Some(range.start + n..range.end),
        Fate::Failed(Errno::EINTR) => Some(range.clone()),
        Fate::Failed(Errno::EOPNOTSUPP) if *sync => Some(range.clone()),
        _ => None,
    }
}
