//! What the past says of all deals: how many come, how they end, how much is kept of what is booked.

use crate::error::Error;
use crate::metrics::{Absent, NO_KEY, State, StateView};
use crate::relations::Relation;
use crate::stats::competing::Incidence;
use crate::stats::{float, ratio};
use crate::time::{Calendar, Day, Period};

use super::curves::Tallies;

/// How deals ended after they were created, by the month of that.
pub(super) const CREATED: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT entered_month, follow_days, ending, COUNT(*) AS created_n \
          FROM stage_entries WHERE is_entry = 1 GROUP BY entered_month, follow_days, ending",
    absent: Absent::SkipTable,
};

/// How large deals are when they are won.
pub(super) const SIZES: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT amount_class, COUNT(*) AS won_n, SUM(ended_amount) AS won_amount \
          FROM stage_entries WHERE is_entry = 1 AND ending = 'won' GROUP BY amount_class",
    absent: Absent::SkipTable,
};

/// What was booked each day, and taken back.
pub(super) const BOOKED: State = State {
    relation: Relation::Bookings,
    sql: "SELECT booked_on, SUM(amount) AS net_amount, \
          SUM(CASE WHEN booking_kind = 'booking' THEN 1 ELSE 0 END) AS booked_n, \
          SUM(CASE WHEN booking_kind = 'reversal' THEN 1 ELSE 0 END) AS reversed_n, \
          SUM(CASE WHEN amount > 0 AND (booking_kind = 'booking' OR booking_kind = 'adjustment') \
          THEN amount ELSE 0 END) AS more_amount, \
          SUM(CASE WHEN amount < 0 AND (booking_kind = 'booking' OR booking_kind = 'adjustment') \
          THEN amount ELSE 0 END) AS less_amount FROM bookings GROUP BY booked_on",
    absent: Absent::SkipTable,
};

/// How many deals come a day, and how soon they are won.
#[derive(Debug)]
pub(super) struct Created {
    /// Deals a day over the last twelve complete months, or as many as there are.
    pub(super) per_day: Option<f64>,
    curve: Incidence,
}

impl Created {
    /// So many a day, ending as these did.
    pub(super) fn new(per_day: Option<f64>, tallies: &Tallies) -> Self {
        Self { per_day, curve: tallies.fit() }
    }

    /// From the state of [`CREATED`]; complete months end before `end`, the first day of one.
    pub(super) fn read(
        state: &StateView<'_>,
        calendar: &Calendar,
        end: Day,
    ) -> Result<Self, Error> {
        let keys = state.key("entered_month")?.iter().zip(state.key("follow_days")?);
        let rows = keys.zip(state.key("ending")?).zip(state.value("created_n")?);
        let mut tallies = Tallies::default();
        let (mut first, mut recent_n) = (i64::MAX, 0);
        let year_before = i64::from(calendar.shift(Period::Month, end, -12));
        for (((month, days), ending), n) in rows.filter(|(((month, _), _), _)| **month != NO_KEY) {
            tallies.add(*days, *ending, *n);
            first = first.min(*month);
            if (year_before..i64::from(end)).contains(month) {
                recent_n += n;
            }
        }
        let days = i64::from(end) - first.max(year_before);
        let per_day = (first < i64::from(end) && days > 0).then(|| float(recent_n) / float(days));
        Ok(Self::new(per_day, &tallies))
    }

    /// Wins expected by the end of each day ahead of deals that come from now on: a deal that comes on
    /// day c is won by day d with the probability of being won within d − c days.
    pub(super) fn wins_by_day(&self, days: i64) -> Option<Vec<f64>> {
        let per_day = self.per_day?;
        let (mut place, mut won, mut so_far) = (0, 0.0, 0.0);
        let mut by_day = vec![0.0];
        for age in 0..days.max(0) {
            while let Some(step) = self.curve.steps.get(place).filter(|s| s.duration <= age) {
                let [first, _] = step.incidence;
                (won, place) = (first, place + 1);
            }
            so_far += per_day * won;
            by_day.push(so_far);
        }
        Some(by_day)
    }
}

/// What is kept of what is won.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kept {
    /// Share of bookings that were reversed.
    pub(super) reopen_rate: Option<f64>,
    /// Share of the booked amounts that was taken back.
    pub(super) refund_rate: Option<f64>,
}

