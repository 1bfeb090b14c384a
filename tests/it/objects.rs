//! The conformance tests of the crate object_store, on every engine; and behaviour that the trait leaves open.

use std::path::Path as FsPath;

use futures::StreamExt;
use futures::stream;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetRange, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, RenameOptions, RenameTargetMode, TagSet, UpdateVersion,
    WriteMultipart, integration,
};
use ringbolt::object_store::RingboltStore;
use ringbolt::{Engine, Store};

use crate::help::*;

mod moves;
mod reader;
mod uploads;

fn open(dir: &FsPath, engine: Engine) -> RingboltStore {
    Store::builder(dir).create_if_missing(true).engine(engine).open().unwrap().into()
}

/// Runs a test with a fresh store and runtime for each engine.
fn each(test: impl AsyncFn(RingboltStore, &FsPath)) {
    each_engine(|engine, dir| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(open(dir, engine), dir));
    });
}

macro_rules! conformance {
    ($($name:ident: $store:ident => $call:expr;)*) => {
        mod conformance {
            use super::*;
            $(
                #[test]
                fn $name() {
                    each(async |$store, _| {
                        $call.await;
                    });
                }
            )*
        }
    };
}

// The other conformance functions do not apply to this store: see docs/object-store.md.
conformance! {
    put_get_delete_list: store => integration::put_get_delete_list(&store);
    put_get_attributes: store => integration::put_get_attributes(&store);
    get_opts: store => integration::get_opts(&store);
    put_opts: store => integration::put_opts(&store, true);
    stream_get: store => integration::stream_get(&store);
    list_uses_directories_correctly: store => integration::list_uses_directories_correctly(&store);
    list_with_delimiter: store => integration::list_with_delimiter(&store);
    list_with_offset_exclusivity: store => integration::list_with_offset_exclusivity(&store);
    rename_and_copy: store => integration::rename_and_copy(&store);
    copy_if_not_exists: store => integration::copy_if_not_exists(&store);
    copy_rename_nonexistent_object: store => integration::copy_rename_nonexistent_object(&store);
    multipart_race_condition: store => integration::multipart_race_condition(&store, true);
    multipart_out_of_order: store => integration::multipart_out_of_order(&store);
    get_nonexistent_object: store => async {
        let error = integration::get_nonexistent_object(&store, None).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    };
}

async fn content(store: &RingboltStore, path: &str) -> Vec<u8> {
    store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
}

fn update(tag: Option<&str>) -> PutOptions {
    PutMode::Update(UpdateVersion { e_tag: tag.map(str::to_owned), version: None }).into()
}

fn many() -> Attributes {
    let large = "x".repeat(70_000);
    Attributes::from_iter([(Attribute::Metadata("large".into()), large)])
}

