//! `funnel_steps`: one row per step that a deal took in a funnel of the user's own, and attempt.
//!
//! Dimensions that come with the events are those of the time that the funnel is broken down by;
//! those from look-ups are the deal's. It knows nothing of deals that never enter a funnel.
//!
//! Invariant: an attempt has a row of step 1, and one row of each further step that it took.

use super::assemble::{Assembler, Column, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::Deals;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::{TakenRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::time::Instant;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("funnel", Kind::Dictionary("funnel"), "the funnel; never null"),
    column("step", Kind::Small, "number of the step, from 1"),
    column(
        "attempt_no",
        Kind::Int,
        "1 for the deal's first attempt at the funnel, 2 for the second, …",
    ),
    column("attempt_on", Kind::Day, "civil day on which the attempt was entered"),
    column("attempt_period", Kind::Day, "first day of its base period"),
    column("elapsed", Kind::Int, "time from the entry to the step, in units of the resolution"),
    column(
        "step_elapsed",
        Kind::Int,
        "time from the step taken before to this one, in units of the resolution",
    ),
    column("is_furthest", Kind::Flag, "the attempt came no further"),
    column("is_excluded", Kind::Flag, "is_furthest, and an excluded stage ended the attempt"),
    column(
        "is_mature",
        Kind::Flag,
        "the whole window has passed by as_of; without a window: the deal is closed or converted",
    ),
    column("amount", Kind::Int, "amount at the entry, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the amount at the entry is known"),
    column("owner", Kind::Dictionary("owner"), "owner at the entry"),
];

/// One value a row.
fn each<T>(rows: &[TakenRow], value: impl Fn(&TakenRow) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

impl Assembler<'_> {
    /// Some steps of a chunk; `first` is the place of the first one among all of the chunk.
    pub(super) fn funnel_steps(
        &self,
        deals: &Deals<'_>,
        first: usize,
        rows: &[TakenRow],
    ) -> Result<Batch, Error> {
        let of = |row: &TakenRow| deals.chunk.deals.get(row.deal as usize);
        let shards = || each(rows, |row| of(row).map_or(0, |d| shard(self.split_hash(d))));
        let between = |from: Instant, to: Instant| {
            self.resolution.between(&self.calendar, from, to.max(from))
        };
        let flag = |test: fn(&TakenRow) -> bool| move || each(rows, |row| i8::from(test(row)));
        let builder = BatchBuilder::new(Relation::FunnelSteps, rows.len(), self.wanted)
            .small("shard", shards)
            .name("funnel", || each(rows, |row| u32::from(row.funnel)))
            .small("step", || each(rows, |row| row.step.cast_signed()))
            .int("attempt_no", || each(rows, |row| i64::from(row.attempt)))
            .day("attempt_on", || each(rows, |row| self.day(row.entered)))
            .day("attempt_period", || each(rows, |row| self.period(row.entered)))
            .int("elapsed", || each(rows, |row| between(row.entered, row.at)))
            .int("step_elapsed", || each(rows, |row| between(row.before, row.at)))
            .flag("is_furthest", flag(|row| row.is_last))
            .flag("is_excluded", flag(|row| row.is_last && row.is_excluded))
            .flag("is_mature", flag(|row| row.is_mature))
            .int("amount", || each(rows, |row| amount_or_zero(row.amount)))
            .flag("has_amount", flag(|row| row.amount != NO_AMOUNT))
            .name("owner", || each(rows, |row| self.owner(row.owner)));
        let dimensions = self.dimensions.iter().zip(&self.sources).zip(&deals.dimensions);
        let own = |source: &Column, of_deals: &[u32]| -> Vec<u32> {
            let code = |codes: &[u32], at: u32| codes.get(at as usize).copied().unwrap_or(NO_CODE);
            match source {
                Column::Event(place, moved) => {
                    let given = deals.chunk.taken_dimensions.get(*place).map_or(&[][..], |c| c);
                    let given = given.get(first..).unwrap_or_default();
                    rows.iter().zip(given).map(|(_, given)| code(moved, *given)).collect()
                }
                Column::Lookup(..) => each(rows, |row| code(of_deals, row.deal)),
            }
        };
        dimensions
            .fold(builder, |b, ((name, source), codes)| b.dimension(name, || own(source, codes)))
            .finish(&self.dictionaries)
    }
}
