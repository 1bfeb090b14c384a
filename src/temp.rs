//! Names of temporary files.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".ringbolt-";
const SUFFIX: &str = ".tmp";
const DIGITS: usize = 16;

/// A fresh name of fixed length, never derived from the target's name, which may fill all 255 bytes itself.
///
/// Uniqueness is O_EXCL's business, not the name's; it only must not be guessable or collide often. So: a counter
/// under a hash whose key the standard library takes from the system's random source, once a process.
pub(crate) fn fresh() -> CString {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = KEY.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    CString::new(format!("{PREFIX}{random:0width$x}{SUFFIX}", width = DIGITS)).expect("no NUL")
}

/// Whether this is a name that [`fresh`] gives.
pub(crate) fn is_temp(name: &CStr) -> bool {
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
        let (a, b) = (fresh(), fresh());
        assert_ne!(a, b);
        assert!(is_temp(&a) && is_temp(&b));
        assert!(crate::key::is_reserved(a.to_bytes()));
        assert!(!is_temp(c".ringbolt-0123456789abcdeg.tmp"));
        assert!(!is_temp(c".ringbolt-0.tmp"));
        assert!(!is_temp(c".ringbolt"));
    }
}
