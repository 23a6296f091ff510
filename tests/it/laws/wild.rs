//! Histories as careless people and connectors leave them, through the whole program: names of any
//! script with quotes and line ends in them, identifiers that are numbers or nearly, times and
//! amounts of every kind, stand-ins for none, rows twice and out of order.
//!
//! The law: every row is folded, quarantined or after `as_of`, nothing panics, and the tables are the
//! same whether the rows come as CSV or Parquet, in however many files and row groups, with however
//! many threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::inputs::{Tables, assert_same, tables};
use crate::support::{Scratch, execute, rows_of};

const COLUMNS: [&str; 10] = [
    "deal_id",
    "event_time",
    "event_type",
    "stage_id",
    "amount",
    "customer_id",
    "owner_id",
    "region",
    "expected_close",
    "event_id",
];

/// One row as text, in the order of the columns.
type Fields = [&'static str; COLUMNS.len()];

const CONFIG: &str = r#"
[run]
as_of = "2024-02-15T00:00:00Z"
periods = ["month"]
timezone = "Europe/Berlin"
[pipeline]
stages = ["lead", "报价"]
won = ["won", "赢单"]
lost = ["lost"]
ignored = ["parked"]
[dimensions]
columns = ["region", "owner"]
slices = [[], ["region"], ["region", "owner"]]
[inputs.deal_events]
path = "events"
timezone = "Asia/Shanghai"
"#;

/// Identifiers: whole numbers only, or anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Integers,
    Texts,
}

const INTEGERS: [&str; 8] = ["1", "2", "3", "4", "5", "-7", "9007199254740993", ""];
const TEXTS: [&str; 14] = [
    "1",
    "01",
    " 1 ",
    "1.0",
    "+1",
    "D-1",
    "d-1",
    "客户 一",
    "Ünal",
    "Unal",
    "=1",
    "\u{200b}1",
    "null",
    "",
];
const TIMES: [&str; 20] = [
    "2024-01-05T10:00:00Z",
    "2024-01-05T10:00:00Z",
    "2024-01-05T18:00:00+08:00",
    "2024-01-05 18:00:00",
    "2024-01-05",
    "2024-01-06T00:00:00.000001Z",
    "2024-01-31T23:30:00Z",
    "2024-02-01 07:30",
    "2024-02-14T23:59:59Z",
    "2024-02-15T00:00:00Z",
    "2024-02-15T00:00:00.000001Z",
    "2031-07-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "9999-12-31",
    "0000-00-00 00:00:00",
    "2024-02-30T00:00:00Z",
    "05/01/2024",
    "yesterday",
    " ",
    "",
];
const TYPES: [&str; 12] = [
    "", "", "", "stage", "stage", "created", "won", "lost", "deleted", "restored", "owner", "WON!",
];
const STAGES: [&str; 12] = [
    "lead",
    "lead",
    "报价",
    " 报价\t",
    "won",
    "赢单",
    "lost",
    "parked",
    "Lead",
    "神秘\n阶段",
    "\"quoted\"",
    "",
];
const AMOUNTS: [&str; 14] = [
    "100",
    "250.50",
    "1,234.5",
    "1 234.50",
    "0",
    "-40",
    "0.005",
    "1e9",
    "NaN",
    "n/a",
    "1,5",
    "99999999999999999999999",
    "€5",
    "",
];
const NAMES: [&str; 14] = [
    "north",
    "north ",
    "a,b",
    "a\"b",
    "a\nb",
    "a\r\nb",
    "a;b|c\td",
    "العربية",
    "🙂🙂",
    "e\u{301}",
    "\u{feff}x",
    "'",
    "-",
    "",
];

fn rows(ids: Ids) -> impl Strategy<Value = Vec<Fields>> {
    let names = match ids {
        Ids::Integers => &INTEGERS[..],
        Ids::Texts => &TEXTS[..],
    };
    let days = ["2024-02-01", "2024-03-31", "0000-00-00", "soon", ""];
    let row = (
        select(names),
        select(&TIMES[..]),
        select(&TYPES[..]),
        select(&STAGES[..]),
        select(&AMOUNTS[..]),
        select(names),
        select(&NAMES[..]),
        select(&NAMES[..]),
        select(days.to_vec()),
        select(vec!["", "", "e1", "e2", "e3", "7", "07"]),
    );
    let row = row.prop_map(|(a, b, c, d, e, f, g, h, i, j)| [a, b, c, d, e, f, g, h, i, j]);
    // Some rows are there again, later in the file.
    (proptest::collection::vec(row, 1..50), 0..5_usize).prop_map(|(mut rows, again)| {
        rows.extend_from_within(..again.min(rows.len()));
        rows
    })
}

fn csv(rows: &[Fields]) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for row in rows {
        let quoted: Vec<String> =
            row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        text += &quoted.join(",");
        text += "\n";
    }
    text
}

