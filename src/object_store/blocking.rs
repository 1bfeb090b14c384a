//! Work that blocks a thread.

use ::object_store::Result;
use tokio::runtime::Handle;

/// Runs it on one of the runtime's blocking threads; without a tokio runtime, here. Dropping the future does not end it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}
