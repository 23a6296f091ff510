//! How plain vectors become a relation's frame.
//!
//! The fold and the quality ledger fill vectors of small integers; this is the one place that turns
//! them into Polars columns, without copying where the types allow it. It knows no metric and makes
//! no numbers.
//!
//! Invariant: a finished frame has exactly the declared columns in declared order, then the
//! dimensions; names are Categoricals over the run's dictionaries, so frames of different relations
//! and shards compare by code.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use polars::prelude as pl;
use polars::prelude::IntoColumn as _;
use rayon::prelude::*;

use super::{Dictionaries, Kind, Relation, RelationFrame, Relations};
use crate::error::Error;
use crate::table::Nulls;
use crate::time::{Day, NO_DAY};

/// Stands for "no name" in codes.
pub const NO_NAME: u32 = u32::MAX;

/// Codes of names, 32 bits each because that is how Polars holds them; [`NO_NAME`] is null.
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

/// Values of one column as they were given.
#[derive(Debug)]
enum Values {
    Flag(Vec<i8>),
    Small(Vec<i16>),
    Int(Vec<i64>),
    Day(Vec<Day>),
    Codes(Vec<u32>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Flag(v) => v.len(),
            Self::Small(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Day(v) => v.len(),
            Self::Codes(v) => v.len(),
        }
    }
}

/// Collects the columns of one relation and checks them against its declaration.
#[derive(Debug)]
pub struct FrameBuilder {
    relation: Relation,
    rows: usize,
    columns: BTreeMap<String, Values>,
    dimensions: Vec<(String, Values)>,
    faults: Vec<String>,
}

impl FrameBuilder {
    /// Begins a frame of `rows` rows.
    #[must_use]
    pub fn new(relation: Relation, rows: usize) -> Self {
        let (columns, dimensions, faults) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { relation, rows, columns, dimensions, faults }
    }

    fn add(mut self, name: &str, values: Values) -> Self {
        if self.columns.insert(name.to_owned(), values).is_some() {
            self.faults.push(format!("column {name:?} was given twice"));
        }
        self
    }

    /// A column of [`Kind::Flag`].
    #[must_use]
    pub fn flag(self, name: &str, values: Vec<i8>) -> Self {
        self.add(name, Values::Flag(values))
    }

    /// A column of [`Kind::Small`].
    #[must_use]
    pub fn small(self, name: &str, values: Vec<i16>) -> Self {
        self.add(name, Values::Small(values))
    }

    /// A column of [`Kind::Int`].
    #[must_use]
    pub fn int(self, name: &str, values: Vec<i64>) -> Self {
        self.add(name, Values::Int(values))
    }

    /// A column of [`Kind::Day`]; [`NO_DAY`] becomes null.
    #[must_use]
    pub fn day(self, name: &str, values: Vec<Day>) -> Self {
        self.add(name, Values::Day(values))
    }

    /// A column of [`Kind::Name`] or [`Kind::Stage`]: codes, never null.
    #[must_use]
    pub fn name(self, name: &str, codes: impl Into<Codes>) -> Self {
        self.add(name, Values::Codes(codes.into().0))
    }

    /// A column of [`Kind::Dictionary`]: codes, the greatest value of the type is null.
    #[must_use]
    pub fn dictionary(self, name: &str, codes: impl Into<Codes>) -> Self {
        self.add(name, Values::Codes(codes.into().0))
    }

    /// A dimension: codes of the dictionary of its own name, the greatest value is null.
    ///
    /// Edge cases: a dimension with the name of a declared dictionary column (`owner`) stands in
    /// that column's place, whether or not the column was given too.
    #[must_use]
    pub fn dimension(mut self, name: &str, codes: impl Into<Codes>) -> Self {
        if self.dimensions.iter().any(|(n, _)| n == name) {
            self.faults.push(format!("dimension {name:?} was given twice"));
        }
        self.dimensions.push((name.to_owned(), Values::Codes(codes.into().0)));
        self
    }

