//! Shape `lookup`: small tables that give dimensions by a key of the deal, always or from time to
//! time: with `valid_from` and `valid_to`, a key has one row at any instant.

use std::collections::BTreeMap;

use super::read::CheckedInput;
use super::sheet::texts;
use super::{clock, source_name};
use crate::config::{Config, Input, Shape};
use crate::contract::{ColumnType, Need};
use crate::error::Error;
use crate::quality::{Counts, Examples, Ledger, QuarantinedRow, Rule};
use crate::source::convert::{BAD_INSTANT, is_plausible};
use crate::source::preflight::Wanted;
use crate::time::{Calendar, Instant, NO_INSTANT};

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

/// What a key has, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// From when on.
    pub from: Instant,
    /// Until when, exclusive.
    pub to: Instant,
    /// The values, in the order of [`Lookup::dimensions`].
    pub values: Vec<Option<String>>,
}

impl Held {
    /// Whether it holds at every instant.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.from == Instant::MIN && self.to == Instant::MAX
    }
}

/// A look-up table: at any instant at most one row a key, so that a join cannot fan out.
#[derive(Debug)]
pub struct Lookup {
    /// Name of the input.
    pub input: String,
    /// By what it is joined.
    pub key: LookupKey,
    /// The dimensions it gives, in the order of the values.
    pub dimensions: Vec<String>,
    /// What each key has, in order of time, no two at once.
    pub rows: BTreeMap<String, Vec<Held>>,
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
    let validity = |canonical: &str| Wanted {
        holds: ColumnType::Instant,
        need: Need::Optional,
        ..column(canonical)
    };
    wanted.extend([validity("valid_from"), validity("valid_to")]);
    let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
    Ok(OpenedTable { checked, input: input.clone(), used })
}

fn read_table(table: OpenedTable, ledger: &Ledger) -> Result<Lookup, Error> {
    let OpenedTable { checked, input, used } = table;
    let key_column = input.key.clone().unwrap_or_default();
    let names: Vec<&String> =
        std::iter::once(&key_column).chain(used.iter().map(|(_, column)| column)).collect();
    let mut rows: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    let (mut counts, mut examples) = (Counts::default(), Examples::default());
    for unit in checked.units() {
        checked.read(&unit, |arrays, first_row| {
            let mut columns: Vec<Vec<Option<String>>> = Vec::with_capacity(names.len());
            for (array, name) in arrays.iter().zip(&names) {
                columns.push(match array {
                    Some(array) => texts(array, input.values.get(*name))?,
                    None => Vec::new(),
                });
            }
            let instants = |index: usize| match arrays.get(index) {
                Some(Some(array)) => checked.instants(&unit, index, array),
                _ => Ok(Vec::new()),
            };
            let (from, to) = (instants(names.len())?, instants(names.len() + 1)?);
            let Some((keys, attributes)) = columns.split_first() else { return Ok(()) };
            for (row, key) in keys.iter().enumerate() {
                counts.rows_in += 1;
                counts.folded += 1;
                let Some(key) = key else {
                    counts.add(Rule::RowsWithoutKey, 1);
                    if ledger.is_profiling() && examples.wants(Rule::RowsWithoutKey) {
                        let (file, at) =
                            (checked.path(&unit).to_path_buf(), first_row + row as u64);
                        let found = QuarantinedRow::of_fold(file, at, Rule::RowsWithoutKey);
                        examples.add(Rule::RowsWithoutKey, found);
                    }
                    continue;
                };
                let Some((from, to)) = validity(from.get(row), to.get(row)) else {
                    counts.add(Rule::BadValidity, 1);
                    if ledger.is_profiling() {
                        ledger.mention(Rule::BadValidity, &checked.name, key, 1);
                    }
                    continue;
                };
                let values = attributes.iter().map(|a| a.get(row).cloned().flatten()).collect();
                rows.entry(key.clone()).or_default().push(Held { from, to, values });
            }
            Ok(())
        })?;
    }
    for (key, held) in &mut rows {
        let mut own = Counts::default();
        settle(held, &mut own);
        counts.merge(&own);
        for rule in [Rule::DuplicateKeys, Rule::OverlappingValidity] {
            if ledger.is_profiling() && own.of(rule) > 0 {
                ledger.mention(rule, &checked.name, key, own.of(rule));
            }
        }
    }
    ledger.record(&checked.name, &counts);
    ledger.exemplify(&checked.name, examples);
    checked.settle_refused(ledger);
    let key = match key_column.as_str() {
        "customer_id" => LookupKey::Customer,
        "owner_id" => LookupKey::Owner,
        other => LookupKey::Dimension(other.to_owned()),
    };
    let dimensions = used.into_iter().map(|(d, _)| d).collect();
    Ok(Lookup { input: checked.name.clone(), key, dimensions, rows, checked })
}

