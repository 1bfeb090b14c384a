//! What durable replaces of 4 KiB cost under load: ringbolt by barrier and engine, six plain calls, and other crates, on the
//! same work, round by round in turn.
//!
//! ```text
//! cargo bench --bench load [-- SCENARIO...]      one 2 4 8 64 async batch busy keys memory; all without any
//! ```
//!
//! The directory is `RINGBOLT_BENCH_DIR`, else one in the target directory; `RINGBOLT_BENCH_ROUNDS` is the number of rounds.
//! Prints Markdown tables: the median files/s over the rounds, its ratio to the plain calls of the same round (and the
//! quartiles of that), and what a file takes of flushes of the device, context switches, and processor time.
#![allow(clippy::print_stdout)]

mod keys;
mod machine;
mod memory;
mod rounds;
mod series;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use machine::Device;
use series::{Kind, Series, Worker};

/// How long one series runs before it is the next one's turn: with few writers, and with a crowd, whose threads and tasks take
/// a while to start.
const TURN: Duration = Duration::from_millis(150);
const CROWD_TURN: Duration = Duration::from_millis(400);

fn main() {
    if let Some(file) = std::env::var_os("RINGBOLT_BENCH_NOISE") {
        return machine::make_noise(Path::new(&file));
    }
    // `cargo test --benches` only asks whether it runs.
    let quick = std::env::args().any(|arg| arg == "--test");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wants = |scenario: &str| asked.is_empty() || asked.iter().any(|arg| arg == scenario);
    let rounds = std::env::var("RINGBOLT_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = if quick { 1 } else { rounds.unwrap_or(11) };
    let turn = if quick { Duration::from_millis(5) } else { TURN };

    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in");
    let run = Run { dir: dir.path(), device: Device::of(dir.path()), rounds, turn };
    println!("{}", machine::describe(dir.path()));

    if wants("one") {
        run.compare("1 writer", &Kind::ALL, Worker::Threads(1), rounds * 3);
    }
    if wants("2") {
        run.compare("2 writers", &Kind::SOME, Worker::Threads(2), rounds);
    }
    if wants("4") {
        run.compare("4 writers", &Kind::SOME, Worker::Threads(4), rounds);
    }
    if wants("8") {
        run.compare("8 writers", &Kind::ALL, Worker::Threads(8), rounds);
    }
    if wants("64") {
        run.compare("64 writers", &Kind::ALL, Worker::Threads(64), rounds);
    }
    if wants("async") {
        run.compare("64 tasks (the plain calls and the other crate: threads)", &Kind::SOME, Worker::Tasks(64), rounds);
    }
    if wants("batch") {
        run.compare(
            "batches of 256 from one thread (the others: one by one)",
            &Kind::BATCH,
            Worker::Batch(256),
            rounds,
        );
    }
    if wants("busy") {
        let noise = Noise::start(&dir.path().join("noise"));
        run.compare(
            "64 writers, while another process writes 1 MiB pieces to the same filesystem",
            &Kind::SOME,
            Worker::Threads(64),
            rounds,
        );
        run.compare("8 writers of the others, the same", &Kind::PEERS, Worker::Threads(8), rounds);
        drop(noise);
    }
    if wants("keys") && !quick {
        keys::show(&dir.path().join("keys"), rounds);
    }
    if wants("memory") {
        memory::show(&dir.path().join("memory"));
    }
}

struct Run<'a> {
    dir: &'a Path,
    device: Device,
    rounds: usize,
    turn: Duration,
}

impl Run<'_> {
    fn compare(&self, title: &str, kinds: &[Kind], worker: Worker, rounds: usize) {
        let at = tempfile::tempdir_in(self.dir).expect("a directory to write in");
        let mut refused = Vec::new();
        let all: Vec<Series> = kinds
            .iter()
            .filter_map(|kind| {
                Series::open(*kind, at.path()).map_err(|why| refused.push(format!("{}: {why}", kind.name()))).ok()
            })
            .collect();
        let turn = if self.turn == TURN && worker.is_crowd() { CROWD_TURN } else { self.turn };
        let rounds = rounds.max(self.rounds);
        let table =
            rounds::compare(rounds, &self.device, &all, |series| series.kind.name(), |series| series.run(worker, turn));
        println!("\n### {title} ({rounds} rounds of {} ms)\n", turn.as_millis());
        table.print("plain");
        for series in &all {
            if let Some(why) = series.explain() {
                println!("\n{}: {why}", series.kind.name());
            }
        }
        refused.iter().for_each(|why| println!("\nn/a: {why}"));
    }
}

/// Another process that keeps the filesystem busy; ended when dropped.
struct Noise(Child);

impl Noise {
    fn start(file: &Path) -> Noise {
        let mut child = Command::new(std::env::current_exe().expect("our own path"));
        let child = child.env("RINGBOLT_BENCH_NOISE", file).stdout(Stdio::null()).spawn();
        Noise(child.expect("another process"))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
