//! What the metrics' own tests share: finishing states written by hand, and reading cells.

use super::{Group, Metric, NO_KEY, RowView, Rows, Settings, StateRows, common_columns};
use crate::relations::Dictionaries;
use crate::relations::visits::PSEUDO_STAGES;
use crate::table::{Table, TableBuilder};
use crate::time::{Calendar, MICROS_PER_DAY, Period, Resolution};

/// Settings with the given open stages, then `Won` and `Lost`, days as units, as of a day number.
pub(crate) fn settings(stages: &[&str], as_of_day: i64) -> Settings {
    let names = PSEUDO_STAGES.iter().chain(stages).chain(&["Won", "Lost"]);
    let names: Vec<String> = names.map(|n| (*n).to_owned()).collect();
    let mut dictionaries = Dictionaries::default();
    dictionaries.names.insert("stage".into(), names.into());
    Settings {
        as_of: as_of_day * MICROS_PER_DAY,
        calendar: Calendar::UTC,
        resolution: Resolution::Day,
        stages: stages.iter().map(|s| (*s).to_owned()).collect(),
        rate_floor: 10,
        quantile_floor: 5,
        money_scale: 2,
        dictionaries,
    }
}

/// A state without dimensions: key names, value names, and rows of keys then values.
pub(crate) fn state(keys: &[&str], values: &[&str], rows: &[&[i64]]) -> StateRows {
    let column = |position: usize| rows.iter().map(|row| row[position]).collect();
    let named = |names: &[&str], offset: usize| {
        names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), column(i + offset))).collect()
    };
    StateRows {
        dimensions: Vec::new(),
        keys: named(keys, 0),
        values: named(values, keys.len()),
        rows: rows.len(),
    }
}

/// The finished table of one slice and period length; every identity is checked on every row.
#[track_caller]
pub(crate) fn finish(
    metric: &Metric,
    states: &[StateRows],
    period: Period,
    settings: &Settings,
) -> Result<Table, crate::error::Error> {
    let mut specs = common_columns(&[]);
    specs.extend_from_slice(metric.output);
    let mut builder = TableBuilder::new(metric.name, specs, settings.money_scale);
    let mut rows = Rows::new(&mut builder, &[], &[], period, &settings.dictionaries);
    (metric.finish)(&Group { states, period, settings }, &mut rows)?;
    let table = builder.finish()?;
    check_identities(metric, &table);
    Ok(table)
}

/// Fails with the claim and the row where an identity does not hold.
#[track_caller]
pub(crate) fn check_identities(metric: &Metric, table: &Table) {
    for row in 0..table.batch.num_rows() {
        let view = RowView { specs: &table.specs, batch: &table.batch, row };
        for identity in metric.identities {
            assert!((identity.holds)(&view), "row {row}: {}", identity.claim);
        }
    }
}

/// The cells of one column as text, `-` for null, over the rows whose cells contain all of `at`
/// (`"variant=touched"`), in the table's order.
#[track_caller]
pub(crate) fn cells(table: &Table, at: &[&str], column: &str) -> Vec<String> {
    let text = |name: &str, row: usize| {
        let array = table.batch.column_by_name(name).expect("a column of the table");
        if array.is_null(row) {
            return "-".to_owned();
        }
        arrow::util::display::array_value_to_string(array, row).expect("text")
    };
    (0..table.batch.num_rows())
        .filter(|row| {
            at.iter().all(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                text(name, *row) == value
            })
        })
        .map(|row| text(column, row))
        .collect()
}

/// Fails where the cells of a column differ from those expected, given separated by spaces.
#[track_caller]
pub(crate) fn check(table: &Table, at: &[&str], column: &str, expected: &str) {
    assert_eq!(cells(table, at, column).join(" "), expected, "{column} at {at:?}");
}

/// The key of the whole history.
pub(crate) const WHOLE: i64 = NO_KEY;
