//! Names of temporary files.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".ringbolt-";
pub(crate) const SUFFIX: &str = ".tmp";
const DIGITS: usize = 16;

/// Who makes a temporary file. A store sweeps its own when it is opened: its lock proves that they are stale. Those of
/// single writes may be in use by anyone at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Store,
    Single,
    /// Who holds a lock on the directory, so that every target has one temporary name: what is there is stale.
    Locked,
}

/// The name to try next for a temporary file that is to become `target`.
pub(crate) fn name(maker: Maker, target: &CStr, attempt: usize) -> CString {
    match maker {
        Maker::Store | Maker::Single => fresh(maker, attempt),
        Maker::Locked => CString::new([target.to_bytes(), SUFFIX.as_bytes()].concat()).expect("no NUL"),
    }
}

/// A fresh name of fixed length, never derived from the target's name, which may fill all 255 bytes itself.
///
/// Uniqueness is O_EXCL's business, not the name's; it only must not be guessable or collide often. So: a counter
/// under a hash whose key the standard library takes from the system's random source, once a process.
fn fresh(maker: Maker, attempt: usize) -> CString {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // A forked child inherits key and count, and so its parent's next names: after a clash the process counts, too. Not
    // before, since asking for it is a system call.
    let process = if attempt > 1 { std::process::id() } else { 0 };
    let seed = (process, COUNT.fetch_add(1, Ordering::Relaxed));
    let random = KEY.get_or_init(RandomState::new).hash_one(seed);
    let mark = if maker == Maker::Single { "w" } else { "" };
    CString::new(format!("{PREFIX}{mark}{random:0width$x}{SUFFIX}", width = DIGITS)).expect("no NUL")
}

/// Whether this is a name that a store gives.
pub(crate) fn is_swept(name: &CStr) -> bool {
    name.to_str()
        .ok()
        .and_then(|name| name.strip_prefix(PREFIX))
        .and_then(|name| name.strip_suffix(SUFFIX))
        .is_some_and(|random| random.len() == DIGITS && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_and_differ() {
        let (a, b) = (fresh(Maker::Store, 1), fresh(Maker::Store, 1));
        assert_ne!(a, b);
        assert!(is_swept(&a) && is_swept(&b));
        let single = fresh(Maker::Single, 1);
        assert!(!is_swept(&single) && crate::fs::key::is_reserved(single.to_bytes()));
        assert!(crate::fs::key::is_reserved(a.to_bytes()));
        assert!(!is_swept(c".ringbolt-0123456789abcdeg.tmp"));
        assert!(!is_swept(c".ringbolt-0.tmp"));
        assert!(!is_swept(c".ringbolt"));
        assert_eq!(&*name(Maker::Locked, c"keys.json", 7), c"keys.json.tmp");
    }
}
