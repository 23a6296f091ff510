//! `contract_periods`: one row per customer, period length and period in which the customer has a
//! contract when it begins, when it ends, or one that runs out. It carries the dimensions that come
//! from a look-up table of customers, as of the beginning of the customer's first contract.
//!
//! A period opens with the last day before it and closes with its own last day, or with as_of. What
//! comes and goes in between is not seen. Invariant: what a period opens with is what the one before
//! closed with.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::matching::Whose;
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::Id;
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::source::{ContractRow, LookupKey};
use crate::time::{Calendar, Day, NO_DAY, Period, Starts};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("customer", Kind::Int, "number of the customer in such tables"),
    column("grain", Kind::Name(super::customer_periods::GRAINS), "length of the period"),
    column("period_start", Kind::Day, "first day of the period"),
    column("opening_amount", Kind::Int, "what contracts bring a month as it opens, minor units"),
    column("closing_amount", Kind::Int, "what they bring a month as it closes, minor units"),
    column("has_opening", Kind::Flag, "a contract runs as it opens"),
    column("has_closing", Kind::Flag, "a contract runs as it closes"),
    column("is_new", Kind::Flag, "only as it closes, and none ran on any earlier day"),
    column("is_reactivated", Kind::Flag, "only as it closes, and one ran on an earlier day"),
    column("is_churned", Kind::Flag, "only as it opens"),
    column("due_n", Kind::Int, "contracts that end in the period, by as_of"),
    column("renewed_n", Kind::Int, "of these, those on whose end another one runs"),
    column("unpriced_n", Kind::Int, "contracts as it opens and closes whose amount is unknown"),
];

/// One row, without what is the same for all rows of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContractPeriod {
    /// Place of the period length among [`super::customer_periods::GRAINS`].
    pub(super) grain: u32,
    pub(super) start: Day,
    pub(super) opening: Running,
    pub(super) closing: Running,
    pub(super) ran_before: bool,
    pub(super) due_n: i64,
    pub(super) renewed_n: i64,
}

/// The contracts of a customer that run on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Running {
    pub(super) n: i64,
    /// Minor units a month, of those whose amount is known.
    pub(super) amount: i64,
    pub(super) unpriced_n: i64,
}

impl Running {
    fn on(day: Day, contracts: &[&ContractRow]) -> Self {
        let mut all = Self::default();
        for row in contracts.iter().filter(|row| runs(row, day)) {
            all.n += 1;
            match row.amount {
                NO_AMOUNT => all.unpriced_n += 1,
                amount => all.amount += amount,
            }
        }
        all
    }
}

fn runs(row: &ContractRow, day: Day) -> bool {
    row.from <= day && (row.to == NO_DAY || day < row.to)
}

impl ContractPeriod {
    /// Those of one customer's contracts and one period length, from the first contract to as_of.
    pub(super) fn all(
        contracts: &[&ContractRow],
        (grain, starts): (u32, &Starts),
        calendar: &Calendar,
        as_of_day: Day,
    ) -> Vec<Self> {
        let mut all = Vec::new();
        let Some(first) = contracts.iter().map(|row| row.from).min() else { return all };
        let mut start = starts.start(first);
        let mut opening = Running::default();
        while start <= as_of_day {
            let next = calendar.shift(starts.period(), start, 1);
            let closing = Running::on((next - 1).min(as_of_day), contracts);
            let is_due =
                |row: &&&ContractRow| (start..next).contains(&row.to) && row.to <= as_of_day;
            let due = || contracts.iter().filter(is_due);
            let is_renewed = |row: &&&ContractRow| Running::on(row.to, contracts).n > 0;
            let due_n = due().count() as i64;
            if opening.n + closing.n + due_n > 0 {
                all.push(Self {
                    grain,
                    start,
                    opening,
                    closing,
                    ran_before: first < start,
                    due_n,
                    renewed_n: due().filter(is_renewed).count() as i64,
                });
            }
            (start, opening) = (next, closing);
        }
        all
    }

    pub(super) fn is_new(&self) -> i8 {
        i8::from(self.opening.n == 0 && self.closing.n > 0 && !self.ran_before)
    }

    pub(super) fn is_reactivated(&self) -> i8 {
        i8::from(self.opening.n == 0 && self.closing.n > 0 && self.ran_before)
    }

    pub(super) fn is_churned(&self) -> i8 {
        i8::from(self.opening.n > 0 && self.closing.n == 0)
    }
}

/// The contracts of one customer.
struct Customer<'a> {
    id: Id,
    hash: u64,
    contracts: Vec<&'a ContractRow>,
}

