//! The project's shape: who may see whom, sizes, and documents that tell the truth.
//!
//! It reads the sources as text. Test modules are left out: a test may look anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dealmill::metrics::REGISTRY;

/// Lines of a file of sources, its tests not counted.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 85;

/// Which modules each module may name. What is not listed may not be named; a new module must be
/// entered here. `config` stands for its declarations, which are plain data: [`RESOLVING`] says who
/// may use the rest of it.
const MAY_SEE: &[(&str, &[&str])] = &[
    // Vocabulary.
    ("allocator", &[]),
    ("error", &[]),
    ("time", &[]),
    ("money", &["time"]),
    ("stats", &[]),
    ("table", &["error", "time"]),
    ("contract", &["config", "error", "relations"]),
    // What the user says.
    ("cli", &["config", "source"]),
    (
        "config",
        &[
            "contract",
            "error",
            "metrics",
            "money",
            "quality",
            "relations",
            "source",
            "spill",
            "table",
            "time",
        ],
    ),
    // The pipeline. Spilling knows only columns and files.
    ("spill", &["error"]),
    ("source", &["config", "contract", "error", "money", "quality", "time"]),
    ("quality", &["config", "contract", "error", "money", "relations", "time"]),
    ("fold", &["config", "contract", "error", "money", "quality", "source", "spill", "time"]),
    (
        "relations",
        &["config", "contract", "error", "fold", "money", "quality", "source", "table", "time"],
    ),
    // No path, no configuration, no engine, no clock.
    ("metrics", &["error", "money", "relations", "stats", "table", "time"]),
    ("engine", &["config", "error", "metrics", "money", "relations", "spill", "table", "time"]),
    ("sink", &["config", "error", "money", "table", "time"]),
    // Reads the written tables only.
    ("report", &["config", "error", "money", "sink", "table", "time"]),
];

/// The modules that put the others together may name all of them.
const CONDUCTORS: &[&str] = &["lib", "main", "run", "verbs"];

/// What of `config` only the conductors use.
const RESOLVING: &[&str] =
    &["config::Resolved", "config::load", "config::Flags", "config::environment"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Source {
    /// Relative to `src`.
    path: PathBuf,
    /// Without comments and tests.
    code: String,
}

impl Source {
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut sources = Vec::new();
    for path in files(&src, "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let within = path.strip_prefix(&src).unwrap().with_extension("");
        let mut parts = within.components().map(|part| part.as_os_str());
        if parts.any(|part| ["tests", "testing", "fixture"].iter().any(|test| part == *test)) {
            continue;
        }
        let code: Vec<&str> = before_tests(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let path = path.strip_prefix(&src).unwrap().to_owned();
        sources.push(Source { path, code: code.join("\n") });
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// The text up to its test module, if it holds one.
fn before_tests(text: &str) -> &str {
    let marks = text.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
        let next = text[at + mark.len()..].lines().next().unwrap_or("");
        next.contains("mod ") && next.ends_with('{')
    });
    marks.map_or(text, |(at, _)| &text[..at])
}

/// The words that follow `prefix` in the code.
fn words_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("")
    };
    code.match_indices(prefix).map(|(at, _)| word(&code[at + prefix.len()..])).collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| {
        !part(code[..at].chars().next_back()) && !part(code[at + word.len()..].chars().next())
    })
}

#[track_caller]
fn check_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn modules_see_only_what_lies_before_them() {
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module();
        if CONDUCTORS.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_SEE.iter().find(|(name, _)| *name == module) else {
            found.push(format!("{}: say in MAY_SEE what it may see", source.path.display()));
            continue;
        };
        for seen in words_after(&source.code, "crate::") {
            if seen != module && !allowed.contains(&seen) {
                found.push(format!("{}: {module} may not see {seen}", source.path.display()));
            }
        }
    }
    check_none(found);
}

#[test]
fn only_the_conductors_load_a_configuration() {
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module();
        // What the user typed becomes flags.
        let own = ["cli", "config"].contains(&module.as_str());
        for part in RESOLVING.iter().filter(|part| has_word(&source.code, part)) {
            if !own && !CONDUCTORS.contains(&module.as_str()) {
                found.push(format!("{}: uses {part}", source.path.display()));
            }
        }
    }
    check_none(found);
}

#[test]
fn engine_and_sink_name_no_metric() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| ["engine", "sink"].contains(&s.module().as_str())) {
        for metric in REGISTRY.iter().filter(|metric| has_word(&source.code, metric.name)) {
            found.push(format!("{}: names the metric {}", source.path.display(), metric.name));
        }
    }
    check_none(found);
}

