//! Where a value came from, so that a complaint can point at it: `dealmill.toml:3`, `--threads`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::error::Error;

/// Dotted key paths and where each was last set; later layers overwrite earlier ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    by_key: BTreeMap<String, String>,
}

impl Places {
    /// Notes that a flag or `--set` gave a value.
    pub(super) fn note(&mut self, key: &str, place: impl Into<String>) {
        self.by_key.insert(key.to_owned(), place.into());
    }

    /// Notes every key of a parsed document, under `name:line`.
    pub(super) fn note_document(&mut self, name: &str, text: &str, table: &DeTable<'_>) {
        self.note_table(name, text, "", table);
    }

    fn note_table(&mut self, name: &str, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            self.by_key.insert(path.clone(), format!("{name}:{}", line(text, key.span().start)));
            match value.get_ref() {
                DeValue::Table(inner) => self.note_table(name, text, &path, inner),
                DeValue::Array(items) => {
                    for (position, item) in items.iter().enumerate() {
                        if let DeValue::Table(inner) = item.get_ref() {
                            let path = join(&path, &position.to_string());
                            let place = format!("{name}:{}", line(text, item.span().start));
                            self.by_key.insert(path.clone(), place);
                            self.note_table(name, text, &path, inner);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Where a key, or the nearest section around it, was set.
    pub(super) fn of(&self, key: &str) -> Option<&str> {
        let mut path = key;
        loop {
            if let Some(place) = self.by_key.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// A dotted path one step longer.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// The line, counted from 1, of a byte offset.
pub(super) fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Complaints gathered while checking, each beginning with its place.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    places: &'a Places,
    list: Vec<String>,
    reserved: Vec<(String, String)>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self { places, list: Vec::new(), reserved: Vec::new() }
    }

    /// Adds one complaint about a key.
    pub(super) fn add(&mut self, key: &str, problem: impl AsRef<str>) {
        let place = match self.places.of(key) {
            Some(place) if place.ends_with(&format!(" {key}")) => place.to_owned(),
            Some(place) => format!("{place}: {key}"),
            None => key.to_owned(),
        };
        self.list.push(format!("{place}: {}", problem.as_ref()));
    }
    /// Notes a value that stands for a feature which has not landed, and what to use instead.
    pub(super) fn reserve(&mut self, key: &str, what: &str, hint: &str) {
        self.reserved.push((format!("{key} = {what}"), hint.to_owned()));
    }

    /// Nothing to complain about, or everything at once.
    pub(super) fn into_result(mut self) -> Result<(), Error> {
        if self.list.is_empty() {
            return match self.reserved.into_iter().next() {
                None => Ok(()),
                Some((what, hint)) => Err(Error::NotYet { what, hint }),
            };
        }
        let reserved = self.reserved.into_iter();
        self.list.extend(
            reserved.map(|(what, hint)| format!("{what} is not available in this version: {hint}")),
        );
        Err(Error::Config(self.list))
    }
}
