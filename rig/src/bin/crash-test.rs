//! Simulates many power cuts on real filesystems, and reports whether the crate lost anything.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use clap::Parser;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use ringbolt::Barrier;
use ringbolt_rig::crash::{Cell, Device, Lab, Tally, Trial, gate, hunt, promises, table};

/// How many times more states to try for a wrong protocol that is not caught yet.
const PATIENCE: usize = 8;

/// Simulates power cuts on ext4, xfs and btrfs, and reports whether the crate lost anything.
///
/// Prints one table of promises, where every cell must have 0 violations, and one of wrong protocols, each of which
/// must be caught. The exit status is 0 if so, else 1. Needs root, FUSE, loop devices, the three mkfs and filefrag.
#[derive(Debug, Parser)]
#[command(name = "crash-test", args_override_self = true)]
struct Args {
    /// Number of crash states per promise.
    #[arg(long, default_value_t = 60)]
    states: usize,
    /// Number of crash states per wrong protocol; up to 8 times as many until it is caught.
    #[arg(long, default_value_t = 40)]
    gate_states: usize,
    /// Repeat a run: the same operations and the same choice of states. The timing of the kernel's own writes may
    /// differ.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only cells whose name contains this, such as "xfs/put/uring"; can be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Run the cells on this disk instead of their own: "cache", "FUA" or "failed write".
    #[arg(long, value_name = "DISK", value_parser = device)]
    device: Option<Device>,
    /// Number of disks to test in parallel.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, |n| n.get()))]
    jobs: usize,
    /// Directory to save the disk image of each cell's first violation in.
    #[arg(long, value_name = "DIR", default_value = "target/crash-test")]
    keep: PathBuf,
    /// Also print the first violation of each wrong protocol.
    #[arg(long)]
    show: bool,
    /// List the cells and exit.
    #[arg(long)]
    list: bool,
}

fn device(name: &str) -> Result<Device, String> {
    let is_it = |device: &Device| device.to_string() == name;
    Device::ALL.into_iter().find(is_it).ok_or_else(|| "no such disk".to_owned())
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("crash-test: {error}"));
            ExitCode::from(2)
        }
    }
}

/// A cell, and whether it must be caught.
#[derive(Clone, Copy)]
struct Job {
    number: usize,
    cell: Cell,
    wrong: bool,
}

/// The result of a cell.
type Outcome = Result<Tally, String>;

fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let chosen = |cell: &Cell| args.only.is_empty() || args.only.iter().any(|text| cell.to_string().contains(text));
    let cells = promises().into_iter().map(|cell| (cell, false)).chain(gate().into_iter().map(|cell| (cell, true)));
    let work: Vec<Job> = cells
        .filter(|(cell, _)| chosen(cell))
        .enumerate()
        .map(|(number, (cell, wrong))| (number, Cell { device: args.device.unwrap_or(cell.device), ..cell }, wrong))
        .map(|(number, cell, wrong)| Job { number, cell, wrong })
        .collect();
    if work.is_empty() {
        return Err("no cell has such a name: see --list".into());
    }
    if args.list {
        for Job { cell, wrong, .. } in &work {
            writeln!(io::stdout(), "{cell}{}", if *wrong { " (must be caught)" } else { "" })?;
        }
        return Ok(true);
    }
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos().into(),
    };
    say(&format!("crash-test: --seed {seed}, {} cells", work.len()));
    stop_at_signals()?;
    // All mounts end with this process, however it ends.
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| format!("needs root: cannot create a mount namespace: {errno}"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let base = tempfile::Builder::new().prefix("ringbolt-crash-test.").tempdir()?;
    mount(Some("crash-test"), base.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let outcomes = work_off(args, seed, &work, base.path())?;
    nix::mount::umount2(base.path(), nix::mount::MntFlags::MNT_DETACH)?;
    report(args, &work, outcomes, seed)
}

/// Runs the cells on several disks, and prints the result of each.
fn work_off(args: &Args, seed: u64, work: &[Job], base: &Path) -> io::Result<Vec<Option<Outcome>>> {
    let todo = Mutex::new(work.iter().copied().collect::<VecDeque<Job>>());
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; work.len()]);
    let (done, all) = (AtomicUsize::new(0), work.len());
    let jobs = args.jobs.clamp(1, work.len());
    thread::scope(|scope| {
        let workers = (0..jobs).map(|n| {
            let (todo, outcomes, done) = (&todo, &outcomes, &done);
            scope.spawn(move || -> io::Result<()> {
                let dir = base.join(n.to_string());
                std::fs::create_dir(&dir)?;
                let lab = Lab::new(&dir)?;
                while !STOP.load(Ordering::Relaxed) {
                    let Some(work) = todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { break };
                    let begin = Instant::now();
                    let outcome = try_one(args, seed, work, &lab);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let said = match &outcome {
                        Ok(Tally { states, violating, .. }) => {
                            format!("{violating} of {states} states violate ({:.1} s)", begin.elapsed().as_secs_f64())
                        }
                        Err(error) => error.clone(),
                    };
                    say(&format!("[{done}/{}] {}: {said}", all, work.cell));
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner)[work.number] = Some(outcome);
                }
                Ok(())
            })
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker has panicked: see above")))
        })
    })?;
    Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn try_one(args: &Args, seed: u64, Job { cell, wrong, .. }: Job, lab: &Lab) -> Outcome {
    let stop = || STOP.load(Ordering::Relaxed);
    let trial = |seed, states, keep| Trial { seed, states, keep };
    if !wrong {
        return hunt(&cell, lab, &trial(seed, args.states, Some(args.keep.clone())), &stop).map_err(|e| e.to_string());
    }
    let mut all = Tally::default();
    for round in 0..PATIENCE as u64 {
        let tally = hunt(&cell, lab, &trial(seed.wrapping_add(round), args.gate_states, None), &stop)
            .map_err(|e| e.to_string())?;
        all = all.and(tally);
        if all.violating > 0 || stop() {
            break;
        }
    }
    Ok(all)
}

