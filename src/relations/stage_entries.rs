//! `stage_entries`: one row per visit to a stage that is neither won nor lost, followed until the
//! deal's next close; and one per deal that was won or lost at once.
//!
//! What a forecast asks is how deals end that entered a stage, and how soon: visits know how they end
//! themselves, deals only how they end as a whole.
//!
//! Invariant: of a deal's visits before its first close all have that close; exactly one row of a
//! deal with a visit is its entry. A deal of more visits than are kept at once is followed to its
//! first close, or the one that holds, where no close is among the visits at hand.

use super::assemble::Assembler;
use super::batch::{Batch, BatchBuilder};
use super::deals::CYCLE_STATUS;
use super::emit::Deals;
use super::visits::{CLASSES, MOVES};
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::{NO_CODE, StageClass};
use crate::error::Error;
use crate::fold::machine::Outcome;
use crate::fold::{DealRow, VisitRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::time::{Day, Instant, NO_DAY, NO_INSTANT, Period};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("stage", Kind::Stage, "the stage visited"),
    column(
        "stage_class",
        Kind::Name(CLASSES),
        "its class; won and lost only for a deal that began there",
    ),
    column("next_stage", Kind::Stage, "where the deal went, as in visits"),
    column("move", Kind::Name(MOVES), "kind of the move that ended the visit, as in visits"),
    column(
        "forecast_segment",
        Kind::Dictionary("forecast_segment"),
        "the deal's value of the dimension by which forecasts are refined; null without one",
    ),
    column("entered_on", Kind::Day, "civil day of entry"),
    column("entered_month", Kind::Day, "first day of its calendar month"),
    column("left_month", Kind::Day, "first day of the month of exit; null while still there"),
    column("stay_days", Kind::Int, "civil days from entry to exit, or to as_of"),
    column(
        "stay_band",
        Kind::Small,
        "how many of 1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 730 days that has reached",
    ),
    column(
        "ending",
        Kind::Name(CYCLE_STATUS),
        "how the deal's next close after the entry ended it; open if there is none yet",
    ),
    column("ended_month", Kind::Day, "first day of the month of that; null if open"),
    column("follow_days", Kind::Int, "civil days from entry to that, or to as_of"),
    column("is_entry", Kind::Flag, "the deal's first visit of all"),
    column("amount", Kind::Int, "amount at entry, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the amount at entry is known"),
    column("ended_amount", Kind::Int, "amount at that close, minor units; 0 if open or unknown"),
    column(
        "amount_class",
        Kind::Small,
        "size of the amount at that close: four classes for each doubling; -1 if it is not above 0",
    ),
];

/// Days by which stays are told apart: one who is still in a stage after so many is another case than
/// all who came.
const LANDMARKS: [i64; 14] = [1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 730];

/// How many bands there are.
pub const BANDS: usize = LANDMARKS.len() + 1;

/// How many of the landmarks so many days have reached.
#[must_use]
pub fn stay_band(days: i64) -> usize {
    LANDMARKS.partition_point(|landmark| *landmark <= days)
}

/// Rows that are handed over at a time.
const ENTRIES_A_BATCH: usize = 1 << 16;

/// A visit, and how the deal ended after it.
#[derive(Clone, Copy)]
struct Entry<'a> {
    row: &'a VisitRow,
    end: End,
}

/// A close, a deletion, or the run's instant.
#[derive(Clone, Copy)]
struct End {
    outcome: Outcome,
    at: Instant,
    amount: i64,
}