fn parquet(rows: &[Fields], ids: Ids) -> Vec<(&'static str, ArrayRef)> {
    let column = |(index, name): (usize, &&'static str)| {
        let values = rows.iter().map(|row| row[index]);
        let is_id = ids == Ids::Integers && matches!(*name, "deal_id" | "customer_id");
        let array: ArrayRef = if is_id {
            Arc::new(values.map(|v| v.parse().ok()).collect::<Int64Array>())
        } else {
            // Empty text and null are the same.
            let value =
                |(row, v): (usize, &'static str)| (row % 2 == 0 || !v.is_empty()).then_some(v);
            Arc::new(values.enumerate().map(value).collect::<StringArray>())
        };
        (*name, array)
    };
    COLUMNS.iter().enumerate().map(column).collect()
}

/// How the rows lie in files.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Csv { files: usize },
    Parquet { files: usize, group: usize },
}

/// The tables, or the exit code and no file.
fn run(rows: &[Fields], ids: Ids, layout: Layout, threads: usize) -> Result<Tables, u8> {
    let scratch = Scratch::new();
    let files = match layout {
        Layout::Csv { files } | Layout::Parquet { files, .. } => files,
    };
    for (number, part) in rows.chunks(rows.len().div_ceil(files)).enumerate() {
        match layout {
            Layout::Csv { .. } => {
                scratch.write(&format!("events/{number}.csv"), &csv(part));
            }
            Layout::Parquet { group, .. } => {
                let columns = parquet(part, ids);
                scratch.parquet(&format!("events/{number}.parquet"), &columns, group);
            }
        }
    }
    let mut resolved = scratch.resolve(CONFIG).unwrap();
    resolved.config.run.threads = Some(threads);
    let summary = catch_unwind(AssertUnwindSafe(|| execute(&resolved)));
    let summary = summary.unwrap_or_else(|_| panic!("panics as {layout:?}"));
    let summary = summary.map_err(|error| {
        assert_eq!(error.exit_code(), 3, "{layout:?}: {error}");
        assert!(error.to_string().contains("can be used"), "{layout:?}: {error}");
        3
    })?;
    assert_eq!(summary.rows_in, rows.len() as u64, "{layout:?}");
    let manifest = crate::inputs::manifest(&scratch);
    let n = |key: &str| manifest["rows"][key].as_u64().unwrap();
    assert_eq!(
        n("rows_in_n"),
        n("folded_n") + n("quarantined_n") + n("after_as_of_n"),
        "{layout:?}: {}",
        manifest["rows"]
    );
    let quarantine = scratch.path("out/latest/quarantine/deal_events.parquet");
    let kept_out = if quarantine.exists() { rows_of(&quarantine).len() } else { 0 };
    assert_eq!(kept_out as u64, n("quarantined_n"), "{layout:?}");
    Ok(tables(&scratch))
}

#[track_caller]
fn check(ids: Ids, seed: u8) {
    let cases = if std::env::var_os("DEALMILL_SLOW").is_some() { 300 } else { 12 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let result = TestRunner::new_with_rng(config, rng).run(&rows(ids), |rows| {
        let expected = run(&rows, ids, Layout::Csv { files: 1 }, 1);
        for (layout, threads) in [
            (Layout::Csv { files: 3 }, 2),
            (Layout::Parquet { files: 1, group: 1_000 }, 1),
            (Layout::Parquet { files: 4, group: 3 }, 3),
        ] {
            match (&expected, run(&rows, ids, layout, threads)) {
                (Ok(expected), Ok(found)) => assert_same(&found, expected),
                (Err(_), Err(_)) => {}
                (expected, found) => panic!("{layout:?}: {} {}", expected.is_ok(), found.is_ok()),
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("seed {seed}, {ids:?}\n{failure}");
    }
}

#[test]
fn wild_histories_keep_their_account_in_every_layout() {
    check(Ids::Texts, 61);
}

#[test]
fn wild_histories_with_whole_numbers_for_identifiers_do_so_too() {
    check(Ids::Integers, 62);
}

/// Lines of CSV of which some are no rows at all, told by their number.
#[test]
fn torn_lines_are_kept_out_and_counted() {
    let torn = ["1", "1,2024-01-05", "\"x\"y,,,,,,,,,", ",,,,,,,,,,,,", "Total;;;"];
    let strategy = proptest::collection::vec((rows(Ids::Texts), select(torn.to_vec())), 1..6);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[63; 32]);
    let result = TestRunner::new_with_rng(config, rng).run(&strategy, |parts| {
        let scratch = Scratch::new();
        let (mut text, mut n) = (COLUMNS.join(",") + "\n", 0);
        for (rows, torn) in &parts {
            text += csv(rows).split_once('\n').unwrap().1;
            text = text + torn + "\n";
            n += rows.len() as u64;
        }
        scratch.write("events/a.csv", &text);
        let all: Vec<Fields> = parts.iter().flat_map(|(rows, _)| rows.clone()).collect();
        let whole = run(&all, Ids::Texts, Layout::Csv { files: 1 }, 1);
        let Ok(whole) = whole else { return Ok(()) };
        let summary = scratch.run(CONFIG).unwrap();
        assert_eq!(summary.rows_in, n + parts.len() as u64);
        let mut found = tables(&scratch);
        let kept = |t: &Tables, rule: &str| crate::inputs::affected(t, "deal_events", rule);
        let torn_n = kept(&found, "ragged_rows") + kept(&found, "bad_quotes");
        assert_eq!(torn_n, parts.len() as i64);
        // But for the quality report the tables are those of the rows alone.
        let mut whole = whole;
        found.remove("data_quality");
        whole.remove("data_quality");
        assert_same(&found, &whole);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
