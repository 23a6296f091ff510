//! `bookings`: the ledger of won deals, one row per entry.
//!
//! A deal is booked when it is won and reversed when it no longer counts as won; a change of its
//! amount in between is an adjustment. Dimensions that come with the events are those of the entry's
//! own time, and a change of one moves the deal from its old value to the new one; dimensions from
//! look-ups are those of the deal. It knows nothing of deals that are left out as deleted or merged.
//!
//! Invariant: the rows of a deal add up to 1 and its amount if it is won at as_of, else to nothing.

use super::assemble::{Assembler, Column, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::Deals;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::BookingRow;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("booked_on", Kind::Day, "civil day of the entry"),
    column("booked_period", Kind::Day, "first day of its base period"),
    column(
        "booking_kind",
        Kind::Name(BOOKING_KINDS),
        "won (booking), no longer won (reversal), another amount while won (adjustment), another value of a dimension while won (transfer: one row out, one in)",
    ),
    column("won_deals_n", Kind::Int, "won deals more: 1, -1, or 0 for an adjustment"),
    column("amount", Kind::Int, "minor units more; an unknown amount adds nothing"),
    column("owner", Kind::Dictionary("owner"), "owner when the deal was booked"),
];

/// Why an entry was made.
pub const BOOKING_KINDS: &[&str] = &["booking", "reversal", "adjustment", "transfer"];

impl Assembler<'_> {
    /// Some entries of a chunk; `first` is the place of the first one among all of the chunk.
    pub(super) fn bookings(
        &self,
        deals: &Deals<'_>,
        first: usize,
        rows: &[BookingRow],
    ) -> Result<Batch, Error> {
        let shards = || {
            let of = |row: &BookingRow| deals.chunk.deals.get(row.deal as usize);
            rows.iter().map(|row| of(row).map_or(0, |d| shard(self.split_hash(d)))).collect()
        };
        let builder = BatchBuilder::new(Relation::Bookings, rows.len(), self.wanted)
            .small("shard", shards)
            .day("booked_on", || rows.iter().map(|row| self.day(row.entry.time)).collect())
            .day("booked_period", || rows.iter().map(|row| self.period(row.entry.time)).collect())
            .name("booking_kind", || -> Vec<u32> {
                rows.iter().map(|row| row.entry.kind as u32).collect()
            })
            .int("won_deals_n", || rows.iter().map(|row| row.entry.deals).collect())
            .int("amount", || rows.iter().map(|row| row.entry.amount).collect())
            .name("owner", || -> Vec<u32> {
                rows.iter().map(|row| self.owner(row.entry.owner)).collect()
            });
        let dimensions = self.dimensions.iter().zip(&self.sources).zip(&deals.dimensions);
        let own = |source: &Column, of_deals: &[u32]| -> Vec<u32> {
            let code = |codes: &[u32], at: u32| codes.get(at as usize).copied().unwrap_or(NO_CODE);
            match source {
                Column::Event(place, moved) => {
                    let given = deals.chunk.booking_dimensions.get(*place).map_or(&[][..], |c| c);
                    let given = given.get(first..).unwrap_or_default();
                    rows.iter().zip(given).map(|(_, given)| code(moved, *given)).collect()
                }
                Column::Lookup(..) => rows.iter().map(|row| code(of_deals, row.deal)).collect(),
            }
        };
        dimensions
            .fold(builder, |b, ((name, source), codes)| b.dimension(name, || own(source, codes)))
            .finish(&self.dictionaries)
    }
}
