//! The cells of a run: every promise of the crate, and the wrong protocols, each where it must be caught.

use ringbolt::{Barrier, Engine};

use super::cell::Cell;
use super::device::Device;
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
                for &barrier in operation.barriers().iter().filter(holds) {
                    let cell = Cell { barrier, ..strict(filesystem, operation, engine) };
                    let devices = Device::ALL.into_iter().filter(|device| device.matters(&cell));
                    cells.extend(devices.map(|device| Cell { device, ..cell }));
                }
            }
        }
    }
    cells
}

/// The right protocol, with the strictest barrier.
fn strict(filesystem: Filesystem, operation: Operation, engine: Engine) -> Cell {
    Cell { filesystem, options: "", operation, engine, barrier: Barrier::PerFile, device: Device::Cache, mutant: None }
}

/// Cells that must be caught, to prove that the test works: wrong protocols, and the right one on a filesystem that
/// does not flush. Without `--cfg ringbolt_mutants`, only the latter.
pub fn gate() -> Vec<Cell> {
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
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let with_log =
            |operation, engine| Cell { barrier: Barrier::IntentLog, ..strict(filesystem, operation, engine) };
        for (mutant, device, operations) in wrong_with_log() {
            for &operation in operations {
                cells.extend(ENGINES.map(|engine| Cell {
                    mutant: Some(mutant),
                    device,
                    ..with_log(operation, engine)
                }));
            }
        }
    }
    cells
}

/// The wrong protocols of a store with an intent log. Without a file sync, its checkpoints move the start before the files are
/// durable.
#[cfg(ringbolt_mutants)]
fn wrong_with_log() -> [(Mutant, Device, &'static [Operation]); 11] {
    use Operation::*;
    [
        (Mutant::UnsyncedLog, Device::Cache, &[Put, Delete, Batch, Crowd]),
        (Mutant::UnloggedDelete, Device::Cache, &[Delete]),
        (Mutant::NoFileRules, Device::Cache, &[Put]),
        (Mutant::NoFileSync, Device::Cache, &[Put, Batch, Crowd]),
        (Mutant::SyncedEarly, Device::Cache, &[Put, Batch]),
        (Mutant::EarlyStart, Device::Cache, &[Put, Delete]),
        (Mutant::LateCover, Device::Cache, &[Crowd]),
        (Mutant::TrustedStamp, Device::Cache, &[Put]),
        (Mutant::OneSlot, Device::Cache, &[Put, Delete]),
        (Mutant::LogAsFlush, Device::Fua, &[Put, Delete, Batch]),
        (Mutant::RepeatedSync, Device::FailedWrite, &[Put, Batch, Crowd]),
    ]
}

#[cfg(not(ringbolt_mutants))]
fn wrong_with_log() -> [(Mutant, Device, &'static [Operation]); 0] {
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
