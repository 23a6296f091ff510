//! Shape `payments`: what was paid and refunded, and for which deal or by which customer.
//!
//! It judges rows and keeps the payments of all deals in memory, by deal; whose deal and customer
//! they are is settled where the deals are known.
//!
//! Invariant: a row without a `payment_id` is never taken for another one (G3).

use std::collections::BTreeMap;
use std::ops::Range;

use super::convert::BAD_AMOUNT;
use super::merges::Merges;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use super::spend::SpentIn;
use super::splits::record_unknown;
use super::task::TaskState;
use super::{Interner, Interners};
use crate::config::{Config, Severity, Shape};
use crate::contract::Id;
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT, UNPRICED};
use crate::quality::{Ledger, Rule};
use crate::time::{Calendar, Instant};

/// One payment or refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// The deal, or [`Id::NONE`].
    pub deal: Id,
    /// The customer if the row names one, or [`Id::NONE`].
    pub customer: Id,
    /// When it was paid.
    pub at: Instant,
    /// Minor units, below zero for a refund; [`NO_AMOUNT`] if unknown.
    pub amount: i64,
}

/// All payments of a run up to its instant.
#[derive(Debug, Default)]
pub struct Payments {
    /// By deal, then time, then place in the source.
    rows: Vec<Payment>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

impl Payments {
    /// Puts payments in order.
    #[must_use]
    pub fn new(mut rows: Vec<Payment>, inputs: Vec<CheckedInput>) -> Self {
        rows.sort_by_key(|payment| (payment.deal, payment.at));
        Self { rows, inputs }
    }

    /// A payment of a deal that was merged is one of the deal that it was merged into, whatever
    /// becomes of its history.
    pub fn follow(&mut self, merges: &Merges) {
        if merges.if_any().is_none() {
            return;
        }
        for payment in &mut self.rows {
            payment.deal = merges.of(payment.deal).map_or(payment.deal, |m| m.winner.as_number());
        }
        self.rows.sort_by_key(|payment| (payment.deal, payment.at));
    }

    /// Every payment.
    #[must_use]
    pub fn rows(&self) -> &[Payment] {
        &self.rows
    }

    /// Where the payments of a deal are.
    #[must_use]
    pub fn of(&self, deal: Id) -> Range<usize> {
        let deal = deal.as_number();
        let first = self.rows.partition_point(|payment| payment.deal < deal);
        let rest = self.rows.get(first..).unwrap_or_default();
        first..first + rest.partition_point(|payment| payment.deal == deal)
    }

    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // And a byte each for whether its deal was found.
        (self.rows.capacity() * (size_of::<Payment>() + 1)) as u64
    }
}

/// The checked input of shape `payments`.
pub struct PaymentSource {
    sheet: Option<Sheet>,
}

/// What an amount is worth in the reporting currency, or [`UNPRICED`].
type Price<'a> = &'a dyn Fn(&SpentIn<'_>) -> i64;

impl PaymentSource {
    /// Lists and checks the input of shape `payments`.
    ///
    /// # Errors
    /// Everything that is wrong with the input's files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheet: Sheet::open(config, calendar, Shape::Payments)? })
    }

    /// Reads every payment up to `as_of`; `None` if there is no such input.
    ///
    /// # Errors
    /// The first file that cannot be decoded; more names than can be numbered.
    pub fn read(
        self,
        calendar: Calendar,
        currency: &Currency,
        price: Price<'_>,
        as_of: Instant,
        (names, ledger): (&Interners, &Ledger),
    ) -> Result<Option<Payments>, Error> {
        let mut rows = Vec::new();
        if let Some(sheet) = &self.sheet {
            let mut reading = Reading {
                calendar,
                currency,
                price,
                as_of,
                ledger,
                names,
                ids: Interner::default(),
                rows: Vec::new(),
                by_id: BTreeMap::new(),
            };
            sheet.read(ledger, |batch| reading.batch(batch))?;
            rows.append(&mut reading.rows);
        }
        let inputs: Vec<CheckedInput> = self.sheet.into_iter().map(|s| s.checked).collect();
        Ok((!inputs.is_empty()).then(|| Payments::new(rows, inputs)))
    }
}

struct Reading<'a> {
    calendar: Calendar,
    currency: &'a Currency,
    price: Price<'a>,
    as_of: Instant,
    ledger: &'a Ledger,
    names: &'a Interners,
    /// Textual identifiers of payments.
    ids: Interner,
    rows: Vec<Payment>,
    /// The row of each payment that has an identifier.
    by_id: BTreeMap<Id, usize>,
}