    /// The finished frame.
    ///
    /// Edge cases: codes outside their dictionary and nulls where none are allowed are refused.
    ///
    /// # Errors
    /// A bug of ours: a column is missing, unknown, of another kind or length, or holds a code that
    /// its dictionary does not have.
    pub fn finish(mut self, dictionaries: &Dictionaries) -> Result<RelationFrame, Error> {
        let relation = self.relation.name();
        let rows = self.rows;
        let names: Vec<String> = self.dimensions.iter().map(|(n, _)| n.clone()).collect();
        let (columns, faults) = self.in_order();
        if !faults.is_empty() {
            let faults = faults.join("; ");
            return Err(Error::Bug(format!("relation {relation:?} of {rows} rows: {faults}")));
        }
        let columns: Result<Vec<pl::Column>, Error> = columns
            .into_par_iter()
            .map(|(name, expected, values)| {
                make_column(&name, expected, values, dictionaries)
                    .map_err(|why| Error::Bug(format!("relation {relation:?}, {name:?}: {why}")))
            })
            .collect();
        let frame = pl::DataFrame::new(rows, columns?)
            .map_err(|e| Error::compute(format!("the relation {relation:?}"), e))?;
        Ok(RelationFrame { frame, dimensions: names })
    }

    /// The columns in declared order, then the dimensions, and everything wrong with them.
    fn in_order(&mut self) -> (Vec<(String, Expected, Values)>, Vec<String>) {
        let mut faults = std::mem::take(&mut self.faults);
        let mut dimensions = std::mem::take(&mut self.dimensions);
        let mut ordered: Vec<(String, Expected, Values)> = Vec::new();
        for declared in self.relation.columns() {
            let own = self.columns.remove(declared.name);
            let place = dimensions.iter().position(|(n, _)| n == declared.name);
            if place.is_some() && !matches!(declared.kind, Kind::Dictionary(_)) {
                faults.push(format!("dimension {:?} has a column's name", declared.name));
            }
            let replaced = place.map(|p| (Expected::Dimension, dimensions.remove(p).1));
            match replaced.or(own.map(|v| (Expected::Declared(declared.kind), v))) {
                Some((kind, values)) => ordered.push((declared.name.to_owned(), kind, values)),
                None => faults.push(format!("column {:?} is missing", declared.name)),
            }
        }
        ordered.extend(dimensions.into_iter().map(|(n, v)| (n, Expected::Dimension, v)));
        faults.extend(self.columns.keys().map(|n| format!("column {n:?} is not declared")));
        for (name, _, values) in ordered.iter().filter(|(_, _, v)| v.len() != self.rows) {
            faults.push(format!("column {name:?} has {} rows", values.len()));
        }
        (ordered, faults)
    }
}

/// What a column has to be.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Declared(Kind),
    Dimension,
}

fn make_column(
    name: &str,
    expected: Expected,
    values: Values,
    dictionaries: &Dictionaries,
) -> Result<pl::Column, String> {
    let plain = match (expected, values) {
        (Expected::Declared(kind), Values::Codes(codes)) => {
            let (key, nulls) = match kind {
                Kind::Name(names) => {
                    let dtype = column_type(kind, dictionaries).map_err(|e| e.to_string())?;
                    return names_column(name, codes, names.len(), dtype, Nulls::Never);
                }
                Kind::Stage => ("stage", Nulls::Never),
                Kind::Dictionary(key) => (key, Nulls::Allowed),
                _ => return Err(format!("codes where values of {kind:?} are declared")),
            };
            return dictionary_column(name, codes, key, nulls, dictionaries);
        }
        (Expected::Dimension, Values::Codes(codes)) => {
            return dictionary_column(name, codes, name, Nulls::Allowed, dictionaries);
        }
        (Expected::Dimension, _) => return Err("a dimension is given as codes".into()),
        (Expected::Declared(kind), values) => (kind, values),
    };
    let label = pl::PlSmallStr::from_str(name);
    match plain {
        (Kind::Flag, Values::Flag(v)) => Ok(pl::Int8Chunked::from_vec(label, v).into_column()),
        (Kind::Small, Values::Small(v)) => Ok(pl::Int16Chunked::from_vec(label, v).into_column()),
        (Kind::Int, Values::Int(v)) => Ok(pl::Int64Chunked::from_vec(label, v).into_column()),
        (Kind::Day, Values::Day(v)) => Ok(day_column(label, v)),
        (kind, _) => Err(format!("values of another kind than {kind:?}")),
    }
}

