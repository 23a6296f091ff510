//! Every way an input may be given, and determinism of the whole.
//!
//! A form is right when it gives the very tables of the plain form, and the plain form is right by
//! hand: four deals, two of them won for 125.50 and 80.25.

mod csv;
mod dimensions;
mod fates;
mod forms;
mod handoffs;
mod histories;
mod layout;
mod ledger;
mod money;
mod pipelines;
mod pruning;
mod rules;
mod shapes;
mod tables;
mod trust;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};

use super::support::{Row, Scratch, execute, filter, int, only, rows_of};

/// The configuration of the plain form; lines appended to it belong to `[inputs.deal_events]`.
pub const CONFIG: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipeline]
stages = ["lead", "proposal"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["region"]
[inputs.deal_events]
path = "events"
"#;

/// Deal, instant, stage, cents, customer, owner, region.
pub type Event = (i64, &'static str, &'static str, i64, i64, &'static str, &'static str);

pub const HISTORY: &[Event] = &[
    (1, "2024-01-05T10:00:00Z", "lead", 10_000, 11, "ann", "north"),
    (1, "2024-01-20T12:30:00Z", "proposal", 10_000, 11, "ann", "north"),
    (1, "2024-02-03T09:00:00Z", "won", 12_550, 11, "ann", "north"),
    (2, "2024-01-07T00:15:00Z", "lead", 20_000, 12, "bob", "south"),
    (2, "2024-02-11T23:45:00Z", "lost", 20_000, 12, "bob", "south"),
    (3, "2024-02-01T08:00:00Z", "lead", 8_000, 11, "ann", "north"),
    (3, "2024-02-05T16:20:10Z", "proposal", 8_000, 11, "bob", "north"),
    (3, "2024-03-01T11:11:11Z", "won", 8_025, 11, "bob", "north"),
    (4, "2024-03-03T06:00:00Z", "lead", 1_000, 13, "bob", "south"),
];

pub fn micros(instant: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(instant).unwrap().timestamp_micros()
}

pub fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub fn zoned(instants: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(instants).with_timezone("UTC"))
}

pub fn cents(values: impl Iterator<Item = i64>) -> ArrayRef {
    let decimals = Decimal128Array::from_iter_values(values.map(i128::from));
    Arc::new(decimals.with_precision_and_scale(18, 2).unwrap())
}

/// The plain form of a history.
pub fn columns(history: &[Event]) -> Vec<(&'static str, ArrayRef)> {
    let rows = || history.iter();
    vec![
        ("deal_id", Arc::new(Int64Array::from_iter_values(rows().map(|e| e.0)))),
        ("event_time", zoned(rows().map(|e| micros(e.1)))),
        ("stage_id", texts(rows().map(|e| e.2))),
        ("amount", cents(rows().map(|e| e.3))),
        ("customer_id", Arc::new(Int64Array::from_iter_values(rows().map(|e| e.4)))),
        ("owner_id", texts(rows().map(|e| e.5))),
        ("region", texts(rows().map(|e| e.6))),
    ]
}

/// The same columns, one of them in another form.
pub fn with(name: &str, array: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    replaced(columns(HISTORY), name, array)
}

pub fn replaced(
    mut columns: Vec<(&'static str, ArrayRef)>,
    name: &str,
    array: ArrayRef,
) -> Vec<(&'static str, ArrayRef)> {
    let column = columns.iter_mut().find(|(n, _)| *n == name).unwrap();
    column.1 = array;
    columns
}

pub type Tables = BTreeMap<String, Vec<Row>>;

/// Every table of the latest run.
pub fn tables(scratch: &Scratch) -> Tables {
    let mut tables = BTreeMap::new();
    for entry in std::fs::read_dir(scratch.path("out/latest")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "parquet") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            tables.insert(name, rows_of(&path));
        }
    }
    assert!(tables.len() > 5, "{:?}", tables.keys());
    tables
}

/// Runs and reads every table.
#[track_caller]
pub fn tables_of(scratch: &Scratch, config: &str) -> Tables {
    scratch.run(config).unwrap_or_else(|e| panic!("{e}"));
    tables(scratch)
}

/// The tables of the plain form.
pub fn plain() -> &'static Tables {
    static PLAIN: std::sync::OnceLock<Tables> = std::sync::OnceLock::new();
    PLAIN.get_or_init(|| {
        let scratch = Scratch::new();
        scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
        tables_of(&scratch, CONFIG)
    })
}

