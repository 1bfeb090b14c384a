//! Round by round in turn, so that what else the machine does meets all alike.

use std::time::Duration;

use crate::machine::{self, Device};
use crate::table::Table;

/// Runs each of some series in each round: a run puts for a while, and says how many files, and how long it was in the end.
pub(crate) fn compare<S>(
    rounds: usize,
    device: &Device,
    all: &[S],
    name: impl Fn(&S) -> String,
    run: impl Fn(&S) -> (usize, Duration),
) -> Table {
    let mut table = Table::new(all.iter().map(name));
    for series in all {
        // What is made once, and what is learnt at the beginning, is not measured.
        run(series);
    }
    for round in 0..rounds {
        // The order rotates, so that no series always follows the same one.
        for i in (0..all.len()).map(|i| (i + round) % all.len()) {
            let before = (device.flushes(), machine::usage());
            let (files, took) = run(&all[i]);
            table.note(i, files, took, before.1, before.0.zip(device.flushes()).map(|(a, b)| b - a));
        }
    }
    table
}
