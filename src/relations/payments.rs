//! `payments`: one row per payment or refund up to as_of, with the dimensions of its deal.
//!
//! A payment without a deal, or of a deal that is not in the relations, has no dimensions. Its
//! customer is the one it names, or else its deal's.

use std::sync::atomic::Ordering;

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::emit::Deals;
use super::orders_pass::OrderColumns;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::{Id, NO_CODE};
use crate::error::Error;
use crate::fold::{Chunk, DealRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::source::Payment;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("paid_on", Kind::Day, "civil day of the payment"),
    column("paid_period", Kind::Day, "first day of its base period"),
    column("amount", Kind::Int, "minor units, below zero for a refund; 0 if unknown"),
    column("has_amount", Kind::Flag, "the amount is known"),
    column("has_deal", Kind::Flag, "its deal is in the relation deals"),
    column("has_customer", Kind::Flag, "it or its deal has a customer"),
    column("owner", Kind::Dictionary("owner"), "latest owner of its deal"),
];

/// Payments that are handed over at a time.
const PAYMENTS_A_BATCH: usize = 1 << 16;

/// A payment and its deal.
#[derive(Clone, Copy)]
struct Paid<'a> {
    payment: &'a Payment,
    /// Row of the deal in the chunk, and the deal.
    deal: Option<(u32, &'a DealRow)>,
}

impl Paid<'_> {
    fn customer(&self) -> Id {
        let own = self.payment.customer;
        let of_deal = || self.deal.map_or(Id::NONE, |(_, row)| row.deal.customer.as_number());
        if own.is_none() { of_deal() } else { own }
    }

    fn split_hash(&self) -> u64 {
        let (customer, deal) = (self.customer(), self.payment.deal);
        if customer.is_none() { deal.hash() } else { customer.hash() }
    }

    fn of_deal<T: Copy>(&self, column: &[T], none: T) -> T {
        self.deal.and_then(|(row, _)| column.get(row as usize).copied()).unwrap_or(none)
    }
}

impl Assembler<'_> {
    /// The payments of a chunk's deals, as a relation and as orders.
    pub(super) fn paid(
        &self,
        deals: &Deals<'_>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<OrderColumns, Error> {
        let Some(payments) = self.payments else { return Ok(OrderColumns::default()) };
        let mut rows: Vec<Paid<'_>> = Vec::new();
        for (number, row) in (0_u32..).zip(&deals.chunk.deals) {
            let own = payments.of(row.id);
            for claimed in self.claimed.get(own.clone()).unwrap_or_default() {
                claimed.store(true, Ordering::Relaxed);
            }
            let own = payments.rows().get(own).unwrap_or_default();
            rows.extend(own.iter().map(|payment| Paid { payment, deal: Some((number, row)) }));
        }
        self.hand_over(deals, &rows, &take)
    }

    /// The payments without a deal of the relations, once all deals have been taken; with the
    /// deals that those name which name one.
    ///
    /// # Errors
    /// Whatever `take` returns; amounts whose sum could leave 64 bits.
    pub fn rest_of_payments(
        &self,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(OrderColumns, Vec<Id>), Error> {
        let Some(payments) = self.payments else { return Ok(Default::default()) };
        let left = |(_, claimed): &(&Payment, &std::sync::atomic::AtomicBool)| {
            !claimed.load(Ordering::Relaxed)
        };
        let rest = payments.rows().iter().zip(&self.claimed).filter(left);
        let rows: Vec<Paid<'_>> = rest.map(|(payment, _)| Paid { payment, deal: None }).collect();
        let orphans = rows.iter().map(|paid| paid.payment.deal).filter(|deal| !deal.is_none());
        let orphans = orphans.collect();
        let dimensions = vec![Vec::new(); self.dimensions.len()];
        let deals = Deals { chunk: &Chunk::default(), dimensions };
        Ok((self.hand_over(&deals, &rows, &take)?, orphans))
    }

    fn hand_over(
        &self,
        deals: &Deals<'_>,
        rows: &[Paid<'_>],
        take: &impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<OrderColumns, Error> {
        self.guard(&self.paid_amounts, rows.iter().map(|paid| paid.payment.amount))?;
        if self.wanted.relation(Relation::Payments) {
            for rows in rows.chunks(PAYMENTS_A_BATCH) {
                take(&self.payment_rows(deals, rows)?)?;
            }
        }
        if rows.iter().any(|paid| !paid.customer().is_none()) {
            self.has_payers.store(true, Ordering::Relaxed);
        }
        if !self.wants_customers() {
            return Ok(OrderColumns::default());
        }
        let mut orders = OrderColumns::new(deals.dimensions.len());
        let is_order =
            |paid: &&Paid<'_>| paid.payment.amount != NO_AMOUNT && !paid.customer().is_none();
        for paid in rows.iter().filter(is_order) {
            let customer = paid.customer();
            orders.customer_hash.push(customer.hash());
            orders.customer.push(customer);
            orders.closed_at.push(paid.payment.at);
            orders.deal.push(paid.payment.deal);
            orders.amount.push(paid.payment.amount);
            for (column, codes) in orders.dimensions.iter_mut().zip(&deals.dimensions) {
                column.push(paid.of_deal(codes, NO_CODE));
            }
        }
        Ok(orders)
    }

    fn payment_rows(&self, deals: &Deals<'_>, rows: &[Paid<'_>]) -> Result<Batch, Error> {
        let flags = |test: &dyn Fn(&Paid<'_>) -> bool| -> Vec<i8> {
            rows.iter().map(|paid| i8::from(test(paid))).collect()
        };
        let builder = BatchBuilder::new(Relation::Payments, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(|paid| shard(paid.split_hash())).collect())
            .day("paid_on", || rows.iter().map(|paid| self.day(paid.payment.at)).collect())
            .day("paid_period", || rows.iter().map(|paid| self.period(paid.payment.at)).collect())
            .int("amount", || rows.iter().map(|p| amount_or_zero(p.payment.amount)).collect())
            .flag("has_amount", || flags(&|paid| paid.payment.amount != NO_AMOUNT))
            .flag("has_deal", || flags(&|paid| paid.deal.is_some()))
            .flag("has_customer", || flags(&|paid| !paid.customer().is_none()))
            .name("owner", || -> Vec<u32> {
                let owner = |paid: &Paid<'_>| paid.deal.map_or(NO_CODE, |(_, r)| r.deal.owner);
                rows.iter().map(|paid| self.owner(owner(paid))).collect()
            });
        let own = |codes: &[u32]| -> Vec<u32> {
            rows.iter().map(|paid| paid.of_deal(codes, NO_CODE)).collect()
        };
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || own(codes)))
            .finish(&self.dictionaries)
    }
}
