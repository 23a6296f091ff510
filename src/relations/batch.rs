//! A part of a relation as plain columns: what the fold hands to the engine, a few thousand rows at a
//! time.
//!
//! A batch knows no metric and no engine. A column is made only if somebody asks for it
//! ([`Wanted`]), because most runs read a third of what the fold could say.
//!
//! Invariant: a finished batch has the declared columns that are wanted, each with the declared
//! kind and length, and the wanted dimensions; names are codes of the run's dictionaries.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dictionaries, Kind, Relation};
use crate::error::Error;
use crate::time::Day;

/// Stands for "no name" in codes.
pub const NO_NAME: u32 = u32::MAX;

/// Codes of names; [`NO_NAME`] is null.
#[derive(Debug, Clone)]
pub struct Codes(Vec<u32>);

impl From<Vec<u8>> for Codes {
    fn from(codes: Vec<u8>) -> Self {
        let widen = |c| if c == u8::MAX { NO_NAME } else { u32::from(c) };
        Self(codes.into_iter().map(widen).collect())
    }
}

impl From<Vec<u16>> for Codes {
    fn from(codes: Vec<u16>) -> Self {
        let widen = |c| if c == u16::MAX { NO_NAME } else { u32::from(c) };
        Self(codes.into_iter().map(widen).collect())
    }
}

impl From<Vec<u32>> for Codes {
    fn from(codes: Vec<u32>) -> Self {
        Self(codes)
    }
}

/// Values of one column. A day that does not exist is [`crate::time::NO_DAY`], a name that does not
/// [`NO_NAME`]; the others are never null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// 0 or 1.
    Flag(Vec<i8>),
    /// Small integers.
    Small(Vec<i16>),
    /// Integers.
    Int(Vec<i64>),
    /// Civil days.
    Day(Vec<Day>),
    /// Codes of names.
    Codes(Vec<u32>),
}

/// Does the same to the vector of any kind of values.
macro_rules! each {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            Values::Flag($v) => $body,
            Values::Small($v) => $body,
            Values::Int($v) => $body,
            Values::Day($v) => $body,
            Values::Codes($v) => $body,
        }
    };
}

impl Values {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows at these positions, in this order.
    #[must_use]
    fn take(&self, rows: &[usize]) -> Self {
        fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().filter_map(|row| values.get(*row).copied()).collect()
        }
        match self {
            Self::Flag(v) => Self::Flag(pick(v, rows)),
            Self::Small(v) => Self::Small(pick(v, rows)),
            Self::Int(v) => Self::Int(pick(v, rows)),
            Self::Day(v) => Self::Day(pick(v, rows)),
            Self::Codes(v) => Self::Codes(pick(v, rows)),
        }
    }

    fn append(&mut self, other: Self) -> Option<()> {
        match (self, other) {
            (Self::Flag(a), Self::Flag(mut b)) => a.append(&mut b),
            (Self::Small(a), Self::Small(mut b)) => a.append(&mut b),
            (Self::Int(a), Self::Int(mut b)) => a.append(&mut b),
            (Self::Day(a), Self::Day(mut b)) => a.append(&mut b),
            (Self::Codes(a), Self::Codes(mut b)) => a.append(&mut b),
            _ => return None,
        }
        Some(())
    }
}

/// The columns of each relation that anybody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of every relation.
    All,
    /// These, dimensions among them; a relation that is not listed is not wanted at all.
    Columns(BTreeMap<Relation, BTreeSet<String>>),
}

impl Wanted {
    /// Whether anything of a relation is wanted.
    #[must_use]
    pub fn relation(&self, relation: Relation) -> bool {
        match self {
            Self::All => true,
            Self::Columns(columns) => columns.contains_key(&relation),
        }
    }

    /// Whether a column or dimension of a relation is wanted.
    #[must_use]
    pub fn column(&self, relation: Relation, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Columns(columns) => columns.get(&relation).is_some_and(|c| c.contains(name)),
        }
    }
}

/// Some rows of one relation.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The relation.
    pub relation: Relation,
    /// Number of rows.
    pub rows: usize,
    /// The dimensions it carries.
    pub dimensions: Vec<String>,
    /// Columns by name, in declared order, then the dimensions.
    pub(super) columns: Vec<Column>,
}

/// One column of a batch.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) expected: Expected,
    pub(super) values: Values,
}

/// What a column has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Declared(Kind),
    Dimension,
}

