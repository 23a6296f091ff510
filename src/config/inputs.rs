//! What the inputs of a configuration must keep: their roles, shapes and column names. Whether a
//! path exists and what lies there is the source's question.

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{Config, Input, ProbabilityUnit, Shape};
use crate::contract::{self, ColumnType};

/// The input every run needs.
const DEAL_EVENTS: &str = "deal_events";
/// The input of shape `spend`.
pub(super) const SPEND: &str = "spend";
/// The input of shape `fx_rates`.
pub(super) const FX_RATES: &str = "fx_rates";

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
        let format = input.time_format.as_ref();
        if let Some(format) = format.filter(|format| !crate::source::can_be_read(format)) {
            let key = format!("inputs.{name}.time_format");
            let problem =
                format!("not a strftime format by which a time or a date can be read: {format:?}");
            problems.add(&key, problem);
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

/// The input of shape `deals`.
pub(super) const DEALS: &str = "deals";
/// The input of shape `stages`.
pub(super) const STAGES: &str = "stages";

/// The inputs whose names tell their shape.
const NAMED_INPUTS: [&str; 15] = [
    DEAL_EVENTS,
    DEALS,
    STAGES,
    SPEND,
    FX_RATES,
    "payments",
    "deal_splits",
    "merges",
    "targets",
    "surveys",
    "touches",
    "calendar",
    "contracts",
    "customers",
    "users",
];

/// What a name that is none of them may stand for: one that begins alike.
fn meant(name: &str) -> String {
    let is_alike = |known: &&str| known.chars().next() == name.chars().next();
    did_you_mean(name, NAMED_INPUTS.into_iter().filter(is_alike))
}

/// The shape that an input has by its name alone.
pub(super) fn shape_by_name(name: &str) -> Option<Shape> {
    match name {
        SPEND => Some(Shape::Spend),
        FX_RATES => Some(Shape::FxRates),
        DEALS => Some(Shape::Deals),
        STAGES => Some(Shape::Stages),
        _ if contract::lookup_columns(name).is_some() => Some(Shape::Lookup),
        "payments" => Some(Shape::Payments),
        "deal_splits" => Some(Shape::DealSplits),
        "merges" => Some(Shape::Merges),
        "targets" => Some(Shape::Targets),
        "surveys" => Some(Shape::Surveys),
        "touches" => Some(Shape::Touches),
        "calendar" => Some(Shape::Calendar),
        "contracts" => Some(Shape::Contracts),
        _ => None,
    }
}

/// What the rows of a look-up table are found by: as configured, or as its name alone tells.
pub(super) fn key_of(name: &str, input: &Input) -> Option<String> {
    let of_its_name = || contract::lookup_columns(name)?.first().map(|key| key.name.to_owned());
    input.key.clone().or_else(of_its_name)
}

/// The shape of an input, which one of the names above need not say.
pub(super) fn shape_of(name: &str, input: &Input) -> Shape {
    match shape_by_name(name) {
        Some(shape) if input.shape == Shape::Events => shape,
        _ => input.shape,
    }
}

/// Whether an input of this name tells deals' histories.
fn is_history(name: &str) -> bool {
    name == DEAL_EVENTS || name.strip_prefix(DEAL_EVENTS).is_some_and(|rest| rest.starts_with('_'))
}

/// Whether the shape suits what the input is for.
fn check_shape(name: &str, input: &Input, problems: &mut Problems<'_>) {
    let shape = shape_of(name, input);
    let of_its_name = shape_by_name(name);
    let tells = matches!(
        shape,
        Shape::Events
            | Shape::StageDates
            | Shape::FieldHistory
            | Shape::RowHistory
            | Shape::Intervals
            | Shape::Snapshots
    );
    let expected = match of_its_name {
        Some(expected) if expected == shape => return,
        Some(Shape::Lookup) => "\"lookup\"".to_owned(),
        Some(_) => format!("{name:?}"),
        None if is_history(name) && tells => return,
        None if is_history(name) => "\"events\", \"stage_dates\", \"field_history\", \
             \"row_history\", \"intervals\" or \"snapshots\""
            .to_owned(),
        None if shape == Shape::Lookup => return,
        None => format!(
            "\"lookup\" (deal histories are inputs.deal_events and inputs.deal_events_…, \
             current deals inputs.deals, stages inputs.stages, spend inputs.spend){}",
            meant(name)
        ),
    };
    let key = format!("inputs.{name}.shape");
    problems.add(&key, format!("inputs.{name} needs the shape {expected}"));
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
    let all = std::iter::once(&config.pipeline).chain(config.pipelines.values());
    let stages: Vec<&String> = all.flat_map(|pipeline| &pipeline.stages).collect();
    for stage in input.stage_dates.keys().filter(|stage| !stages.contains(stage)) {
        let meant = did_you_mean(stage, stages.iter().map(|stage| stage.as_str()));
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
    let columns = contract::columns_of(shape_of(name, input)).unwrap_or_default();
    let has_chance = columns.iter().any(|column| column.name == "probability")
        || input.shape == Shape::FieldHistory;
    if input.probability_unit != ProbabilityUnit::Auto && !has_chance {
        problems.add(&key("probability_unit"), "this input has no column probability");
    }
    check_fields(name, input, config, problems);
    let lookup = shape_of(name, input) == Shape::Lookup;
    match (key_of(name, input), lookup) {
        (None, true) if !is_history(name) && shape_by_name(name).is_none() => {
            let problem = format!("name the column that the rows are looked up by{}", meant(name));
            problems.add(&key("key"), problem);
        }
        (Some(_), false) => problems.add(&key("key"), "only a look-up table has a key"),
        _ => {}
    }
}

/// Whether a field history says what its fields are, and no other input does.
fn check_fields(name: &str, input: &Input, config: &Config, problems: &mut Problems<'_>) {
    let key = format!("inputs.{name}.fields");
    if input.shape != Shape::FieldHistory {
        if !input.fields.is_empty() {
            problems.add(&key, "only shape = \"field_history\" has fields");
        }
        return;
    }
    if input.fields.is_empty() {
        problems.add(&key, "say what the fields are: \"field in the source\" = \"stage_id\", …");
    }
    let dimensions = config.dimensions.columns.iter().map(String::as_str);
    let known: Vec<&str> = contract::FIELD_TARGETS.into_iter().chain(dimensions).collect();
    for (field, target) in &input.fields {
        if !known.contains(&target.as_str()) {
            let meant = did_you_mean(target, known.iter().copied());
            let known = contract::FIELD_TARGETS.join(", ");
            let problem = format!("{target:?} is not one of {known}, nor a dimension{meant}");
            problems.add(&format!("{key}.{field}"), problem);
        }
    }
}

/// Whether the mapped columns of a look-up table that is known by its name are ones that it has, or
/// that become a dimension. One that says its shape itself may have any.
fn check_lookup_columns(name: &str, input: &Input, config: &Config, problems: &mut Problems<'_>) {
    let Some(canonical) = contract::lookup_columns(name) else { return };
    if input.shape == Shape::Lookup {
        return;
    }
    let key = key_of(name, input).unwrap_or_default();
    let origins = config.dimensions.from.values().filter_map(|origin| origin.split_once('.'));
    let used = origins.filter(|(table, _)| *table == name).map(|(_, column)| column);
    let own = canonical.iter().map(|c| c.name).chain(used).chain(["key", key.as_str()]);
    let known: Vec<&str> = own.collect();
    let mapped = input.columns.keys().map(|column| ("columns", column));
    let replaced = input.values.keys().map(|column| ("values", column));
    for (section, column) in mapped.chain(replaced) {
        if !known.contains(&column.as_str()) {
            let meant = did_you_mean(column, known.iter().copied());
            let problem = format!("is neither a column of {name} nor in [dimensions.from]{meant}");
            problems.add(&format!("inputs.{name}.{section}.{column}"), problem);
        }
    }
}

/// Whether the mapped columns are ones that this shape has; a look-up table may have any.
fn check_columns(name: &str, input: &Input, config: &Config, problems: &mut Problems<'_>) {
    check_lookup_columns(name, input, config, problems);
    let Some(canonical) = contract::columns_of(shape_of(name, input)) else { return };
    let dimensions = config.dimensions.columns.iter().map(String::as_str);
    let known: Vec<&str> = canonical.iter().map(|c| c.name).chain(dimensions).collect();
    let mapped = input.columns.keys().map(|column| ("columns", column));
    let replaced = input.values.keys().map(|column| ("values", column));
    // The values of a field are replaced by what the field is.
    let is_field = |section: &str, column: &String| {
        section == "values" && input.fields.values().any(|target| target == column)
    };
    for (section, column) in mapped.chain(replaced) {
        if is_field(section, column) {
            continue;
        }
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
