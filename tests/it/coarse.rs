//! A filesystem that keeps times in whole seconds: ext4 with inodes of 128 bytes. There are no versions.

use futures::executor::block_on;
use ringbolt::{ListOptions, PutOptions, Reader, Store};

use crate::mounts::{EXT4, disk, with_mounts};

const COARSE: &str = "mkfs.ext4 -q -F -I 128";

#[test]
fn no_version_where_two_contents_could_share_it() {
    with_mounts("coarse times", |dir| {
        let Some(at) = disk(dir, COARSE, "defaults") else { return };
        let store = Store::builder(&at).create_if_missing(true).open().unwrap();
        let reader = Reader::open(&at).unwrap();
        let mut versions = Vec::new();
        for n in 0..20 {
            let put = store.put("k", n.to_string()).unwrap();
            let (content, version) = store.get_versioned("k").unwrap();
            assert_eq!(content, n.to_string());
            versions.extend(version);
            versions.extend(store.metadata("k").unwrap().version);
            versions.extend(reader.get_versioned("k").unwrap().1);
            versions.extend(reader.get_range_versioned("k", ..).unwrap().1);
            versions.extend(block_on(reader.metadata_async("k")).unwrap().version);
            let listed = store.list_with(ListOptions::new()).unwrap().with_metadata();
            versions.extend(listed.filter_map(|entry| entry.unwrap().metadata.version));
            assert!(store.put_if("k", put, "no").unwrap_err().is_unsupported_version());
        }
        // A read returns one content. (Twenty puts take less than twenty seconds.)
        assert_eq!(versions, []);
        let error = store.writer("k", PutOptions::new().expect_version("1".parse().unwrap())).map(drop).unwrap_err();
        assert!(error.is_unsupported_version(), "{error}");
        #[cfg(feature = "cli")]
        assert!(crate::cli::ok(&at, &["ls", ".", "--json"]).contains("\"version\":null"));
        drop(store);
        // The same after the writer is gone, however it ended.
        for _ in 0..3 {
            assert_eq!(Reader::open(&at).unwrap().metadata("k").unwrap().version, None);
            assert_eq!(
                Store::builder(&at).create_if_missing(true).open().unwrap().metadata("k").unwrap().version,
                None
            );
        }
    });
}

#[test]
fn a_reader_finds_out_by_itself() {
    with_mounts("fine times", |dir| {
        let Some(at) = disk(dir, EXT4, "defaults") else { return };
        // Not a store yet.
        assert!(Reader::open(&at).unwrap_err().is_not_a_store());
        let version = Store::builder(&at).create_if_missing(true).open().unwrap().put("k", "1").unwrap();
        for _ in 0..20 {
            let store = Store::builder(&at).create_if_missing(true).open().unwrap();
            assert_eq!(Reader::open(&at).unwrap().metadata("k").unwrap().version, Some(version));
            assert_eq!(store.reader().metadata("k").unwrap().version, Some(version));
            drop(store);
            assert_eq!(Reader::open(&at).unwrap().metadata("k").unwrap().version, Some(version));
        }
        let format = std::fs::File::open(at.join(".ringbolt/format")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        format.set_modified(time).unwrap();
        assert_eq!(Reader::open(&at).unwrap().metadata("k").unwrap().version, None);
    });
}

#[cfg(feature = "object_store")]
mod objects {
    use std::collections::HashSet;

    use futures::TryStreamExt;
    use object_store::path::Path;
    use object_store::{
        Attribute, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
    };
    use ringbolt::object_store::{RingboltReader, RingboltStore};

    use super::*;

    /// Two contents within a second never share an entity tag, because there are no tags.
    #[test]
    fn no_entity_tag_where_two_contents_could_share_it() {
        with_mounts("coarse times", |dir| {
            let Some(at) = disk(dir, COARSE, "defaults") else { return };
            block_on(async {
                let store = RingboltStore::from(Store::builder(&at).create_if_missing(true).open().unwrap());
                let reader = RingboltReader::open(&at).unwrap();
                let key = Path::from("d/k");
                let mut tags: Vec<Option<String>> = Vec::new();
                for n in 0..10 {
                    let put = store.put(&key, n.to_string().into()).await.unwrap();
                    let got = store.get(&key).await.unwrap();
                    let tag = got.meta.e_tag.clone();
                    assert_eq!((&put.e_tag, got.bytes().await.unwrap()), (&tag, n.to_string().into()));
                    for store in [&store as &dyn ObjectStore, &reader] {
                        assert_eq!(store.head(&key).await.unwrap().e_tag, tag);
                        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
                        assert_eq!(listed[0].e_tag, tag);
                        assert_eq!(store.list_with_delimiter(Some(&"d".into())).await.unwrap().objects[0].e_tag, tag);
                    }
                    tags.push(tag);
                }
                let given: Vec<&String> = tags.iter().flatten().collect();
                assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len(), "contents share a tag: {given:?}");
                assert!(given.is_empty(), "{given:?}");

                let mut upload = store.put_multipart(&key).await.unwrap();
                upload.put_part("parts".into()).await.unwrap();
                assert_eq!(upload.complete().await.unwrap().e_tag, None);
                let attributes = Attributes::from_iter([(Attribute::ContentType, "text/plain")]);
                assert_eq!(store.put_opts(&key, "new".into(), attributes.into()).await.unwrap().e_tag, None);
                // Updates fail, whatever version they expect.
                for e_tag in [None, Some("1".to_owned()), Some("nonsense".to_owned())] {
                    let options: PutOptions = PutMode::Update(UpdateVersion { e_tag, version: None }).into();
                    let error = store.put_opts(&key, "no".into(), options).await.unwrap_err();
                    assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
                }
                // No tag matches: no get is "not modified", and every precondition on a tag fails.
                let mtime = std::fs::metadata(at.join("d/k")).unwrap().modified().unwrap();
                let tag = mtime.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string();
                let got = store.get_opts(&key, GetOptions::new().with_if_none_match(Some(tag.clone()))).await.unwrap();
                assert_eq!(got.bytes().await.unwrap(), "new");
                let error = store.get_opts(&key, GetOptions::new().with_if_match(Some(tag))).await.unwrap_err();
                assert!(matches!(error, Error::Precondition { .. }), "{error:?}");

                let to = Path::from("e/k");
                store.rename_if_not_exists(&key, &to).await.unwrap();
                assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })));
                assert_eq!(store.get(&to).await.unwrap().bytes().await.unwrap(), "new");
            });
        });
    }
}