/// Table by table, so that a difference is readable.
#[track_caller]
pub fn assert_same(found: &Tables, expected: &Tables) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, rows) in expected {
        let found = &found[name];
        assert_eq!(found.len(), rows.len(), "rows of {name}");
        for (found, expected) in found.iter().zip(rows) {
            assert_eq!(found, expected, "table {name}");
        }
    }
}

/// A file of these columns gives the tables of the plain form. `extra` is appended to the
/// configuration.
#[track_caller]
pub fn check_same(columns: &[(&str, ArrayRef)], extra: &str) {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", columns, 4);
    assert_same(&tables_of(&scratch, &format!("{CONFIG}{extra}")), plain());
}

/// One cell of the total over the whole history.
#[track_caller]
pub fn total(tables: &Tables, table: &str, column: &str) -> i64 {
    int(&only(&tables[table], &[("slice", "all"), ("period", "all")]), column)
}

/// Deals created in a month.
#[track_caller]
pub fn created(tables: &Tables, month: &str) -> i64 {
    let wanted =
        [("slice", "all"), ("period", "month"), ("period_start", month), ("basis", "created")];
    int(&only(&tables["conversion"], &wanted), "deals_n")
}

/// Deals created, won, lost and open in the whole history.
pub fn outcomes(tables: &Tables) -> [i64; 4] {
    let wanted = [("slice", "all"), ("period", "all"), ("basis", "created")];
    let row = only(&tables["conversion"], &wanted);
    ["deals_n", "won_n", "lost_n", "open_n"].map(|column| int(&row, column))
}

/// How many rows, deals or values break a rule in an input.
#[track_caller]
pub fn affected(tables: &Tables, input: &str, rule: &str) -> i64 {
    // A rule of lines of text is listed only where one breaks it.
    let found = filter(&tables["data_quality"], &[("input", input), ("rule", rule)]);
    assert!(found.len() <= 1, "{rule} of {input}: {found:?}");
    found.first().map_or(0, |row| int(row, "affected_n"))
}

pub fn manifest(scratch: &Scratch) -> serde_json::Value {
    let text = std::fs::read_to_string(scratch.path("out/latest/manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The names and bytes of every published table.
pub fn published(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    files
        .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        .map(|p| (p.file_name().unwrap().to_string_lossy().into(), std::fs::read(&p).unwrap()))
        .collect()
}

#[test]
fn plain_form_is_right_by_hand() {
    let tables = plain();
    assert_eq!(total(tables, "revenue", "won_n"), 2);
    assert_eq!(total(tables, "revenue", "net_amount"), 12_550 + 8_025);
    // Customer 11 buys twice: deal 1 is new business, deal 3 is not.
    assert_eq!(total(tables, "revenue", "new_business_amount"), 12_550);
    assert_eq!(total(tables, "revenue", "existing_business_amount"), 8_025);
    assert_eq!(created(tables, "2024-01-01"), 2);
    assert_eq!(outcomes(tables), [4, 2, 1, 1]);
    let north = [("slice", "region"), ("region", "north"), ("period", "all")];
    assert_eq!(int(&only(&tables["revenue"], &north), "net_amount"), 20_575);
    assert_eq!(affected(tables, "deal_events", "null_deal_id"), 0);
}

#[test]
fn threads_shards_and_shared_work_change_no_byte() {
    let generated = Scratch::new();
    let options =
        dealmill::source::synthetic::GenerateOptions::new(400, 5, generated.path("history"));
    let made = dealmill::source::synthetic::generate(&options).unwrap();
    let run = |out: &str, threads: usize, shards: usize| {
        let mut resolved = dealmill::config::load(&dealmill::config::Flags {
            config: Some(made.config.clone()),
            out: Some(generated.path(out)),
            threads: Some(threads),
            ..Default::default()
        })
        .unwrap();
        resolved.config.run.shards = shards;
        execute(&resolved).unwrap();
        published(&generated.path(&format!("{out}/latest")))
    };
    let one = run("one", 1, 1);
    assert!(one.len() > 10);
    assert!(one == run("four", 4, 1), "four threads");
    assert!(one == run("shards", 3, 5), "five shards");
}
