//! Extended headers of POSIX tar (pax): `length key=value\n`, and the map of a sparse file in GNU tar's format 1.0. Our
//! own, because names and attributes are bytes: the library's reader takes a line feed in a value for its end.
//!
//! Formats: pax in IEEE Std 1003.1-2017, `pax`; the rest in GNU tar's manual, "Storing Sparse Files".

use std::ops::Range;

/// Of a member's name as bytes, if they are no UTF-8.
pub(super) const BINARY: (&[u8], &[u8]) = (b"hdrcharset", b"BINARY");
pub(super) const PATH: &[u8] = b"path";
pub(super) const LINK: &[u8] = b"linkpath";
pub(super) const SIZE: &[u8] = b"size";
pub(super) const MTIME: &[u8] = b"mtime";
pub(super) const UID: &[u8] = b"uid";
pub(super) const GID: &[u8] = b"gid";
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
pub(super) const SPARSE_MAJOR: &[u8] = b"GNU.sparse.major";
pub(super) const SPARSE_MINOR: &[u8] = b"GNU.sparse.minor";
pub(super) const SPARSE_NAME: &[u8] = b"GNU.sparse.name";
pub(super) const SPARSE_SIZE: &[u8] = b"GNU.sparse.realsize";

/// Appends one record. Its length counts its own digits.
pub(super) fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + digits(length) != length {
        length = rest + digits(length);
    }
    to.extend_from_slice(length.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Reads all records; none if that is not what they are.
pub(super) fn records(mut from: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !from.is_empty() {
        let space = from.iter().take(20).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&from[..space]).ok()?.parse().ok()?;
        let record = from.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        found.push((&record[..equals], &record[equals + 1..]));
        from = &from[length..];
    }
    Some(found)
}

/// An attribute's name in a key, in which `=` would be its end.
pub(super) fn escape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(*byte),
        }
    }
    out
}

/// What [`escape`] has made of it.
pub(super) fn unescape(name: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(name.len()), 0);
    while at < name.len() {
        let (byte, used) = match name[at..] {
            [b'%', b'2', b'5', ..] => (b'%', 3),
            [b'%', b'3', b'D', ..] => (b'=', 3),
            _ => (name[at], 1),
        };
        out.push(byte);
        at += used;
    }
    out
}

/// Seconds and nanoseconds as a decimal number; negative ones before 1970 with the fraction counted forward from there.
pub(super) fn time(sec: i64, nsec: u32) -> String {
    match (sec, nsec) {
        (sec, 0) => sec.to_string(),
        (sec, nsec) if sec >= 0 => format!("{sec}.{nsec:09}"),
        // -1.25 s is two seconds before and 0.75 s after.
        (sec, nsec) => format!("-{}.{:09}", -(sec + 1), 1_000_000_000 - nsec),
    }
}

/// What [`time`] has written.
pub(super) fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (before, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let sec: i64 = whole.parse().ok()?;
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nsec: u32 = nine.parse().ok()?;
    match (before, nsec) {
        (false, nsec) => Some((sec, nsec)),
        (true, 0) => Some((-sec, 0)),
        (true, nsec) => Some((-sec - 1, 1_000_000_000 - nsec)),
    }
}

/// The map that stands in front of the data of a sparse file, padded to whole blocks of the archive.
pub(super) fn sparse_map(runs: &[Range<u64>]) -> Vec<u8> {
    let numbers = runs.iter().flat_map(|run| [run.start, run.end - run.start]);
    let lines = std::iter::once(runs.len() as u64).chain(numbers).map(|number| format!("{number}\n"));
    let mut map = lines.collect::<String>().into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    map
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes_and_count_themselves() {
        for len in 0..1100 {
            let value: Vec<u8> = (0..len).map(|i| u8::try_from(i % 256).unwrap()).collect();
            let mut text = Vec::new();
            record(&mut text, PATH, &value);
            record(&mut text, MTIME, b"1\n2=3");
            assert_eq!(records(&text).unwrap(), [(PATH, value.as_slice()), (MTIME, b"1\n2=3")]);
        }
        for broken in [&b"x"[..], b"12 path=a", b"99 path=a\n", b"8 patha\n\n", b"0 a=b\n", b"2 a=b\n", b" a=b\n"] {
            assert_eq!(records(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn times_keep_their_nanoseconds_on_both_sides_of_1970() {
        for (sec, nsec, text) in [
            (0, 0, "0"),
            (1_700_000_000, 1, "1700000000.000000001"),
            (-2, 750_000_000, "-1.250000000"),
            (-1, 500_000_000, "-0.500000000"),
            (-3, 0, "-3"),
        ] {
            assert_eq!(time(sec, nsec), text);
            assert_eq!(parse_time(text.as_bytes()), Some((sec, nsec)));
        }
        assert_eq!(parse_time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!((parse_time(b"--1"), parse_time(b"1.x"), parse_time(b"")), (None, None, None));
    }

    #[test]
    fn names_of_attributes_survive_their_key() {
        for name in [&b"user.a=b"[..], b"user.100%", b"user.%3D", b"plain"] {
            assert_eq!(unescape(&escape(name)), name);
            assert!(!escape(name).contains(&b'='));
        }
    }
}
