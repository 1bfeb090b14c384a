//! An image that is served with descriptors of its own, so that a kill ends it.
//!
//! A thread that waits for the disk does not die before the disk has answered; and the kernel gives up a FUSE connection when
//! the last descriptor of it is closed. If the two shared their descriptors, a process that is killed would wait for itself for ever.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::{Disk, Image};

/// A mounted image. Whoever started it, and the threads which that one has started since, have other descriptors than the thread
/// that serves it.
#[derive(Debug)]
pub(super) struct Server {
    disk: Arc<Disk>,
    file: PathBuf,
    /// Goes first: then the thread unmounts.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Mounts an image on a directory. From here on this thread has descriptors of its own.
    pub(super) fn start(dir: &Path, size: u64) -> io::Result<Server> {
        let (begin, told) = channel::<()>();
        let (running, ended) = channel::<()>();
        let (say, said) = channel();
        let dir = dir.to_owned();
        let thread = thread::Builder::new().name("disk".into()).spawn(move || {
            // Not before the other has descriptors of its own.
            if told.recv().is_err() {
                return;
            }
            let mounted = Image::new(size, Duration::ZERO).and_then(|image| image.mount(&dir));
            match mounted {
                Err(error) => drop(say.send(Err(error))),
                Ok(mounted) => {
                    let _ = say.send(Ok((Arc::clone(mounted.disk()), mounted.file().to_owned())));
                    let _ = ended.recv();
                }
            }
        })?;
        unshare(CloneFlags::CLONE_FILES)?;
        let gone = |_| io::Error::other("the disk's thread is gone");
        begin.send(()).map_err(|e| io::Error::other(e.to_string()))?;
        let (disk, file) = said.recv().map_err(gone)??;
        Ok(Server { disk, file, running: Some(running), thread: Some(thread) })
    }

    /// The disk.
    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Where its image is.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked, there is nothing to unmount any more.
            let _ = thread.join();
        }
    }
}
