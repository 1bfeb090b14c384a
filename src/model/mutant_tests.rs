use super::disk::Filesystem;
use super::interleave::Scenario;
use super::machine::Links;
use super::operation::{A, B, BETWEEN, FREE, OWNER, Operation, PUT, Put, disk, version};
use crate::engine::Mutant;
use crate::protocol::{Call, Existing, Medium, Plan, stage_is_safe};

/// The model's verdict on a wrong protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Caught,
    /// The operation has no such step, so it does not change.
    Same,
    /// The filesystem makes up for it.
    Holds,
    /// The right protocol does not hold here either.
    Lost,
}

use Found::{Caught, Holds, Lost, Same};

/// The expected verdicts for an operation on `Posix`, `Lazy` and `Journaled`, for each mutant in the order of `Mutant::ALL`.
type Row = (&'static str, fn() -> Operation, [[Found; 3]; 4]);

const PUT_ROW: [[Found; 3]; 4] = [[Caught; 3], [Caught; 3], [Caught; 3], [Caught, Caught, Holds]];
const DELETE_ROW: [[Found; 3]; 4] = [[Caught; 3], [Same; 3], [Same; 3], [Same; 3]];
const RENAME_ROW: [[Found; 3]; 4] = [[Lost, Caught, Caught], [Same; 3], [Same; 3], [Same; 3]];
/// A journal commits a name together with data that was written out before, so a late file sync does no harm there.
const SYNC_ROW: [[Found; 3]; 4] = [[Caught; 3], [Caught; 3], [Caught, Caught, Holds], [Caught, Caught, Holds]];
/// The journal barrier has no file sync that could be replaced.
const JOURNAL_ROW: [[Found; 3]; 4] = [[Lost, Lost, Caught], [Lost, Lost, Caught], [Lost, Lost, Caught], [Same; 3]];

const TABLE: [Row; 12] = [
    ("put", || Operation::put(0, A, PUT), PUT_ROW),
    ("chained put", || Operation::put(0, A, Put { one_chain: true, ..PUT }), PUT_ROW),
    (
        "put with mode and version",
        || Operation::put(0, A, Put { mode: Some(0o644), stamp: Some(version(9)), ..PUT }),
        PUT_ROW,
    ),
    ("put like the old", || Operation::put(0, A, Put { mode: Some(0o644), like: Some(OWNER), ..PUT }), PUT_ROW),
    ("create", || Operation::put(0, FREE, Put { existing: Existing::Refuse, ..PUT }), PUT_ROW),
    ("commit", || Operation::commit(0, A, PUT), PUT_ROW),
    ("delete", || Operation::delete(A, None), DELETE_ROW),
    ("rename", || Operation::rename(A, FREE), RENAME_ROW),
    ("rename between directories", || Operation::rename(A, BETWEEN), RENAME_ROW),
    ("batch per file", || Operation::batch(&[&[(0, A), (1, B)]], Medium::PER_FILE_BATCH), SYNC_ROW),
    ("batch by syncfs", || Operation::batch(&[&[(0, A)], &[(1, B)]], Medium::FILESYSTEM_BATCH), SYNC_ROW),
    ("batch by the journal", || Operation::batch(&[&[(0, A), (1, B)]], Medium::JOURNAL_BATCH), JOURNAL_ROW),
];

fn explore(filesystem: Filesystem, links: Links, fails: bool, operation: Operation) -> Result<(), String> {
    // A kill during a rename between directories is not safe on all of them: see `interleave_tests.rs`.
    let orders = vec![[1, 0]];
    let scenario = Scenario { links, fails, orders, ..Scenario::new(&disk(filesystem), vec![operation]) };
    scenario.explore().map(|_| ()).map_err(|violation| violation.to_string())
}

#[test]
fn every_mutant_is_caught_where_it_can_be() {
    for (label, make, rows) in TABLE {
        for (mutant, row) in Mutant::ALL.into_iter().zip(rows) {
            for (filesystem, expected) in Filesystem::ALL.into_iter().zip(row) {
                let right = explore(filesystem, Links::Checked, false, make());
                let found = match make().mutated(mutant) {
                    None => Same,
                    Some(_) if right.is_err() => Lost,
                    Some(wrong) => match explore(filesystem, Links::Checked, false, wrong) {
                        Ok(()) => Holds,
                        Err(_) => Caught,
                    },
                };
                assert_eq!(found, expected, "{label} with {mutant} on {filesystem:?}");
            }
        }
    }
}

/// Changes the plan of an operation.
fn with(mut operation: Operation, label: &str, change: impl FnOnce(&mut Vec<Plan>)) -> Operation {
    change(&mut operation.program.plans);
    operation.label += label;
    operation
}

fn flat(plan: &Plan) -> Vec<Call> {
    plan.calls().cloned().collect()
}

/// A failed fsync does not cancel the rename linked behind it: lost content is published.
#[test]
fn a_rename_linked_behind_an_fsync_is_caught() {
    let wrong = || {
        with(Operation::put(0, A, PUT), " in one chain", |plans| {
            let calls = flat(&plans[0]);
            assert!(!stage_is_safe(&calls));
            plans[0] = Plan { stages: [calls].into(), ..Plan::empty() };
        })
    };
    for filesystem in Filesystem::ALL {
        let text = explore(filesystem, Links::Kernel, true, wrong()).unwrap_err();
        assert!(
            text.contains("SyncFile -> Failed(EIO)\n") && text.contains("Publish { existing: Replace } -> Done(0)")
        );
        // Nothing is wrong without the failure, or where each call is checked before the next.
        explore(filesystem, Links::Kernel, false, wrong()).unwrap();
        explore(filesystem, Links::Checked, true, wrong()).unwrap();
    }
}

#[test]
fn a_rename_that_syncs_first_what_loses_the_name_is_caught() {
    let wrong = with(Operation::rename(A, BETWEEN), " backwards", |plans| {
        plans[0] = Plan::one_by_one([Call::CheckSource, Call::Move, Call::SyncSourceDir, Call::SyncDir]);
    });
    assert_eq!(flat(&wrong.program.plans[0]).last(), Some(&Call::SyncDir));
    let text = explore(Filesystem::Lazy, Links::Checked, false, wrong).unwrap_err();
    assert!(text.contains("SyncSourceDir -> Done(0)"), "{text}");
}

/// Attributes that are set after the sync are not durable.
#[test]
fn a_mode_or_a_version_after_the_sync_is_caught() {
    let stamped = Put { mode: Some(0o644), stamp: Some(version(9)), ..PUT };
    let like = Put { mode: Some(0o644), like: Some(OWNER), ..PUT };
    for (late, put) in [
        (Call::SetMode { mode: 0o644 }, stamped),
        (Call::Stamp { version: version(9) }, stamped),
        (Call::SetOwner(OWNER), like),
        (Call::SetAttributes, like),
        (Call::SetMode { mode: 0o644 }, like),
    ] {
        let wrong = with(Operation::put(0, A, put), " late", |plans| {
            let mut calls: Vec<Call> = flat(&plans[0]).into_iter().filter(|call| *call != late).collect();
            let sync = calls.iter().position(|call| *call == Call::SyncFile).unwrap();
            calls.insert(sync + 1, late.clone());
            plans[0] = Plan::one_by_one(calls);
        });
        for filesystem in Filesystem::ALL {
            explore(filesystem, Links::Checked, false, wrong.clone()).unwrap_err();
        }
    }
}

/// A batch that changes names before its barrier, and one that does not wait for a group's directories.
#[test]
fn a_batch_out_of_order_is_caught() {
    for medium in [Medium::PER_FILE_BATCH, Medium::FILESYSTEM_BATCH] {
        let early = with(Operation::batch(&[&[(0, A), (1, FREE)]], medium), " early", |plans| {
            for plan in plans {
                let (names, others): (Vec<Call>, Vec<Call>) =
                    flat(plan).into_iter().partition(|call| matches!(call, Call::Publish { .. }));
                let write = others.iter().position(|call| *call == Call::StartSync).unwrap();
                let (before, behind) = others.split_at(write);
                *plan = Plan::one_by_one([before, &names, behind].concat());
            }
        });
        for filesystem in Filesystem::ALL {
            explore(filesystem, Links::Checked, false, early.clone()).unwrap_err();
        }
    }
    let mut mixed = Operation::batch(&[&[(0, A)], &[(1, B)]], Medium::PER_FILE_BATCH);
    mixed.program.batch.as_mut().unwrap().groups = vec![2];
    explore(Filesystem::Posix, Links::Checked, false, mixed).unwrap_err();
}

/// The journal barrier depends on writing out.
#[test]
fn a_journal_barrier_without_writing_out_is_caught() {
    let put = Operation::put(0, A, Put { medium: Medium::JOURNAL, ..PUT });
    explore(Filesystem::Journaled, Links::Checked, false, put.clone()).unwrap();
    let wrong = put.mutated(Mutant::NoFileSync).unwrap();
    explore(Filesystem::Journaled, Links::Checked, false, wrong).unwrap_err();
}
