//! `dealmill tables`: what every output table means, from the metrics' own declarations.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{find_metric, relations};
use crate::cli::ListFormat;
use crate::error::Error;
use crate::metrics::{Metric, REGISTRY, common_columns};
use crate::table::{ColumnSpec, Nulls, Role};

/// Stands for the configured dimensions in listings that know no configuration.
const DIMENSION: &str = "<dimension>";

/// The listing of one table or of all of them.
pub(super) fn listing(table: Option<&str>, format: ListFormat) -> Result<String, Error> {
    if let (Some(relation), ListFormat::Text) = (table.and_then(relations::find), format) {
        return Ok(relations::text(relation));
    }
    let metrics = match table {
        Some(name) => vec![find_metric("table", name)?],
        None => REGISTRY.to_vec(),
    };
    Ok(match (format, table) {
        (ListFormat::Text, None) => overview(&metrics),
        (ListFormat::Text, Some(_)) => metrics.iter().map(|m| text(m)).collect(),
        (ListFormat::Json, None) => pretty(&metrics.iter().map(|m| document(m)).collect())?,
        (ListFormat::Json, Some(_)) => {
            pretty(&metrics.first().map_or(Value::Null, |m| document(m)))?
        }
        (ListFormat::Markdown, None) => {
            let sections = metrics.iter().map(|m| markdown(m));
            markdown_head() + &sections.collect::<String>() + &relations::markdown()
        }
        (ListFormat::Markdown, Some(_)) => metrics.iter().map(|m| markdown(m)).collect(),
    })
}

/// Every column of a table in order, the common ones first.
fn columns(metric: &Metric) -> Vec<ColumnSpec> {
    let mut columns = common_columns(&[DIMENSION.to_owned()]);
    columns.extend(metric.output.iter().cloned());
    columns
}

fn overview(metrics: &[&Metric]) -> String {
    let width = metrics.iter().map(|m| m.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for metric in metrics {
        push(&mut text, &format!("{:width$}  {}", metric.name, metric.question));
    }
    text
}

fn text(metric: &Metric) -> String {
    let columns = columns(metric);
    let width = |of: fn(&ColumnSpec) -> usize| columns.iter().map(of).max().unwrap_or(0);
    let (names, units) = (width(|c| c.name.len()), width(|c| c.unit.len()));
    let mut text = String::new();
    push(&mut text, metric.name);
    push(&mut text, &format!("  {}", metric.question));
    push(&mut text, &format!("  Grain: {}.\n", metric.grain));
    for column in &columns {
        let line = format!(
            "  {:names$}  {:9}  {:units$}  {:4}  {}",
            column.name,
            column.dtype.name(),
            column.unit,
            mark(column),
            column.meaning
        );
        push(&mut text, &line);
    }
    if !metric.identities.is_empty() {
        push(&mut text, "\n  Holds in every row:");
        for identity in metric.identities {
            push(&mut text, &format!("    {}", identity.claim));
        }
    }
    if !metric.references.is_empty() {
        push(&mut text, "\n  References:");
        for reference in metric.references {
            push(&mut text, &format!("    {reference}"));
        }
    }
    text
}

fn mark(column: &ColumnSpec) -> &'static str {
    match (column.role, column.nulls) {
        (Role::Key, _) => "key",
        (Role::Measure, Nulls::Allowed) => "null",
        (Role::Measure, Nulls::Never) => "",
    }
}

fn document(metric: &Metric) -> Value {
    let columns: Vec<Value> = columns(metric)
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.dtype.name(),
                "unit": column.unit,
                "key": column.role == Role::Key,
                "nullable": column.nulls == Nulls::Allowed,
                "meaning": column.meaning,
            })
        })
        .collect();
    let states: Vec<Value> = metric
        .states
        .iter()
        .map(|state| json!({ "relation": state.relation.name(), "sql": state.sql }))
        .collect();
    let claims: Vec<&str> = metric.identities.iter().map(|identity| identity.claim).collect();
    json!({
        "name": metric.name,
        "question": metric.question,
        "grain": metric.grain,
        "columns": columns,
        "identities": claims,
        "references": metric.references,
        "states": states,
    })
}

fn pretty(value: &Value) -> Result<String, Error> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Error::Bug(format!("cannot write the listing: {error}")))
}

fn markdown_head() -> String {
    let mut text = String::from(
        "# Tables\n\n\
         Every output table, from the declarations in `src/metrics`.\n\
         This file is `dealmill tables --format markdown`; a test fails when it is stale.\n\n\
         Every table begins with these key columns, in this order:\n\n",
    );
    markdown_columns(&mut text, &common_columns(&[DIMENSION.to_owned()]));
    text.push_str("\nThere is one `<dimension>` column for each configured dimension.\n");
    text
}

fn markdown(metric: &Metric) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n", metric.name, metric.question);
    push(&mut text, &format!("Grain: {}.\n", metric.grain));
    markdown_columns(&mut text, metric.output);
    if !metric.identities.is_empty() {
        push(&mut text, "\nHolds in every row:\n");
        for identity in metric.identities {
            push(&mut text, &format!("- `{}`", identity.claim));
        }
    }
    if !metric.references.is_empty() {
        push(&mut text, "\nReferences:\n");
        for reference in metric.references {
            push(&mut text, &format!("- {reference}"));
        }
    }
    text
}

fn markdown_columns(text: &mut String, columns: &[ColumnSpec]) {
    push(text, "| column | type | unit | | meaning |");
    push(text, "|---|---|---|---|---|");
    for column in columns {
        let line = format!(
            "| `{}` | {} | {} | {} | {} |",
            column.name,
            column.dtype.name(),
            column.unit,
            mark(column),
            column.meaning.replace('|', "\\|").replace(DIMENSION, &format!("`{DIMENSION}`")),
        );
        push(text, &line);
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
