//! Sizes and durations as people write and read them.

use std::time::Duration;

/// Parses `4096`, `64K`, `64KiB`, `1.5G`: powers of 1024 whatever the suffix.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let shift = match suffix.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("`{suffix}` is no unit; write a size like 512M or 1.5G")),
    };
    let value: f64 = number.parse().map_err(|_| format!("`{text}` is no size; write it like 512M or 1.5G"))?;
    let bytes = value * f64::from(shift).exp2();
    if bytes > 1e18 {
        return Err(format!("`{text}` is larger than any disk"));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative (no sign is parsed), below 1e18"
    )]
    Ok(bytes.round() as u64)
}

/// [`parse_size`] of what cannot be nothing.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("at 0 bytes per second nothing would ever arrive; leave it out for no limit".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses what a node or a server may use, in MiB. 0 is no limit, so what would be rounded to it is refused: `2048` is
/// bytes, and whoever wrote it did not mean "as much as you like".
pub(crate) fn parse_limit_mib(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Ok(0),
        bytes if bytes < 1 << 20 => {
            Err(format!("is less than 1M; write it like 512M or 1.5G, or 0 for no limit: `{text}`"))
        }
        bytes => Ok(bytes >> 20),
    }
}

/// `1.5 GiB`.
#[allow(clippy::cast_precision_loss, reason = "for people: three digits are shown")]
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let (mut value, mut unit) = (n as f64 / 1024.0, 0);
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `740 ms`, `12.3 s`, `4 min 05 s`.
pub(crate) fn duration(d: Duration) -> String {
    match d.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..100_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// [`duration`] of a number of milliseconds.
pub(crate) fn millis(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_with_any_spelling() {
        for (text, want) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65_536),
            ("64 KiB", 65_536),
            ("1m", 1 << 20),
            ("1.5G", 3 << 29),
            ("2GB", 2 << 30),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "G", "-1", "1X", "1.2.3M", "99999999T", "1e9"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("ten").unwrap_err().contains("1.5G"));
    }

    #[test]
    fn a_rate_is_not_nothing() {
        assert_eq!(parse_rate("50M"), Ok(50 << 20));
        for text in ["0", "0M", "0.0001"] {
            assert!(parse_rate(text).unwrap_err().contains("no limit"), "{text}");
        }
    }

    #[test]
    fn a_limit_is_not_taken_away_by_a_missing_unit() {
        for (text, want) in [("0", 0), ("1M", 1), ("1.5G", 1536)] {
            assert_eq!(parse_limit_mib(text), Ok(want), "{text}");
        }
        for text in ["2048", "512K", "1"] {
            assert!(parse_limit_mib(text).unwrap_err().contains("no limit"), "{text}");
        }
    }

    #[test]
    fn bytes_show_one_digit_after_the_point() {
        for (n, want) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), ((1 << 20) - 1, "1.0 MiB")]
        {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn durations_change_unit_with_size() {
        for (ms, want) in [(0, "0 ms"), (999, "999 ms"), (1250, "1.2 s"), (99_999, "99.9 s"), (245_000, "4 min 05 s")] {
            assert_eq!(millis(ms), want);
        }
    }
}
