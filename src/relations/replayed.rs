//! What deals were at some time, from the moments that the fold notes: what the relations that replay
//! history share.
//!
//! A period is replayed by days: an event belongs to the period of its civil day, and a period ends
//! with its last day, or that of `as_of`, as a run as of then would see it.

use super::assemble::{Assembler, Column};
use super::customer_periods::GRAINS;
use super::emit::Deals;
use crate::contract::{NO_CODE, NO_PROBABILITY};
use crate::error::Error;
use crate::fold::{Chunk, Moment};
use crate::time::{Day, NO_DAY, Period, Starts};

/// Rows that become a batch: few enough that they stay near the processor.
pub(super) const ROWS_AT_ONCE: usize = 1 << 12;

/// A moment of a deal in the chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'c> {
    /// Its place among the chunk's moments.
    pub(super) row: u32,
    /// Its civil day.
    pub(super) day: Day,
    /// What the deal is from then on.
    pub(super) moment: &'c Moment,
}

/// The place of a period length in [`GRAINS`].
pub(super) fn grain(period: Period) -> u8 {
    GRAINS.iter().position(|name| *name == period.name()).unwrap_or_default() as u8
}

/// Whether two moments of a chunk have the same value of every dimension of the events.
pub(super) fn is_same_place(chunk: &Chunk, one: u32, other: u32) -> bool {
    let at = |column: &Vec<u32>, row: u32| column.get(row as usize).copied();
    chunk.moment_dimensions.iter().all(|column| at(column, one) == at(column, other))
}

/// Neighbouring steps of one period, in order.
pub(super) fn by_period<'s, 'c>(
    steps: &'s [Step<'c>],
    starts: &Starts,
) -> impl Iterator<Item = (Day, &'s [Step<'c>])> {
    let groups = steps.chunk_by(|a, b| starts.start(a.day) == starts.start(b.day));
    groups.filter_map(|group| Some((starts.start(group.first()?.day), group)))
}

impl Assembler<'_> {
    /// Gives the steps of each deal of a chunk.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub(super) fn each_replayed<'c>(
        &self,
        chunk: &'c Chunk,
        mut take: impl FnMut(&[Step<'c>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut steps: Vec<Step<'c>> = Vec::new();
        let mut row = 0;
        for own in chunk.moments.chunk_by(|a, b| a.deal == b.deal) {
            steps.clear();
            for found in own {
                let moment = &found.moment;
                steps.push(Step { row, day: self.calendar.day(moment.time), moment });
                row += 1;
            }
            take(&steps)?;
        }
        Ok(())
    }

    /// A dimension of the moments at these places of a chunk.
    pub(super) fn replayed_codes(
        &self,
        deals: &Deals<'_>,
        dimension: usize,
        rows: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        let code = |codes: &[u32], at: u32| codes.get(at as usize).copied().unwrap_or(NO_CODE);
        let chunk = deals.chunk;
        match self.sources.get(dimension) {
            Some(Column::Event(place, moved)) => {
                let given = chunk.moment_dimensions.get(*place).map_or(&[][..], Vec::as_slice);
                rows.map(|row| code(moved, code(given, row))).collect()
            }
            Some(Column::Lookup(..)) | None => {
                let codes = deals.dimensions.get(dimension).map_or(&[][..], Vec::as_slice);
                let deal = |row: u32| chunk.moments.get(row as usize).map_or(0, |m| m.deal);
                rows.map(|row| code(codes, deal(row))).collect()
            }
        }
    }

    /// The given chance of winning in millionths: the deal's own, or else that of its stage.
    pub(super) fn given_chance(&self, moment: &Moment) -> Option<i64> {
        let own = match moment.probability {
            NO_PROBABILITY => self.stages.probability(moment.stage),
            own => own,
        };
        (own != NO_PROBABILITY).then(|| i64::from(own))
    }

    /// The first period at whose end an open deal is past its expected close; `None` if it is not by
    /// `as_of`.
    pub(super) fn overdue_from(&self, moment: &Moment, starts: &Starts) -> Option<Day> {
        let expected = moment.expected_close;
        let is_past = expected != NO_DAY && expected < self.calendar.day(self.as_of);
        is_past.then(|| starts.start(expected + 1))
    }
}
