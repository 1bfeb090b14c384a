//! Replaces on a tokio-uring runtime, as a baseline: a program that awaits each step.

#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub(super) use on_ring::make;

/// Says why this build cannot measure tokio-uring.
#[cfg(not(all(feature = "tokio-uring", target_os = "linux")))]
pub(super) fn make(_: &str, _: &std::path::Path, _: bytes::Bytes) -> Result<Box<dyn super::turn::Subject>, String> {
    Err(if cfg!(target_os = "linux") {
        "this build has no tokio-uring: enable the feature `tokio-uring`".into()
    } else {
        "io_uring exists on Linux only".into()
    })
}

#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
mod on_ring {
    use std::ffi::CString;
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::engine::Payload;
    use crate::file::tokio_uring::{replace, runtime};
    use crate::fs::Dir;
    use crate::measure::bench::replace::{TARGETS, names, open};
    use crate::measure::bench::turn::{Latencies, Pace, Subject};
    use crate::protocol::PutOptions;

    /// Replaces on a kept runtime, in a directory held open.
    struct TokioUringReplace {
        name: String,
        runtime: ::tokio_uring::Runtime,
        dir: Arc<Dir>,
        names: Vec<CString>,
        bytes: Payload,
        done: usize,
    }

    pub(in crate::measure::bench) fn make(name: &str, dir: &Path, bytes: Bytes) -> Result<Box<dyn Subject>, String> {
        let runtime = runtime().map_err(|error| error.to_string())?;
        let dir = Arc::new(open(dir)?);
        Ok(Box::new(TokioUringReplace {
            name: name.to_owned(),
            runtime,
            dir,
            names: names(),
            bytes: bytes.into(),
            done: 0,
        }))
    }

    impl Subject for TokioUringReplace {
        fn series(&self) -> Vec<(String, bool)> {
            vec![(self.name.clone(), true)]
        }

        fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
            let TokioUringReplace { runtime, dir, names, bytes, done, .. } = self;
            runtime.block_on(async {
                while let Some(start) = pace.next() {
                    let replaced = replace(dir, &names[*done % TARGETS], bytes, PutOptions::new()).await;
                    replaced.map_err(|error| error.to_string())?;
                    latencies.record(start);
                    *done += 1;
                }
                Ok(())
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::make;
    use crate::measure::bench::turn::{Latencies, Pace};

    /// Runs several turns, or reports why tokio-uring cannot be measured.
    #[test]
    fn it_is_measured_or_reports_why_not() {
        let dir = tempfile::tempdir().unwrap();
        match make("replace/tokio-uring", dir.path(), vec![7; 100].into()) {
            Ok(mut subject) => {
                let mut latencies = Latencies::new(1, 64);
                for _ in 0..20 {
                    subject.turn(Pace::new(Duration::ZERO, None), &mut latencies).unwrap();
                }
                assert_eq!(latencies.operations, 20);
                assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 16);
            }
            Err(why) => assert!(why.contains("tokio-uring`") || why.contains("io_uring"), "{why}"),
        }
    }
}
