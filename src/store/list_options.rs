//! Which keys a listing returns.

/// Which keys to list: all of a store, unless an option narrows them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use ringbolt::ListOptions;
///
/// let store = ringbolt::Store::create(dir.path())?;
/// for key in ["a/1", "a/2", "a/3", "b/1"] {
///     store.put(key, "")?;
/// }
/// let options = ListOptions::new().prefix("a/").start_after("a/1").limit(1000);
/// assert_eq!(store.list_with(options)?.collect::<Result<Vec<_>, _>>()?, ["a/2", "a/3"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct ListOptions {
    pub(super) prefix: String,
    pub(super) start_after: Option<String>,
    pub(super) limit: Option<usize>,
}

impl ListOptions {
    /// Options that list every key.
    pub fn new() -> ListOptions {
        ListOptions::default()
    }

    /// Lists only the keys that begin with `prefix`: `"a/"` for those in a directory, `""` for all.
    pub fn prefix(mut self, prefix: impl Into<String>) -> ListOptions {
        self.prefix = prefix.into();
        self
    }

    /// Lists only the keys that come after this text in the order of their bytes. It need not be a key of the store, nor even a
    /// valid one. Directories that come before it as a whole are not read.
    pub fn start_after(mut self, start_after: impl Into<String>) -> ListOptions {
        self.start_after = Some(start_after.into());
        self
    }

    /// Ends the listing after this many keys.
    pub fn limit(mut self, limit: usize) -> ListOptions {
        self.limit = Some(limit);
        self
    }
}
