//! Content in several chunks.

use std::fs;

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;
use ringbolt::{Payload, PutOptions, WriteOptions};

use crate::help::*;

/// Content split into any chunks, and put by any method, is read back unchanged.
#[test]
fn any_chunks_are_one_content() {
    for engine in engines() {
        let dir = dir();
        let store = open(dir.path(), engine);
        let options = WriteOptions::new().engine(engine);
        let path = dir.path().join("single");
        let lens = prop::collection::vec(0_usize..3000, 0..8);
        proptest!(ProptestConfig::with_cases(16), |(lens in lens)| {
            let chunks = cut(&lens);
            let whole = chunks.concat();
            let payload = Payload::from(chunks);
            store.put("k", payload.clone()).unwrap();
            prop_assert_eq!(store.get("k").unwrap(), &whole);
            block_on(store.put_with_async("a", payload.clone(), PutOptions::new().mode(0o640))).unwrap();
            prop_assert_eq!(store.get("a").unwrap(), &whole);
            let mut batch = store.batch();
            batch.put("b1", payload.clone()).put("b2", payload.clone());
            batch.commit().into_result().unwrap();
            prop_assert_eq!((store.get("b1").unwrap(), store.get("b2").unwrap()), (whole.clone().into(), whole.clone().into()));
            options.write(&path, payload).unwrap();
            prop_assert_eq!(fs::read(&path).unwrap(), whole);
        });
    }
}

/// More chunks than one system call accepts.
#[test]
fn chunks_without_number_are_one_content() {
    each_engine(|engine, dir| {
        for count in [1023, 1024, 1025, 2500] {
            let chunks = cut(&vec![3; count]);
            let (whole, payload) = (chunks.concat(), Payload::from(chunks));
            assert_eq!(payload.chunks().len(), count);
            let store = open(dir, engine);
            WriteOptions::new().engine(engine).write(dir.join("f"), payload.clone()).unwrap();
            assert_eq!(fs::read(dir.join("f")).unwrap(), whole);
            store.put("k", payload).unwrap();
            assert_eq!(store.get("k").unwrap(), whole);
        }
    });
}

#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
#[test]
fn chunks_are_one_content_on_a_runtime_of_tokio_uring() {
    let dir = dir();
    for count in [0, 1, 3, 2500] {
        let chunks = cut(&vec![3; count]);
        let (whole, payload, path) = (chunks.concat(), Payload::from(chunks), dir.path().join("f"));
        match ringbolt::tokio_uring::start(async { ringbolt::tokio_uring::write(&path, payload).await }) {
            Ok(result) => result.unwrap(),
            Err(error) => {
                assert!(error.is_engine_unavailable(), "{error}");
                return skip("chunks on tokio-uring", error);
            }
        }
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

/// Chunks of these lengths, in which every displaced byte is noticed.
fn cut(lens: &[usize]) -> Vec<Bytes> {
    let mut whole = Bytes::from(pattern(lens.iter().sum()));
    lens.iter().map(|len| whole.split_to(*len)).collect()
}
