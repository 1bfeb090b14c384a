//! Writes the results to standard output and files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringbolt::bench::Results;
use ringbolt::{Outcome, WriteOptions};

use super::args::BenchArgs;
use super::demand::DemandResult;
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
    /// A regular file, which may not exist yet, with the mode to give it. It is replaced atomically.
    File(PathBuf, u32),
    /// A FIFO or a character device. It is written to directly.
    Stream(PathBuf),
}

impl Outputs {
    /// Checks all outputs before the measurement, so that a bad path cannot waste a run. Changes nothing.
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
                return Err(Problem::Usage(format!("cannot write two outputs to {path:?}")));
            }
            targets.push((format, target));
        }
        Ok(Outputs(targets))
    }

    /// Writes files first, because the reader of standard output may be gone.
    pub(crate) fn write(mut self, results: &Results, demands: &[DemandResult]) -> Result<(), Problem> {
        self.0.sort_by_key(|(_, target)| *target == Target::Stdout);
        for (format, target) in &self.0 {
            target.write(format.text(results, demands)?)?;
        }
        match self.0.iter().any(|(_, target)| *target == Target::Stdout) {
            true => Ok(()),
            false => print(&terminal::text(results, demands)),
        }
    }
}

impl Format {
    fn text(self, results: &Results, demands: &[DemandResult]) -> Result<String, Problem> {
        Ok(match self {
            Format::Json => {
                serde_json::to_string_pretty(results).map_err(|error| Problem::Read(error.to_string()))? + "\n"
            }
            Format::Csv => table::csv(results),
            Format::Markdown => table::markdown(results, demands),
            Format::Html => {
                let verdict = |result: &DemandResult| (result.demand.clone(), result.holds, result.found.clone());
                html::page(results, &demands.iter().map(verdict).collect::<Vec<_>>())
            }
        })
    }
}

impl Target {
    fn of(path: &Path) -> Result<Target, Problem> {
        if path == Path::new("-") {
            return Ok(Target::Stdout);
        }
        let fail = |error| Problem::before("bench", "write to", path)(error);
        match fs::metadata(path) {
            // Replace the target of a symbolic link, not the link.
            Ok(found) if found.is_file() => {
                OpenOptions::new().append(true).open(path).map_err(fail)?;
                let whole = fs::canonicalize(path).map_err(fail)?;
                Ok(Target::File(whole, found.permissions().mode() & 0o777))
            }
            Ok(found) if found.file_type().is_fifo() || found.file_type().is_char_device() => {
                Ok(Target::Stream(path.to_owned()))
            }
            Ok(_) => Err(Problem::Usage(format!("cannot write a report to {path:?}: not a file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let whole = fs::canonicalize(dir).map_err(fail)?;
                let name = path.file_name().ok_or_else(|| Problem::Usage(format!("{path:?} has no file name")))?;
                Ok(Target::File(whole.join(name), 0o644))
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn write(&self, text: String) -> Result<(), Problem> {
        match self {
            Target::Stdout => print(&text),
            Target::File(path, mode) => match WriteOptions::new().mode(*mode).write(path, text) {
                // The report is written. That it may not survive a power cut does not matter.
                Err(error) if error.outcome() == Outcome::Unknown => Ok(()),
                result => result.map_err(Problem::write("bench", &path.to_string_lossy())),
            },
            Target::Stream(path) => {
                let file = OpenOptions::new().write(true).open(path);
                let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
                written.map_err(|error| Problem::Read(format!("bench: cannot write to {path:?}: {error}")))
            }
        }
    }
}
