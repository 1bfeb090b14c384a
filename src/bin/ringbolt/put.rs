//! `ringbolt put`, and how `put` and `cp` write content: small content in one call, large content through a
//! [`StoreFile`](ringbolt::StoreFile).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use ringbolt::{PutOptions, Store, Version};

use crate::args::{IfMissing, PutArgs};
use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};

/// Content up to this many bytes is read into memory and put in one call.
const WHOLE_MAX: usize = 1 << 20;

/// How many bytes of a large file are copied between two checks for a signal.
const PIECE: u64 = 16 << 20;

pub(crate) fn run(args: &PutArgs) -> Result<(), Problem> {
    let PutArgs { dir, key, file, mode, new, if_version, adopt, writing } = args;
    // Check the key before reading or creating anything.
    check(key)?;
    let interrupt = Interrupt::watch().map_err(Problem::signals("put"))?;
    let mut options = PutOptions::new().create_new(*new);
    if let Some(mode) = mode {
        options = options.mode(*mode);
    }
    if let Some(version) = if_version {
        options = options.expect_version(*version);
    }
    let mut input = Input::open("put", file)?;
    // Read small content before opening the store, so that a slow input does not hold the lock.
    let begin = input.read(&interrupt)?;
    let store = writing.open("put", dir, IfMissing::Create { adopt: *adopt })?;
    let copy = Copy { verb: "put", store: &store, key, options, interrupt: &interrupt };
    let version = copy.put(begin, input, |_| ())?;
    writing.report(&store.stats());
    if writing.verbose {
        problem::report(&format_args!("version {version}"));
    }
    store.close().map_err(Problem::write("put", key))
}

/// Checks that `key` is valid.
pub(crate) fn check(key: &str) -> Result<(), Problem> {
    ringbolt::check_key(key).map_err(|error| Problem::Usage(error.to_string()))
}

/// How to write one key.
#[derive(Clone, Copy)]
pub(crate) struct Copy<'a> {
    pub(crate) verb: &'a str,
    pub(crate) store: &'a Store,
    pub(crate) key: &'a str,
    pub(crate) options: PutOptions,
    pub(crate) interrupt: &'a Interrupt,
}

impl Copy<'_> {
    /// Writes `begin` and the rest of `input`. Calls `progress` with the length in bytes of each piece. Returns the version.
    pub(crate) fn put(self, begin: Piece, mut input: Input<'_>, progress: impl Fn(usize)) -> Result<Version, Problem> {
        let Copy { verb, store, key, options, interrupt } = self;
        let mut piece = begin;
        if piece.is_last() {
            let len = piece.len;
            let version = store.put_with(key, piece.into_bytes(), options).map_err(Problem::write(verb, key))?;
            progress(len);
            return Ok(version);
        }
        let mut file = store.writer(key, options).map_err(Problem::write(verb, key))?;
        loop {
            // `commit` reports a failed write, with step and path.
            let written = file.write_all(&piece.buffer[..piece.len]);
            progress(piece.len);
            if piece.is_last() || written.is_err() {
                return file.commit().map_err(Problem::write(verb, key));
            }
            input.fill(&mut piece, interrupt)?;
        }
    }

    /// Writes the content of a large file. The kernel copies it.
    pub(crate) fn put_large(self, source: &File, from: &Path, progress: impl Fn(u64)) -> Result<(), Problem> {
        let Copy { verb, store, key, options, interrupt } = self;
        let mut file = store.writer(key, options).map_err(Problem::write(verb, key))?;
        loop {
            interrupt.check()?;
            let copied = file.copy_at_most(source, PIECE);
            // Either file may have failed. If reading `source` fails again, it was that one.
            if copied.is_err() {
                (&*source).read(&mut [0]).map_err(Problem::before(verb, "read", from))?;
            }
            progress(*copied.as_ref().unwrap_or(&0));
            // `commit` reports a failure, with step and path.
            if !copied.is_ok_and(|copied| copied == PIECE) {
                return file.commit().map(drop).map_err(Problem::write(verb, key));
            }
        }
    }
}

/// A buffer and how much of it is filled: all of it, unless the input has ended.
pub(crate) struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

impl Piece {
    fn is_last(&self) -> bool {
        self.len < self.buffer.len()
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.buffer.truncate(self.len);
        self.buffer
    }
}

/// The source of the content.
pub(crate) struct Input<'a> {
    verb: &'a str,
    path: &'a Path,
    source: Source,
}

enum Source {
    File(File),
    Stdin(io::Stdin),
}

impl<'a> Input<'a> {
    /// A file, or standard input for `-`.
    pub(crate) fn open(verb: &'a str, path: &'a Path) -> Result<Input<'a>, Problem> {
        if path == Path::new("-") {
            return Ok(Input { verb, path, source: Source::Stdin(io::stdin()) });
        }
        Input::open_file(verb, path)
    }

    pub(crate) fn open_file(verb: &'a str, path: &'a Path) -> Result<Input<'a>, Problem> {
        let fail = |error| Problem::before(verb, "open", path)(error);
        // O_NONBLOCK: opening a FIFO without a writer would block, and Ctrl-C would be ignored.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Input { verb, path, source: Source::File(file) })
    }

    /// The file, if it is a regular file too large to put in one call.
    pub(crate) fn large(&self) -> Option<&File> {
        match &self.source {
            Source::File(file) => {
                file.metadata().is_ok_and(|found| found.is_file() && found.len() > WHOLE_MAX as u64).then_some(file)
            }
            Source::Stdin(_) => None,
        }
    }

    pub(crate) fn mode(&self) -> io::Result<u32> {
        match &self.source {
            Source::File(file) => Ok(file.metadata()?.mode() & 0o777),
            Source::Stdin(_) => Ok(0o600),
        }
    }

    /// Reads the first piece.
    pub(crate) fn read(&mut self, interrupt: &Interrupt) -> Result<Piece, Problem> {
        // One byte larger than the file, so that reading it all leaves room: that marks the end.
        let len = match &self.source {
            Source::File(file) => file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len()),
            Source::Stdin(_) => None,
        };
        let size = len.map_or(WHOLE_MAX, |len| WHOLE_MAX.min(usize::try_from(len).unwrap_or(WHOLE_MAX))) + 1;
        let mut piece = Piece { buffer: vec![0; size], len: 0 };
        self.fill(&mut piece, interrupt)?;
        Ok(piece)
    }

    /// Reads until `piece` is full or the input ends. A single read from a pipe returns at most 64 KiB.
    fn fill(&mut self, piece: &mut Piece, interrupt: &Interrupt) -> Result<(), Problem> {
        piece.len = 0;
        while !piece.buffer[piece.len..].is_empty() {
            interrupt.wait_readable(self.as_fd())?;
            let buffer = &mut piece.buffer[piece.len..];
            let read = match &mut self.source {
                Source::File(file) => file.read(buffer),
                // Bypass `Stdin`: `poll` does not see the data in its buffer.
                Source::Stdin(stdin) => nix::unistd::read(stdin, buffer).map_err(io::Error::from),
            };
            match read {
                Ok(0) => break,
                Ok(n) => piece.len += n,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(Problem::before(self.verb, "read", self.path)(error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Input<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::File(file) => file.as_fd(),
            Source::Stdin(stdin) => stdin.as_fd(),
        }
    }
}
