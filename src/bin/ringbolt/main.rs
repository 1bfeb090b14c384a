//! The `ringbolt` command: parses arguments, checks them, does the work. Each error is one line on stderr.

mod args;
mod bench;
mod cp;
mod doctor;
mod interrupt;
mod log;
mod problem;
mod put;
mod read;
mod recover;
mod rm;
mod sidecar;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nix::sys::signal::{SigSet, Signal};

use args::{Args, Command};
use problem::Problem;

fn main() -> ExitCode {
    let args = Args::parse();
    // With SIGXFSZ blocked, a write beyond the file size limit fails with EFBIG instead of killing the process.
    // Blocking fails only for a signal that does not exist.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    match run(args) {
        Ok(status) => status,
        Err(problem) if problem.is_closed_pipe() => ExitCode::SUCCESS,
        Err(problem) => {
            problem::report(&problem);
            problem.status()
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Problem> {
    match args.command {
        Command::Put(args) => put::run(&args)?,
        Command::Get(args) => read::get(&args)?,
        Command::Ls(args) => return read::ls(&args),
        Command::Rm(args) => return rm::run(&args),
        Command::Cp(args) => return cp::run(&args),
        Command::Bench(args) => return bench::run(&args),
        Command::Sidecar(args) => return sidecar::run(&args),
        Command::Log(args) => log::run(&args)?,
        Command::Recover(args) => recover::run(&args)?,
        Command::Doctor(args) => doctor::run(&args)?,
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Args::command(), "ringbolt", &mut script);
            print(&script)?;
        }
        Command::Man(args) => print(&manual(&args.command)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn manual(of: &[String]) -> Result<Vec<u8>, Problem> {
    let mut command = Args::command();
    command.build();
    let mut name = "ringbolt".to_owned();
    for word in of {
        let Some(found) = command.find_subcommand(word) else {
            return Err(Problem::Usage(format!("no manual page for {:?}: no such command", of.join(" "))));
        };
        name = format!("{name}-{word}");
        command = found.clone();
    }
    let command = command.name(name.leak() as &'static str);
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Problem::stdout)?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Problem::stdout)
}
