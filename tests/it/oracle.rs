//! The same numbers by a naive fold and by DuckDB: two oracles that share no code with the engine.

mod duckdb;
pub(crate) mod funnels;
mod habits;
mod naive;

use std::collections::BTreeMap;

use arrow::array::{Array as _, RecordBatch};
use arrow::util::display::array_value_to_string;
use dealmill::relations::{Relation, export::to_arrow};

use crate::laws::dirty::{Row, Shape, check_many, resolve};
use crate::laws::sample::read;
use crate::support::Scratch;

/// The rows of an exported relation as text, without its split key.
fn cells(batch: &RecordBatch) -> Vec<BTreeMap<String, String>> {
    let schema = batch.schema();
    let row = |row| {
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.filter(|(field, _)| field.name() != "shard");
        let cell = |(field, array): (&std::sync::Arc<arrow::datatypes::Field>, _)| {
            (field.name().clone(), text(array, row))
        };
        columns.map(cell).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn text(array: &arrow::array::ArrayRef, row: usize) -> String {
    if array.is_null(row) { String::new() } else { array_value_to_string(array, row).unwrap() }
}

/// Same rows, whatever their order; `?` stands for anything. Both sides carry the deal as `tag`.
#[track_caller]
fn check_rows(name: &str, batch: &RecordBatch, expected: Vec<naive::Cells>) {
    let mut found = cells(batch);
    let mut wanted: Vec<BTreeMap<String, String>> = expected
        .into_iter()
        .map(|row| row.into_iter().map(|(column, value)| (column.to_owned(), value)).collect())
        .collect();
    assert_eq!(found.len(), wanted.len(), "rows of {name}");
    let key = |row: &BTreeMap<String, String>| {
        let named = ["tag", "stage", "visit_no", "funnel", "attempt_no", "step", "next_stage"];
        let named = named.map(|c| row.get(c).cloned().unwrap_or_default());
        // Steps of one deal may be alike but for what follows.
        let all = if row.contains_key("next_stage") && !row.contains_key("visit_no") {
            row.values().cloned().collect()
        } else {
            Vec::new()
        };
        (named, all)
    };
    found.sort_by_key(key);
    wanted.sort_by_key(key);
    for (row, own) in found.iter().zip(&wanted) {
        let columns: Vec<&String> = row.keys().collect();
        assert_eq!(columns, own.keys().collect::<Vec<_>>(), "columns of {name}");
        for (column, value) in own.iter().filter(|(_, value)| *value != "?") {
            assert_eq!(&row[column], value, "{name}, {:?}, {column}", key(own));
        }
    }
}

/// Each deal's path, taken apart by dividing, names the stages of its visits.
#[track_caller]
fn check_paths(
    deals: &RecordBatch,
    relations: &dealmill::relations::Relations,
    paths: &BTreeMap<String, Vec<&'static str>>,
) {
    let names = &relations.dictionaries.names["stage"];
    let mut base: u64 = 2;
    while base <= names.len() as u64 {
        base *= 2;
    }
    for row in cells(deals) {
        let path = &paths[&row["tag"]];
        let mut told = Vec::new();
        for word in ["path_1", "path_2", "path_3", "path_4"] {
            let mut rest: u64 = row[word].parse().expect("a path that is short enough");
            while rest > 0 {
                told.push(names[usize::try_from(rest % base).unwrap() - 1].as_str());
                rest /= base;
            }
        }
        assert_eq!(told, *path, "path of {}", row["tag"]);
    }
}

#[test]
fn relations_equal_those_of_a_naive_fold() {
    check_many(31, &Shape::EVERY, |rows, shape| {
        let scratch = Scratch::new();
        let (history, _) = read(&resolve(&scratch, rows, shape));
        let told = naive::fold(rows, shape);
        let naive::Told { deals, visits, entries, open, orders, bookings, stock, flows, .. } = told;
        let relations = &history.relations;
        check_paths(&to_arrow(relations, Relation::Deals).unwrap(), relations, &told.paths);
        check_rows("follows", &to_arrow(relations, Relation::Follows).unwrap(), told.follows);
        let steps = to_arrow(relations, Relation::FunnelSteps).unwrap();
        check_rows("funnel_steps", &steps, told.funnel_steps);
        check_rows("deals", &to_arrow(relations, Relation::Deals).unwrap(), deals);
        check_rows("visits", &to_arrow(relations, Relation::Visits).unwrap(), visits);
        let own = to_arrow(relations, Relation::StageEntries).unwrap();
        check_rows("stage_entries", &own, entries);
        check_rows("open_deals", &to_arrow(relations, Relation::OpenDeals).unwrap(), open);
        check_rows("bookings", &to_arrow(relations, Relation::Bookings).unwrap(), bookings);
        check_rows("pipeline_stock", &to_arrow(relations, Relation::PipelineStock).unwrap(), stock);
        check_rows("flows", &to_arrow(relations, Relation::PipelineFlows).unwrap(), flows);
        // Without a single customer there are no such relations.
        match relations.batches.contains_key(&Relation::Orders) {
            true => check_rows("orders", &to_arrow(relations, Relation::Orders).unwrap(), orders),
            false => assert!(orders.is_empty()),
        }
    });
}

#[test]
fn row_without_a_type_but_with_a_stage_enters_it() {
    // Its stage was dropped without a word where the file had a type column.
    let row = Row {
        deal: "d1",
        minute: Some(0),
        kind: "",
        stage: "s2",
        amount: "",
        owner: "",
        customer: "",
        region: "",
        close: None,
        seq: None,
        event: "",
        ingested: None,
    };
    let scratch = Scratch::new();
    let (history, _) = read(&resolve(&scratch, &[row], &Shape::EVERY[0]));
    let visits = to_arrow(&history.relations, Relation::Visits).unwrap();
    assert_eq!(visits.num_rows(), 1);
}
