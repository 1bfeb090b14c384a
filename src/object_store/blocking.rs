//! Runs blocking work.

use ::object_store::Result;
use tokio::runtime::Handle;

/// Runs `work` on a blocking thread of the tokio runtime, or on the current thread if there is no runtime. Dropping the
/// future does not cancel it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}
