//! From the raw columns of each CRM to finished tables, by the preset as `init` prints it: nothing of
//! it is changed but what the test says. The samples are small enough to be counted by hand, and hold
//! what trips people up in that CRM.

mod crms;
mod pipelines;
mod seeds;

use std::path::Path;

use dealmill::config::{self, Flags, template};
use dealmill::run::Summary;

use super::support::{Cell, Row, Scratch, execute, filter, int, only};

/// What all deals of a sample come to.
struct Counts {
    /// Deals, won, lost, open; deleted ones are in none of them.
    deals: [i64; 4],
    /// In hundredths.
    net_amount: i64,
    /// Deals that were in each stage at some time, won at the end.
    funnel: &'static [(&'static str, i64)],
}

/// Writes the preset and its files; relative paths of the files are those that the preset names.
fn prepared(preset: &str, files: &[(&str, &str)]) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("dealmill.toml", template(preset).unwrap());
    for (path, text) in files {
        scratch.write(path, text);
    }
    scratch
}

/// Runs the preset with some keys set.
#[track_caller]
fn run(scratch: &Scratch, set: &[&str]) -> Summary {
    let flags = Flags {
        config: Some(scratch.path("dealmill.toml")),
        out: Some(scratch.path("out")),
        as_of: Some("2024-06-30".into()),
        set: set.iter().map(|value| (*value).to_owned()).collect(),
        ..Flags::default()
    };
    let resolved = config::load(&flags).unwrap_or_else(|e| panic!("{e}"));
    execute(&resolved).unwrap_or_else(|e| panic!("{e}"))
}

/// The tables of the latest run come to these counts.
#[track_caller]
fn check(scratch: &Scratch, expected: &Counts) {
    let all = [("slice", "all"), ("period", "all")];
    let row = only(&scratch.table("conversion"), &[all[0], all[1], ("basis", "created")]);
    let deals = ["deals_n", "won_n", "lost_n", "open_n"].map(|column| int(&row, column));
    let rows = filter(&scratch.table("funnel"), &[all[0], all[1], ("variant", "touched")]);
    let rows = filter(&rows, &[("population", "created")]);
    let funnel: Vec<(String, i64)> =
        rows.iter().map(|row| (text(row, "stage"), int(row, "entered_n"))).collect();
    let wanted: Vec<(String, i64)> =
        expected.funnel.iter().map(|(stage, n)| ((*stage).to_owned(), *n)).collect();
    let revenue = only(&scratch.table("revenue"), &all);
    let found = (deals, int(&revenue, "net_amount"), int(&revenue, "won_n"), funnel);
    assert_eq!(found, (expected.deals, expected.net_amount, expected.deals[1], wanted));
}

/// The net revenue by the value of a dimension.
#[track_caller]
fn net_by(scratch: &Scratch, dimension: &str, value: &str) -> i64 {
    let wanted = [("slice", dimension), ("period", "all"), (dimension, value)];
    int(&only(&scratch.table("revenue"), &wanted), "net_amount")
}

/// How often a rule was broken in an input.
#[track_caller]
fn affected(scratch: &Scratch, input: &str, rule: &str) -> i64 {
    let wanted = [("input", input), ("rule", rule)];
    int(&only(&scratch.table("data_quality"), &wanted), "affected_n")
}

#[track_caller]
fn text(row: &Row, column: &str) -> String {
    match &row[column] {
        Cell::Text(text) => text.clone(),
        other => panic!("{column}: {other:?}"),
    }
}

fn write_bytes(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
