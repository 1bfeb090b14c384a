//! Options of a put.

use super::Existing;
use super::version::Version;

/// Options of a put: [`Store::put_with`](crate::Store::put_with), [`Store::writer`](crate::Store::writer).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let store = ringbolt::Store::create(dir.path())?;
/// use ringbolt::PutOptions;
///
/// store.put_with("motd", "hello", PutOptions::new().mode(0o644))?;
/// let again = store.put_with("motd", "bye", PutOptions::new().create_new(true));
/// assert!(again.unwrap_err().is_already_exists());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "options do nothing by themselves"]
pub struct PutOptions {
    pub(crate) mode: Option<u32>,
    pub(crate) existing: Existing,
}

impl Default for PutOptions {
    fn default() -> PutOptions {
        PutOptions::new()
    }
}

impl PutOptions {
    /// Mode 0600 less the umask; replaces an existing file.
    pub fn new() -> PutOptions {
        PutOptions { mode: None, existing: Existing::Replace }
    }

    /// Sets the exact permission bits of the new file (at most `0o7777`), regardless of the umask. They are as durable as the
    /// content.
    pub fn mode(mut self, mode: u32) -> PutOptions {
        self.mode = Some(mode & 0o7777);
        self
    }

    /// Fails with [`Error::is_already_exists`](crate::Error::is_already_exists) if there is a file of that name, instead of
    /// replacing it. The check is part of the rename: of several writers exactly one succeeds.
    pub fn create_new(mut self, create_new: bool) -> PutOptions {
        self.existing = match (create_new, self.existing) {
            (true, _) => Existing::Refuse,
            (false, Existing::Refuse) => Existing::Replace,
            (false, existing) => existing,
        };
        self
    }

    /// Fails with [`Error::is_version_mismatch`](crate::Error::is_version_mismatch) unless the key has this version. For stores
    /// only: a single [`write`](crate::WriteOptions) has no versions.
    pub fn expect_version(mut self, expected: Version) -> PutOptions {
        self.existing = Existing::Match(expected);
        self
    }
}
