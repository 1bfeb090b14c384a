//! Measures what a durable write costs in a directory.

mod assertion;
mod compare;
mod counters;
mod crowd;
mod error;
mod method;
mod profile;
mod record;
mod replace;
mod replacer;
mod results;
mod run;
mod select;
mod summary;
mod tokio_uring;
mod turn;

pub use assertion::{Asserted, Assertion, ParseAssertionError};
pub use compare::{CompareError, Compared, Comparison, SpeedChange};
pub use error::BenchError;
pub use profile::Profile;
pub use replacer::Replacer;
pub use results::{Method, NotMeasured, Results, SCHEMA, Series};
pub use run::{Bench, Mode, Progress};
pub use summary::time;
