//! Serves an image in memory with slow flushes, as the file of a loop device.
//!
//! Prints "ready" when the image can be opened, and serves it until SIGTERM, SIGINT or an external unmount.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{SigSet, Signal};
use ringbolt_rig::Image;

/// Serves a file "image" in memory, with slow flushes.
#[derive(Debug, Parser)]
#[command(name = "slow-device")]
struct Args {
    /// Directory to mount the image at.
    dir: PathBuf,
    /// Size of the image: bytes, or with suffix K, M or G.
    #[arg(long, default_value = "3G", value_parser = size)]
    size: u64,
    /// Delay of a flush, with unit us, ms or s.
    #[arg(long, default_value = "0us", value_parser = time)]
    flush_delay: Duration,
}

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "slow-device: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    // Block the signals before starting a thread, so that all threads inherit the mask and only the waiting one gets
    // them.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    let dir = args.dir.canonicalize()?;
    let mounted = Image::new(args.size, args.flush_delay)?.mount(&dir)?;
    thread::spawn(move || unmount_when_told(&signals, &dir));
    File::open(mounted.file())?;
    writeln!(io::stdout(), "ready")?;
    mounted.join()
}

/// The first signal detaches the mount from its directory, but still serves open files: a filesystem on the image must
/// be able to write back its data. The second signal exits at once.
fn unmount_when_told(signals: &SigSet, dir: &Path) {
    if signals.wait().is_ok() {
        if let Err(e) = umount2(dir, MntFlags::MNT_DETACH) {
            let _ = writeln!(io::stderr(), "slow-device: cannot unmount {}: {e}", dir.display());
        }
        if signals.wait().is_ok() {
            std::process::exit(1);
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("{unit:?} is not one of K, M, G")),
    };
    number.checked_mul(1 << shift).filter(|size| *size <= i64::MAX as u64).ok_or_else(|| "too large".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("needs a unit: us, ms or s".to_owned()),
    }
    // Longer is a typing error. The limit also keeps sums with "now" from overflowing.
    .and_then(|time| if time > Duration::from_secs(60) { Err("more than a minute".to_owned()) } else { Ok(time) })
}

fn split(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().map_err(|e| format!("{e}"))?;
    Ok((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::{size, time};
    use std::time::Duration;

    #[test]
    fn sizes() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("3G"), Ok(3 << 30));
        assert!(["", "G", "3T", "-1", "99999999999G", "9223372036854775808"].iter().all(|text| size(text).is_err()));
    }

    #[test]
    fn times() {
        assert_eq!(time("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(time("1ms"), Ok(Duration::from_millis(1)));
        assert!(["", "1", "ms", "1.5ms", "61s", "18446744073709551615s"].iter().all(|text| time(text).is_err()));
    }
}
