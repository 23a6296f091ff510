//! From what the fold emits to the relations, a chunk at a time: names sorted, dimensions joined,
//! orders taken out for the pass over customers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Habits;
use super::batch::{Batch, Wanted};
use super::cap::cap;
use super::emit::Deals;
use super::joins::{Counting, Join, Key, attribute};
use super::naming::{dictionaries, merge_channel_names};
use super::orders_pass::OrderColumns;
use super::tables_emit::Optional;
use super::teams;
use super::{Dictionaries, Relation, SHARDS_MAX};
use crate::config::DimensionAt;
use crate::contract::{NO_CODE, PipelineNames, StageTable};
use crate::error::Error;
use crate::fold::machine::Outcome;
use crate::fold::{Chunk, Content, DealRow};
use crate::money::NO_AMOUNT;
use crate::quality::Ledger;
use crate::source::{Interners, Lookup, LookupKey, Names, Payments, Spend, Splits, Tables};
use crate::time::{Calendar, Instant, Period, Resolution, Starts};

/// What assembling needs to know of the run.
pub struct Parts<'a> {
    /// Stages, with their final codes.
    pub stages: &'a StageTable,
    /// The names of the pipelines.
    pub pipelines: PipelineNames,
    /// Names of the stages by final code.
    pub stage_names: Vec<String>,
    /// Final code of each stage code.
    pub stage_codes: Vec<u16>,
    /// The names of the user's own funnels, by code.
    pub funnels: Vec<String>,
    /// Every dimension of the run.
    pub dimensions: &'a [String],
    /// Those that come with the events, in the order of the fold's columns.
    pub event_dimensions: &'a [String],
    /// Their sorted names.
    pub event_names: Vec<Vec<String>>,
    /// Rank of each dimension's numbers among them.
    pub event_ranks: Vec<Vec<u32>>,
    /// How often each of its numbers occurs; empty where it has too few for that to matter.
    pub event_counts: Vec<Vec<u64>>,
    /// The dimensions whose values together are a deal's stratum.
    pub strata: &'a [String],
    /// So many values a dimension may have.
    pub values_max: usize,
    /// Sorted names of the owners.
    pub owners: Vec<String>,
    /// Rank of each owner's number.
    pub owner_ranks: Vec<u32>,
    /// All interned names.
    pub names: &'a Interners,
    /// Look-up tables.
    pub lookups: &'a [Lookup],
    /// Spend, where there is any.
    pub spend: Option<&'a Spend>,
    /// Payments, where there are any.
    pub payments: Option<&'a Payments>,
    /// Shares in deals, where there are any.
    pub splits: Option<&'a Splits>,
    /// Targets, surveys, touches and contracts, where there are any.
    pub tables: Option<&'a Tables>,
    /// Whether all attributes of the events are read, whatever is wanted.
    pub reads_all: bool,
    /// Of which time a deal's dimensions are.
    pub dimension_at: DimensionAt,
    /// The same of single dimensions from look-up tables.
    pub at_of: &'a BTreeMap<String, DimensionAt>,
    /// From which column of which table such a dimension comes.
    pub from: &'a BTreeMap<String, String>,
    /// The dimension that is the acquisition channel.
    pub channel: Option<&'a str>,
    /// The dimension by which forecasts are refined.
    pub forecast_segment: Option<&'a str>,
    /// Cost types that count; empty is all.
    pub cost_types: &'a [String],
    /// Zone and calendar.
    pub calendar: Calendar,
    /// Unit of durations.
    pub resolution: Resolution,
    /// The period that all configured ones roll up from.
    pub base: Period,
    /// Configured periods.
    pub periods: &'a [Period],
    /// What the columns of the relations about customers depend on.
    pub habits: Habits,
    /// The run's instant.
    pub as_of: Instant,
    /// When the history begins, if deals can have begun before it.
    pub history_from: Option<Instant>,
    /// Where missing keys are counted.
    pub ledger: &'a Ledger,
    /// The columns that anybody asks for.
    pub wanted: &'a Wanted,
}

/// What customers are made of.
#[derive(Debug, Default)]
pub struct Transactions {
    /// Won deals.
    pub won: OrderColumns,
    /// Payments, where they are given.
    pub paid: OrderColumns,
}

/// More than there are in a chunk, but for a deal that goes on and on.
const VISITS_A_BATCH: usize = 1 << 16;

