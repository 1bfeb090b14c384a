//! Multipart uploads: invisible until completed, and removed if never completed.

use futures::FutureExt;

use super::*;

/// An upload is invisible before it completes, and leaves nothing if it never does.
#[test]
fn uploads_that_are_not_completed() {
    each(async |store, dir| {
        let path = Path::from("d/k");
        store.put(&path, "old".into()).await.unwrap();

        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part(vec![1; 100_000].into()).await.unwrap();
        assert_eq!(temporaries(dir).len(), 1);
        drop(upload);
        assert!(temporaries(dir).is_empty());

        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part(vec![1; 100_000].into()).await.unwrap();
        upload.abort().await.unwrap();
        assert!(temporaries(dir).is_empty());
        assert!(upload.complete().await.is_err() && upload.put_part("late".into()).await.is_err());
        assert!(upload.abort().await.is_err());

        // A dropped part leaves a hole, which must not be published.
        let mut upload = store.put_multipart(&path).await.unwrap();
        drop(upload.put_part(vec![1; 10].into()));
        upload.put_part(vec![2; 10].into()).await.unwrap();
        let error = upload.complete().await.unwrap_err();
        assert!(error.to_string().contains("1 of 2 parts"), "{error}");
        assert!(temporaries(dir).is_empty());
        assert_eq!(content(&store, "d/k").await, b"old");

        let mut upload = store.put_multipart(&path).await.unwrap();
        let parts: Vec<_> = (0..20u8)
            .map(|n| upload.put_part(PutPayload::from_iter([vec![n; 7], vec![n; 5]].map(bytes::Bytes::from))))
            .collect();
        for part in parts.into_iter().rev() {
            part.await.unwrap();
        }
        let done = upload.complete().await.unwrap();
        let expected: Vec<u8> = (0..20u8).flat_map(|n| [n; 12]).collect();
        assert_eq!(content(&store, "d/k").await, expected);
        assert_eq!(store.head(&path).await.unwrap().e_tag, done.e_tag);
    });
}

/// `WriteMultipart` and `BufWriter` return the reason why an upload failed, not an error of the abort.
#[test]
fn an_upload_that_fails_says_why() {
    each(async |store, dir| {
        store.put(&Path::from("d/e"), "file".into()).await.unwrap();
        let mut writer = WriteMultipart::new(store.put_multipart(&Path::from("d")).await.unwrap());
        writer.write(b"a directory is in the way");
        let error = writer.finish().await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        assert!(temporaries(dir).is_empty());
        // The outcome of a dropped completion is unknown: an abort must not claim that nothing happened.
        let mut upload = store.put_multipart(&Path::from("given/up")).await.unwrap();
        upload.put_part("content".into()).await.unwrap();
        drop(upload.complete().now_or_never());
        assert!(upload.abort().await.is_err());
        // A completed upload cannot be aborted.
        let mut upload = store.put_multipart(&Path::from("k")).await.unwrap();
        upload.complete().await.unwrap();
        assert!(upload.abort().await.is_err());
    });
}
