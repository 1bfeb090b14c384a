//! The read-only store.

use futures::TryStreamExt;
use object_store::ObjectMeta;
use ringbolt::object_store::RingboltReader;

use super::*;

/// Every read method returns the same as that of the store.
#[test]
fn it_agrees_with_the_store() {
    each(async |store, dir| {
        for n in 0..300 {
            store.put(&Path::from(format!("d{}/{n}", n % 3)), vec![7; n].into()).await.unwrap();
        }
        std::fs::create_dir_all(dir.join("empty/er")).unwrap();
        let reader = RingboltReader::open(dir).unwrap();
        let both: [&dyn ObjectStore; 2] = [&store, &reader];
        for prefix in [None, Some(Path::from("d1")), Some(Path::from("none"))] {
            let mut listed: Vec<Vec<ObjectMeta>> = Vec::new();
            for store in both {
                listed.push(store.list(prefix.as_ref()).try_collect().await.unwrap());
            }
            assert_eq!(listed[0], listed[1]);
            for object in listed[1].iter().step_by(29) {
                assert_eq!(reader.head(&object.location).await.unwrap(), *object);
                assert!(object.e_tag.is_some());
            }
            let [a, b] = [
                both[0].list_with_delimiter(prefix.as_ref()).await.unwrap(),
                both[1].list_with_delimiter(prefix.as_ref()).await.unwrap(),
            ];
            assert_eq!((a.common_prefixes, a.objects), (b.common_prefixes, b.objects));
        }
        for offset in ["", "d", "d0/150", "d1/1", "d1/9999", "d2", "e"] {
            let offset = Path::from(offset);
            let listed: Vec<Path> =
                reader.list_with_offset(None, &offset).map_ok(|meta| meta.location).try_collect().await.unwrap();
            let all: Vec<Path> = reader.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
            assert_eq!(listed, all.into_iter().filter(|location| *location > offset).collect::<Vec<_>>(), "{offset}");
        }
        let key = Path::from("d1/100");
        assert_eq!(reader.get_ranges(&key, &[1..3, 98..u64::MAX]).await.unwrap(), [vec![7; 2], vec![7; 2]]);
        let got = reader.get_opts(&key, GetOptions::new().with_range(Some(GetRange::Suffix(5)))).await.unwrap();
        assert_eq!((got.range.clone(), got.bytes().await.unwrap().len()), (95..100, 5));
        let tag = reader.head(&key).await.unwrap().e_tag;
        let error = reader.get_opts(&key, GetOptions::new().with_if_none_match(tag)).await.unwrap_err();
        assert!(matches!(error, Error::NotModified { .. }), "{error:?}");
        let missing = integration::get_nonexistent_object(&reader, None).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
        // Later puts are visible.
        store.put(&key, "new".into()).await.unwrap();
        assert_eq!(reader.get(&key).await.unwrap().bytes().await.unwrap(), "new");
        assert_eq!(reader.to_string(), format!("RingboltReader({})", dir.display()));
    });
}

#[test]
fn it_changes_nothing() {
    each(async |store, dir| {
        let (key, other) = (Path::from("a"), Path::from("b"));
        store.put(&key, "one".into()).await.unwrap();
        let reader = RingboltReader::open(dir).unwrap();
        for (what, refused) in [
            ("put", reader.put(&key, "two".into()).await.map(drop)),
            ("create", reader.put_opts(&other, "two".into(), PutMode::Create.into()).await.map(drop)),
            ("update", reader.put_opts(&key, "two".into(), update(None)).await.map(drop)),
            ("upload", reader.put_multipart(&key).await.map(drop)),
            ("delete", reader.delete(&key).await),
            ("copy", reader.copy(&key, &other).await),
            ("copy", reader.copy_if_not_exists(&key, &other).await),
            ("rename", reader.rename(&key, &other).await),
            ("rename", reader.rename_if_not_exists(&key, &other).await),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::NotSupported { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains("read-only"), "{what}: {error}");
        }
        let paths = stream::iter([Ok(key.clone()), Ok(other)]).boxed();
        let answers: Vec<_> = reader.delete_stream(paths).collect().await;
        assert!(answers.len() == 2 && answers.iter().all(|answer| matches!(answer, Err(Error::NotSupported { .. }))));
        assert_eq!(content(&store, "a").await, b"one");
        assert_eq!(store.list(None).count().await, 1);
    });
}