/// Makes the relations' batches. It knows all names before the first row.
pub struct Assembler<'a> {
    pub(super) stages: &'a StageTable,
    pub(super) pipelines: PipelineNames,
    pub(super) stage_codes: Vec<u16>,
    /// Rank of each owner's number among all names.
    pub(super) owner_ranks: Vec<u32>,
    /// The final code of each owner's number.
    pub(super) owner_codes: Vec<u32>,
    /// Every dimension of the run, in configured order.
    pub(super) dimensions: Vec<String>,
    pub(super) sources: Vec<Column>,
    /// The places of the dimensions that make a deal's stratum, if anybody asks for it, each with
    /// the number of its values, null among them.
    pub(super) strata: Vec<(usize, i64)>,
    pub(super) lookups: Vec<Join<'a>>,
    /// The dimensions that are the team of an owner.
    pub(super) team_dimensions: Vec<String>,
    pub(super) optional: Option<Optional<'a>>,
    pub(super) customers: Names,
    pub(super) names: &'a Interners,
    pub(super) channel: Option<usize>,
    pub(super) forecast_segment: Option<usize>,
    /// First days of calendar months, where anybody asks for them.
    pub(super) months: Option<Starts>,
    pub(super) cost_types: &'a [String],
    pub(super) calendar: Calendar,
    pub(super) starts: Starts,
    pub(super) resolution: Resolution,
    /// First days of every configured period.
    pub(super) period_starts: Vec<Starts>,
    pub(super) as_of: Instant,
    pub(super) habits: Habits,
    pub(super) history_from: Option<Instant>,
    pub(super) ledger: &'a Ledger,
    pub(super) wanted: &'a Wanted,
    pub(super) payments: Option<&'a Payments>,
    /// Of each payment whether its deal has come.
    pub(super) claimed: Vec<AtomicBool>,
    pub(super) splits: Option<&'a Splits>,
    has_customers: AtomicBool,
    /// Whether any payment so far has a customer.
    pub(super) has_payers: AtomicBool,
    /// The same as `amounts`, of payments.
    pub(super) paid_amounts: AtomicU64,
    /// Sum of the absolute amounts so far.
    amounts: AtomicU64,
    /// The same of all entries of the ledger.
    entered: AtomicU64,
    /// The names behind the codes.
    pub dictionaries: Dictionaries,
    /// How many values of dimensions are reported as [`super::cap::OTHER`].
    pub lumped: u64,
    /// Of the orders only that of the deal with this hash is handed over, once it is known which
    /// of its customer's orders it is.
    pub only_order_of: Option<u64>,
}

/// Where a dimension's code comes from.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// The fold's column, by position, and the final code of each of its codes.
    Event(usize, Vec<u32>),
    /// A look-up table and the code of each of its rows.
    Lookup(usize, Vec<u32>),
}

impl<'a> Assembler<'a> {
    /// Sorts and joins all names.
    ///
    /// # Errors
    /// A bug of ours: a dimension has no source.
    pub fn new(parts: Parts<'a>) -> Result<Self, Error> {
        let customers = parts.names.customer.freeze();
        let (mut dimensions, lookups) = dimensions(&parts)?;
        // The channel is matched with that of the spend, whatever its values.
        let capped = dimensions.iter_mut().filter(|d| Some(d.name.as_str()) != parts.channel);
        let lumped = capped.map(|dimension| dimension.cap(&parts) as u64).sum();
        let cost_types = merge_channel_names(&parts, &mut dimensions);
        let mut dictionaries = dictionaries(&parts, &dimensions, cost_types);
        let teams = dimensions.iter().filter(|d| d.is_team(&lookups, parts.from));
        let of_users = teams.clone().next().map(|dimension| dimension.names.as_slice());
        dictionaries.names.insert(teams::TEAMS.into(), teams::names(of_users, parts.tables));
        let optional = Optional::new(&parts);
        let strata = strata(&parts, &dimensions);
        let place = |name| dimensions.iter().position(|d| Some(d.name.as_str()) == name);
        let (channel, forecast_segment) = (place(parts.channel), place(parts.forecast_segment));
        let asks_for_months = parts.wanted.relation(Relation::StageEntries);
        let months = asks_for_months.then(|| Starts::new(parts.calendar, Period::Month));
        let periods = parts.periods.iter().filter(|period| **period != Period::All);
        let period_starts = periods.map(|period| Starts::new(parts.calendar, *period));
        Ok(Self {
            stages: parts.stages,
            pipelines: parts.pipelines,
            stage_codes: parts.stage_codes,
            owner_codes: owner_codes(&dimensions, &parts.owner_ranks),
            owner_ranks: parts.owner_ranks,
            team_dimensions: teams.map(|d| d.name.clone()).collect(),
            dimensions: dimensions.iter().map(|d| d.name.clone()).collect(),
            sources: dimensions.into_iter().map(|d| d.source).collect(),
            strata,
            optional,
            lookups,
            customers,
            names: parts.names,
            channel,
            forecast_segment,
            months,
            cost_types: parts.cost_types,
            calendar: parts.calendar,
            starts: Starts::new(parts.calendar, parts.base),
            resolution: parts.resolution,
            period_starts: period_starts.collect(),
            as_of: parts.as_of,
            habits: parts.habits,
            history_from: parts.history_from,
            ledger: parts.ledger,
            wanted: parts.wanted,
            payments: parts.payments,
            claimed: parts.payments.map_or_else(Vec::new, unclaimed),
            splits: parts.splits,
            has_customers: AtomicBool::new(false),
            has_payers: AtomicBool::new(false),
            paid_amounts: AtomicU64::new(0),
            amounts: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            dictionaries,
            lumped,
            only_order_of: None,
        })
    }

