//! Keys: relative paths with normal components.

use std::ffi::CString;

use crate::error::{Error, ErrorKind, Result, Step};

/// The longest component of a key in bytes (`NAME_MAX`).
pub const COMPONENT_MAX: usize = 255;

/// The longest key in bytes (`PATH_MAX` less its NUL).
pub const KEY_MAX: usize = 4095;

/// Checks whether `key` is a valid key of a store.
///
/// ```
/// assert!(ringbolt::check_key("a/b").is_ok());
/// assert!(ringbolt::check_key("../a").unwrap_err().is_invalid_key());
/// ```
///
/// # Errors
///
/// [`Error::is_invalid_key`](crate::Error::is_invalid_key), with the reason in the message.
pub fn check_key(key: &str) -> Result<()> {
    Key::parse(key).map(drop)
}

/// The prefix of every file and directory of ringbolt's own.
const RESERVED: &str = ".ringbolt";

/// A valid key, split into its directory and its name.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    text: &'a str,
    /// The offset of the name in `text`.
    name_at: usize,
}

impl<'a> Key<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Key<'a>> {
        match fault(text) {
            Some(why) => Err(Error::new(ErrorKind::InvalidKey, Step::Check, text).with_detail(why)),
            None => Ok(Key { text, name_at: text.rfind('/').map_or(0, |slash| slash + 1) }),
        }
    }

    pub(crate) fn as_str(&self) -> &'a str {
        self.text
    }

    /// The directory that holds the file, relative to the root; `""` for the root itself.
    pub(crate) fn parent(&self) -> &'a str {
        &self.text[..self.name_at.saturating_sub(1)]
    }

    pub(crate) fn name(&self) -> CString {
        CString::new(&self.text[self.name_at..]).expect("checked: no NUL")
    }
}

/// Whether a name is reserved for ringbolt. Ignores case, since some filesystems do.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED.as_bytes()))
}

/// Why `text` is not a valid key.
fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.starts_with('/') {
        return Some("it is absolute; keys are relative to the store");
    }
    if text.len() > KEY_MAX {
        return Some("it is longer than 4095 bytes");
    }
    if text.contains('\0') {
        return Some("it contains a NUL byte");
    }
    text.split('/').find_map(|component| match component {
        "" => Some("it has an empty component"),
        "." | ".." => Some("`.` and `..` are not allowed in it"),
        _ if component.len() > COMPONENT_MAX => Some("a component is longer than 255 bytes"),
        _ if is_reserved(component.as_bytes()) => Some("names that begin with `.ringbolt` are reserved"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart() {
        for (text, parent, name) in [("a", "", "a"), ("a/b", "a", "b"), ("a/b/ c\n", "a/b", " c\n"), ("...", "", "...")]
        {
            let key = Key::parse(text).unwrap();
            assert_eq!((key.parent(), key.name().to_str().unwrap()), (parent, name));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(256);
        let deep = "d/".repeat(2048) + "x";
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a\0b",
            ".ringbolt",
            ".ringbolt/lock",
            "a/.ringbolt-x",
            ".RingBolt-0.tmp",
            &long,
            &deep,
        ] {
            let error = Key::parse(text).unwrap_err();
            assert!(error.is_invalid_key(), "{text:?}");
        }
        assert!(Key::parse(&"x".repeat(255)).is_ok());
        assert!(Key::parse("ringbolt").is_ok());
    }
}
