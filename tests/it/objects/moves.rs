//! Copies and renames.

use super::*;

/// Renaming or copying an object to its own name changes nothing.
#[test]
fn onto_itself() {
    each(async |store, dir| {
        let a = Path::from("d/a");
        store.put(&a, "one".into()).await.unwrap();
        store.copy(&a, &a).await.unwrap();
        store.rename(&a, &a).await.unwrap();
        for error in [store.copy_if_not_exists(&a, &a).await, store.rename_if_not_exists(&a, &a).await] {
            assert!(matches!(error, Err(Error::AlreadyExists { .. })), "{error:?}");
        }
        assert_eq!(content(&store, "d/a").await, b"one");
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn copies_and_renames_by_mode() {
    each(async |store, dir| {
        let [a, b, c] = ["a", "d/b", "e/c"].map(Path::from);
        let first = store.put(&a, "one".into()).await.unwrap();
        store.put(&b, "two".into()).await.unwrap();
        let create = CopyOptions::new().with_mode(CopyMode::Create);
        let error = store.copy_opts(&a, &b, create.clone()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
        store.copy_opts(&a, &c, create).await.unwrap();
        assert_ne!(store.head(&c).await.unwrap().e_tag, first.e_tag);
        let create = RenameOptions::new().with_target_mode(RenameTargetMode::Create);
        let error = store.rename_opts(&a, &b, create.clone()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
        assert_eq!((content(&store, "a").await, content(&store, "d/b").await), (b"one".to_vec(), b"two".to_vec()));
        store.rename_opts(&a, &Path::from("f/g"), create).await.unwrap();
        assert!(matches!(store.head(&a).await, Err(Error::NotFound { .. })));
        store.rename(&c, &b).await.unwrap();
        assert_eq!((content(&store, "f/g").await, content(&store, "d/b").await), (b"one".to_vec(), b"one".to_vec()));
        assert!(temporaries(dir).is_empty());
    });
}

/// A create-only rename deletes only the version that it copied, not a later put. Of two concurrent renames of one
/// object, exactly one succeeds.
#[test]
fn what_is_put_during_a_rename_is_kept() {
    each(async |store, dir| {
        for round in 0..50 {
            let path = |name: &str| Path::from(format!("{name}{round}"));
            let (from, to, other) = (path("from"), path("to"), path("other"));
            store.put(&from, "old".into()).await.unwrap();
            let put = async {
                // Wait for a different time in each round.
                for _ in 0..round % 25 * 8 {
                    tokio::task::yield_now().await;
                }
                store.put(&from, "new".into()).await
            };
            let (renamed, put) = futures::join!(store.rename_if_not_exists(&from, &to), put);
            renamed.unwrap();
            put.unwrap();
            let mut found = Vec::new();
            for path in [&from, &to] {
                match store.get(path).await {
                    Ok(object) => found.push(object.bytes().await.unwrap()),
                    Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
                }
            }
            assert!(found.contains(&"new".into()), "{found:?}");

            store.put(&from, "one".into()).await.unwrap();
            store.delete(&to).await.unwrap();
            let both =
                futures::join!(store.rename_if_not_exists(&from, &to), store.rename_if_not_exists(&from, &other));
            let there = [store.head(&to).await.is_ok(), store.head(&other).await.is_ok()];
            assert_eq!([both.0.is_ok(), both.1.is_ok()], there, "{both:?}");
            assert_eq!(there.iter().filter(|there| **there).count(), 1);
        }
        assert!(temporaries(dir).is_empty());
    });
}
