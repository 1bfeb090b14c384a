//! What went wrong, in one line, and the status to end with.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ringbolt::{ErrorKind, Outcome};

/// Whatever ends a command early.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The command line asks for what cannot be.
    Usage(String),
    /// What changes the store failed: what was to be done, why not, and what is true now.
    Write { doing: String, why: String, outcome: Outcome },
    /// Reading failed.
    Read(String),
    /// Standard output.
    Stdout(io::Error),
    /// A signal, by number; nothing was left half done.
    Interrupted(i32),
}

impl Problem {
    /// A change of a key that the library refused or could not make.
    pub(crate) fn write<E: Into<ringbolt::Error>>(doing: &str, key: &str) -> impl FnOnce(E) -> Problem {
        let doing = format!("{doing} {key:?}");
        |error| {
            let error = error.into();
            let hint = match error.kind() {
                ErrorKind::DirectoryNotEmpty => " (--adopt)",
                _ => "",
            };
            Problem::Write { doing, outcome: error.outcome(), why: format!("{error}{hint}") }
        }
    }

    /// A change that did not begin, because of something that is not the store's.
    pub(crate) fn before(doing: &str, what: &str, path: &Path) -> impl FnOnce(io::Error) -> Problem {
        let doing = doing.to_owned();
        let of =
            if path == Path::new("-") { format!("{what} of standard input") } else { format!("{what} of {path:?}") };
        move |error| Problem::Write { doing, why: format!("{of} failed: {error}"), outcome: Outcome::Unchanged }
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
        Problem::Read(error.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNCHANGED: &str = "nothing was changed, the old content (if any) is still there";
        match self {
            Problem::Usage(what) => f.write_str(what),
            Problem::Write { doing, why, outcome: Outcome::Unchanged } => write!(f, "{doing}: {why}; {UNCHANGED}"),
            Problem::Write { doing, why, outcome: Outcome::Unknown } => {
                write!(f, "{doing}: {why}; the change is visible, but may not survive a power cut")
            }
            Problem::Read(why) => f.write_str(why),
            Problem::Stdout(error) => write!(f, "write to standard output failed: {error}"),
            Problem::Interrupted(_) => write!(f, "interrupted; {UNCHANGED}"),
        }
    }
}

/// One line on stderr. If that is closed, there is nobody to tell.
pub(crate) fn tell(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "ringbolt: {what}");
}
