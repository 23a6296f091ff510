//! What was open at the end of a period is what a run as of then said, whatever happens later; and the
//! waterfall ends where the snapshot is.

use std::cell::Cell;
use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::{Decimal128Type, Int64Type};
use arrow::util::display::array_value_to_string;
use dealmill::config::Resolved;
use dealmill::engine::{Backend, Execution};
use dealmill::table::Table;

use super::dirty::{Row, Shape, check_many, resolve};
use super::sample::{read, tables};
use crate::support::Scratch;

/// Columns that use what is known since: how long visits stay, and what became of the deals.
fn is_restated(column: &str) -> bool {
    ["stale_", "history_", "weighted_"].iter().any(|begin| column.starts_with(begin))
}

/// Every row of a period that has ended, as text.
fn ended(table: &Table) -> Vec<String> {
    let batch = table.whole().unwrap();
    let flags = batch.column_by_name("is_complete_period").unwrap().as_boolean();
    let schema = batch.schema();
    let text = |row: usize| {
        let columns = schema.fields().iter().zip(batch.columns());
        let kept = columns.filter(|(field, _)| !is_restated(field.name()));
        let cells = kept.map(|(field, column)| {
            format!("{}={} ", field.name(), array_value_to_string(column, row).unwrap())
        });
        cells.collect::<String>()
    };
    (0..batch.num_rows()).filter(|row| flags.value(*row)).map(text).collect()
}

fn made(resolved: &Resolved) -> Vec<Table> {
    let (history, _) = read(resolved);
    let tables = tables(resolved, &history, Execution::Whole, Backend::Kernel);
    let wanted = ["pipeline_snapshot", "pipeline_waterfall"];
    tables.into_iter().filter(|table| wanted.contains(&table.name.as_str())).collect()
}

/// Open deals and their amount by slice, its value and period, at the end of each.
fn open(table: &Table, names: [&str; 2], at: &[(&str, &str)]) -> BTreeMap<String, (i64, i128)> {
    let batch = table.whole().unwrap();
    let of = |name: &str| batch.column_by_name(name).unwrap();
    let text = |name: &str, row| array_value_to_string(of(name), row).unwrap();
    let counts = of(names[0]).as_primitive::<Int64Type>();
    let amounts = of(names[1]).as_primitive::<Decimal128Type>();
    let mut found: BTreeMap<String, (i64, i128)> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        if at.iter().any(|(name, value)| text(name, row) != *value) {
            continue;
        }
        let key = ["slice", "region", "period", "period_start"].map(|name| text(name, row));
        let sum = found.entry(key.join(" ")).or_default();
        *sum = (sum.0 + counts.value(row), sum.1 + amounts.value(row));
    }
    found.retain(|_, sum| *sum != (0, 0));
    found
}

#[test]
fn what_was_open_is_what_a_run_as_of_then_said() {
    let kept = Shape::EVERY[4];
    assert_eq!(kept.deleted, "keep_until_deleted");
    let shapes = [kept, Shape { dimension_at: "as_of", zone: "Asia/Shanghai", ..kept }];
    let compared = Cell::new(0);
    check_many(61, &shapes, |rows, shape| {
        // A merged deal is another one's from its very beginning.
        let rows: Vec<Row> = rows.iter().filter(|row| row.kind != "merged").cloned().collect();
        let scratch = Scratch::new();
        let resolved = resolve(&scratch, &rows, shape);
        let mut before: Option<Vec<Vec<String>>> = None;
        for day in [32, 61, 74] {
            let as_of = resolved.as_of.map(|last| last - (74 - day) * 86_400_000_000);
            let tables = made(&Resolved { as_of, ..resolved.clone() });
            let now: Vec<Vec<String>> = tables.iter().map(ended).collect();
            for (known, now) in before.iter().flatten().zip(&now) {
                let lost: Vec<&String> = known.iter().filter(|row| !now.contains(row)).collect();
                assert!(lost.is_empty(), "as of day {day}: {lost:#?} are not in {now:#?}");
                compared.set(compared.get() + known.len());
            }
            before = Some(now);
            let [snapshot, waterfall] = tables.as_slice() else { panic!("two tables") };
            let at = [("window", "all"), ("mode", "net")];
            let ends = open(waterfall, ["end_n", "end_amount"], &at);
            assert_eq!(open(snapshot, ["open_n", "open_amount"], &[]), ends, "as of day {day}");
        }
    });
    assert!(compared.get() > 60, "{} rows compared", compared.get());
}