impl Batch {
    /// A column or dimension; `None` if it was not wanted.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Values> {
        self.columns.iter().find(|c| c.name == name).map(|c| &c.values)
    }

    /// Puts the rows of another batch of the same relation and columns behind these.
    ///
    /// # Errors
    /// A bug of ours: the batches differ in their columns.
    pub fn append(&mut self, other: Self) -> Result<(), Error> {
        let differ = || Error::Bug(format!("two kinds of batches of {}", self.relation.name()));
        if self.columns.len() != other.columns.len() {
            return Err(differ());
        }
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.values.append(more.values).ok_or_else(|| {
                Error::Bug(format!("column {:?} comes as two kinds of values", column.name))
            })?;
        }
        self.rows += other.rows;
        Ok(())
    }

    /// The rows of one of `of` shards.
    #[must_use]
    pub fn shard(&self, shard: i16, of: i16) -> Self {
        let Some(Values::Small(shards)) = self.column("shard") else { return self.clone() };
        let own = |row: &(usize, &i16)| row.1 % of == shard;
        let rows: Vec<usize> = shards.iter().enumerate().filter(own).map(|(row, _)| row).collect();
        self.take(&rows)
    }

    /// The rows at these positions, in this order.
    #[must_use]
    pub(super) fn take(&self, rows: &[usize]) -> Self {
        let take = |c: &Column| Column {
            name: c.name.clone(),
            expected: c.expected,
            values: c.values.take(rows),
        };
        Self {
            relation: self.relation,
            rows: rows.len(),
            dimensions: self.dimensions.clone(),
            columns: self.columns.iter().map(take).collect(),
        }
    }
}

/// Collects the columns of one batch and checks them against the relation's declaration. Each
/// column is given as a closure, which is called only if the column is wanted.
#[derive(Debug)]
pub struct BatchBuilder<'a> {
    relation: Relation,
    rows: usize,
    wanted: &'a Wanted,
    columns: Vec<(String, Values)>,
    dimensions: Vec<(String, Values)>,
    faults: Vec<String>,
}

impl<'a> BatchBuilder<'a> {
    /// Begins a batch of `rows` rows.
    #[must_use]
    pub fn new(relation: Relation, rows: usize, wanted: &'a Wanted) -> Self {
        let (columns, dimensions, faults) = (Vec::new(), Vec::new(), Vec::new());
        Self { relation, rows, wanted, columns, dimensions, faults }
    }

    fn add(mut self, name: &str, values: impl FnOnce() -> Values) -> Self {
        if !self.wanted.column(self.relation, name) {
            return self;
        }
        if self.columns.iter().any(|(n, _)| n == name) {
            self.faults.push(format!("column {name:?} was given twice"));
        }
        self.columns.push((name.to_owned(), values()));
        self
    }

    /// A column of [`Kind::Flag`].
    #[must_use]
    pub fn flag(self, name: &str, values: impl FnOnce() -> Vec<i8>) -> Self {
        self.add(name, || Values::Flag(values()))
    }

    /// A column of [`Kind::Small`].
    #[must_use]
    pub fn small(self, name: &str, values: impl FnOnce() -> Vec<i16>) -> Self {
        self.add(name, || Values::Small(values()))
    }

    /// A column of [`Kind::Int`].
    #[must_use]
    pub fn int(self, name: &str, values: impl FnOnce() -> Vec<i64>) -> Self {
        self.add(name, || Values::Int(values()))
    }

    /// A column of [`Kind::Day`]; [`crate::time::NO_DAY`] is null.
    #[must_use]
    pub fn day(self, name: &str, values: impl FnOnce() -> Vec<Day>) -> Self {
        self.add(name, || Values::Day(values()))
    }

    /// A column of names of any kind: codes; the greatest value of the type is null, which only
    /// [`Kind::Dictionary`] allows.
    #[must_use]
    pub fn name<C: Into<Codes>>(self, name: &str, codes: impl FnOnce() -> C) -> Self {
        self.add(name, || Values::Codes(codes().into().0))
    }

    /// A dimension: codes of the dictionary of its own name, the greatest value is null.
    ///
    /// Edge cases: a dimension with the name of a declared dictionary column (`owner`) stands in
    /// that column's place, whether or not the column was given too.
    #[must_use]
    pub fn dimension<C: Into<Codes>>(mut self, name: &str, codes: impl FnOnce() -> C) -> Self {
        if !self.wanted.column(self.relation, name) {
            return self;
        }
        if self.dimensions.iter().any(|(n, _)| n == name) {
            self.faults.push(format!("dimension {name:?} was given twice"));
        }
        self.dimensions.push((name.to_owned(), Values::Codes(codes().into().0)));
        self
    }

