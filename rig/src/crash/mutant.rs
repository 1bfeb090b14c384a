//! Wrong protocols. They exist only in a build with `--cfg ringbolt_mutants`.

#[cfg(ringbolt_mutants)]
pub use ringbolt::Mutant;

/// A wrong protocol; this build has none.
#[cfg(not(ringbolt_mutants))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {}

#[cfg(not(ringbolt_mutants))]
impl std::fmt::Display for Mutant {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// Runs `act` with a wrong protocol, or with the right one.
pub(super) fn within<T>(mutant: Option<Mutant>, act: impl FnOnce() -> T) -> T {
    match mutant {
        None => act(),
        #[cfg(ringbolt_mutants)]
        Some(mutant) => mutant.within(act),
        #[cfg(not(ringbolt_mutants))]
        Some(mutant) => match mutant {},
    }
}

/// Whether a wrong protocol is one of the recovery.
pub(super) fn is_of_recovery(mutant: Mutant) -> bool {
    #[cfg(ringbolt_mutants)]
    return mutant == Mutant::TrustedStamp;
    #[cfg(not(ringbolt_mutants))]
    match mutant {}
}

/// Whether a wrong protocol leaves the last flush of a checkpoint's sync to the log's next write.
pub(super) fn flushes_by_log(mutant: Mutant) -> bool {
    #[cfg(ringbolt_mutants)]
    return mutant == Mutant::LogAsFlush;
    #[cfg(not(ringbolt_mutants))]
    match mutant {}
}
