//! `late_entries`: one row per deal whose cycle began before the history does, where `[run]
//! history_from` says when that is.
//!
//! Such a deal is only there because it was still open then: deals that began with it and closed
//! sooner were never seen. Counted from its start it would make cycles look longer than they are, so
//! it is at risk only from the age at which it was first seen.
//!
//! Invariant: each row is of a deal that `deals` has, too, with the same cycle.

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::Deals;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::DealRow;
use crate::time::{Instant, NO_INSTANT};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("created_period", Kind::Day, "first day of the base period of creation"),
    column(
        "entry_age",
        Kind::Int,
        "duration from the start of the cycle to the begin of the history, in units of the resolution",
    ),
    column("cycle", Kind::Int, "as in deals"),
    column("cycle_status", Kind::Name(super::deals::CYCLE_STATUS), "as in deals"),
];

impl Assembler<'_> {
    /// The late entries of a chunk.
    pub(super) fn late_entries(
        &self,
        deals: &Deals<'_>,
        from: Instant,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_late =
            |row: &DealRow| row.has_cycle && row.cycle_from != NO_INSTANT && row.cycle_from < from;
        let places = (0_u32..).zip(&deals.chunk.deals).filter(|(_, row)| is_late(row));
        let rows: Vec<(u32, &DealRow)> = places.collect();
        if rows.is_empty() {
            return Ok(());
        }
        let entry = |row: &DealRow| self.resolution.between(&self.calendar, row.cycle_from, from);
        let builder = BatchBuilder::new(Relation::LateEntries, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(|(_, r)| shard(self.split_hash(r))).collect())
            .day("created_period", || rows.iter().map(|(_, r)| self.period(r.created)).collect())
            .int("entry_age", || rows.iter().map(|(_, r)| entry(r)).collect())
            .int("cycle", || rows.iter().map(|(_, r)| self.cycle(r)).collect())
            .name("cycle_status", || -> Vec<u32> {
                rows.iter().map(|(_, r)| r.cycle_status as u32).collect()
            });
        let own = |codes: &[u32]| -> Vec<u32> {
            let code = |place: u32| codes.get(place as usize).copied().unwrap_or(NO_CODE);
            rows.iter().map(|(place, _)| code(*place)).collect()
        };
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        let batch = dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || own(codes)))
            .finish(&self.dictionaries)?;
        take(&batch)
    }
}
