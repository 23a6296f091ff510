//! Instants, civil days and reporting periods.
//!
//! An instant is microseconds since 1970-01-01T00:00:00Z (`i64`); a day is days since 1970-01-01
//! (`i32`). Periods are half-open ranges of civil days in the reporting zone. Nothing here reads
//! a clock.

mod fiscal_weeks;

pub use fiscal_weeks::{FiscalWeeks, YearEnd};

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Microseconds since the epoch, UTC.
pub type Instant = i64;
/// Days since the epoch.
pub type Day = i32;

/// Stands for "no instant" in plain columns.
pub const NO_INSTANT: Instant = i64::MIN;
/// Stands for "no day" in plain columns.
pub const NO_DAY: Day = i32::MIN;
/// Microseconds in a day of 24 hours.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The length of a reporting period; `All` is the whole history.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The whole history, one period without a start.
    All,
    /// A civil day.
    Day,
    /// Seven days from the configured first day of the week.
    Week,
    /// A calendar month.
    Month,
    /// A calendar quarter.
    Quarter,
    /// A calendar year.
    Year,
    /// Four or five weeks of a fiscal year of weeks; where there is none, a calendar month.
    FiscalMonth,
    /// Three months counted from the first month of the fiscal year, or 13 weeks.
    FiscalQuarter,
    /// Twelve months from the first month of the fiscal year, or 52 or 53 weeks.
    FiscalYear,
}

impl Period {
    /// The name used in tables and in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
            Self::FiscalMonth => "fiscal_month",
            Self::FiscalQuarter => "fiscal_quarter",
            Self::FiscalYear => "fiscal_year",
        }
    }

    /// Every period, finest last.
    pub const EVERY: [Self; 9] = [
        Self::All,
        Self::Year,
        Self::FiscalYear,
        Self::Quarter,
        Self::FiscalQuarter,
        Self::FiscalMonth,
        Self::Month,
        Self::Week,
        Self::Day,
    ];

    /// Whether it is part of a fiscal year, which may be one of weeks.
    #[must_use]
    pub fn is_fiscal(self) -> bool {
        matches!(self, Self::FiscalMonth | Self::FiscalQuarter | Self::FiscalYear)
    }

    fn months(self) -> i32 {
        match self {
            Self::Month | Self::FiscalMonth => 1,
            Self::Quarter | Self::FiscalQuarter => 3,
            Self::Year | Self::FiscalYear => 12,
            Self::All | Self::Day | Self::Week => 0,
        }
    }
}

/// The zone and the conventions by which days become periods.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    /// The reporting zone.
    pub zone: Tz,
    /// First day of the week, 0 = Monday.
    pub week_start: u8,
    /// First month of the fiscal year, 1 to 12.
    pub fiscal_start_month: u8,
    /// The weeks of fiscal years, where they are of weeks and not of months.
    pub fiscal_weeks: Option<FiscalWeeks>,
}

impl Calendar {
    /// UTC, weeks from Monday, fiscal years from January.
    pub const UTC: Self =
        Self { zone: Tz::UTC, week_start: 0, fiscal_start_month: 1, fiscal_weeks: None };

    /// The weeks by which a period is counted, where it is.
    fn weeks(&self, period: Period) -> Option<&FiscalWeeks> {
        self.fiscal_weeks.as_ref().filter(|_| period.is_fiscal())
    }

    /// The civil day of an instant in the reporting zone.
    #[must_use]
    pub fn day(&self, at: Instant) -> Day {
        if self.zone == Tz::UTC {
            return at.div_euclid(MICROS_PER_DAY) as Day;
        }
        (at + self.offset_micros(at)).div_euclid(MICROS_PER_DAY) as Day
    }

