//! One operation by one protocol on one filesystem, and what came of cutting its power.

use std::fmt;

use ringbolt::{Barrier, Engine};

use super::lab::Filesystem;
use super::mutant::Mutant;
use super::workload::Operation;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// On which filesystem.
    pub filesystem: Filesystem,
    /// How it is mounted; "" as by default.
    pub options: &'static str,
    /// What is done.
    pub operation: Operation,
    /// By which engine.
    pub engine: Engine,
    /// With which barrier.
    pub barrier: Barrier,
    /// By which wrong protocol; none if by the right one.
    pub mutant: Option<Mutant>,
}

impl Cell {
    /// The name of its engine.
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
        match &self.mutant {
            Some(mutant) => write!(f, "/{mutant}"),
            None => Ok(()),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States that were looked at.
    pub states: usize,
    /// Of those, states of a second cut, during the recovery from the first.
    pub recuts: usize,
    /// Of those, states with a violation.
    pub violating: usize,
    /// States that did not mount since a sector of the filesystem's own was torn: in none of the above.
    pub unmountable: usize,
    /// The first violation, in words.
    pub first: Option<String>,
}

impl Tally {
    /// Both together.
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            states: self.states + other.states,
            recuts: self.recuts + other.recuts,
            violating: self.violating + other.violating,
            unmountable: self.unmountable + other.unmountable,
            first: self.first.or(other.first),
        }
    }
}
