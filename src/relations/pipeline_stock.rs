//! `pipeline_stock`: the pipeline at the end of every period, told by its changes.
//!
//! A deal has rows for each period length: in every period at whose end it is something else than at
//! the end of the period before, one row takes out what it was, and one puts in what it is. So the
//! rows up to a period add up to what was open at its end, and a deal that stays as it is for years
//! costs nothing. What a deal was between the ends of two periods is not here; see
//! [`super::pipeline_flows`]. It knows nothing of deals that are left out as deleted or merged.
//!
//! Dimensions that come with the events, the owner and the amount are those of the time; dimensions
//! from look-ups are those of the deal.
//!
//! Invariant: the rows of a deal and period length up to a period add up to the deal as it is at that
//! period's end (its last day, or that of as_of), or to nothing where it is not open then.

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::customer_periods::GRAINS;
use super::emit::Deals;
use super::replayed::{ROWS_AT_ONCE, Step, by_period, grain, is_same_place};
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::{NO_STAGE, STAGE_START};
use crate::error::Error;
use crate::fold::{Chunk, Moment};
use crate::money::NO_AMOUNT;
use crate::time::{Day, NO_DAY, Starts};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("grain", Kind::Name(GRAINS), "length of the period"),
    column("period_start", Kind::Day, "first day of the period at whose end it has changed"),
    column("pipeline", Kind::Dictionary("pipeline"), "the pipeline that it is in; never null"),
    column("stage", Kind::Stage, "the stage that it is in; START where it is in none"),
    column("stage_entered_on", Kind::Day, "civil day since when it is in the stage; null in none"),
    column("created_on", Kind::Day, "civil day of its creation"),
    column("open_n", Kind::Int, "open deals more: 1 for what it is, -1 for what it was"),
    column("amount", Kind::Int, "minor units more; an unknown amount adds nothing"),
    column("amounts_n", Kind::Int, "open deals of a known amount more"),
    column("weighted_n", Kind::Int, "open deals more whose own or stage's chance is given"),
    column("weighted_amount", Kind::Int, "of these, amount times that chance more, minor units"),
    column("unweighted_amount", Kind::Int, "amount more of deals without a given chance"),
    column("entered_day_n", Kind::Int, "number of stage_entered_on more, days since 1970-01-01"),
    column("created_day_n", Kind::Int, "number of created_on more"),
    column("overdue_n", Kind::Int, "open deals past their expected close more"),
    column("overdue_amount", Kind::Int, "their amount more, minor units"),
    column("owner", Kind::Dictionary("owner"), "the owner at the time"),
];

/// What one deal is at the end of a period, put in or taken out.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// Place of what it is among the chunk's moments.
    moment: u32,
    grain: u8,
    start: Day,
    sign: i64,
    is_overdue: bool,
}

/// An open deal at the end of a period.
#[derive(Debug, Clone, Copy)]
struct Held<'c> {
    step: Step<'c>,
    is_overdue: bool,
}

