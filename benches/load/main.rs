//! Durable replaces of 4 KiB under load: ringbolt by barrier and engine, six plain calls, and other crates. All do the
//! same work, taking turns in each round.
//!
//! ```text
//! cargo bench --bench load [-- SCENARIO...]      one 2 4 8 64 async batch busy keys memory; default: all
//!                                                256 1024 latency: only if they are named
//! ```
//!
//! The directory is `RINGBOLT_BENCH_DIR`, or one in the target directory; `RINGBOLT_BENCH_ROUNDS` is the number of
//! rounds. Prints Markdown tables: the median files/s over the rounds, its ratio to the plain calls of the same round
//! (with quartiles), and device flushes, context switches and CPU time per file.
//!
//! If `RINGBOLT_BENCH_DATA` is set, the files/s of the scenarios with threads are appended to that file, as lines of
//! JSON; `RINGBOLT_BENCH_DISK` names the disk there. If `RINGBOLT_BENCH_CHART` is set, a chart of all data in the file
//! is written to that SVG; the scenario `chart` only draws. Both paths are relative to the package.
//! `scripts/bench-load` sets all three.
#![allow(clippy::print_stdout)]

mod chart;
mod keys;
mod latency;
mod machine;
mod memory;
mod rounds;
mod series;
mod table;

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chart::Point;
use machine::Device;
use ringbolt::Barrier;
use series::{Kind, Series, Worker};
use table::Table;

/// The length of a turn: with few writers, and with many, whose threads and tasks take a while to start.
const TURN: Duration = Duration::from_millis(150);
const CROWD_TURN: Duration = Duration::from_millis(400);

fn main() {
    if let Some(file) = std::env::var_os("RINGBOLT_BENCH_NOISE") {
        return machine::make_noise(Path::new(&file));
    }
    // `cargo test --benches` only checks that it runs.
    let quick = std::env::args().any(|arg| arg == "--test");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wants = |scenario: &str| asked.is_empty() || asked.iter().any(|arg| arg == scenario);
    let rounds = std::env::var("RINGBOLT_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = if quick { 1 } else { rounds.unwrap_or(11) };
    let turn = if quick { Duration::from_millis(5) } else { TURN };

    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in");
    let run = Run { dir: dir.path(), device: Device::of(dir.path()), rounds, turn, points: RefCell::default() };
    println!("{}", machine::describe(dir.path()));

    let (all, some) = (&Kind::ALL[..], &Kind::SOME[..]);
    for (scenario, writers, kinds, rounds) in [
        ("one", 1, all, rounds * 3),
        ("2", 2, some, rounds),
        ("4", 4, some, rounds),
        ("8", 8, all, rounds),
        ("64", 64, all, rounds),
    ] {
        if wants(scenario) {
            run.threads(writers, kinds, rounds);
        }
    }
    // Only if they are named: they take long.
    for (scenario, writers) in [("256", 256), ("1024", 1024)] {
        if asked.iter().any(|arg| arg == scenario) {
            run.threads(writers, some, rounds);
        }
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
    if asked.iter().any(|arg| arg == "latency") {
        latency::show(dir.path(), rounds.div_ceil(4), quick);
        println!("\nThe same, while another process writes 1 MiB pieces to the same filesystem:");
        let noise = Noise::start(&dir.path().join("noise"));
        latency::show(dir.path(), rounds.div_ceil(4), quick);
        drop(noise);
    }
    if wants("memory") {
        std::fs::create_dir(dir.path().join("memory")).expect("a directory");
        for barrier in [Barrier::Auto, Barrier::IntentLog] {
            memory::show(&dir.path().join("memory"), barrier);
        }
    }
    run.publish();
}

struct Run<'a> {
    dir: &'a Path,
    device: Device,
    rounds: usize,
    turn: Duration,
    /// The points of the chart.
    points: RefCell<Vec<Point>>,
}

impl Run<'_> {
    fn compare(&self, title: &str, kinds: &[Kind], worker: Worker, rounds: usize) -> Table {
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
        table
    }

    /// Runs a scenario with this many threads, and adds it to the chart.
    fn threads(&self, writers: usize, kinds: &[Kind], rounds: usize) {
        let title = if writers == 1 { "1 writer".to_owned() } else { format!("{writers} writers") };
        let table = self.compare(&title, kinds, Worker::Threads(writers), rounds);
        let disk = std::env::var("RINGBOLT_BENCH_DISK").unwrap_or_else(|_| machine::filesystem(self.dir));
        let points = table.rates().map(|(series, rounds, median, quartiles)| Point {
            disk: disk.clone(),
            machine: machine::kernel_and_processors(),
            writers: writers as u64,
            series: series.to_owned(),
            rounds: rounds as u64,
            median,
            quartiles,
        });
        self.points.borrow_mut().extend(points);
    }

    /// Saves the points, and draws them together with those of earlier runs.
    fn publish(&self) {
        let asked = |name| std::env::var_os(name).filter(|path| !path.is_empty());
        let place = |name| asked(name).map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let mut points = self.points.take();
        if let Some(path) = place("RINGBOLT_BENCH_DATA") {
            let lines: String = points.iter().map(|point| point.to_line() + "\n").collect();
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("the file of the data can be written");
            let text = std::fs::read_to_string(&path).expect("the file of the data can be read");
            points = chart::parse(&text).expect("the file of the data holds points");
        }
        if let (Some(path), Some(svg)) = (place("RINGBOLT_BENCH_CHART"), chart::draw(&points)) {
            std::fs::write(path, svg).expect("the file of the chart can be written");
        }
    }
}

/// Another process that keeps the filesystem busy; killed on drop.
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
