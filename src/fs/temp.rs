//! Names of temporary files.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".ringbolt-";
pub(crate) const SUFFIX: &str = ".tmp";
const DIGITS: usize = 16;

/// The owner of a temporary file, which decides its name. Opening a store sweeps the store's own: its lock proves that they are
/// stale. Those of single writes may be in use by any process at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Store,
    Single,
    /// The holder of a lock on the directory. Each target then has one temporary name, and an existing file of that name is
    /// stale.
    Locked,
}

/// The next name to try for a temporary file that is to become `target`.
pub(crate) fn name(maker: Maker, target: &CStr, attempt: usize) -> CString {
    match maker {
        Maker::Store | Maker::Single => fresh(maker, attempt),
        Maker::Locked => CString::new([target.to_bytes(), SUFFIX.as_bytes()].concat()).expect("no NUL"),
    }
}

/// A new name of fixed length. It does not contain the target's name, which may take all 255 bytes.
///
/// O_EXCL guarantees uniqueness; the name must only be hard to guess and rarely collide. So it is a counter hashed with a key
/// that the standard library takes from the system's random source once for each process.
fn fresh(maker: Maker, attempt: usize) -> CString {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // A forked child inherits key and counter, and so its parent's next names. After a clash the process id is hashed too; not
    // before, since getting it is a system call.
    let process = if attempt > 1 { std::process::id() } else { 0 };
    let seed = (process, COUNT.fetch_add(1, Ordering::Relaxed));
    let random = KEY.get_or_init(RandomState::new).hash_one(seed);
    let mark = if maker == Maker::Single { "w" } else { "" };
    CString::new(format!("{PREFIX}{mark}{random:0width$x}{SUFFIX}", width = DIGITS)).expect("no NUL")
}

/// Whether this is the name of a store's temporary file.
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
