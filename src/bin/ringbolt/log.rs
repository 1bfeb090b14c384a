//! `ringbolt log`: the changes in an intent log, as lines or as JSON.

use std::io::{self, BufWriter, IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringbolt::{LogChange, LogChangeKind, LogReader, LogSuperblock};
use serde_json::{Value, json};

use crate::args::LogArgs;
use crate::problem::Problem;
use crate::read::shown;

/// Longer text is not printed in a line: its length is.
const TEXT_MAX: usize = 1024;

pub(crate) fn run(args: &LogArgs) -> Result<(), Problem> {
    let stdout = io::stdout().lock();
    let escape = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    match (LogReader::open(&args.dir)?, args.json) {
        (None, false) => writeln!(out, "no intent log").map_err(Problem::stdout)?,
        (None, true) => writeln!(out, "{{\n  \"superblock\": null,\n  \"records\": []\n}}").map_err(Problem::stdout)?,
        (Some(log), false) => lines(&log, args.values, escape, &mut out)?,
        (Some(log), true) => objects(&log, args.values, &mut out)?,
    }
    out.flush().map_err(Problem::stdout)
}

fn lines(log: &LogReader, values: bool, escape: bool, out: &mut impl Write) -> Result<(), Problem> {
    let LogSuperblock { state, len, block_len, generation, epoch, .. } = log.superblock();
    let pending = log.pending();
    let copy = if log.is_copy() { "a copy, " } else { "" };
    writeln!(
        out,
        "log: {copy}{state}, {len} bytes in blocks of {block_len}, generation {generation}, epoch {epoch:016x}, changes: {pending}"
    )
    .map_err(Problem::stdout)?;
    for change in log.records().flat_map(|record| record.changes()) {
        writeln!(out, "{}", line(&change, escape)).map_err(Problem::stdout)?;
        if values && let Some(value) = change.value()? {
            writeln!(out, "       {}", text(&value)).map_err(Problem::stdout)?;
        }
    }
    Ok(())
}

/// One change in columns. A column that the change does not have is `-`.
fn line(change: &LogChange<'_>, escape: bool) -> String {
    let (sequence, key) = (change.sequence(), shown(change.key(), escape));
    match change.kind() {
        LogChangeKind::Put(put) => {
            let owner = format!("{}:{}", put.uid, put.gid);
            let (len, mode, version) = (put.len, put.mode, put.version.to_string());
            format!("{sequence:>6} put        {len:>10} {mode:04o} {owner:>11} {version:>19} {key}")
        }
        kind => format!("{sequence:>6} {:<10} {:>10} {:>4} {:>11} {:>19} {key}", name(kind), "-", "-", "-", "-"),
    }
}

/// A value in one line: text is quoted, with its control characters escaped.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= TEXT_MAX => shown(&format!("{text:?}"), true),
        Ok(text) => format!("{} bytes of text", text.len()),
        Err(_) => format!("{} bytes, not text", value.len()),
    }
}

/// Record by record: a log may be larger than memory.
fn objects(log: &LogReader, values: bool, out: &mut impl Write) -> Result<(), Problem> {
    let found = log.superblock();
    let superblock = json!({
        "state": found.state.to_string(),
        "is_copy": log.is_copy(),
        "len": found.len,
        "block_len": found.block_len,
        "generation": found.generation,
        "epoch": format!("{:016x}", found.epoch),
        "start_sequence": found.start_sequence,
        "start_offset": found.start_offset,
        "version_floor": found.version_floor.to_string(),
    });
    write!(out, "{{\n  \"superblock\": {superblock},\n  \"records\": [").map_err(Problem::stdout)?;
    let mut is_first = true;
    for record in log.records() {
        let changes = record.changes().map(|change| object(&change, values)).collect::<Result<Vec<_>, _>>()?;
        let (sequence, offset, len) = (record.sequence(), record.offset(), record.len());
        let record = json!({ "sequence": sequence, "offset": offset, "len": len, "changes": changes });
        write!(out, "{}\n    {record}", if is_first { "" } else { "," }).map_err(Problem::stdout)?;
        is_first = false;
    }
    write!(out, "{}]\n}}\n", if is_first { "" } else { "\n  " }).map_err(Problem::stdout)
}

fn object(change: &LogChange<'_>, values: bool) -> Result<Value, Problem> {
    let kind = change.kind();
    let mut object = json!({ "key": change.key(), "change": name(kind) });
    if let LogChangeKind::Put(put) = kind {
        object["len"] = put.len.into();
        object["version"] = put.version.to_string().into();
        object["mode"] = format!("{:04o}", put.mode).into();
        object["uid"] = put.uid.into();
        object["gid"] = put.gid.into();
    }
    if values && let Some(value) = change.value()? {
        object["value"] = STANDARD.encode(value).into();
    }
    Ok(object)
}

fn name(kind: LogChangeKind) -> &'static str {
    match kind {
        LogChangeKind::Put(_) => "put",
        LogChangeKind::Delete => "delete",
        LogChangeKind::FileRules => "file-rules",
        // The library and the command are built together.
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_is_one_line_that_moves_nothing() {
        for (value, line) in [
            (&b""[..], "\"\""),
            (b"a\n\"b\x1b[2J", "\"a\\n\\\"b\\u{1b}[2J\""),
            ("\u{202e}x".as_bytes(), "\"\\u{202e}x\""),
            (b"\xff\x00", "2 bytes, not text"),
            (&[b'x'; 1025], "1025 bytes of text"),
        ] {
            assert_eq!(super::text(value), line);
        }
    }
}
