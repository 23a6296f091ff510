//! What the relations are assembled of, and which of them a run can have.

use std::collections::{BTreeMap, BTreeSet};

use super::focus::Focus;
use super::rules;
use super::tables::{self, Given};
use crate::config::{Config, Resolved, Shape};
use crate::contract::StageTable;
use crate::error::Error;
use crate::fold::following::Follows;
use crate::fold::{Asked, Booking, Replaying};
use crate::quality::Ledger;
use crate::relations::assemble::{Assembler, Parts};
use crate::relations::{Relation, Wanted};
use crate::source::{Interners, Lookup};
use crate::time::{Instant, Period};

/// The relations that can be made of these inputs.
pub(super) fn present(
    config: &Config,
    assembler: &Assembler<'_>,
    given: &Given,
) -> BTreeSet<Relation> {
    let mut present = BTreeSet::from([
        Relation::Visits,
        Relation::Deals,
        Relation::StageEntries,
        Relation::OpenDeals,
        Relation::Follows,
        Relation::PipelineStock,
        Relation::PipelineFlows,
        Relation::Bookings,
        Relation::Credits,
    ]);
    if !config.funnels.is_empty() {
        present.insert(Relation::FunnelSteps);
    }
    present.insert(Relation::Findings);
    if assembler.has_customers() {
        present.insert(Relation::Orders);
    }
    if assembler.has_payers() {
        present.extend(Relation::OF_CUSTOMERS);
    }
    if assembler.history_begins() {
        present.insert(Relation::LateEntries);
    }
    present.extend(given.relations());
    present
}

/// What the assembler is made of.
pub(super) struct AssemblyOf<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) config: &'a Config,
    pub(super) stages: &'a StageTable,
    pub(super) event_dimensions: &'a [String],
    pub(super) names: &'a Interners,
    pub(super) lookups: &'a [Lookup],
    pub(super) given: &'a Given,
    pub(super) reads_all: bool,
    pub(super) channel: Option<&'a str>,
    pub(super) periods: &'a [Period],
    pub(super) as_of: Instant,
    pub(super) ledger: &'a Ledger,
    pub(super) wanted: &'a Wanted,
    pub(super) event_counts: Vec<Vec<u64>>,
    pub(super) focus: Option<Focus>,
}

/// The assembler of the relations.
///
/// # Errors
/// A bug of ours: a dimension has no source.
pub(super) fn assembler<'a>(of: &AssemblyOf<'a>) -> Result<Assembler<'a>, Error> {
    let (stage_names, stage_codes) = of.stages.finish();
    let (owners, owner_ranks) = of.names.owner.freeze().ranked();
    let dimensions = of.names.dimensions.iter().map(|d| d.freeze().ranked());
    let (event_names, event_ranks) = dimensions.unzip::<_, _, Vec<_>, Vec<_>>();
    let mut assembler = Assembler::new(Parts {
        stages: of.stages,
        pipelines: of.stages.pipeline_names(),
        stage_names,
        stage_codes,
        funnels: of.config.funnels.keys().cloned().collect(),
        dimensions: &of.config.dimensions.columns,
        event_dimensions: of.event_dimensions,
        event_names,
        event_ranks,
        event_counts: of.event_counts.clone(),
        strata: &of.config.dimensions.strata,
        values_max: of.config.dimensions.values_max,
        owners,
        owner_ranks,
        names: of.names,
        lookups: of.lookups,
        spend: of.given.spend.as_ref(),
        payments: of.given.payments.as_ref(),
        splits: of.given.splits.as_ref(),
        tables: of.given.tables(),
        reads_all: of.reads_all,
        dimension_at: of.config.dimensions.at,
        from: &of.config.dimensions.from,
        at_of: &of.config.dimensions.at_of,
        channel: of.channel,
        forecast_segment: of.config.forecast.segment.as_deref(),
        cost_types: &of.config.acquisition.cost_types,
        calendar: of.resolved.calendar,
        resolution: of.config.run.resolution,
        base: of.resolved.calendar.base(of.periods),
        periods: of.periods,
        habits: rules::habits(of.config),
        as_of: of.as_of,
        history_from: of.resolved.history_from,
        ledger: of.ledger,
        wanted: of.wanted,
    })?;
    assembler.only_order_of = of.focus.map(|focus| focus.deal);
    Ok(assembler)
}

/// What is asked of the fold beside deals and visits.
pub(super) fn asked(wanted: &Wanted, lookups: &[Lookup]) -> Asked {
    let is_asked = |dimension: &String| wanted.column(Relation::Bookings, dimension);
    let booking = if lookups.iter().any(|lookup| lookup.dimensions.iter().any(is_asked)) {
        Booking::WithKeys
    } else if wanted.relation(Relation::Bookings) || wanted.column(Relation::Deals, "held_amount") {
        Booking::Read
    } else {
        Booking::Unread
    };
    let follows = if wanted.relation(Relation::Follows) { Follows::Read } else { Follows::Unread };
    let replayed = [Relation::PipelineStock, Relation::PipelineFlows];
    let is_replayed = replayed.into_iter().any(|relation| wanted.relation(relation));
    let replaying = if is_replayed { Replaying::Read } else { Replaying::Unread };
    Asked { booking, follows, replaying }
}

/// The relations that a run can have by its configuration, with the dimensions that each carries.
#[must_use]
pub fn carried(resolved: &Resolved) -> BTreeMap<Relation, Vec<String>> {
    let config = &resolved.config;
    let all = &config.dimensions.columns;
    let of = |relation: Relation| match relation {
        Relation::CustomerIds | Relation::Findings => Some(Vec::new()),
        Relation::LateEntries => resolved.history_from.is_some().then(|| all.clone()),
        Relation::FunnelSteps => (!config.funnels.is_empty()).then(|| all.clone()),
        Relation::Payments => {
            let given = resolved.inputs.values().any(|i| i.declared.shape == Shape::Payments);
            given.then(|| all.clone())
        }
        Relation::Spend => {
            // As resolved: an input named `spend` need not say its shape.
            let given = resolved.inputs.values().any(|i| i.declared.shape == Shape::Spend);
            let channel = channel(config).into_iter().filter(|c| all.contains(c));
            given.then(|| channel.collect())
        }
        relation if tables::is_table(relation) => {
            tables::carried(resolved, relation, channel(config).as_deref())
        }
        _ => Some(all.clone()),
    };
    Relation::EVERY.into_iter().filter_map(|r| Some((r, of(r)?))).collect()
}

/// The dimensions whose values are people or teams: owners, and what a look-up says of owners.
#[must_use]
pub fn people(config: &Config) -> Vec<String> {
    let is_of_owners = |name: &&String| match config.dimensions.from.get(*name) {
        None => ["owner", "owner_id"].contains(&name.as_str()),
        Some(origin) => origin.split_once('.').is_some_and(|(input, _)| {
            let key = config.inputs.get(input).and_then(|input| input.key.as_deref());
            input == "users" || key == Some("owner_id")
        }),
    };
    config.dimensions.columns.iter().filter(is_of_owners).cloned().collect()
}

/// The dimension that is the acquisition channel: as configured, or `source` where there is one.
pub(super) fn channel(config: &Config) -> Option<String> {
    let source = config.dimensions.columns.iter().find(|d| *d == "source");
    config.acquisition.channel.clone().or_else(|| source.cloned())
}
