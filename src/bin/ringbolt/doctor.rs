//! `ringbolt doctor`: a report on the storage beneath a directory, as text or JSON.

use std::fs;

use ringbolt::environment::{Device, Environment, Filesystem, IoUring};
use textwrap::Options;

use crate::args::DoctorArgs;
use crate::problem::Problem;
use crate::{print, read};

/// The maximum line width, in columns.
const WIDTH: usize = 80;

/// The column where the text after a label begins.
const INDENT: usize = 17;

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Problem> {
    let dir = &args.dir;
    let path = if dir.as_os_str().is_empty() { ".".as_ref() } else { dir.as_path() };
    match fs::metadata(path) {
        Err(error) => return Err(Problem::Read(format!("cannot examine {dir:?}: {error}"))),
        Ok(found) if !found.is_dir() => return Err(Problem::Read(format!("{dir:?} is not a directory"))),
        Ok(_) => {}
    }
    let environment = Environment::of(dir);
    let text = if args.json {
        // Paths are serialized as lossy text, so serialization cannot fail.
        serde_json::to_string_pretty(&environment).expect("only text and numbers") + "\n"
    } else {
        report(&environment)
    };
    print(text.as_bytes())?;
    match environment.obstacle {
        Some(why) => Err(Problem::Read(format!("cannot keep a store in {dir:?}: {why}"))),
        None => Ok(()),
    }
}

fn report(environment: &Environment) -> String {
    let mut page = Page::default();
    page.entry("directory", &environment.directory.to_string_lossy());
    let processors = if environment.processors == 1 { "processor" } else { "processors" };
    page.entry("kernel", &format!("{}, {} {processors}", environment.kernel, environment.processors));
    io_uring(&mut page, &environment.io_uring);
    filesystem(&mut page, "filesystem", &environment.filesystem);
    for device in &environment.device {
        page.entry("device", &describe(device));
        if let Some(beneath) = &device.backing_filesystem {
            filesystem(&mut page, "  on", beneath);
        }
    }
    if environment.device.is_empty() {
        let has_none = environment.filesystem.volatile || environment.filesystem.network;
        page.entry("device", if has_none { "none" } else { "unknown" });
    }
    page.entry("directory fsync", environment.directory_fsync.error.as_deref().unwrap_or("works"));
    page.entry("engine", &format!("{}: {}", environment.engine, environment.engine_reason));
    match &*environment.barriers {
        [] => page.entry("barrier", "none holds here"),
        hold => {
            page.entry("barrier", &format!("{}: {}", environment.barrier, environment.barrier_reason));
            page.entry("", &format!("barriers that hold: {}", hold.join(", ")));
        }
    }
    for refused in &environment.barriers_refused {
        page.entry("", refused);
    }
    if let Some(log) = &environment.intent_log {
        page.entry("intent log", &log.what);
    }
    if environment.warnings.is_empty() {
        page.entry("warnings", "none");
    }
    for (i, warning) in environment.warnings.iter().enumerate() {
        page.line("");
        page.entry(if i == 0 { "warnings" } else { "" }, &warning.what);
        page.wrapped("", INDENT, "- ", &warning.advice);
    }
    page.0
}

fn io_uring(page: &mut Page, found: &IoUring) {
    page.entry("io_uring", &found.reason);
    if !found.missing_operations.is_empty() {
        page.entry("", &format!("missing: {}", found.missing_operations.join(", ")));
    }
}

fn filesystem(page: &mut Page, label: &str, found: &Filesystem) {
    let mut text = found.kind.clone();
    if let Some(source) = found.source.as_ref().filter(|source| **source != found.kind) {
        text += &format!(" of {source}");
    }
    if let Some(point) = &found.mount_point {
        text += &format!(", mounted at {}", point.to_string_lossy());
    }
    page.entry(label, &text);
    let facts = [
        (found.journal, "journal", "no journal"),
        (found.fast_commit.filter(|fast| *fast), "fast_commit", ""),
        (found.barriers, "barriers", "no barriers"),
        (Some(found.volatile).filter(|volatile| *volatile), "loses everything at a power cut", ""),
        (Some(found.network).filter(|network| *network), "on another machine", ""),
        (Some(found.fuse).filter(|fuse| *fuse), "FUSE", ""),
    ];
    let mut facts: Vec<String> =
        facts.iter().filter_map(|(fact, yes, no)| fact.map(|fact| if fact { yes } else { no }.to_string())).collect();
    if let Some(free) = found.free_bytes {
        let of = found.total_bytes.filter(|total| *total > 0).map(|total| format!(" of {}", size(total)));
        facts.extend(of.map(|of| format!("{} free{of}", size(free))));
    }
    if !facts.is_empty() {
        page.entry("", &facts.join(", "));
    }
    if !found.options.is_empty() {
        page.entry("", &format!("options: {}", found.options.join(", ")));
    }
    if let Some(beneath) = &found.beneath {
        filesystem(page, "  on", beneath);
    }
}

fn describe(device: &Device) -> String {
    let mut facts = vec![device.kind.clone()];
    facts.extend(device.model.as_ref().map(|model| format!("{model:?}")));
    facts.extend(device.size_bytes.map(size));
    facts.extend(device.rotational.map(|turns| if turns { "rotational" } else { "not rotational" }.to_owned()));
    facts.extend(device.scheduler.as_ref().map(|scheduler| format!("scheduler {scheduler}")));
    facts.extend(device.write_cache.as_ref().map(|cache| format!("cache {cache}")));
    facts.extend(device.fua.map(|fua| if fua { "FUA" } else { "no FUA" }.to_owned()));
    facts.extend(device.backing_file.as_ref().map(|file| format!("in the file {}", file.to_string_lossy())));
    format!("{}: {}", device.name, facts.join(", "))
}

/// Formats a size in the largest unit that leaves at least 1.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let number = bytes as f64 / (1u64 << (10 * power)) as f64;
    let decimals = usize::from(number < 10.0 && number.fract() != 0.0);
    format!("{number:.decimals$} {}", UNITS[power - 1])
}

/// A report with labels on the left and text on the right.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0 += line.trim_end();
        self.0.push('\n');
    }

    fn entry(&mut self, label: &str, text: &str) {
        self.wrapped(label, INDENT, "", text);
    }

    /// Appends `text`, wrapped, after `label` and `mark`. A word longer than a line is not broken.
    fn wrapped(&mut self, label: &str, indent: usize, mark: &str, text: &str) {
        // Names come from outside. Escape them, so that they cannot move the cursor.
        let text = read::shown(text, true);
        let (first, next) = (format!("{label:indent$}{mark}"), " ".repeat(indent + mark.len()));
        let options = Options::new(WIDTH).initial_indent(&first).subsequent_indent(&next).break_words(false);
        for line in textwrap::wrap(&text, options) {
            self.line(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (256 << 30, "256 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn lines_are_wrapped_and_nothing_moves_the_cursor() {
        let mut page = Page::default();
        page.entry("label", &"word ".repeat(40));
        page.entry("", "a\u{1b}[2Jb\nc");
        assert!(page.0.lines().all(|line| line.len() <= WIDTH), "{}", page.0);
        assert!(page.0.starts_with("label            word word"));
        assert!(page.0.ends_with("                 a\\u{1b}[2Jb\\nc\n"), "{}", page.0);
    }
}
