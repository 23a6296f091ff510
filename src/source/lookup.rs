//! Shape `lookup`: small tables that give dimensions by a key of the deal.

use std::collections::BTreeMap;

use super::read::CheckedInput;
use super::spend::texts;
use super::{clock, source_name};
use crate::config::{Config, Shape};
use crate::contract::{ColumnType, Need};
use crate::error::Error;
use crate::quality::{Counts, Ledger, Rule};
use crate::source::preflight::Wanted;
use crate::time::Calendar;

/// By what a look-up table is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupKey {
    /// The deal's customer.
    Customer,
    /// The deal's owner.
    Owner,
    /// A dimension of the deal.
    Dimension(String),
}

/// A look-up table: at most one row a key, so that a join cannot fan out.
#[derive(Debug)]
pub struct Lookup {
    /// Name of the input.
    pub input: String,
    /// By what it is joined.
    pub key: LookupKey,
    /// The dimensions it gives, in the order of the values.
    pub dimensions: Vec<String>,
    /// Values by key.
    pub rows: BTreeMap<String, Vec<Option<String>>>,
    /// The checked files.
    pub checked: CheckedInput,
}

/// Reads every look-up table of the configuration; those that no dimension uses are read too, so
/// that missing keys are counted.
///
/// # Errors
/// Everything that is wrong with the files, collected.
pub fn read_lookups(
    config: &Config,
    calendar: Calendar,
    ledger: &Ledger,
) -> Result<Vec<Lookup>, Error> {
    let mut lookups = Vec::new();
    for (name, input) in &config.inputs {
        if input.shape != Shape::Lookup {
            continue;
        }
        let key_column = input.key.clone().unwrap_or_default();
        let used: Vec<(String, String)> = config
            .dimensions
            .from
            .iter()
            .filter_map(|(dimension, from)| {
                let (table, column) = from.split_once('.')?;
                (table == name).then(|| (dimension.clone(), column.to_owned()))
            })
            .collect();
        let column = |canonical: &str, need| Wanted {
            canonical: canonical.to_owned(),
            source: source_name(input, canonical),
            holds: ColumnType::Text,
            need,
        };
        let mut wanted = vec![column(&key_column, Need::Required)];
        wanted.extend(used.iter().map(|(_, c)| column(c, Need::Required)));
        let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
        let mut rows: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        let mut counts = Counts::default();
        for unit in checked.units() {
            checked.read(&unit, |arrays, _| {
                let columns: Vec<Vec<Option<String>>> = arrays
                    .iter()
                    .zip(&wanted)
                    .map(|(array, w)| match array {
                        Some(array) => texts(array, input.values.get(&w.canonical)),
                        None => Ok(Vec::new()),
                    })
                    .collect::<Result<_, Error>>()?;
                let Some((keys, attributes)) = columns.split_first() else { return Ok(()) };
                for (row, key) in keys.iter().enumerate() {
                    counts.rows_in += 1;
                    counts.folded += 1;
                    let Some(key) = key else {
                        counts.add(Rule::KeylessRows, 1);
                        continue;
                    };
                    if rows.contains_key(key) {
                        counts.add(Rule::DuplicateKeys, 1);
                        continue;
                    }
                    let values = attributes.iter().map(|a| a.get(row).cloned().flatten());
                    rows.insert(key.clone(), values.collect());
                }
                Ok(())
            })?;
        }
        ledger.record(name, &counts);
        let key = match key_column.as_str() {
            "customer_id" => LookupKey::Customer,
            "owner_id" => LookupKey::Owner,
            other => LookupKey::Dimension(other.to_owned()),
        };
        let dimensions = used.into_iter().map(|(d, _)| d).collect();
        lookups.push(Lookup { input: name.clone(), key, dimensions, rows, checked });
    }
    Ok(lookups)
}
