//! The order in which changes that are committed together pass the phases, and the calls that they share.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem::{Discriminant, discriminant};
use std::ops::Range;

use super::call::{Call, Phase};

/// The phases of a commit, each with the changes that pass it. `groups` are the sizes of groups in order: all files pass the
/// phases up to the barrier together; then each group passes the others before the next begins.
pub(crate) fn schedule(groups: &[usize]) -> impl Iterator<Item = (Phase, Range<usize>)> {
    let all = 0..groups.iter().sum::<usize>();
    let together = [Phase::Write, Phase::WriteOut, Phase::Harden, Phase::Barrier].map(|phase| (phase, all.clone()));
    let mut end = 0;
    let in_turn: Vec<Range<usize>> = groups
        .iter()
        .map(|size| {
            end += size;
            end - size..end
        })
        .collect();
    let publish = |group: Range<usize>| {
        [Phase::Admit, Phase::Log, Phase::Publish, Phase::SyncDirs].map(|phase| (phase, group.clone()))
    };
    together.into_iter().chain(in_turn.into_iter().flat_map(publish))
}

/// The shared calls that some changes wait for, each once, with the changes that wait for it. `place` is the directory or
/// filesystem that a call is about; calls come in the order of the changes that first wait for them.
pub(crate) fn shared_calls<P: Eq + Hash>(
    waiting: impl IntoIterator<Item = (usize, Call, P)>,
) -> Vec<(Call, Vec<usize>)> {
    let mut calls: Vec<(Call, Vec<usize>)> = Vec::new();
    let mut known: HashMap<(Discriminant<Call>, P), usize> = HashMap::new();
    for (change, call, place) in waiting {
        debug_assert!(call.is_shared(), "{call:?}");
        let at = *known.entry((discriminant(&call), place)).or_insert_with(|| {
            calls.push((call, Vec::new()));
            calls.len() - 1
        });
        calls[at].1.push(change);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_publish_in_turn_after_all_files_are_durable() {
        let order: Vec<_> = schedule(&[2, 1]).collect();
        assert_eq!(
            order,
            [
                (Phase::Write, 0..3),
                (Phase::WriteOut, 0..3),
                (Phase::Harden, 0..3),
                (Phase::Barrier, 0..3),
                (Phase::Admit, 0..2),
                (Phase::Log, 0..2),
                (Phase::Publish, 0..2),
                (Phase::SyncDirs, 0..2),
                (Phase::Admit, 2..3),
                (Phase::Log, 2..3),
                (Phase::Publish, 2..3),
                (Phase::SyncDirs, 2..3),
            ]
        );
    }

    #[test]
    fn a_directory_is_synced_once_for_all_that_wait() {
        let waiting = [(0, Call::SyncDir, 'a'), (2, Call::SyncDir, 'b'), (5, Call::SyncDir, 'a')];
        assert_eq!(shared_calls(waiting), [(Call::SyncDir, vec![0, 5]), (Call::SyncDir, vec![2])]);
        // Two calls about one place stay two calls.
        let waiting = [(0, Call::SyncDir, 'a'), (1, Call::SyncFilesystem, 'a')];
        assert_eq!(shared_calls(waiting), [(Call::SyncDir, vec![0]), (Call::SyncFilesystem, vec![1])]);
    }
}
