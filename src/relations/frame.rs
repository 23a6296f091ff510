//! How a batch becomes a Polars frame, without copying where the types allow it: for the Polars
//! backends, for exports, and for tests.
//!
//! Invariant: names are Categoricals over the run's dictionaries, so frames of different relations
//! and shards compare by code.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use polars::prelude as pl;
use polars::prelude::IntoColumn as _;
use rayon::prelude::*;

use super::batch::{Batch, BatchBuilder, Column, Expected, Values, Wanted};
use super::{Dictionaries, Kind, Relation, Relations};
use crate::error::Error;
use crate::time::{Day, NO_DAY};

impl Batch {
    /// The same rows as a frame.
    ///
    /// # Errors
    /// A bug of ours: a dictionary is missing or holds a name twice.
    pub fn frame(&self, dictionaries: &Dictionaries) -> Result<pl::DataFrame, Error> {
        let relation = self.relation.name();
        let columns: Vec<pl::Column> = self
            .columns
            .par_iter()
            .map(|column| {
                make_column(column, dictionaries).map_err(|why| {
                    Error::Bug(format!("relation {relation:?}, {:?}: {why}", column.name))
                })
            })
            .collect::<Result<_, Error>>()?;
        pl::DataFrame::new(self.rows, columns)
            .map_err(|e| Error::compute(format!("the relation {relation:?}"), e))
    }
}

fn make_column(column: &Column, dictionaries: &Dictionaries) -> Result<pl::Column, String> {
    let label = pl::PlSmallStr::from_str(&column.name);
    Ok(match &column.values {
        Values::Flag(v) => pl::Int8Chunked::from_vec(label, v.clone()).into_column(),
        Values::Small(v) => pl::Int16Chunked::from_vec(label, v.clone()).into_column(),
        Values::Int(v) => pl::Int64Chunked::from_vec(label, v.clone()).into_column(),
        Values::Day(v) => day_column(label, v.clone()),
        Values::Codes(codes) => {
            let dtype = match column.expected {
                Expected::Declared(kind) => column_type(kind, dictionaries),
                Expected::Dimension => dictionary_type(&column.name, dictionaries),
            };
            // NO_NAME is never a category, and Polars turns what is no category into null.
            let codes = pl::UInt32Chunked::from_vec(label, codes.clone());
            let dtype = dtype.map_err(|e| e.to_string())?;
            pl::Categorical32Chunked::from_cats_and_dtype(codes, dtype).into_column()
        }
    })
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
        let mut batches = BTreeMap::new();
        for relation in Relation::EVERY {
            let mut builder = BatchBuilder::new(relation, 0, &Wanted::All);
            for column in relation.columns() {
                builder = match column.kind {
                    Kind::Flag => builder.flag(column.name, Vec::new),
                    Kind::Small => builder.small(column.name, Vec::new),
                    Kind::Int => builder.int(column.name, Vec::new),
                    Kind::Day => builder.day(column.name, Vec::new),
                    _ => builder.name(column.name, Vec::<u32>::new),
                };
            }
            if relation.has_dimensions() {
                builder = dimensions.iter().fold(builder, |b, d| b.dimension(d, Vec::<u32>::new));
            }
            batches.insert(relation, builder.finish(&dictionaries)?);
        }
        Ok(Self { batches, dictionaries })
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
        Dictionaries { names, ..Dictionaries::default() }
    }

    fn spend() -> BatchBuilder<'static> {
        BatchBuilder::new(Relation::Spend, 4, &Wanted::All)
            .small("shard", || vec![0, 0, 1, 2])
            .day("spent_on", || vec![0, 31, 32, NO_DAY])
            .day("spent_period", || vec![0, 31, 31, NO_DAY])
            .name("channel", || vec![1_u32, 0, u32::MAX, 1])
            .name("cost_type", || vec![0_u8, 0, u8::MAX, 0])
            .int("amount", || vec![100, 200, 300, 400])
            .flag("has_amount", || vec![1, 1, 1, 1])
    }

    /// Runs one query in both engines and compares the rows, as text, with the expected ones.
    #[track_caller]
    fn check(query: &str, expected: &[&str]) {
        let frame = spend().dimension("region", || vec![2_u16, 0, u16::MAX, 2]);
        let frame = frame.finish(&dictionaries()).unwrap().frame(&dictionaries()).unwrap();
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
        let batch = spend().dimension("region", || vec![0_u8; 4]).finish(&dictionaries()).unwrap();
        let frame = batch.frame(&dictionaries()).unwrap();
        let names: Vec<&str> = frame.columns().iter().map(|c| c.name().as_str()).collect();
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
        assert_eq!(batch.dimensions, ["region"]);
    }

    #[test]
    fn dimension_of_a_declared_name_stands_in_its_place() {
        let batch = spend().dimension("channel", || vec![0_u8; 4]).finish(&dictionaries()).unwrap();
        assert_eq!(batch.dimensions, ["channel"]);
        let frame = batch.frame(&dictionaries()).unwrap();
        assert_eq!(frame.width(), 7);
        let text = frame.column("channel").unwrap().get(0).unwrap().to_string();
        assert_eq!(text, "\"ads\"");
    }

    #[track_caller]
    fn check_refused(builder: BatchBuilder<'_>, part: &str) {
        let error = builder.finish(&dictionaries()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn wrong_columns_are_refused_by_name() {
        check_refused(spend().int("colour", || vec![0; 4]), "column \"colour\" is not declared");
        check_refused(
            BatchBuilder::new(Relation::Spend, 0, &Wanted::All),
            "column \"amount\" is missing",
        );
        check_refused(spend().int("amount", || vec![0; 4]), "column \"amount\" was given twice");
        check_refused(spend().dimension("region", || vec![0_u8; 3]), "\"region\" has 3 rows");
        check_refused(spend().dimension("region", || vec![3_u8; 4]), "a code beyond 3 names");
        check_refused(spend().dimension("amount", || vec![0_u8; 4]), "has a column's name");
        check_refused(spend().dimension("planet", || vec![0_u8; 4]), "no dictionary \"planet\"");
    }
}
