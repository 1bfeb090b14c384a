use nix::errno::Errno;

use super::*;
use crate::error::Step;
use crate::protocol::{PutOptions, Version};

pub(super) const KIB: usize = 1024;

pub(super) const MEDIA: [Medium; 7] = [
    Medium::FSYNC,
    Medium::JOURNAL,
    Medium::PER_FILE_BATCH,
    Medium::JOURNAL_BATCH,
    Medium::FILESYSTEM_BATCH,
    Medium::LOGGED,
    Medium::BESIDE_LOG,
];

pub(super) fn replace(len: usize, mode: Option<u32>, existing: Existing, one_chain: bool) -> Plan {
    let options = PutOptions { mode, existing };
    Plan::replace(Replace { len, options, stamp: None, medium: Medium::FSYNC, one_chain })
}

pub(super) fn all_plans() -> Vec<Plan> {
    let version = Version::MIN;
    let mut plans = vec![Plan::remove_temp()];
    for names in [Names::Synced, Names::BesideLog, Names::Logged] {
        plans.extend([false, true].map(|between_dirs| Plan::rename(between_dirs, names)));
    }
    for names in [Names::Synced, Names::BesideLog, Names::Logged] {
        plans.extend([None, Some(version)].map(|expected| Plan::delete(expected, names)));
    }
    for existing in [Existing::Replace, Existing::Refuse, Existing::Match(version)] {
        // Only contents that are in memory are logged.
        for medium in MEDIA.into_iter().filter(|medium| medium.names != Names::Logged) {
            plans.push(Plan::commit(PutOptions { mode: None, existing }, None, medium));
            plans.push(Plan::commit(PutOptions { mode: Some(0o6755), existing }, Some(version), medium));
            let owner = Owner { uid: 1, gid: 2 };
            for mode in [0o640, 0o6755] {
                let options = PutOptions { mode: Some(mode), existing };
                plans.push(Plan::commit_like(options, owner, medium));
                let replace = Replace { len: 0, options, stamp: None, medium, one_chain: true };
                plans.extend([0, KIB, 9 * WRITE_MAX].map(|len| Plan::replace_like(Replace { len, ..replace }, owner)));
            }
        }
        for medium in MEDIA {
            for (len, mode) in [(0, None), (KIB, None), (KIB, Some(0o6755)), (9 * WRITE_MAX, Some(0o640))] {
                for stamp in [None, Some(version)] {
                    let options = PutOptions { mode, existing };
                    plans.push(Plan::replace(Replace { len, options, stamp, medium, one_chain: true }));
                }
            }
        }
        for len in [0, 1, 4 * KIB, WRITE_MAX, WRITE_MAX + 1, 3 * WRITE_MAX, 40 * WRITE_MAX] {
            for (mode, one_chain) in [(None, false), (None, true), (Some(0o644), false), (Some(0o6755), true)] {
                plans.push(replace(len, mode, existing, one_chain));
            }
        }
    }
    plans
}

pub(super) fn is_sync(call: &Call) -> bool {
    matches!(call, Call::SyncFile | Call::SyncRange | Call::SyncFilesystem)
}

pub(super) fn done(call: &Call) -> Fate {
    match call {
        Call::Write { range, .. } => Fate::Done(range.len()),
        _ => Fate::Done(0),
    }
}

/// Runs a plan on a kernel whose results come from `answer`, with io_uring's links: a failed call that does not sever lets the
/// next one run. Returns the calls that ran, and the verdict.
pub(super) fn simulate(plan: Plan, mut answer: impl FnMut(&Call) -> Fate) -> (Vec<Call>, Verdict) {
    let (mut run, mut ran) = (Run::new(plan), Vec::new());
    while let Some(stage) = run.next_stage() {
        assert!(stage_is_safe(&stage), "{stage:?}");
        let mut severed = false;
        let fates = stage.iter().map(|call| {
            if severed {
                return Fate::Skipped;
            }
            ran.push(call.clone());
            let fate = answer(call);
            severed = call.severs() && fate != done(call);
            fate
        });
        let fates = fates.collect();
        run.record(stage, fates);
    }
    (ran, run.report().verdict())
}

#[test]
fn every_stage_of_every_plan_is_safe() {
    for plan in all_plans() {
        assert!(plan.stages.iter().all(|stage| stage_is_safe(stage)), "{plan:?}");
    }
}