impl Kept {
    /// From the state of [`BOOKED`].
    pub(super) fn read(state: &StateView<'_>) -> Result<Self, Error> {
        let sum = |name: &str| state.value(name).map(|column| column.iter().sum::<i64>());
        let share = |part: i64, of: i64| ratio(part, of).map(|share| share.clamp(0.0, 1.0));
        Ok(Self {
            reopen_rate: share(sum("reversed_n")?, sum("booked_n")?),
            refund_rate: share(-sum("less_amount")?, sum("more_amount")?),
        })
    }

    /// Of a won deal that it stays won.
    pub(super) fn deals(&self) -> f64 {
        1.0 - self.reopen_rate.unwrap_or(0.0)
    }

    /// What is left of a won amount.
    pub(super) fn amounts(&self) -> f64 {
        1.0 - self.refund_rate.unwrap_or(0.0)
    }
}

/// How many were won of each size, and their amount, from the state of [`SIZES`].
pub(super) fn sizes(state: &StateView<'_>) -> Result<Vec<(i64, i64)>, Error> {
    Ok(state
        .value("won_n")?
        .iter()
        .copied()
        .zip(state.value("won_amount")?.iter().copied())
        .collect())
}

/// Day and net amount of the state of [`BOOKED`].
pub(super) fn booked<'a>(
    state: &StateView<'a>,
) -> Result<impl Iterator<Item = (i64, i64)> + use<'a>, Error> {
    let (days, amounts) = (state.key("booked_on")?, state.value("net_amount")?);
    Ok(days.iter().copied().zip(amounts.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::super::curves::WON;
    use super::*;
    use crate::metrics::testing::state;
    use crate::stats::testdata::close;

    #[test]
    fn deals_to_come_are_won_as_often_and_as_soon() {
        // Twenty deals of January 1970, ten won after 1 day and ten lost after 3; seven of March, which
        // begins on day 59 and is not over.
        let rows: [&[i64]; 3] = [&[0, 1, WON, 10], &[0, 3, 2, 10], &[59, 0, 0, 7]];
        let keys = ["entered_month", "follow_days", "ending"];
        let state = state(&keys, &["created_n"], &rows);
        let created = Created::read(&state.view(), &Calendar::UTC, 59).unwrap();
        // 20 in 59 days; those of March do not count, for March is not over.
        close(created.per_day.unwrap(), 20.0 / 59.0, 1e-12);
        // Of 27 seven were only just seen: F = 10/20 from day 1 on. Wins by day 1: none; by day 2 those
        // that came on day 1; by day 4 those of three days.
        let wins = created.wins_by_day(4).unwrap();
        let expected = [0.0, 0.0, 0.5, 1.0, 1.5].map(|n| n * 20.0 / 59.0);
        for (found, expected) in wins.iter().zip(expected) {
            close(*found, expected, 1e-12);
        }
    }

    #[test]
    fn nothing_is_expected_without_a_complete_month() {
        let state =
            state(&["entered_month", "follow_days", "ending"], &["created_n"], &[&[59, 0, 0, 7]]);
        let created = Created::read(&state.view(), &Calendar::UTC, 59).unwrap();
        assert_eq!(created.per_day, None);
        assert!(created.wins_by_day(30).is_none());
    }

    #[test]
    fn what_was_taken_back_is_not_kept() {
        // Four booked, one of them reversed; 1,000 won, 50 of it refunded.
        let values = ["net_amount", "booked_n", "reversed_n", "more_amount", "less_amount"];
        let rows: [&[i64]; 2] = [&[1, 1_000, 4, 0, 1_000, 0], &[2, -300, 0, 1, 0, -50]];
        let booked_of = state(&["booked_on"], &values, &rows);
        let kept = Kept::read(&booked_of.view()).unwrap();
        assert_eq!((kept.reopen_rate, kept.refund_rate), (Some(0.25), Some(0.05)));
        close(kept.deals() * kept.amounts(), 0.75 * 0.95, 1e-12);
        let none = Kept::read(&state(&["booked_on"], &values, &[]).view()).unwrap();
        assert_eq!((none.reopen_rate, none.deals()), (None, 1.0));
    }
}
