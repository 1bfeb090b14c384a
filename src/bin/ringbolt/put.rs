//! `ringbolt put`, and how any content gets into a store: in one piece if it is small, else through a guard.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use ringbolt::{PutOptions, Store, Version};

use crate::args::{Missing, PutArgs};
use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};

/// Content up to this many bytes is read whole and put at once.
const WHOLE_MAX: usize = 1 << 20;

/// How many bytes of a large file are copied between two looks for a signal.
const PIECE: u64 = 16 << 20;

pub(crate) fn run(args: &PutArgs) -> Result<(), Problem> {
    let PutArgs { dir, key, file, mode, new, if_version, adopt, writing } = args;
    // Before anything is read or created.
    check(key)?;
    let interrupt = Interrupt::watch().map_err(Problem::before("put", "watch for signals", file))?;
    let mut options = PutOptions::new().create_new(*new);
    if let Some(mode) = mode {
        options = options.mode(*mode);
    }
    if let Some(version) = if_version {
        options = options.expect_version(*version);
    }
    let mut input = Input::open("put", file)?;
    // A small file is read before the store is opened, so that the lock is not held while a slow writer thinks.
    let begin = input.read(&interrupt)?;
    let store = writing.open("put", dir, Missing::Create { adopt: *adopt })?;
    let put = Copy { verb: "put", store: &store, key, options, interrupt: &interrupt };
    let version = put.run(begin, input, |_| ())?;
    writing.tell(&store.stats());
    if writing.verbose {
        problem::tell(&format_args!("version {version}"));
    }
    store.close().map_err(Problem::write("put", key))
}

/// That this can be a key.
pub(crate) fn check(key: &str) -> Result<(), Problem> {
    ringbolt::check_key(key).map_err(|error| Problem::Usage(error.to_string()))
}

/// Content on its way into a store.
#[derive(Clone, Copy)]
pub(crate) struct Copy<'a> {
    pub(crate) verb: &'a str,
    pub(crate) store: &'a Store,
    pub(crate) key: &'a str,
    pub(crate) options: PutOptions,
    pub(crate) interrupt: &'a Interrupt,
}

impl Copy<'_> {
    /// Puts `begin` and what is left of `input`, telling `progress` of every piece, in bytes. Returns the version.
    pub(crate) fn run(self, begin: Piece, mut input: Input<'_>, progress: impl Fn(usize)) -> Result<Version, Problem> {
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
            // The guard remembers a failed write, and the commit tells of it with step and path.
            let written = file.write_all(&piece.buffer[..piece.len]);
            progress(piece.len);
            if piece.is_last() || written.is_err() {
                return file.commit().map_err(Problem::write(verb, key));
            }
            input.fill(&mut piece, interrupt)?;
        }
    }
}

impl Copy<'_> {
    /// Puts what a large file has, which the kernel copies.
    pub(crate) fn pass(self, source: &File, from: &Path, progress: impl Fn(u64)) -> Result<(), Problem> {
        let Copy { verb, store, key, options, interrupt } = self;
        let mut file = store.writer(key, options).map_err(Problem::write(verb, key))?;
        loop {
            interrupt.check()?;
            let copied = file.copy_at_most(source, PIECE);
            // A failure may be either file's: the one that still fails to be read has failed.
            if copied.is_err() {
                (&*source).read(&mut [0]).map_err(Problem::before(verb, "read", from))?;
            }
            progress(*copied.as_ref().unwrap_or(&0));
            // The guard remembers a failure, and the commit tells of it with step and path.
            if !copied.is_ok_and(|copied| copied == PIECE) {
                return file.commit().map(drop).map_err(Problem::write(verb, key));
            }
        }
    }
}

/// A buffer, and how much of it is filled: all of it, unless the input has ended.
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

/// Where content comes from.
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
        // Not blocking: a FIFO that nobody writes to must not make us deaf to Ctrl-C.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Input { verb, path, source: Source::File(file) })
    }

    /// The file, if it is a regular one that is not put in one piece.
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

    /// The first piece.
    pub(crate) fn read(&mut self, interrupt: &Interrupt) -> Result<Piece, Problem> {
        // One byte more than it holds tells that a file has ended.
        let len = match &self.source {
            Source::File(file) => file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len()),
            Source::Stdin(_) => None,
        };
        let size = len.map_or(WHOLE_MAX, |len| WHOLE_MAX.min(usize::try_from(len).unwrap_or(WHOLE_MAX))) + 1;
        let mut piece = Piece { buffer: vec![0; size], len: 0 };
        self.fill(&mut piece, interrupt)?;
        Ok(piece)
    }

    /// Reads until `piece` is full or the input ends: a pipe hands over 64 KiB at a time.
    fn fill(&mut self, piece: &mut Piece, interrupt: &Interrupt) -> Result<(), Problem> {
        piece.len = 0;
        while !piece.buffer[piece.len..].is_empty() {
            interrupt.wait_readable(self.as_fd())?;
            let buffer = &mut piece.buffer[piece.len..];
            let read = match &mut self.source {
                Source::File(file) => file.read(buffer),
                // Not through `Stdin`, whose buffer would hide from `poll` what it has.
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
