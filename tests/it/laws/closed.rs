//! Periods that have ended do not change on the ledger clock, whatever happens to their deals later.

use std::collections::BTreeMap;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::util::display::array_value_to_string;
use dealmill::config::Resolved;
use dealmill::engine::{Backend, Execution};

use super::dirty::{Row, Shape, check_many, resolve};
use super::sample::{read, tables};
use crate::support::Scratch;

/// The ledger's columns of every row of a period that has ended, by the row's keys.
fn ended(batch: &RecordBatch) -> BTreeMap<String, String> {
    let flags = batch.column_by_name("is_complete_period").unwrap().as_boolean();
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let text = |row: usize, wanted: &dyn Fn(usize, &str) -> bool| {
        let chosen = names.iter().enumerate().filter(|(place, name)| wanted(*place, name));
        let cell = |(place, name): (usize, &&str)| {
            format!("{name}={} ", array_value_to_string(batch.column(place), row).unwrap())
        };
        chosen.map(cell).collect::<String>()
    };
    let first = names.iter().position(|name| *name == "won_n").unwrap();
    let pair = |row| (text(row, &|p, _| p < first), text(row, &|_, n| n.starts_with("ledger_")));
    let is_kept = |row: &usize| flags.value(*row);
    // A row that the ledger has no part in may come and go with the other clocks.
    let has_entry = |(_, ledger): &(String, String)| ledger.contains(|c| ('1'..='9').contains(&c));
    (0..batch.num_rows()).filter(is_kept).map(pair).filter(has_entry).collect()
}

fn ledger_of(resolved: &Resolved) -> BTreeMap<String, String> {
    let (history, _) = read(resolved);
    let tables = tables(resolved, &history, Execution::Whole, Backend::Kernel);
    let table = tables.iter().find(|table| table.name == "revenue_clocks").unwrap();
    table.batches.iter().flat_map(ended).collect()
}

#[test]
fn ledger_of_an_ended_period_stays_whatever_comes_later() {
    let kept = Shape::EVERY[4];
    assert_eq!(kept.deleted, "keep_until_deleted");
    let shapes = [kept, Shape { dimension_at: "as_of", ..kept }];
    let compared = std::cell::Cell::new(0);
    check_many(51, &shapes, |rows, shape| {
        // A merged deal is another one's from its very beginning.
        let rows: Vec<Row> = rows.iter().filter(|row| row.kind != "merged").cloned().collect();
        let scratch = Scratch::new();
        let resolved = resolve(&scratch, &rows, shape);
        let (mut before, mut over) = (BTreeMap::new(), Vec::new());
        for (day, month) in [(31, "2024-01-01"), (60, "2024-02-01"), (74, "2024-03-01")] {
            let as_of = resolved.as_of.map(|last| last - (74 - day) * 86_400_000_000);
            let now = ledger_of(&Resolved { as_of, ..resolved.clone() });
            let mut known = now.clone();
            known.retain(|key, _| over.iter().any(|start: &String| key.contains(start.as_str())));
            assert_eq!(known, before, "as of day {day}");
            compared.set(compared.get() + before.len());
            before = now;
            over.push(format!("period_start={month}"));
        }
    });
    assert!(compared.get() > 60, "{} rows compared", compared.get());
}
