//! Broken inputs and outputs: what they say and what they leave alone.
//!
//! Every case starts from a good run, so that what was published before can be seen to stay.

mod checksums;
mod files;
mod known;
mod mutants;
mod outputs;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::inputs::{CONFIG, HISTORY, columns, published};
use super::support::Scratch;

/// A folder with the plain history, already run once.
fn published_once() -> Scratch {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    scratch.run(CONFIG).unwrap();
    scratch
}

/// Runs the binary on the folder's configuration.
fn dealmill(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .args(["run", "-c", "dealmill.toml", "--out", "out"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .env_remove("DEALMILL_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a reader of the output sees: where `latest` leads, the pointer file, and the tables.
fn seen(scratch: &Scratch) -> (PathBuf, Vec<u8>, std::collections::BTreeMap<String, Vec<u8>>) {
    (
        std::fs::read_link(scratch.path("out/latest")).unwrap(),
        std::fs::read(scratch.path("out/latest.json")).unwrap(),
        published(&scratch.path("out/latest")),
    )
}

/// Runs the configuration in a folder that has a good run: it fails with this exit code, says all
/// of this and a hint, and what is published stays.
#[track_caller]
fn check_fails(scratch: &Scratch, config: &str, exit_code: i32, said: &[&str]) -> String {
    let before = seen(scratch);
    scratch.write("dealmill.toml", config);
    let output = dealmill(&scratch.path(""), &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    for part in said {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(text.starts_with("error: ") && text.contains("\n\nhint: "), "{text}");
    assert!(!text.contains("internal error"), "{text}");
    assert_eq!(output.stdout, b"", "{text}");
    assert!(before == seen(scratch), "what was published has changed");
    text
}

/// As [`check_fails`], by breaking the files of the plain history.
#[track_caller]
fn check_broken(break_it: impl FnOnce(&Scratch), said: &[&str]) {
    let scratch = published_once();
    break_it(&scratch);
    check_fails(&scratch, CONFIG, 3, said);
}

/// It runs, and says this in a warning.
#[track_caller]
fn check_warns(scratch: &Scratch, config: &str, said: &[&str]) {
    scratch.write("dealmill.toml", config);
    let output = dealmill(&scratch.path(""), &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let warned = |part: &&str| text.lines().any(|l| l.starts_with("warning") && l.contains(*part));
    for part in said {
        assert!(warned(part), "no warning with {part:?} in: {text}");
    }
}
