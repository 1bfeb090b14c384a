//! Prints the results as a table.

use std::time::Duration;

use nix::sys::resource::Usage;

use crate::machine;

pub(crate) struct Table {
    names: Vec<String>,
    rows: Vec<Rows>,
}

/// One value per round.
#[derive(Default)]
struct Rows {
    rate: Vec<f64>,
    flushes: Vec<f64>,
    switches: Vec<f64>,
    processor_us: Vec<f64>,
}

impl Table {
    pub(crate) fn new(names: impl Iterator<Item = String>) -> Table {
        let names: Vec<String> = names.collect();
        Table { rows: names.iter().map(|_| Rows::default()).collect(), names }
    }

    pub(crate) fn note(&mut self, i: usize, files: usize, took: Duration, before: Usage, flushes: Option<u64>) {
        let (rows, files, after) = (&mut self.rows[i], files.max(1) as f64, machine::usage());
        rows.rate.push(files / took.as_secs_f64());
        rows.flushes.extend(flushes.map(|flushes| flushes as f64 / files));
        rows.switches.push((machine::switches(&after) - machine::switches(&before)) / files);
        rows.processor_us.push((machine::processor_us(&after) - machine::processor_us(&before)) / files);
    }

    /// For each series: name, number of rounds, median and quartiles of files per second.
    #[allow(dead_code, reason = "the benchmark of objects draws no chart")]
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&str, usize, f64, (f64, f64))> {
        self.names
            .iter()
            .zip(&self.rows)
            .map(|(name, Rows { rate, .. })| (&**name, rate.len(), at(rate, 0.5), (at(rate, 0.25), at(rate, 0.75))))
    }

    /// Ratios are relative to the first row, round by round; `first` is its name.
    pub(crate) fn print(&self, first: &str) {
        println!("| | files/s | x {first} (quartiles) | flushes | switches | CPU µs |");
        println!("|---|---|---|---|---|---|");
        for (name, rows) in self.names.iter().zip(&self.rows) {
            let ratios: Vec<f64> = rows.rate.iter().zip(&self.rows[0].rate).map(|(rate, plain)| rate / plain).collect();
            let flushes = if rows.flushes.is_empty() { "n/a".into() } else { format!("{:.2}", at(&rows.flushes, 0.5)) };
            println!(
                "| {name} | {:.0} | {:.2} ({:.2}–{:.2}) | {flushes} | {:.1} | {:.0} |",
                at(&rows.rate, 0.5),
                at(&ratios, 0.5),
                at(&ratios, 0.25),
                at(&ratios, 0.75),
                at(&rows.switches, 0.5),
                at(&rows.processor_us, 0.5),
            );
        }
    }
}

/// A quantile of sorted values.
fn at(values: &[f64], quantile: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * quantile).round() as usize).copied().unwrap_or(f64::NAN)
}