/// From when until when a row holds; stand-ins for none are without an end. `None` for what cannot
/// be read, and where the end is not after the beginning.
fn validity(from: Option<&Instant>, to: Option<&Instant>) -> Option<(Instant, Instant)> {
    let settled = |at: Option<&Instant>, open: Instant| match at.copied() {
        None | Some(NO_INSTANT) => Some(open),
        Some(BAD_INSTANT) => None,
        Some(at) if !is_plausible(at) => Some(open),
        Some(at) => Some(at),
    };
    let (from, to) = (settled(from, Instant::MIN)?, settled(to, Instant::MAX)?);
    (from < to).then_some((from, to))
}

/// Puts the rows of a key in order of time, so that no two hold at once: of rows that begin together
/// the one whose values come first in order counts, else the later one from its beginning. So no
/// name or order of files decides.
fn settle(held: &mut Vec<Held>, counts: &mut Counts) {
    held.sort_by(|a, b| {
        a.from.cmp(&b.from).then_with(|| a.values.cmp(&b.values)).then(b.to.cmp(&a.to))
    });
    let before = held.len();
    held.dedup_by_key(|row| row.from);
    counts.add(Rule::DuplicateKeys, (before - held.len()) as u64);
    let begins: Vec<Instant> = held.iter().skip(1).map(|row| row.from).collect();
    for (row, next) in held.iter_mut().zip(begins) {
        counts.add(Rule::OverlappingValidity, u64::from(row.to > next));
        row.to = row.to.min(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(spans: &[(Instant, Instant)]) -> (Vec<(Instant, Instant)>, Counts) {
        let row = |(from, to): &(Instant, Instant)| Held { from: *from, to: *to, values: vec![] };
        let (mut rows, mut counts) = (spans.iter().map(row).collect(), Counts::default());
        settle(&mut rows, &mut counts);
        (rows.iter().map(|row| (row.from, row.to)).collect(), counts)
    }

    #[test]
    fn no_two_rows_of_a_key_hold_at_once() {
        let (rows, counts) = held(&[(20, 40), (0, 30), (50, 60), (50, 90)]);
        assert_eq!(rows, [(0, 20), (20, 40), (50, 90)]);
        assert_eq!(counts.of(Rule::OverlappingValidity), 1);
        assert_eq!(counts.of(Rule::DuplicateKeys), 1);
    }

    #[test]
    fn of_rows_that_begin_together_the_order_of_files_decides_nothing() {
        let row = |value: &str| Held {
            from: 0,
            to: Instant::MAX,
            values: vec![Some(value.to_owned()), None],
        };
        for given in [["b", "a", "c"], ["c", "b", "a"]] {
            let (mut rows, mut counts) = (given.map(row).to_vec(), Counts::default());
            settle(&mut rows, &mut counts);
            assert_eq!(rows, [row("a")]);
            assert_eq!(counts.of(Rule::DuplicateKeys), 2);
        }
    }

    #[test]
    fn a_missing_end_is_open_and_a_span_without_length_is_none() {
        let day = 1_700_000_000_000_000;
        assert_eq!(validity(None, None), Some((Instant::MIN, Instant::MAX)));
        assert_eq!(validity(Some(&day), Some(&NO_INSTANT)), Some((day, Instant::MAX)));
        // 9999-12-31 and epoch 0 stand for none (G22).
        let forever = 253_402_214_400_000_000;
        assert_eq!(validity(Some(&0), Some(&forever)), Some((Instant::MIN, Instant::MAX)));
        assert_eq!(validity(Some(&day), Some(&day)), None);
        assert_eq!(validity(Some(&BAD_INSTANT), None), None);
    }
}