/// Paths that the trait allows but a filesystem cannot hold fail with an error of the trait, with our error as the
/// source.
#[test]
fn paths_that_a_filesystem_cannot_hold() {
    each(async |store, dir| {
        store.put(&Path::from("a"), "file".into()).await.unwrap();
        store.put(&Path::from("d/e"), "file".into()).await.unwrap();
        let long = "x".repeat(300);
        for path in ["a/b", "d", long.as_str(), "x/.ringbolt-1.tmp", ".ringbolt/format"] {
            let error = store.put(&Path::from(path), "new".into()).await.unwrap_err();
            assert!(matches!(error, Error::NotSupported { .. }), "{path}: {error:?}");
            let error = store.put_multipart(&Path::from(path)).await.map(drop);
            // A directory in the way is noticed at the rename.
            assert!(matches!(error, Err(Error::NotSupported { .. })) || path == "d", "{path}: {error:?}");
        }
        // A directory is not an object: a create does not report an existing object, and a rename reports a missing
        // one.
        let mut attributes = PutOptions::from(Attributes::from_iter([(Attribute::ContentType, "text/plain")]));
        attributes.mode = PutMode::Create;
        for options in [PutMode::Create.into(), attributes] {
            let error = store.put_opts(&Path::from("d"), "new".into(), options).await.unwrap_err();
            assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        }
        let error = store.copy_if_not_exists(&Path::from("a"), &Path::from("d")).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        for path in ["d", "none", "a/b"] {
            let error = store.rename(&Path::from(path), &Path::from("to/b")).await.unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        }
        assert!(!dir.join("to").exists());
        for path in ["a/b", "d", long.as_str()] {
            let error = store.get(&Path::from(path)).await.unwrap_err();
            let missing = matches!(error, Error::NotFound { .. });
            assert!(missing || path == long, "{path}: {error:?}");
        }
        // Nothing is below a path that cannot be a directory. A path may be longer than one system call accepts.
        for prefix in ["a", "a/b", long.as_str(), ".ringbolt", "nowhere"] {
            let prefix = Path::from(prefix);
            assert_eq!(store.list(Some(&prefix)).count().await, 0, "{prefix}");
            let level = store.list_with_delimiter(Some(&prefix)).await.unwrap();
            assert!(level.common_prefixes.is_empty() && level.objects.is_empty(), "{prefix}");
        }
        let deep = Path::from(vec!["y".repeat(200); 30].join("/"));
        match store.put(&deep, "deep".into()).await {
            Ok(_) => assert_eq!(content(&store, deep.as_ref()).await, b"deep"),
            Err(error) => assert!(matches!(error, Error::NotSupported { .. }), "{error:?}"),
        }
        assert_eq!((content(&store, "a").await, content(&store, "d/e").await), (b"file".to_vec(), b"file".to_vec()));
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn conditions_that_do_not_hold() {
    each(async |store, dir| {
        let path = Path::from("k");
        for tag in [Some("1"), Some("not a tag"), Some("\"1\""), None] {
            let error = store.put_opts(&path, "new".into(), update(tag)).await.unwrap_err();
            assert!(matches!(error, Error::Precondition { .. }), "{tag:?}: {error:?}");
        }
        let first = store.put(&path, "old".into()).await.unwrap();
        let error = store.put_opts(&path, "new".into(), PutMode::Create.into()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
        let error = store.put_opts(&path, "new".into(), update(Some("1"))).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error:?}");
        let error = store.get_opts(&path, GetOptions::new().with_version(Some("1".to_owned()))).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error:?}");
        for range in [GetRange::Bounded(3..4), GetRange::Offset(3)] {
            let error = store.get_opts(&path, GetOptions::new().with_range(Some(range))).await.unwrap_err();
            assert!(matches!(error, Error::Generic { .. }), "{error:?}");
        }
        for ranges in [&[0..1, 3..4][..], &[0..1, 2..2]] {
            let error = store.get_ranges(&path, ranges).await.unwrap_err();
            assert!(matches!(error, Error::Generic { .. }), "{error:?}");
        }
        let ranges = store.get_ranges(&path, &[1..2, 2..u64::MAX, 0..3]).await.unwrap();
        assert_eq!(ranges, ["l", "d", "old"]);
        assert_eq!(content(&store, "k").await, b"old");
        assert_eq!(store.head(&path).await.unwrap().e_tag, first.e_tag);
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn attributes_are_kept_or_refused() {
    each(async |store, dir| {
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, "text/plain"),
            (Attribute::StorageClass, "cold"),
            (Attribute::Metadata("ключ \"=\n".into()), "värde"),
        ]);
        let put = store.put_opts(&Path::from("a"), "one".into(), attributes.clone().into()).await;
        if let Err(Error::NotSupported { source }) = &put {
            return skip("attributes_are_kept_or_refused", source);
        }
        put.unwrap();
        store.copy(&Path::from("a"), &Path::from("b")).await.unwrap();
        store.rename(&Path::from("b"), &Path::from("c")).await.unwrap();
        for path in ["a", "c"] {
            assert_eq!(store.get(&Path::from(path)).await.unwrap().attributes, attributes);
        }
        // With every mode, and only if the mode's condition holds.
        let with = |mode: PutMode| PutOptions { mode, ..PutOptions::from(attributes.clone()) };
        let error = store.put_opts(&Path::from("a"), "no".into(), with(PutMode::Create)).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
        let read = store.head(&Path::from("a")).await.unwrap();
        let expected = |tag: Option<String>| PutMode::Update(UpdateVersion { e_tag: tag, version: None });
        let second = store.put_opts(&Path::from("a"), "two".into(), with(expected(read.e_tag.clone()))).await.unwrap();
        let error = store.put_opts(&Path::from("a"), "no".into(), with(expected(read.e_tag))).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error:?}");
        assert_eq!(store.head(&Path::from("a")).await.unwrap().e_tag, second.e_tag);
        let missing = store.put_opts(&Path::from("z"), "no".into(), with(expected(second.e_tag))).await.unwrap_err();
        assert!(matches!(missing, Error::Precondition { .. }), "{missing:?}");
        assert_eq!(content(&store, "a").await, b"two");
        // A put without attributes removes the earlier ones.
        store.put(&Path::from("a"), "two".into()).await.unwrap();
        assert!(store.get(&Path::from("a")).await.unwrap().attributes.is_empty());

        let error = store.put_opts(&Path::from("a"), "three".into(), many().into()).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        let error = store.put_multipart_opts(&Path::from("a"), many().into()).await.map(drop).unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        assert_eq!(content(&store, "a").await, b"two");
        assert!(temporaries(dir).is_empty());
    });
}

/// "Implementations that don't support object tagging should ignore this" (the documentation of `PutOptions::tags`).
#[test]
fn tags_are_ignored() {
    each(async |store, _| {
        let mut tags = TagSet::default();
        tags.push("team", "storage");
        store.put_opts(&Path::from("a"), "one".into(), tags.clone().into()).await.unwrap();
        let mut upload = store.put_multipart_opts(&Path::from("b"), tags.into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!((content(&store, "a").await, content(&store, "b").await), (b"one".to_vec(), b"two".to_vec()));
    });
}

#[test]
fn deletes_are_answered_in_the_order_of_their_input() {
    each(async |store, _| {
        let paths: Vec<Path> = (0..600).map(|n| Path::from(format!("d{}/{n}", n % 3))).collect();
        for path in paths.iter().step_by(2) {
            store.put(path, "x".into()).await.unwrap();
        }
        let mut locations: Vec<object_store::Result<Path>> = paths.iter().cloned().map(Ok).collect();
        locations
            .insert(300, Err(Error::NotImplemented { operation: "on purpose".into(), implementer: "test".into() }));
        let mut answers: Vec<_> = store.delete_stream(stream::iter(locations).boxed()).collect().await;
        assert!(matches!(answers.remove(300), Err(Error::NotImplemented { .. })));
        for (n, (answer, path)) in answers.iter().zip(&paths).enumerate() {
            match answer {
                Ok(deleted) => assert!(n % 2 == 0 && deleted == path),
                Err(Error::NotFound { path: missing, .. }) => assert!(n % 2 == 1 && *missing == path.to_string()),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(store.list(None).count().await, 0);
        // The deletes shared commits.
        let stats = store.store().stats();
        assert!(stats.syncs.directories < 300 + 100, "{:?}", stats.syncs);
    });
}

/// A listing is sorted, paged, and contains only objects.
#[test]
fn listings() {
    each(async |store, dir| {
        let mut paths: Vec<Path> = (0..700).map(|n| Path::from(format!("a/{}/{n}", n % 7))).collect();
        paths.extend(["a.b/x", "a b", "a0"].map(Path::from));
        paths.sort();
        for page in paths.chunks(64) {
            let puts = page.iter().map(|path| store.put(path, "x".into()));
            futures::future::try_join_all(puts).await.unwrap();
        }
        std::fs::create_dir_all(dir.join("empty/er")).unwrap();
        let listed: Vec<Path> = store.list(None).map(|meta| meta.unwrap().location).collect().await;
        assert_eq!(listed, paths);
        let prefix = Path::from("a/3");
        let listed: Vec<Path> = store.list(Some(&prefix)).map(|meta| meta.unwrap().location).collect().await;
        assert_eq!(listed, paths.iter().filter(|path| path.prefix_matches(&prefix)).cloned().collect::<Vec<_>>());
        let level = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(level.common_prefixes, ["a", "a.b"].map(Path::from));
        let objects: Vec<&Path> = level.objects.iter().map(|meta| &meta.location).collect();
        assert_eq!(objects, [&Path::from("a b"), &Path::from("a0")]);
        let prefix = Path::from("a");
        assert_eq!(store.list_with_delimiter(Some(&prefix)).await.unwrap().common_prefixes.len(), 7);
    });
}

/// Puts that are in flight together share commits.
#[test]
fn puts_at_once_share_commits() {
    each(async |store, _| {
        let puts = (0..256).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put(&Path::from(format!("d/{n}")), vec![7; 4096].into()).await })
        });
        for put in futures::future::join_all(puts).await {
            put.unwrap().unwrap();
        }
        assert_eq!(store.list(None).count().await, 256);
        let stats = store.store().stats();
        assert!(stats.syncs.directories < 128, "{:?}", stats.syncs);
    });
}

/// Without a tokio runtime, blocking work runs on the calling thread.
#[test]
fn it_runs_on_any_runtime() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        futures::executor::block_on(async {
            let path = Path::from("a/b");
            store.put(&path, "one".into()).await.unwrap();
            let mut upload = store.put_multipart(&path).await.unwrap();
            upload.put_part("two".into()).await.unwrap();
            upload.complete().await.unwrap();
            let head = store.head(&path).await.unwrap();
            assert_eq!((head.size, store.list(None).count().await), (3, 1));
            store.delete(&path).await.unwrap();
        });
    });
}
