//! A Parquet file, written through ringbolt in parts and read back by ranges.

use std::error::Error;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::async_writer::ParquetObjectWriter;
use parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder};
use ringbolt::object_store::RingboltStore;

const ROWS: i64 = 200_000;

fn batch(from: i64, rows: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((from..from + rows).map(|n| format!("row {}", n * 7919))));
    RecordBatch::try_from_iter([("number", numbers), ("name", names)]).expect("of one length")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_and_read_back() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn ObjectStore> = Arc::new(RingboltStore::open(dir.path())?);
    let path = Path::from("table/part-0.parquet");
    let writer = ParquetObjectWriter::new(Arc::clone(&store), path.clone());
    let mut writer = AsyncArrowWriter::try_new(writer, batch(0, 1).schema(), None)?;
    for from in (0..ROWS).step_by(10_000) {
        writer.write(&batch(from, 10_000)).await?;
        writer.flush().await?;
        assert!(store.head(&path).await.is_err(), "it is seen before it is complete");
    }
    writer.close().await?;
    assert!(store.head(&path).await?.size > 1 << 20);

    let reader = ParquetObjectReader::new(Arc::clone(&store), path);
    let stream = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
    let mut next = 0;
    for read in stream.try_collect::<Vec<_>>().await? {
        let rows = read.num_rows() as i64;
        assert_eq!(read, batch(next, rows));
        next += rows;
    }
    assert_eq!(next, ROWS);
    Ok(())
}