    fn offset_micros(&self, at: Instant) -> i64 {
        let utc = DateTime::from_timestamp_micros(at).unwrap_or_default().naive_utc();
        i64::from(self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000
    }

    /// The instant at which a civil day begins in the reporting zone. Where the clock skips
    /// midnight, the first instant of the day that exists.
    #[must_use]
    pub fn instant(&self, day: Day) -> Instant {
        self.local_to_instant(i64::from(day) * MICROS_PER_DAY)
    }

    /// The instant of a local wall-clock time (microseconds since the local epoch). An ambiguous
    /// time is its first occurrence; a skipped one is moved forward by the gap.
    #[must_use]
    pub fn local_to_instant(&self, local: i64) -> Instant {
        if self.zone == Tz::UTC {
            return local;
        }
        let naive = DateTime::from_timestamp_micros(local).unwrap_or_default().naive_utc();
        match self.zone.offset_from_local_datetime(&naive) {
            chrono::LocalResult::Single(offset) | chrono::LocalResult::Ambiguous(offset, _) => {
                local - i64::from(offset.fix().local_minus_utc()) * 1_000_000
            }
            // In the gap of a clock change: the offset in force before it applies.
            chrono::LocalResult::None => local - self.offset_micros(local - MICROS_PER_DAY),
        }
    }

    /// The first day of the period that holds `day`. `All` begins at [`NO_DAY`].
    #[must_use]
    pub fn start(&self, period: Period, day: Day) -> Day {
        if day == NO_DAY {
            return NO_DAY;
        }
        if let Some(weeks) = self.weeks(period) {
            return weeks.start(period, day);
        }
        match period {
            Period::All => NO_DAY,
            Period::Day => day,
            Period::Week => {
                // 1970-01-01 was a Thursday, weekday 3 counted from Monday.
                let weekday = (day + 3 - i32::from(self.week_start)).rem_euclid(7);
                day - weekday
            }
            Period::Month | Period::FiscalMonth => month_start(month_index(day)),
            Period::Quarter | Period::Year => {
                let m = month_index(day);
                month_start(m - m.rem_euclid(period.months()))
            }
            Period::FiscalQuarter | Period::FiscalYear => {
                let shift = i32::from(self.fiscal_start_month) - 1;
                let m = month_index(day) - shift;
                month_start(m - m.rem_euclid(period.months()) + shift)
            }
        }
    }

    /// The first day of the period `n` periods after the one that begins on `start`.
    #[must_use]
    pub fn shift(&self, period: Period, start: Day, n: i32) -> Day {
        if let Some(weeks) = self.weeks(period) {
            return weeks.begin(period, weeks.number(period, start) + n);
        }
        match period {
            Period::All => NO_DAY,
            Period::Day => start + n,
            Period::Week => start + 7 * n,
            _ => month_start(month_index(start) + n * period.months()),
        }
    }

    /// How many periods lie between two starts of the same period.
    #[must_use]
    pub fn distance(&self, period: Period, from: Day, to: Day) -> i32 {
        if let Some(weeks) = self.weeks(period) {
            return weeks.number(period, to) - weeks.number(period, from);
        }
        match period {
            Period::All => 0,
            Period::Day => to - from,
            Period::Week => (to - from).div_euclid(7),
            _ => (month_index(to) - month_index(from)).div_euclid(period.months()),
        }
    }

    /// The start of the same period one year before (52 weeks for weeks, the same civil day for
    /// days, 28 February for 29 February, the same month of the fiscal year before where it is of
    /// weeks).
    #[must_use]
    pub fn year_before(&self, period: Period, start: Day) -> Day {
        if self.weeks(period).is_some() {
            return self.shift(period, start, -FiscalWeeks::of_year(period));
        }
        match period {
            Period::All => NO_DAY,
            Period::Week => start - 52 * 7,
            Period::Day => to_date(start)
                .and_then(|d| d.checked_sub_months(chrono::Months::new(12)))
                .map_or(NO_DAY, from_date),
            _ => month_start(month_index(start) - 12),
        }
    }

    /// Whether the period that begins on `start` has ended by `as_of` (G14): `as_of` is its last
    /// microsecond or later. `All` never has.
    #[must_use]
    pub fn is_complete(&self, period: Period, start: Day, as_of: Instant) -> bool {
        period != Period::All && self.instant(self.shift(period, start, 1)) - 1 <= as_of
    }

    /// The finest period from which all of `periods` can be rolled up; the year where there is
    /// none, so that a base period is null only where there is no day.
    #[must_use]
    pub fn base(&self, periods: &[Period]) -> Period {
        let finest = periods.iter().copied().max().unwrap_or(Period::Year);
        let has = |p| periods.contains(&p);
        let of_weeks = |p: &Period| self.weeks(*p).is_some();
        if has(Period::Day) || periods.iter().any(of_weeks) {
            return Period::Day;
        }
        if has(Period::Week) && periods.iter().any(|p| p.months() > 0) {
            return Period::Day;
        }
        if has(Period::Week) {
            return Period::Week;
        }
        if periods.iter().any(|p| p.months() > 0) { Period::Month } else { finest }
    }
}

impl Calendar {
    /// Whether every period of length `from` lies in one of length `to`, so that the shorter one's
    /// sums can be added up to the longer one's.
    #[must_use]
    pub fn nests(&self, from: Period, to: Period) -> bool {
        use Period::{All, FiscalMonth, FiscalQuarter, FiscalYear, Month, Quarter, Year};
        match (from, to) {
            (_, All)
            | (Month, Quarter | Year)
            | (Quarter, Year)
            | (FiscalMonth, FiscalQuarter | FiscalYear)
            | (FiscalQuarter, FiscalYear) => true,
            (Month, FiscalMonth | FiscalQuarter | FiscalYear) => self.fiscal_weeks.is_none(),
            _ => false,
        }
    }
}

/// The first days of one period length, looked up: asking chrono for every event and deal was a
/// tenth of the fold.
#[derive(Debug, Clone)]
pub struct Starts {
    calendar: Calendar,
    period: Period,
    /// Of each day from [`Starts::FIRST`] on.
    known: Vec<Day>,
}

impl Starts {
    /// 1990-01-01.
    const FIRST: Day = 7_305;
    /// Days to 2050; the table stays in the second-level cache.
    const DAYS: Day = 60 * 366;

