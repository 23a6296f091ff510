//! Small hand-made relations for tests: rows that name only the columns that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::{BatchBuilder, Wanted};
use super::visits::PSEUDO_STAGES;
use super::{Dictionaries, Kind, Relation, Relations};
use crate::time::{Day, NO_DAY, from_date};

/// One value of a row.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// An integer or flag.
    Int(i64),
    /// A name, or a day as `YYYY-MM-DD`.
    Text(String),
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

type Row = BTreeMap<String, Cell>;

/// Rows of any relations; columns that a row does not name are 0, null, or the first name.
///
/// `shard` is, where it is not named, the customer's number or else the row's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixture {
    stages: Vec<String>,
    dimensions: Vec<String>,
    rows: BTreeMap<Relation, Vec<Row>>,
}

impl Fixture {
    /// No rows; `stages` are the run's stages after the pseudo-stages.
    pub(crate) fn new(stages: &[&str]) -> Self {
        let stages = stages.iter().map(|s| (*s).to_owned()).collect();
        Self { stages, ..Self::default() }
    }

    /// The dimensions that every relation but `findings` carries.
    pub(crate) fn dimensions(mut self, names: &[&str]) -> Self {
        self.dimensions = names.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    /// The relation exists, with or without rows.
    pub(crate) fn relation(mut self, relation: Relation) -> Self {
        self.rows.entry(relation).or_default();
        self
    }

    /// One more row from text: `closed_period=2024-01-01 is_won=1 amount=500 region=west`.
    pub(crate) fn line(self, relation: Relation, text: &str) -> Self {
        let cells: Vec<(String, Cell)> = text
            .split_whitespace()
            .map(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                let cell = value.parse::<i64>().map_or_else(|_| Cell::from(value), Cell::Int);
                (name.to_owned(), cell)
            })
            .collect();
        self.cells(relation, cells.into_iter())
    }

    fn cells(mut self, relation: Relation, cells: impl Iterator<Item = (String, Cell)>) -> Self {
        let row: Row = cells.collect();
        for name in row.keys() {
            let declared = relation.columns().iter().any(|c| c.name == name);
            assert!(declared || self.dimensions.contains(name), "no column {name:?}");
        }
        self.rows.entry(relation).or_default().push(row);
        self
    }

    fn carried(&self, relation: Relation) -> Vec<String> {
        if relation.has_dimensions() { self.dimensions.clone() } else { Vec::new() }
    }

    fn dictionaries(&self) -> Dictionaries {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut stages: Vec<String> = PSEUDO_STAGES.iter().map(|s| (*s).to_owned()).collect();
        stages.extend(self.stages.iter().cloned());
        for relation in Relation::EVERY {
            let mut keys: Vec<(&str, &str)> = Vec::new();
            for column in relation.columns() {
                if let Kind::Dictionary(key) = column.kind {
                    keys.push((column.name, key));
                }
            }
            keys.extend(self.dimensions.iter().map(|d| (d.as_str(), d.as_str())));
            for (column, key) in keys {
                let entry = names.entry(key.to_owned()).or_default();
                for row in self.rows.get(&relation).into_iter().flatten() {
                    if let Some(Cell::Text(text)) = row.get(column) {
                        entry.insert(text.clone());
                    }
                }
            }
        }
        let mut names: BTreeMap<String, Arc<Vec<String>>> =
            names.into_iter().map(|(k, v)| (k, Arc::new(v.into_iter().collect()))).collect();
        names.insert("stage".to_owned(), Arc::new(stages));
        Dictionaries { names, ..Dictionaries::default() }
    }

    /// The relations that have been given rows or named.
    pub(crate) fn build(&self) -> Relations {
        let dictionaries = self.dictionaries();
        let batches = self.rows.iter().map(|(relation, rows)| {
            (*relation, self.batch(*relation, rows).finish(&dictionaries).unwrap())
        });
        Relations { batches: batches.collect(), dictionaries: dictionaries.clone() }
    }

    fn batch(&self, relation: Relation, rows: &[Row]) -> BatchBuilder<'static> {
        let dictionaries = self.dictionaries();
        let carried = self.carried(relation);
        let mut builder = BatchBuilder::new(relation, rows.len(), &Wanted::All);
        for column in relation.columns().iter().filter(|c| !carried.iter().any(|d| d == c.name)) {
            let (name, cells) = (column.name, || rows.iter().map(|r| r.get(column.name)));
            let list = |names: &[String], null| codes(cells(), names, null);
            builder = match column.kind {
                Kind::Flag => builder.flag(name, || cells().map(|c| int(c) as i8).collect()),
                Kind::Small if name == "shard" => builder.small(name, || shards(rows)),
                Kind::Small => builder.small(name, || cells().map(|c| int(c) as i16).collect()),
                Kind::Int => builder.int(name, || cells().map(int).collect()),
                Kind::Day => builder.day(name, || cells().map(day).collect()),
                Kind::Name(names) => {
                    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
                    builder.name(name, || list(&names, 0))
                }
                Kind::Stage => builder.name(name, || list(&dictionaries.names["stage"], 0)),
                Kind::Dictionary(key) => {
                    builder.name(name, || list(&dictionaries.names[key], u32::MAX))
                }
            };
        }
        for dimension in carried {
            let names = &dictionaries.names[&dimension];
            let cells = rows.iter().map(|r| r.get(&dimension));
            builder = builder.dimension(&dimension, || codes(cells, names, u32::MAX));
        }
        builder
    }
}

fn shards(rows: &[Row]) -> Vec<i16> {
    let of = |(i, row): (usize, &Row)| match (row.get("shard"), row.get("customer")) {
        (Some(cell), _) | (None, Some(cell)) => int(Some(cell)).rem_euclid(1024) as i16,
        (None, None) => (i % 1024) as i16,
    };
    rows.iter().enumerate().map(of).collect()
}

fn int(cell: Option<&Cell>) -> i64 {
    match cell {
        Some(Cell::Int(value)) => *value,
        Some(Cell::Text(text)) => panic!("{text:?} is not an integer"),
        None => 0,
    }
}

fn day(cell: Option<&Cell>) -> Day {
    match cell {
        Some(Cell::Int(value)) => *value as Day,
        Some(Cell::Text(text)) => from_date(text.parse().expect("YYYY-MM-DD")),
        None => NO_DAY,
    }
}

fn codes<'a>(
    cells: impl Iterator<Item = Option<&'a Cell>>,
    names: &[String],
    missing: u32,
) -> Vec<u32> {
    let code = |cell: Option<&Cell>| match cell {
        None => missing,
        Some(Cell::Text(text)) => {
            names.iter().position(|n| n == text).expect("a name of the dictionary") as u32
        }
        Some(Cell::Int(value)) => {
            names.iter().position(|n| *n == value.to_string()).expect("a name") as u32
        }
    };
    cells.map(code).collect()
}
