//! The store as an [`ObjectStore`] of the crate [`object_store`], for programs that know that trait: SlateDB,
//! DataFusion, Delta, Lance (feature `object_store`).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! use object_store::{ObjectStoreExt, PutMode, path::Path};
//! use ringbolt::object_store::RingboltStore;
//!
//! let store = RingboltStore::from(ringbolt::Store::create(dir.path())?);
//! let manifest = Path::from("db/manifest/000001");
//! let first = store.put(&manifest, "one".into()).await?; // durable when this returns
//!
//! // Compare and swap: who has read `first` and is late is told so.
//! use object_store::ObjectStore;
//! store.put_opts(&manifest, "two".into(), PutMode::Update(first.clone().into()).into()).await?;
//! let late = store.put_opts(&manifest, "also two".into(), PutMode::Update(first.into()).into()).await;
//! assert!(matches!(late, Err(object_store::Error::Precondition { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! What the trait leaves open, and how it is here:
//!
//! | | |
//! |---|---|
//! | durability | what returns `Ok` from a change is durable: puts, a completed multipart upload, deletes, copies, renames |
//! | reading only | [`RingboltReader`] reads a directory beside its writer |
//! | entity tag | the version of the file; none where the filesystem does not keep versions ([`Metadata::version`](crate::Metadata::version)): an update is [`NotSupported`](Error::NotSupported) there, and a get by tag matches nothing. [`ObjectMeta::version`] is `None`: older contents are not kept |
//! | many puts at once | share commits, as all of a [`Store`] do |
//! | attributes | in an extended attribute, durable with the content. [`NotSupported`](Error::NotSupported) where the filesystem has none, or no room for them. Tags are ignored, as the trait asks of a store without any |
//! | multipart | parts go to a file that nobody sees; at most what the filesystem takes. Dropped without [`complete`](MultipartUpload::complete) it leaves nothing. A part that failed, or was given up, fails the completion |
//! | listing | in the order of the bytes of the paths; a prefix is there only if an object is beneath it |
//! | copy | of bytes and attributes, with a tag of its own |
//! | rename | one rename, with the tag that it had; with [`RenameTargetMode::Create`] a copy and a delete of what was copied, so that a crash between leaves both, and a put to the old name meanwhile is kept |
//! | paths | a directory cannot be an object: `a` beside `a/b` is [`NotSupported`](Error::NotSupported), and so is a segment of more than 255 bytes or one that begins with `.ringbolt`. Empty directories, which deletes leave behind, are not in the way |
//! | visible | what a put makes can be read a moment before it is durable, and so before the put returns |
//! | ranges | [`get_ranges`](ObjectStore::get_ranges) reads all of them from one content |
//! | errors | whose source is a [`ringbolt::Error`](crate::Error) can be asked for their [outcome](crate::Error::outcome). After `Unknown`, which is [`Generic`](Error::Generic), every change is [`NotSupported`](Error::NotSupported) until the store is opened again |
//! | dropped futures | a change whose future was polled may happen |
//!
//! Reads, listings, copies and uploads block a thread; on a tokio runtime that is one of its blocking threads, else the caller's.
//! Puts, deletes and renames run on any runtime. To drop the last clone waits for what is queued, and to drop an upload removes its file:
//! both on the thread that does it.

mod attributes;
mod blocking;
mod error;
mod get;
mod list;
mod reader;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::Payload;
use crate::Reader;
use crate::Store;
use crate::Version;
use blocking::blocking;
use error::{explain, explain_create, explain_source, not_implemented, precondition, unsupported_version};
pub use reader::RingboltReader;
use upload::Upload;

/// How many deletes are one commit at most.
const DELETES: usize = 256;

/// A [`Store`] that speaks the trait. A clone is the same store.
#[derive(Clone, Debug)]
pub struct RingboltStore {
    store: Arc<Store>,
}

impl RingboltStore {
    /// Opens an existing store, with the defaults of [`Store::builder`]. Any other store is turned into this by [`From`].
    ///
    /// # Errors
    ///
    /// As [`StoreBuilder::open`](crate::StoreBuilder::open).
    pub fn open(path: impl AsRef<FsPath>) -> crate::Result<RingboltStore> {
        Store::open(path).map(RingboltStore::from)
    }

    /// The store beneath. What is done to it is seen here, and the other way round.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// What a put is answered with.
    fn result(&self, version: Version) -> PutResult {
        result(version, self.reader().keeps_versions())
    }

    async fn copy(&self, from: &Path, to: &Path, mode: CopyMode) -> Result<Copied> {
        let (store, from, to) = (Arc::clone(&self.store), from.clone(), to.clone());
        blocking(move || {
            let (source, original) = get::open_version(&store.reader(), &from)?;
            let attributes = attributes::read(&source, &from)?;
            let options = crate::PutOptions::new().create_new(mode == CopyMode::Create);
            let mut target = store.writer(to.as_ref(), options).map_err(|error| explain_create(&store, error, &to))?;
            target.copy_from(&source).map_err(|error| error::of_io(error, &to))?;
            attributes::write(target.as_file(), &attributes, &to)?;
            let copy = target.commit().map_err(|error| explain_create(&store, error.into(), &to))?;
            Ok(Copied { original, copy })
        })
        .await
    }

