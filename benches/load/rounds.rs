//! Runs series in turn, round by round, so that other load on the machine affects all of them.

use std::time::Duration;

use crate::machine::{self, Device};
use crate::table::Table;

/// Runs each series once per round. A run puts for a while, and returns the number of files and the actual duration.
pub(crate) fn compare<S>(
    rounds: usize,
    device: &Device,
    all: &[S],
    name: impl Fn(&S) -> String,
    run: impl Fn(&S) -> (usize, Duration),
) -> Table {
    let mut table = Table::new(all.iter().map(name));
    for series in all {
        // Warm up: one-time work and the barrier's first choice are not measured.
        run(series);
    }
    for round in 0..rounds {
        // Rotate the order, so that no series always follows the same one.
        for i in (0..all.len()).map(|i| (i + round) % all.len()) {
            let before = (device.flushes(), machine::usage());
            let (files, took) = run(&all[i]);
            table.note(i, files, took, before.1, before.0.zip(device.flushes()).map(|(a, b)| b - a));
        }
    }
    table
}