    /// A table for a period length.
    #[must_use]
    pub fn new(calendar: Calendar, period: Period) -> Self {
        let days = Self::FIRST..Self::FIRST + Self::DAYS;
        let known = days.map(|day| calendar.start(period, day)).collect();
        Self { calendar, period, known }
    }

    /// The period length.
    #[must_use]
    pub fn period(&self) -> Period {
        self.period
    }

    /// As [`Calendar::start`].
    #[must_use]
    pub fn start(&self, day: Day) -> Day {
        let place = usize::try_from(i64::from(day) - i64::from(Self::FIRST)).ok();
        match place.and_then(|place| self.known.get(place)) {
            Some(start) => *start,
            None => self.calendar.start(self.period, day),
        }
    }
}

fn month_index(day: Day) -> i32 {
    to_date(day).map_or(0, |d| d.year() * 12 + d.month0() as i32)
}

fn month_start(index: i32) -> Day {
    NaiveDate::from_ymd_opt(index.div_euclid(12), index.rem_euclid(12) as u32 + 1, 1)
        .map_or(NO_DAY, from_date)
}

/// The calendar date of a day number, if chrono can hold it.
#[must_use]
pub fn to_date(day: Day) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(day.checked_add(719_163)?)
}

/// The day number of a calendar date.
#[must_use]
pub fn from_date(date: NaiveDate) -> Day {
    date.num_days_from_ce() - 719_163
}

/// An instant as RFC 3339 text in UTC, to the second or, where there is a fraction, the microsecond.
#[must_use]
pub fn instant_text(at: Instant) -> String {
    DateTime::from_timestamp_micros(at).map_or_else(
        || format!("{at} µs"),
        |t| t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
    )
}

/// A day as `YYYY-MM-DD`.
#[must_use]
pub fn day_text(day: Day) -> String {
    to_date(day).map_or_else(|| format!("day {day}"), |d| d.to_string())
}

