//! What opening a store does after a kill or a cut: it removes temporary files and syncs every directory.

use std::cell::RefCell;
use std::fmt;

use super::crash::Tree;
use super::disk::{DirId, Disk, Filesystem, INNER, Place};
use super::numbered::QuickSet;

thread_local! {
    /// What the same test has recovered before. A failure ends the test.
    static RECOVERED: RefCell<QuickSet<(Filesystem, Tree)>> = RefCell::default();
}

/// The orders of the two directories.
pub(super) const ORDERS: [[DirId; 2]; 2] = [[0, 1], [1, 0]];

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Removed(Place),
    Synced(DirId),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Removed(temp) => write!(f, "removes {temp:?}"),
            Step::Synced(dir) => write!(f, "syncs d{dir}"),
        }
    }
}

/// Runs the recovery; `at` checks the disk after every step.
pub(super) fn recover<E>(
    disk: &mut Disk,
    order: [DirId; 2],
    mut at: impl FnMut(&Disk, Step) -> Result<(), E>,
) -> Result<(), E> {
    let inner = disk.visible().has_inner().then_some(INNER);
    for dir in order.into_iter().chain(inner) {
        let temps: Vec<Place> =
            disk.visible().0.into_iter().map(|(place, _)| place).filter(|p| p.dir == dir && p.is_temp()).collect();
        for temp in temps {
            disk.remove(temp).expect("it was there");
            at(disk, Step::Removed(temp))?;
        }
        disk.sync_dir(dir);
        at(disk, Step::Synced(dir))?;
    }
    Ok(())
}

/// Recovers what a cut has left, with another cut at every step and a recovery from that: the keys must not change. Returns the
/// number of states, or the tree that was found instead.
pub(super) fn recover_tree(filesystem: Filesystem, tree: &Tree, again: bool) -> Result<usize, Tree> {
    let (keys, mut count) = (tree.keys(), 0);
    let known = || RECOVERED.with_borrow_mut(|known| !known.insert((filesystem, tree.clone())));
    if again && known() {
        return Ok(0);
    }
    for order in ORDERS {
        let mut disk = Disk::restarted(filesystem, tree);
        recover(&mut disk, order, |disk, _| {
            for left in disk.crashes(|_| true) {
                count += 1;
                if left.keys() != keys {
                    return Err(left);
                }
                if again {
                    count += recover_tree(filesystem, &left, false)?;
                }
            }
            Ok(())
        })?;
        let left: Vec<Tree> = disk.crashes(|_| true).collect();
        if left.iter().map(Tree::keys).collect::<Vec<_>>() != [keys.clone()] {
            return Err(left.into_iter().find(|left| left.keys() != keys).unwrap_or_default());
        }
    }
    Ok(count)
}
