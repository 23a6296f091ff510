//! Which attributes of the events the tables of a run need, so that the others are not read.

use std::collections::BTreeSet;

use crate::config::{Config, Severity};
use crate::relations::{Relation, Wanted};
use crate::source::Attribute;

/// The attributes to read; `None` for all.
///
/// Everything is read where the inputs are judged by a table or may end the run, so that no rule is
/// counted over what was not read.
pub(super) fn needed(
    config: &Config,
    wanted: &Wanted,
    channel: Option<&str>,
) -> Option<BTreeSet<Attribute>> {
    let Wanted::Columns(columns) = wanted else { return None };
    let fails = config.quality.severity.values().any(|s| *s == Severity::Fail);
    if wanted.relation(Relation::Findings) || fails {
        return None;
    }
    let mut needed = BTreeSet::new();
    for (relation, columns) in columns {
        if *relation == Relation::Orders || Relation::OF_CUSTOMERS.contains(relation) {
            needed.extend([Attribute::Customer, Attribute::Amount]);
        }
        if *relation == Relation::Bookings {
            // How many entries there are depends on what can change.
            needed.insert(Attribute::Amount);
            let all = config.dimensions.columns.iter();
            needed.extend(all.filter_map(|name| of_dimension(config, name.clone())));
        }
        if *relation == Relation::Surveys && columns.contains("is_bought_again") {
            needed.insert(Attribute::Amount);
        }
        if *relation == Relation::Surveys && columns.contains("owner_at_answer") {
            needed.insert(Attribute::Owner);
        }
        if matches!(relation, Relation::PipelineStock | Relation::PipelineFlows) {
            // The same of when a deal comes and goes.
            let told = [Attribute::Amount, Attribute::ExpectedClose, Attribute::Probability];
            needed.extend(told);
            let all = config.dimensions.columns.iter();
            needed.extend(all.filter_map(|name| of_dimension(config, name.clone())));
        }
        if let Some(joined_by) = named_by(*relation) {
            // Whether a deal has what their rows name; their own columns are not of the events.
            needed.insert(joined_by);
            continue;
        }
        for column in columns.iter().filter(|_| *relation != Relation::Spend) {
            needed.extend(attribute(column));
            if column == "stratum" {
                let strata = config.dimensions.strata.iter().cloned();
                needed.extend(strata.filter_map(|name| of_dimension(config, name)));
            }
            let channel = channel.filter(|_| column == "channel").map(str::to_owned);
            let segment = config.forecast.segment.clone();
            let segment = segment.filter(|_| column == "forecast_segment");
            let dimension = config.dimensions.columns.contains(column).then(|| column.clone());
            for name in channel.into_iter().chain(segment).chain(dimension) {
                needed.extend(of_dimension(config, name));
            }
        }
    }
    Some(needed)
}

/// What the rows of an optional table name of the deals.
fn named_by(relation: Relation) -> Option<Attribute> {
    match relation {
        Relation::Targets => Some(Attribute::Owner),
        Relation::Surveys
        | Relation::SurveyWaves
        | Relation::Touches
        | Relation::Contracts
        | Relation::ContractPeriods => Some(Attribute::Customer),
        _ => None,
    }
}

/// The attribute that a relation's column is made of.
fn attribute(column: &str) -> Option<Attribute> {
    match column {
        "has_customer" | "shard" => Some(Attribute::Customer),
        "is_overdue" | "pushes_n" | "expected_close_on" | "expected_close_period" => {
            Some(Attribute::ExpectedClose)
        }
        "amount_class" => Some(Attribute::Amount),
        "probability_ppm" | "has_probability" => Some(Attribute::Probability),
        "amount_ln_milli" => Some(Attribute::Amount),
        "credited_owner" | "deal_owner" | "credited_team" | "team_of_owner" => {
            Some(Attribute::Owner)
        }
        _ if column.starts_with("owner") => Some(Attribute::Owner),
        _ if column.ends_with("amount") => Some(Attribute::Amount),
        _ => None,
    }
}

/// What a dimension is made of: a column of its own, or the key of its look-up.
fn of_dimension(config: &Config, name: String) -> Option<Attribute> {
    let Some(origin) = config.dimensions.from.get(&name) else {
        return Some(Attribute::Dimension(name));
    };
    let (input, _) = origin.split_once('.')?;
    match config.inputs.get(input)?.key.as_deref() {
        Some("customer_id") => Some(Attribute::Customer),
        Some("owner_id") => Some(Attribute::Owner),
        key => key.map(|key| Attribute::Dimension(key.to_owned())),
    }
}
