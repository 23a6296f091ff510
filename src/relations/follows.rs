//! `follows`: one row per event of a deal that names a stage, and what follows it.
//!
//! Unlike `visits` it counts an event that names the stage the deal is already in: the table of what
//! follows what has it as a repeat. It knows nothing of amounts and owners.
//!
//! Invariant: the rows of a deal lead from START to STILL, each from where the one before led.

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::{Deals, of_deals};
use super::{Kind, Relation, RelationColumn, column};
use crate::error::Error;
use crate::fold::StepRow;
use crate::time::NO_INSTANT;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("stage", Kind::Stage, "the stage that the event names; START before the first event"),
    column("next_stage", Kind::Stage, "the stage that the next event names; STILL after the last"),
    column("told_on", Kind::Day, "civil day of the event; of START that of the next one"),
    column("told_period", Kind::Day, "first day of its base period"),
    column(
        "gap",
        Kind::Int,
        "time to the next event, in units of the resolution; 0 for START and STILL",
    ),
    column("is_last", Kind::Flag, "no event follows: next_stage is STILL"),
    column("is_first_pair", Kind::Flag, "the deal's first row of this stage and next_stage"),
];

impl Assembler<'_> {
    /// Some steps of a chunk.
    pub(super) fn follows(&self, deals: &Deals<'_>, rows: &[StepRow]) -> Result<Batch, Error> {
        fn each<T>(rows: &[StepRow], value: impl Fn(&StepRow) -> T) -> Vec<T> {
            rows.iter().map(value).collect()
        }
        let of = |row: &StepRow| deals.chunk.deals.get(row.deal as usize);
        let shards = || each(rows, |row| of(row).map_or(0, |d| shard(self.split_hash(d))));
        let gap = |row: &StepRow| match row.step.at {
            NO_INSTANT => 0,
            at => self.resolution.between(&self.calendar, row.step.since, at.max(row.step.since)),
        };
        let builder = BatchBuilder::new(Relation::Follows, rows.len(), self.wanted)
            .small("shard", shards)
            .name("stage", || each(rows, |row| self.stage(row.step.from)))
            .name("next_stage", || each(rows, |row| self.stage(row.step.to)))
            .day("told_on", || each(rows, |row| self.day(row.step.since)))
            .day("told_period", || each(rows, |row| self.period(row.step.since)))
            .int("gap", || each(rows, gap))
            .flag("is_last", || each(rows, |row| i8::from(row.step.at == NO_INSTANT)))
            .flag("is_first_pair", || each(rows, |row| i8::from(row.step.is_first)));
        let deal = |row: &StepRow| row.deal;
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || of_deals(codes, rows, deal)))
            .finish(&self.dictionaries)
    }
}
