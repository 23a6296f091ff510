//! What a person sees of a small published run.

use crate::config::Format;
use crate::error::Error;
use crate::sink::{Account, FinishedRun, Output, RunIdentity, Stamp, open_latest};
use crate::table::{ColumnSpec, Table, TableBuilder, Value};

use super::*;

/// Publishes tables into a fresh folder and opens them again.
pub(super) fn published(tables: &[Table], format: Format) -> (tempfile::TempDir, FinishedRun) {
    // Characters that a scan would take for a pattern.
    let out = tempfile::Builder::new().prefix("out [a*] {b} ").tempdir().unwrap();
    let identity = RunIdentity {
        as_of: 1_735_689_600_000_000,
        config_hash: "c".into(),
        inputs: Vec::new(),
        version: "0.1.0".into(),
        selection: Vec::new(),
    };
    let stamp = Stamp { run_id: identity.run_id(), as_of: identity.as_of, config_hash: "c".into() };
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp).unwrap();
    for table in tables {
        staging.write_table(table, format).unwrap();
    }
    staging.publish(Account::default(), 3).unwrap();
    let run = open_latest(out.path()).unwrap();
    (out, run)
}

fn revenue() -> Table {
    let specs = vec![
        ColumnSpec::text("region", "Region.").key().nullable(),
        ColumnSpec::date("period_start", "Start.").key(),
        ColumnSpec::count("won_n", "deals", "Won."),
        ColumnSpec::money("net_amount", "Net.").nullable(),
        ColumnSpec::rate("win_rate", "Rate."),
        ColumnSpec::flag("low_n", "Few."),
        ColumnSpec::instant("entered_at", "Entry."),
    ];
    let mut builder = TableBuilder::new("revenue", specs, 2);
    // Day 19,723 is 2024-01-01, day 19,754 is 2024-02-01.
    let rows = [
        (Some("北京"), 19_723, 12, Some(123_456), Some(2.0 / 3.0)),
        (Some("Oslo\u{1b}[31m"), 19_723, 7, Some(-50), None),
        (None, 19_754, 3, None, Some(0.5)),
    ];
    for (region, day, won, net, rate) in rows {
        builder
            .push(&[
                ("region", region.map_or(Value::Null, Value::Text)),
                ("period_start", Value::Date(day)),
                ("won_n", Value::Int(won)),
                ("net_amount", Value::money(net)),
                ("win_rate", Value::float(rate)),
                ("low_n", Value::Bool(won < 10)),
                ("entered_at", Value::Instant(1_735_689_600_000_000)),
            ])
            .unwrap();
    }
    builder.finish().unwrap()
}

const HEAD: &str =
    " region     period_start   won_n   net_amount   win_rate   low_n   entered_at\n";

#[test]
fn table_shows_every_value_aligned_in_each_format() {
    for format in [Format::Parquet, Format::Csv, Format::Json] {
        let (_out, run) = published(&[revenue()], format);
        let text = show(&run, "revenue", None, 20, None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], HEAD.trim_end(), "{format:?}\n{text}");
        let expected = [
            " –          2024-02-01         3            –        0.5   true    2025-01-01T00:00:00Z",
            " Oslo[31m   2024-01-01         7        -0.50          –   true    2025-01-01T00:00:00Z",
            " 北京       2024-01-01        12      1234.56   0.666667   false   2025-01-01T00:00:00Z",
        ];
        assert_eq!(lines[2..5], expected, "{format:?}\n{text}");
        assert_eq!(lines[6], "3 rows", "{format:?}");
    }
}

#[track_caller]
fn check(condition: &str, regions: &[&str]) {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", Some(condition), 20, None).unwrap();
    let found: Vec<&str> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(found, regions, "{condition}");
}

#[test]
fn conditions_select_rows_in_the_order_of_the_table() {
    check("won_n >= 7", &["Oslo[31m", "北京"]);
    check("region IS NULL", &["–"]);
    check("region = '北京' AND NOT low_n", &["北京"]);
    check("net_amount > 0", &["北京"]);
    check("net_amount <= -0.5", &["Oslo[31m"]);
    check("period_start = '2024-02-01'", &["–"]);
    check("period_start < DATE '2024-02-01'", &["Oslo[31m", "北京"]);
    check("win_rate BETWEEN 0.4 AND 0.6 OR won_n IN (7)", &["–", "Oslo[31m"]);
    check("region LIKE 'Os%'", &["Oslo[31m"]);
    check("won_n > 1000", &[]);
}

#[test]
fn limit_says_how_many_rows_there_are() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", Some("won_n >= 7"), 1, None).unwrap();
    assert!(text.ends_with("\n1 of 2 rows\n"), "{text}");
    let text = show(&run, "revenue", Some("won_n > 1000"), 1, None).unwrap();
    assert!(text.ends_with("\nno row meets the condition\n"), "{text}");
}

#[track_caller]
fn check_refused(condition: &str, reason: &str, hint: &str) {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let error = show(&run, "revenue", Some(condition), 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(matches!(error, Error::Sql { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.hint().unwrap().contains(hint), "{error:?}");
}

#[test]
fn bad_conditions_are_refused_with_a_hint() {
    check_refused("won_m > 7", "won_m", "did you mean the column won_n?");
    check_refused("won_n >", "is not acceptable", "its columns are region, period_start");
    check_refused("won_n > 1; DROP TABLE revenue", "it goes on after", "its columns are");
    check_refused("won_n > 1 ORDER BY won_n", "it goes on after", "its columns are");
    check_refused("", "is not acceptable", "its columns are");
}

#[test]
fn narrow_terminal_is_never_exceeded() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", None, 20, Some(50)).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 50, "{text}");
    for name in ["region", "net_amount", "win_rate", "entered_at", "1234.56"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn damaged_table_names_its_file() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let path = run.path(run.table("revenue").unwrap()).unwrap();
    std::fs::write(&path, "PAR1 nothing PAR1").unwrap();
    let error = show(&run, "revenue", Some("won_n > 1"), 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("revenue.parquet"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = show(&run, "revenue", None, 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("revenue.parquet"), "{error}");
}