/// The rule refuses the naive chain that loses data, and its variants.
#[test]
fn the_naive_chain_is_not_safe() {
    let create = || Call::CreateTemp { mode: 0o600 };
    let write = |sync| Call::Write { range: 0..KIB, sync };
    let publish = || Call::Publish { existing: Existing::Replace };
    assert!(stage_is_safe(&[create(), write(true), Call::CloseFile, publish(), Call::SyncDir]));
    for unsafe_stage in [
        vec![create(), write(false), Call::SyncFile, Call::CloseFile, publish(), Call::SyncDir],
        vec![create(), write(false), Call::CloseFile, publish(), Call::SyncDir],
        vec![Call::SyncFile, Call::CloseFile, publish(), Call::SyncDir],
        vec![Call::SyncFile, publish()],
        vec![create(), write(true), write(true), Call::CloseFile, publish()],
        vec![publish(), Call::RemoveTemp],
        vec![publish(), Call::SyncDir, Call::Unlink],
        vec![create(), Call::SetMode { mode: 0 }, write(false)],
        vec![Call::SetOwner(Owner { uid: 1, gid: 2 }), Call::SetMode { mode: 0o644 }],
        vec![Call::SetAttributes, Call::SyncFile],
    ] {
        assert!(!stage_is_safe(&unsafe_stage), "{unsafe_stage:?}");
    }
}

#[test]
fn a_plan_without_failures_is_durable_and_syncs_before_it_publishes() {
    for plan in all_plans() {
        let (ran, verdict) = simulate(plan.clone(), done);
        assert_eq!(verdict, Verdict::Durable, "{plan:?}");
        assert_eq!(ran.iter().collect::<Vec<_>>(), plan.calls().collect::<Vec<_>>());
        let visible = ran.iter().position(|call| call.is_visible());
        let Some(visible) = visible else { continue };
        let place = |wanted: &Call| ran.iter().position(|call| call == wanted);
        let stamp = ran.iter().position(|call| matches!(call, Call::Stamp { .. }));
        let write = ran.iter().rposition(|call| matches!(call, Call::Write { .. }));
        let sync = place(&Call::LogChange).or_else(|| ran.iter().position(is_sync));
        // A stamp covers the whole content, and is as durable.
        assert!(stamp.is_none() || (write < stamp && stamp < sync), "{plan:?}");
        if let Some(logged) = place(&Call::LogChange) {
            // Everything that can fail comes before the record; only the name changes behind it.
            assert!(logged + 1 == visible && visible + 1 == ran.len() && !ran.iter().any(is_sync), "{plan:?}");
            assert!(ran[..logged].iter().any(|call| matches!(call, Call::Admit(_))), "{plan:?}");
            continue;
        }
        assert!(ran[visible..].contains(&Call::SyncDir), "{plan:?}");
        if let Some(rules) = place(&Call::LogFileRules) {
            assert!(place(&Call::SyncPresent).is_some_and(|present| present < rules) && rules < visible, "{plan:?}");
        }
        if matches!(ran[visible], Call::Publish { .. }) {
            let synced = |call: &Call| is_sync(call) || matches!(call, Call::Write { sync: true, .. });
            assert!(ran[..visible].iter().any(synced), "{plan:?}");
        }
    }
}

/// A user who could not read the old file can never read the new one: it is private until it has its owner and attributes. Calls
/// that clear set-id bits or capabilities come before those that set them.
#[test]
fn a_file_like_another_is_private_until_it_is_like_it() {
    let mut seen = 0;
    for plan in all_plans() {
        let calls: Vec<&Call> = plan.calls().collect();
        let Some(owner) = calls.iter().position(|call| matches!(call, Call::SetOwner(_))) else { continue };
        seen += 1;
        let modes: Vec<usize> = (0..calls.len()).filter(|i| matches!(calls[*i], Call::SetMode { .. })).collect();
        assert_eq!(modes, [owner + 2], "{plan:?}");
        assert_eq!(calls[owner + 1], &Call::SetAttributes);
        assert!(calls[owner..].iter().all(|call| !matches!(call, Call::Write { .. })), "{plan:?}");
        assert!(calls[owner + 2..].iter().any(|call| is_sync(call)), "{plan:?}");
        let private = |call: &&Call| !matches!(call, Call::CreateTemp { mode } if *mode != 0o600);
        assert!(calls.iter().all(private), "{plan:?}");
    }
    assert_eq!(seen, 144);
}

/// Each call of every plan fails in turn: the verdict must be true.
#[test]
fn a_failure_at_every_call_is_told_truly() {
    for plan in all_plans() {
        let calls: Vec<Call> = plan.calls().cloned().collect();
        for (at, failed) in calls.iter().enumerate() {
            for errno in [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EACCES] {
                let mut n = 0;
                let (ran, verdict) = simulate(plan.clone(), |call| {
                    n += 1;
                    if n - 1 == at { Fate::Failed(errno) } else { done(call) }
                });
                let visible = ran.iter().any(|call| call.is_visible() && call != failed);
                match verdict {
                    Verdict::Durable => panic!("{failed:?} failed unnoticed in {plan:?}"),
                    Verdict::Unknown { step, errno: told } => {
                        let silent = matches!(failed, Call::Move | Call::Unlink) && errno == Errno::EIO;
                        let recorded = ran.contains(&Call::LogChange);
                        assert!(visible || silent || recorded, "{plan:?}");
                        assert_eq!((step, told), (failed.step(), errno));
                    }
                    Verdict::Unchanged { step, errno: told, temp_left } => {
                        assert!(!visible, "{failed:?} failed and something was published: {plan:?}");
                        assert_eq!((step, told), (failed.step(), errno));
                        assert_eq!(temp_left, !(matches!(failed, Call::CreateTemp { .. }) && errno != Errno::EIO));
                    }
                }
                // A failed sync is never tried again.
                assert!(ran.iter().filter(|call| is_sync(call)).count() <= 1);
            }
        }
    }
}