fn dictionary_column(
    name: &str,
    codes: Vec<u32>,
    key: &str,
    nulls: Nulls,
    dictionaries: &Dictionaries,
) -> Result<pl::Column, String> {
    let dtype = dictionary_type(key, dictionaries).map_err(|e| e.to_string())?;
    let names = dictionaries.names.get(key).map_or(0, |n| n.len());
    names_column(name, codes, names, dtype, nulls)
}

fn day_column(name: pl::PlSmallStr, days: Vec<Day>) -> pl::Column {
    let days = if days.contains(&NO_DAY) {
        let known = days.iter().map(|d| *d != NO_DAY).collect();
        pl::Int32Chunked::from_vec_validity(name, days, Some(known))
    } else {
        pl::Int32Chunked::from_vec(name, days)
    };
    days.into_date().into_column()
}

fn names_column(
    name: &str,
    codes: Vec<u32>,
    names: usize,
    dtype: pl::DataType,
    nulls: Nulls,
) -> Result<pl::Column, String> {
    let greatest = codes.iter().copied().filter(|c| *c != NO_NAME).max();
    if let Some(code) = greatest.filter(|c| usize::try_from(*c).is_ok_and(|c| c >= names)) {
        return Err(format!("code {code} of {names} names"));
    }
    if nulls == Nulls::Never && codes.contains(&NO_NAME) {
        return Err("null where every row must have a name".into());
    }
    // NO_NAME is never a category, and Polars turns what is no category into null.
    let codes = pl::UInt32Chunked::from_vec(pl::PlSmallStr::from_str(name), codes);
    Ok(pl::Categorical32Chunked::from_cats_and_dtype(codes, dtype).into_column())
}

/// The Polars type of names: a Categorical that holds exactly this list, so that a code is a
/// position in it. Equal lists give the same type, whichever frame or shard they belong to.
///
/// # Errors
/// A bug of ours: a name occurs twice.
pub fn names_type<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<pl::DataType, Error> {
    // An Enum would say it more plainly, but stores codes of short lists in 8 or 16 bits unsigned,
    // which this build of Polars leaves out (it panics on them). Categories are global to the
    // process and known by name, hence a name made of the content, and one list at a time.
    static FILLING: Mutex<()> = Mutex::new(());
    let names: Vec<&str> = names.into_iter().collect();
    let mut digest = blake3::Hasher::new();
    for name in &names {
        digest.update(&name.len().to_le_bytes()).update(name.as_bytes());
    }
    let label = pl::PlSmallStr::from_str(digest.finalize().to_hex().as_str());
    let space = pl::PlSmallStr::from_static("dealmill");
    let _guard = FILLING.lock().unwrap_or_else(PoisonError::into_inner);
    let categories = pl::Categories::new(label, space, pl::CategoricalPhysical::U32);
    let dtype = pl::DataType::from_categories(categories);
    let mapping = dtype.cat_mapping().map_err(|e| Error::Bug(e.to_string()))?;
    for (position, name) in names.iter().enumerate() {
        let code = mapping.insert_cat(name).map_err(|e| Error::Bug(e.to_string()))?;
        if usize::try_from(code).ok() != Some(position) {
            return Err(Error::Bug(format!("{name:?} is twice in a dictionary")));
        }
    }
    Ok(dtype)
}

