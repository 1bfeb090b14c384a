//! `ringbolt bench`: what a durable write costs here.

pub(crate) mod args;
mod chart;
mod compare;
mod demand;
mod figures;
mod html;
#[cfg(test)]
mod html_tests;
mod table;
mod tables;
mod terminal;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringbolt::bench::{Bench, Progress, Results};

use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};
use args::{BenchArgs, BenchCommand};
use demand::Demands;

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Problem> {
    if let Some(BenchCommand::Compare(args)) = &args.compare {
        return compare::run(args);
    }
    let demands = Demands::new(&args.assertions, &args.profiles)?;
    let outputs = Outputs::open(args)?;
    let interrupt = Interrupt::watch().map_err(Problem::before("bench", "watch for signals", &args.dir))?;
    let mut bench = Bench::new(&args.dir).mode(args.mode()).size(args.size as usize);
    if let Some(rate) = args.rate {
        bench = bench.rate(rate);
    }
    let mut bar = ProgressBar::hidden();
    let results = bench.run(|progress| {
        match progress {
            Progress::Begin { directory, takes, bytes } => {
                let (bytes, seconds) = (HumanBytes(bytes), takes.as_secs_f64().ceil());
                problem::tell(&format_args!("bench: writes about {bytes} in {directory:?}, for about {seconds} s"));
            }
            Progress::Turn { done, all } => {
                if done == 1 {
                    bar = begun(all);
                }
                bar.set_position(done);
            }
            _ => {}
        }
        match interrupt.check() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    bar.finish_and_clear();
    let results = results.map_err(|error| Problem::Read(format!("bench: {error}")))?;
    let outcomes = demands.check(&results);
    outputs.write(&results, &outcomes)?;
    match interrupt.check() {
        // What came after the last turn has ended nothing.
        Err(interrupted) if results.partial => Ok(interrupted.status()),
        _ if outcomes.iter().any(|outcome| !outcome.holds) => Ok(ExitCode::FAILURE),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Shown on a terminal only; redrawn between turns, when nothing is timed.
fn begun(all: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template("{bar:32} {percent} %, {eta} left").expect("a valid template"))
}

/// Where the results go. Files are opened before anything is measured, so that nothing is measured in vain.
struct Outputs {
    files: Vec<(Format, PathBuf, Option<File>)>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Csv,
    Markdown,
    Html,
}

impl Outputs {
    fn open(args: &BenchArgs) -> Result<Outputs, Problem> {
        let asked = [
            (Format::Json, &args.json),
            (Format::Csv, &args.csv),
            (Format::Markdown, &args.markdown),
            (Format::Html, &args.html),
        ];
        let mut files = Vec::new();
        for (format, path) in asked {
            let Some(path) = path else { continue };
            let file = if path == Path::new("-") {
                None
            } else {
                let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
                Some(file.map_err(Problem::before("bench", "open", path))?)
            };
            files.push((format, path.clone(), file));
        }
        if files.iter().filter(|(_, _, file)| file.is_none()).count() > 1 {
            return Err(Problem::Usage("only one output can be `-`, standard output".to_owned()));
        }
        Ok(Outputs { files })
    }

    fn write(self, results: &Results, outcomes: &[demand::Outcome]) -> Result<(), Problem> {
        if self.files.iter().all(|(_, _, file)| file.is_some()) {
            print(&terminal::text(results, outcomes))?;
        }
        let verdicts: Vec<_> =
            outcomes.iter().map(|outcome| (outcome.demand.clone(), outcome.holds, outcome.found.clone())).collect();
        for (format, path, file) in self.files {
            let text = match format {
                Format::Json => {
                    serde_json::to_string_pretty(results).map_err(|error| Problem::Read(error.to_string()))? + "\n"
                }
                Format::Csv => table::csv(results),
                Format::Markdown => table::markdown(results, outcomes),
                Format::Html => html::page(results, &verdicts),
            };
            match file {
                None => print(&text)?,
                Some(file) => overwrite(file, text.as_bytes()).map_err(Problem::before("bench", "write", &path))?,
            }
        }
        Ok(())
    }
}

/// A pipe or a device has no length to set.
fn overwrite(mut file: File, bytes: &[u8]) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(bytes)
}

fn print(text: &str) -> Result<(), Problem> {
    crate::print(text.as_bytes())
}