/// Prints the tables and the failures.
fn report(
    args: &Args,
    work: &[Job],
    outcomes: Vec<Option<Outcome>>,
    seed: u64,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    let (mut promised, mut caught, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut untried = 0;
    for (work, outcome) in work.iter().zip(outcomes) {
        match outcome {
            None => untried += 1,
            Some(Err(error)) => wrong.push(format!("{}: {error}", work.cell)),
            Some(Ok(tally)) if work.wrong => {
                if let (true, Some(first)) = (args.show, &tally.first) {
                    writeln!(out, "\ncaught {first}")?;
                }
                if tally.violating == 0 {
                    wrong.push(format!("{}: not caught in {} states", work.cell, tally.states));
                }
                caught.push((work.cell, tally));
            }
            Some(Ok(tally)) => {
                wrong.extend(tally.first.clone());
                promised.push((work.cell, tally));
            }
        }
    }
    let total = |results: &[(Cell, Tally)], of: fn(&Tally) -> usize| -> usize {
        results.iter().map(|(_, tally)| of(tally)).sum()
    };
    for (title, results, table) in [
        ("What is promised", &promised, table::of_promises(&promised)),
        ("What must be caught", &caught, table::of_gate(&caught)),
    ] {
        if !results.is_empty() {
            writeln!(out, "\n{title} (states that violate/states tried, seed {seed}):\n\n{table}")?;
            writeln!(
                out,
                "{} states, of them {} of a second cut during the recovery; {} more did not mount, with a torn sector of the \
                 filesystem's own.",
                total(results, |tally| tally.states),
                total(results, |tally| tally.recuts),
                total(results, |tally| tally.unmountable),
            )?;
        }
    }
    let logged: Vec<_> = promised.iter().filter(|(cell, _)| cell.barrier == Barrier::IntentLog).cloned().collect();
    if !logged.is_empty() {
        let on =
            |device| logged.iter().filter(move |(cell, _)| cell.device == device).map(|(_, tally)| tally.states).sum();
        let (forced, failed): (usize, usize) = (on(Device::Fua), on(Device::FailedWrite));
        writeln!(
            out,
            "With an intent log: {} states. {} were cut around the move of its start, {} around its wrap, {} a second time during the \
             recovery. {forced} were on a disk with forced unit access, {failed} after a failed write. {} had a rotten superblock, {} a \
             write torn at blocks of 4 KiB.",
            total(&logged, |tally| tally.states),
            total(&logged, |tally| tally.checkpoints),
            total(&logged, |tally| tally.wraps),
            total(&logged, |tally| tally.recuts),
            total(&logged, |tally| tally.rotten),
            total(&logged, |tally| tally.in_blocks),
        )?;
    }
    for wrong in &wrong {
        writeln!(out, "\nVIOLATION {wrong}")?;
    }
    if untried > 0 || STOP.load(Ordering::Relaxed) {
        writeln!(out, "\nInterrupted: {untried} cells were not tried.")?;
        return Ok(false);
    }
    Ok(wrong.is_empty())
}

/// The first signal stops the test and prints the results so far. The second ends the process.
fn stop_at_signals() -> nix::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
        if signals.wait().is_ok() {
            std::process::exit(130);
        }
    });
    Ok(())
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
