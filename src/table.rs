//! A finished table: typed columns that carry their unit and meaning, and the builder that fills
//! one row by row while checking every value against the declared column.
//!
//! This is vocabulary: metrics fill tables, the sink writes them, and neither knows the other.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt32Array, make_comparator,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use rayon::prelude::*;

use crate::error::Error;
use crate::time::{Day, Instant};

/// Digits of a DECIMAL money column.
pub const MONEY_PRECISION: u8 = 18;

/// The least number of minor units that such a column cannot hold.
const MONEY_LIMIT: u64 = 10_u64.pow(MONEY_PRECISION as u32);

/// Rows of a table that are written at a time, wherever they come from: where a file's pages end
/// depends on it.
pub const BLOCK_ROWS: usize = 1 << 13;

/// The type of an output column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// UTF-8 text.
    Text,
    /// 64-bit integer.
    Int,
    /// 64-bit float, never NaN or infinite.
    Float,
    /// DECIMAL with the currency's scale, filled with minor units.
    Money,
    /// True or false.
    Bool,
    /// Civil date.
    Date,
    /// Instant, UTC, microseconds.
    Instant,
}

impl Dtype {
    /// The name shown in `dealmill tables`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int64",
            Self::Float => "float64",
            Self::Money => "decimal",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Instant => "timestamp",
        }
    }
}

/// Whether a column identifies a row or measures it. Tables are sorted by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Part of the row's key.
    Key,
    /// A measure.
    Measure,
}

/// Whether a column may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Null where the value does not exist; the meaning says when.
    Allowed,
    /// Always present.
    Never,
}

/// Declaration of one output column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Column name, snake_case, unit and qualifier last.
    pub name: Cow<'static, str>,
    /// Type.
    pub dtype: Dtype,
    /// Unit in words: `deals`, `days`, `share`, `currency`, `name`, `date`, `flag`.
    pub unit: &'static str,
    /// Whether null is allowed.
    pub nulls: Nulls,
    /// Key or measure.
    pub role: Role,
    /// One sentence: what the number means and, if it can be null, when it is.
    pub meaning: Cow<'static, str>,
}

