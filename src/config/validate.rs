//! What a configuration must keep beyond its types. All violations are gathered, none stops the
//! next; whether a path exists is the source's question, not this one's.

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{
    Config, CustomMetric, Input, Merged, Severity, Shape, clv, customers, fiscal, forecast, goals,
    inputs, pipelines, process, tables,
};
use crate::metrics::{REGISTRY, common_columns};
use crate::quality::Rule;
use crate::relations::{Relation, SHARDS_MAX};

/// Gathers every violation.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    check_run(config, problems);
    fiscal::check(config, problems);
    pipelines::check(config, problems);
    process::check(config, problems);
    check_dimensions(config, problems);
    check_metrics(&config.metrics, problems);
    check_only(config, problems);
    tables::check(config, problems);
    inputs::check(config, problems);
    check_quality(config, problems);
    if config.fold.merged == Merged::Union && !config.inputs.contains_key("merges") {
        problems.add("fold.merged", "\"union\" needs to know which deals: add [inputs.merges]");
    }
    clv::check(&config.clv, problems);
    forecast::check(config, problems);
    let segment = config.forecast.segment.iter();
    for name in segment.filter(|name| !config.dimensions.columns.contains(name)) {
        unknown_dimension("forecast.segment", name, config, problems);
    }
    customers::check(&config.customers, &config.tiers, problems);
    goals::check(config, problems);
    let channel = config.acquisition.channel.iter();
    for name in channel.filter(|name| !config.dimensions.columns.contains(name)) {
        unknown_dimension("acquisition.channel", name, config, problems);
    }
}

/// No machine has more, and each thread keeps tables of its own.
const THREADS_MAX: usize = 1024;

fn check_quality(config: &Config, problems: &mut Problems<'_>) {
    let quality = &config.quality;
    for name in quality.severity.keys() {
        let rules = Rule::EVERY.iter().map(|rule| rule.name());
        if !rules.clone().any(|rule| rule == name) {
            let meant = did_you_mean(name, rules);
            let problem = format!("there is no such rule{meant}");
            problems.add(&format!("quality.severity.{name}"), problem);
        }
    }
    for (name, severity) in &quality.severity {
        let rule = Rule::EVERY.iter().find(|rule| rule.name() == name);
        if let Some(rule) = rule.filter(|rule| !rule.allows(*severity)) {
            let problem = if rule.default_severity() == Severity::Quarantine {
                "such rows cannot be folded: expected \"quarantine\" or \"fail\""
            } else {
                "it keeps no row out: expected \"ignore\", \"warn\" or \"fail\""
            };
            problems.add(&format!("quality.severity.{name}"), problem);
        }
    }
    let floors = [("rate_floor", quality.rate_floor), ("quantile_floor", quality.quantile_floor)];
    for (key, floor) in floors {
        if floor < 0 {
            problems.add(&format!("quality.{key}"), format!("expected 0 or more, found {floor}"));
        }
    }
}

/// More leave nobody to be compared with.
const STRATA_MAX: usize = 4;

/// A century: no deal is planned longer.
const DAYS_MAX: u32 = 36_525;

fn check_run(config: &Config, problems: &mut Problems<'_>) {
    let run = &config.run;
    if let Some(days) = run.horizons_days.iter().find(|d| !(1..=DAYS_MAX).contains(*d)) {
        let problem = format!("expected 1 to {DAYS_MAX} days, found {days}");
        problems.add("run.horizons_days", problem);
    }
    if let Some(threads) = run.threads
        && !(1..=THREADS_MAX).contains(&threads)
    {
        let problem = format!("expected 1 to {THREADS_MAX}, found {threads}");
        problems.add("run.threads", &problem);
    }
    let most = usize::try_from(SHARDS_MAX).unwrap_or(usize::MAX);
    if !(1..=most).contains(&run.shards) {
        problems.add("run.shards", format!("expected 1 to {most}, found {}", run.shards));
    }
    if run.shards > 1 && run.memory_limit.is_some() {
        let problem = "several shards are computed from whole relations, which no memory_limit \
                       bounds; leave out one of the two";
        problems.add("run.shards", problem);
    }
    if run.keep_runs == 0 {
        problems.add("run.keep_runs", "expected 1 or more, found 0");
    }
    if run.scratch.as_ref().is_some_and(|folder| folder.as_os_str().is_empty()) {
        problems.add("run.scratch", "the path is empty");
    }
    if run.output.as_os_str().is_empty() {
        problems.add("run.output", "the path is empty");
    }
}

