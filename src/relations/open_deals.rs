//! `open_deals`: one row per deal that is open at as_of, under the identifier that the inputs have.
//!
//! It says where the deal is and since when; what becomes of it is asked of `stage_entries`.

use super::assemble::Assembler;
use super::batch::{Batch, BatchBuilder};
use super::customer_ids::words;
use super::emit::Deals;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::{NO_CODE, STAGE_START};
use crate::error::Error;
use crate::fold::machine::{Move, Outcome};
use crate::fold::{DealRow, VisitRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::time::NO_DAY;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("id_high", Kind::Int, "first word of the identifier, which tables show as text"),
    column("id_low", Kind::Int, "second word of the identifier"),
    column("stage", Kind::Stage, "the stage it is in; START if it is in none"),
    column(
        "forecast_segment",
        Kind::Dictionary("forecast_segment"),
        "its value of the dimension by which forecasts are refined; null without one",
    ),
    column("deal_owner", Kind::Dictionary("owner"), "latest owner"),
    column("created_on", Kind::Day, "civil day of creation"),
    column("entered_on", Kind::Day, "civil day of entry to the stage; null if it is in none"),
    column("expected_close_on", Kind::Day, "the close date field; null if unknown"),
    column("amount", Kind::Int, "latest amount, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the latest amount is known"),
];

/// An open deal and the visit it is in.
struct Open<'a> {
    /// Row of the deal in the chunk.
    place: usize,
    row: &'a DealRow,
    visit: Option<&'a VisitRow>,
}

impl Assembler<'_> {
    /// The open deals of a chunk.
    pub(super) fn open_deals(&self, deals: &Deals<'_>) -> Result<Batch, Error> {
        let chunk = deals.chunk;
        let mut current: Vec<Option<&VisitRow>> = vec![None; chunk.deals.len()];
        for row in chunk.visits.iter().filter(|row| row.visit.ended == Move::Still) {
            if let Some(place) = current.get_mut(row.deal as usize) {
                *place = Some(row);
            }
        }
        let all = chunk.deals.iter().zip(current).enumerate();
        let open = all.filter(|(_, (row, _))| row.deal.outcome == Outcome::Open);
        let rows: Vec<Open<'_>> =
            open.map(|(place, (row, visit))| Open { place, row, visit }).collect();
        let of = |codes: &[u32]| -> Vec<u32> {
            each(&rows, |o| codes.get(o.place).copied().unwrap_or(NO_CODE))
        };
        let shards = || {
            let all = self.shards(deals);
            each(&rows, |o| all.get(o.place).copied().unwrap_or_default())
        };
        let builder = BatchBuilder::new(Relation::OpenDeals, rows.len(), self.wanted)
            .small("shard", shards)
            .int("id_high", || each(&rows, |o| words(o.row.id).0))
            .int("id_low", || each(&rows, |o| words(o.row.id).1))
            .name("stage", || {
                each(&rows, |o| self.stage(o.visit.map_or(STAGE_START, |v| v.visit.stage)))
            })
            .name("forecast_segment", || match self.segments(deals) {
                Some(codes) => of(codes),
                None => vec![NO_CODE; rows.len()],
            })
            .name("deal_owner", || each(&rows, |o| self.owner(o.row.deal.owner)))
            .day("created_on", || each(&rows, |o| self.day(o.row.created)))
            .day("entered_on", || {
                each(&rows, |o| o.visit.map_or(NO_DAY, |v| self.day(v.visit.entered)))
            })
            .day("expected_close_on", || each(&rows, |o| o.row.deal.expected_close))
            .int("amount", || each(&rows, |o| amount_or_zero(o.row.deal.amount)))
            .flag("has_amount", || each(&rows, |o| i8::from(o.row.deal.amount != NO_AMOUNT)));
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || of(codes)))
            .finish(&self.dictionaries)
    }
}

fn each<T>(rows: &[Open<'_>], value: impl Fn(&Open<'_>) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