/// The unit in which durations are counted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Whole civil days in the reporting zone.
    Day,
    /// Whole hours.
    #[default]
    Hour,
    /// Whole minutes.
    Minute,
    /// Whole seconds.
    Second,
    /// Whole milliseconds.
    Millisecond,
}

impl Resolution {
    /// Units in a day of 24 hours.
    #[must_use]
    pub fn units_per_day(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Hour => 24,
            Self::Minute => 1_440,
            Self::Second => 86_400,
            Self::Millisecond => 86_400_000,
        }
    }

    /// The duration between two instants in whole units, rounded down; for days the number of
    /// civil midnights between them in the reporting zone (G13).
    #[must_use]
    pub fn between(self, calendar: &Calendar, from: Instant, to: Instant) -> i64 {
        match self {
            Self::Day => i64::from(calendar.day(to)) - i64::from(calendar.day(from)),
            _ => (to - from).div_euclid(MICROS_PER_DAY / self.units_per_day()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_period_is_never_the_whole() {
        let base = Calendar::UTC.base(&[]);
        assert_ne!(Calendar::UTC.start(base, 0), NO_DAY, "a day must not look like no day");
    }

    #[test]
    fn looked_up_starts_are_the_calendars() {
        let months = Calendar { fiscal_start_month: 4, week_start: 6, ..Calendar::UTC };
        let weeks = FiscalWeeks { months: [4, 4, 5], weekday: 6, month: 6, which: YearEnd::Last };
        for calendar in [months, Calendar { fiscal_weeks: Some(weeks), ..months }] {
            for period in Period::EVERY {
                let starts = Starts::new(calendar, period);
                for day in (-50_000..50_000).step_by(17).chain([NO_DAY]) {
                    assert_eq!(starts.start(day), calendar.start(period, day), "{period:?} {day}");
                }
            }
        }
    }

    fn day(text: &str) -> Day {
        from_date(text.parse().unwrap())
    }

    fn at(text: &str) -> Instant {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn in_zone(zone: Tz) -> Calendar {
        Calendar { zone, ..Calendar::UTC }
    }

    #[test]
    fn two_instants_are_one_day_in_one_zone_and_two_in_another() {
        let pair = [at("2024-03-10T15:30:00Z"), at("2024-03-10T16:30:00Z")];
        let days = |zone: Tz| pair.map(|at| day_text(in_zone(zone).day(at)));
        assert_eq!(days(Tz::UTC), ["2024-03-10", "2024-03-10"]);
        assert_eq!(days(Tz::Asia__Shanghai), ["2024-03-10", "2024-03-11"]);
        let between = |zone| Resolution::Day.between(&in_zone(zone), pair[0], pair[1]);
        assert_eq!([Tz::UTC, Tz::Asia__Shanghai].map(between), [0, 1]);
        // In hours it is one everywhere.
        assert_eq!(Resolution::Hour.between(&in_zone(Tz::Asia__Shanghai), pair[0], pair[1]), 1);
    }

    #[test]
    fn days_of_clock_changes_have_23_and_25_hours_and_count_as_one() {
        let berlin = in_zone(Tz::Europe__Berlin);
        for (text, hours) in [("2024-03-31", 23), ("2024-10-27", 25), ("2024-06-01", 24)] {
            let (from, to) = (berlin.instant(day(text)), berlin.instant(day(text) + 1));
            assert_eq!(Resolution::Hour.between(&berlin, from, to), hours, "{text}");
            assert_eq!(Resolution::Day.between(&berlin, from, to), 1, "{text}");
            assert_eq!([from, to - 1, to].map(|at| berlin.day(at) - day(text)), [0, 0, 1]);
        }
        // 02:30 is skipped in spring and comes twice in autumn: moved on, and the first of the two.
        let local = |text: &str| at(&format!("{text}Z"));
        let spring = berlin.local_to_instant(local("2024-03-31T02:30:00"));
        assert_eq!(instant_text(spring), "2024-03-31T01:30:00Z");
        let autumn = berlin.local_to_instant(local("2024-10-27T02:30:00"));
        assert_eq!(instant_text(autumn), "2024-10-27T00:30:00Z");
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_later() {
        // In Sao Paulo the clock went from 00:00 to 01:00 on 4 November 2018.
        let calendar = in_zone(Tz::America__Sao_Paulo);
        let first = calendar.instant(day("2018-11-04"));
        assert_eq!(instant_text(first), "2018-11-04T03:00:00Z");
        assert_eq!(
            [first - 1, first].map(|at| day_text(calendar.day(at))),
            ["2018-11-03", "2018-11-04"]
        );
    }

    #[track_caller]
    fn check_start(calendar: &Calendar, period: Period, of: &str, start: &str, next: &str) {
        let found = calendar.start(period, day(of));
        assert_eq!(day_text(found), start, "{period:?} of {of}");
        assert_eq!(day_text(calendar.shift(period, found, 1)), next, "after {period:?} of {of}");
    }

    #[test]
    fn weeks_begin_on_the_configured_day_and_fiscal_years_in_the_configured_month() {
        // 5 March 2024 was a Tuesday.
        for (week_start, start, next) in [
            (0, "2024-03-04", "2024-03-11"),
            (1, "2024-03-05", "2024-03-12"),
            (6, "2024-03-03", "2024-03-10"),
        ] {
            let calendar = Calendar { week_start, ..Calendar::UTC };
            check_start(&calendar, Period::Week, "2024-03-05", start, next);
        }
        let april = Calendar { fiscal_start_month: 4, ..Calendar::UTC };
        check_start(&april, Period::FiscalYear, "2024-03-31", "2023-04-01", "2024-04-01");
        check_start(&april, Period::FiscalYear, "2024-04-01", "2024-04-01", "2025-04-01");
        check_start(&april, Period::FiscalQuarter, "2024-03-31", "2024-01-01", "2024-04-01");
        let february = Calendar { fiscal_start_month: 2, ..Calendar::UTC };
        check_start(&february, Period::FiscalQuarter, "2024-01-31", "2023-11-01", "2024-02-01");
    }

    #[test]
    fn periods_are_half_open_and_complete_with_their_last_microsecond() {
        let shanghai = in_zone(Tz::Asia__Shanghai);
        let start = day("2024-03-01");
        // March ends there when it is 16:00 in UTC.
        let end = at("2024-03-31T16:00:00Z");
        assert_eq!(day_text(shanghai.start(Period::Month, shanghai.day(end - 1))), "2024-03-01");
        assert_eq!(day_text(shanghai.start(Period::Month, shanghai.day(end))), "2024-04-01");
        let is_complete = |as_of| shanghai.is_complete(Period::Month, start, as_of);
        assert_eq!([end - 2, end - 1, end].map(is_complete), [false, true, true]);
        assert!(!shanghai.is_complete(Period::All, NO_DAY, Instant::MAX));
    }

    #[test]
    fn sums_of_months_are_no_sums_of_weeks() {
        let weeks = FiscalWeeks { months: [4, 5, 4], weekday: 5, month: 1, which: YearEnd::Last };
        let retail = Calendar { fiscal_weeks: Some(weeks), ..Calendar::UTC };
        assert!(Calendar::UTC.nests(Period::Month, Period::FiscalQuarter));
        assert!(!retail.nests(Period::Month, Period::FiscalQuarter));
        assert!(retail.nests(Period::FiscalMonth, Period::FiscalQuarter));
        let periods = [Period::Month, Period::FiscalQuarter];
        assert_eq!(Calendar::UTC.base(&periods), Period::Month);
        assert_eq!(retail.base(&periods), Period::Day);
        // The year before a week's fiscal month is that month, not 52 weeks before.
        let start = retail.start(Period::FiscalMonth, day("2024-02-04"));
        let before = retail.year_before(Period::FiscalMonth, start);
        assert_eq!(retail.distance(Period::FiscalMonth, before, start), 12);
        assert_eq!(retail.shift(Period::FiscalMonth, before, 12), start);
    }
}
