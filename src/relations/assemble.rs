//! From what the fold emitted to the relations: names sorted, dimensions joined, customers made.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use rayon::prelude::*;

use super::customers_pass::{self, Order, PassSettings};
use super::frame::FrameBuilder;
use super::{Dictionaries, Relation, RelationFrame, Relations, SHARDS_MAX};
use crate::contract::{NO_CODE, NO_ID};
use crate::error::Error;
use crate::fold::{DealColumns, Folded, VisitColumns, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, Ledger, Rule};
use crate::source::{Interners, Lookup, LookupKey, Names, SpendRow, hash_integer};
use crate::time::{Calendar, Instant, Period};

/// What assembling needs beside the fold's output.
pub struct Parts<'a> {
    /// What the fold emitted.
    pub folded: Folded,
    /// Names of the stages by final code.
    pub stages: Vec<String>,
    /// Number of open stages.
    pub open_stages: i16,
    /// Every dimension of the run.
    pub dimensions: &'a [String],
    /// Those that come with the events, in the order of the fold's columns.
    pub event_dimensions: &'a [String],
    /// Their sorted names.
    pub event_names: Vec<Vec<String>>,
    /// Sorted names of the owners.
    pub owners: Vec<String>,
    /// All interned names.
    pub names: &'a Interners,
    /// Look-up tables.
    pub lookups: &'a [Lookup],
    /// Spend, where there is any.
    pub spend: Option<&'a [SpendRow]>,
    /// The dimension that is the acquisition channel.
    pub channel: Option<&'a str>,
    /// Cost types that count; empty is all.
    pub cost_types: &'a [String],
    /// Zone and calendar.
    pub calendar: Calendar,
    /// The period that all configured ones roll up from.
    pub base: Period,
    /// Configured periods.
    pub periods: &'a [Period],
    /// The run's instant.
    pub as_of: Instant,
    /// Where missing keys are counted.
    pub ledger: &'a Ledger,
}

/// A dimension of the deals: codes a deal, and the names behind them.
struct Dimension {
    name: String,
    names: Vec<String>,
    codes: Vec<u32>,
}

/// Makes all relations but `findings`.
///
/// # Errors
/// A bug of ours: columns do not fit their declaration.
pub fn assemble(mut parts: Parts<'_>) -> Result<Relations, Error> {
    let customers = parts.names.customer.freeze();
    let customer_hash = |id: i64| hash_of(&customers, id);
    let mut dimensions = dimensions(&mut parts, &customers)?;
    let spend_names = merge_channel_names(&parts, &mut dimensions);
    let dictionaries = dictionaries(&parts, &dimensions, spend_names);
    let deals = std::mem::take(&mut parts.folded.deals);
    let shards: Vec<i16> = deals
        .customer
        .iter()
        .zip(&deals.deal_hash)
        .map(|(customer, hash)| {
            shard(if *customer == NO_ID { *hash } else { customer_hash(*customer) })
        })
        .collect();
    let orders = customers_pass::orders(&deals, customer_hash);
    let context = Context { parts: &parts, dimensions: &dimensions, dictionaries: &dictionaries };
    let mut frames = BTreeMap::new();
    if deals.customer.iter().any(|c| *c != NO_ID) {
        frames.insert(Relation::Orders, context.orders(&deals, &orders)?);
        let (customers, periods) = context.customers(&deals, &orders)?;
        frames.insert(Relation::Customers, customers);
        frames.insert(Relation::CustomerPeriods, periods);
    }
    if let Some(spend) = parts.spend {
        frames.insert(Relation::Spend, context.spend(spend)?);
    }
    let visits = std::mem::take(&mut parts.folded.visits);
    let context = Context { parts: &parts, dimensions: &dimensions, dictionaries: &dictionaries };
    frames.insert(Relation::Visits, context.visits(visits, &deals, &shards)?);
    frames.insert(Relation::Deals, context.deals(deals, shards, &orders)?);
    Ok(Relations { frames, dictionaries })
}

