//! `ringbolt bench`: measures what a durable write costs.

pub(crate) mod args;
mod chart;
mod compare;
mod demand;
mod figures;
mod html;
#[cfg(test)]
mod html_tests;
mod outputs;
mod table;
mod tables;
mod terminal;

use std::fs;
use std::ops::ControlFlow;
use std::process::ExitCode;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringbolt::bench::{Bench, Progress};

use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};
use args::{BenchArgs, BenchCommand};
use demand::Demands;
use outputs::Outputs;

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Problem> {
    if let Some(BenchCommand::Compare(args)) = &args.compare {
        return compare::run(args);
    }
    let demands = Demands::new(&args.assertions, &args.profiles)?;
    let outputs = Outputs::check(args)?;
    fs::metadata(&args.dir).map_err(Problem::before("bench", "stat", &args.dir))?;
    let interrupt = Interrupt::watch().map_err(Problem::signals("bench"))?;
    let mut bench = Bench::new(&args.dir).mode(args.mode()).size(args.size as usize);
    if let Some(rate) = args.rate {
        bench = bench.rate(rate);
    }
    let mut bar = ProgressBar::hidden();
    let results = bench.run(|progress| {
        match progress {
            Progress::Begin { directory, takes, bytes } => {
                let (bytes, seconds) = (HumanBytes(bytes), takes.as_secs_f64().ceil());
                problem::report(&format_args!(
                    "bench: writing at most about {bytes} in {directory:?}, for about {seconds} s"
                ));
            }
            Progress::Turn { done, all } => {
                if done == 1 {
                    bar = progress_bar(all);
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
    let checked = demands.check(&results);
    let status = match interrupt.check() {
        // A signal after the last turn interrupted nothing, so the results are complete.
        Err(interrupted) if results.partial => interrupted.status(),
        _ if results.partial => {
            problem::report(
                &"bench: the results are incomplete, because a series failed; the report says which and why",
            );
            ExitCode::FAILURE
        }
        _ if checked.iter().any(|demand| !demand.holds) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    };
    match outputs.write(&results, &checked) {
        // The reader closed the pipe; the exit status still matters.
        Err(problem) if problem.is_closed_pipe() => Ok(status),
        result => result.map(|()| status),
    }
}

/// The progress bar; hidden unless stderr is a terminal. It is redrawn between turns only, when nothing is timed.
fn progress_bar(all: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template("{bar:32} {percent} %, {eta} left").expect("a valid template"))
}

fn print(text: &str) -> Result<(), Problem> {
    crate::print(text.as_bytes())
}
