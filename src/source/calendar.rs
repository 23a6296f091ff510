//! Shape `calendar`: which days are worked.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::sheet::SheetBatch;
use crate::error::Error;
use crate::quality::Rule;
use crate::time::{Day, NO_DAY};

/// The days that are worked: as told, else Monday to Friday.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workdays {
    /// Days that are told, with whether they are worked where that is said.
    days: BTreeMap<Day, Option<bool>>,
}

impl Workdays {
    /// Whether a day is worked.
    #[must_use]
    pub fn is_workday(&self, day: Day) -> bool {
        let told = self.days.get(&day).copied().flatten();
        told.unwrap_or_else(|| is_weekday(day))
    }

    /// How many days from one on until another, exclusive, are worked.
    #[must_use]
    pub fn workdays(&self, from: Day, to: Day) -> i64 {
        if from >= to {
            return 0;
        }
        let usual = weekdays_before(to) - weekdays_before(from);
        let told = self.days.range(from..to).filter_map(|(day, is_workday)| {
            Some(i64::from((*is_workday)?) - i64::from(is_weekday(*day)))
        });
        usual + told.sum::<i64>()
    }

    /// The first and the last day that are told.
    #[must_use]
    pub fn span(&self) -> Option<(Day, Day)> {
        Some((*self.days.first_key_value()?.0, *self.days.last_key_value()?.0))
    }

    /// How many of the days between the first and the last one that are told are not.
    #[must_use]
    pub fn untold(&self) -> i64 {
        let days = self.span().map_or(0, |(first, last)| i64::from(last) - i64::from(first) + 1);
        days - self.days.values().flatten().count() as i64
    }

    /// How many days are told.
    #[must_use]
    pub fn len(&self) -> usize {
        self.days.len()
    }

    /// Whether no day is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Adds the rows of a batch. Of several rows of a day the first counts.
    pub(super) fn read_batch(&mut self, batch: &mut SheetBatch<'_>) -> Result<(), Error> {
        let (days, worked) = (batch.days("date")?, batch.flags("is_workday")?);
        for (row, (day, is_workday)) in days.into_iter().zip(worked).enumerate() {
            if day == NO_DAY {
                batch.refuse(row, Rule::BadDay);
                continue;
            }
            batch.keep();
            match self.days.entry(day) {
                Entry::Occupied(_) => batch.note(row, Rule::DuplicateDays),
                Entry::Vacant(place) => {
                    place.insert(is_workday);
                }
            }
        }
        Ok(())
    }
}

/// Monday to Friday; 1970-01-01 was a Thursday.
fn is_weekday(day: Day) -> bool {
    (i64::from(day) + 3).rem_euclid(7) < 5
}

/// Mondays to Fridays before a day, counted from Monday 1969-12-29.
fn weekdays_before(day: Day) -> i64 {
    let since = i64::from(day) + 3;
    since.div_euclid(7) * 5 + since.rem_euclid(7).min(5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_date;

    fn day(text: &str) -> Day {
        from_date(text.parse().unwrap())
    }

    #[test]
    fn weekdays_are_worked_where_nothing_is_told() {
        let plain = Workdays::default();
        // January 2024 began on a Monday and has 23 weekdays.
        assert_eq!(plain.workdays(day("2024-01-01"), day("2024-02-01")), 23);
        assert_eq!(plain.workdays(day("2024-01-06"), day("2024-01-08")), 0);
        assert_eq!(plain.workdays(day("2024-01-05"), day("2024-01-09")), 2);
        assert_eq!(plain.workdays(day("2024-01-05"), day("2024-01-05")), 0);
        assert_eq!(plain.workdays(day("1969-12-01"), day("1970-01-01")), 23);
    }

    #[test]
    fn told_days_go_over_weekdays() {
        // New Year's Day off, the Saturday after it worked, the Tuesday not told.
        let days = [("2024-01-01", Some(false)), ("2024-01-06", Some(true)), ("2024-01-02", None)];
        let days = days.into_iter().map(|(text, told)| (day(text), told)).collect();
        let calendar = Workdays { days };
        assert_eq!(calendar.workdays(day("2024-01-01"), day("2024-01-08")), 5);
        assert_eq!(calendar.workdays(day("2024-01-01"), day("2024-01-02")), 0);
        assert!(calendar.is_workday(day("2024-01-06")) && calendar.is_workday(day("2024-01-02")));
        // Of six days the second to the fifth are not told.
        assert_eq!((calendar.untold(), Workdays::default().untold()), (4, 0));
        assert_eq!(calendar.span(), Some((day("2024-01-01"), day("2024-01-06"))));
    }
}