    /// Whether it is known when the history begins.
    #[must_use]
    pub fn history_begins(&self) -> bool {
        self.history_from.is_some()
    }

    /// Makes the visits and deals of a chunk, and its orders for the pass over customers.
    ///
    /// # Errors
    /// Whatever `take` returns; amounts whose sum could leave 64 bits.
    pub fn chunk(
        &self,
        chunk: &Chunk,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<Transactions, Error> {
        let has_deals = chunk.content == Content::Deals;
        if has_deals {
            self.guard(&self.amounts, chunk.deals.iter().map(|row| row.deal.amount))?;
        }
        // Whatever is wanted: `check` says of every table whether it can be made.
        if !self.has_customers() && chunk.deals.iter().any(|row| !row.deal.customer.is_none()) {
            self.has_customers.store(true, Ordering::Relaxed);
        }
        let joined: Vec<Vec<Key>> = self
            .lookups
            .iter()
            .map(|join| if self.is_joined(join) { self.join(join, chunk) } else { Vec::new() })
            .collect();
        let rows = chunk.deals.len();
        if let Some(join) = joined.iter().position(|keys| !keys.is_empty() && keys.len() != rows) {
            return Err(Error::Bug(format!("look-up {join} fans out: not one row a deal")));
        }
        if let Some(splits) = self.judged_splits().filter(|_| has_deals) {
            chunk.deals.iter().for_each(|row| splits.note(row.id));
        }
        if let Some(optional) = self.optional.as_ref().filter(|_| has_deals) {
            optional.note(chunk);
        }
        if let Some(optional) = self.optional.as_ref().filter(|_| self.follows_deals()) {
            optional.note_visits(chunk);
        }
        let dimensions = self.sources.iter().map(|s| codes(s, chunk, &joined, rows)).collect();
        let deals = Deals { chunk, dimensions };
        if has_deals && self.wanted.relation(Relation::Deals) {
            take(&self.deals(&deals)?)?;
        }
        if self.wanted.relation(Relation::Visits) {
            // One deal can have a million visits.
            for rows in chunk.visits.chunks(VISITS_A_BATCH) {
                take(&self.visits(&deals, rows)?)?;
            }
        }
        if self.wanted.relation(Relation::StageEntries) {
            self.stage_entries(&deals, &take)?;
        }
        if has_deals && self.wanted.relation(Relation::OpenDeals) {
            take(&self.open_deals(&deals)?)?;
        }
        if has_deals && self.wanted.relation(Relation::Bookings) {
            let all = self.entries(chunk);
            self.guard(&self.entered, all.rows.iter().map(|row| row.entry.amount))?;
            for first in (0..all.rows.len()).step_by(VISITS_A_BATCH) {
                let end = (first + VISITS_A_BATCH).min(all.rows.len());
                take(&self.bookings(chunk, &all, (first, end))?)?;
            }
        }
        if !has_deals {
            return Ok(Transactions::default());
        }
        self.told(&deals, &take)?;
        if let Some(from) = self.history_from
            && self.wanted.relation(Relation::LateEntries)
        {
            self.late_entries(&deals, from, &take)?;
        }
        if self.wanted.relation(Relation::Credits) {
            self.credits(&deals, &take)?;
        }
        let paid = self.paid(&deals, &take)?;
        // With payments, the relations about customers are made of them.
        let of_deals = self.payments.is_none() && self.wants_customers();
        if of_deals || self.wanted.relation(Relation::Orders) {
            return Ok(Transactions { won: self.orders_of(&deals), paid });
        }
        Ok(Transactions { paid, ..Transactions::default() })
    }

    /// What is told of deals beside their visits: what follows what, ways through funnels, and what
    /// they were at any time.
    fn told(
        &self,
        deals: &Deals<'_>,
        take: &impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.wanted.relation(Relation::Follows) {
            for rows in deals.chunk.steps.chunks(VISITS_A_BATCH) {
                take(&self.follows(deals, rows)?)?;
            }
        }
        if self.wanted.relation(Relation::FunnelSteps) {
            for (number, rows) in deals.chunk.taken.chunks(VISITS_A_BATCH).enumerate() {
                take(&self.funnel_steps(deals, number * VISITS_A_BATCH, rows)?)?;
            }
        }
        if self.wanted.relation(Relation::PipelineStock) {
            self.pipeline_stock(deals, take)?;
        }
        if self.wanted.relation(Relation::PipelineFlows) {
            self.pipeline_flows(deals, take)?;
        }
        Ok(())
    }

    /// The names behind the codes.
    #[must_use]
    pub fn into_dictionaries(self) -> Dictionaries {
        self.dictionaries
    }

    /// The run's payments.
    #[must_use]
    pub fn payments(&self) -> Option<&'a Payments> {
        self.payments
    }