impl Assembler<'_> {
    /// The relation of these contracts.
    pub(super) fn contract_periods(
        &self,
        rows: &[ContractRow],
        whose: &[Whose],
        numbers: &HashMap<Id, i64>,
    ) -> Result<Batch, Error> {
        let mut customers: BTreeMap<i64, Customer<'_>> = BTreeMap::new();
        for (row, whose) in rows.iter().zip(whose) {
            let number = numbers.get(&whose.customer).copied().unwrap_or(0);
            let new = || Customer { id: row.customer, hash: whose.hash, contracts: Vec::new() };
            customers.entry(number).or_insert_with(new).contracts.push(row);
        }
        let as_of_day = self.calendar.day(self.as_of);
        let mut all: Vec<(i64, &Customer<'_>, ContractPeriod)> = Vec::new();
        for (number, customer) in &customers {
            for starts in &self.period_starts {
                let grain = Period::EVERY.iter().position(|p| *p == starts.period()).unwrap_or(0);
                let span = (grain as u32, starts);
                let own = ContractPeriod::all(&customer.contracts, span, &self.calendar, as_of_day);
                all.extend(own.into_iter().map(|period| (*number, customer, period)));
            }
        }
        let of = |value: fn(&ContractPeriod) -> i64| all.iter().map(|r| value(&r.2)).collect();
        let flags = |value: fn(&ContractPeriod) -> i8| all.iter().map(|r| value(&r.2)).collect();
        let builder = BatchBuilder::new(Relation::ContractPeriods, all.len(), self.wanted)
            .small("shard", || all.iter().map(|row| shard(row.1.hash)).collect())
            .int("customer", || all.iter().map(|row| row.0).collect())
            .name("grain", || all.iter().map(|row| row.2.grain).collect::<Vec<u32>>())
            .day("period_start", || all.iter().map(|row| row.2.start).collect())
            .int("opening_amount", || of(|p| p.opening.amount))
            .int("closing_amount", || of(|p| p.closing.amount))
            .flag("has_opening", || flags(|p| i8::from(p.opening.n > 0)))
            .flag("has_closing", || flags(|p| i8::from(p.closing.n > 0)))
            .flag("is_new", || flags(ContractPeriod::is_new))
            .flag("is_reactivated", || flags(ContractPeriod::is_reactivated))
            .flag("is_churned", || flags(ContractPeriod::is_churned))
            .int("due_n", || of(|p| p.due_n))
            .int("renewed_n", || of(|p| p.renewed_n))
            .int("unpriced_n", || of(|p| p.opening.unpriced_n + p.closing.unpriced_n));
        let key = |row: &(i64, &Customer<'_>, ContractPeriod)| self.customers.text(row.1.id);
        let at = |row: &(i64, &Customer<'_>, ContractPeriod)| {
            let first = row.1.contracts.iter().map(|contract| contract.from).min();
            self.calendar.instant(first.unwrap_or(row.2.start))
        };
        self.looked_up(builder, &LookupKey::Customer, &all, &key, &at, &|_| None)
            .finish(&self.dictionaries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Id;
    use crate::time::{Period, from_date};

    #[test]
    fn a_contract_that_follows_on_the_day_is_a_renewal() {
        let day = |text: &str| from_date(text.parse().unwrap());
        let row = |from: &str, to: &str, amount| ContractRow {
            customer: Id::integer(1),
            from: day(from),
            to: if to.is_empty() { NO_DAY } else { day(to) },
            amount,
        };
        // Renewed on 15 March for more; out on 1 May, back on 20 June.
        let rows = [
            row("2024-01-15", "2024-03-15", 100),
            row("2024-03-15", "2024-05-01", 150),
            row("2024-06-20", "", 120),
        ];
        let rows: Vec<&ContractRow> = rows.iter().collect();
        let starts = Starts::new(Calendar::UTC, Period::Month);
        let all = ContractPeriod::all(&rows, (6, &starts), &Calendar::UTC, day("2024-07-10"));
        let of = |value: fn(&ContractPeriod) -> i64| all.iter().map(value).collect::<Vec<_>>();
        // January to May, June, July.
        assert_eq!(of(|p| p.opening.amount), [0, 100, 100, 150, 150, 0, 120]);
        assert_eq!(of(|p| p.closing.amount), [100, 100, 150, 150, 0, 120, 120]);
        assert_eq!(of(|p| p.due_n), [0, 0, 1, 0, 1, 0, 0]);
        assert_eq!(of(|p| p.renewed_n), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(of(|p| p.is_new().into()), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(|p| p.is_churned().into()), [0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(of(|p| p.is_reactivated().into()), [0, 0, 0, 0, 0, 1, 0]);
    }
}
