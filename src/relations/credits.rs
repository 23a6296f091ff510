//! `credits`: one row per deal won at as_of and owner who is credited with it.
//!
//! The owner at the close has the whole credit, unless the deal is split: then each owner has a share.
//!
//! Invariant: the credited amounts of a deal add up to its amount in minor units, and its parts to
//! [`PARTS`], whatever the shares.

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::Deals;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::machine::Outcome;
use crate::fold::{DealRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::source::{Share, Splits};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("credited_on", Kind::Day, "civil day of the close"),
    column("credited_period", Kind::Day, "first day of its base period"),
    column("credited_owner", Kind::Dictionary("owner"), "who is credited; null if unknown"),
    column(
        "credited_team",
        Kind::Dictionary("team_of_owner"),
        "team of that owner at the close, by the first dimension that is the team of the users; null if unknown",
    ),
    column("credited_parts", Kind::Int, "the owner's share of the deal in millionths"),
    column("amount", Kind::Int, "credited minor units; 0 if the deal's amount is unknown"),
    column("has_amount", Kind::Flag, "the deal's amount is known"),
    column("is_split", Kind::Flag, "several owners share the deal"),
];

/// The parts of a whole deal.
pub const PARTS: i64 = 1_000_000;

/// Credits that are handed over at a time.
const CREDITS_A_BATCH: usize = 1 << 16;

/// One owner's credit for a deal.
struct Credit<'a> {
    /// Row of the deal in the chunk.
    place: u32,
    row: &'a DealRow,
    owner: u32,
    parts: i64,
    amount: i64,
    is_split: bool,
}

impl<'a> Assembler<'a> {
    /// The shares in deals, where somebody asks which of the deals there are.
    pub fn judged_splits(&self) -> Option<&'a Splits> {
        self.splits.filter(|_| self.wanted.relation(Relation::Findings))
    }
}

impl Assembler<'_> {
    /// The credits of a chunk.
    pub(super) fn credits(
        &self,
        deals: &Deals<'_>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rows = Vec::new();
        for (place, row) in (0_u32..).zip(&deals.chunk.deals) {
            if row.deal.outcome == Outcome::Won {
                self.credit(place, row, &mut rows);
            }
        }
        rows.chunks(CREDITS_A_BATCH).try_for_each(|rows| take(&self.credit_rows(deals, rows)?))
    }

    fn credit<'a>(&self, place: u32, row: &'a DealRow, rows: &mut Vec<Credit<'a>>) {
        let amount = amount_or_zero(row.deal.amount);
        let mut shares = self.splits.map_or(&[][..], |splits| splits.of(row.id)).to_vec();
        if shares.is_empty() {
            let owner = self.owner(row.deal.closed_owner);
            rows.push(Credit { place, row, owner, parts: PARTS, amount, is_split: false });
            return;
        }
        for share in &mut shares {
            share.owner = self.owner(share.owner);
        }
        let is_split = shares.len() > 1;
        let shares = by_name(shares);
        let (amounts, parts) = (apportion(amount, &shares), apportion(PARTS, &shares));
        for ((share, amount), parts) in shares.iter().zip(amounts).zip(parts) {
            rows.push(Credit { place, row, owner: share.owner, parts, amount, is_split });
        }
    }

    fn credit_rows(&self, deals: &Deals<'_>, rows: &[Credit<'_>]) -> Result<Batch, Error> {
        let builder = BatchBuilder::new(Relation::Credits, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(|c| shard(self.split_hash(c.row))).collect())
            .day("credited_on", || rows.iter().map(|c| self.day(c.row.deal.closed)).collect())
            .day("credited_period", || {
                rows.iter().map(|c| self.period(c.row.deal.closed)).collect()
            })
            .name("credited_owner", || rows.iter().map(|c| c.owner).collect::<Vec<u32>>())
            .name("credited_team", || {
                self.teams_of(rows.iter().map(|c| (c.owner, c.row.deal.closed)))
            })
            .int("credited_parts", || rows.iter().map(|c| c.parts).collect())
            .int("amount", || rows.iter().map(|c| c.amount).collect())
            .flag("has_amount", || {
                rows.iter().map(|c| i8::from(c.row.deal.amount != NO_AMOUNT)).collect()
            })
            .flag("is_split", || rows.iter().map(|c| i8::from(c.is_split)).collect());
        let own = |codes: &[u32]| -> Vec<u32> {
            let code = |c: &Credit<'_>| codes.get(c.place as usize).copied().unwrap_or(NO_CODE);
            rows.iter().map(code).collect()
        };
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || own(codes)))
            .finish(&self.dictionaries)
    }
}

