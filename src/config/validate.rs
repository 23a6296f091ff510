//! What a configuration must keep beyond its types. All violations are gathered, none stops the
//! next; whether a path exists is the source's question, not this one's.

use std::collections::BTreeMap;

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{Config, CustomMetric, Input, Shape};
use crate::metrics::{REGISTRY, common_columns};
use crate::relations::{Relation, SHARDS_MAX};

/// The input every run needs.
pub(super) const DEAL_EVENTS: &str = "deal_events";
/// The input of shape `spend`.
pub(super) const SPEND: &str = "spend";

/// Gathers every violation.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    check_run(config, problems);
    check_pipeline(config, problems);
    check_dimensions(config, problems);
    check_metrics(&config.metrics, problems);
    check_only(config, problems);
    check_inputs(config, problems);
    let channel = config.acquisition.channel.iter();
    for name in channel.filter(|name| !config.dimensions.columns.contains(name)) {
        unknown_dimension("acquisition.channel", name, config, problems);
    }
    for (key, floor) in [
        ("rate_floor", config.quality.rate_floor),
        ("quantile_floor", config.quality.quantile_floor),
    ] {
        if floor < 0 {
            problems.add(&format!("quality.{key}"), format!("expected 0 or more, found {floor}"));
        }
    }
}

fn check_run(config: &Config, problems: &mut Problems<'_>) {
    let run = &config.run;
    if run.threads == Some(0) {
        problems.add("run.threads", "expected 1 or more, found 0");
    }
    let most = usize::try_from(SHARDS_MAX).unwrap_or(usize::MAX);
    if !(1..=most).contains(&run.shards) {
        problems.add("run.shards", format!("expected 1 to {most}, found {}", run.shards));
    }
    if run.keep_runs == 0 {
        problems.add("run.keep_runs", "expected 1 or more, found 0");
    }
    if run.output.as_os_str().is_empty() {
        problems.add("run.output", "the path is empty");
    }
}

