//! One cell: an operation with a protocol on a filesystem, and the results of its power cuts.

use std::fmt;

use ringbolt::{Barrier, Engine};

use super::device::Device;
use super::lab::Filesystem;
use super::mutant::Mutant;
use super::operation::Operation;

/// What to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The filesystem.
    pub filesystem: Filesystem,
    /// The mount options; empty for the defaults.
    pub options: &'static str,
    /// The operation.
    pub operation: Operation,
    /// The engine.
    pub engine: Engine,
    /// The barrier.
    pub barrier: Barrier,
    /// The disk.
    pub device: Device,
    /// The wrong protocol; `None` for the right one.
    pub mutant: Option<Mutant>,
}

impl Cell {
    /// The name of the engine.
    pub fn engine_name(&self) -> &'static str {
        if self.engine == Engine::Uring { "uring" } else { "portable" }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.filesystem, self.operation, self.engine_name(), self.barrier)?;
        if !self.options.is_empty() {
            write!(f, "/{}", self.options)?;
        }
        if self.device != Device::Cache {
            write!(f, "/{}", self.device)?;
        }
        match &self.mutant {
            Some(mutant) => write!(f, "/{mutant}"),
            None => Ok(()),
        }
    }
}

/// The results of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Crash states tested.
    pub states: usize,
    /// Of those, states of a second cut during the recovery from the first.
    pub recuts: usize,
    /// Of those, states with a violation.
    pub violating: usize,
    /// States that did not mount because a sector of the filesystem's metadata was torn; not counted above.
    pub unmountable: usize,
    /// States that were cut around the move of an intent log's start.
    pub checkpoints: usize,
    /// States that were cut around the wrap of an intent log.
    pub wraps: usize,
    /// States with a rotten superblock of an intent log.
    pub rotten: usize,
    /// States with a write that was torn at blocks.
    pub in_blocks: usize,
    /// A description of the first violation.
    pub first: Option<String>,
}

impl Tally {
    /// Adds up two tallies.
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            states: self.states + other.states,
            recuts: self.recuts + other.recuts,
            violating: self.violating + other.violating,
            unmountable: self.unmountable + other.unmountable,
            checkpoints: self.checkpoints + other.checkpoints,
            wraps: self.wraps + other.wraps,
            rotten: self.rotten + other.rotten,
            in_blocks: self.in_blocks + other.in_blocks,
            first: self.first.or(other.first),
        }
    }
}
