//! The calendar months ahead of a day, and what is known of the months behind it.

use std::collections::BTreeMap;

use crate::metrics::NO_KEY;
use crate::time::{Calendar, Day, Period};

/// One calendar month ahead, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// First day of what is left.
    pub(super) starts: Day,
    /// Last day.
    pub(super) ends: Day,
    /// First day of the whole month.
    pub(super) month: Day,
    /// Days of the whole month.
    pub(super) month_days: i32,
}

impl Ahead {
    /// What is left of its month, as a share.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.ends - self.starts + 1) / f64::from(self.month_days)
    }

    /// Days from a day to its last one.
    pub(super) fn days_to_end(&self, today: Day) -> i64 {
        i64::from(self.ends) - i64::from(today)
    }
}

/// The next months after a day: the first one is what is left of the day's own month, if anything is.
pub(super) fn months_ahead(calendar: &Calendar, today: Day, months: u32) -> Vec<Ahead> {
    let first = calendar.start(Period::Month, today + 1);
    let next = |n: i32| calendar.shift(Period::Month, first, n);
    let month = |n: u32| {
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        let (month, after) = (next(n), next(n + 1));
        Ahead { starts: month.max(today + 1), ends: after - 1, month, month_days: after - month }
    };
    (0..months).map(month).collect()
}

/// The first day of the month after the last one that has ended by the end of a day.
pub(super) fn months_end(calendar: &Calendar, today: Day) -> Day {
    calendar.start(Period::Month, today + 1)
}

/// Sums of complete months up to `end`, the first day of a month, from the first month of any value;
/// months without one are 0.
pub(super) fn series(
    calendar: &Calendar,
    by_day: impl Iterator<Item = (i64, i64)>,
    end: Day,
) -> Vec<f64> {
    let mut months: BTreeMap<Day, i64> = BTreeMap::new();
    for (day, value) in by_day.filter(|(day, _)| *day != NO_KEY) {
        if let Ok(day) = Day::try_from(day) {
            *months.entry(calendar.start(Period::Month, day)).or_default() += value;
        }
    }
    let Some(first) = months.keys().next().copied() else { return Vec::new() };
    let number = calendar.distance(Period::Month, first, end).max(0);
    (0..number)
        .map(|n| {
            let month = calendar.shift(Period::Month, first, n);
            months.get(&month).copied().unwrap_or(0) as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_date;
    use chrono::NaiveDate;

    fn on(text: &str) -> Day {
        from_date(text.parse::<NaiveDate>().unwrap())
    }

    #[test]
    fn the_first_month_is_what_is_left_of_it() {
        let months = months_ahead(&Calendar::UTC, on("2024-01-30"), 2);
        let spans: Vec<_> = months.iter().map(|m| (m.starts, m.ends)).collect();
        let expected = [("2024-01-31", "2024-01-31"), ("2024-02-01", "2024-02-29")];
        assert_eq!(spans, expected.map(|(from, to)| (on(from), on(to))));
        assert!((months[0].share() - 1.0 / 31.0).abs() < 1e-12);
        assert_eq!(months[1].days_to_end(on("2024-01-30")), 30);
        // On the last day of a month the next one is the first.
        let months = months_ahead(&Calendar::UTC, on("2024-01-31"), 1);
        assert_eq!(months[0].starts, on("2024-02-01"));
        assert!((months[0].share() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn months_without_a_value_are_zero_and_the_current_one_is_left_out() {
        let days = [("2024-01-05", 3), ("2024-01-31", 4), ("2024-03-01", 5), ("2024-04-02", 9)];
        let days = days.map(|(day, value)| (i64::from(on(day)), value));
        let found = series(&Calendar::UTC, days.into_iter(), on("2024-04-01"));
        assert_eq!(found, [7.0, 0.0, 5.0]);
    }
}
