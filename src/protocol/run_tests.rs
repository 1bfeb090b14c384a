use nix::errno::Errno;

use super::plan_tests::{KIB, MEDIA, all_plans, done, replace, simulate};
use super::*;
use crate::error::Step;

/// A directory sync that fails behind a failed rename has consumed an error: it is reported, and no link is tried.
#[test]
fn a_failed_directory_sync_is_never_forgotten() {
    for errno in [Errno::EEXIST, Errno::EINVAL] {
        let mut run = Run::new(replace(KIB, None, Existing::Refuse, true));
        let stage = run.next_stage().unwrap();
        let mut fates: Vec<Fate> = stage.iter().map(done).collect();
        fates[3] = Fate::Failed(errno);
        fates[4] = Fate::Failed(Errno::EIO);
        run.record(stage, fates);
        assert_eq!(run.next_stage(), None);
        let report = run.report();
        assert!(report.dir_sync_failed());
        assert_eq!(report.verdict(), Verdict::Unchanged { step: Step::Rename, errno, temp_left: true });
    }
}

/// If a kernel breaks its own rules, what became visible is still reported, whatever failed before.
#[test]
fn a_rename_behind_a_failure_is_never_forgotten() {
    for fate in [Fate::Failed(Errno::EIO), Fate::Done(1)] {
        let mut run = Run::new(replace(KIB, None, Existing::Replace, true));
        let stage = run.next_stage().unwrap();
        let zero = Fate::Done(0);
        run.record(stage, vec![zero.clone(), fate, zero.clone(), zero.clone(), zero]);
        assert_eq!(run.next_stage(), None);
        assert_eq!(run.report().verdict(), Verdict::Unknown { step: Step::Write, errno: Errno::EIO });
    }
}

#[test]
fn a_lost_engine_means_unknown_and_an_unstarted_one_unchanged() {
    assert!(matches!(Run::lost().report().verdict(), Verdict::Unknown { .. }));
    let mut run = Run::new(replace(KIB, None, Existing::Replace, false));
    let (step, errno) = (Step::CreateTemp, Errno::ECANCELED);
    let mut abandoned = Run::new(replace(KIB, None, Existing::Replace, false));
    abandoned.abandon();
    assert_eq!(abandoned.report().verdict(), Verdict::Unchanged { step, errno, temp_left: false });
    let stage = run.next_stage().unwrap();
    let fates = stage.iter().map(done).collect();
    run.record(stage, fates);
    let (step, temp_left) = (Step::Rename, true);
    run.abandon();
    assert_eq!(run.report().verdict(), Verdict::Unchanged { step, errno, temp_left });
}

/// A batch makes the calls of a plan in the same order as a lone change, and changes no name before every file is durable.
#[test]
fn phase_by_phase_a_plan_makes_the_same_calls() {
    const PHASES: [Phase; 6] =
        [Phase::Write, Phase::WriteOut, Phase::Harden, Phase::Barrier, Phase::Publish, Phase::SyncDirs];
    for plan in all_plans() {
        let (mut run, mut ran) = (Run::new(plan.clone()), Vec::new());
        for phase in PHASES {
            run.allow(phase);
            while let Some(call) = run.next_call() {
                run.complete(done(&call));
                assert!(phase >= Phase::Publish || !(call.is_visible() || call.is_dir_sync()), "{call:?} in {phase:?}");
                ran.push(call);
            }
            let waits = run.front().is_some_and(|next| next.phase() <= phase);
            assert!(!waits, "{plan:?} stopped in {phase:?}");
        }
        assert!(run.is_over());
        assert_eq!(ran.iter().collect::<Vec<_>>(), plan.calls().collect::<Vec<_>>());
    }
}

/// A rename between directories waits for no other change: both directories are synced before the next name changes.
#[test]
fn a_rename_between_directories_is_durable_when_it_is_published() {
    let mut run = Run::new(Plan::rename(true, Names::Synced));
    run.allow(Phase::Publish);
    while let Some(call) = run.next_call() {
        run.complete(done(&call));
    }
    assert!(run.is_over());
    assert_eq!(run.report().syncs_made().directories, 2);
}

/// Writing out before an fsync only saves time; writing out instead of an fsync is what durability depends on.
#[test]
fn only_an_advisory_write_out_may_be_refused() {
    let options = PutOptions { mode: None, existing: Existing::Replace };
    for medium in MEDIA.into_iter().filter(|medium| medium.names != Names::Logged) {
        for errno in [Errno::ENOSYS, Errno::EPERM] {
            let plan = Plan::replace(Replace { len: KIB, options, stamp: None, medium, one_chain: false });
            let needs_it = plan.calls().any(|call| *call == Call::SyncRange);
            let (made, verdict) = simulate(plan, |call| match call {
                Call::WriteOut | Call::SyncRange => Fate::Failed(errno),
                call => done(call),
            });
            assert_eq!(verdict != Verdict::Durable, needs_it, "{medium:?} {errno}");
            assert_eq!(made.contains(&Call::SyncFile), !needs_it, "{medium:?} {errno}");
        }
    }
}

/// A call that was made once for several changes counts for none of them. If it failed, all of them fail.
#[test]
fn a_shared_call_has_one_result_for_all() {
    for (fate, durable) in [(Fate::Done(0), true), (Fate::Failed(Errno::EIO), false)] {
        let mut run = Run::new(Plan::delete(None, Names::Synced));
        run.allow(Phase::Publish);
        while let Some(call) = run.next_call() {
            run.complete(done(&call));
        }
        run.share(fate);
        assert!(run.is_over());
        assert_eq!(run.report().syncs_made().directories, 0);
        assert_eq!(run.report().verdict() == Verdict::Durable, durable);
    }
}
