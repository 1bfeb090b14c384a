//! Divides the changes of a round into waves. Each wave is one record of the intent log.
//!
//! The conditions of a wave are decided before its record, against the files. So no change of a wave may depend on another: not on
//! one of the same key, nor on one whose key is a directory in its own. Changes keep their order from wave to wave.

use std::collections::HashSet;

/// What decides the wave of a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The keys that it reads or changes.
    pub(super) keys: [Option<&'a str>; 2],
    pub(super) group: usize,
    /// The bytes that it takes in a record.
    pub(super) bytes: u64,
    /// Whether its record makes it durable. Others become durable afterwards, and a change of a later group must wait for that.
    pub(super) is_logged: bool,
}

/// The sizes of the waves. A change that has failed already is `None`, and goes with any wave. A record has room for `max` bytes.
pub(super) fn waves<'a>(members: impl IntoIterator<Item = Option<Member<'a>>>, max: u64) -> Vec<usize> {
    let mut sizes = vec![0];
    let mut wave = Wave::default();
    for member in members {
        if let Some(member) = member {
            if !wave.accepts(&member, max) {
                wave = Wave::default();
                sizes.push(0);
            }
            wave.add(&member);
        }
        *sizes.last_mut().expect("there is one") += 1;
    }
    sizes
}

#[derive(Default)]
struct Wave<'a> {
    keys: HashSet<&'a str>,
    /// The directories in which the keys are.
    parents: HashSet<&'a str>,
    bytes: u64,
    group: Option<usize>,
    all_logged: bool,
}

impl<'a> Wave<'a> {
    fn accepts(&self, member: &Member<'a>, max: u64) -> bool {
        let Some(group) = self.group else { return true };
        let is_apart = |key: &&'a str| {
            !self.keys.contains(key)
                && !self.parents.contains(key)
                && parents(key).all(|parent| !self.keys.contains(parent))
        };
        member.keys.iter().flatten().all(is_apart)
            && self.bytes + member.bytes <= max
            && (member.group == group || (self.all_logged && member.is_logged))
    }

    fn add(&mut self, member: &Member<'a>) {
        self.all_logged = member.is_logged && (self.group.is_none() || self.all_logged);
        self.group = Some(member.group);
        self.bytes += member.bytes;
        for key in member.keys.into_iter().flatten() {
            self.keys.insert(key);
            self.parents.extend(parents(key));
        }
    }
}

/// `a` and `a/b` for `a/b/c`.
fn parents(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(slash, _)| &key[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> Option<Member<'_>> {
        Some(Member { keys: [Some(key), None], group: 0, bytes: 10, is_logged: true })
    }

    fn sizes(keys: &[&str]) -> Vec<usize> {
        waves(keys.iter().map(|key| put(key)), 1000)
    }

    #[test]
    fn related_keys_are_in_different_waves() {
        assert_eq!(sizes(&["a", "b", "c/d", "c/e", "ab"]), [5]);
        assert_eq!(sizes(&["a", "b", "a", "b"]), [2, 2]);
        assert_eq!(sizes(&["a", "a/b"]), [1, 1]);
        assert_eq!(sizes(&["x", "a/b/c", "a"]), [2, 1]);
        let rename = |from, to| Some(Member { keys: [Some(to), Some(from)], ..put(to).unwrap() });
        assert_eq!(waves([rename("a", "b"), rename("b", "c"), rename("d", "e")], 1000), [1, 2]);
    }

    #[test]
    fn a_wave_fits_into_a_record() {
        assert_eq!(waves(["a", "b", "c", "d", "e"].map(put), 25), [2, 2, 1]);
        // One that is too long by itself is not refused here.
        assert_eq!(waves([put("a")], 5), [1]);
    }

    #[test]
    fn groups_share_a_record_unless_a_change_goes_beside_it() {
        let member = |key, group, is_logged| Some(Member { group, is_logged, ..put(key).unwrap() });
        assert_eq!(waves([member("a", 0, true), member("b", 1, true), member("c", 2, true)], 1000), [3]);
        assert_eq!(waves([member("a", 0, false), member("b", 0, true), member("c", 1, true)], 1000), [2, 1]);
        assert_eq!(waves([member("a", 0, true), member("b", 1, false), member("c", 1, true)], 1000), [1, 2]);
    }

    #[test]
    fn what_has_failed_goes_with_any_wave() {
        assert_eq!(waves([None, put("a"), None, put("a"), None], 1000), [3, 2]);
        assert_eq!(waves([None, None], 1000), [2]);
    }
}
