//! Directories whose own names are not durable yet.
//!
//! A store with an intent log makes the directories of new keys without a sync: after a power cut, recovery makes those of every
//! live put again. The next checkpoint makes them durable, or a change beside the log before it relies on them.

use std::collections::BTreeMap;

/// More of them are not worth their memory: then directories are synced as they are made.
const MAX: usize = 4096;

/// Paths of directories, each with a logical time stamp.
#[derive(Debug, Default)]
pub(super) struct NewDirs {
    by_path: BTreeMap<String, u64>,
    clock: u64,
}

impl NewDirs {
    /// Notes that a directory was made. Returns false, and notes nothing, if there are too many.
    pub(super) fn add(&mut self, path: &str) -> bool {
        let has_room = self.by_path.len() < MAX;
        if has_room {
            self.clock += 1;
            self.by_path.insert(path.to_owned(), self.clock);
        }
        has_room
    }

    /// Forgets what is directly in this directory, which was synced.
    pub(super) fn forget_in(&mut self, parent: &str) {
        self.by_path.retain(|path, _| path.rsplit_once('/').map_or("", |(above, _)| above) != parent);
    }

    /// The time of the last making.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// Forgets what was made until then: it is durable.
    pub(super) fn forget(&mut self, until: u64) {
        self.by_path.retain(|_, made| *made > until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The new ones among this directory and those above it, from the top.
    pub(super) fn along(&self, path: &str) -> Vec<String> {
        let ends = path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]);
        ends.map(|end| &path[..end]).filter(|path| self.by_path.contains_key(*path)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_after_a_moment_is_still_new_then() {
        let mut new = NewDirs::default();
        assert!(new.add("a") && new.add("a/b") && new.add("ab"));
        let then = new.now();
        // Removed and made again: the first one's sync says nothing of the second.
        assert!(new.add("a/b"));
        assert_eq!(new.along("a/b/c"), ["a", "a/b"]);
        new.forget(then);
        assert_eq!((new.along("a/b/c"), new.along("ab")), (vec!["a/b".to_owned()], vec![]));
        assert!(new.add("a/c") && new.add("a/c/d"));
        new.forget_in("a");
        assert_eq!((new.along("a/b"), new.along("a/c/d")), (vec![], vec!["a/c/d".to_owned()]));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut new = NewDirs::default();
        assert!((0..MAX).all(|n| new.add(&n.to_string())));
        assert!(!new.add("one more"));
        assert!(new.along("one more").is_empty());
    }
}
