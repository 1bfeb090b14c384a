//! A plan that is being executed: which calls come next, given the results of those before.

use std::collections::VecDeque;
use std::ops::Range;

use nix::errno::Errno;

use super::call::{Call, Phase, stage_is_safe};
use super::plan::{Plan, Stage, stages, writes};
use super::report::{Fate, Report, is_failed_sync, unwritten};

/// Hands out calls, takes their results, and decides what comes next.
///
/// An engine takes whole stages with [`next_stage`](Run::next_stage) and [`record`](Run::record), or one call at a time with
/// [`next_call`](Run::next_call) and [`complete`](Run::complete). It gets no call of a phase that is not allowed yet: so the plan
/// of a change that is made alone runs to its end at once, and the same plan in a batch stops where the batch shares a call.
#[derive(Debug)]
pub(crate) struct Run {
    stages: VecDeque<Stage>,
    /// The stage that is run call by call, and the results so far.
    begun: Option<(Stage, Vec<Fate>)>,
    /// The last phase that may run.
    until: Phase,
    clears_names: bool,
    report: Report,
}

impl Run {
    pub(crate) fn new(plan: Plan) -> Run {
        debug_assert!(plan.stages.iter().all(|stage| stage_is_safe(stage)), "{plan:?}");
        Run::unchecked(plan)
    }

    /// A run of a plan that may be wrong.
    pub(crate) fn unchecked(plan: Plan) -> Run {
        let Plan { stages, clears_names } = plan;
        Run { stages, begun: None, until: Phase::SyncDirs, clears_names, report: Report::default() }
    }