impl ColumnSpec {
    const fn new(
        name: &'static str,
        dtype: Dtype,
        unit: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            dtype,
            unit,
            nulls: Nulls::Never,
            role: Role::Measure,
            meaning: Cow::Borrowed(meaning),
        }
    }

    /// A count of `unit`.
    #[must_use]
    pub const fn count(name: &'static str, unit: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Int, unit, meaning)
    }

    /// A sum of money.
    #[must_use]
    pub const fn money(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Money, "currency", meaning)
    }

    /// A share between 0 and 1, null on a zero denominator.
    #[must_use]
    pub const fn rate(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Float, "share", meaning).nullable()
    }

    /// A duration in days of 24 hours, null where there is none.
    #[must_use]
    pub const fn days(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Float, "days", meaning).nullable()
    }

    /// Any other number in a stated unit.
    #[must_use]
    pub const fn number(name: &'static str, unit: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Float, unit, meaning)
    }

    /// A yes or no.
    #[must_use]
    pub const fn flag(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Bool, "flag", meaning)
    }

    /// A name.
    #[must_use]
    pub const fn text(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Text, "name", meaning)
    }

    /// A civil date.
    #[must_use]
    pub const fn date(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Date, "date", meaning)
    }

    /// An instant in UTC.
    #[must_use]
    pub const fn instant(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Dtype::Instant, "instant", meaning)
    }

    /// The same column, null allowed.
    #[must_use]
    pub const fn nullable(mut self) -> Self {
        self.nulls = Nulls::Allowed;
        self
    }

    /// The same column as part of the row's key.
    #[must_use]
    pub const fn key(mut self) -> Self {
        self.role = Role::Key;
        self
    }

    fn arrow_type(&self, money_scale: u8) -> DataType {
        match self.dtype {
            Dtype::Text => DataType::Utf8,
            Dtype::Int => DataType::Int64,
            Dtype::Float => DataType::Float64,
            Dtype::Money => DataType::Decimal128(MONEY_PRECISION, money_scale.cast_signed()),
            Dtype::Bool => DataType::Boolean,
            Dtype::Date => DataType::Date32,
            Dtype::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// One value of a row being built.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// No value; only in nullable columns.
    Null,
    /// Text.
    Text(&'a str),
    /// A count.
    Int(i64),
    /// A float; NaN and infinities are refused.
    Float(f64),
    /// Minor units.
    Money(i64),
    /// A yes or no.
    Bool(bool),
    /// A civil date.
    Date(Day),
    /// An instant.
    Instant(Instant),
}

impl Value<'_> {
    /// A float where there is one.
    #[must_use]
    pub fn float(value: Option<f64>) -> Self {
        value.map_or(Value::Null, Value::Float)
    }

    /// Money where there is some.
    #[must_use]
    pub fn money(value: Option<i64>) -> Self {
        value.map_or(Value::Null, Value::Money)
    }

    /// A count where there is one.
    #[must_use]
    pub fn int(value: Option<i64>) -> Self {
        value.map_or(Value::Null, Value::Int)
    }
}

enum Builder {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Money(Decimal128Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Instant(TimestampMicrosecondBuilder),
}

/// Takes some rows of a table, sorted by its key columns.
pub type Seal = Box<dyn FnMut(RecordBatch) -> Result<(), Error> + Send>;

/// Where a row stands by the columns that every table begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Behind the row before.
    Later,
    /// Beside the row before: they are equal in these columns.
    Beside,
    /// Anywhere.
    Unknown,
}

/// Fills a table row by row; every value is checked against its declared column.
pub struct TableBuilder {
    name: String,
    specs: Vec<ColumnSpec>,
    builders: Vec<Builder>,
    money_scale: u8,
    /// Addresses of the names that a row came with: those of the next row are mostly the same.
    known: Vec<(usize, usize)>,
    follows: Vec<Follows>,
    /// How many columns that is about.
    first: usize,
    /// Where rows go when there are so many.
    seal: Option<(usize, Seal)>,
}

impl TableBuilder {
    /// An empty table of the given columns; `money_scale` is the currency's number of digits.
    #[must_use]
    pub fn new(name: impl Into<String>, specs: Vec<ColumnSpec>, money_scale: u8) -> Self {
        let builders = specs
            .iter()
            .map(|spec| match spec.dtype {
                Dtype::Text => Builder::Text(StringBuilder::new()),
                Dtype::Int => Builder::Int(Int64Builder::new()),
                Dtype::Float => Builder::Float(Float64Builder::new()),
                Dtype::Money => Builder::Money(
                    Decimal128Builder::new().with_data_type(spec.arrow_type(money_scale)),
                ),
                Dtype::Bool => Builder::Bool(BooleanBuilder::new()),
                Dtype::Date => Builder::Date(Date32Builder::new()),
                Dtype::Instant => Builder::Instant(
                    TimestampMicrosecondBuilder::new().with_data_type(spec.arrow_type(money_scale)),
                ),
            })
            .collect();
        let known = vec![(0, 0); specs.len()];
        Self {
            name: name.into(),
            specs,
            builders,
            money_scale,
            known,
            follows: Vec::new(),
            first: 0,
            seal: None,
        }
    }

    /// The same, but whenever there are so many rows they are given away, sorted; only the last
    /// ones are in the finished table.
    #[must_use]
    pub fn sealing(self, rows: usize, seal: Seal) -> Self {
        Self { seal: Some((rows, seal)), ..self }
    }

    /// Appends one row. `values` are in the order of the declared columns and repeat their names,
    /// so that two columns of one type cannot be swapped unnoticed.
    ///
    /// # Errors
    /// A bug of ours: a name, type, null or number that the declaration does not allow.
    pub fn push(&mut self, values: &[(&str, Value<'_>)]) -> Result<(), Error> {
        self.push_parts(Follows::Unknown, &[], values)
    }

    /// Appends one row given in two parts, as [`TableBuilder::push`] does; `first` are the columns
    /// that `follows` is about.
    ///
    /// # Errors
    /// As [`TableBuilder::push`].
    pub fn push_parts(
        &mut self,
        follows: Follows,
        first: &[(&str, Value<'_>)],
        rest: &[(&str, Value<'_>)],
    ) -> Result<(), Error> {
        let values = first.len() + rest.len();
        if values != self.specs.len() {
            return Err(
                self.refuse(format!("a row of {values} values for {} columns", self.specs.len()))
            );
        }
        let columns = self.specs.iter().zip(&mut self.builders).zip(&mut self.known);
        for (((spec, builder), known), (name, value)) in columns.zip(first.iter().chain(rest)) {
            let place = (name.as_ptr().addr(), name.len());
            if *known != place {
                if spec.name != *name {
                    let problem =
                        format!("value {name:?} where column {:?} is declared", spec.name);
                    return Err(self.refuse(problem));
                }
                *known = place;
            }
            if !append(builder, value, spec.nulls) {
                return Err(self.refused(name, value));
            }
        }
        self.follows.push(follows);
        self.first = first.len();
        if self.seal.as_ref().is_some_and(|(most, _)| self.follows.len() >= *most) {
            let batch = self.sorted(&self.schema())?;
            self.follows.clear();
            if let Some((_, seal)) = &mut self.seal {
                seal(batch)?;
            }
        }
        Ok(())
    }

    fn refused(&self, name: &str, value: &Value<'_>) -> Error {
        if matches!(value, Value::Money(minor) if minor.unsigned_abs() >= MONEY_LIMIT) {
            let what = format!("table {:?}, column {name:?}, in DECIMAL", self.name);
            return Error::Overflow { what: format!("{what}({MONEY_PRECISION})") };
        }
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let dtype = spec.map_or("unknown", |spec| spec.dtype.name());
        self.refuse(format!("{value:?} in column {name:?} of type {dtype}"))
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Bug(format!("table {:?}: {problem}", self.name))
    }

    /// The finished table, sorted by its key columns (nulls first).
    ///
    /// # Errors
    /// A bug of ours: the columns do not form a batch.
    pub fn finish(mut self) -> Result<Table, Error> {
        let schema = self.schema();
        let batch = self.sorted(&schema)?;
        let batches = if batch.num_rows() == 0 { Vec::new() } else { vec![batch] };
        Ok(Table { name: self.name, specs: self.specs, schema, batches })
    }

    fn schema(&self) -> SchemaRef {
        let field = |spec: &ColumnSpec| {
            let nullable = spec.nulls == Nulls::Allowed;
            Field::new(spec.name.as_ref(), spec.arrow_type(self.money_scale), nullable)
        };
        Arc::new(Schema::new(self.specs.iter().map(field).collect::<Vec<_>>()))
    }

    /// The rows so far, sorted; the builders begin anew.
    fn sorted(&mut self, schema: &SchemaRef) -> Result<RecordBatch, Error> {
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(take_array).collect();
        let step = |what: &str| format!("table {:?}, {what}", self.name);
        let batch = RecordBatch::try_new(schema.clone(), arrays)
            .map_err(|e| Error::compute(step("assembling"), e))?;
        let later_keys = key_columns(&batch, &self.specs).split_off(self.later_key());
        // Sealed rows may come in any order of slices and values.
        let is_sorted = self.seal.is_none()
            && is_sorted(&later_keys, &self.follows)
                .map_err(|e| Error::compute(step("comparing its keys"), e))?;
        if is_sorted {
            return Ok(batch);
        }
        sort_by_keys(&batch, &self.specs)
            .map_err(|e| Error::compute(step("sorting by its keys"), e))
    }

    /// How many of the keys are among the columns whose order is known.
    fn later_key(&self) -> usize {
        self.specs.iter().take(self.first).filter(|spec| spec.role == Role::Key).count()
    }
}

fn append(builder: &mut Builder, value: &Value<'_>, nulls: Nulls) -> bool {
    if matches!(value, Value::Null) && nulls == Nulls::Never {
        return false;
    }
    match (builder, value) {
        (Builder::Text(b), Value::Text(v)) => b.append_value(v),
        (Builder::Int(b), Value::Int(v)) => b.append_value(*v),
        (Builder::Float(b), Value::Float(v)) if v.is_finite() => b.append_value(*v),
        (Builder::Money(b), Value::Money(v)) if v.unsigned_abs() < MONEY_LIMIT => {
            b.append_value(i128::from(*v));
        }
        (Builder::Bool(b), Value::Bool(v)) => b.append_value(*v),
        (Builder::Date(b), Value::Date(v)) => b.append_value(*v),
        (Builder::Instant(b), Value::Instant(v)) => b.append_value(*v),
        (Builder::Text(b), Value::Null) => b.append_null(),
        (Builder::Int(b), Value::Null) => b.append_null(),
        (Builder::Float(b), Value::Null) => b.append_null(),
        (Builder::Money(b), Value::Null) => b.append_null(),
        (Builder::Bool(b), Value::Null) => b.append_null(),
        (Builder::Date(b), Value::Null) => b.append_null(),
        (Builder::Instant(b), Value::Null) => b.append_null(),
        _ => return false,
    }
    true
}

fn take_array(builder: &mut Builder) -> ArrayRef {
    match builder {
        Builder::Text(b) => Arc::new(b.finish()),
        Builder::Int(b) => Arc::new(b.finish()),
        Builder::Float(b) => Arc::new(b.finish()),
        Builder::Money(b) => Arc::new(b.finish()),
        Builder::Bool(b) => Arc::new(b.finish()),
        Builder::Date(b) => Arc::new(b.finish()),
        Builder::Instant(b) => Arc::new(b.finish()),
    }
}

/// The rows sorted by their key columns, nulls first; equal ones keep their order.
pub(crate) fn sort_by_keys(
    batch: &RecordBatch,
    specs: &[ColumnSpec],
) -> Result<RecordBatch, ArrowError> {
    let keys = key_columns(batch, specs);
    if keys.is_empty() || batch.num_rows() < 2 {
        return Ok(batch.clone());
    }
    // Rows as bytes that sort like their values: comparing ten columns one by one took most of the
    // time of a large table.
    let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&keys)?;
    let mut sorted: Vec<_> = rows.iter().zip(0_u32..).collect();
    if sorted.is_sorted() {
        return Ok(batch.clone());
    }
    sorted.par_sort_unstable();
    let order = UInt32Array::from_iter_values(sorted.into_iter().map(|(_, row)| row));
    arrow::compute::take_record_batch(batch, &order)
}

/// The columns that a table is sorted by.
pub(crate) fn key_columns(batch: &RecordBatch, specs: &[ColumnSpec]) -> Vec<ArrayRef> {
    let keys = specs.iter().zip(batch.columns()).filter(|(spec, _)| spec.role == Role::Key);
    keys.map(|(_, column)| column.clone()).collect()
}

/// Whether rows whose order by other columns is known are sorted by these keys too.
fn is_sorted(keys: &[ArrayRef], follows: &[Follows]) -> Result<bool, ArrowError> {
    if follows.contains(&Follows::Unknown) {
        return Ok(false);
    }
    let nulls_first = SortOptions { descending: false, nulls_first: true };
    let orders = keys.iter().map(|key| make_comparator(key, key, nulls_first));
    let orders = orders.collect::<Result<Vec<_>, _>>()?;
    let beside = follows.iter().enumerate().skip(1).filter(|(_, f)| **f == Follows::Beside);
    Ok(beside.map(|(row, _)| row).all(|row| {
        let mut order = orders.iter().map(|order| order(row - 1, row));
        order.find(|order| order.is_ne()).is_none_or(std::cmp::Ordering::is_lt)
    }))
}

/// A finished table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Table name, file name, manifest key.
    pub name: String,
    /// Its columns, in order.
    pub specs: Vec<ColumnSpec>,
    /// The same as Arrow declares them.
    pub schema: SchemaRef,
    /// Its rows, sorted by the key columns over all batches.
    pub batches: Vec<RecordBatch>,
}

impl Table {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// All rows as one batch.
    ///
    /// # Errors
    /// A bug of ours: the batches differ in their columns.
    pub fn whole(&self) -> Result<RecordBatch, Error> {
        arrow::compute::concat_batches(&self.schema, &self.batches)
            .map_err(|e| Error::compute(format!("table {:?}, joining its rows", self.name), e))
    }
}
