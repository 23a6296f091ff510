//! From what the fold emitted to the relations: names sorted, dimensions joined, customers made.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::customers_pass;
use super::frames::Context;
use super::{Dictionaries, Relation, Relations, SHARDS_MAX};
use crate::config::DimensionAt;
use crate::contract::{Id, NO_CODE};
use crate::error::Error;
use crate::fold::{DealColumns, Folded};
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, Ledger, Rule};
use crate::source::{Interners, Lookup, LookupKey, Names, Spend, SpendRow};
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
    pub spend: Option<&'a Spend>,
    /// Of which time a deal's dimensions are.
    pub dimension_at: DimensionAt,
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
pub(super) struct Dimension {
    pub(super) name: String,
    names: Vec<String>,
    pub(super) codes: Vec<u32>,
}

/// Makes all relations but `findings`.
///
/// # Errors
/// A bug of ours: columns do not fit their declaration.
pub fn assemble(mut parts: Parts<'_>) -> Result<Relations, Error> {
    let customers = parts.names.customer.freeze();
    let mut dimensions = dimensions(&mut parts, &customers)?;
    let spend_names = merge_channel_names(&parts, &mut dimensions);
    let dictionaries = dictionaries(&parts, &dimensions, spend_names);
    let deals = std::mem::take(&mut parts.folded.deals);
    let visits = std::mem::take(&mut parts.folded.visits);
    let shards: Vec<i16> = deals
        .customer
        .iter()
        .zip(&deals.deal_hash)
        .map(|(customer, hash)| shard(if customer.is_none() { *hash } else { customer.hash() }))
        .collect();
    guard_amounts(&deals)?;
    let orders = customers_pass::orders(&deals, &parts.names.deal);
    let context = Context { parts: &parts, dimensions: &dimensions, dictionaries: &dictionaries };
    let mut frames = BTreeMap::new();
    if deals.customer.iter().any(|c| !c.is_none()) {
        frames.insert(Relation::Orders, context.orders(&deals, &orders)?);
        let (customers, periods) = context.customers(&deals, &orders)?;
        frames.insert(Relation::Customers, customers);
        frames.insert(Relation::CustomerPeriods, periods);
    }
    if let Some(spend) = parts.spend {
        frames.insert(Relation::Spend, context.spend(&spend.rows)?);
    }
    frames.insert(Relation::Visits, context.visits(visits, &deals, &shards)?);
    frames.insert(Relation::Deals, context.deals(deals, shards, &orders)?);
    Ok(Relations { frames, dictionaries })
}

/// Refuses amounts whose sum, whatever their signs, could leave 64 bits.
fn guard_amounts(deals: &DealColumns) -> Result<(), Error> {
    let known = deals.amount.iter().filter(|a| **a != NO_AMOUNT);
    let total: i128 = known.map(|a| i128::from(*a).abs()).sum();
    if total > i128::from(i64::MAX) {
        return Err(Error::Overflow { what: "the sum of all deals' amounts".into() });
    }
    Ok(())
}

/// The split key of a hash: its highest bits.
pub(super) fn shard(hash: u64) -> i16 {
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
        LookupKey::Owner => by_code(&parts.owners, &owners_at(deals, parts.dimension_at)),
        LookupKey::Dimension(name) => {
            let dimension = dimensions
                .get(name)
                .ok_or_else(|| Error::Bug(format!("look-up by unknown dimension {name:?}")))?;
            by_code(&dimension.names, &dimension.codes)
        }
        LookupKey::Customer => {
            let mut known: HashMap<Id, Key> = HashMap::new();
            let lead = |id: Id| customers.text(id).map_or(Key::Null, |name| find(&name));
            deals.customer.iter().map(|id| *known.entry(*id).or_insert_with(|| lead(*id))).collect()
        }
    })
}

/// The owner whose attributes a deal carries: of the time that its dimensions are of (G18).
fn owners_at(deals: &DealColumns, at: DimensionAt) -> Vec<u32> {
    match at {
        DimensionAt::AsOf => deals.owner.clone(),
        DimensionAt::Created => deals.owner_at_creation.clone(),
        DimensionAt::Close => {
            let pairs = deals.owner_at_close.iter().zip(&deals.owner);
            pairs.map(|(close, now)| if *close == NO_CODE { *now } else { *close }).collect()
        }
    }
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

/// Counts spend on channels that no deal has: their cost would find no customers.
fn count_orphan_channels(parts: &Parts<'_>, input: &str, spend: &[SpendRow], known: &[String]) {
    let orphan = |row: &&SpendRow| {
        row.channel.as_ref().is_some_and(|name| known.binary_search(name).is_err())
    };
    let mut counts = Counts::default();
    counts.add(Rule::OrphanChannels, spend.iter().filter(orphan).count() as u64);
    parts.ledger.record(input, &counts);
}

/// Makes the channel dimension's names those of deals and spend together, and returns the names of
/// the cost types.
fn merge_channel_names(parts: &Parts<'_>, dimensions: &mut [Dimension]) -> Vec<String> {
    let Some(spend) = parts.spend else { return Vec::new() };
    let of = spend.inputs.first().map_or("", |input| input.name.as_str());
    let spend = &spend.rows;
    if let Some(dimension) = dimensions.iter_mut().find(|d| Some(d.name.as_str()) == parts.channel)
    {
        count_orphan_channels(parts, of, spend, &dimension.names);
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
        let spend = parts.spend.map_or(&[][..], |s| &s.rows);
        let mut all: Vec<String> = spend.iter().filter_map(|r| r.channel.clone()).collect();
        all.sort();
        all.dedup();
        channels = Arc::new(all);
    }
    names.insert("channel".into(), channels);
    names.insert("cost_type".into(), Arc::new(cost_types));
    Dictionaries { names }
}
