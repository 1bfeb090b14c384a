//! The integration tests: one suite for all engines, on real files.

mod async_store;
mod barriers;
mod batches;
#[cfg(feature = "cli")]
mod bench;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod bench_ground;
mod chart;
#[cfg(feature = "cli")]
mod cli;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod cli_log;
#[cfg(feature = "cli")]
mod cli_read;
#[cfg(feature = "cli")]
mod cli_sidecar;
#[cfg(feature = "cli")]
mod cli_sidecar_kept;
mod clocks;
#[cfg(target_os = "linux")]
mod coarse;
mod copies;
mod crowd;
#[cfg(target_os = "linux")]
mod devices;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod doctor;
mod emptied;
mod examples;
#[cfg(target_os = "linux")]
mod forked;
mod guards;
mod help;
#[cfg(target_os = "linux")]
mod intent_log;
#[cfg(target_os = "linux")]
mod journal;
mod keys;
mod killed;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(feature = "object_store")]
mod objects;
mod opening;
mod payloads;
mod preserved;
mod reads;
#[cfg(target_os = "linux")]
mod refusals;
#[cfg(all(feature = "sidecar", target_os = "linux"))]
mod sidecar_devices;
#[cfg(feature = "sidecar")]
mod sidecar_file;
#[cfg(feature = "sidecar")]
mod sidecar_format;
#[cfg(feature = "sidecar")]
mod sidecar_store;
mod single;
#[cfg(target_os = "linux")]
mod standstill;
mod store;
#[cfg(target_os = "linux")]
mod syscalls;
mod tidy;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
mod tokio_uring;
#[cfg(feature = "tracing")]
mod traced;
mod versions;