impl Reading<'_> {
    fn batch(&mut self, batch: &mut SheetBatch<'_>) -> Result<(), Error> {
        let times = batch.instants("paid_at")?;
        let (amounts, inexact) = batch.decimals("amount", self.currency.scale)?;
        let deals = batch.ids("deal_id", &self.names.deal)?;
        let customers = batch.ids("customer_id", &self.names.customer)?;
        let payments = batch.ids("payment_id", &self.ids)?;
        let (kinds, currencies) = (batch.texts("kind")?, batch.texts("currency")?);
        let parties = deals.into_iter().zip(customers).zip(payments);
        let columns = times.into_iter().zip(amounts).zip(parties).zip(kinds).zip(currencies);
        for (row, ((((at, given), ((deal, customer), id)), kind), currency)) in columns.enumerate()
        {
            let is_inexact = inexact.binary_search(&row).is_ok();
            let kind = match self.judge(row, (at, given, is_inexact), kind.as_deref(), batch) {
                Err(rule) => {
                    batch.refuse(row, rule);
                    continue;
                }
                Ok(None) => {
                    batch.after_as_of();
                    continue;
                }
                Ok(Some(kind)) => kind,
            };
            batch.keep();
            let amount = self.priced(row, (at, given, currency.as_deref()), batch);
            let amount = if kind == Kind::Refund && amount != NO_AMOUNT {
                -amount.saturating_abs()
            } else {
                amount
            };
            // A table as text tells of the same deals as histories with numbers.
            let (deal, customer) = (deal.as_number(), customer.as_number());
            self.put(row, id, Payment { deal, customer, at, amount }, batch);
        }
        Ok(())
    }

    fn priced(
        &self,
        row: usize,
        (at, amount, currency): (Instant, i64, Option<&str>),
        batch: &mut SheetBatch<'_>,
    ) -> i64 {
        if [BAD_AMOUNT, NO_AMOUNT].contains(&amount) {
            return NO_AMOUNT;
        }
        let day = self.calendar.day(at);
        let amount = (self.price)(&SpentIn { day, amount, currency });
        batch.note_if(amount == UNPRICED, row, Rule::UnpricedPayments);
        if amount == UNPRICED { NO_AMOUNT } else { amount }
    }

    /// Of several rows of one payment the last one counts.
    fn put(&mut self, row: usize, id: Id, payment: Payment, batch: &mut SheetBatch<'_>) {
        if !id.is_none() {
            let place = *self.by_id.entry(id).or_insert(self.rows.len());
            if let Some(known) = self.rows.get_mut(place) {
                *known = payment;
                batch.note(row, Rule::DuplicatePayments);
                return;
            }
        }
        self.rows.push(payment);
    }

    /// What a row is, or the rule that keeps it out; `None` if it is later than the run. Breaches of
    /// rules that keep no row out are counted.
    fn judge(
        &self,
        row: usize,
        (at, amount, is_inexact): (Instant, i64, bool),
        kind: Option<&str>,
        batch: &mut SheetBatch<'_>,
    ) -> Result<Option<Kind>, Rule> {
        if let Some(rule) = TaskState::judge_time(at) {
            return Err(rule);
        }
        let kind = match kind.map(str::to_lowercase).as_deref() {
            Some("refund") => Kind::Refund,
            Some("payment") | None => Kind::Payment,
            Some(_) => return Err(Rule::UnknownPaymentKind),
        };
        if at > self.as_of {
            return Ok(None);
        }
        let rule = match amount {
            BAD_AMOUNT => Rule::BadAmount,
            NO_AMOUNT => Rule::NullPayment,
            _ if is_inexact => Rule::InexactAmount,
            _ => return Ok(Some(kind)),
        };
        if self.ledger.severity(rule) == Severity::Quarantine {
            return Err(rule);
        }
        batch.note(row, rule);
        Ok(Some(kind))
    }
}

/// What a row is; the amount of a payment has the sign it is given with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Payment,
    Refund,
}

/// Brings into the ledger the payments of deals that are not in the history.
pub fn record_orphans(payments: &Payments, orphans: &[Id], ledger: &Ledger) {
    let Some(input) = payments.inputs.first() else { return };
    record_unknown(Rule::OrphanPayments, &input.name, orphans.iter().copied(), ledger);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Merged;

    #[test]
    fn payments_of_a_merged_deal_go_to_the_one_it_was_merged_into() {
        let paid =
            |deal: i64, at| Payment { deal: Id::integer(deal), customer: Id::NONE, at, amount: 1 };
        let mut payments = Payments::new(vec![paid(1, 5), paid(2, 3)], Vec::new());
        let pairs = [(Id::integer(1), Id::integer(2))];
        payments.follow(&Merges::of_pairs(Merged::Drop, &pairs));
        assert!(payments.of(Id::integer(1)).is_empty());
        assert_eq!(payments.rows(), [paid(2, 3), paid(2, 5)]);
    }

    #[test]
    fn payments_of_a_deal_are_found_in_order_of_time() {
        let paid = |deal: i64, at| Payment {
            deal: if deal == 0 { Id::NONE } else { Id::integer(deal) },
            customer: Id::NONE,
            at,
            amount: 1,
        };
        let rows = vec![paid(3, 9), paid(1, 2), paid(3, 4), paid(0, 7), paid(3, 4)];
        let payments = Payments::new(rows, Vec::new());
        let times = |deal| -> Vec<i64> {
            payments.rows()[payments.of(deal)].iter().map(|payment| payment.at).collect()
        };
        assert_eq!(times(Id::integer(3)), [4, 4, 9]);
        assert_eq!(times(Id::integer(1)), [2]);
        assert_eq!(times(Id::NONE), [7]);
        assert!(times(Id::integer(2)).is_empty());
    }
}
