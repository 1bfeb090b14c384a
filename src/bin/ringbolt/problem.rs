//! Errors of the command: one line of text and an exit status.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ringbolt::{ErrorKind, Outcome};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The command line is invalid.
    Usage(String),
    /// A change failed: what was attempted, why it failed, and whether anything changed.
    Write { doing: String, why: String, outcome: Outcome },
    /// A read failed.
    Read(String),
    /// A write to standard output failed.
    Stdout(io::Error),
    /// A signal arrived (its number); the change was discarded.
    Interrupted(i32),
}

impl Problem {
    /// An error of the library while changing `key`.
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

    /// A failure before the change began, outside the store: `cannot {what} {path}`.
    pub(crate) fn before(doing: &str, what: &str, path: &Path) -> impl FnOnce(io::Error) -> Problem {
        let doing = doing.to_owned();
        let cannot = if path == Path::new("-") {
            format!("cannot {what} standard input")
        } else {
            format!("cannot {what} {path:?}")
        };
        move |error| Problem::Write { doing, why: format!("{cannot}: {error}"), outcome: Outcome::Unchanged }
    }

    /// Signals cannot be watched for.
    pub(crate) fn signals(doing: &str) -> impl FnOnce(io::Error) -> Problem {
        let doing = doing.to_owned();
        move |error| Problem::Write {
            doing,
            why: format!("cannot watch for signals: {error}"),
            outcome: Outcome::Unchanged,
        }
    }

    pub(crate) fn stdout(error: io::Error) -> Problem {
        Problem::Stdout(error)
    }

    /// Whether the reader of our output closed the pipe, which is not an error.
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
        const UNCHANGED: &str = "nothing was changed, and any old content is still there";
        match self {
            Problem::Usage(what) => f.write_str(what),
            Problem::Write { doing, why, outcome: Outcome::Unchanged } => write!(f, "{doing}: {why}; {UNCHANGED}"),
            Problem::Write { doing, why, outcome: Outcome::Unknown } => {
                write!(f, "{doing}: {why}; the change is visible, but may not survive a power cut")
            }
            Problem::Read(why) => f.write_str(why),
            Problem::Stdout(error) => write!(f, "cannot write to standard output: {error}"),
            Problem::Interrupted(_) => write!(f, "interrupted; {UNCHANGED}"),
        }
    }
}

/// Prints one line on stderr. Ignores errors: there is nowhere left to report them.
pub(crate) fn report(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "ringbolt: {what}");
}