    /// The finished batch.
    ///
    /// Edge cases: codes outside their dictionary and nulls where none are allowed are refused.
    ///
    /// # Errors
    /// A bug of ours: a column is missing, unknown, of another kind or length, or holds a code that
    /// its dictionary does not have.
    pub fn finish(mut self, dictionaries: &Dictionaries) -> Result<Batch, Error> {
        let (relation, rows) = (self.relation, self.rows);
        let dimensions = self.dimensions.iter().map(|(n, _)| n.clone()).collect();
        let columns = self.in_order();
        let mut faults = std::mem::take(&mut self.faults);
        for column in &columns {
            if column.values.len() != rows {
                faults.push(format!("column {:?} has {} rows", column.name, column.values.len()));
            } else if let Err(why) = check(column, dictionaries) {
                faults.push(format!("{:?}: {why}", column.name));
            }
        }
        if !faults.is_empty() {
            let (name, faults) = (relation.name(), faults.join("; "));
            return Err(Error::Bug(format!("relation {name:?} of {rows} rows: {faults}")));
        }
        Ok(Batch { relation, rows, dimensions, columns })
    }

    /// The columns in declared order, then the dimensions.
    fn in_order(&mut self) -> Vec<Column> {
        let mut dimensions = std::mem::take(&mut self.dimensions);
        let mut given = std::mem::take(&mut self.columns);
        let mut ordered = Vec::with_capacity(given.len() + dimensions.len());
        for declared in self.relation.columns() {
            let remove = |from: &mut Vec<(String, Values)>| {
                let place = from.iter().position(|(n, _)| n == declared.name)?;
                Some(from.swap_remove(place).1)
            };
            let own = remove(&mut given);
            let place = dimensions.iter().position(|(n, _)| n == declared.name);
            if place.is_some() && !matches!(declared.kind, Kind::Dictionary(_)) {
                self.faults.push(format!("dimension {:?} has a column's name", declared.name));
            }
            let replaced = place.map(|p| (Expected::Dimension, dimensions.remove(p).1));
            let found = replaced.or(own.map(|v| (Expected::Declared(declared.kind), v)));
            match found {
                Some((expected, values)) => {
                    ordered.push(Column { name: declared.name.to_owned(), expected, values });
                }
                None if self.wanted.column(self.relation, declared.name) => {
                    self.faults.push(format!("column {:?} is missing", declared.name));
                }
                None => {}
            }
        }
        let undeclared = given.iter().map(|(n, _)| format!("column {n:?} is not declared"));
        self.faults.extend(undeclared);
        let dimension = |(name, values)| Column { name, expected: Expected::Dimension, values };
        ordered.extend(dimensions.into_iter().map(dimension));
        ordered
    }
}

/// Whether values are of the declared kind and codes within their dictionary.
fn check(column: &Column, dictionaries: &Dictionaries) -> Result<(), String> {
    let key = match (column.expected, &column.values) {
        (Expected::Declared(Kind::Flag), Values::Flag(_))
        | (Expected::Declared(Kind::Small), Values::Small(_))
        | (Expected::Declared(Kind::Int), Values::Int(_))
        | (Expected::Declared(Kind::Day), Values::Day(_)) => return Ok(()),
        (Expected::Declared(Kind::Name(names)), Values::Codes(codes)) => {
            return check_codes(codes, names.len(), false);
        }
        (Expected::Declared(Kind::Stage), Values::Codes(_)) => "stage",
        (Expected::Declared(Kind::Dictionary(key)), Values::Codes(_)) => key,
        (Expected::Dimension, Values::Codes(_)) => column.name.as_str(),
        (Expected::Dimension, _) => return Err("a dimension is given as codes".into()),
        (Expected::Declared(kind), _) => {
            return Err(format!("values of another kind than {kind:?}"));
        }
    };
    let names = dictionaries.names.get(key).ok_or_else(|| format!("no dictionary {key:?}"))?;
    let nulls = column.expected != Expected::Declared(Kind::Stage);
    match &column.values {
        Values::Codes(codes) => check_codes(codes, names.len(), nulls),
        _ => Ok(()),
    }
}

fn check_codes(codes: &[u32], names: usize, nulls: bool) -> Result<(), String> {
    // Without nulls every code counts; with them the greatest one is none. One pass, no branch.
    let most = codes.iter().map(|c| if nulls { c.wrapping_add(1) } else { *c }).max();
    let bound = names + usize::from(nulls);
    if most.is_none_or(|m| (m as usize) < bound) {
        return Ok(());
    }
    if codes.iter().any(|c| *c != NO_NAME && (*c as usize) >= names) {
        return Err(format!("a code beyond {names} names"));
    }
    Err("null where every row must have a name".into())
}