    /// Whether there is anything to make customers of so far.
    pub fn has_payers(&self) -> bool {
        let has = if self.payments.is_some() { &self.has_payers } else { &self.has_customers };
        has.load(Ordering::Relaxed)
    }

    /// Whether any deal so far has a customer.
    pub fn has_customers(&self) -> bool {
        self.has_customers.load(Ordering::Relaxed)
    }

    /// The hash by which relations are split: the customer's, or the deal's where it has none.
    pub(super) fn split_hash(&self, row: &DealRow) -> u64 {
        if row.deal.customer.is_none() { row.id.hash() } else { row.deal.customer.hash() }
    }

    /// The orders of a chunk: deals won at `as_of` with a customer and an amount.
    fn orders_of(&self, deals: &Deals<'_>) -> OrderColumns {
        let mut orders = OrderColumns::new(deals.dimensions.len());
        for (place, row) in deals.chunk.deals.iter().enumerate() {
            let deal = &row.deal;
            if deal.outcome != Outcome::Won || deal.customer.is_none() || deal.amount == NO_AMOUNT {
                continue;
            }
            orders.customer_hash.push(deal.customer.hash());
            orders.customer.push(deal.customer);
            orders.closed_at.push(deal.closed);
            orders.deal.push(row.id);
            orders.amount.push(deal.amount);
            for (column, codes) in orders.dimensions.iter_mut().zip(&deals.dimensions) {
                column.push(codes.get(place).copied().unwrap_or(NO_CODE));
            }
        }
        orders
    }

    /// Refuses amounts whose sum, whatever their signs, could leave 64 bits.
    pub(super) fn guard(
        &self,
        so_far: &AtomicU64,
        amounts: impl Iterator<Item = i64>,
    ) -> Result<(), Error> {
        let known = amounts.filter(|a| *a != NO_AMOUNT);
        let total: u128 = known.map(|a| u128::from(a.unsigned_abs())).sum();
        let total = u64::try_from(total).unwrap_or(u64::MAX).min(i64::MAX as u64 + 1);
        let before = so_far.fetch_add(total, Ordering::Relaxed);
        if before.checked_add(total).is_none_or(|sum| sum > i64::MAX as u64) {
            return Err(Error::Overflow { what: "the sum of all deals' amounts".into() });
        }
        Ok(())
    }
}

/// The dimensions that make a deal's stratum, if anybody asks for it, each with the number of its
/// values, null among them.
fn strata(parts: &Parts<'_>, dimensions: &[Dimension]) -> Vec<(usize, i64)> {
    let asked = parts.wanted.column(Relation::Deals, "stratum");
    let strata = parts.strata.iter().filter(|_| asked).filter_map(|name| {
        let place = dimensions.iter().position(|d| d.name == *name)?;
        Some((place, dimensions.get(place)?.names.len() as i64 + 1))
    });
    strata.collect()
}