impl Assembler<'_> {
    /// Makes the rows of a chunk, some at a time.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub(super) fn pipeline_stock(
        &self,
        deals: &Deals<'_>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut changes: Vec<Change> = Vec::new();
        self.each_replayed(deals.chunk, |steps| {
            for starts in &self.period_starts {
                self.changes(deals.chunk, steps, starts, &mut changes);
            }
            if changes.len() >= ROWS_AT_ONCE {
                take(&self.open_batch(deals, &changes)?)?;
                changes.clear();
            }
            Ok(())
        })?;
        take(&self.open_batch(deals, &changes)?)
    }

    /// The changes of one deal by one period length.
    fn changes(
        &self,
        chunk: &Chunk,
        steps: &[Step<'_>],
        starts: &Starts,
        changes: &mut Vec<Change>,
    ) {
        let grain = grain(starts.period());
        let mut put = |start: Day, sign: i64, held: &Held<'_>| {
            let (moment, is_overdue) = (held.step.row, held.is_overdue);
            changes.push(Change { moment, grain, start, sign, is_overdue });
        };
        let mut held: Option<Held<'_>> = None;
        for (start, group) in by_period(steps, starts) {
            let Some(last) = group.last() else { continue };
            if let Some((own, due)) = self.falls_due(held, starts).filter(|(_, due)| *due < start) {
                let overdue = Held { is_overdue: true, ..own };
                put(due, -1, &own);
                put(due, 1, &overdue);
                held = Some(overdue);
            }
            let due = self.overdue_from(last.moment, starts);
            let is_overdue = due.is_some_and(|due| due <= start);
            let now = last.moment.is_open().then_some(Held { step: *last, is_overdue });
            let is_same = match (&held, &now) {
                (Some(before), Some(now)) => is_same(chunk, before, now),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                held.iter().for_each(|held| put(start, -1, held));
                now.iter().for_each(|now| put(start, 1, now));
            }
            held = now;
        }
        if let Some((own, due)) = self.falls_due(held, starts) {
            put(due, -1, &own);
            put(due, 1, &Held { is_overdue: true, ..own });
        }
    }

    /// What is open and not overdue yet, and the first period at whose end it would be.
    fn falls_due<'c>(&self, held: Option<Held<'c>>, starts: &Starts) -> Option<(Held<'c>, Day)> {
        let own = held.filter(|held| !held.is_overdue)?;
        Some((own, self.overdue_from(own.step.moment, starts)?))
    }

    fn open_batch(&self, deals: &Deals<'_>, rows: &[Change]) -> Result<Batch, Error> {
        let chunk = deals.chunk;
        let none = Moment::default();
        let row_of = |row: &Change| chunk.moments.get(row.moment as usize);
        let of = |row: &Change| row_of(row).map_or(&none, |found| &found.moment);
        let deal = |row: &Change| chunk.deals.get(row_of(row)?.deal as usize);
        let amount = |row: &Change| of(row).value();
        let chance = |row: &Change| self.given_chance(of(row));
        let stage = |row: &Change| match of(row).stage {
            NO_STAGE => self.stage(STAGE_START),
            stage => self.stage(stage),
        };
        let builder = BatchBuilder::new(Relation::PipelineStock, rows.len(), self.wanted)
            .small("shard", || {
                rows.iter().map(|r| deal(r).map_or(0, |d| shard(self.split_hash(d)))).collect()
            })
            .name("grain", || rows.iter().map(|row| row.grain).collect::<Vec<u8>>())
            .day("period_start", || rows.iter().map(|row| row.start).collect())
            .name("pipeline", || -> Vec<u32> {
                rows.iter().map(|row| self.pipelines.place(of(row).pipeline)).collect()
            })
            .name("stage", || rows.iter().map(stage).collect::<Vec<u32>>())
            .day("stage_entered_on", || rows.iter().map(|r| self.day(of(r).entered)).collect())
            .day("created_on", || {
                rows.iter().map(|r| deal(r).map_or(NO_DAY, |d| self.day(d.created))).collect()
            })
            .int("open_n", || ints(rows, |_| 1))
            .int("amount", || ints(rows, amount))
            .int("amounts_n", || ints(rows, |row| i64::from(of(row).amount != NO_AMOUNT)))
            .int("weighted_n", || ints(rows, |row| i64::from(chance(row).is_some())))
            .int("weighted_amount", || {
                ints(rows, |row| chance(row).map_or(0, |ppm| weighted(amount(row), ppm)))
            })
            .int("unweighted_amount", || {
                ints(rows, |row| if chance(row).is_some() { 0 } else { amount(row) })
            })
            .int("entered_day_n", || ints(rows, |row| number(self.day(of(row).entered))))
            .int("created_day_n", || {
                ints(rows, |r| number(deal(r).map_or(NO_DAY, |d| self.day(d.created))))
            })
            .int("overdue_n", || ints(rows, |row| i64::from(row.is_overdue)))
            .int("overdue_amount", || ints(rows, |r| if r.is_overdue { amount(r) } else { 0 }))
            .name("owner", || -> Vec<u32> {
                rows.iter().map(|row| self.owner(of(row).owner)).collect()
            });
        let places = || rows.iter().map(|row| row.moment);
        let dimensions = self.dimensions.iter().enumerate();
        dimensions
            .fold(builder, |b, (at, name)| {
                b.dimension(name, || self.replayed_codes(deals, at, places()))
            })
            .finish(&self.dictionaries)
    }
}

/// The number of a day; nothing where there is none.
fn number(day: Day) -> i64 {
    if day == NO_DAY { 0 } else { day.into() }
}

/// A number of each row, put in or taken out.
fn ints(rows: &[Change], value: impl Fn(&Change) -> i64) -> Vec<i64> {
    rows.iter().map(|row| row.sign * value(row)).collect()
}

/// Whether a deal is the same at the ends of two periods.
fn is_same(chunk: &Chunk, one: &Held<'_>, other: &Held<'_>) -> bool {
    let told = |held: &Held<'_>| {
        let Moment { stage, pipeline, entered, amount, probability, owner, .. } = *held.step.moment;
        (stage, pipeline, entered, amount, probability, owner, held.is_overdue)
    };
    told(one) == told(other) && is_same_place(chunk, one.step.row, other.step.row)
}

/// An amount times a chance in millionths, rounded half away from zero.
fn weighted(amount: i64, ppm: i64) -> i64 {
    const MILLION: i128 = 1_000_000;
    let exact = i128::from(amount) * i128::from(ppm);
    let rounded = (exact.abs() + MILLION / 2) / MILLION * exact.signum();
    i64::try_from(rounded).unwrap_or(if exact < 0 { i64::MIN + 1 } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_weigh_to_the_nearest_minor_unit() {
        assert_eq!(weighted(12_345, 500_000), 6_173);
        assert_eq!(weighted(-12_345, 500_000), -6_173);
        assert_eq!(weighted(100, 0), 0);
        assert_eq!(weighted(i64::MAX, 1_000_000), i64::MAX);
        assert_eq!(weighted(99, 333_333), 33);
    }
}