fn check_dimensions(config: &Config, problems: &mut Problems<'_>) {
    let dimensions = &config.dimensions;
    for (position, name) in dimensions.columns.iter().enumerate() {
        let key = "dimensions.columns";
        if dimensions.columns.iter().take(position).any(|earlier| earlier == name) {
            problems.add(key, format!("dimension {name:?} is listed twice"));
        }
        if name.is_empty() || name.chars().any(|c| c == '+' || c.is_control()) {
            problems.add(key, format!("{name:?} cannot be the name of a dimension"));
        }
        if let Some(taken) = taken_by(name) {
            let advice = "give it another name and map it in [inputs.deal_events.columns]";
            problems.add(key, format!("the name {name:?} is taken by {taken}; {advice}"));
        }
    }
    if dimensions.values_max == 0 {
        problems.add("dimensions.values_max", "expected 1 or more, found 0");
    }
    for name in dimensions.strata.iter().filter(|name| !dimensions.columns.contains(name)) {
        unknown_dimension("dimensions.strata", name, config, problems);
    }
    if dimensions.strata.len() > STRATA_MAX {
        let found = dimensions.strata.len();
        problems.add("dimensions.strata", format!("expected {STRATA_MAX} at most, found {found}"));
    }
    if let Some(slices) = &dimensions.slices {
        check_slices("dimensions.slices", slices, config, problems);
    }
    for (name, origin) in &dimensions.from {
        let key = format!("dimensions.from.{name}");
        if !dimensions.columns.contains(name) {
            unknown_dimension(&key, name, config, problems);
        }
        check_origin(&key, origin, config, problems);
    }
    for name in dimensions.at_of.keys() {
        let key = format!("dimensions.at_of.{name}");
        if !dimensions.columns.contains(name) {
            unknown_dimension(&key, name, config, problems);
            continue;
        }
        let origin = dimensions.from.get(name).and_then(|origin| origin.split_once('.'));
        let input = origin.and_then(|(table, _)| config.inputs.get_key_value(table));
        let by = input.and_then(|(name, input)| inputs::key_of(name, input));
        if !by.is_some_and(|by| ["owner_id", "customer_id"].contains(&by.as_str())) {
            let problem = "only a dimension from users, customers or another look-up table by \
                           owner_id or customer_id has a time of its own; for the others there \
                           is [dimensions] at";
            problems.add(&key, problem);
        }
    }
}

/// Whether the sets given under `key` are of known dimensions, none twice.
pub(super) fn check_slices(
    key: &str,
    slices: &[Vec<String>],
    config: &Config,
    problems: &mut Problems<'_>,
) {
    for slice in slices {
        for (position, name) in slice.iter().enumerate() {
            if !config.dimensions.columns.contains(name) {
                unknown_dimension(key, name, config, problems);
            }
            if slice.iter().take(position).any(|earlier| earlier == name) {
                problems.add(key, format!("dimension {name:?} is twice in one slice"));
            }
        }
    }
}

