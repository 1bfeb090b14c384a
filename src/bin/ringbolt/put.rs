//! `ringbolt put`, and how any content gets into a store: in one piece if it is small, else through a guard.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ringbolt::{PutOptions, Store};

use crate::args::{PutArgs, Writing};
use crate::interrupt::Interrupt;
use crate::problem::{self, Problem};

/// Content up to this many bytes is read whole and put at once.
const WHOLE_MAX: usize = 1 << 20;

pub(crate) fn run(args: &PutArgs) -> Result<(), Problem> {
    let interrupt = Interrupt::watch().map_err(|error| Problem::Io { doing: "watch for signals".into(), error })?;
    // The input first: without it, nothing is created.
    let input = Input::open(&args.file)?;
    let store = open(&args.dir, &args.writing)?;
    let mut options = PutOptions::new().create_new(args.new);
    if let Some(mode) = args.mode {
        options = options.mode(mode);
    }
    copy(&store, &args.key, input, options, &interrupt, |_| ())?;
    store.close().map_err(Problem::write("put", &args.key))
}

/// Opens the store for a command that may create it.
pub(crate) fn open(dir: &Path, writing: &Writing) -> Result<Store, Problem> {
    let store = Store::builder(dir).create(true).engine(writing.engine()).open()?;
    if writing.verbose {
        problem::tell(&format_args!("engine {}", store.engine()));
    }
    Ok(store)
}

/// Puts all of `input` under `key`, telling `progress` of every piece read, in bytes.
pub(crate) fn copy(
    store: &Store,
    key: &str,
    mut input: Input<'_>,
    options: PutOptions,
    interrupt: &Interrupt,
    mut progress: impl FnMut(u64),
) -> Result<(), Problem> {
    let mut piece = vec![0; WHOLE_MAX + 1];
    let mut guard = None;
    loop {
        // Filled as far as the input goes: a pipe hands over 64 KiB at a time.
        let len = input.fill(&mut piece, interrupt, &mut progress)?;
        let ended = len < piece.len();
        if ended && guard.is_none() {
            piece.truncate(len);
            return store.put_with(key, piece, options).map_err(Problem::write("put", key));
        }
        let file = match &mut guard {
            Some(file) => file,
            None => guard.insert(store.create(key, options).map_err(Problem::write("put", key))?),
        };
        // The guard remembers a failed write, and tells of it with step and path.
        let written = file.write_all(&piece[..len]);
        if ended || written.is_err() {
            let file = guard.take().expect("just written to");
            return file.commit().map_err(Problem::write("put", key));
        }
    }
}

/// Where content comes from.
pub(crate) struct Input<'a> {
    path: &'a Path,
    source: Source,
}

enum Source {
    File(File),
    Stdin(io::Stdin),
}

impl<'a> Input<'a> {
    /// A file, or standard input for `-`.
    pub(crate) fn open(path: &'a Path) -> Result<Input<'a>, Problem> {
        if path == Path::new("-") {
            return Ok(Input { path, source: Source::Stdin(io::stdin()) });
        }
        let fail = |error| Problem::io("open", path)(error);
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Input { path, source: Source::File(file) })
    }

    pub(crate) fn mode(&self) -> io::Result<u32> {
        use std::os::unix::fs::MetadataExt;
        match &self.source {
            Source::File(file) => Ok(file.metadata()?.mode() & 0o777),
            Source::Stdin(_) => Ok(0o600),
        }
    }

    /// Reads until `piece` is full or the input ends; the number of bytes read.
    fn fill(
        &mut self,
        piece: &mut [u8],
        interrupt: &Interrupt,
        progress: &mut impl FnMut(u64),
    ) -> Result<usize, Problem> {
        let mut len = 0;
        while len < piece.len() {
            interrupt.wait_readable(self.as_fd())?;
            let read = match &mut self.source {
                Source::File(file) => file.read(&mut piece[len..]),
                // Not through `Stdin`, whose buffer would hide from `poll` what it has.
                Source::Stdin(stdin) => nix::unistd::read(stdin, &mut piece[len..]).map_err(io::Error::from),
            };
            match read {
                Ok(0) => break,
                Ok(n) => {
                    len += n;
                    progress(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::io("read", self.path)(error)),
            }
        }
        Ok(len)
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
