//! Fiscal years of whole weeks, as retailers have them: four quarters of 13 weeks, each of three
//! months of 4 or 5 weeks; a 53rd week, every five or six years, belongs to the last month.
//!
//! Invariant: every fiscal year begins on the day after the one before ends, on the same weekday.

use super::{Day, Period, from_date, to_date};
use chrono::{Datelike, NaiveDate};

/// How the weeks of a fiscal year are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiscalWeeks {
    /// Weeks of the three months of a quarter; 13 together.
    pub months: [u8; 3],
    /// The weekday on which the year ends, 0 = Monday.
    pub weekday: u8,
    /// The calendar month in or near whose end that is, 1 to 12.
    pub month: u8,
    /// Which of these weekdays it is.
    pub which: YearEnd,
}

/// On which of its weekdays a fiscal year ends.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum YearEnd {
    /// The last one of the month.
    Last,
    /// The one nearest to the last day of the month, before or after it.
    Nearest,
}

const QUARTERS: i32 = 4;
const MONTHS: i32 = 12;
const QUARTER_WEEKS: i32 = 13;

impl FiscalWeeks {
    /// The first day of the period that holds `day`.
    pub(super) fn start(&self, period: Period, day: Day) -> Day {
        self.begin(period, self.number(period, day))
    }

    /// The number of the period that holds `day`: neighbours have neighbouring numbers.
    pub(super) fn number(&self, period: Period, day: Day) -> i32 {
        let about = to_date(day).map_or(0, |date| date.year());
        // A year may end a few days after the month's end, so the next one is asked too.
        let year = (about - 1..=about + 2).find(|year| day <= self.end(*year)).unwrap_or(about);
        let week = (day - self.end(year - 1) - 1).div_euclid(7);
        let quarter = (week / QUARTER_WEEKS).min(QUARTERS - 1);
        match period {
            Period::FiscalYear => year,
            Period::FiscalQuarter => year * QUARTERS + quarter,
            _ => {
                let [first, second, _] = self.months.map(i32::from);
                let week = week - quarter * QUARTER_WEEKS;
                let month = i32::from(week >= first) + i32::from(week >= first + second);
                year * MONTHS + quarter * 3 + month
            }
        }
    }

    /// The first day of the period of a number.
    pub(super) fn begin(&self, period: Period, number: i32) -> Day {
        let (year, weeks) = match period {
            Period::FiscalYear => (number, 0),
            Period::FiscalQuarter => {
                (number.div_euclid(QUARTERS), number.rem_euclid(QUARTERS) * QUARTER_WEEKS)
            }
            _ => {
                let (year, month) = (number.div_euclid(MONTHS), number.rem_euclid(MONTHS));
                let within = self.months.iter().take((month % 3) as usize);
                let within: i32 = within.map(|weeks| i32::from(*weeks)).sum();
                (year, month / 3 * QUARTER_WEEKS + within)
            }
        };
        self.end(year - 1) + 1 + weeks * 7
    }

    /// How many periods a fiscal year has.
    pub(super) fn of_year(period: Period) -> i32 {
        match period {
            Period::FiscalYear => 1,
            Period::FiscalQuarter => QUARTERS,
            _ => MONTHS,
        }
    }

