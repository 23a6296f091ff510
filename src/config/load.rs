//! Lays the layers over each other: a flag over `--set` over the file over the default.
//!
//! Every layer is judged by itself first, so that a complaint names the file and line, the `--set`
//! or the flag it is about.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;
use toml::de::DeTable;

use super::places::{Places, line};
use super::resolve::{Resolved, resolve};
use super::{Config, Format, syntax};
use crate::error::Error;

/// Where the configuration is looked for when no flag names it.
const DEFAULT_FILE: &str = "dealmill.toml";

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `-c`: the file; default `dealmill.toml` in the current folder.
    pub config: Option<PathBuf>,
    /// `--set key=value`, in order; the value is TOML, or else a plain text.
    pub set: Vec<String>,
    /// `--as-of`.
    pub as_of: Option<String>,
    /// `--out`, relative to the current folder.
    pub out: Option<PathBuf>,
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--memory-limit`.
    pub memory_limit: Option<String>,
    /// `--shards`.
    pub shards: Option<usize>,
    /// `--format`.
    pub format: Option<Format>,
    /// `--only`; empty = as in the file.
    pub only: Vec<String>,
}

/// Reads the file, lays `--set` and the flags over it, checks everything and resolves it.
///
/// # Errors
/// The file cannot be read or is not TOML; or all keys and values that cannot be used, together.
pub fn load(flags: &Flags) -> Result<Resolved, Error> {
    let path = flags.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let text = std::fs::read_to_string(&path)
        .map_err(|source| Error::ConfigRead { path: path.clone(), source })?;
    load_text(&path, &text, flags)
}

/// As [`load`], from text that stands for the file at `path`.
pub(super) fn load_text(path: &Path, text: &str, flags: &Flags) -> Result<Resolved, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut layers = Layers::default();
    layers.add_file(path, text)?;
    for set in &flags.set {
        layers.add_set(set);
    }
    if !layers.complaints.is_empty() {
        return Err(Error::Config(layers.complaints));
    }
    let mut config = Config::deserialize(layers.table)
        .map_err(|error| Error::Config(vec![error.message().to_owned()]))?;
    apply_flags(&mut config, &mut layers.places, flags);
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let output = flags.out.clone().unwrap_or_else(|| base.join(&config.run.output));
    resolve(config, &base, output, &layers.places)
}

#[derive(Default)]
struct Layers {
    table: Table,
    places: Places,
    complaints: Vec<String>,
}

impl Layers {
    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let wrong = |error: toml::de::Error| Error::ConfigSyntax {
            path: path.to_owned(),
            source: error.to_string().trim_end().into(),
        };
        let document = DeTable::parse(text).map_err(wrong)?;
        self.table = toml::from_str(text).map_err(wrong)?;
        let name = path.display().to_string();
        self.places.note_document(&name, text, document.get_ref());
        let place = |at| format!("{name}:{}", line(text, at));
        self.complaints.extend(syntax::read(document, place).1);
        Ok(())
    }

    fn add_set(&mut self, set: &str) {
        let Some((key, value)) = set.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else {
            self.complaints.push(format!("--set {set}: expected key=value, such as run.shards=4"));
            return;
        };
        let as_text = format!("{key} = {}", toml::Value::String(value.to_owned()));
        let as_value = format!("{key} = {value}");
        let place = format!("--set {key}");
        let complaints = match (judge(&as_value, &place), judge(&as_text, &place)) {
            (Some(typed), _) if typed.is_empty() => return self.merge_set(key, &as_value),
            (_, Some(plain)) if plain.is_empty() => return self.merge_set(key, &as_text),
            (Some(typed), _) => typed,
            (None, Some(plain)) => plain,
            (None, None) => vec![format!("{place}: not a dotted key, such as run.timezone")],
        };
        self.complaints.extend(complaints);
    }

    fn merge_set(&mut self, key: &str, text: &str) {
        if let Ok(table) = toml::from_str::<Table>(text) {
            merge(&mut self.table, table);
            self.places.note(key, format!("--set {key}"));
        }
    }
}

/// What is wrong with one `--set` read by itself; `None` if it is not even TOML.
fn judge(text: &str, place: &str) -> Option<Vec<String>> {
    if text.contains('\n') {
        return None;
    }
    let complaints = syntax::read(DeTable::parse(text).ok()?, |_| place.to_owned()).1;
    // The place names the key already.
    let repeated = place.strip_prefix("--set ").map(|key| format!("{place}: {key}: "));
    Some(
        complaints
            .into_iter()
            .map(|text| match repeated.as_deref().and_then(|r| text.strip_prefix(r)) {
                Some(rest) => format!("{place}: {rest}"),
                None => text,
            })
            .collect(),
    )
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn apply_flags(config: &mut Config, places: &mut Places, flags: &Flags) {
    let run = &mut config.run;
    let mut flag = |key: &str, name: &str, given: bool| {
        if given {
            places.note(key, name);
        }
    };
    flag("run.as_of", "--as-of", flags.as_of.is_some());
    flag("run.threads", "--threads", flags.threads.is_some());
    flag("run.memory_limit", "--memory-limit", flags.memory_limit.is_some());
    flag("run.shards", "--shards", flags.shards.is_some());
    flag("run.format", "--format", flags.format.is_some());
    flag("run.only", "--only", !flags.only.is_empty());
    if flags.as_of.is_some() {
        run.as_of.clone_from(&flags.as_of);
    }
    if flags.memory_limit.is_some() {
        run.memory_limit.clone_from(&flags.memory_limit);
    }
    run.threads = flags.threads.or(run.threads);
    run.shards = flags.shards.unwrap_or(run.shards);
    run.format = flags.format.unwrap_or(run.format);
    if !flags.only.is_empty() {
        run.only = flags.only.iter().map(|name| name.trim().to_owned()).collect();
    }
}
