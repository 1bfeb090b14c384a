//! `ringbolt get` and `ringbolt ls`: no lock, no change.

use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::process::ExitCode;

use ringbolt::{Metadata, Reader};

use crate::args::{GetArgs, LsArgs};
use crate::problem::{self, Problem};
use crate::put;

pub(crate) fn get(args: &GetArgs) -> Result<(), Problem> {
    put::check(&args.key)?;
    let mut file = Reader::open(&args.dir)?.file(&args.key)?;
    let mut out = io::stdout().lock();
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return out.flush().map_err(Problem::stdout),
            Ok(n) => out.write_all(&piece[..n]).map_err(Problem::stdout)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::Read(format!("read failed on {:?}: {error}", args.dir.join(&args.key)))),
        }
    }
}

pub(crate) fn ls(args: &LsArgs) -> Result<ExitCode, Problem> {
    let reader = Reader::open(&args.dir)?;
    let stdout = io::stdout().lock();
    let escape = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    let mut first = true;
    let mut status = ExitCode::SUCCESS;
    for key in reader.list(&args.prefix)? {
        // A directory that may not be read hides its own keys, and no others.
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                problem::tell(&error);
                status = ExitCode::FAILURE;
                continue;
            }
        };
        let metadata = || match reader.metadata(&key) {
            // Deleted since its directory was read.
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(Some),
        };
        if args.json {
            let Some(metadata) = metadata()? else { continue };
            let begin = if first { "[" } else { "," };
            write!(out, "{begin}\n  {}", json(&key, &metadata))
        } else if args.long {
            let Some(metadata) = metadata()? else { continue };
            let Metadata { len, mode, .. } = metadata;
            writeln!(out, "{mode:04o} {len:>12} {} {}", time(&metadata), shown(&key, escape))
        } else {
            writeln!(out, "{}", shown(&key, escape))
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

fn json(key: &str, metadata: &Metadata) -> serde_json::Value {
    let Metadata { len, mode, version, .. } = metadata;
    let (mode, version) = (format!("{mode:04o}"), version.to_string());
    serde_json::json!({ "key": key, "len": len, "modified": time(metadata), "mode": mode, "version": version })
}

/// RFC 3339, UTC, whole seconds: a width that lines up.
fn time(metadata: &Metadata) -> String {
    jiff::Timestamp::try_from(metadata.modified).map_or_else(|_| "-".into(), |time| format!("{time:.0}"))
}

/// What turns the direction of text, so that a name shows as another.
const BIDI: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

/// A key, or another text, as a terminal may show it: nothing in it moves the cursor.
pub(crate) fn shown(key: &str, escape: bool) -> String {
    if !escape {
        return key.to_owned();
    }
    let moves = |c: char| c.is_control() || BIDI.contains(&c);
    key.chars().map(|c| if moves(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}
