//! `bookings`: the ledger of won deals, one row per entry.
//!
//! A deal is booked when it is won and reversed when it no longer counts as won; a change of its
//! amount in between is an adjustment. Dimensions are those of the entry's own time, and a change of
//! one moves the deal from its old value to the new one. Deals that are left out of every other
//! relation, as deleted or merged, are here until then. Amounts given in other currencies are worth
//! what they are on the entry's own day where the policy would look ahead of it.
//!
//! Invariant: the rows of a deal add up to 1 and its held_amount if it is won at as_of, else to
//! nothing; no row depends on anything later than its own time.

use super::assemble::{Assembler, Column, shard};
use super::batch::{Batch, BatchBuilder};
use super::transfers::Entries;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::Chunk;

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
    /// The entries from the first place to before the second.
    pub(super) fn bookings(
        &self,
        chunk: &Chunk,
        entries: &Entries<'_>,
        (first, end): (usize, usize),
    ) -> Result<Batch, Error> {
        let rows = entries.rows.get(first..end).unwrap_or_default();
        let builder = BatchBuilder::new(Relation::Bookings, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(|row| shard(row.split)).collect())
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
        let own = |source: &Column, number: usize| -> Vec<u32> {
            match source {
                Column::Event(place, moved) => {
                    let given = chunk.booking_dimensions.get(*place).map_or(&[][..], |c| c);
                    let code = |at: usize| {
                        let code = given.get(at).copied().unwrap_or(NO_CODE);
                        moved.get(code as usize).copied().unwrap_or(NO_CODE)
                    };
                    (first..first + rows.len()).map(|at| code(entries.place(at))).collect()
                }
                Column::Lookup(..) => entries.codes(number, first..end),
            }
        };
        let dimensions = self.dimensions.iter().zip(&self.sources).enumerate();
        dimensions
            .fold(builder, |b, (number, (name, source))| b.dimension(name, || own(source, number)))
            .finish(&self.dictionaries)
    }
}
