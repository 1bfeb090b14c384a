//! Results as Markdown tables, with a row per protocol and a column per filesystem.

use std::fmt::Write;

use super::cell::{Cell, Tally};
use super::device::Device;
use super::lab::Filesystem;

/// One row for each operation, engine and barrier.
pub fn of_promises(results: &[(Cell, Tally)]) -> String {
    let row = |cell: &Cell| format!("{} | {} | {}", cell.operation, cell.engine_name(), barrier(cell));
    table("operation | engine | barrier", 3, results, row)
}

/// One row for each wrong protocol, operation, engine and barrier.
pub fn of_gate(results: &[(Cell, Tally)]) -> String {
    let row = |cell: &Cell| {
        let wrong =
            cell.mutant.map_or_else(|| format!("strict, mounted {}", cell.options), |mutant| mutant.to_string());
        format!("{wrong} | {} | {} | {}", cell.operation, cell.engine_name(), barrier(cell))
    };
    table("wrong protocol | operation | engine | barrier", 4, results, row)
}

/// The barrier, and the disk unless it is the usual one.
fn barrier(cell: &Cell) -> String {
    match cell.device {
        Device::Cache => cell.barrier.to_string(),
        device => format!("{}, {device}", cell.barrier),
    }
}

fn table(head: &str, columns: usize, results: &[(Cell, Tally)], row: impl Fn(&Cell) -> String) -> String {
    let mut text = format!("| {head} |");
    for filesystem in Filesystem::ALL {
        let _ = write!(text, " {filesystem} |");
    }
    text += "\n|";
    text += &"---|".repeat(columns);
    text += &"---:|".repeat(Filesystem::ALL.len());
    text.push('\n');
    let mut rows: Vec<String> = Vec::new();
    for (cell, _) in results {
        let row = row(cell);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    for name in rows {
        let _ = write!(text, "| {name} |");
        for filesystem in Filesystem::ALL {
            let found = results.iter().find(|(cell, _)| cell.filesystem == filesystem && row(cell) == name);
            match found {
                Some((_, tally)) => _ = write!(text, " {}/{} |", tally.violating, tally.states),
                None => text += " |",
            }
        }
        text.push('\n');
    }
    text
}
