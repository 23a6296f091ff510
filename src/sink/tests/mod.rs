//! The publish protocol as a reader of the output folder sees it.

mod bad_output;
mod formats;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::config::Format;
use crate::error::Error;
use crate::table::{ColumnSpec, Table, TableBuilder, Value};

/// A table whose text, money, rate, date and instant columns hold awkward values.
fn table(name: &str, won: i64) -> Table {
    let specs = vec![
        ColumnSpec::text("region", "Region of the deal.").key().nullable(),
        ColumnSpec::count("won_n", "deals", "Deals won."),
        ColumnSpec::money("net_amount", "Net amount.").nullable(),
        ColumnSpec::rate("win_rate", "Share won."),
        ColumnSpec::date("period_start", "First day of the period."),
        ColumnSpec::instant("entered_at", "Entry."),
        ColumnSpec::flag("low_n", "Few deals."),
    ];
    let mut builder = TableBuilder::new(name, specs, 2);
    let rows = [
        (Some("=1+1"), won, Some(-123_456), Some(0.1 + 0.2), 19_723, 1_735_689_600_000_001, true),
        (Some("北京, \"x\"\n"), 2, None, None, -1, -1, false),
        (None, 3, Some(5), Some(1.0), 0, 0, false),
    ];
    for (region, n, net, rate, day, at, low) in rows {
        builder
            .push(&[
                ("region", region.map_or(Value::Null, Value::Text)),
                ("won_n", Value::Int(n)),
                ("net_amount", Value::money(net)),
                ("win_rate", Value::float(rate)),
                ("period_start", Value::Date(day)),
                ("entered_at", Value::Instant(at)),
                ("low_n", Value::Bool(low)),
            ])
            .unwrap();
    }
    builder.finish().unwrap()
}

fn stamp(second: i64) -> Stamp {
    let identity = RunIdentity {
        as_of: 1_735_689_600_000_000 + second * 1_000_000,
        config_hash: "c0ffee".into(),
        inputs: vec!["deal_events/a.parquet 12".into()],
        version: "0.1.0".into(),
        selection: vec!["parquet".into()],
    };
    Stamp { run_id: identity.run_id(), as_of: identity.as_of, config_hash: "c0ffee".into() }
}

fn publish(out: &Path, second: i64, won: i64, keep_runs: usize) -> Result<Published, Error> {
    let output = Output::claim(out, "2025-01-01T00:00:00Z")?;
    let mut staging = output.stage(stamp(second))?;
    staging.write_table(&table("oranges", won), Format::Parquet)?;
    staging.write_table(&table("apples", won), Format::Parquet)?;
    staging.publish(Account::default(), keep_runs)
}

/// Every path below a folder with the bytes of each file, links by their target.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if meta.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.push((path.strip_prefix(folder).unwrap().to_owned(), content));
        }
    }
    found.sort();
    found
}

fn run_folders(out: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(out.join("runs"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn published_run_is_found_through_both_pointers() {
    let out = tempfile::tempdir().unwrap();
    let done = publish(&out.path().join("new/deep"), 0, 1, 3).unwrap();
    let out = out.path().join("new/deep");
    assert_eq!(done.novelty, Novelty::New);
    assert_eq!(fs::read_link(out.join("latest")).unwrap(), Path::new("runs").join(&done.run_id));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("latest.json")).unwrap()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "run_id": done.run_id, "path": format!("runs/{}", done.run_id)
        })
    );
    let run = open_latest(&out).unwrap();
    assert_eq!(run.manifest.run_id, done.run_id);
    assert_eq!(run.manifest.as_of, "2025-01-01T00:00:00Z");
    let names: Vec<&str> = run.manifest.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["apples", "oranges"]);
    let oranges = run.expect_table("oranges").unwrap();
    let bytes = fs::read(run.path(oranges).unwrap()).unwrap();
    assert_eq!(oranges.bytes, bytes.len() as u64);
    assert_eq!(oranges.digest, blake3::hash(&bytes).to_hex().to_string());
    assert_eq!((oranges.rows, oranges.columns.len()), (3, 7));
    // A reader without links, and one who is given the run's own folder.
    fs::remove_file(out.join("latest")).unwrap();
    assert_eq!(open_latest(&out).unwrap(), run);
    assert_eq!(open_latest(&done.folder).unwrap().manifest, run.manifest);
}