/// The Polars type of a declared column.
///
/// # Errors
/// A bug of ours: the dictionary does not exist or holds a name twice.
pub fn column_type(kind: Kind, dictionaries: &Dictionaries) -> Result<pl::DataType, Error> {
    match kind {
        Kind::Flag => Ok(pl::DataType::Int8),
        Kind::Small => Ok(pl::DataType::Int16),
        Kind::Int => Ok(pl::DataType::Int64),
        Kind::Day => Ok(pl::DataType::Date),
        Kind::Name(names) => names_type(names.iter().copied()),
        Kind::Stage => dictionary_type("stage", dictionaries),
        Kind::Dictionary(key) => dictionary_type(key, dictionaries),
    }
}

/// The Polars type of a dimension or of another dictionary column.
///
/// # Errors
/// A bug of ours: the dictionary does not exist or holds a name twice.
pub fn dictionary_type(key: &str, dictionaries: &Dictionaries) -> Result<pl::DataType, Error> {
    let names = dictionaries
        .names
        .get(key)
        .ok_or_else(|| Error::Bug(format!("there is no dictionary {key:?}")))?;
    names_type(names.iter().map(String::as_str))
}

impl Relations {
    /// Every relation with its declared columns and no rows. All but `findings` carry the
    /// dimensions.
    ///
    /// # Errors
    /// A bug of ours: a dimension has the name of a column that is no dictionary.
    pub fn empty(dimensions: &[String]) -> Result<Self, Error> {
        let mut dictionaries = Dictionaries::default();
        let none = Arc::new(Vec::new());
        let stages = super::visits::PSEUDO_STAGES.iter().map(|s| (*s).to_owned()).collect();
        dictionaries.names.insert("stage".into(), Arc::new(stages));
        let declared =
            Relation::EVERY.iter().flat_map(|r| r.columns()).filter_map(|c| match c.kind {
                Kind::Dictionary(key) => Some(key.to_owned()),
                _ => None,
            });
        for key in declared.chain(dimensions.iter().cloned()) {
            dictionaries.names.insert(key, none.clone());
        }
        let mut frames = BTreeMap::new();
        for relation in Relation::EVERY {
            let mut builder = FrameBuilder::new(relation, 0);
            for column in relation.columns() {
                builder = match column.kind {
                    Kind::Flag => builder.flag(column.name, Vec::new()),
                    Kind::Small => builder.small(column.name, Vec::new()),
                    Kind::Int => builder.int(column.name, Vec::new()),
                    Kind::Day => builder.day(column.name, Vec::new()),
                    _ => builder.name(column.name, Vec::<u32>::new()),
                };
            }
            if relation != Relation::Findings {
                let none = Vec::<u32>::new;
                builder = dimensions.iter().fold(builder, |b, d| b.dimension(d, none()));
            }
            frames.insert(relation, builder.finish(&dictionaries)?);
        }
        Ok(Self { frames, dictionaries })
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::IntoLazy as _;

    use super::*;

    fn dictionaries() -> Dictionaries {
        let list = |names: &[&str]| Arc::new(names.iter().map(|n| (*n).to_owned()).collect());
        let mut names = BTreeMap::new();
        names.insert("channel".to_owned(), list(&["ads", "mail"]));
        names.insert("cost_type".to_owned(), list(&["media"]));
        names.insert("region".to_owned(), list(&["east", "north", "west"]));
        Dictionaries { names }
    }

    fn spend() -> FrameBuilder {
        FrameBuilder::new(Relation::Spend, 4)
            .small("shard", vec![0, 0, 1, 2])
            .day("spent_on", vec![0, 31, 32, NO_DAY])
            .day("spent_period", vec![0, 31, 31, NO_DAY])
            .dictionary("channel", vec![1_u32, 0, u32::MAX, 1])
            .dictionary("cost_type", vec![0_u8, 0, u8::MAX, 0])
            .int("amount", vec![100, 200, 300, 400])
            .flag("has_amount", vec![1, 1, 1, 1])
    }

    /// Runs one query in both engines and compares the rows, as text, with the expected ones.
    #[track_caller]
    fn check(query: &str, expected: &[&str]) {
        let frame = spend().dimension("region", vec![2_u16, 0, u16::MAX, 2]);
        let frame = frame.finish(&dictionaries()).unwrap().frame;
        for engine in [pl::Engine::InMemory, pl::Engine::Streaming] {
            let mut context = polars::sql::SQLContext::new();
            context.register("spend", frame.clone().lazy());
            let lazy = context.execute(query).unwrap();
            let out = lazy.collect_with_engine(engine).unwrap().unwrap_single();
            let mut rows: Vec<String> = (0..out.height())
                .map(|row| {
                    let cells = out.columns().iter().map(|c| c.get(row).unwrap().to_string());
                    cells.collect::<Vec<_>>().join(" ")
                })
                .collect();
            rows.sort();
            assert_eq!(rows, expected, "{engine:?}");
        }
    }

    #[test]
    fn names_group_and_filter_by_text_in_both_engines() {
        check(
            "SELECT region, channel, COUNT(*) AS n, SUM(amount) AS a FROM spend \
             WHERE channel = 'mail' OR channel IS NULL GROUP BY region, channel",
            &["\"west\" \"mail\" 2 500", "null null 1 300"],
        );
    }

    #[test]
    fn names_compare_in_case_and_in_lists() {
        check(
            "SELECT SUM(CASE WHEN channel = 'ads' THEN amount ELSE 0 END) AS a, \
             SUM(CASE WHEN region IN ('west', 'east') THEN 1 ELSE 0 END) AS b, \
             SUM(CASE WHEN spent_on IS NULL THEN amount ELSE 0 END) AS c FROM spend",
            &["200 3 400"],
        );
    }

    #[test]
    fn order_of_columns_is_declared_order_then_dimensions() {
        let frame = spend().dimension("region", vec![0_u8; 4]).finish(&dictionaries()).unwrap();
        let names: Vec<&str> = frame.frame.columns().iter().map(|c| c.name().as_str()).collect();
        assert_eq!(
            names,
            [
                "shard",
                "spent_on",
                "spent_period",
                "channel",
                "cost_type",
                "amount",
                "has_amount",
                "region"
            ]
        );
        assert_eq!(frame.dimensions, ["region"]);
    }

    #[test]
    fn dimension_of_a_declared_name_stands_in_its_place() {
        let frame = spend().dimension("channel", vec![0_u8; 4]).finish(&dictionaries()).unwrap();
        assert_eq!(frame.dimensions, ["channel"]);
        assert_eq!(frame.frame.width(), 7);
        let text = frame.frame.column("channel").unwrap().get(0).unwrap().to_string();
        assert_eq!(text, "\"ads\"");
    }

    #[track_caller]
    fn check_refused(builder: FrameBuilder, part: &str) {
        let error = builder.finish(&dictionaries()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn wrong_columns_are_refused_by_name() {
        check_refused(spend().int("colour", vec![0; 4]), "column \"colour\" is not declared");
        check_refused(FrameBuilder::new(Relation::Spend, 0), "column \"amount\" is missing");
        check_refused(spend().int("amount", vec![0; 4]), "column \"amount\" was given twice");
        check_refused(spend().dimension("region", vec![0_u8; 3]), "\"region\" has 3 rows");
        check_refused(spend().dimension("region", vec![3_u8; 4]), "code 3 of 3 names");
        check_refused(spend().dimension("amount", vec![0_u8; 4]), "has a column's name");
        check_refused(spend().dimension("planet", vec![0_u8; 4]), "no dictionary \"planet\"");
    }
}
