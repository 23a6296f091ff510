//! A table asked for by itself is that of a full run, though less is read for it; and batches as
//! they come give what whole relations give.
//!
//! The trap is rows that are equal in all that is read and differ in what is not: they are two
//! events, and only reading everything can tell.

use dealmill::config::Resolved;
use dealmill::engine::{Backend, Execution, Prepared};
use dealmill::metrics::Metric;
use dealmill::quality::Ledger;
use dealmill::run::{carried, mill};
use dealmill::table::Table;

use super::dirty::{Row, Shape, check_many, resolve};
use super::sample::{check_equal, plan, read, stated, tables};
use super::{COMPUTED, SAMPLE};
use crate::support::Scratch;

/// The tables as a run computes them: batch by batch, from the columns that they need.
fn milled(resolved: &Resolved, metrics: &[&'static Metric], custom: bool) -> Vec<Table> {
    let plan = plan(resolved, Execution::Whole, Backend::Kernel);
    let custom = if custom { resolved.config.metrics.as_slice() } else { &[] };
    let prepared = Prepared::new(&carried(resolved), metrics, custom, &plan).unwrap();
    let wanted = prepared.wanted().unwrap();
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let begin = |names: &_| prepared.begin(names);
    let (history, sums) =
        mill(resolved, &ledger, &|_| (), &mut Vec::new(), &wanted, begin).unwrap();
    let settings = history.settings(resolved);
    prepared.finish(sums, &history.present, &plan, &settings).unwrap().tables
}

#[test]
fn batches_give_the_tables_of_whole_relations() {
    check_equal(&COMPUTED.tables, &milled(&SAMPLE.hive(""), &stated(), true), "batches");
}

#[test]
fn one_table_alone_is_that_of_a_full_run() {
    let resolved = SAMPLE.hive("");
    for (metric, full) in stated().into_iter().zip(&COMPUTED.tables) {
        let alone = milled(&resolved, &[metric], false);
        check_equal(std::slice::from_ref(full), &alone, metric.name);
    }
}

/// The rows, some of them twice, some of them again with one attribute changed.
fn with_twins(rows: &[Row]) -> Vec<Row> {
    let other = |is: &str, a, b| if is == a { b } else { a };
    let mut all = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let mut twin = row.clone();
        match number % 7 {
            0 => {}
            1 => twin.owner = other(row.owner, "ann", "bob"),
            2 => twin.customer = other(row.customer, "c1", "c2"),
            3 => twin.amount = other(row.amount, "100", "-40"),
            4 => twin.region = other(row.region, "north", "south"),
            5 => twin.close = Some(row.close.map_or(70, |day| day + 1)),
            _ => continue,
        }
        all.extend([row.clone(), twin]);
    }
    all
}

/// Every way to the tables of these rows.
#[track_caller]
fn check_rows(rows: &[Row], shape: &Shape) {
    let scratch = Scratch::new();
    let resolved = resolve(&scratch, rows, shape);
    let (history, _) = read(&resolved);
    let whole = tables(&resolved, &history, Execution::Whole, Backend::Memory);
    // With the account of the inputs among them, everything is read.
    check_equal(&whole, &milled(&resolved, &stated(), true), "batches");
    for metric in stated() {
        let full: Vec<&Table> = whole.iter().filter(|t| t.name == metric.name).collect();
        let alone = milled(&resolved, &[metric], false);
        assert_eq!(full.len(), alone.len(), "{}", metric.name);
        for (full, alone) in full.iter().zip(&alone) {
            assert!(
                full.whole().unwrap() == alone.whole().unwrap(),
                "{} alone differs",
                metric.name
            );
        }
    }
}

#[test]
fn one_table_alone_is_that_of_a_full_run_on_dirty_histories() {
    check_many(51, &Shape::EVERY, check_rows);
}

#[test]
fn rows_equal_in_what_is_read_are_told_apart_by_what_is_not() {
    check_many(52, &Shape::EVERY, |rows, shape| check_rows(&with_twins(rows), shape));
}
