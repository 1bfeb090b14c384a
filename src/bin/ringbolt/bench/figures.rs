//! Formats numbers for the report.

use ringbolt::bench::time;

/// Formats a count with about three significant digits: `0.25`, `7.5`, `84`; larger ones as `12,346`.
pub(super) fn count(number: f64) -> String {
    match number.abs() {
        // `0.00` would read as no flush at all.
        small if small > 0.0 && small < 0.005 => "< 0.01".to_owned(),
        0.0 => "0".to_owned(),
        small if small < 9.995 => format!("{number:.2}"),
        medium if medium < 99.95 => format!("{number:.1}"),
        _ => thousands(number),
    }
}

/// Formats a whole number with thousands separators.
pub(super) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a range of times; prints the unit once if both ends share it.
pub(super) fn span(low: f64, high: f64) -> String {
    let (low, high) = (time(low), time(high));
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        _ if low == high => low,
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}–{high}"),
        _ => format!("{low} – {high}"),
    }
}

/// Formats a size in the largest unit that leaves at least 1.
pub(super) fn bytes(bytes: f64) -> String {
    let (mut number, mut unit) = (bytes, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    if number.fract() == 0.0 || number >= 99.95 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

/// Formats a round time for an axis: `1 ms`, where [`time`] gives `1.00 ms`.
pub(super) fn round_time(us: f64) -> String {
    if us == 0.0 {
        return "0".to_owned();
    }
    let (number, unit) = match us {
        us if us < 0.9995 => (us * 1e3, "ns"),
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", short(number))
}

/// Formats a round number for an axis: `0.5`, `2,500`, `250k`, `3M`.
pub(super) fn round_count(number: f64) -> String {
    match number.abs() {
        huge if huge >= 999_999.5 => format!("{}M", short(number / 1e6)),
        large if large >= 99_999.5 => format!("{}k", short(number / 1e3)),
        medium if medium >= 999.5 => thousands(number),
        _ => short(number),
    }
}

/// Formats a number without trailing zeros.
fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_significant_digits() {
        let counts = [0.0, 0.001, 0.25, 7.529, 84.236, 264.3, 12_345.6, 1_234_567.0, -1234.0];
        let shown = ["0", "< 0.01", "0.25", "7.53", "84.2", "264", "12,346", "1,234,567", "-1,234"];
        assert_eq!(counts.map(count), shown);
        assert_eq!(span(8000.0, 9200.0), "8.00–9.20 ms");
        assert_eq!(span(900.0, 9200.0), "900 µs – 9.20 ms");
        assert_eq!(span(900.0, 900.1), "900 µs");
        assert_eq!([512.0, 4096.0, 1_048_576.0, 5e8].map(bytes), ["512 bytes", "4 KiB", "1 MiB", "477 MiB"]);
        assert_eq!(
            [0.0, 0.01, 0.5, 200.0, 5e3, 1e6].map(round_time),
            ["0", "10 ns", "500 ns", "200 µs", "5 ms", "1 s"]
        );
        assert_eq!([0.5, 20.0, 2500.0, 250e3, 3e6].map(round_count), ["0.5", "20", "2,500", "250k", "3M"]);
    }
}
