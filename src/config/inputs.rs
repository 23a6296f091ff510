//! What the inputs of a configuration must keep: their roles, shapes and column names. Whether a
//! path exists and what lies there is the source's question.

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{Config, Input, Shape};
use crate::contract::{self, ColumnType};

/// The input every run needs.
const DEAL_EVENTS: &str = "deal_events";
/// The input of shape `spend`.
pub(super) const SPEND: &str = "spend";

/// Gathers every violation of the inputs.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
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
        check_columns(name, input, config, problems);
        if let Err((key, problem)) = crate::source::check_dialect(input) {
            problems.add(&format!("inputs.{name}.{key}"), problem);
        }
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
        (None, true) if ![DEAL_EVENTS, SPEND].contains(&name) => {
            problems.add(&key("key"), "name the column that the rows are looked up by");
        }
        (Some(_), false) => problems.add(&key("key"), "only a look-up table has a key"),
        _ => {}
    }
}

/// Whether the mapped columns are ones that this shape has; a look-up table may have any.
fn check_columns(name: &str, input: &Input, config: &Config, problems: &mut Problems<'_>) {
    let canonical = match input.shape {
        _ if name == SPEND => contract::SPEND,
        Shape::Events => contract::DEAL_EVENTS,
        Shape::StageDates => contract::STAGE_DATES,
        _ => return,
    };
    let dimensions = config.dimensions.columns.iter().map(String::as_str);
    let known: Vec<&str> = canonical.iter().map(|c| c.name).chain(dimensions).collect();
    let mapped = input.columns.keys().map(|column| ("columns", column));
    let replaced = input.values.keys().map(|column| ("values", column));
    for (section, column) in mapped.chain(replaced) {
        if !known.contains(&column.as_str()) {
            let meant = did_you_mean(column, known.iter().copied());
            let problem = format!("is neither a column of this shape nor a dimension{meant}");
            problems.add(&format!("inputs.{name}.{section}.{column}"), problem);
        }
    }
    let is_name = |column: &str| {
        let found = canonical.iter().find(|c| c.name == column);
        found.is_none_or(|c| matches!(c.holds, ColumnType::Id | ColumnType::Text))
    };
    for column in input.values.keys().filter(|column| !is_name(column)) {
        let problem = "only identifiers and names can be replaced";
        problems.add(&format!("inputs.{name}.values.{column}"), problem);
    }
}