impl Assembler<'_> {
    /// The entries of a chunk.
    pub(super) fn stage_entries(
        &self,
        deals: &Deals<'_>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut entries = Vec::with_capacity(deals.chunk.visits.len());
        for visits in deals.chunk.visits.chunk_by(|a, b| a.deal == b.deal) {
            let deal = visits.first().and_then(|v| deals.chunk.deals.get(v.deal as usize));
            if let Some(deal) = deal {
                self.follow(visits, deal, &mut entries);
            }
        }
        entries
            .chunks(ENTRIES_A_BATCH)
            .try_for_each(|entries| take(&self.entry_rows(deals, entries)?))
    }

    /// Follows each of a deal's visits, from the last one back.
    fn follow<'a>(&self, visits: &'a [VisitRow], deal: &DealRow, entries: &mut Vec<Entry<'a>>) {
        let begin = entries.len();
        let mut end = self.end_after(visits, deal);
        for row in visits.iter().rev() {
            let visit = &row.visit;
            let outcome = match self.stages.stage_at(visit.stage, visit.entered).class {
                StageClass::Won => Outcome::Won,
                StageClass::Lost => Outcome::Lost,
                _ => Outcome::Open,
            };
            if outcome != Outcome::Open {
                end = End { outcome, at: visit.entered, amount: visit.amount };
            }
            if outcome == Outcome::Open || row.place == 0 {
                entries.push(Entry { row, end });
            }
        }
        if let Some(own) = entries.get_mut(begin..) {
            own.reverse();
        }
    }

    /// What became of a deal after the visits at hand.
    fn end_after(&self, visits: &[VisitRow], deal: &DealRow) -> End {
        let deal = &deal.deal;
        if deal.outcome == Outcome::Deleted {
            return End { outcome: Outcome::Deleted, at: deal.deleted, amount: NO_AMOUNT };
        }
        let left = visits.last().map_or(NO_INSTANT, |row| row.visit.left);
        let closes = [(deal.first_outcome, deal.first_closed), (deal.outcome, deal.closed)];
        let next = closes.into_iter().find(|(outcome, at)| {
            *outcome != Outcome::Open && left != NO_INSTANT && *at != NO_INSTANT && *at >= left
        });
        match next {
            Some((outcome, at)) => End { outcome, at, amount: deal.closed_amount },
            None => End { outcome: Outcome::Open, at: self.as_of, amount: NO_AMOUNT },
        }
    }

    fn month(&self, at: Instant) -> Day {
        match self.day(at) {
            NO_DAY => NO_DAY,
            day => match &self.months {
                Some(months) => months.start(day),
                None => self.calendar.start(Period::Month, day),
            },
        }
    }

    fn days_between(&self, from: Instant, to: Instant) -> i64 {
        i64::from(self.day(to)).saturating_sub(i64::from(self.day(from))).max(0)
    }

    /// The codes of the dimension by which forecasts are refined, a deal.
    pub(super) fn segments<'d>(&self, deals: &'d Deals<'_>) -> Option<&'d Vec<u32>> {
        self.forecast_segment.and_then(|place| deals.dimensions.get(place))
    }

    fn entry_rows(&self, deals: &Deals<'_>, rows: &[Entry<'_>]) -> Result<Batch, Error> {
        let info = |e: &Entry<'_>| self.stages.stage_at(e.row.visit.stage, e.row.visit.entered);
        let left = |e: &Entry<'_>| match e.row.visit.left {
            NO_INSTANT => self.as_of,
            at => at,
        };
        let ended = |e: &Entry<'_>| match e.end.outcome {
            Outcome::Open => NO_INSTANT,
            _ => e.end.at,
        };
        let segment = |e: &Entry<'_>| {
            let own = self.segments(deals).and_then(|codes| codes.get(e.row.deal as usize));
            own.copied().unwrap_or(NO_CODE)
        };
        let builder = BatchBuilder::new(Relation::StageEntries, rows.len(), self.wanted)
            .small("shard", || of_deals(&self.shards(deals), rows))
            .name("stage", || each(rows, |e| self.stage(e.row.visit.stage)))
            .name("stage_class", || each(rows, |e| info(e).class as u32))
            .name("next_stage", || each(rows, |e| self.stage(e.row.visit.next)))
            .name("move", || each(rows, |e| e.row.visit.ended as u32))
            .name("forecast_segment", || each(rows, segment))
            .day("entered_on", || each(rows, |e| self.day(e.row.visit.entered)))
            .day("entered_month", || each(rows, |e| self.month(e.row.visit.entered)))
            .day("left_month", || each(rows, |e| self.month(e.row.visit.left)))
            .int("stay_days", || each(rows, |e| self.days_between(e.row.visit.entered, left(e))))
            .small("stay_band", || {
                let days = |e: &Entry<'_>| self.days_between(e.row.visit.entered, left(e));
                each(rows, |e| stay_band(days(e)) as i16)
            })
            .name("ending", || each(rows, |e| e.end.outcome as u32))
            .day("ended_month", || each(rows, |e| self.month(ended(e))))
            .int("follow_days", || each(rows, |e| self.days_between(e.row.visit.entered, e.end.at)))
            .flag("is_entry", || each(rows, |e| i8::from(e.row.place == 0)))
            .int("amount", || each(rows, |e| amount_or_zero(e.row.visit.amount)))
            .flag("has_amount", || each(rows, |e| i8::from(e.row.visit.amount != NO_AMOUNT)))
            .int("ended_amount", || each(rows, |e| amount_or_zero(e.end.amount)))
            .small("amount_class", || each(rows, |e| amount_class(amount_or_zero(e.end.amount))));
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || of_deals(codes, rows)))
            .finish(&self.dictionaries)
    }
}

/// The size of an amount: its highest bit and the two behind it.
fn amount_class(amount: i64) -> i16 {
    let Some(highest) = u64::try_from(amount).ok().and_then(u64::checked_ilog2) else { return -1 };
    let behind = (amount.cast_unsigned() << (u64::BITS - 1 - highest)) >> (u64::BITS - 3) & 3;
    (highest * 4) as i16 + behind as i16
}

fn each<T>(rows: &[Entry<'_>], value: impl Fn(&Entry<'_>) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// A deal's value for each of its entries.
fn of_deals<T: Copy + Default>(column: &[T], rows: &[Entry<'_>]) -> Vec<T> {
    each(rows, |e| column.get(e.row.deal as usize).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{BANDS, amount_class, stay_band};

    #[test]
    fn a_landmark_begins_a_band() {
        assert_eq!([0, 1, 2, 3, 6, 7, 729, 730].map(stay_band), [0, 1, 1, 2, 2, 3, 13, 14]);
        assert_eq!(stay_band(i64::MAX) + 1, BANDS);
    }

    #[test]
    fn a_doubling_has_four_classes() {
        let classes = [8, 9, 10, 11, 12, 13, 14, 15, 16].map(amount_class);
        assert_eq!(classes, [12, 12, 13, 13, 14, 14, 15, 15, 16]);
        assert_eq!([-5, 0, 1, 2, 3].map(amount_class), [-1, -1, 0, 4, 6]);
        assert_eq!(amount_class(i64::MAX), 62 * 4 + 3);
    }
}
