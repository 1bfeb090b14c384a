//! What a durable write costs in a directory.

mod counters;
mod crowd;
mod error;
mod method;
mod record;
mod replace;
mod results;
mod run;
mod select;
mod summary;
mod turn;

pub use error::BenchError;
pub use results::{Method, NotMeasured, Results, SCHEMA, Series};
pub use run::{Bench, Mode, Progress};
pub use summary::time;
