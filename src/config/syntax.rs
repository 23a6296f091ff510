//! From TOML text to [`Config`], with every unknown key and every wrong type named at its line.
//!
//! The deserialiser stops at the first fault. So each fault is noted, its key is taken out of the
//! parsed document, and the rest is tried again, until nothing is left to complain about.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::places::join;
use crate::error::nearest_names;

/// More complaints than this help nobody.
const FAULTS_MAX: usize = 30;

/// One key that cannot be used.
#[derive(Debug)]
struct Fault {
    steps: Vec<Step>,
    at: usize,
    text: String,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Item(usize),
}

/// Reads a parsed document; the second value lists what had to be left out, one sentence each,
/// beginning with the `place` of its byte offset.
pub(super) fn read(
    mut document: Spanned<DeTable<'_>>,
    place: impl Fn(usize) -> String,
) -> (Config, Vec<String>) {
    let mut complaints = Vec::new();
    loop {
        let attempt = Config::deserialize(toml::Deserializer::from(document.clone()));
        let error = match attempt {
            Ok(config) => return (config, complaints),
            Err(error) => error,
        };
        let fault = locate(document.get_ref(), &error);
        let key = dotted(&fault.steps);
        complaints.push(format!("{}: {}", place(fault.at), sentence(&key, &fault.text)));
        let removed = remove(document.get_mut(), &fault.steps);
        if !removed || complaints.len() >= FAULTS_MAX {
            return (Config::default(), complaints);
        }
    }
}

/// Finds the key that an error is about from the error's place in the text.
fn locate(document: &DeTable<'_>, error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let mut steps = Vec::new();
    walk(document, at, &mut steps);
    Fault { steps, at, text: error.message().to_owned() }
}

/// Whether the key or value at `at` was found; `steps` then lead to it.
fn walk(table: &DeTable<'_>, at: usize, steps: &mut Vec<Step>) -> bool {
    for (key, value) in table {
        steps.push(Step::Key(key.get_ref().to_string()));
        if key.span().contains(&at) || walk_value(value, at, steps) {
            return true;
        }
        steps.pop();
    }
    false
}

fn walk_value(value: &Spanned<DeValue<'_>>, at: usize, steps: &mut Vec<Step>) -> bool {
    match value.get_ref() {
        DeValue::Table(inner) => value.span().start == at || walk(inner, at, steps),
        DeValue::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                steps.push(Step::Item(position));
                if walk_value(item, at, steps) {
                    return true;
                }
                steps.pop();
            }
            value.span().contains(&at)
        }
        _ => value.span().contains(&at),
    }
}

fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    let Some((Step::Key(key), rest)) = steps.split_first() else { return false };
    let Some(value) = table.get_mut(key.as_str()) else { return false };
    let inside = match (value.get_mut(), rest) {
        (DeValue::Table(inner), [_, ..]) => remove(inner, rest),
        (DeValue::Array(items), [Step::Item(position), rest @ ..]) => {
            remove_item(items.get_mut(*position), rest)
        }
        _ => false,
    };
    inside || table.remove(key.as_str()).is_some()
}

fn remove_item(item: Option<&mut Spanned<DeValue<'_>>>, rest: &[Step]) -> bool {
    match item.map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, rest),
        _ => false,
    }
}

fn dotted(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => join(&path, key),
        Step::Item(position) => join(&path, &position.to_string()),
    })
}

/// The deserialiser's message in the words of the configuration.
fn sentence(key: &str, message: &str) -> String {
    let names = quoted(message);
    let (first, known) = match names.split_first() {
        Some((first, known)) => (first.as_str(), known),
        None => ("", &[][..]),
    };
    if message.starts_with("unknown field") {
        let section = key
            .rsplit_once('.')
            .map_or("at the top".to_owned(), |(section, _)| format!("in [{section}]"));
        return format!("unknown key {first:?} {section}{}", suggestion(first, known));
    }
    if message.starts_with("unknown variant") {
        return format!("{key}: unknown value {first:?}{}", suggestion(first, known));
    }
    format!("{key}: {message}")
}

fn suggestion(name: &str, known: &[String]) -> String {
    let nearest = nearest_names(name, known.iter().map(String::as_str));
    let list =
        |names: &[String]| names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    match nearest.first() {
        Some(name) => format!(", did you mean {name:?}?"),
        None if known.is_empty() => String::new(),
        None => format!(", known are {}", list(known)),
    }
}

/// The names between back-ticks.
fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A text, or a whole number as its text, since both are natural for a size in bytes.
pub(super) fn text_or_number<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Some(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    }))
}

/// A size as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a size such as \"1GiB\", or a number of bytes")]
#[schemars(inline)]
pub(super) enum TextOrNumber {
    /// Such as "512MiB" or "2GB".
    Text(String),
    /// Bytes.
    Number(u64),
}

/// A text, or a TOML date or time as its text, since both are natural for an instant.
pub(super) fn text_or_date<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a date or an instant such as 2025-01-01T00:00:00Z")]
    enum Form {
        Text(String),
        Date(toml::value::Datetime),
    }
    Ok(Some(match Form::deserialize(deserializer)? {
        Form::Text(text) => text,
        Form::Date(date) => date.to_string(),
    }))
}
