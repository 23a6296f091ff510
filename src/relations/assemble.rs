//! From what the fold emits to the relations, a chunk at a time: names sorted, dimensions joined,
//! orders taken out for the pass over customers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::batch::{Batch, Wanted};
use super::cap::cap;
use super::emit::Deals;
use super::joins::{Counting, Join, Key, attribute};
use super::orders_pass::OrderColumns;
use super::tables_emit::{self, Optional};
use super::{Dictionaries, Relation, SHARDS_MAX};
use crate::config::DimensionAt;
use crate::contract::{NO_CODE, PipelineNames, StageTable};
use crate::error::Error;
use crate::fold::machine::Outcome;
use crate::fold::{Chunk, Content, DealRow};
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, Ledger, Rule};
use crate::source::{
    Interners, Lookup, LookupKey, Names, Payments, Spend, SpendRow, Splits, Tables,
};
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
    /// So many days before the run's instant are held out of the calibration of models.
    pub holdout_days: u32,
    /// The run's instant.
    pub as_of: Instant,
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
    pub(super) lookups: Vec<Join<'a>>,
    /// The dimensions that are the team of an owner.
    pub(super) team_dimensions: Vec<String>,
    pub(super) optional: Option<Optional<'a>>,
    pub(super) customers: Names,
    pub(super) names: &'a Interners,
    pub(super) channel: Option<usize>,
    pub(super) cost_types: &'a [String],
    pub(super) calendar: Calendar,
    pub(super) starts: Starts,
    pub(super) resolution: Resolution,
    /// First days of every configured period.
    pub(super) period_starts: Vec<Starts>,
    pub(super) as_of: Instant,
    pub(super) holdout_days: u32,
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
    entries: AtomicU64,
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
        let mut known: BTreeMap<String, (Vec<String>, Column)> = BTreeMap::new();
        for (place, name) in parts.event_dimensions.iter().enumerate() {
            let names = parts.event_names.get(place).cloned().unwrap_or_default();
            let ranks = parts.event_ranks.get(place).cloned().unwrap_or_default();
            known.insert(name.clone(), (names, Column::Event(place, ranks)));
        }
        let mut lookups: Vec<Join<'_>> = Vec::with_capacity(parts.lookups.len());
        for lookup in parts.lookups {
            let first = lookups.len();
            lookups.push(Join::new(&parts, lookup, parts.dimension_at, Counting::Counted, &known)?);
            for (index, name) in lookup.dimensions.iter().enumerate() {
                let at = parts.at_of.get(name).copied().unwrap_or(parts.dimension_at);
                let own = lookups.iter().skip(first).position(|join| join.at == at);
                let place = match own {
                    Some(place) => first + place,
                    None => {
                        lookups.push(Join::new(&parts, lookup, at, Counting::Again, &known)?);
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
        // The channel is matched with that of the spend, whatever its values.
        let capped = dimensions.iter_mut().filter(|d| Some(d.name.as_str()) != parts.channel);
        let lumped = capped.map(|dimension| dimension.cap(&parts) as u64).sum();
        let cost_types = merge_channel_names(&parts, &mut dimensions);
        let dictionaries = dictionaries(&parts, &dimensions, cost_types);
        let teams = dimensions.iter().filter(|d| d.is_team(&lookups, parts.from));
        let optional = Optional::new(&parts);
        let channel = dimensions.iter().position(|d| Some(d.name.as_str()) == parts.channel);
        let periods = parts.periods.iter().filter(|period| **period != Period::All);
        let period_starts = periods.map(|period| Starts::new(parts.calendar, *period));
        Ok(Self {
            stages: parts.stages,
            pipelines: parts.pipelines,
            stage_codes: parts.stage_codes,
            owner_codes: owner_codes(&dimensions, &parts.owner_ranks),
            owner_ranks: parts.owner_ranks,
            dimensions: dimensions.iter().map(|d| d.name.clone()).collect(),
            team_dimensions: teams.map(|d| d.name.clone()).collect(),
            sources: dimensions.into_iter().map(|d| d.source).collect(),
            optional,
            lookups,
            customers,
            names: parts.names,
            channel,
            cost_types: parts.cost_types,
            calendar: parts.calendar,
            starts: Starts::new(parts.calendar, parts.base),
            resolution: parts.resolution,
            period_starts: period_starts.collect(),
            as_of: parts.as_of,
            holdout_days: parts.holdout_days,
            ledger: parts.ledger,
            wanted: parts.wanted,
            payments: parts.payments,
            claimed: parts.payments.map_or_else(Vec::new, unclaimed),
            splits: parts.splits,
            has_customers: AtomicBool::new(false),
            has_payers: AtomicBool::new(false),
            paid_amounts: AtomicU64::new(0),
            amounts: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            dictionaries,
            lumped,
            only_order_of: None,
        })
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
        if let Some(optional) = self.optional.as_ref().filter(|_| has_deals) {
            optional.note(chunk);
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
        if has_deals && self.wanted.relation(Relation::Bookings) {
            let all = &chunk.bookings;
            self.guard(&self.entries, all.iter().map(|row| row.entry.amount))?;
            for (number, rows) in all.chunks(VISITS_A_BATCH).enumerate() {
                take(&self.bookings(&deals, number * VISITS_A_BATCH, rows)?)?;
            }
        }
        if !has_deals {
            return Ok(Transactions::default());
        }
        if self.wanted.relation(Relation::PipelineStock) {
            self.pipeline_stock(&deals, &take)?;
        }
        if self.wanted.relation(Relation::PipelineFlows) {
            self.pipeline_flows(&deals, &take)?;
        }
        if self.wanted.relation(Relation::Credits) {
            self.credits(&deals, &take)?;
        }
        let paid = self.paid(&deals, &take)?;
        let customers = [
            Relation::Orders,
            Relation::Customers,
            Relation::CustomerIds,
            Relation::CustomerPeriods,
        ];
        // With payments, the relations about customers are made of them.
        let of_deals = if self.payments.is_some() { 1 } else { customers.len() };
        let mut of_deals = customers.into_iter().take(of_deals);
        if of_deals.any(|relation| self.wanted.relation(relation)) {
            return Ok(Transactions { won: self.orders_of(&deals), paid });
        }
        Ok(Transactions { paid, ..Transactions::default() })
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
struct Dimension {
    name: String,
    names: Vec<String>,
    source: Column,
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

/// Counts spend on channels that no deal has: their cost would find no customers.
fn count_orphan_channels(parts: &Parts<'_>, input: &str, spend: &[SpendRow], known: &[String]) {
    let orphan = |row: &&SpendRow| {
        row.channel.as_ref().is_some_and(|name| known.binary_search(name).is_err())
    };
    if input.is_empty() {
        return;
    }
    let mut counts = Counts::default();
    counts.add(Rule::OrphanChannels, spend.iter().filter(orphan).count() as u64);
    // Where neither is wanted, the deals' channels may not have been read.
    if [Relation::Spend, Relation::Findings].into_iter().any(|r| parts.wanted.relation(r)) {
        parts.ledger.record(input, &counts);
    }
}

/// Makes the channel dimension's names those of deals and spend together, and returns the names of
/// the cost types.
fn merge_channel_names(parts: &Parts<'_>, dimensions: &mut [Dimension]) -> Vec<String> {
    let touches = parts.tables.and_then(|tables| tables.touches.as_ref());
    if parts.spend.is_none() && touches.is_none() {
        return Vec::new();
    }
    let inputs = parts.spend.map_or(&[][..], |spend| &spend.inputs);
    let of = inputs.first().map_or("", |input| input.name.as_str());
    let spend = parts.spend.map_or(&[][..], |spend| &spend.rows);
    if let Some(dimension) = dimensions.iter_mut().find(|d| Some(d.name.as_str()) == parts.channel)
    {
        count_orphan_channels(parts, of, spend, &dimension.names);
        let mut all = dimension.names.clone();
        all.extend(spend.iter().filter_map(|row| row.channel.clone()));
        all.extend(touches.into_iter().flatten().filter_map(|row| row.channel.clone()));
        all.sort();
        all.dedup();
        let place = |name: &String| all.binary_search(name).map_or(NO_CODE, |c| c as u32);
        let moved: Vec<u32> = dimension.names.iter().map(place).collect();
        let (Column::Event(_, codes) | Column::Lookup(_, codes)) = &mut dimension.source;
        for code in codes {
            *code = moved.get(*code as usize).copied().unwrap_or(NO_CODE);
        }
        dimension.names = all;
    } else {
        count_orphan_channels(parts, of, spend, &[]);
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
    names.insert("stage".into(), Arc::new(parts.stage_names.clone()));
    names.insert("owner".into(), Arc::new(parts.owners.clone()));
    names.insert("pipeline".into(), Arc::new(parts.pipelines.names.clone()));
    let mut channels = Arc::default();
    for dimension in dimensions {
        let shared = Arc::new(dimension.names.clone());
        if Some(dimension.name.as_str()) == parts.channel {
            channels = shared.clone();
        }
        names.insert(dimension.name.clone(), shared);
    }
    if parts.channel.is_none() {
        let spend = parts.spend.map_or(&[][..], |s| &s.rows);
        let mut all: Vec<String> = spend.iter().filter_map(|r| r.channel.clone()).collect();
        let touches = parts.tables.iter().flat_map(|tables| tables.touches.iter().flatten());
        all.extend(touches.filter_map(|row| row.channel.clone()));
        all.sort();
        all.dedup();
        channels = Arc::new(all);
    }
    names.insert("channel".into(), channels);
    names.insert("cost_type".into(), Arc::new(cost_types));
    for (key, own) in parts.tables.iter().flat_map(|tables| tables_emit::dictionaries(tables)) {
        names.insert(key.into(), own);
    }
    let asked = parts.wanted.relation(Relation::CustomerIds);
    let long_customers = if asked { parts.names.customer.freeze().all() } else { Vec::new() };
    Dictionaries { names, long_customers: Arc::new(long_customers) }
}