fn check_pipeline(config: &Config, problems: &mut Problems<'_>) {
    let pipeline = &config.pipeline;
    if pipeline.stages.is_empty() {
        problems.add("pipeline.stages", "list the ids of the open stages, in order");
    }
    if pipeline.won.is_empty() {
        problems.add("pipeline.won", "list the ids of the stages that mean won");
    }
    let classes = [
        ("stages", &pipeline.stages),
        ("won", &pipeline.won),
        ("lost", &pipeline.lost),
        ("ignored", &pipeline.ignored),
    ];
    let mut first_seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (class, names) in classes {
        let key = format!("pipeline.{class}");
        for name in names {
            if name.is_empty() {
                problems.add(&key, "a stage id is empty");
            }
            match first_seen.insert(name, class) {
                Some(other) if other == class => {
                    problems.add(&key, format!("stage {name:?} is listed twice"));
                }
                Some(other) => {
                    problems.add(&key, format!("stage {name:?} is also in pipeline.{other}"));
                }
                None => {}
            }
        }
    }
    for (alias, stage) in &pipeline.aliases {
        let key = format!("pipeline.aliases.{alias}");
        if first_seen.contains_key(alias.as_str()) {
            problems.add(&key, "is itself the id of a stage");
        }
        if !first_seen.contains_key(stage.as_str()) {
            let meant = did_you_mean(stage, first_seen.keys().copied());
            problems.add(&key, format!("unknown stage {stage:?}{meant}"));
        }
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
    for slice in dimensions.slices.iter().flatten() {
        for (position, name) in slice.iter().enumerate() {
            if !dimensions.columns.contains(name) {
                unknown_dimension("dimensions.slices", name, config, problems);
            }
            if slice.iter().take(position).any(|earlier| earlier == name) {
                let problem = format!("dimension {name:?} is twice in one slice");
                problems.add("dimensions.slices", problem);
            }
        }
    }
    for (name, origin) in &dimensions.from {
        let key = format!("dimensions.from.{name}");
        if !dimensions.columns.contains(name) {
            unknown_dimension(&key, name, config, problems);
        }
        check_origin(&key, origin, config, problems);
    }
}

fn check_origin(key: &str, origin: &str, config: &Config, problems: &mut Problems<'_>) {
    let Some((table, column)) = origin.split_once('.').filter(|(_, column)| !column.is_empty())
    else {
        problems.add(key, format!("expected \"table.column\", found {origin:?}"));
        return;
    };
    let lookups = config.inputs.iter().filter(|(_, input)| input.shape == Shape::Lookup);
    let names: Vec<&str> = lookups.map(|(name, _)| name.as_str()).collect();
    if !names.contains(&table) {
        let meant = did_you_mean(table, names.iter().copied());
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
    let custom = config.metrics.iter().map(|metric| metric.name.as_str());
    let known: Vec<&str> = REGISTRY.iter().map(|metric| metric.name).chain(custom).collect();
    for name in &config.run.only {
        if !known.contains(&name.as_str()) {
            let meant = did_you_mean(name, known.iter().copied());
            problems.add("run.only", format!("unknown table {name:?}{meant}"));
        }
    }
}

fn check_inputs(config: &Config, problems: &mut Problems<'_>) {
    if !config.inputs.contains_key(DEAL_EVENTS) {
        let known = config.inputs.keys().map(String::as_str);
        let near = known.clone().find(|name| !did_you_mean(name, [DEAL_EVENTS]).is_empty());
        let meant = near.map_or_else(String::new, |name| format!(" (found inputs.{name})"));
        problems.add("inputs.deal_events", format!("the deal histories are missing{meant}"));
    }
    for (name, input) in &config.inputs {
        check_path(name, input, problems);
        check_shape(name, input, problems);
        check_shape_options(name, input, config, problems);
        if let Some(format) = &input.time_format {
            let mut items = chrono::format::StrftimeItems::new(format);
            if items.any(|item| item == chrono::format::Item::Error) {
                let key = format!("inputs.{name}.time_format");
                problems.add(&key, format!("not a strftime format: {format:?}"));
            }
        }
    }
}

fn check_path(name: &str, input: &Input, problems: &mut Problems<'_>) {
    let key = format!("inputs.{name}.path");
    let text = input.path.to_string_lossy();
    if text.is_empty() {
        problems.add(&key, "the path is missing");
    }
    if text.contains("://") {
        let hint = "copy or mount the files and give their local path";
        problems.reserve(&key, &format!("{text:?}"), hint);
    }
}

fn check_shape(name: &str, input: &Input, problems: &mut Problems<'_>) {
    let key = format!("inputs.{name}.shape");
    let reserved = match input.shape {
        Shape::FieldHistory => "\"field_history\"",
        Shape::RowHistory => "\"row_history\"",
        Shape::Intervals => "\"intervals\"",
        Shape::Snapshots => "\"snapshots\"",
        Shape::Events | Shape::StageDates | Shape::Spend | Shape::Lookup => {
            return check_role(&key, name, input.shape, problems);
        }
    };
    let hint = "bring the rows to one per change (shape = \"events\") or one per deal with a date \
                per stage (shape = \"stage_dates\")";
    problems.reserve(&key, reserved, hint);
}

/// Whether the shape suits what the input is for.
fn check_role(key: &str, name: &str, shape: Shape, problems: &mut Problems<'_>) {
    let expected = match (name, shape) {
        (DEAL_EVENTS, Shape::Spend | Shape::Lookup) => "\"events\" or \"stage_dates\"",
        (SPEND, Shape::StageDates | Shape::Lookup) => "\"spend\"",
        (other, Shape::Events | Shape::StageDates | Shape::Spend)
            if other != DEAL_EVENTS && other != SPEND =>
        {
            "\"lookup\" (deal histories are inputs.deal_events, spend is inputs.spend)"
        }
        _ => return,
    };
    problems.add(key, format!("inputs.{name} needs the shape {expected}"));
}

fn check_shape_options(name: &str, input: &Input, config: &Config, problems: &mut Problems<'_>) {
    let key = |field: &str| format!("inputs.{name}.{field}");
    let wide = input.shape == Shape::StageDates;
    if wide && input.stage_dates.is_empty() {
        problems.add(&key("stage_dates"), "say which column holds the date of which stage");
    }
    if wide && input.outcome.is_none() {
        problems.add(&key("outcome"), "say which column holds the outcome and its date");
    }
    if !wide && (!input.stage_dates.is_empty() || input.outcome.is_some()) {
        problems.add(&key("shape"), "stage_dates and outcome need shape = \"stage_dates\"");
    }
    for stage in input.stage_dates.keys().filter(|stage| !config.pipeline.stages.contains(stage)) {
        let meant = did_you_mean(stage, config.pipeline.stages.iter().map(String::as_str));
        let problem = format!("{stage:?} is not in pipeline.stages{meant}");
        problems.add(&key("stage_dates"), problem);
    }
    if let Some(outcome) = &input.outcome {
        if outcome.column.is_empty() || outcome.date.is_empty() {
            problems.add(&key("outcome"), "name the columns: column = \"…\", date = \"…\"");
        }
        for value in outcome.won.iter().filter(|value| outcome.lost.contains(value)) {
            problems.add(&key("outcome"), format!("{value:?} cannot mean both won and lost"));
        }
    }
    let lookup = input.shape == Shape::Lookup;
    match (&input.key, lookup) {
        (None, true) => problems.add(&key("key"), "name the column that the rows are looked up by"),
        (Some(_), false) => problems.add(&key("key"), "only a look-up table has a key"),
        _ => {}
    }
}
