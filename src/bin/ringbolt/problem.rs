//! What went wrong, in one line, and the status to end with.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ringbolt::Outcome;

/// Whatever ends a command early.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The command line asks for what cannot be.
    Usage(String),
    /// An operation that changes the store failed on this key.
    Write { doing: String, error: ringbolt::Error },
    /// Anything else of the library's.
    Library(ringbolt::Error),
    /// A file or stream that is not the store's.
    Io { doing: String, error: io::Error },
    /// Standard output.
    Stdout(io::Error),
    /// A signal, by number; nothing was left half done.
    Interrupted(i32),
}

impl Problem {
    pub(crate) fn usage(what: impl Into<String>) -> Problem {
        Problem::Usage(what.into())
    }

    pub(crate) fn write<'a>(doing: &'a str, key: &'a str) -> impl FnOnce(ringbolt::Error) -> Problem + 'a {
        move |error| match error.is_invalid_key() {
            true => Problem::Write { doing: doing.into(), error },
            false => Problem::Write { doing: format!("{doing} {key:?}"), error },
        }
    }

    pub(crate) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Problem {
        let doing =
            if path == Path::new("-") { format!("{doing} standard input") } else { format!("{doing} {path:?}") };
        |error| Problem::Io { doing, error }
    }

    pub(crate) fn stdout(error: io::Error) -> Problem {
        Problem::Stdout(error)
    }

    /// Who reads our output has seen enough.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Problem::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Problem::Usage(_) => ExitCode::from(2),
            Problem::Interrupted(signal) => ExitCode::from(128 + *signal as u8),
            _ => ExitCode::FAILURE,
        }
    }
}

impl From<ringbolt::Error> for Problem {
    fn from(error: ringbolt::Error) -> Problem {
        Problem::Library(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNCHANGED: &str = "nothing was changed, the old content (if any) is still there";
        match self {
            Problem::Usage(what) => f.write_str(what),
            Problem::Write { doing, error } => {
                write!(f, "{doing}: {error}; ")?;
                match error.outcome() {
                    Outcome::Unchanged => f.write_str(UNCHANGED),
                    Outcome::Unknown => f.write_str("the change is visible, but may not survive a power cut"),
                }
            }
            Problem::Library(error) => write!(f, "{error}"),
            Problem::Io { doing, error } => write!(f, "{doing}: {error}"),
            Problem::Stdout(error) => write!(f, "write to standard output: {error}"),
            Problem::Interrupted(_) => write!(f, "interrupted; {UNCHANGED}"),
        }
    }
}

/// One line on stderr. If that is closed, there is nobody to tell.
pub(crate) fn tell(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "ringbolt: {what}");
}