#[test]
fn misspelt_table_names_the_nearest_and_skipped_one_its_reason() {
    let out = tempfile::tempdir().unwrap();
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp(0)).unwrap();
    staging.write_table(&table("oranges", 1), Format::Parquet).unwrap();
    let skipped = SkippedTable { name: "pears".into(), reason: "there is no input pips".into() };
    let account = Account { skipped_tables: vec![skipped], ..Account::default() };
    staging.publish(account, 3).unwrap();
    let run = open_latest(out.path()).unwrap();
    let error = run.expect_table("orange").unwrap_err();
    assert_eq!(error.to_string(), "unknown table \"orange\", did you mean \"oranges\"?");
    let hint = run.expect_table("pears").unwrap_err().hint().unwrap();
    assert_eq!(hint, "it was skipped: there is no input pips");
}

#[test]
fn run_that_ends_before_publishing_changes_nothing() {
    let out = tempfile::tempdir().unwrap();
    publish(out.path(), 0, 1, 3).unwrap();
    let before = tree(out.path());
    {
        let output = Output::claim(out.path(), "now").unwrap();
        let mut staging = output.stage(stamp(1)).unwrap();
        staging.write_table(&table("oranges", 9), Format::Parquet).unwrap();
        assert_eq!(run_folders(out.path()).len(), 2);
    }
    assert_eq!(tree(out.path()), before);
}

#[test]
fn folders_of_killed_runs_are_removed_by_the_next_and_never_read() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    // As a kill leaves them: no destructor runs, but the lock ends with the process.
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp(5)).unwrap();
    staging.write_table(&table("oranges", 5), Format::Parquet).unwrap();
    std::mem::forget(staging);
    drop(output);
    let removing = out.path().join("runs/.removing-2024-01-01T000000Z-aaaaaa");
    fs::create_dir_all(removing.join("quarantine")).unwrap();
    assert_eq!(run_folders(out.path()).len(), 3);
    fs::write(out.path().join(".latest.json.new"), "{").unwrap();
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, first.run_id);
    let second = publish(out.path(), 1, 2, 3).unwrap();
    let mut expected = vec![first.run_id, second.run_id];
    expected.sort();
    assert_eq!(run_folders(out.path()), expected);
    assert!(!out.path().join(".latest.json.new").exists());
}

#[test]
fn run_killed_between_rename_and_pointer_is_taken_up_by_its_repetition() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    let second = publish(out.path(), 1, 2, 3).unwrap();
    // Put the pointers back, as if the second run had died before it swapped them.
    fs::remove_file(out.path().join("latest")).unwrap();
    std::os::unix::fs::symlink(format!("runs/{}", first.run_id), out.path().join("latest"))
        .unwrap();
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, first.run_id);
    let again = publish(out.path(), 1, 2, 3).unwrap();
    assert_eq!((again.novelty, &again.run_id), (Novelty::AlreadyThere, &second.run_id));
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, second.run_id);
}

#[test]
fn pointers_that_disagree_are_mended_by_the_next_claim() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    let old_json = fs::read(out.path().join("latest.json")).unwrap();
    let second = publish(out.path(), 1, 2, 3).unwrap();
    assert_ne!(first.run_id, second.run_id);
    fs::write(out.path().join("latest.json"), old_json).unwrap();
    drop(Output::claim(out.path(), "now").unwrap());
    let json = fs::read_to_string(out.path().join("latest.json")).unwrap();
    assert!(json.contains(&second.run_id), "{json}");
}

#[test]
fn pointer_that_cannot_be_swapped_leaves_the_run_before() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    // A folder where the new pointer file is to be written cannot be removed as a file.
    fs::create_dir(out.path().join(".latest.json.new")).unwrap();
    let output_error = publish(out.path(), 1, 2, 3).unwrap_err();
    assert_eq!(output_error.exit_code(), 5);
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, first.run_id);
    assert_eq!(run_folders(out.path()), [first.run_id]);
}

#[test]
fn failed_swap_removes_the_run_that_nobody_points_to() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp(1)).unwrap();
    staging.write_table(&table("oranges", 2), Format::Parquet).unwrap();
    fs::create_dir(out.path().join(".latest.json.new")).unwrap();
    let error = staging.publish(Account::default(), 3).unwrap_err();
    assert!(error.to_string().contains(".latest.json.new"), "{error}");
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, first.run_id);
    assert_eq!(run_folders(out.path()), [first.run_id]);
}

#[test]
fn same_tables_again_publish_nothing_new() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 3).unwrap();
    let before = tree(out.path());
    let again = publish(out.path(), 0, 1, 3).unwrap();
    assert_eq!((again.novelty, again.run_id), (Novelty::AlreadyThere, first.run_id));
    assert_eq!(tree(out.path()), before);
}