    /// The last day of the fiscal year that ends in or near the month of a calendar year.
    fn end(&self, year: i32) -> Day {
        let (year, month) = if self.month >= 12 { (year + 1, 1) } else { (year, self.month + 1) };
        let next = NaiveDate::from_ymd_opt(year, u32::from(month), 1);
        let last = next.map_or(0, from_date) - 1;
        // 1970-01-01 was a Thursday, weekday 3 counted from Monday.
        let after = (last + 3 - i32::from(self.weekday)).rem_euclid(7);
        match self.which {
            YearEnd::Nearest if after > 3 => last + 7 - after,
            YearEnd::Last | YearEnd::Nearest => last - after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::day_text;

    /// The 4-5-4 calendar of the National Retail Federation: years end on the Saturday nearest to
    /// 31 January.
    const RETAIL: FiscalWeeks =
        FiscalWeeks { months: [4, 5, 4], weekday: 5, month: 1, which: YearEnd::Nearest };

    fn day(text: &str) -> Day {
        from_date(text.parse().unwrap())
    }

    #[track_caller]
    fn check(weeks: &FiscalWeeks, period: Period, of: &str, start: &str, next: &str) {
        let number = weeks.number(period, day(of));
        let found = [weeks.begin(period, number), weeks.begin(period, number + 1)].map(day_text);
        assert_eq!(found, [start, next], "{period:?} of {of}");
        assert_eq!(weeks.start(period, day(start)), day(start));
        assert_eq!(weeks.start(period, day(next) - 1), day(start));
    }

    #[test]
    fn retail_years_begin_as_published() {
        // 2006, 2012, 2017 and 2023 have 53 weeks.
        for (of, start, next) in [
            ("2006-06-01", "2006-01-29", "2007-02-04"),
            ("2012-12-31", "2012-01-29", "2013-02-03"),
            ("2018-02-03", "2017-01-29", "2018-02-04"),
            ("2023-01-28", "2022-01-30", "2023-01-29"),
            ("2023-01-29", "2023-01-29", "2024-02-04"),
            ("2024-02-03", "2023-01-29", "2024-02-04"),
            ("2024-12-31", "2024-02-04", "2025-02-02"),
            ("2025-02-02", "2025-02-02", "2026-02-01"),
        ] {
            check(&RETAIL, Period::FiscalYear, of, start, next);
        }
    }

    #[test]
    fn retail_months_and_quarters_of_2024_begin_as_published() {
        let starts = [
            "2024-02-04",
            "2024-03-03",
            "2024-04-07",
            "2024-05-05",
            "2024-06-02",
            "2024-07-07",
            "2024-08-04",
            "2024-09-01",
            "2024-10-06",
            "2024-11-03",
            "2024-12-01",
            "2025-01-05",
            "2025-02-02",
        ];
        for pair in starts.windows(2) {
            check(&RETAIL, Period::FiscalMonth, pair[0], pair[0], pair[1]);
        }
        let quarters = [starts[0], starts[3], starts[6], starts[9], starts[12]];
        for pair in quarters.windows(2) {
            check(&RETAIL, Period::FiscalQuarter, pair[0], pair[0], pair[1]);
        }
    }

    #[test]
    fn the_53rd_week_is_the_last_months() {
        // January of the retail year 2023 has five weeks: 31 December to 3 February.
        check(&RETAIL, Period::FiscalMonth, "2024-02-03", "2023-12-31", "2024-02-04");
        check(&RETAIL, Period::FiscalQuarter, "2024-02-03", "2023-10-29", "2024-02-04");
        let before = RETAIL.number(Period::FiscalMonth, day("2024-02-04"));
        assert_eq!(before - RETAIL.number(Period::FiscalMonth, day("2024-02-03")), 1);
    }

    #[test]
    fn years_may_end_on_the_last_weekday_of_a_month() {
        // Apple's years end on the last Saturday of September; those of 2017 and 2023 had 53 weeks.
        let apple = FiscalWeeks { months: [4, 4, 5], weekday: 5, month: 9, which: YearEnd::Last };
        for (of, start, next) in [
            ("2017-01-01", "2016-09-25", "2017-10-01"),
            ("2022-09-24", "2021-09-26", "2022-09-25"),
            ("2022-09-25", "2022-09-25", "2023-10-01"),
            ("2024-01-01", "2023-10-01", "2024-09-29"),
        ] {
            check(&apple, Period::FiscalYear, of, start, next);
        }
        // The quarter of 13 weeks in 4, 4 and 5.
        check(&apple, Period::FiscalMonth, "2023-10-28", "2023-10-01", "2023-10-29");
        check(&apple, Period::FiscalMonth, "2023-11-26", "2023-11-26", "2023-12-31");
    }

    #[test]
    fn every_day_is_in_the_period_that_begins_last() {
        let december = FiscalWeeks { months: [5, 4, 4], weekday: 6, month: 12, ..RETAIL };
        for weeks in [RETAIL, december] {
            for period in [Period::FiscalMonth, Period::FiscalQuarter, Period::FiscalYear] {
                for day in day("1998-01-01")..day("2031-01-01") {
                    let number = weeks.number(period, day);
                    let own = weeks.begin(period, number)..weeks.begin(period, number + 1);
                    assert!(own.contains(&day), "{period:?} of {}", day_text(day));
                    assert_eq!(own.len() % 7, 0, "whole weeks");
                }
            }
        }
    }
}
