//! `ringbolt cp`: copies many files at once, so that their syncs share disk flushes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringbolt::{PutOptions, Store};
use walkdir::WalkDir;

use crate::args::{CpArgs, IfMissing};
use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};
use crate::put::{Copy, Input};

/// One file to copy.
struct Task {
    from: PathBuf,
    key: String,
    len: u64,
}

pub(crate) fn run(args: &CpArgs) -> Result<ExitCode, Problem> {
    let interrupt = Interrupt::watch().map_err(Problem::signals("cp"))?;
    let (tasks, mut failed) = collect(&args.sources, &args.dir, &interrupt)?;
    let store = args.writing.open("cp", &args.dir, IfMissing::Create { adopt: args.adopt })?;
    let bar = bar(&tasks);
    let copied = AtomicUsize::new(0);
    let failed_here = AtomicBool::new(false);
    let queue = Mutex::new(tasks.iter());
    thread::scope(|scope| {
        for _ in 0..usize::from(args.jobs).min(tasks.len()) {
            scope.spawn(|| {
                while interrupt.check().is_ok() {
                    let Some(task) = queue.lock().expect("no panic").next() else { break };
                    match copy(&store, task, &interrupt, &bar) {
                        Ok(()) => {
                            let copied = copied.fetch_add(1, Ordering::Relaxed) + 1;
                            bar.set_message(format!("{copied} of {} files", tasks.len()));
                        }
                        Err(Problem::Interrupted(_)) => break,
                        Err(problem) => {
                            failed_here.store(true, Ordering::Relaxed);
                            bar.suspend(|| problem::report(&problem));
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    failed |= failed_here.into_inner();
    let (copied, all) = (copied.into_inner(), tasks.len());
    if let Err(interrupted) = interrupt.check()
        && copied < all
    {
        problem::report(&format_args!("interrupted: {copied} of {all} files were copied and are durable"));
        return Ok(interrupted.status());
    }
    if !bar.is_hidden() {
        let bytes: u64 = tasks.iter().map(|task| task.len).sum();
        problem::report(&format_args!("{copied} of {all} files copied and durable ({})", HumanBytes(bytes)));
    }
    args.writing.report(&store.stats());
    store.close().map_err(Problem::write("cp", &args.dir.to_string_lossy()))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn copy(store: &Store, task: &Task, interrupt: &Interrupt, bar: &ProgressBar) -> Result<(), Problem> {
    let mut input = Input::open_file("cp", &task.from)?;
    let mode = input.mode().map_err(Problem::before("cp", "stat", &task.from))?;
    let options = PutOptions::new().mode(mode);
    let copy = Copy { verb: "cp", store, key: &task.key, options, interrupt };
    if let Some(source) = input.large() {
        return copy.put_large(source, &task.from, |bytes| bar.inc(bytes));
    }
    let begin = input.read(interrupt)?;
    copy.put(begin, input, |bytes| bar.inc(bytes as u64))?;
    Ok(())
}

/// The progress bar; hidden unless stderr is a terminal.
fn bar(tasks: &[Task]) -> ProgressBar {
    let bytes = tasks.iter().map(|task| task.len).sum();
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let template = "{bar:16} {msg}, {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    bar.with_style(ProgressStyle::with_template(template).expect("a valid template"))
}

/// The files to copy, and whether any were skipped. Reports each skipped path.
fn collect(sources: &[PathBuf], dir: &Path, interrupt: &Interrupt) -> Result<(Vec<Task>, bool), Problem> {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    let store = fs::metadata(dir).ok().as_ref().map(identity);
    let (mut tasks, mut skipped) = (Vec::new(), false);
    let mut skip = |path: &Path, why: &dyn std::fmt::Display| {
        skipped = true;
        problem::report(&format_args!("cp {path:?}: {why}"));
    };
    for source in sources {
        let found = match fs::metadata(source) {
            Ok(found) => found,
            Err(error) => {
                skip(source, &error);
                continue;
            }
        };
        if !found.is_dir() {
            match source.file_name().and_then(|name| name.to_str()) {
                Some(key) if found.is_file() => {
                    tasks.push(Task { from: source.clone(), key: key.into(), len: found.len() });
                }
                Some(_) => skip(source, &"not a regular file or directory"),
                None => skip(source, &"its name is not UTF-8, so it cannot be a key"),
            }
            continue;
        }
        // A directory without a name of its own (`.`, `..`, `/`) is copied to the top level.
        let base = source.file_name().map(PathBuf::from).unwrap_or_default();
        let mut walk = WalkDir::new(source).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            interrupt.check()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(source).to_owned();
                    skip(
                        &path,
                        &error.into_io_error().unwrap_or_else(|| io::Error::other("symbolic links form a loop")),
                    );
                    continue;
                }
            };
            let path = entry.path();
            if entry.file_type().is_dir() {
                if entry.file_name() == ".ringbolt" {
                    walk.skip_current_dir();
                } else if fs::symlink_metadata(path).ok().as_ref().map(identity) == store && store.is_some() {
                    skip(path, &"this is the store itself");
                    walk.skip_current_dir();
                }
                continue;
            }
            // Skip the internal files of another store.
            if entry.file_name().to_string_lossy().to_ascii_lowercase().starts_with(".ringbolt") {
                continue;
            }
            let key = base.join(path.strip_prefix(source).expect("walked from there"));
            match (key.to_str(), entry.metadata()) {
                _ if !entry.file_type().is_file() => skip(path, &"not a regular file"),
                (Some(key), Ok(found)) => {
                    tasks.push(Task { from: path.to_owned(), key: key.into(), len: found.len() });
                }
                (None, _) => skip(path, &"its name is not UTF-8, so it cannot be a key"),
                (_, Err(error)) => skip(path, &error),
            }
        }
    }
    refuse_clashes(&tasks)?;
    Ok((tasks, skipped))
}

/// Refuses two sources for one key: one would silently overwrite the other.
fn refuse_clashes(tasks: &[Task]) -> Result<(), Problem> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for task in tasks {
        if let Some(other) = seen.insert(&task.key, &task.from) {
            return Err(Problem::Usage(format!("{other:?} and {:?} would both become {:?}", task.from, task.key)));
        }
    }
    Ok(())
}
