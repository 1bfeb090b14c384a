//! A plan being executed: what comes next, given what became of the calls so far.

use std::collections::VecDeque;
use std::ops::Range;

use nix::errno::Errno;

use crate::plan::{Call, Plan, Stage, split, stage_is_safe, writes};
use crate::report::{Fate, Report, is_failed_sync, unwritten};

/// Hands out stages, takes what became of them, decides what is next.
#[derive(Debug)]
pub(crate) struct Run {
    stages: VecDeque<Stage>,
    clears_names: bool,
    log: Vec<(Call, Fate)>,
}

impl Run {
    pub(crate) fn new(plan: Plan) -> Run {
        debug_assert!(plan.stages.iter().all(|stage| stage_is_safe(stage)), "{plan:?}");
        Run { stages: plan.stages, clears_names: plan.clears_names, log: Vec::new() }
    }

    /// A run of a plan that may be wrong.
    #[cfg(test)]
    pub(crate) fn unchecked(plan: Plan) -> Run {
        Run { stages: plan.stages, clears_names: plan.clears_names, log: Vec::new() }
    }

    /// The calls to run now, in order; `None` when the plan is finished or has failed.
    pub(crate) fn next_stage(&mut self) -> Option<Stage> {
        self.stages.pop_front()
    }

    /// Takes what became of the calls of `stage`, one fate a call.
    pub(crate) fn record(&mut self, stage: Stage, fates: Vec<Fate>) {
        debug_assert_eq!(stage.len(), fates.len());
        let mut outcomes = stage.into_iter().zip(fates).collect::<VecDeque<_>>();
        while let Some((call, fate)) = outcomes.pop_front() {
            let visible =
                outcomes.iter().any(|(call, fate)| call.is_visible() && matches!(fate, Fate::Done(_) | Fate::Lost));
            match (unwritten(&call, &fate), fate) {
                // A rename behind a write that is not whole: the chain did not hold. Say so, whatever the write says.
                (Some(_), _) if visible => self.log.push((call, Fate::Failed(Errno::EIO))),
                (Some(rest), fate) => {
                    self.log.push((call, fate));
                    return self.finish_write(rest, outcomes.into_iter().map(|(call, _)| call));
                }
                (None, Fate::Done(0)) if matches!(&call, Call::Write { range, .. } if !range.is_empty()) => {
                    // A file that takes no more bytes and gives no reason.
                    self.log.push((call, Fate::Failed(Errno::EIO)));
                }
                (None, fate @ Fate::Done(_)) => {
                    self.log.push((call, fate));
                    continue;
                }
                (None, Fate::Failed(Errno::EINVAL)) if call == Call::REFUSE && !outcomes.iter().any(is_failed_sync) => {
                    // This filesystem, or this system, has no rename that refuses to replace; a link refuses.
                    self.log.push((call, Fate::Failed(Errno::EINVAL)));
                    self.stages = [vec![Call::PublishByLink], vec![Call::SyncDir], vec![Call::RemoveTemp]].into();
                    return;
                }
                (None, Fate::Failed(errno)) if self.may_clear_name(&call, errno, &outcomes) => {
                    self.log.push((call.clone(), Fate::Failed(errno)));
                    let again = [call.clone()].into_iter().chain(outcomes.into_iter().map(|(call, _)| call)).collect();
                    self.stages.push_front(again);
                    return self.stages.push_front(vec![call.clear_name()]);
                }
                (None, fate) => self.log.push((call, fate)),
            }
            // A failure ends the plan. What ran behind it is kept: a rename that happened is never forgotten.
            self.log.extend(outcomes);
            return self.stages.clear();
        }
    }

    /// Whether a directory took the name, which goes if it is empty. Tried once; and not after a failed sync of a directory,
    /// which must not be repeated.
    fn may_clear_name(&self, call: &Call, errno: Errno, behind: &VecDeque<(Call, Fate)>) -> bool {
        self.clears_names
            && call.meets_directory(errno)
            && !behind.iter().any(is_failed_sync)
            && !self.log.iter().any(|(call, _)| matches!(call, Call::ClearName { .. }))
    }

    /// Puts what is left of a stage whose write was cut short in front of the remaining stages, taken apart so that
    /// an explicit fsync covers every byte before anything is renamed.
    fn finish_write(&mut self, rest: Range<usize>, behind: impl Iterator<Item = Call>) {
        let mut calls: Vec<Call> = writes(rest).collect();
        let mut published = Vec::new();
        let is_sync = |call: &Call| matches!(call, Call::SyncFile | Call::SyncRange);
        for call in behind {
            match call {
                Call::CloseFile if !calls.iter().any(is_sync) => calls.extend([Call::SyncFile, Call::CloseFile]),
                Call::Publish { .. } | Call::SyncDir => published.push(call),
                other => calls.push(other),
            }
        }
        if !published.is_empty() {
            self.stages.push_front(published);
        }
        for stage in split(calls).into_iter().rev() {
            self.stages.push_front(stage);
        }
    }

    pub(crate) fn finish(self) -> Report {
        Report::of(self.log)
    }
}

/// What an engine needs that hands jobs to another thread, which can be lost.
#[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
impl Run {
    /// The same, if `can` says that the caller can run it.
    pub(crate) fn next_stage_if(&mut self, can: impl Fn(&Stage) -> bool) -> Option<Stage> {
        if self.stages.front().is_some_and(can) { self.stages.pop_front() } else { None }
    }

    /// Whether the file is closed in `stage`, or in one that comes before any that `stops`.
    pub(crate) fn closes_before(&self, stops: impl Fn(&Stage) -> bool, stage: &Stage) -> bool {
        let closes = |stage: &Stage| stage.contains(&Call::CloseFile);
        closes(stage) || self.stages.iter().take_while(|stage| !stops(stage)).any(closes)
    }

    /// Gives back a stage of which nothing ran.
    pub(crate) fn put_back(&mut self, stage: Stage) {
        self.stages.push_front(stage);
    }

    /// Ends a run whose engine was lost before the plan was finished: nothing more will be submitted.
    pub(crate) fn abandon(mut self) -> Report {
        if let Some(call) = self.next_stage().and_then(|stage| stage.into_iter().next()) {
            self.log.push((call, Fate::Skipped));
        }
        self.finish()
    }
}
