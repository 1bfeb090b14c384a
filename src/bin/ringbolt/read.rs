//! `ringbolt get` and `ringbolt ls`: read without a lock.

use std::io::{self, BufWriter, IsTerminal, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;

use ringbolt::{ListOptions, Metadata, Reader};

use crate::args::{GetArgs, LsArgs};
use crate::problem::{self, Problem};
use crate::put;

pub(crate) fn get(args: &GetArgs) -> Result<(), Problem> {
    put::check(&args.key)?;
    let range = args.range.as_deref().map_or(Ok(0..u64::MAX), range)?;
    let mut file = Reader::open(&args.dir)?.file(&args.key)?;
    let failed = |error| Problem::Read(format!("cannot read {:?}: {error}", args.dir.join(&args.key)));
    // Filesystems refuse to seek beyond their maximum file size.
    let len = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(range.start.min(len))).map_err(failed)?;
    let mut file = file.take(range.end - range.start);
    let mut out = io::stdout().lock();
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return out.flush().map_err(Problem::stdout),
            Ok(n) => out.write_all(&piece[..n]).map_err(Problem::stdout)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

pub(crate) fn ls(args: &LsArgs) -> Result<ExitCode, Problem> {
    let mut options = ListOptions::new().prefix(&args.prefix);
    if let Some(after) = &args.after {
        options = options.start_after(after);
    }
    if let Some(limit) = &args.limit {
        options = options.limit(number(limit).ok_or_else(|| no_limit(limit))?);
    }
    let list = Reader::open(&args.dir)?.list_with(options)?;
    match args.json || args.long {
        true => show(list.with_metadata().map(|entry| entry.map(|entry| (entry.key, Some(entry.metadata)))), args),
        false => show(list.map(|key| key.map(|key| (key, None))), args),
    }
}

fn show(
    listed: impl Iterator<Item = ringbolt::Result<(String, Option<Metadata>)>>,
    args: &LsArgs,
) -> Result<ExitCode, Problem> {
    let stdout = io::stdout().lock();
    let escape = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    let mut first = true;
    let mut status = ExitCode::SUCCESS;
    for entry in listed {
        // An unreadable directory hides only its own keys; go on with the others.
        let (key, metadata) = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problem::report(&error);
                status = ExitCode::FAILURE;
                continue;
            }
        };
        match metadata {
            Some(metadata) if args.json => {
                let begin = if first { "[" } else { "," };
                write!(out, "{begin}\n  {}", json(&key, &metadata))
            }
            Some(metadata) => {
                let Metadata { len, mode, .. } = metadata;
                writeln!(out, "{mode:04o} {len:>12} {} {}", time(&metadata), shown(&key, escape))
            }
            None => writeln!(out, "{}", shown(&key, escape)),
        }
        .map_err(Problem::stdout)?;
        first = false;
    }
    if args.json {
        out.write_all(if first { b"[]\n" } else { b"\n]\n" }).map_err(Problem::stdout)?;
    }
    out.flush().map_err(Problem::stdout)?;
    Ok(status)
}

/// `START..END`, `START..` or `..END`.
fn range(text: &str) -> Result<Range<u64>, Problem> {
    let parse = || {
        let (start, end) = text.split_once("..")?;
        let start = if start.is_empty() { 0 } else { number(start)? };
        let end = if end.is_empty() { u64::MAX } else { number(end)? };
        (start <= end && text != "..").then_some(start..end)
    };
    parse().ok_or_else(|| {
        Problem::Usage(format!("--range {text:?}: not a range of bytes; use for example 0..100, 100.. or ..100"))
    })
}

/// Parses decimal digits only: no sign, no spaces.
fn number<N: FromStr>(text: &str) -> Option<N> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn no_limit(text: &str) -> Problem {
    Problem::Usage(format!("--limit {text:?}: not a number of keys"))
}

fn json(key: &str, metadata: &Metadata) -> serde_json::Value {
    let Metadata { len, mode, version, .. } = metadata;
    let (mode, version) = (format!("{mode:04o}"), version.map(|version| version.to_string()));
    serde_json::json!({ "key": key, "len": len, "modified": time(metadata), "mode": mode, "version": version })
}

/// RFC 3339, UTC, whole seconds: always the same width, so columns line up.
fn time(metadata: &Metadata) -> String {
    jiff::Timestamp::try_from(metadata.modified).map_or_else(|_| "-".into(), |time| format!("{time:.0}"))
}

/// Characters that change the direction of text, and so can disguise a name.
const BIDI: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

/// Text for display. With `escape`, escapes characters that could move the cursor or reorder the text.
pub(crate) fn shown(key: &str, escape: bool) -> String {
    if !escape {
        return key.to_owned();
    }
    let moves = |c: char| c.is_control() || BIDI.contains(&c);
    key.chars().map(|c| if moves(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        for (text, expected) in
            [("0..0", 0..0), ("1..7", 1..7), ("3..", 3..u64::MAX), ("..3", 0..3), ("007..010", 7..10)]
        {
            assert_eq!(range(text).unwrap(), expected);
        }
        for text in
            ["", "..", "5", "7..1", "1..=7", "1...7", "-1..7", "+1..7", "1-7", "a..b", "0..18446744073709551616"]
        {
            assert!(matches!(range(text), Err(Problem::Usage(_))), "{text}");
        }
    }
}
