//! Shape `lookup`: small tables that give dimensions by a key of the deal.

use std::collections::BTreeMap;

use super::read::CheckedInput;
use super::spend::texts;
use super::{clock, source_name};
use crate::config::{Config, Input, Shape};
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

/// The checked look-up tables of a configuration.
pub struct LookupSource {
    tables: Vec<OpenedTable>,
}

struct OpenedTable {
    checked: CheckedInput,
    input: Input,
    /// Dimension and column of what the run asks for.
    used: Vec<(String, String)>,
}

impl LookupSource {
    /// Lists and checks every look-up table; those that no dimension uses too, so that missing keys
    /// are counted.
    ///
    /// # Errors
    /// Everything that is wrong with the files, collected.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        let mut tables = Vec::new();
        let mut faults = Vec::new();
        for (name, input) in config.inputs.iter().filter(|(_, i)| i.shape == Shape::Lookup) {
            match open_table(name, input, config, calendar) {
                Ok(table) => tables.push(table),
                Err(Error::Faults(more)) => faults.extend(more),
                Err(other) => return Err(other),
            }
        }
        if faults.is_empty() { Ok(Self { tables }) } else { Err(Error::Faults(faults)) }
    }

    /// Reads every table.
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub fn read(self, ledger: &Ledger) -> Result<Vec<Lookup>, Error> {
        self.tables.into_iter().map(|table| read_table(table, ledger)).collect()
    }
}

fn open_table(
    name: &str,
    input: &Input,
    config: &Config,
    calendar: Calendar,
) -> Result<OpenedTable, Error> {
    let used: Vec<(String, String)> = config
        .dimensions
        .from
        .iter()
        .filter_map(|(dimension, from)| {
            let (table, column) = from.split_once('.')?;
            (table == name).then(|| (dimension.clone(), column.to_owned()))
        })
        .collect();
    let column = |canonical: &str| Wanted {
        canonical: canonical.to_owned(),
        source: source_name(input, canonical),
        holds: ColumnType::Text,
        need: Need::Required,
    };
    let key = input.key.as_deref().unwrap_or_default();
    let mut wanted = vec![column(key)];
    // The column with the key may be mapped by the name of what it holds, or simply as `key`.
    if let (Some(first), false, Some(named)) =
        (wanted.first_mut(), input.columns.contains_key(key), input.columns.get("key"))
    {
        first.source.clone_from(named);
    }
    wanted.extend(used.iter().map(|(_, c)| column(c)));
    let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
    Ok(OpenedTable { checked, input: input.clone(), used })
}

fn read_table(table: OpenedTable, ledger: &Ledger) -> Result<Lookup, Error> {
    let OpenedTable { checked, input, used } = table;
    let key_column = input.key.unwrap_or_default();
    let names: Vec<&String> =
        std::iter::once(&key_column).chain(used.iter().map(|(_, column)| column)).collect();
    let mut rows: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut counts = Counts::default();
    for unit in checked.units() {
        checked.read(&unit, |arrays, _| {
            let columns: Vec<Vec<Option<String>>> = arrays
                .iter()
                .zip(&names)
                .map(|(array, name)| match array {
                    Some(array) => texts(array, input.values.get(*name)),
                    None => Ok(Vec::new()),
                })
                .collect::<Result<_, Error>>()?;
            let Some((keys, attributes)) = columns.split_first() else { return Ok(()) };
            for (row, key) in keys.iter().enumerate() {
                counts.rows_in += 1;
                counts.folded += 1;
                let Some(key) = key else {
                    counts.add(Rule::RowsWithoutKey, 1);
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
    ledger.record(&checked.name, &counts);
    checked.settle_refused(ledger);
    let key = match key_column.as_str() {
        "customer_id" => LookupKey::Customer,
        "owner_id" => LookupKey::Owner,
        other => LookupKey::Dimension(other.to_owned()),
    };
    let dimensions = used.into_iter().map(|(d, _)| d).collect();
    Ok(Lookup { input: checked.name.clone(), key, dimensions, rows, checked })
}
