//! The frames of the relations, each from the plain columns of the fold or of the pass over
//! customers, with the run's dimensions beside them.

use rayon::prelude::*;

use super::assemble::{Dimension, Parts, shard};
use super::customers_pass::{self, Order, PassSettings};
use super::frame::FrameBuilder;
use super::{Dictionaries, Relation, RelationFrame};
use crate::contract::NO_CODE;
use crate::error::Error;
use crate::fold::{DealColumns, VisitColumns, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::source::SpendRow;

/// What every frame is made with.
pub(super) struct Context<'a> {
    pub(super) parts: &'a Parts<'a>,
    pub(super) dimensions: &'a [Dimension],
    pub(super) dictionaries: &'a Dictionaries,
}

impl Context<'_> {
    /// The codes of a dimension for rows that each belong to a deal.
    fn of_deals(&self, dimension: &Dimension, deals: &[u32]) -> Vec<u32> {
        deals
            .par_iter()
            .with_min_len(1 << 16)
            .map(|deal| dimension.codes.get(*deal as usize).copied().unwrap_or(NO_CODE))
            .collect()
    }

    fn with_dimensions(&self, mut builder: FrameBuilder, deals: &[u32]) -> FrameBuilder {
        for dimension in self.dimensions {
            builder = builder.dimension(&dimension.name, self.of_deals(dimension, deals));
        }
        builder
    }

    fn channel_codes(&self, deals: &[u32]) -> Vec<u32> {
        let channel = self.dimensions.iter().find(|d| Some(d.name.as_str()) == self.parts.channel);
        channel.map_or_else(|| vec![NO_CODE; deals.len()], |d| self.of_deals(d, deals))
    }

    pub(super) fn visits(
        &self,
        v: VisitColumns,
        deals: &DealColumns,
        shards: &[i16],
    ) -> Result<RelationFrame, Error> {
        fn of<T: Copy + Default>(column: &[T], deals: &[u32]) -> Vec<T> {
            deals.iter().map(|d| column.get(*d as usize).copied().unwrap_or_default()).collect()
        }
        let builder = FrameBuilder::new(Relation::Visits, v.deal.len())
            .small("shard", of(shards, &v.deal))
            .name("stage", v.stage)
            .name("stage_class", v.stage_class)
            .small("stage_order", v.stage_order)
            .int("visit_no", v.visit_no)
            .name("prev_stage", v.prev_stage)
            .name("arrival", v.arrival)
            .name("next_stage", v.next_stage)
            .name("move", v.ended)
            .day("entered_on", v.entered_on)
            .day("entered_period", v.entered_period)
            .day("left_on", v.left_on)
            .day("deal_created_period", of(&deals.created_period, &v.deal))
            .day("deal_entered_period", of(&deals.entered_period, &v.deal))
            .int("dwell", v.dwell)
            .flag("is_negative", v.is_negative)
            .flag("is_censored", v.is_censored)
            .flag("is_entry", v.is_entry)
            .flag("is_first_visit", v.is_first_visit)
            .flag("is_last_visit", v.is_last_visit)
            .flag("is_first_move", v.is_first_move)
            .flag("is_first_exit", v.is_first_exit)
            .int("amount", v.amount)
            .flag("has_amount", v.has_amount)
            .int("move_amount", v.move_amount)
            .flag("has_move_amount", v.has_move_amount)
            .dictionary("owner", v.owner);
        self.with_dimensions(builder, &v.deal).finish(self.dictionaries)
    }

    pub(super) fn deals(
        &self,
        d: DealColumns,
        shards: Vec<i16>,
        orders: &[Order],
    ) -> Result<RelationFrame, Error> {
        let rows = d.deal.len();
        let (is_new, is_existing) = business(orders, rows);
        let known = |column: &[i64]| -> Vec<i8> {
            column.iter().map(|a| i8::from(*a != NO_AMOUNT)).collect()
        };
        let plain =
            |column: &[i64]| -> Vec<i64> { column.iter().map(|a| amount_or_zero(*a)).collect() };
        let mut builder = FrameBuilder::new(Relation::Deals, rows)
            .small("shard", shards)
            .day("created_on", d.created_on)
            .day("created_period", d.created_period)
            .day("entered_period", d.entered_period)
            .day("closed_on", d.closed_on)
            .day("closed_period", d.closed_period)
            .day("first_closed_on", d.first_closed_on)
            .day("first_closed_period", d.first_closed_period)
            .flag("is_won", d.is_won)
            .flag("is_lost", d.is_lost)
            .flag("is_open", d.is_open)
            .flag("is_deleted", d.is_deleted)
            .flag("is_first_won", d.is_first_won)
            .flag("is_first_lost", d.is_first_lost)
            .flag("ever_won", d.ever_won)
            .flag("is_overdue", d.is_overdue)
            .int("cycle", d.cycle)
            .name("cycle_status", d.cycle_status)
            .flag("is_negative_cycle", d.is_negative_cycle)
            .small("stages_n", vec![self.parts.open_stages; rows])
            .small("reached_level", d.reached_level)
            .small("fall_through_level", d.fall_through_level)
            .small("ordered_level", d.ordered_level)
            .small("strict_level", d.strict_level)
            .small("furthest_final_level", d.furthest_final_level)
            .small("first_level", d.first_level)
            .int("visits_n", d.visits_n)
            .int("skips_n", d.skips_n)
            .int("regressions_n", d.regressions_n)
            .int("reopens_n", d.reopens_n)
            .int("pushes_n", d.pushes_n)
            .int("amount", plain(&d.amount))
            .flag("has_amount", known(&d.amount))
            .int("created_amount", plain(&d.created_amount))
            .int("closed_amount", plain(&d.closed_amount))
            .flag("has_closed_amount", known(&d.closed_amount))
            .flag("has_customer", d.customer.iter().map(|c| i8::from(!c.is_none())).collect())
            .flag("is_new_business", is_new)
            .flag("is_existing_business", is_existing)
            .dictionary("owner", d.owner)
            .dictionary("owner_at_close", d.owner_at_close)
            .dictionary("owner_at_creation", d.owner_at_creation);
        for dimension in self.dimensions {
            builder = builder.dimension(&dimension.name, dimension.codes.clone());
        }
        builder.finish(self.dictionaries)
    }

    pub(super) fn orders(
        &self,
        deals: &DealColumns,
        orders: &[Order],
    ) -> Result<RelationFrame, Error> {
        let rows: Vec<u32> = orders.iter().map(|o| o.deal).collect();
        let day = |column: &[i32]| -> Vec<i32> {
            rows.iter().map(|d| column.get(*d as usize).copied().unwrap_or_default()).collect()
        };
        let amount = |d: &u32| deals.amount.get(*d as usize).copied().map_or(0, amount_or_zero);
        let mut customers = Vec::with_capacity(orders.len());
        let mut first = Vec::with_capacity(orders.len());
        let mut number = -1_i64;
        let mut previous = None;
        for order in orders {
            let is_first = previous != Some((order.customer_hash, order.customer));
            number += i64::from(is_first);
            previous = Some((order.customer_hash, order.customer));
            customers.push(number);
            first.push(i8::from(is_first));
        }
        let builder = FrameBuilder::new(Relation::Orders, orders.len())
            .small("shard", orders.iter().map(|o| shard(o.customer_hash)).collect())
            .int("customer", customers)
            .day("ordered_on", day(&deals.closed_on))
            .day("ordered_period", day(&deals.closed_period))
            .int("amount", rows.iter().map(amount).collect())
            .flag("is_first_order", first)
            .dictionary("channel", self.channel_codes(&rows));
        self.with_dimensions(builder, &rows).finish(self.dictionaries)
    }

    pub(super) fn customers(
        &self,
        deals: &DealColumns,
        orders: &[Order],
    ) -> Result<(RelationFrame, RelationFrame), Error> {
        let settings = PassSettings {
            calendar: self.parts.calendar,
            base: self.parts.base,
            periods: self.parts.periods,
            as_of_day: self.parts.calendar.day(self.parts.as_of),
        };
        let (c, p) = customers_pass::pass(orders, deals, &settings);
        let customer_shards: Vec<i16> = orders
            .chunk_by(Order::same_customer)
            .filter_map(|own| own.first())
            .map(|order| shard(order.customer_hash))
            .collect();
        let first_deal =
            |customer: &u32| c.first_deal.get(*customer as usize).copied().unwrap_or(0);
        let period_deals: Vec<u32> = p.customer.iter().map(first_deal).collect();
        let shard_of = |row: &u32| customer_shards.get(*row as usize).copied().unwrap_or(0);
        let builder = FrameBuilder::new(Relation::CustomerPeriods, p.customer.len())
            .small("shard", p.customer.iter().map(shard_of).collect())
            .int("customer", p.customer.iter().map(|c| i64::from(*c)).collect())
            .name("grain", p.grain)
            .day("cohort_start", p.cohort_start)
            .day("period_start", p.period_start)
            .int("age", p.age)
            .int("orders_n", p.orders_n)
            .int("amount", p.amount)
            .flag("is_active", p.is_active)
            .flag("is_new", p.is_new)
            .flag("is_returning", p.is_returning)
            .flag("is_reactivated", p.is_reactivated)
            .day("churned_start", p.churned_start)
            .flag("is_churned", p.is_churned);
        let periods = self.with_dimensions(builder, &period_deals).finish(self.dictionaries)?;
        let rows = c.first_deal.len();
        let builder = FrameBuilder::new(Relation::Customers, rows)
            .small("shard", customer_shards)
            .int("customer", (0..rows as i64).collect())
            .day("first_ordered_on", c.first_ordered_on)
            .day("last_ordered_on", c.last_ordered_on)
            .day("cohort_period", c.cohort_period)
            .int("orders_n", c.orders_n)
            .int("purchase_days_n", c.purchase_days_n)
            .flag("is_repeat", c.is_repeat)
            .int("amount", c.amount)
            .int("repeat_amount", c.repeat_amount)
            .int("recency_days", c.recency_days)
            .int("age_days", c.age_days)
            .dictionary("channel", self.channel_codes(&c.first_deal));
        let customers = self.with_dimensions(builder, &c.first_deal).finish(self.dictionaries)?;
        Ok((customers, periods))
    }

    pub(super) fn spend(&self, rows: &[SpendRow]) -> Result<RelationFrame, Error> {
        let wanted = |row: &&SpendRow| {
            let types = self.parts.cost_types;
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
        let channels: Vec<u32> = rows.iter().map(|r| code("channel", &r.channel)).collect();
        let period = |r: &&SpendRow| self.parts.calendar.start(self.parts.base, r.day);
        let mut builder = FrameBuilder::new(Relation::Spend, rows.len())
            .small("shard", rows.iter().map(|r| shard(hash(&r.channel))).collect())
            .day("spent_on", rows.iter().map(|r| r.day).collect())
            .day("spent_period", rows.iter().map(period).collect())
            .dictionary("channel", channels.clone())
            .dictionary(
                "cost_type",
                rows.iter().map(|r| code("cost_type", &r.cost_type)).collect::<Vec<u32>>(),
            )
            .int("amount", rows.iter().map(|r| amount_or_zero(r.amount)).collect())
            .flag("has_amount", rows.iter().map(|r| i8::from(r.amount != NO_AMOUNT)).collect());
        if let Some(channel) = self.parts.channel
            && self.dimensions.iter().any(|d| d.name == channel)
        {
            builder = builder.dimension(channel, channels);
        }
        builder.finish(self.dictionaries)
    }
}

/// Which deals are their customer's first order, and which a later one.
fn business(orders: &[Order], deals: usize) -> (Vec<i8>, Vec<i8>) {
    let (mut is_new, mut is_existing) = (vec![0_i8; deals], vec![0_i8; deals]);
    for own in orders.chunk_by(Order::same_customer) {
        for (index, order) in own.iter().enumerate() {
            let flags = if index == 0 { &mut is_new } else { &mut is_existing };
            if let Some(flag) = flags.get_mut(order.deal as usize) {
                *flag = 1;
            }
        }
    }
    (is_new, is_existing)
}
