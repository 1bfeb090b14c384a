//! An error that returns the value of the call.

use std::fmt;

use super::{Error, ErrorKind};

/// The error of a call that consumes its value. If the call can be tried again, it contains the value.
///
/// [`AtomicFile::commit`](crate::AtomicFile::commit) and [`StoreFile::commit`](crate::StoreFile::commit) return the file when its
/// content is still complete and only its name was refused: the key exists, has another version, or a directory is in its place.
/// [`Store::close`](crate::Store::close) returns the store when something else still holds it. `?` converts it into an [`Error`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let store = ringbolt::Store::create(dir.path())?;
/// use ringbolt::PutOptions;
/// use std::io::Write;
///
/// let mut upload = store.writer("report", PutOptions::new().create_new(true))?;
/// upload.write_all(b"many gigabytes")?;
/// store.put("report", "somebody was faster")?;
///
/// let rejected = upload.commit().unwrap_err();
/// assert!(rejected.error().is_already_exists());
/// let upload = rejected.into_value().expect("the content is still there");
/// upload.with_options(PutOptions::new()).commit()?; // replace it after all
/// assert_eq!(store.get("report")?, "many gigabytes");
/// # Ok(())
/// # }
/// ```
pub struct Rejected<T> {
    error: Error,
    // Boxed: a `Result` of it costs little on the good path.
    value: Option<Box<T>>,
}

impl<T> Rejected<T> {
    pub(crate) fn new(error: Error, value: Option<T>) -> Rejected<T> {
        Rejected { error, value: value.map(Box::new) }
    }

    /// Contains the value if the error says that its content was kept, and drops it otherwise.
    pub(crate) fn of(error: Error, value: T) -> Rejected<T> {
        let value = error.content_kept().then_some(value);
        Rejected::new(error, value)
    }

    /// Why the call failed.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// The value, if the call can be tried again.
    pub fn into_value(self) -> Option<T> {
        self.value.map(|value| *value)
    }

    /// The error and the value.
    pub fn into_parts(self) -> (Error, Option<T>) {
        (self.error, self.value.map(|value| *value))
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Error {
        rejected.error
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).field("value", &self.value.is_some()).finish()
    }
}

impl<T> std::error::Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
