//! `ringbolt get` and `ringbolt ls`: no lock, no change.

use std::io::{self, BufWriter, IsTerminal, Read, Write};

use ringbolt::{Metadata, Reader};

use crate::args::{GetArgs, LsArgs};
use crate::problem::Problem;

pub(crate) fn get(args: &GetArgs) -> Result<(), Problem> {
    let mut file = Reader::open(&args.dir)?.file(&args.key)?;
    let mut out = io::stdout().lock();
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return out.flush().map_err(Problem::stdout),
            Ok(n) => out.write_all(&piece[..n]).map_err(Problem::stdout)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::io("read", &args.dir.join(&args.key))(error)),
        }
    }
}

pub(crate) fn ls(args: &LsArgs) -> Result<(), Problem> {
    let reader = Reader::open(&args.dir)?;
    let stdout = io::stdout().lock();
    let escape = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    let mut first = true;
    for key in reader.list(&args.prefix)? {
        let key = key?;
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
    out.flush().map_err(Problem::stdout)
}

fn json(key: &str, metadata: &Metadata) -> serde_json::Value {
    let Metadata { len, mode, .. } = metadata;
    serde_json::json!({ "key": key, "len": len, "modified": time(metadata), "mode": format!("{mode:04o}") })
}

/// RFC 3339, UTC, whole seconds: a width that lines up.
fn time(metadata: &Metadata) -> String {
    jiff::Timestamp::try_from(metadata.modified).map_or_else(|_| "-".into(), |time| format!("{time:.0}"))
}

/// A key as a terminal may show it: nothing in it moves the cursor.
fn shown(key: &str, escape: bool) -> String {
    if !escape {
        return key.to_owned();
    }
    key.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
