//! The engine's tables and states beside DuckDB's.
//!
//! Where Python or its package `duckdb` is absent the tests say aloud that they are skipped; with
//! `DEALMILL_REQUIRE_ORACLE=1` that is a failure.

use std::path::Path;
use std::process::Command;

use dealmill::engine::{Backend, Execution, MergedState, merged_states};
use dealmill::metrics::{Absent, NO_KEY, REGISTRY, State};
use dealmill::relations::{Dictionaries, Kind, export::to_arrow};
use dealmill::source::synthetic::Ids;
use serde_json::{Value, json};

use crate::laws::dirty::{Shape, check_many, resolve};
use crate::laws::sample::{CUSTOM_N, Sample, plan, read, stated};
use crate::support::{Scratch, execute};

/// Whether the oracle can be asked.
fn is_there() -> bool {
    let asked = Command::new("python3").args(["-c", "import duckdb"]).output();
    if asked.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("DEALMILL_REQUIRE_ORACLE").is_some_and(|value| value == "1");
    assert!(!required, "DEALMILL_REQUIRE_ORACLE=1, but `python3 -c 'import duckdb'` fails");
    eprintln!("SKIPPED: there is no DuckDB to compare with; `pip install duckdb`");
    false
}

/// Runs the comparison; returns what it says it compared.
#[track_caller]
fn compare(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oracle/compare.py");
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    said
}

#[track_caller]
fn check_tables(deals: u64, seed: u64, ids: Ids) {
    if !is_there() {
        return;
    }
    let sample = Sample::new(deals, seed, ids);
    let folder = execute(&sample.hive_of_deals()).unwrap().run_dir;
    let events = sample.scratch.path("made/deal_events/**/*.parquet");
    let as_of = "2020-02-29 23:59:59.999999";
    let said = compare(&["tables", events.to_str().unwrap(), folder.to_str().unwrap(), as_of]);
    assert_eq!(said.lines().count(), 8, "{said}");
}

#[test]
fn tables_equal_window_sql_over_raw_events() {
    check_tables(700, 41, Ids::Int);
    check_tables(700, 42, Ids::String);
}

/// A state as JSON: names written out, null as null, days as numbers.
fn state(state: &MergedState, dictionaries: &Dictionaries) -> Value {
    let rows = &state.rows;
    let name = |dictionary: &str, code: i64| json!(dictionaries.name(dictionary, code));
    let number = |value: i64| if value == NO_KEY { Value::Null } else { json!(value) };
    let key = |position: usize, value: i64| match state.kinds[position] {
        _ if value == NO_KEY => Value::Null,
        Some(Kind::Stage) => name("stage", value),
        Some(Kind::Dictionary("dimension")) => name(&state.sources[position], value),
        Some(Kind::Dictionary(dictionary)) => name(dictionary, value),
        Some(Kind::Name(names)) => json!(names[usize::try_from(value).unwrap()]),
        _ => json!(value),
    };
    let row = |row: usize| -> Vec<Value> {
        let dimensions = state.slice.iter().zip(&rows.dimensions);
        let dimensions = dimensions.map(|(dimension, codes)| name(dimension, codes[row]));
        let keys = rows.keys.iter().enumerate().map(|(at, (_, values))| key(at, values[row]));
        let values = rows.values.iter().map(|(_, values)| number(values[row]));
        dimensions.chain(keys).chain(values).collect()
    };
    let own = rows.keys.iter().chain(&rows.values).map(|(name, _)| name);
    json!({
        "what": state.what,
        "sql": state.sql,
        "columns": state.slice.iter().chain(own).collect::<Vec<_>>(),
        "rows": (0..rows.rows).map(row).collect::<Vec<_>>(),
    })
}

/// Every state of every metric, and how many there were.
#[track_caller]
fn check_states(resolved: &dealmill::config::Resolved, metrics: usize) {
    let (history, _) = read(resolved);
    let exported = Scratch::new();
    for relation in history.relations.batches.keys() {
        let batch = to_arrow(&history.relations, *relation).unwrap();
        let schema = batch.schema();
        let names = schema.fields().iter().map(|f| f.name().as_str());
        let columns: Vec<_> = names.zip(batch.columns().iter().cloned()).collect();
        exported.parquet(&format!("relations/{}.parquet", relation.name()), &columns, 10_000);
    }
    let plan = plan(resolved, Execution::Sharded(3), Backend::Kernel);
    let custom = &resolved.config.metrics;
    let mut states = merged_states(&history.relations, REGISTRY, custom, &plan).unwrap();
    // What the inputs cannot give has no rows and nobody to compare them with.
    let is_there = |name: &str| history.relations.batches.keys().any(|r| r.name() == name);
    states.retain(|state| {
        let mut words = state.sql.split_whitespace();
        words.any(|word| word == "FROM") && is_there(words.next().unwrap())
    });
    let listed: Vec<Value> =
        states.iter().map(|s| state(s, &history.relations.dictionaries)).collect();
    let listed = exported.write("states.json", &serde_json::to_string(&listed).unwrap());
    let folder = exported.path("relations");
    let said = compare(&["states", folder.to_str().unwrap(), listed.to_str().unwrap()]);
    let mut tables: Vec<&str> = said.lines().filter_map(|l| l.split('"').nth(1)).collect();
    tables.dedup();
    assert_eq!(tables.len(), metrics, "{said}");
}

#[test]
fn states_equal_those_of_duckdb() {
    if is_there() {
        check_states(&Sample::new(500, 43, Ids::Int).hive(""), stated().len() + CUSTOM_N);
    }
}

#[test]
fn states_of_dirty_histories_equal_those_of_duckdb() {
    if !is_there() {
        return;
    }
    check_many(44, &[Shape::EVERY[1]], |rows, shape| {
        let scratch = Scratch::new();
        let (history, _) = read(&resolve(&scratch, rows, shape));
        let is_given = |state: &State| {
            let is_there = history.relations.batches.contains_key(&state.relation);
            is_there || state.absent == Absent::NoRows
        };
        // These histories are split by nothing that is about people.
        let all = stated();
        let made = all.iter().filter(|m| !m.is_about_people());
        let made = made.filter(|metric| metric.states.iter().all(is_given));
        check_states(&resolve(&scratch, rows, shape), made.count());
    });
}