#[test]
fn a_short_write_is_finished_and_synced_before_the_rename() {
    for plan in all_plans() {
        let mut cut = false;
        let (ran, verdict) = simulate(plan.clone(), |call| match call {
            Call::Write { range, .. } if !cut && range.len() > 1 => {
                cut = true;
                Fate::Done(range.len() / 2)
            }
            call => done(call),
        });
        assert_eq!(verdict, Verdict::Durable, "{plan:?}");
        if !cut {
            continue;
        }
        let place = |wanted: &dyn Fn(&Call) -> bool| ran.iter().rposition(wanted);
        let last_write = place(&|call| matches!(call, Call::Write { .. })).unwrap();
        let sync = place(&|call| is_sync(call) || *call == Call::LogChange).unwrap();
        let publish = place(&|call| matches!(call, Call::Publish { .. })).unwrap();
        assert!(last_write < sync && sync < publish, "{ran:?}");
        assert_eq!(ran.iter().filter(|call| matches!(call, Call::CreateTemp { .. })).count(), 1);
        assert_eq!(ran.iter().filter(|call| **call == Call::CloseFile).count(), 1);
    }
}

#[test]
fn a_write_that_takes_nothing_is_a_failure() {
    let (ran, verdict) = simulate(replace(KIB, None, Existing::Replace, true), |call| match call {
        Call::Write { .. } => Fate::Done(0),
        call => done(call),
    });
    assert_eq!(verdict, Verdict::Unchanged { step: Step::Write, errno: Errno::EIO, temp_left: true });
    assert_eq!(ran.len(), 2);
}

#[test]
fn an_interrupted_write_is_taken_up_again() {
    let mut interrupted = false;
    let (_, verdict) = simulate(replace(KIB, None, Existing::Replace, true), |call| match call {
        Call::Write { .. } if !std::mem::replace(&mut interrupted, true) => Fate::Failed(Errno::EINTR),
        call => done(call),
    });
    assert_eq!(verdict, Verdict::Durable);
}

#[test]
fn a_refused_sync_write_becomes_a_write_and_an_fsync() {
    let plan = replace(KIB, None, Existing::Replace, true);
    let mut run = Run::new(plan);
    let mut ran = Vec::new();
    while let Some(stage) = run.next_stage() {
        let mut refused = false;
        let fates = stage
            .iter()
            .map(|call| match call {
                _ if refused => Fate::Skipped,
                Call::Write { sync: true, .. } => {
                    refused = true;
                    Fate::Failed(Errno::EOPNOTSUPP)
                }
                call => {
                    ran.push(call.clone());
                    done(call)
                }
            })
            .collect();
        run.record(stage, fates);
    }
    let report = run.report();
    assert!(report.sync_write_refused());
    assert_eq!(report.verdict(), Verdict::Durable);
    let publish = Call::Publish { existing: Existing::Replace };
    let write = Call::Write { range: 0..KIB, sync: false };
    let create = Call::CreateTemp { mode: 0o600 };
    assert_eq!(ran, [create, write, Call::SyncFile, Call::CloseFile, publish, Call::SyncDir]);
}

#[test]
fn where_a_rename_cannot_refuse_a_link_does() {
    for one_chain in [true, false] {
        let plan = replace(KIB, None, Existing::Refuse, one_chain);
        let (ran, verdict) = simulate(plan.clone(), |call| match call {
            Call::Publish { .. } => Fate::Failed(Errno::EINVAL),
            call => done(call),
        });
        assert_eq!(verdict, Verdict::Durable);
        assert!(ran.ends_with(&[Call::PublishByLink, Call::SyncDir, Call::RemoveTemp]), "{ran:?}");
        let (ran, verdict) = simulate(plan, |call| match call {
            Call::Publish { .. } => Fate::Failed(Errno::EINVAL),
            Call::PublishByLink => Fate::Failed(Errno::EEXIST),
            call => done(call),
        });
        assert_eq!(verdict, Verdict::Unchanged { step: Step::Rename, errno: Errno::EEXIST, temp_left: true });
        assert_eq!(ran.last(), Some(&Call::PublishByLink));
    }
}
