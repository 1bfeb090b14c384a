//! How long a put takes with 8 writers, at the median and at worst: what checkpoints of the intent log, and a log that is full, do
//! to it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt::{Barrier, Store};

const WRITERS: usize = 8;
const KEYS: usize = 8;
/// Long enough for some checkpoints.
const TURN: Duration = Duration::from_secs(2);

struct Series {
    name: String,
    store: Store,
    /// In nanoseconds, of all rounds.
    latencies: Vec<u64>,
}

pub(crate) fn show(dir: &Path, rounds: usize, quick: bool) {
    for size in [4 << 10, 64 << 10] {
        let at = tempfile::tempdir_in(dir).expect("a directory to write in");
        let open = |(name, barrier, log_bytes): (&str, Barrier, u64)| {
            let builder = Store::builder(at.path().join(name)).create_if_missing(true);
            let store = builder.barrier(barrier).log_bytes(log_bytes).open();
            let store = store.inspect_err(|why| println!("\nn/a: {name}: {why}")).ok()?;
            Some(Series { name: name.to_owned(), store, latencies: Vec::new() })
        };
        let mut all: Vec<Series> = [
            ("journal", Barrier::Journal, 0),
            ("intent-log, 16 MiB", Barrier::IntentLog, 16 << 20),
            ("intent-log, 64 MiB", Barrier::IntentLog, 64 << 20),
            // Too long to be half full at the end of a turn, and a turn is shorter than the time between two checkpoints.
            ("intent-log, 1 GiB", Barrier::IntentLog, if quick { 1 << 20 } else { 1 << 30 }),
        ]
        .into_iter()
        .filter_map(open)
        .collect();
        for _ in 0..rounds {
            for series in &mut all {
                // So that no series pays for the checkpoint of another.
                series.store.checkpoint().expect("checkpoint");
                series.latencies.append(&mut turn(&series.store, size, if quick { TURN / 400 } else { TURN }));
                series.store.checkpoint().expect("checkpoint");
            }
        }
        println!("\n### Latency of a put of {} KiB, {WRITERS} writers, {rounds} rounds of {TURN:?}\n", size >> 10);
        println!("| | p50 (ms) | p99 | p99.9 | max | puts/s | checkpoints | waited for room |");
        println!("|---|---|---|---|---|---|---|---|");
        all.iter_mut().for_each(Series::print);
    }
}

fn turn(store: &Store, size: usize, turn: Duration) -> Vec<u64> {
    let content = bytes::Bytes::from(vec![7; size]);
    let begin = Instant::now();
    let writer = |writer: usize| {
        let mut latencies = Vec::new();
        for n in (0..KEYS).cycle() {
            let start = Instant::now();
            if start.duration_since(begin) >= turn {
                break;
            }
            store.put(format!("{writer}-{n}"), content.clone()).expect("put");
            latencies.push(start.elapsed().as_nanos() as u64);
        }
        latencies
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || writer(n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

impl Series {
    fn print(&mut self) {
        self.latencies.sort_unstable();
        let at = |part: f64| {
            let place = ((self.latencies.len() as f64 * part) as usize).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(place).map_or(f64::NAN, |nanos| *nanos as f64 / 1e6)
        };
        let total: f64 = self.latencies.iter().map(|nanos| *nanos as f64 / 1e9).sum();
        let rate = self.latencies.len() as f64 * WRITERS as f64 / total;
        let log = self.store.stats().log;
        let (checkpoints, waited) = log.map_or((0, Duration::ZERO), |log| (log.checkpoints, log.waited));
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(at);
        println!(
            "| {} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.1} | {rate:.0} | {checkpoints} | {waited:.1?} |",
            self.name
        );
    }
}