fn hash_of(customers: &Names, id: i64) -> u64 {
    u32::try_from(id)
        .ok()
        .and_then(|code| customers.get(code))
        .map_or_else(|| hash_integer(id), crate::source::hash_text)
}

/// The split key of a hash: its highest bits.
fn shard(hash: u64) -> i16 {
    const BITS: u32 = (SHARDS_MAX as u32).trailing_zeros();
    (hash >> (64 - BITS)) as i16
}

/// Every dimension of the run, from the events or by look-up.
fn dimensions(parts: &mut Parts<'_>, customers: &Names) -> Result<Vec<Dimension>, Error> {
    let mut by_name: BTreeMap<String, Dimension> = BTreeMap::new();
    let columns = std::mem::take(&mut parts.folded.dimensions);
    for ((name, names), codes) in
        parts.event_dimensions.iter().zip(std::mem::take(&mut parts.event_names)).zip(columns)
    {
        by_name.insert(name.clone(), Dimension { name: name.clone(), names, codes });
    }
    for lookup in parts.lookups {
        let keys = lookup_rows(parts, lookup, customers, &by_name)?;
        count_missing(parts, lookup, &keys);
        for (index, name) in lookup.dimensions.iter().enumerate() {
            let (names, by_row) = attribute(lookup, index);
            let code = |key: &Key| match key {
                Key::Row(row) => by_row.get(*row).copied().unwrap_or(NO_CODE),
                Key::Null | Key::Orphan => NO_CODE,
            };
            let codes = keys.iter().map(code).collect();
            by_name.insert(name.clone(), Dimension { name: name.clone(), names, codes });
        }
    }
    parts
        .dimensions
        .iter()
        .map(|name| {
            by_name
                .remove(name)
                .ok_or_else(|| Error::Bug(format!("dimension {name:?} has no source")))
        })
        .collect()
}

/// Where a deal's key leads in a look-up table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Null,
    Orphan,
    Row(usize),
}

fn lookup_rows(
    parts: &Parts<'_>,
    lookup: &Lookup,
    customers: &Names,
    dimensions: &BTreeMap<String, Dimension>,
) -> Result<Vec<Key>, Error> {
    let rows: HashMap<&str, usize> =
        lookup.rows.keys().enumerate().map(|(row, key)| (key.as_str(), row)).collect();
    let find = |key: &str| rows.get(key).map_or(Key::Orphan, |row| Key::Row(*row));
    let by_code = |names: &[String], codes: &[u32]| -> Vec<Key> {
        let known: Vec<Key> = names.iter().map(|name| find(name)).collect();
        codes.iter().map(|c| known.get(*c as usize).copied().unwrap_or(Key::Null)).collect()
    };
    let deals = &parts.folded.deals;
    Ok(match &lookup.key {
        LookupKey::Owner => by_code(&parts.owners, &deals.owner),
        LookupKey::Dimension(name) => {
            let dimension = dimensions
                .get(name)
                .ok_or_else(|| Error::Bug(format!("look-up by unknown dimension {name:?}")))?;
            by_code(&dimension.names, &dimension.codes)
        }
        LookupKey::Customer => {
            let mut known: HashMap<i64, Key> = HashMap::new();
            let name = |id: i64| u32::try_from(id).ok().and_then(|code| customers.get(code));
            let lead = |id: i64| match name(id) {
                Some(name) => find(name),
                None => find(&id.to_string()),
            };
            deals
                .customer
                .iter()
                .map(|id| {
                    if *id == NO_ID {
                        Key::Null
                    } else {
                        *known.entry(*id).or_insert_with(|| lead(*id))
                    }
                })
                .collect()
        }
    })
}

fn count_missing(parts: &Parts<'_>, lookup: &Lookup, keys: &[Key]) {
    let mut counts = Counts::of_deals(keys.len() as u64);
    let count = |wanted| keys.iter().filter(|k| **k == wanted).count() as u64;
    counts.add(Rule::Orphans, count(Key::Orphan));
    counts.add(Rule::NullKeys, count(Key::Null));
    parts.ledger.record(&lookup.input, &counts);
}

