//! The columns of `orders`, `customers`, `customer_periods` and `spend`.

use super::Relation;
use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::customer_ids::{OF_BEFORE, words};
use super::customer_periods::OF_HABITS;
use super::orders_pass::{
    self, CustomerColumns, Order, OrderColumns, PassSettings, Purchases, Rows,
};
use super::purchases::PurchaseColumns;
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::amount_or_zero;
use crate::money::NO_AMOUNT;
use crate::source::SpendRow;
use crate::time::{Day, Period};

/// What the columns of the relations about customers depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// So many days before the run's instant are held out of the calibration of models.
    pub holdout_days: u32,
    /// Last ages of the brackets in which customers come back, ascending.
    pub brackets: Vec<i64>,
    /// Within how many days of a purchase the next one is looked for, ascending.
    pub horizons: Vec<i64>,
    /// Within how many days of an answer to a survey the next purchase is looked for.
    pub survey_days: i64,
    /// Customers are compared with those of the day before the current one of these began.
    pub previous: Period,
}

/// What orders are: with payments, the relation `orders` is of won deals and the relations about
/// customers are of payments; else all are of won deals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Won deals.
    Won,
    /// Payments.
    Paid,
}

impl Assembler<'_> {
    /// Makes the relations about customers of some shards from all of their orders.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub fn customers(
        &self,
        orders: &OrderColumns,
        of: Of,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let sorted = orders_pass::in_order(orders, &self.names.deal);
        if of == Of::Won && self.wanted.relation(Relation::Orders) {
            let batch = self.orders(orders, &sorted)?;
            match self.only_order_of {
                None => take(&batch)?,
                Some(deal) => {
                    let hash =
                        |order: &Order| orders.deal.get(order.row as usize).map(|id| id.hash());
                    let own = sorted.iter().enumerate().filter(|(_, o)| hash(o) == Some(deal));
                    take(&batch.take(&own.map(|(row, _)| row).collect::<Vec<_>>()))?;
                }
            }
        }
        let is_theirs = of == Of::Paid || self.payments.is_none();
        if is_theirs && self.wants_customers() {
            self.customers_and_periods(orders, &sorted, take)?;
        }
        Ok(())
    }

    fn with_dimensions<'b>(
        &self,
        builder: BatchBuilder<'b>,
        orders: &OrderColumns,
        rows: &[u32],
    ) -> BatchBuilder<'b> {
        let dimensions = self.dimensions.iter().zip(&orders.dimensions);
        dimensions.fold(builder, |b, (name, codes)| b.dimension(name, || of_orders(codes, rows)))
    }

    fn channels(&self, orders: &OrderColumns, rows: &[u32]) -> Vec<u32> {
        let codes = self.channel.and_then(|place| orders.dimensions.get(place));
        codes.map_or_else(|| vec![NO_CODE; rows.len()], |codes| of_orders(codes, rows))
    }

    fn orders(&self, orders: &OrderColumns, sorted: &[Order]) -> Result<Batch, Error> {
        let rows: Vec<u32> = sorted.iter().map(|o| o.row).collect();
        let day = |order: &Order| self.calendar.day(order.closed_at);
        let of_customers = || {
            let own = sorted.chunk_by(Order::same_customer).zip(numbers(sorted));
            own.flat_map(|(own, number)| std::iter::repeat_n(number, own.len())).collect()
        };
        let firsts = || {
            let own = sorted.chunk_by(Order::same_customer);
            own.flat_map(|own| (0..own.len()).map(|place| i8::from(place == 0))).collect()
        };
        let builder = BatchBuilder::new(Relation::Orders, rows.len(), self.wanted)
            .small("shard", || sorted.iter().map(|o| shard(o.customer_hash)).collect())
            .int("customer", of_customers)
            .day("ordered_on", || sorted.iter().map(day).collect())
            .day("ordered_period", || sorted.iter().map(|o| self.starts.start(day(o))).collect())
            .int("amount", || of_orders(&orders.amount, &rows))
            .flag("is_first_order", firsts)
            .name("channel", || self.channels(orders, &rows));
        self.with_dimensions(builder, orders, &rows).finish(&self.dictionaries)
    }

    fn customers_and_periods(
        &self,
        orders: &OrderColumns,
        sorted: &[Order],
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let settings = self.pass_settings();
        let (c, p, days) = orders_pass::pass(sorted, orders, &settings);
        let numbers = numbers(sorted);
        let shards: Vec<i16> = sorted
            .chunk_by(Order::same_customer)
            .filter_map(|own| own.first())
            .map(|order| shard(order.customer_hash))
            .collect();
        let rows = p.customer.len();
        let firsts: Vec<u32> = of_orders(&c.first, &p.customer);
        let builder = BatchBuilder::new(Relation::CustomerPeriods, rows, self.wanted)
            .small("shard", || of_orders(&shards, &p.customer))
            .int("customer", || of_orders(&numbers, &p.customer))
            .name("grain", || p.grain)
            .day("cohort_start", || p.cohort_start)
            .day("period_start", || p.period_start)
            .int("age", || p.age)
            .int("orders_n", || p.orders_n)
            .int("amount", || p.amount)
            .flag("is_active", || p.is_active)
            .flag("is_new", || p.is_new)
            .flag("is_returning", || p.is_returning)
            .flag("is_reactivated", || p.is_reactivated)
            .day("churned_start", || p.churned_start)
            .flag("is_churned", || p.is_churned)
            .flag("is_last_active", || p.is_last_active)
            .flag("is_bracket_first", || p.is_bracket_first)
            .int("previous_amount", || p.previous_amount);
        if self.wanted.relation(Relation::CustomerPeriods) {
            let builder = self.with_dimensions(builder, orders, &firsts);
            take(&builder.finish(&self.dictionaries)?)?;
        }
        if self.follows_answers() {
            self.note_purchases(orders, &c, &days);
        }
        if self.wanted.relation(Relation::Purchases) {
            let of = |days: &PurchaseColumns| -> Result<Batch, Error> {
                let firsts: Vec<u32> = of_orders(&c.first, &days.customer);
                let builder = self.purchases(days, &c, (&shards, &numbers), settings.as_of_day);
                self.with_dimensions(builder, orders, &firsts).finish(&self.dictionaries)
            };
            take(&of(&days)?)?;
        }
        if self.wanted.relation(Relation::CustomerIds) {
            take(&self.customer_ids(sorted, &shards, &c)?)?;
        }
        if !self.wanted.relation(Relation::Customers) {
            return Ok(());
        }
        let of = |all: &[Purchases], value: fn(&Purchases) -> i64| all.iter().map(value).collect();
        let (all, known) = (&c.purchases, &c.calibration);
        let held_out = || all.iter().zip(known).map(|(all, own)| all.days_n - own.days_n);
        let firsts = c.first;
        let builder = BatchBuilder::new(Relation::Customers, firsts.len(), self.wanted)
            .small("shard", || shards)
            .int("customer", || numbers)
            .day("first_ordered_on", || c.first_ordered_on)
            .day("last_ordered_on", || c.last_ordered_on)
            .day("cohort_period", || c.cohort_period)
            .int("orders_n", || c.orders_n)
            .int("purchase_days_n", || of(all, |p| p.days_n))
            .flag("is_repeat", || c.is_repeat)
            .int("amount", || c.amount)
            .flag("is_buyer", || all.iter().map(Purchases::is_buyer).collect())
            .int("repeats_n", || of(all, Purchases::repeats_n))
            .int("repeat_amount", || of(all, |p| p.repeat_amount))
            .int("recency_days", || of(all, |p| p.recency_days))
            .int("age_days", || of(all, |p| p.age_days))
            .flag("is_calibrated", || known.iter().map(Purchases::is_buyer).collect())
            .int("calibration_repeats_n", || of(known, Purchases::repeats_n))
            .int("calibration_recency_days", || of(known, |p| p.recency_days))
            .int("calibration_age_days", || of(known, |p| p.age_days))
            .int("holdout_days_n", || held_out().collect())
            .name("channel", || self.channels(orders, &firsts));
        let builder = self.with_dimensions(builder, orders, &firsts);
        take(&builder.finish(&self.dictionaries)?)
    }

    /// Whether anybody asks what all orders of a customer tell.
    pub(super) fn wants_customers(&self) -> bool {
        let mut all = Relation::OF_CUSTOMERS.into_iter();
        all.any(|relation| self.wanted.relation(relation)) || self.follows_answers()
    }

    /// Notes the purchase days of the customers that optional tables name.
    fn note_purchases(
        &self,
        orders: &OrderColumns,
        customers: &CustomerColumns,
        days: &PurchaseColumns,
    ) {
        let Some(optional) = &self.optional else { return };
        let mut rest = days.purchased_on.as_slice();
        for own in days.customer.chunk_by(|a, b| a == b) {
            let (on, after) = rest.split_at_checked(own.len()).unwrap_or((rest, &[]));
            rest = after;
            let first = own.first().and_then(|number| customers.first.get(*number as usize));
            if let Some(id) = first.and_then(|row| orders.customer.get(*row as usize)) {
                optional.note_purchases(*id, on);
            }
        }
    }

    fn pass_settings(&self) -> PassSettings<'_> {
        let as_of_day = self.calendar.day(self.as_of);
        let asks =
            |relation, names: &[&str]| names.iter().any(|name| self.wanted.column(relation, name));
        let habits = &self.habits;
        let has_days = self.wanted.relation(Relation::Purchases) || self.follows_answers();
        PassSettings {
            calendar: self.calendar,
            base: &self.starts,
            periods: &self.period_starts,
            as_of_day,
            calibrated_day: self
                .asks_for_purchases()
                .then(|| as_of_day.saturating_sub_unsigned(habits.holdout_days)),
            brackets: asks(Relation::CustomerPeriods, &OF_HABITS).then_some(&habits.brackets),
            before_day: asks(Relation::CustomerIds, &OF_BEFORE)
                .then(|| self.calendar.start(habits.previous, as_of_day).saturating_sub(1)),
            purchases: if has_days { Rows::Made } else { Rows::Unmade },
        }
    }

    /// Purchase days; `whose` are the shards and numbers of customers.
    fn purchases<'b>(
        &'b self,
        days: &PurchaseColumns,
        customers: &CustomerColumns,
        whose: (&[i16], &[i64]),
        as_of_day: Day,
    ) -> BatchBuilder<'b> {
        let horizons = &self.habits.horizons;
        let cohorts = || -> Vec<Day> { of_orders(&customers.cohort_period, &days.customer) };
        BatchBuilder::new(Relation::Purchases, days.customer.len(), self.wanted)
            .small("shard", || of_orders(whose.0, &days.customer))
            .int("customer", || of_orders(whose.1, &days.customer))
            .day("cohort_period", cohorts)
            .day("purchased_on", || days.purchased_on.clone())
            .int("amount", || days.amount.clone())
            .flag("is_first", || days.is_first.clone())
            .flag("is_last", || days.is_last.clone())
            .int("gap_days", || days.gap_days.clone())
            .small("missed_horizons_n", || days.missed(horizons))
            .small("exposed_horizons_n", || days.exposed(horizons, as_of_day))
    }

    /// Whether anybody asks for more than the orders and their periods.
    fn asks_for_purchases(&self) -> bool {
        let of_models = super::customers::OF_PURCHASES;
        self.wanted.relation(Relation::CustomerIds)
            || of_models.iter().any(|name| self.wanted.column(Relation::Customers, name))
    }

    fn customer_ids(
        &self,
        sorted: &[Order],
        shards: &[i16],
        customers: &CustomerColumns,
    ) -> Result<Batch, Error> {
        let firsts = || sorted.chunk_by(Order::same_customer).filter_map(|own| own.first());
        let words = || firsts().map(|order| words(order.customer));
        let of = |value: fn(&Purchases) -> i64| customers.purchases.iter().map(value).collect();
        let before =
            |value: fn(&(Purchases, i64)) -> i64| customers.before.iter().map(value).collect();
        BatchBuilder::new(Relation::CustomerIds, shards.len(), self.wanted)
            .small("shard", || shards.to_vec())
            .int("id_high", || words().map(|(high, _)| high).collect())
            .int("id_low", || words().map(|(_, low)| low).collect())
            .int("orders_n", || customers.orders_n.clone())
            .int("purchase_days_n", || of(|p| p.days_n))
            .int("repeats_n", || of(Purchases::repeats_n))
            .int("recency_days", || of(|p| p.recency_days))
            .int("age_days", || of(|p| p.age_days))
            .int("amount", || customers.amount.clone())
            .int("repeat_amount", || of(|p| p.repeat_amount))
            .int("previous_purchase_days_n", || before(|(p, _)| p.days_n))
            .int("previous_recency_days", || before(|(p, _)| p.recency_days))
            .int("previous_age_days", || before(|(p, _)| p.age_days))
            .int("previous_amount", || before(|(_, amount)| *amount))
            .int("previous_repeat_amount", || before(|(p, _)| p.repeat_amount))
            .finish(&self.dictionaries)
    }

    /// The relation of the spend that counts.
    ///
    /// # Errors
    /// A bug of ours: the columns do not fit their declaration.
    pub fn spend(&self, rows: &[SpendRow]) -> Result<Batch, Error> {
        let wanted = |row: &&SpendRow| {
            let types = self.cost_types;
            types.is_empty() || row.cost_type.as_ref().is_some_and(|t| types.contains(t))
        };
        let rows: Vec<&SpendRow> = rows.iter().filter(wanted).collect();
        let code = |dictionary: &str, name: &Option<String>| -> u32 {
            let names = self.dictionaries.names.get(dictionary);
            name.as_ref()
                .and_then(|name| names?.binary_search(name).ok())
                .map_or(NO_CODE, |c| c as u32)
        };
        let hash =
            |name: &Option<String>| crate::contract::hash_text(name.as_deref().unwrap_or(""));
        let channels =
            || -> Vec<u32> { rows.iter().map(|r| code("channel", &r.channel)).collect() };
        let types =
            || -> Vec<u32> { rows.iter().map(|r| code("cost_type", &r.cost_type)).collect() };
        let mut builder = BatchBuilder::new(Relation::Spend, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(|r| shard(hash(&r.channel))).collect())
            .day("spent_on", || rows.iter().map(|r| r.day).collect())
            .day("spent_period", || rows.iter().map(|r| self.starts.start(r.day)).collect())
            .name("channel", channels)
            .name("cost_type", types)
            .int("amount", || rows.iter().map(|r| amount_or_zero(r.amount)).collect())
            .flag("has_amount", || rows.iter().map(|r| i8::from(r.amount != NO_AMOUNT)).collect());
        if let Some(name) = self.channel.and_then(|place| self.dimensions.get(place)) {
            builder = builder.dimension(name, channels);
        }
        builder.finish(&self.dictionaries)
    }
}

/// The number of each customer within the run: its shard, and its place among that shard's, so that
/// it does not depend on how shards are grouped.
fn numbers(sorted: &[Order]) -> Vec<i64> {
    let (mut last, mut place) = (-1, 0);
    let customers = sorted.chunk_by(Order::same_customer).filter_map(|own| own.first());
    customers
        .map(|order| {
            let shard = shard(order.customer_hash);
            place = if shard == last { place + 1 } else { 0 };
            last = shard;
            i64::from(shard) << 40 | place
        })
        .collect()
}

/// An order's value for each of its rows.
fn of_orders<T: Copy + Default>(column: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|row| column.get(*row as usize).copied().unwrap_or_default()).collect()
}
