//! Writes a Parquet file through ringbolt in parts, and reads it back by ranges.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ringbolt::object_store::RingboltStore;

const ROWS: i64 = 200_000;
/// Larger files are uploaded in parts.
const PART: usize = 256 << 10;

/// A file to read.
#[derive(Clone)]
struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.store.head(&self.path).await.map_err(external)?.size;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

fn batch(from: i64, rows: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((from..from + rows).map(|n| format!("row {}", n * 7919))));
    RecordBatch::try_from_iter([("number", numbers), ("name", names)]).expect("of one length")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_and_read_back() -> std::result::Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn ObjectStore> = Arc::new(RingboltStore::from(ringbolt::Store::create(dir.path())?));
    let path = Path::from("table/part-0.parquet");
    let writer = BufWriter::with_capacity(Arc::clone(&store), path.clone(), PART);
    let mut writer = AsyncArrowWriter::try_new(writer, batch(0, 1).schema(), None)?;
    for from in (0..ROWS).step_by(10_000) {
        writer.write(&batch(from, 10_000)).await?;
        writer.flush().await?;
        assert!(store.head(&path).await.is_err(), "it is seen before it is complete");
    }
    writer.close().await?;
    assert!(store.head(&path).await?.size > 4 * PART as u64);

    let object = Object { store, path };
    let stream = ParquetRecordBatchStreamBuilder::new(object).await?.build()?;
    let mut next = 0;
    for read in stream.try_collect::<Vec<_>>().await? {
        let rows = read.num_rows() as i64;
        assert_eq!(read, batch(next, rows));
        next += rows;
    }
    assert_eq!(next, ROWS);
    Ok(())
}
