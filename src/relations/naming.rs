//! The names behind the codes of a run: of stages, owners, channels, cost types and dimensions.
//!
//! It knows no rows of deals. Invariant: where the channel is a dimension, its names are those of
//! deals, spend and contacts together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assemble::{Column, Dimension, Parts};
use super::{Dictionaries, Relation, tables_emit};
use crate::contract::NO_CODE;
use crate::quality::{Counts, Rule};
use crate::source::SpendRow;

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
pub(super) fn merge_channel_names(parts: &Parts<'_>, dimensions: &mut [Dimension]) -> Vec<String> {
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

pub(super) fn dictionaries(
    parts: &Parts<'_>,
    dimensions: &[Dimension],
    cost_types: Vec<String>,
) -> Dictionaries {
    let mut names: BTreeMap<String, Arc<Vec<String>>> = BTreeMap::new();
    names.insert("stage".into(), Arc::new(parts.stage_names.clone()));
    names.insert("owner".into(), Arc::new(parts.owners.clone()));
    names.insert("pipeline".into(), Arc::new(parts.pipelines.names.clone()));
    names.insert("funnel".into(), Arc::new(parts.funnels.clone()));
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
    let segment = parts.forecast_segment.and_then(|name| names.get(name).cloned());
    names.insert("forecast_segment".into(), segment.unwrap_or_default());
    let asked = |relation| parts.wanted.relation(relation);
    let long_customers = match asked(Relation::CustomerIds) {
        true => parts.names.customer.freeze().all(),
        false => Vec::new(),
    };
    let long_deals = match asked(Relation::OpenDeals) {
        true => parts.names.deal.freeze().all(),
        false => Vec::new(),
    };
    let (long_customers, long_deals) = (Arc::new(long_customers), Arc::new(long_deals));
    Dictionaries { names, long_customers, long_deals }
}
