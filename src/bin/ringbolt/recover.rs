//! `ringbolt recover`: brings the changes in an intent log into the files, or copies them elsewhere.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringbolt::{LogChangeKind, LogReader, Store, WriteOptions};

use crate::args::RecoverArgs;
use crate::problem::Problem;
use crate::{print, put};

pub(crate) fn run(args: &RecoverArgs) -> Result<(), Problem> {
    args.discard.iter().try_for_each(|key| put::check(key))?;
    let log = LogReader::open(&args.dir)?;
    let pending = log.as_ref().map(|log| Pending::of(log, &args.discard));
    refuse_unknown(args, pending.as_ref())?;
    let text = match (&args.export, log) {
        (Some(outdir), Some(log)) => export(&log, &args.dir, outdir)?,
        (Some(_), None) => "nothing to export: the store has no intent log".to_owned(),
        (None, log) => {
            // It holds the lock that the store needs.
            drop(log);
            recover(args)?;
            match pending {
                None => "nothing to recover: the store has no intent log".to_owned(),
                Some(Pending { changes: 0, discarded: 0, .. }) => {
                    "nothing to recover: no change was pending; the intent log is clean".to_owned()
                }
                Some(pending) => format!("{}; the intent log is clean", pending.report()),
            }
        }
    };
    print(format!("{text}\n").as_bytes())
}

/// What a recovery will do.
struct Pending {
    /// The keys with changes in the log.
    keys: HashSet<String>,
    changes: usize,
    written: usize,
    removed: usize,
    /// Changes of keys that are left out.
    discarded: usize,
}

impl Pending {
    fn of(log: &LogReader, discard: &[String]) -> Pending {
        let is_kept = |key: &str| !discard.iter().any(|discarded| discarded == key);
        let count = |wanted: fn(LogChangeKind) -> bool| {
            log.last_changes().filter(|change| is_kept(change.key()) && wanted(change.kind())).count()
        };
        let keys = log.records().flat_map(|record| record.changes()).map(|change| change.key());
        let (kept, discarded): (Vec<&str>, Vec<&str>) = keys.partition(|key| is_kept(key));
        Pending {
            keys: kept.iter().chain(&discarded).map(|&key| key.to_owned()).collect(),
            changes: kept.len(),
            written: count(|kind| matches!(kind, LogChangeKind::Put(_))),
            removed: count(|kind| kind == LogChangeKind::Delete),
            discarded: discarded.len(),
        }
    }

    fn report(&self) -> String {
        let Pending { changes, written, removed, discarded, .. } = self;
        let given_up = if *discarded > 0 { format!("; changes discarded: {discarded}") } else { String::new() };
        format!("changes recovered: {changes}; files written: {written}, removed: {removed}{given_up}")
    }
}

fn refuse_unknown(args: &RecoverArgs, pending: Option<&Pending>) -> Result<(), Problem> {
    match args.discard.iter().find(|key| pending.is_none_or(|pending| !pending.keys.contains(*key))) {
        Some(key) => Err(Problem::Usage(format!("--discard {key:?}: no change of this key is pending"))),
        None => Ok(()),
    }
}

fn recover(args: &RecoverArgs) -> Result<(), Problem> {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(
        ProgressStyle::with_template("{bar:16} {pos} of {len} keys, {eta} left").expect("a valid template"),
    );
    let shown = bar.clone();
    let mut builder = Store::builder(&args.dir).accept_copied_log(args.accept_copy).on_recovery(move |done, all| {
        shown.set_length(all as u64);
        shown.set_position(done as u64);
    });
    for key in &args.discard {
        builder = builder.discard_pending(key);
    }
    let opened = builder.open();
    bar.finish_and_clear();
    let failed = |error: ringbolt::Error| {
        let hint = if error.is_damaged_log() || error.is_locked() {
            ""
        } else {
            "; the changes stay in the log: remove the cause and run this again, or see --export and --discard"
        };
        Problem::Read(format!("recover {:?}: {error}{hint}", args.dir))
    };
    opened.map_err(failed)?.close().map_err(|rejected| failed(rejected.into()))
}

/// Writes the last value of each key into a directory of its own.
fn export(log: &LogReader, dir: &Path, outdir: &Path) -> Result<String, Problem> {
    refuse_within(dir, outdir)?;
    match fs::read_dir(outdir).map(|mut found| found.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(Problem::Usage(format!("--export {outdir:?}: the directory is not empty"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Problem::Read(format!("cannot read {outdir:?}: {error}"))),
    }
    let (mut files, mut removed, mut bytes) = (0, 0, 0);
    for change in log.last_changes() {
        match (change.kind(), change.value()?) {
            (LogChangeKind::Put(put), Some(value)) => {
                let options = WriteOptions::new().create_new(true).create_parents(true).mode(put.mode & 0o777);
                options.write(outdir.join(change.key()), value)?;
                (files, bytes) = (files + 1, bytes + put.len);
            }
            (kind, _) => removed += usize::from(kind == LogChangeKind::Delete),
        }
    }
    Ok(format!(
        "files exported: {files} ({}), to {outdir:?}; keys that the log removes: {removed}; the store is unchanged",
        HumanBytes(bytes)
    ))
}

/// Refuses an output beneath the store, whose directory belongs to it.
fn refuse_within(dir: &Path, outdir: &Path) -> Result<(), Problem> {
    let cannot = |path: &Path, error: io::Error| Problem::Read(format!("cannot examine {path:?}: {error}"));
    let store = fs::canonicalize(dir).map_err(|error| cannot(dir, error))?;
    let wanted: PathBuf = std::path::absolute(outdir).map_err(|error| cannot(outdir, error))?;
    let existing = wanted.ancestors().find_map(|path| fs::canonicalize(path).ok());
    if existing.is_some_and(|path| path.starts_with(&store)) {
        return Err(Problem::Usage(format!("--export {outdir:?}: the directory is within the store")));
    }
    Ok(())
}