    /// A copy and a delete, of what was copied and nothing else: who puts into `from` meanwhile has put after the rename.
    async fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        let Copied { original, copy } = self.copy(from, to, CopyMode::Create).await?;
        let Some(original) = original else {
            // Nothing can be compared on this filesystem.
            let deleted = self.store.delete_async(from.as_ref()).await;
            return deleted.map_err(|error| explain_source(error, from));
        };
        let error = match self.store.delete_if_async(from.as_ref(), original).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_version_mismatch() => error,
            Err(error) => return Err(explain_source(error, from)),
        };
        let (reader, path) = (self.reader(), from.clone());
        match blocking(move || get::open_version(&reader, &path)).await {
            Ok(_) => Ok(()),
            // Somebody else has renamed or deleted it: what is gone cannot be renamed, so the copy goes, too.
            Err(Error::NotFound { path, .. }) => match self.store.delete_if_async(to.as_ref(), copy).await {
                Err(error) if !error.is_version_mismatch() => Err(explain(error, to)),
                _ => Err(Error::NotFound { path, source: Box::new(error) }),
            },
            Err(error) => Err(error),
        }
    }

    /// A put with attributes, which must be in the file before it is synced.
    async fn put_with_attributes(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
        options: crate::PutOptions,
    ) -> Result<Version> {
        let (store, location) = (Arc::clone(&self.store), location.clone());
        blocking(move || {
            let file = store.writer(location.as_ref(), options);
            let mut file = file.map_err(|error| explain_create(&store, error, &location))?;
            for bytes in &payload {
                std::io::Write::write_all(&mut file, bytes).map_err(|error| error::of_io(error, &location))?;
            }
            attributes::write(file.as_file(), &opts.attributes, &location)?;
            file.commit().map_err(|error| explain_create(&store, error.into(), &location))
        })
        .await
    }
}

/// The versions of what was copied, and of what that made.
struct Copied {
    original: Option<Version>,
    copy: Version,
}

impl From<Store> for RingboltStore {
    fn from(store: Store) -> RingboltStore {
        RingboltStore { store: Arc::new(store) }
    }
}

impl fmt::Display for RingboltStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingboltStore({})", self.store.path().display())
    }
}

#[async_trait]
impl ObjectStore for RingboltStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let options = match &opts.mode {
            PutMode::Overwrite => crate::PutOptions::new(),
            PutMode::Create => crate::PutOptions::new().create_new(true),
            PutMode::Update(_) if !self.reader().keeps_versions() => {
                return Err(unsupported_version(self.store.path(), location));
            }
            PutMode::Update(expected) => {
                let tag =
                    expected.e_tag.as_deref().ok_or_else(|| precondition(location, "an update needs an entity tag"))?;
                let version = tag.parse().map_err(|_| precondition(location, "not an entity tag of this store"))?;
                crate::PutOptions::new().expect_version(version)
            }
        };
        let is_update = matches!(opts.mode, PutMode::Update(_));
        let put = match opts.attributes.is_empty() {
            true => {
                let put = self.store.put_with_async(location.as_ref(), Payload::from_iter(payload), options);
                match put.await {
                    Err(error) if error.is_already_exists() => {
                        let (store, location) = (Arc::clone(&self.store), location.clone());
                        blocking(move || Err(explain_create(&store, error, &location))).await
                    }
                    put => put.map_err(|error| explain(error, location)),
                }
            }
            false => self.put_with_attributes(location, payload, opts, options).await,
        };
        match put {
            // What is not there has not the version that was expected.
            Err(Error::NotFound { source, path }) if is_update => Err(Error::Precondition { path, source }),
            put => put.map(|version| self.result(version)),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (Arc::clone(&self.store), location.clone());
        blocking(move || {
            let file = store.writer(location.as_ref(), crate::PutOptions::new());
            let file = file.map_err(|error| explain(error, &location))?;
            attributes::write(file.as_file(), &opts.attributes, &location)?;
            Ok(Box::new(Upload::new(file, location, store.reader().keeps_versions())?) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (reader, location) = (self.reader(), location.clone());
        blocking(move || get::get(&reader, &location, &options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (reader, location, ranges) = (self.reader(), location.clone(), ranges.to_vec());
        blocking(move || get::get_ranges(&reader, &location, &ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = Arc::clone(&self.store);
        // What is ready is one commit: nobody waits for company.
        let commits = locations.ready_chunks(DELETES).then(move |locations| delete(Arc::clone(&store), locations));
        commits.flat_map(futures_util::stream::iter).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(self.reader(), prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(self.reader(), prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (reader, prefix) = (self.reader(), prefix.cloned());
        blocking(move || list::list_with_delimiter(&reader, prefix.as_ref())).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.copy(from, to, options.mode).await.map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        match options.target_mode {
            RenameTargetMode::Overwrite => {
                // Where there is nothing, or a directory, to rename, no directory is made for it.
                let (reader, path) = (self.reader(), from.clone());
                blocking(move || get::open_version(&reader, &path)).await?;
                self.store.rename_async(from.as_ref(), to.as_ref()).await.map_err(|error| explain_source(error, from))
            }
            RenameTargetMode::Create => self.rename_new(from, to).await,
        }
    }
}

/// Deletes what it can of these, in one commit; the results are in their order.
async fn delete(store: Arc<Store>, locations: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let mut batch = store.batch();
    for location in locations.iter().flatten() {
        batch.delete(location.as_ref());
    }
    let mut answers = batch.commit_async().await.into_results().into_iter();
    let settle = |location: Result<Path>| {
        let location = location?;
        match answers.next() {
            Some(Ok(_)) => Ok(location),
            Some(Err(error)) => Err(explain_source(error, &location)),
            None => Err(not_implemented("a delete without an answer")),
        }
    };
    locations.into_iter().map(settle).collect()
}

/// What a put is answered with: an entity tag if reads give it as well.
fn result(version: Version, keeps_versions: bool) -> PutResult {
    PutResult { e_tag: keeps_versions.then(|| version.to_string()), version: None, extensions: Default::default() }
}