    /// A run that was lost with its engine: nobody knows what it did.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    pub(crate) fn lost() -> Run {
        Run { report: Report::lost(), ..Run::unchecked(Plan::empty()) }
    }

    /// Lets the calls of this phase run, and those of every phase before it.
    pub(crate) fn allow(&mut self, until: Phase) {
        self.until = until;
    }

    /// Whether no call is left: the plan is finished, or has failed.
    pub(crate) fn is_over(&self) -> bool {
        self.stages.is_empty() && self.begun.is_none()
    }

    /// The next call, whether it is allowed yet or not.
    pub(crate) fn front(&self) -> Option<&Call> {
        self.stages.front().and_then(|stage| stage.first())
    }

    /// Whether this call is still to come.
    pub(crate) fn will(&self, call: &Call) -> bool {
        self.stages.iter().flatten().any(|next| next == call)
    }

    /// What has happened so far.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// The calls to run now, in order; `None` when none is left that may run.
    pub(crate) fn next_stage(&mut self) -> Option<Stage> {
        let count = self.allowed_stage().len();
        let stage = self.stages.front_mut()?;
        if count == 0 {
            return None;
        }
        let rest = stage.split_off(count);
        let stage = std::mem::take(stage);
        self.stages.pop_front();
        if !rest.is_empty() {
            self.stages.push_front(rest);
        }
        Some(stage)
    }

    /// What [`next_stage`](Run::next_stage) would return, empty for `None`. A call may run if its phase is allowed, or that of
    /// any call behind it.
    pub(crate) fn allowed_stage(&self) -> &[Call] {
        let Some(front) = self.stages.front() else { return &[] };
        let mut allowed = 0;
        let mut at = 0;
        for call in self.stages.iter().flatten() {
            at += 1;
            if call.phase() <= self.until {
                allowed = at;
            }
        }
        &front[..front.len().min(allowed)]
    }

    /// The next call to run by itself; `None` when none is left that may run.
    pub(crate) fn next_call(&mut self) -> Option<Call> {
        if self.begun.is_none() {
            let stage = self.next_stage()?;
            let fates = Vec::with_capacity(stage.len());
            self.begun = Some((stage, fates));
        }
        let (stage, fates) = self.begun.as_ref()?;
        stage.get(fates.len()).cloned()
    }

    /// Takes the result of the call that [`next_call`](Run::next_call) returned. The rest of its stage is skipped if it failed.
    pub(crate) fn complete(&mut self, fate: Fate) {
        let Some((stage, mut fates)) = self.begun.take() else { return };
        let is_whole = match (&stage[fates.len()], &fate) {
            (Call::Write { range, .. }, Fate::Done(written)) => *written >= range.len(),
            (_, Fate::Done(_)) => true,
            (_, Fate::Failed(_) | Fate::Skipped | Fate::Lost) => false,
        };
        fates.push(fate);
        if is_whole && fates.len() < stage.len() {
            self.begun = Some((stage, fates));
            return;
        }
        fates.resize(stage.len(), Fate::Skipped);
        self.record(stage, fates);
    }

    /// Whether the last stage is complete: no call of it is left for [`next_call`](Run::next_call).
    pub(crate) fn is_between_stages(&self) -> bool {
        self.begun.is_none()
    }

    /// Takes the result of the next call, which was made once for several changes, or which the commit does not need.
    pub(crate) fn share(&mut self, fate: Fate) {
        let until = std::mem::replace(&mut self.until, Phase::SyncDirs);
        let call = self.next_stage().map(|mut stage| {
            let rest = stage.split_off(1);
            if !rest.is_empty() {
                self.stages.push_front(rest);
            }
            stage
        });
        self.until = until;
        if let Some(call) = call {
            debug_assert!(call[0].is_shared() || call[0] == Call::SyncPresent, "{call:?}");
            self.report.shared_dir_syncs += usize::from(call[0] == Call::SyncDir && fate != Fate::Skipped);
            self.record(call, vec![fate]);
        }
    }

    /// Takes the results of the calls of `stage`, one for each.
    pub(crate) fn record(&mut self, stage: Stage, fates: Vec<Fate>) {
        debug_assert_eq!(stage.len(), fates.len());
        let mut outcomes = stage.into_iter().zip(fates).collect::<VecDeque<_>>();
        while let Some((call, fate)) = outcomes.pop_front() {
            let visible =
                outcomes.iter().any(|(call, fate)| call.is_visible() && matches!(fate, Fate::Done(_) | Fate::Lost));
            match (unwritten(&call, &fate), fate) {
                // The rename ran although the write was incomplete: the kernel broke the chain. Report EIO, whatever the write returned.
                (Some(_), _) if visible => self.report.log.push((call, Fate::Failed(Errno::EIO))),
                (Some(rest), fate) => {
                    self.report.log.push((call, fate));
                    return self.finish_write(rest, outcomes.into_iter().map(|(call, _)| call));
                }
                (None, Fate::Done(0)) if matches!(&call, Call::Write { range, .. } if !range.is_empty()) => {
                    // A file that takes no more bytes and gives no reason.
                    self.report.log.push((call, Fate::Failed(Errno::EIO)));
                }
                (None, fate @ Fate::Done(_)) => {
                    self.report.log.push((call, fate));
                    continue;
                }
                (None, Fate::Failed(errno)) if call.may_fail(errno) => {
                    self.report.log.push((call, Fate::Failed(errno)));
                    debug_assert!(outcomes.is_empty(), "a write-out comes last in its stage");
                    if !self.will(&Call::SyncFile) {
                        // The barrier expects the data to be written out: sync the file instead.
                        self.stages.push_front(vec![Call::SyncFile]);
                    }
                    continue;
                }
                (None, Fate::Failed(Errno::EINVAL)) if call == Call::REFUSE && !outcomes.iter().any(is_failed_sync) => {
                    // This filesystem, or this system, has no rename that refuses to replace. A link refuses.
                    self.report.log.push((call, Fate::Failed(Errno::EINVAL)));
                    self.stages = [vec![Call::PublishByLink], vec![Call::SyncDir], vec![Call::RemoveTemp]].into();
                    return;
                }
                (None, Fate::Failed(errno)) if self.may_clear_name(&call, errno, &outcomes) => {
                    self.report.log.push((call.clone(), Fate::Failed(errno)));
                    let again = [call.clone()].into_iter().chain(outcomes.into_iter().map(|(call, _)| call)).collect();
                    self.stages.push_front(again);
                    return self.stages.push_front(vec![call.clear_name()]);
                }
                (None, fate) => self.report.log.push((call, fate)),
            }
            // A failure ends the plan. What ran behind it is kept: a rename that happened is never forgotten.
            self.report.log.extend(outcomes);
            return self.stages.clear();
        }
    }

    /// Whether an empty directory may be in the way of this call. Removal is attempted at most
    /// once, and never after a failed sync of a directory: a retry would repeat that sync.
    fn may_clear_name(&self, call: &Call, errno: Errno, behind: &VecDeque<(Call, Fate)>) -> bool {
        self.clears_names
            && call.meets_directory(errno)
            && !behind.iter().any(is_failed_sync)
            && !self.report.log.iter().any(|(call, _)| matches!(call, Call::ClearName { .. }))
    }

    /// Puts the rest of a stage whose write was cut short in front of the remaining stages. An explicit fsync then covers every
    /// byte before anything is renamed.
    fn finish_write(&mut self, rest: Range<usize>, behind: impl Iterator<Item = Call>) {
        let mut calls: Vec<Call> = writes(rest).collect();
        for call in behind {
            if call == Call::CloseFile && !calls.iter().any(|call| matches!(call, Call::SyncFile | Call::SyncRange)) {
                calls.push(Call::SyncFile);
            }
            calls.push(call);
        }
        for stage in stages(calls).into_iter().rev() {
            self.stages.push_front(stage);
        }
    }
}

/// For an engine that hands jobs to another thread, which can be lost.
#[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
impl Run {
    /// [`next_stage`](Run::next_stage), if `can` says that the engine can run it.
    pub(crate) fn next_stage_if(&mut self, can: impl Fn(&[Call]) -> bool) -> Option<Stage> {
        if can(self.allowed_stage()) { self.next_stage() } else { None }
    }

    /// Whether the file is closed in the next stage, or in an allowed stage before any that `stops`.
    pub(crate) fn closes_before(&self, stops: impl Fn(&[Call]) -> bool) -> bool {
        let next = self.allowed_stage();
        let is_whole = |stage: &&Stage| stage.iter().all(|call| call.phase() <= self.until) && !stops(stage);
        let behind = self.stages.iter().skip(1).take_while(is_whole);
        next.contains(&Call::CloseFile) || behind.flatten().any(|call| *call == Call::CloseFile)
    }

    /// Ends the run of an engine that was lost: nothing more is submitted.
    pub(crate) fn abandon(&mut self) {
        if let Some(call) = self.front().cloned() {
            self.report.log.push((call, Fate::Skipped));
        }
        self.stages.clear();
    }
}
