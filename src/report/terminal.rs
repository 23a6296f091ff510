//! One finished table in the terminal: all rows, or those that a condition in SQL selects.
//!
//! It changes no value and no order; rates stay between 0 and 1.

use polars::prelude as pl;
use polars::sql::SQLContext;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::cells;
use super::grid::{GridColumn, Part, Side, layout};
use super::open::open;
use crate::error::{Error, nearest_names};
use crate::sink::{FinishedRun, TableEntry};

/// A table as text of at most `width` columns, if one is given: the first `limit` rows of those
/// that `condition` selects, as in SQL after WHERE.
///
/// Shape: one line a row; a table wider than the screen goes on below, in parts.
///
/// # Errors
/// The run has no such table; the condition is not one over its columns; the file cannot be read.
pub fn show(
    run: &FinishedRun,
    table: &str,
    condition: Option<&str>,
    limit: usize,
    width: Option<usize>,
) -> Result<String, Error> {
    let entry = run.expect_table(table)?;
    let rows = select(run, entry, condition)?;
    let failed = |e: pl::PolarsError| match condition {
        Some(text) => refused(entry, text, first_line(&e)),
        None => Error::compute(format!("table {table:?} for the terminal"), e),
    };
    let shown = pl::IdxSize::try_from(limit).unwrap_or(pl::IdxSize::MAX);
    let count = rows.clone().select([pl::len().alias("n")]).collect().map_err(failed)?;
    let total = count
        .column("n")
        .and_then(|n| n.get(0))
        .map_err(failed)?
        .extract::<usize>()
        .unwrap_or_default();
    let frame = rows.limit(shown).collect().map_err(failed)?;
    let mut text = layout(&columns(&frame, entry).map_err(failed)?, width);
    text.push_str(&format!("\n{}\n", footer(frame.height(), total, condition)));
    Ok(text)
}

fn footer(shown: usize, total: usize, condition: Option<&str>) -> String {
    let rows = if total == 1 { "row" } else { "rows" };
    match (shown < total, condition) {
        (true, _) => format!("{shown} of {total} {rows}"),
        (false, Some(_)) if total == 0 => "no row meets the condition".to_owned(),
        (false, _) => format!("{total} {rows}"),
    }
}

/// The rows of a table that a condition selects, lazily.
///
/// # Errors
/// The condition is not one over the table's columns; the file cannot be read.
pub(super) fn select(
    run: &FinishedRun,
    entry: &TableEntry,
    condition: Option<&str>,
) -> Result<pl::LazyFrame, Error> {
    let frame = open(run, entry)?;
    let Some(text) = condition else { return Ok(frame) };
    let expression = parse(text).map_err(|reason| refused(entry, text, reason))?;
    let mut context = SQLContext::new();
    context.register(&entry.name, frame);
    let query = format!("SELECT * FROM \"{}\" WHERE {expression}", entry.name);
    let mut rows = context.execute(&query).map_err(|e| refused(entry, text, first_line(&e)))?;
    rows.collect_schema().map_err(|e| refused(entry, text, first_line(&e)))?;
    Ok(rows)
}

/// The condition as the parser understood it, so that nothing can follow behind it.
fn parse(text: &str) -> Result<String, String> {
    let mut parser =
        Parser::new(&GenericDialect {}).try_with_sql(text).map_err(|e| e.to_string())?;
    let expression = parser.parse_expr().map_err(|e| e.to_string())?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(format!("it goes on after the condition, with {next}"));
    }
    Ok(expression.to_string())
}

fn first_line(error: &pl::PolarsError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn refused(entry: &TableEntry, text: &str, reason: String) -> Error {
    let names = entry.columns.iter().map(|c| c.name.as_str());
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let misspelt = words
        .filter(|word| !word.is_empty() && !names.clone().any(|name| name == *word))
        .find(|word| reason.contains(word) && !nearest_names(word, names.clone()).is_empty());
    let hint = match misspelt {
        Some(word) => {
            let nearest = nearest_names(word, names);
            format!("did you mean the column {}?", nearest.join(" or "))
        }
        None => {
            let names: Vec<&str> = names.collect();
            format!("its columns are {}; texts and dates go in single quotes", names.join(", "))
        }
    };
    Error::Sql { what: format!("the condition {text:?} on table {:?}", entry.name), reason, hint }
}

fn columns(frame: &pl::DataFrame, entry: &TableEntry) -> pl::PolarsResult<Vec<GridColumn>> {
    frame
        .columns()
        .iter()
        .map(|column| {
            let cells: pl::PolarsResult<Vec<String>> =
                (0..frame.height()).map(|row| Ok(cells::text(&column.get(row)?))).collect();
            let declared = entry.columns.iter().find(|c| column.name().as_str() == c.name);
            let side = if column.dtype().is_numeric() { Side::Right } else { Side::Left };
            Ok(GridColumn {
                name: cells::printable(column.name()),
                side,
                part: if declared.is_some_and(|c| c.key) { Part::Key } else { Part::Value },
                cells: cells?,
            })
        })
        .collect()
}
