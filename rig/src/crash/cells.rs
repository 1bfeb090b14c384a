//! The cells of a run: every promise of the crate, and the wrong protocols, each where it must be caught.

use ringbolt::{Barrier, Engine};

use super::cell::Cell;
use super::lab::Filesystem;
use super::mutant::Mutant;
use super::operation::Operation;

const ENGINES: [Engine; 2] = [Engine::Portable, Engine::Uring];

/// Every operation with every protocol on every filesystem. None may have a violation.
pub fn promises() -> Vec<Cell> {
    let mut cells = Vec::new();
    for filesystem in Filesystem::ALL {
        for operation in Operation::ALL {
            for engine in ENGINES {
                // A store refuses to open with this barrier there.
                let holds = |barrier: &&Barrier| {
                    filesystem != Filesystem::Btrfs || ![Barrier::Journal, Barrier::IntentLog].contains(*barrier)
                };
                cells.extend(operation.barriers().iter().filter(holds).map(|&barrier| Cell {
                    filesystem,
                    options: "",
                    operation,
                    engine,
                    barrier,
                    mutant: None,
                }));
            }
        }
    }
    cells
}

/// Cells that must be caught, to prove that the test works: wrong protocols, and the right one on a filesystem that
/// does not flush. Without `--cfg ringbolt_mutants`, only the latter.
pub fn gate() -> Vec<Cell> {
    let strict = |filesystem, operation, engine| Cell {
        filesystem,
        options: "",
        operation,
        engine,
        barrier: Barrier::PerFile,
        mutant: None,
    };
    let mut cells: Vec<Cell> =
        ENGINES.map(|engine| Cell { options: "barrier=0", ..strict(Filesystem::Ext4, Operation::Put, engine) }).into();
    for (mutant, operations) in wrong() {
        for filesystem in Filesystem::ALL {
            for &operation in operations {
                for engine in ENGINES {
                    let cell = Cell { mutant: Some(mutant), ..strict(filesystem, operation, engine) };
                    cells.extend(loses_data(&cell).then_some(cell));
                }
            }
        }
    }
    for (mutant, operations) in wrong_with_log() {
        for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
            for &operation in operations {
                cells.extend(ENGINES.map(|engine| Cell {
                    mutant: Some(mutant),
                    barrier: Barrier::IntentLog,
                    ..strict(filesystem, operation, engine)
                }));
            }
        }
    }
    cells
}

/// The wrong protocols of a store with an intent log. Without a file sync, its checkpoints move the start before the files are
/// durable.
#[cfg(ringbolt_mutants)]
fn wrong_with_log() -> [(Mutant, &'static [Operation]); 4] {
    use Operation::*;
    [
        (Mutant::UnsyncedLog, &[Put, Delete, Batch, Crowd]),
        (Mutant::UnloggedDelete, &[Delete]),
        (Mutant::NoFileRules, &[Put]),
        (Mutant::NoFileSync, &[Put, Batch, Crowd]),
    ]
}

#[cfg(not(ringbolt_mutants))]
fn wrong_with_log() -> [(Mutant, &'static [Operation]); 0] {
    []
}

/// The wrong protocols, and the operations that they break.
#[cfg(ringbolt_mutants)]
fn wrong() -> [(Mutant, &'static [Operation]); 4] {
    use Operation::*;
    [
        (Mutant::NoDirSync, &[Write, Put, Delete, Rename, Batch, Groups, Sidecar]),
        (Mutant::NoFileSync, &[Write, Put, Batch, Crowd, Sidecar]),
        (Mutant::LateFileSync, &[Write, Put, Sidecar]),
        (Mutant::RangeForFileSync, &[Write, Put, Batch]),
    ]
}

#[cfg(not(ringbolt_mutants))]
fn wrong() -> [(Mutant, &'static [Operation]); 0] {
    []
}

/// A journal that commits sizes and names together makes up for a missing fsync; `Barrier::Journal` relies on that.
#[cfg(ringbolt_mutants)]
fn loses_data(cell: &Cell) -> bool {
    cell.mutant != Some(Mutant::RangeForFileSync) || cell.filesystem == Filesystem::Btrfs
}

#[cfg(not(ringbolt_mutants))]
fn loses_data(_: &Cell) -> bool {
    true
}
