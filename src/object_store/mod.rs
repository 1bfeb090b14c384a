//! Implements [`ObjectStore`] of the crate [`object_store`] on a store, for programs that use that trait, such as
//! SlateDB, DataFusion, Delta and Lance (feature `object_store`).
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
//! // Compare and swap: an update based on an outdated version fails.
//! use object_store::ObjectStore;
//! store.put_opts(&manifest, "two".into(), PutMode::Update(first.clone().into()).into()).await?;
//! let late = store.put_opts(&manifest, "also two".into(), PutMode::Update(first.into()).into()).await;
//! assert!(matches!(late, Err(object_store::Error::Precondition { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! How this implementation behaves where the trait leaves a choice:
//!
//! | | |
//! |---|---|
//! | durability | a change that returns `Ok` is durable: put, completed multipart upload, delete, copy, rename |
//! | read-only access | [`RingboltReader`] reads a directory while another process writes it |
//! | entity tag | the version of the file. On a filesystem that does not keep versions ([`Metadata::version`](crate::Metadata::version)) there is no tag: an update fails with [`NotSupported`](Error::NotSupported), and a get by tag matches nothing. [`ObjectMeta::version`] is `None`, because older contents are not kept |
//! | concurrent puts | share commits, like all changes of a [`Store`] |
//! | attributes | stored in an extended attribute, durable together with the content. [`NotSupported`](Error::NotSupported) if the filesystem has no extended attributes or no space for them. Tags are ignored, as the trait requires of a store without tags |
//! | multipart upload | parts are written to a hidden file; the size limit is that of the filesystem. An upload dropped without [`complete`](MultipartUpload::complete) leaves nothing. If a part failed, or its future was dropped, the completion fails |
//! | listing | in byte order of the paths; a prefix exists only if there is an object below it |
//! | copy | copies bytes and attributes; the copy has its own tag |
//! | rename | one rename, which keeps the tag. With [`RenameTargetMode::Create`], a copy and a delete of the copied version: a crash in between leaves both, and a concurrent put to the old name is kept |
//! | paths | a directory cannot be an object: `a` next to `a/b` is [`NotSupported`](Error::NotSupported). So is a segment longer than 255 bytes, or one that starts with `.ringbolt`. Empty directories left by deletes do not matter |
//! | visibility | a put is visible shortly before it is durable, and so before it returns |
//! | ranges | [`get_ranges`](ObjectStore::get_ranges) reads all ranges from the same content |
//! | errors | if the source is a [`ringbolt::Error`](crate::Error), it has an [outcome](crate::Error::outcome). After `Unknown`, reported as [`Generic`](Error::Generic), every change fails with [`NotSupported`](Error::NotSupported) until the store is reopened |
//! | dropped futures | once its future was polled, a change may still happen |
//!
//! Reads, listings, copies and uploads block a thread: one of tokio's blocking threads, or the caller's thread outside
//! a tokio runtime. Puts, deletes and renames run on any runtime. Dropping the last clone waits for queued changes, and
//! dropping an upload removes its file; both block the dropping thread.

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

/// The most deletes per commit.
const DELETES: usize = 256;

/// A [`Store`] as an [`ObjectStore`]. A clone refers to the same store.
#[derive(Clone, Debug)]
pub struct RingboltStore {
    store: Arc<Store>,
}

impl RingboltStore {
    /// Opens an existing store, with the defaults of [`Store::builder`]. For other options, convert a [`Store`] with [`From`].
    ///
    /// # Errors
    ///
    /// As [`StoreBuilder::open`](crate::StoreBuilder::open).
    pub fn open(path: impl AsRef<FsPath>) -> crate::Result<RingboltStore> {
        Store::open(path).map(RingboltStore::from)
    }

    /// The underlying store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// The result of a put.
    fn result(&self, version: Version) -> PutResult {
        result(version, self.reader().keeps_versions())
    }

    async fn copy(&self, from: &Path, to: &Path, mode: CopyMode) -> Result<CopyVersions> {
        let (store, from, to) = (Arc::clone(&self.store), from.clone(), to.clone());
        blocking(move || {
            let (source, original) = get::open_version(&store.reader(), &from)?;
            let attributes = attributes::read(&source, &from)?;
            let options = crate::PutOptions::new().create_new(mode == CopyMode::Create);
            let mut target = store.writer(to.as_ref(), options).map_err(|error| explain_create(&store, error, &to))?;
            target.copy_from(&source).map_err(|error| error::of_io(error, &to))?;
            attributes::write(target.as_file(), &attributes, &to)?;
            let copy = target.commit().map_err(|error| explain_create(&store, error.into(), &to))?;
            Ok(CopyVersions { original, copy })
        })
        .await
    }

    /// Copies, then deletes only the copied version. A concurrent put to `from` counts as later than the rename.
    async fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        let CopyVersions { original, copy } = self.copy(from, to, CopyMode::Create).await?;
        let Some(original) = original else {
            // Without versions there is nothing to compare.
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
            // `from` was renamed or deleted concurrently, so this rename fails: remove the copy.
            Err(Error::NotFound { path, .. }) => match self.store.delete_if_async(to.as_ref(), copy).await {
                Err(error) if !error.is_version_mismatch() => Err(explain(error, to)),
                _ => Err(Error::NotFound { path, source: Box::new(error) }),
            },
            Err(error) => Err(error),
        }
    }

    /// A put with attributes, which must be written before the file is synced.
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

/// The versions of the original and of the copy.
struct CopyVersions {
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
            // A missing object does not have the expected version.
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
        // Commit the locations that are ready together, without waiting for more.
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
                // Check that `from` is an object first: otherwise the rename would create the directory of `to` and then fail.
                let (reader, path) = (self.reader(), from.clone());
                blocking(move || get::open_version(&reader, &path)).await?;
                self.store.rename_async(from.as_ref(), to.as_ref()).await.map_err(|error| explain_source(error, from))
            }
            RenameTargetMode::Create => self.rename_new(from, to).await,
        }
    }
}

/// Deletes these objects in one commit. The results are in the same order.
async fn delete(store: Arc<Store>, locations: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let mut batch = store.batch();
    for location in locations.iter().flatten() {
        batch.delete(location.as_ref());
    }
    let mut results = batch.commit_async().await.into_results().into_iter();
    let settle = |location: Result<Path>| {
        let location = location?;
        match results.next() {
            Some(Ok(_)) => Ok(location),
            Some(Err(error)) => Err(explain_source(error, &location)),
            None => Err(not_implemented("a delete without a result")),
        }
    };
    locations.into_iter().map(settle).collect()
}

/// The result of a put: with an entity tag, if reads return one too.
fn result(version: Version, keeps_versions: bool) -> PutResult {
    PutResult { e_tag: keeps_versions.then(|| version.to_string()), version: None, extensions: Default::default() }
}
