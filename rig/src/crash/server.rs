//! Serves an image with a separate descriptor table, so that a kill ends it.
//!
//! A thread that waits for the disk cannot die before the disk answers, and the kernel aborts a FUSE connection only
//! when its last descriptor is closed. If both shared a descriptor table, a killed process would wait for itself
//! forever.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::{Disk, Image};

/// A mounted image. The thread that started it, and threads started later, do not share descriptors with the serving
/// thread.
#[derive(Debug)]
pub(super) struct Server {
    disk: Arc<Disk>,
    file: PathBuf,
    /// Dropped first: that makes the thread unmount.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Mounts an image on a directory. Afterwards this thread has its own descriptor table.
    pub(super) fn start(dir: &Path, size: u64) -> io::Result<Server> {
        let (begin, told) = channel::<()>();
        let (running, ended) = channel::<()>();
        let (say, said) = channel();
        let dir = dir.to_owned();
        let thread = thread::Builder::new().name("disk".into()).spawn(move || {
            // Wait until the other thread has its own descriptor table.
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

    /// The path of the image.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, there is nothing left to unmount.
            let _ = thread.join();
        }
    }
}