fn check_origin(key: &str, origin: &str, config: &Config, problems: &mut Problems<'_>) {
    let Some((table, column)) = origin.split_once('.').filter(|(_, column)| !column.is_empty())
    else {
        problems.add(key, format!("expected \"table.column\", found {origin:?}"));
        return;
    };
    let is_lookup =
        |(name, input): &(&String, &Input)| inputs::shape_of(name, input) == Shape::Lookup;
    let lookups = config.inputs.iter().filter(is_lookup);
    let names: Vec<&str> = lookups.map(|(name, _)| name.as_str()).collect();
    if !names.contains(&table) {
        let meant = match did_you_mean(table, names.iter().copied()) {
            meant if !meant.is_empty() => meant,
            _ if names.is_empty() => "; there is no look-up table at all".to_owned(),
            _ => format!("; the look-up tables are {}", names.join(", ")),
        };
        let problem =
            format!("no input {table:?} of shape \"lookup\" for column {column:?}{meant}");
        problems.add(key, problem);
    }
}

fn unknown_dimension(key: &str, name: &str, config: &Config, problems: &mut Problems<'_>) {
    let known = config.dimensions.columns.iter().map(String::as_str);
    let meant = did_you_mean(name, known);
    problems.add(key, format!("{name:?} is not in dimensions.columns{meant}"));
}

/// What already has this name where a dimension would stand.
fn taken_by(name: &str) -> Option<String> {
    if name == "shard" || common_columns(&[]).iter().any(|spec| spec.name == name) {
        return Some("every table".into());
    }
    // The owners of the relations are those of the dimension `owner`, so it alone may share a name.
    let own = [
        Relation::Visits,
        Relation::Deals,
        Relation::Follows,
        Relation::FunnelSteps,
        Relation::Bookings,
        Relation::PipelineStock,
        Relation::PipelineFlows,
        Relation::Orders,
        Relation::Customers,
        Relation::Credits,
        Relation::Payments,
    ];
    let tables = [Relation::Targets, Relation::Surveys, Relation::Touches, Relation::Contracts];
    let mut columns = own.into_iter().chain(tables).flat_map(|relation| relation.columns());
    if name != "owner" && columns.any(|column| column.name == name) {
        return Some("a column of the relations".into());
    }
    let metric = REGISTRY.iter().find(|m| m.output.iter().any(|spec| spec.name == name))?;
    Some(format!("a column of the table {:?}", metric.name))
}

fn check_metrics(metrics: &[CustomMetric], problems: &mut Problems<'_>) {
    for (position, metric) in metrics.iter().enumerate() {
        let key = |field: &str| format!("metrics.{position}.{field}");
        let name = metric.name.as_str();
        if !is_snake_case(name) {
            problems.add(&key("name"), format!("expected a name in snake_case, found {name:?}"));
        }
        if REGISTRY.iter().any(|m| m.name == name) {
            problems.add(&key("name"), format!("there is already a table {name:?}"));
        }
        if metrics.iter().take(position).any(|earlier| earlier.name == name) {
            problems.add(&key("name"), format!("two metrics are named {name:?}"));
        }
        let relations = Relation::EVERY.map(Relation::name);
        if !relations.contains(&metric.relation.as_str()) {
            let meant = did_you_mean(&metric.relation, relations);
            let known = relations.join(", ");
            let problem = format!("unknown relation {:?}{meant} (known: {known})", metric.relation);
            problems.add(&key("relation"), problem);
        }
        if metric.sql.trim().is_empty() {
            problems.add(&key("sql"), "the query is missing");
        }
    }
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn check_only(config: &Config, problems: &mut Problems<'_>) {
    let known = table_names(config);
    for name in &config.run.only {
        if !known.contains(&name.as_str()) {
            let meant = did_you_mean(name, known.iter().copied());
            problems.add("run.only", format!("unknown table {name:?}{meant}"));
        }
    }
}

/// Every table there is: those of the program, then the user's own.
pub(super) fn table_names(config: &Config) -> Vec<&str> {
    let custom = config.metrics.iter().map(|metric| metric.name.as_str());
    REGISTRY.iter().map(|metric| metric.name).chain(custom).collect()
}
