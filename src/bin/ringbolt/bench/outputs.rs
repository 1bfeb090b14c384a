//! Where the results go: standard output, and files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringbolt::bench::Results;
use ringbolt::{Outcome as State, WriteOptions};

use super::args::BenchArgs;
use super::demand::Outcome;
use super::{html, print, table, terminal};
use crate::problem::Problem;

pub(crate) struct Outputs(Vec<(Format, Target)>);

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Csv,
    Markdown,
    Html,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    /// A regular file, or none yet: replaced whole. With the mode it is to have.
    File(PathBuf, u32),
    /// A FIFO or a terminal: written into.
    Stream(PathBuf),
}

impl Outputs {
    /// Looks at them before anything is measured, so that nothing is measured in vain; and changes none.
    pub(crate) fn check(args: &BenchArgs) -> Result<Outputs, Problem> {
        let asked = [
            (Format::Json, &args.json),
            (Format::Csv, &args.csv),
            (Format::Markdown, &args.markdown),
            (Format::Html, &args.html),
        ];
        let mut targets = Vec::new();
        for (format, path) in asked {
            let Some(path) = path else { continue };
            let target = Target::of(path)?;
            if targets.iter().any(|(_, other)| *other == target) {
                return Err(Problem::Usage(format!("two outputs cannot both go to {path:?}")));
            }
            targets.push((format, target));
        }
        Ok(Outputs(targets))
    }

    /// The files first: what reads standard output may be gone.
    pub(crate) fn write(mut self, results: &Results, outcomes: &[Outcome]) -> Result<(), Problem> {
        self.0.sort_by_key(|(_, target)| *target == Target::Stdout);
        for (format, target) in &self.0 {
            target.write(format.text(results, outcomes)?)?;
        }
        match self.0.iter().any(|(_, target)| *target == Target::Stdout) {
            true => Ok(()),
            false => print(&terminal::text(results, outcomes)),
        }
    }
}

impl Format {
    fn text(self, results: &Results, outcomes: &[Outcome]) -> Result<String, Problem> {
        Ok(match self {
            Format::Json => {
                serde_json::to_string_pretty(results).map_err(|error| Problem::Read(error.to_string()))? + "\n"
            }
            Format::Csv => table::csv(results),
            Format::Markdown => table::markdown(results, outcomes),
            Format::Html => {
                let verdict = |outcome: &Outcome| (outcome.demand.clone(), outcome.holds, outcome.found.clone());
                html::page(results, &outcomes.iter().map(verdict).collect::<Vec<_>>())
            }
        })
    }
}

impl Target {
    fn of(path: &Path) -> Result<Target, Problem> {
        if path == Path::new("-") {
            return Ok(Target::Stdout);
        }
        let fail = |error| Problem::before("bench", "look", path)(error);
        match fs::metadata(path) {
            // What a link names is replaced, and not the link.
            Ok(found) if found.is_file() => {
                OpenOptions::new().append(true).open(path).map_err(fail)?;
                let whole = fs::canonicalize(path).map_err(fail)?;
                Ok(Target::File(whole, found.permissions().mode() & 0o777))
            }
            Ok(found) if found.file_type().is_fifo() || found.file_type().is_char_device() => {
                Ok(Target::Stream(path.to_owned()))
            }
            Ok(_) => Err(Problem::Usage(format!("{path:?} is no file to write a report to"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let whole = fs::canonicalize(dir).map_err(fail)?;
                let name = path.file_name().ok_or_else(|| Problem::Usage(format!("{path:?} names no file")))?;
                Ok(Target::File(whole.join(name), 0o644))
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn write(&self, text: String) -> Result<(), Problem> {
        match self {
            Target::Stdout => print(&text),
            Target::File(path, mode) => match WriteOptions::new().mode(*mode).write(path, text) {
                // The report is there. That it will not survive a power cut is not worth an error.
                Err(error) if error.outcome() == State::Unknown => Ok(()),
                result => result.map_err(Problem::write("bench", &path.to_string_lossy())),
            },
            Target::Stream(path) => {
                let file = OpenOptions::new().write(true).open(path);
                let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
                written.map_err(|error| Problem::Read(format!("bench: write to {path:?} failed: {error}")))
            }
        }
    }
}
