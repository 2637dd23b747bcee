//! How much of what: from a server's limits to a cluster's quantities, and quantities of a cluster read. Pure.

use model::Limits;

const MIB: u64 = 1 << 20;
/// Room of a volume beyond what is in it: for what a game writes on its first day in a new place.
const SLACK_MB: u64 = 256;
/// A volume needs a size. Of a server without a disk limit it is at least this.
const UNLIMITED_DISK_MB: u64 = 10 * 1024;
/// Volumes are made in steps, so that a server which grows by a byte does not resize its volume.
const STEP_MB: u64 = 256;

/// What a game's container asks for and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) cpu_request_m: u64,
    pub(super) cpu_limit_m: Option<u64>,
    pub(super) memory_request_mb: u64,
    pub(super) memory_limit_mb: Option<u64>,
}

/// Memory is set aside in full: it cannot be taken back, and a game that is short of it is killed. Of CPU a quarter is:
/// games idle most of the day, what is short is shared in proportion to requests, and to set aside all of it would
/// leave nodes empty that look full.
pub(super) fn demand(limits: Limits) -> Demand {
    let cpu_limit_m = (limits.cpu_percent > 0).then(|| limits.cpu_percent * 10);
    Demand {
        cpu_request_m: cpu_limit_m.map_or(250, |m| (m / 4).max(50)),
        cpu_limit_m,
        memory_request_mb: if limits.memory_mb > 0 { limits.memory_mb } else { 256 },
        memory_limit_mb: (limits.memory_mb > 0).then_some(limits.memory_mb),
    }
}

/// Size of a server's volume in MiB: its disk limit, and no less than what is in it with a fifth on top.
pub(super) fn volume_mb(limits: Limits, bytes: u64) -> u64 {
    let used = bytes.div_ceil(MIB);
    let needed = used + used.div_ceil(5) + SLACK_MB;
    let limit = if limits.disk_mb > 0 { limits.disk_mb } else { UNLIMITED_DISK_MB };
    needed.max(limit).next_multiple_of(STEP_MB)
}

pub(super) fn mi(mb: u64) -> String {
    format!("{mb}Mi")
}

pub(super) fn milli(cores_m: u64) -> String {
    format!("{cores_m}m")
}

/// A quantity in thousandths, rounded up: `100m` → 100, `2` → 2000, `1Ki` → 1024000. None: not a quantity.
fn thousandths(text: &str) -> Option<u128> {
    let text = text.trim();
    let (number, scale) = scaled(text)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.get(..fraction.len().min(9))?;
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let unit = 10u128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(scale)?.checked_add((part * scale).div_ceil(unit))
}

/// Powers of 1024 from the first.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Powers of 1000 from a thousandth.
const DECIMAL: [&str; 7] = ["m", "", "k", "M", "G", "T", "P"];

/// The digits of a quantity, and the thousandths that one of it is.
fn scaled(text: &str) -> Option<(&str, u128)> {
    if let Some((number, exponent)) = text.split_once(['e', 'E']).filter(|(_, rest)| !rest.is_empty()) {
        return Some((number, 1000 * 10u128.checked_pow(exponent.trim_start_matches('+').parse().ok()?)?));
    }
    for (power, suffix) in (1u32..).zip(BINARY) {
        if let Some(number) = text.strip_suffix(suffix) {
            return Some((number, 1000 << (10 * power)));
        }
    }
    for (power, suffix) in (0u32..).zip(DECIMAL) {
        if let Some(number) = text.strip_suffix(suffix).filter(|n| n.ends_with(|c: char| c.is_ascii_digit())) {
            return Some((number, 10u128.pow(3 * power)));
        }
    }
    None
}

/// Millicores. What is no quantity counts as nothing: the API server admits none of those.
pub(super) fn cpu_m(text: &str) -> u64 {
    thousandths(text).map_or(0, |t| u64::try_from(t).unwrap_or(u64::MAX))
}

/// Bytes, or pieces of anything that is counted.
pub(super) fn bytes(text: &str) -> u64 {
    thousandths(text).map_or(0, |t| u64::try_from(t.div_ceil(1000)).unwrap_or(u64::MAX))
}

pub(super) fn mb(text: &str) -> u64 {
    bytes(text) / MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_cluster_writes_them() {
        for (text, expected) in [("100m", 100), ("2", 2000), ("1.5", 1500), ("0.1", 100), ("3920m", 3920)] {
            assert_eq!(cpu_m(text), expected, "{text}");
        }
        let cases = [("1Ki", 1024), ("24033748Ki", 24_610_557_952), ("1G", 1_000_000_000), ("129e6", 129_000_000)];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!((bytes("1.5Gi"), bytes("128974848000m"), bytes("110")), (3 << 29, 128_974_848, 110));
        assert_eq!((bytes(""), bytes("many"), cpu_m("-1")), (0, 0, 0));
    }

    #[test]
    fn a_volume_has_room_for_its_content_and_for_its_limit() {
        let limits = |disk_mb| Limits { disk_mb, ..Limits::default() };
        assert_eq!(volume_mb(limits(1000), 0), 1024);
        assert_eq!(volume_mb(limits(1000), 2000 << 20), 2816, "2000 + 400 + 256, in steps");
        assert_eq!(volume_mb(limits(0), 1), 10 * 1024);
    }

    #[test]
    fn memory_is_asked_for_in_full_and_cpu_in_part() {
        let demand = demand(Limits { memory_mb: 512, disk_mb: 0, cpu_percent: 150 });
        assert_eq!((demand.memory_request_mb, demand.memory_limit_mb), (512, Some(512)));
        assert_eq!((demand.cpu_request_m, demand.cpu_limit_m), (375, Some(1500)));
        assert_eq!(super::demand(Limits::default()).memory_limit_mb, None);
    }
}