/// The sorted names of a look-up's attribute, and the code of each row.
fn attribute(lookup: &Lookup, index: usize) -> (Vec<String>, Vec<u32>) {
    let value = |values: &Vec<Option<String>>| values.get(index).cloned().flatten();
    let mut names: Vec<String> = lookup.rows.values().filter_map(value).collect();
    names.sort();
    names.dedup();
    let code = |name: String| names.binary_search(&name).map_or(NO_CODE, |c| c as u32);
    let codes = lookup.rows.values().map(|v| value(v).map_or(NO_CODE, code)).collect();
    (names, codes)
}

/// Makes the channel dimension's names those of deals and spend together, and returns the names of
/// the cost types.
fn merge_channel_names(parts: &Parts<'_>, dimensions: &mut [Dimension]) -> Vec<String> {
    let Some(spend) = parts.spend else { return Vec::new() };
    if let Some(dimension) = dimensions.iter_mut().find(|d| Some(d.name.as_str()) == parts.channel)
    {
        let mut all = dimension.names.clone();
        all.extend(spend.iter().filter_map(|row| row.channel.clone()));
        all.sort();
        all.dedup();
        let place = |name: &String| all.binary_search(name).map_or(NO_CODE, |c| c as u32);
        let moved: Vec<u32> = dimension.names.iter().map(place).collect();
        for code in &mut dimension.codes {
            *code = moved.get(*code as usize).copied().unwrap_or(NO_CODE);
        }
        dimension.names = all;
    }
    let mut cost_types: Vec<String> = spend.iter().filter_map(|r| r.cost_type.clone()).collect();
    cost_types.sort();
    cost_types.dedup();
    cost_types
}

fn dictionaries(
    parts: &Parts<'_>,
    dimensions: &[Dimension],
    cost_types: Vec<String>,
) -> Dictionaries {
    let mut names: BTreeMap<String, Arc<Vec<String>>> = BTreeMap::new();
    names.insert("stage".into(), Arc::new(parts.stages.clone()));
    names.insert("owner".into(), Arc::new(parts.owners.clone()));
    let mut channels = Arc::default();
    for dimension in dimensions {
        let shared = Arc::new(dimension.names.clone());
        if Some(dimension.name.as_str()) == parts.channel {
            channels = shared.clone();
        }
        names.insert(dimension.name.clone(), shared);
    }
    if parts.channel.is_none() {
        let spend = parts.spend.unwrap_or(&[]);
        let mut all: Vec<String> = spend.iter().filter_map(|r| r.channel.clone()).collect();
        all.sort();
        all.dedup();
        channels = Arc::new(all);
    }
    names.insert("channel".into(), channels);
    names.insert("cost_type".into(), Arc::new(cost_types));
    Dictionaries { names }
}

struct Context<'a> {
    parts: &'a Parts<'a>,
    dimensions: &'a [Dimension],
    dictionaries: &'a Dictionaries,
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

    fn visits(
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

    fn deals(
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
            .flag("has_customer", d.customer.iter().map(|c| i8::from(*c != NO_ID)).collect())
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

    fn orders(&self, deals: &DealColumns, orders: &[Order]) -> Result<RelationFrame, Error> {
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

    fn customers(
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
            .chunk_by(|a, b| a.customer == b.customer && a.customer_hash == b.customer_hash)
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

    fn spend(&self, rows: &[SpendRow]) -> Result<RelationFrame, Error> {
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
        let hash = |name: &Option<String>| crate::source::hash_text(name.as_deref().unwrap_or(""));
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
    let same =
        |a: &Order, b: &Order| a.customer == b.customer && a.customer_hash == b.customer_hash;
    for own in orders.chunk_by(same) {
        for (index, order) in own.iter().enumerate() {
            let flags = if index == 0 { &mut is_new } else { &mut is_existing };
            if let Some(flag) = flags.get_mut(order.deal as usize) {
                *flag = 1;
            }
        }
    }
    (is_new, is_existing)
}