/// The dimensions of the run with their names, and the look-up tables that some come from.
fn dimensions<'a>(parts: &Parts<'a>) -> Result<(Vec<Dimension>, Vec<Join<'a>>), Error> {
    let mut known: BTreeMap<String, (Vec<String>, Column)> = BTreeMap::new();
    for (place, name) in parts.event_dimensions.iter().enumerate() {
        let names = parts.event_names.get(place).cloned().unwrap_or_default();
        let ranks = parts.event_ranks.get(place).cloned().unwrap_or_default();
        known.insert(name.clone(), (names, Column::Event(place, ranks)));
    }
    let mut lookups: Vec<Join<'_>> = Vec::with_capacity(parts.lookups.len());
    for lookup in parts.lookups {
        let first = lookups.len();
        lookups.push(Join::new(parts, lookup, parts.dimension_at, Counting::Counted, &known)?);
        for (index, name) in lookup.dimensions.iter().enumerate() {
            let at = parts.at_of.get(name).copied().unwrap_or(parts.dimension_at);
            let own = lookups.iter().skip(first).position(|join| join.at == at);
            let place = match own {
                Some(place) => first + place,
                None => {
                    lookups.push(Join::new(parts, lookup, at, Counting::Again, &known)?);
                    lookups.len() - 1
                }
            };
            if let Some(join) = lookups.get_mut(place) {
                join.dimensions.push(name.clone());
            }
            let (names, by_row) = attribute(lookup, index);
            known.insert(name.clone(), (names, Column::Lookup(place, by_row)));
        }
    }
    let mut dimensions = Vec::with_capacity(parts.dimensions.len());
    for name in parts.dimensions {
        let (names, source) = known
            .remove(name)
            .ok_or_else(|| Error::Bug(format!("dimension {name:?} has no source")))?;
        dimensions.push(Dimension { name: name.clone(), names, source });
    }
    Ok((dimensions, lookups))
}

/// Of no payment the deal has come yet.
fn unclaimed(payments: &Payments) -> Vec<AtomicBool> {
    payments.rows().iter().map(|_| AtomicBool::new(false)).collect()
}

/// The final code of each owner's number: where the owner is a dimension, whose names may be capped,
/// its dictionary is the owners', too.
fn owner_codes(dimensions: &[Dimension], ranks: &[u32]) -> Vec<u32> {
    match dimensions.iter().find(|dimension| dimension.name == "owner").map(|d| &d.source) {
        Some(Column::Event(_, codes)) => codes.clone(),
        _ => ranks.to_vec(),
    }
}

/// A dimension of the run, a deal.
fn codes(source: &Column, chunk: &Chunk, joined: &[Vec<Key>], rows: usize) -> Vec<u32> {
    let code = |codes: &[u32], at: u32| codes.get(at as usize).copied().unwrap_or(NO_CODE);
    match source {
        Column::Event(place, moved) => match chunk.dimensions.get(*place) {
            Some(column) => column.iter().map(|c| code(moved, *c)).collect(),
            None => vec![NO_CODE; rows],
        },
        Column::Lookup(place, by_row) => match joined.get(*place) {
            Some(keys) => keys
                .iter()
                .map(|key| if let Key::Row(row) = key { code(by_row, *row) } else { NO_CODE })
                .collect(),
            None => vec![NO_CODE; rows],
        },
    }
}

/// A dimension while the names are put together.
pub(super) struct Dimension {
    pub(super) name: String,
    pub(super) names: Vec<String>,
    pub(super) source: Column,
}

impl Dimension {
    /// Whether it is the team of an owner.
    fn is_team(&self, lookups: &[Join<'_>], from: &BTreeMap<String, String>) -> bool {
        let Column::Lookup(place, _) = &self.source else { return false };
        let is_of_owner = lookups.get(*place).is_some_and(|j| j.lookup.key == LookupKey::Owner);
        let column = from.get(&self.name).and_then(|origin| origin.split_once('.'));
        is_of_owner && column.is_some_and(|(_, column)| ["team_id", "team"].contains(&column))
    }

    /// Bounds the number of its values; gives how many are no longer named.
    fn cap(&mut self, parts: &Parts<'_>) -> usize {
        let (codes, counts) = match &mut self.source {
            Column::Event(place, codes) => {
                (codes, parts.event_counts.get(*place).cloned().unwrap_or_default())
            }
            Column::Lookup(_, codes) => {
                let counts = vec![1; codes.len()];
                (codes, counts)
            }
        };
        let names = std::mem::take(&mut self.names);
        let capped = cap(names, std::mem::take(codes), &counts, parts.values_max);
        (self.names, *codes) = (capped.names, capped.ranks);
        capped.lumped
    }
}

/// The split key of a hash: its highest bits.
pub(super) fn shard(hash: u64) -> i16 {
    const BITS: u32 = (SHARDS_MAX as u32).trailing_zeros();
    (hash >> (64 - BITS)) as i16
}