/// Shares in order of the owners' names, which alone decides between equal remainders; owners that
/// are named together, as all others beyond a bound, have one share together.
fn by_name(mut shares: Vec<Share>) -> Vec<Share> {
    shares.sort_by_key(|share| share.owner);
    shares.dedup_by(|next, kept| {
        let is_same = next.owner == kept.owner;
        kept.share += if is_same { next.share } else { 0 };
        is_same
    });
    shares
}

/// Divides an amount by shares so that the parts add up to it: each has its share rounded down, and
/// what is left goes one by one to the largest remainders, the first of equal ones first.
///
/// Source: Balinski and Young, 1982, Fair Representation (the method of Hamilton).
fn apportion(amount: i64, shares: &[Share]) -> Vec<i64> {
    let all: i128 = shares.iter().map(|share| i128::from(share.share)).sum();
    if all <= 0 {
        return vec![0; shares.len()];
    }
    let (size, sign) = (i128::from(amount.unsigned_abs()), amount.signum());
    let exact = shares.iter().map(|share| size * i128::from(share.share));
    let mut parts: Vec<(i128, i128)> = exact.map(|part| (part / all, part % all)).collect();
    let given: i128 = parts.iter().map(|(whole, _)| whole).sum();
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(parts.get(*at).map(|(_, rest)| *rest)));
    // Fewer are left than there are shares.
    let left = usize::try_from(size - given).unwrap_or(0);
    for at in by_remainder.into_iter().take(left) {
        if let Some((whole, _)) = parts.get_mut(at) {
            *whole += 1;
        }
    }
    let signed = |(whole, _): (i128, i128)| i64::try_from(whole).unwrap_or(0) * sign;
    parts.into_iter().map(signed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(amount: i64, shares: &[i64], expected: &[i64]) {
        let shares: Vec<Share> =
            shares.iter().map(|share| Share { owner: 0, share: *share }).collect();
        let parts = apportion(amount, &shares);
        assert_eq!(parts, expected);
        assert_eq!(parts.iter().sum::<i64>(), amount);
    }

    #[test]
    fn owners_of_one_name_have_one_share() {
        let share = |(owner, share)| Share { owner, share };
        let of =
            |shares: &[(u32, i64)]| -> Vec<Share> { shares.iter().copied().map(share).collect() };
        let lumped = by_name(of(&[(7, 30), (2, 25), (7, 20), (NO_CODE, 15), (2, 10)]));
        let found: Vec<(u32, i64)> = lumped.iter().map(|s| (s.owner, s.share)).collect();
        assert_eq!(found, [(2, 35), (7, 50), (NO_CODE, 15)]);
    }

    #[test]
    fn what_is_left_goes_to_the_largest_remainders() {
        // 100 × 1/3 = 33 and a third each: one is left, for the first.
        check(100, &[1, 1, 1], &[34, 33, 33]);
        // 10 × 0.55 = 5.5, 10 × 0.26 = 2.6, 10 × 0.19 = 1.9: two are left, for .9 and .6.
        check(10, &[55, 26, 19], &[5, 3, 2]);
        check(-10, &[55, 26, 19], &[-5, -3, -2]);
        check(0, &[1, 2], &[0, 0]);
        check(7, &[5], &[7]);
        check(1_000_000_000_000_000_000, &[1, 1], &[500_000_000_000_000_000; 2]);
    }
}
