//! Scenarios as text, expected tables as text: small histories that a reader can work out by hand,
//! and every table as it must come out, so that a change of meaning is seen as a change of text.
//!
//! `tests/golden/<scenario>/` holds `dealmill.toml`, whose comments work out what matters, its
//! inputs, and `expected/<table>.txt` for every table of the run. A row is a line of its keys, then
//! its measures; what is null or false is left out. `DEALMILL_UPDATE=1 cargo test --release --test
//! it golden::` writes the expected files anew; read the difference before it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dealmill::config::{self, Flags};
use dealmill::metrics::REGISTRY;
use dealmill::table::{Dtype, Role};

use crate::support::{Scratch, execute};

const WIDTH: usize = 98;

macro_rules! scenarios {
    ($($name:ident)*) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { check(stringify!($name)); })*
    };
}

scenarios! {
    acquisition customers cycles dirt hindsight late money outcomes outlook paths payments people
    pipeline rates recurring targets
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_scenario_is_tested_and_every_metric_is_in_one() {
    let listed: BTreeSet<String> = SCENARIOS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names_in(&folder()), listed);
    let files: BTreeSet<String> =
        SCENARIOS.iter().flat_map(|name| names_in(&folder().join(name).join("expected"))).collect();
    for metric in REGISTRY {
        assert!(files.contains(&format!("{}.txt", metric.name)), "{} is in none", metric.name);
    }
}

#[track_caller]
fn check(scenario: &str) {
    let folder = folder().join(scenario);
    let tables = tables(&folder);
    let expected = folder.join("expected");
    if std::env::var_os("DEALMILL_UPDATE").is_some() {
        assert!(std::env::var_os("CI").is_none(), "expected tables are never rewritten in CI");
        if expected.exists() {
            fs::remove_dir_all(&expected).unwrap();
        }
        fs::create_dir_all(&expected).unwrap();
        for (name, text) in &tables {
            fs::write(expected.join(format!("{name}.txt")), text).unwrap();
        }
        return;
    }
    let files: BTreeSet<String> = tables.keys().map(|name| format!("{name}.txt")).collect();
    assert_eq!(names_in(&expected), files, "tables of {scenario}");
    for (name, text) in &tables {
        let path = expected.join(format!("{name}.txt"));
        same_text(&path, &fs::read_to_string(&path).unwrap(), text);
    }
}

#[track_caller]
fn same_text(path: &Path, expected: &str, got: &str) {
    if expected == got {
        return;
    }
    let mut pairs = expected.lines().zip(got.lines()).enumerate();
    let first = pairs.find(|(_, (expected, got))| expected != got);
    let (line, expected, got) = first.map_or_else(
        || (expected.lines().count().min(got.lines().count()), "…", "…"),
        |(line, (expected, got))| (line, expected, got),
    );
    panic!("{}:{}\n  expected {expected}\n  got      {got}", path.display(), line + 1);
}

/// Runs the scenario, which writes CSV, and gives each table as text.
#[track_caller]
fn tables(folder: &Path) -> BTreeMap<String, String> {
    let scratch = Scratch::new();
    let flags = Flags {
        config: Some(folder.join("dealmill.toml")),
        out: Some(scratch.path("out")),
        ..Flags::default()
    };
    let resolved = config::load(&flags).unwrap_or_else(|e| panic!("{e:?}"));
    let summary = execute(&resolved).unwrap_or_else(|e| panic!("{e:?}"));
    assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
    let read = |(name, _): (String, u64)| {
        let path = scratch.path(&format!("out/latest/{name}.csv"));
        let csv = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = as_text(&name, &csv);
        (name, text)
    };
    summary.tables.into_iter().map(read).collect()
}

fn as_text(table: &str, csv: &str) -> String {
    assert!(!csv.contains('"'), "{table}: a scenario needs no quoted values");
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
    let start = header.iter().position(|name| *name == "period_start").unwrap();
    let output = REGISTRY.iter().find(|m| m.name == table).map_or(&[][..], |m| m.output);
    let mut text = String::new();
    for line in lines {
        let (mut keys, mut measures) = (Vec::new(), Vec::new());
        for (place, (name, cell)) in header.iter().zip(line.split(',')).enumerate() {
            if cell.is_empty() || cell == "false" {
                continue;
            }
            let spec = output.iter().find(|spec| spec.name == *name);
            let is_float = spec.is_some_and(|spec| spec.dtype == Dtype::Float);
            let shown = if is_float { short(cell) } else { cell.to_owned() };
            let is_key = place <= start || spec.is_some_and(|spec| spec.role == Role::Key);
            if is_key { &mut keys } else { &mut measures }.push(format!("{name}={shown}"));
        }
        text += &keys.join("  ");
        text.push('\n');
        for line in wrapped(&measures) {
            text += &format!("  {line}\n");
        }
    }
    text
}

/// Six decimals, without the zeros at their end.
fn short(number: &str) -> String {
    let fixed = format!("{:.6}", number.parse::<f64>().unwrap());
    fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + word.len() <= WIDTH => {
                line.push_str("  ");
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}