#[test]
fn stats_and_the_state_machine_work_on_plain_slices() {
    let mut found = Vec::new();
    for source in sources() {
        if source.module() != "stats" && source.path != Path::new("fold/machine.rs") {
            continue;
        }
        for word in ["polars", "pl", "arrow", "std::fs"] {
            if has_word(&source.code, word) {
                found.push(format!("{}: uses {word}", source.path.display()));
            }
        }
    }
    check_none(found);
}

#[test]
fn only_main_exits_or_prints() {
    let streams = ["println!", "eprintln!", "print!(", "stdout()", "stderr()", "process::exit"];
    let terminal = [Path::new("main.rs"), Path::new("verbs/session.rs")];
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| !terminal.contains(&s.path.as_path())) {
        for word in streams.iter().filter(|word| source.code.contains(**word)) {
            found.push(format!("{}: {word}", source.path.display()));
        }
    }
    check_none(found);
}

/// Polars 0.55.2 gives wrong grouped numbers for aggregates with a filter in its streaming engine.
#[test]
fn no_aggregate_has_a_filter() {
    let mut found = Vec::new();
    for metric in REGISTRY {
        for state in metric.states {
            let sql = state.sql.to_uppercase();
            for word in ["FILTER", "DISTINCT", "OVER", "JOIN", "AVG", "HAVING", "WITH"] {
                if has_word(&sql, word) {
                    found.push(format!("{}: {word} in a state", metric.name));
                }
            }
        }
    }
    for source in sources() {
        for (at, _) in source.code.match_indices(".agg(") {
            if argument(&source.code[at + 5..]).contains(".filter(") {
                found.push(format!("{}: .filter( inside .agg(", source.path.display()));
            }
        }
    }
    check_none(found);
}

/// The text up to the parenthesis that closes.
fn argument(code: &str) -> &str {
    let mut depth = 1;
    for (at, c) in code.char_indices() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &code[..at];
        }
    }
    code
}

#[test]
fn files_are_short_enough_to_read() {
    let long = sources().into_iter().filter_map(|source| {
        let lines = source.code.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path.display()))
    });
    check_none(long.collect());
}

#[test]
fn functions_fit_a_screen() {
    let mut found = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(indent) = function_indent(line) else { continue };
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| *l == end).unwrap_or(0) + 1;
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{}: {} ({length} lines)", source.path.display(), line.trim()));
            }
        }
    }
    check_none(found);
}

/// How far a line is indented that begins a function with a body.
fn function_indent(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let name = ["pub ", "pub(crate) ", "pub(super) ", "const "]
        .iter()
        .fold(text, |text, word| text.strip_prefix(word).unwrap_or(text));
    let one_line = line.trim_end().ends_with(['}', ';']);
    (name.starts_with("fn ") && !one_line).then(|| line.len() - text.len())
}

#[test]
fn main_fits_a_screen() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60, "main.rs has {} lines", main.lines().count());
}

fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    for folder in ["data", "benches", "tests"] {
        documents.extend(files(&root().join(folder), "md"));
    }
    documents.sort();
    documents
}

#[test]
fn every_path_named_in_a_document_exists() {
    let mut found = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().unwrap();
        for path in paths_in(&text) {
            let exists = [root(), folder].iter().any(|base| base.join(&path).exists());
            if !exists {
                let document = document.strip_prefix(root()).unwrap();
                found.push(format!("{}: {path} does not exist", document.display()));
            }
        }
    }
    check_none(found);
}

/// What stands in back-ticks and begins like a path of the project, and the targets of links.
fn paths_in(text: &str) -> Vec<String> {
    let folders = ["src/", "tests/", "data/", "benches/", ".ci/"];
    let mut paths = Vec::new();
    let mut code_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code_block = !code_block;
        }
        if code_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        let named = quoted.filter(|q| {
            folders.iter().any(|f| q.starts_with(f)) && !q.contains(['<', '*', '{', ' ', '=', '…'])
        });
        paths.extend(named.map(str::to_owned));
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or("");
            let target = target.split('#').next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") {
                paths.push(target.to_owned());
            }
        }
    }
    paths
}

#[test]
fn the_list_of_tables_is_fresh() {
    let output = Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .args(["tables", "--format", "markdown"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let path = root().join("METRICS.md");
    let fresh = String::from_utf8(output.stdout).unwrap();
    let update = std::env::var_os("DEALMILL_UPDATE").is_some_and(|value| value == "1");
    if update && std::env::var_os("CI").is_none() {
        fs::write(&path, &fresh).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == fresh, "METRICS.md is stale: run the tests with DEALMILL_UPDATE=1");
}
