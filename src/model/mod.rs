//! A model of power cuts: a filesystem in memory that runs the calls of real plans and knows at every moment what a power cut
//! could leave. Compiled under test only, on every Unix.
//!
//! `content.rs`, `disk.rs`, `crash.rs`: the filesystem, and what a cut leaves of it. `machine.rs`, `operation.rs`: a real `Run`
//! as a state machine that takes one call at a time. `interleave.rs`: every order of the calls of several operations, with and
//! without a failure. `promise.rs`: what may be found after a cut. `recovery.rs`: what opening a store does, with a cut in the
//! middle. `engine.rs`, `history.rs`: an engine that mirrors what a real committer does, and the check of everything that it
//! could leave. `observed.rs`: its intent log.

mod content;
mod crash;
mod disk;
mod engine;
mod history;
mod interleave;
mod machine;
mod numbered;
mod observed;
mod operation;
mod promise;
mod recovery;

#[cfg(test)]
#[path = "commit_tests.rs"]
mod commit_tests;
#[cfg(test)]
#[path = "emptied_tests.rs"]
mod emptied_tests;
#[cfg(test)]
#[path = "interleave_tests.rs"]
mod interleave_tests;
#[cfg(test)]
#[path = "log_mutant_tests.rs"]
mod log_mutant_tests;
#[cfg(test)]
#[path = "log_tests.rs"]
mod log_tests;
#[cfg(test)]
#[path = "mutant_tests.rs"]
mod mutant_tests;
#[cfg(test)]
#[path = "recovered_tests.rs"]
mod recovered_tests;
#[cfg(test)]
#[path = "store_tests.rs"]
mod store_tests;
