//! The memory used by 10,000 files in the queue.

use std::path::Path;

use ringbolt::{Barrier, Store};

use crate::machine;

const FILES: usize = 10_000;
const SIZE: usize = 16 << 10;
const LIMIT: usize = 32 << 20;

/// Queues 10,000 puts of 16 KiB (160 MB) from as many tasks, which share one content. Prints the peak memory above the
/// initial one: what the store itself adds.
pub(crate) fn show(dir: &Path, barrier: Barrier) {
    let builder = Store::builder(dir.join(barrier.to_string())).create_if_missing(true).barrier(barrier);
    let store = match builder.queue_bytes(LIMIT).open() {
        Ok(store) => store,
        Err(why) => return println!("\nmemory, {barrier}: n/a: {why}"),
    };
    store.put("warm", "up").expect("put");
    machine::forget_peak();
    let Some((before, _)) = machine::memory() else { return println!("\nmemory: n/a") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        // The content is shared, so only the store's own memory counts.
        let content = bytes::Bytes::from(vec![7; SIZE]);
        let puts = (0..FILES).map(|i| store.put_async(format!("{}/{i}", i % 100), content.clone()));
        for result in futures::future::join_all(puts).await {
            result.expect("put");
        }
    });
    let (_, most) = machine::memory().expect("just seen");
    let stats = store.stats();
    println!(
        "\n### {FILES} puts of {SIZE} bytes queued at once, queue limit {} MiB, {barrier}\n\n\
         {:.1} MiB of memory more at most, beside the content; {} batches, the largest of {} files",
        LIMIT >> 20,
        most.saturating_sub(before) as f64 / (1 << 20) as f64,
        stats.batches,
        stats.largest_batch,
    );
}