#[test]
fn other_tables_of_the_same_name_get_a_number() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 5).unwrap();
    let other = publish(out.path(), 0, 2, 5).unwrap();
    assert_eq!(other.run_id, format!("{}-2", first.run_id));
    assert_eq!(open_latest(out.path()).unwrap().manifest.run_id, other.run_id);
    assert_eq!(publish(out.path(), 0, 2, 5).unwrap().novelty, Novelty::AlreadyThere);
    assert_eq!(publish(out.path(), 0, 3, 5).unwrap().run_id, format!("{}-3", first.run_id));
}

#[test]
fn damaged_run_is_not_mistaken_for_the_same() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(out.path(), 0, 1, 5).unwrap();
    let path = first.folder.join("oranges.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(publish(out.path(), 0, 1, 5).unwrap().run_id, format!("{}-2", first.run_id));
}

#[test]
fn old_runs_go_but_latest_and_foreign_folders_stay() {
    let out = tempfile::tempdir().unwrap();
    let runs = out.path().join("runs");
    fs::create_dir_all(runs.join("keep-me")).unwrap();
    fs::create_dir_all(runs.join("2020-01-01T000000Z-aaaaaa")).unwrap();
    fs::create_dir_all(out.path().join("elsewhere")).unwrap();
    fs::write(out.path().join("elsewhere/manifest.json"), "{}").unwrap();
    let link = runs.join("2020-01-01T000000Z-bbbbbb");
    std::os::unix::fs::symlink(out.path().join("elsewhere"), &link).unwrap();
    let ids: Vec<String> = (0..4).map(|n| publish(out.path(), n, n, 2).unwrap().run_id).collect();
    let mut expected = vec![
        "2020-01-01T000000Z-aaaaaa".to_owned(), // without a manifest
        "2020-01-01T000000Z-bbbbbb".to_owned(), // a link
        ids[2].clone(),
        ids[3].clone(),
        "keep-me".to_owned(),
    ];
    expected.sort();
    assert_eq!(run_folders(out.path()), expected);
    assert!(out.path().join("elsewhere/manifest.json").exists());
    // Even where none is to be kept, the one that `latest` points to is.
    let last = publish(out.path(), 9, 9, 0).unwrap();
    assert!(last.folder.is_dir() && run_folders(out.path()).len() == 4);
}

#[test]
fn second_run_on_one_output_exits_6_and_touches_nothing() {
    let out = tempfile::tempdir().unwrap();
    let held = Output::claim(out.path(), "2025-01-01T00:00:00Z").unwrap();
    let staging = held.stage(stamp(0)).unwrap();
    let before = tree(out.path());
    let error = publish(out.path(), 1, 1, 3).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert_eq!(tree(out.path()), before);
    drop(staging);
}

#[test]
fn identical_tables_are_identical_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(a.path(), 0, 1, 3).unwrap();
    publish(b.path(), 0, 1, 3).unwrap();
    assert_eq!(tree(a.path()), tree(b.path()));
}

#[test]
fn quarantine_is_written_beside_the_tables_and_listed() {
    let out = tempfile::tempdir().unwrap();
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp(0)).unwrap();
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]));
    let batch = |range: std::ops::Range<i64>| {
        let column = Arc::new(Int64Array::from_iter_values(range));
        RecordBatch::try_new(schema.clone(), vec![column]).unwrap()
    };
    let path = "quarantine/deal_events.parquet";
    let entry = staging.write_batches(path, schema.clone(), [batch(0..2), batch(2..5)]).unwrap();
    assert_eq!((entry.path.as_str(), entry.rows), (path, 5));
    assert!(staging.write_batches(path, schema.clone(), []).is_err(), "never overwrites");
    assert!(staging.write_batches("../x.parquet", schema.clone(), []).is_err());
    let done = staging.publish(Account::default(), 3).unwrap();
    assert_eq!(open_latest(out.path()).unwrap().manifest.files.len(), 1);
    let file = fs::File::open(done.folder.join(path)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), 5);
}

#[test]
fn manifest_of_a_later_version_is_refused_by_name() {
    let out = tempfile::tempdir().unwrap();
    let done = publish(out.path(), 0, 1, 3).unwrap();
    let path = done.folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"manifest_version\": 1", "\"manifest_version\": 99")).unwrap();
    let error = open_latest(out.path()).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("manifest.json"), "{error}");
}
