//! An upload in parts: written to a file that nobody sees, published whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use ::object_store::path::Path;
use ::object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use async_trait::async_trait;
use futures_util::FutureExt;

use super::blocking::blocking;
use super::error::{STORE, explain, of_io};
use super::result;
use crate::StoreFile;

/// Parts that are being written, in any order, each at its place.
#[derive(Debug)]
pub(super) struct Upload {
    location: Path,
    shared: Arc<Shared>,
    /// Where the next part goes.
    end: u64,
    parts: u64,
    /// Whether the completion is answered with an entity tag.
    keeps_versions: bool,
}

#[derive(Debug)]
struct Shared {
    /// One descriptor for all parts, which are written side by side.
    content: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Gone after a completion or an abort.
    file: Option<StoreFile>,
    /// Parts that are whole.
    written: u64,
    /// A completion has told its caller that it failed: there is nothing left to abort, and no harm in asking for it. One that was
    /// given up may have succeeded.
    failed: bool,
}

impl Upload {
    pub(super) fn new(file: StoreFile, location: Path, keeps_versions: bool) -> Result<Upload> {
        let content = file.as_file().try_clone().map_err(|error| of_io(error, &location))?;
        let state = Mutex::new(State { file: Some(file), written: 0, failed: false });
        Ok(Upload { location, shared: Arc::new(Shared { content, state }), end: 0, parts: 0, keeps_versions })
    }

    fn error(&self, why: String) -> Error {
        Error::Generic { store: STORE, source: format!("{}: {why}", self.location).into() }
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, payload: &PutPayload, mut offset: u64, location: &Path) -> Result<()> {
        // What is taken away meanwhile is not published: this part is missing then.
        if self.state().file.is_none() {
            let why = format!("{location}: a part of an upload that is over");
            return Err(Error::Generic { store: STORE, source: why.into() });
        }
        for bytes in payload {
            self.content.write_all_at(bytes, offset).map_err(|error| of_io(error, location))?;
            offset += bytes.len() as u64;
        }
        self.state().written += 1;
        Ok(())
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (shared, location, offset) = (Arc::clone(&self.shared), self.location.clone(), self.end);
        self.end += data.content_length() as u64;
        self.parts += 1;
        blocking(move || shared.write(&data, offset, &location)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, written) = {
            let mut state = self.shared.state();
            (state.file.take(), state.written)
        };
        let file = file.ok_or_else(|| self.error("the upload is over".to_owned()))?;
        if written != self.parts {
            let missing = self.parts - written;
            blocking(move || {
                drop(file);
                Ok(())
            })
            .await?;
            self.shared.state().failed = true;
            return Err(self.error(format!("{missing} of {} parts were not written; nothing has changed", self.parts)));
        }
        let location = self.location.clone();
        let committed = blocking(move || file.commit().map_err(|error| explain(error.into(), &location))).await;
        self.shared.state().failed = committed.is_err();
        committed.map(|version| result(version, self.keeps_versions))
    }

    async fn abort(&mut self) -> Result<()> {
        let (file, failed) = {
            let mut state = self.shared.state();
            (state.file.take(), state.failed)
        };
        let location = self.location.clone();
        match file {
            Some(file) => blocking(move || file.discard().map_err(|error| explain(error, &location))).await,
            // `WriteMultipart::finish` aborts what it could not complete, and would tell the abort's error instead of the reason.
            None if failed => Ok(()),
            None => Err(self.error("the upload is over".to_owned())),
        }
    }
}
