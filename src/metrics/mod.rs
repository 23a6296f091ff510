//! The registry of metrics. A metric is keys, additive state, and a pure finish.
//!
//! A metric's [`State`] is one portable SQL query over one relation; sums, minima and maxima merge,
//! so the same definition runs in one piece, in shards, or on another engine. Its `finish` turns
//! merged states into rows: ratios, limits, growth, quantiles and curves from counted integers.
//! Nothing here knows a path, an engine or a clock.
//!
//! To add one: a new file in an area folder and two lines here, the `mod` line and the registry
//! entry.

pub mod acquisition;
pub mod conversion;
pub mod customers;
pub mod cycle;
pub mod durations;
pub mod funnel;
pub mod lifetime;
pub mod quality;
pub mod revenue;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::relations::{Dictionaries, Relation};
use crate::table::{ColumnSpec, TableBuilder, Value};
use crate::time::{Calendar, Day, Instant, NO_DAY, Period, Resolution};

/// Every metric, in the order of `dealmill tables`.
pub static REGISTRY: &[&Metric] = &[
    &revenue::revenue::METRIC,
    &conversion::conversion::METRIC,
    &funnel::funnel::METRIC,
    &funnel::stage_transitions::METRIC,
    &funnel::stage_time::METRIC,
    &cycle::cycle_length::METRIC,
    &cycle::cycle_curve::METRIC,
    &cycle::cycle_histogram::METRIC,
    &lifetime::clv_cohorts::METRIC,
    &customers::customer_growth::METRIC,
    &acquisition::cac::METRIC,
    &quality::data_quality::METRIC,
];

/// Name of the table that judges the inputs.
pub const QUALITY: &str = "data_quality";

/// One metric: data and one pure function.
#[derive(Debug)]
pub struct Metric {
    /// Table name, file name, manifest key; snake_case.
    pub name: &'static str,
    /// What it answers; ends in a question mark.
    pub question: &'static str,
    /// What one row is.
    pub grain: &'static str,
    /// What is added up, usually one; the finish receives them in this order.
    pub states: &'static [State],
    /// Columns after the common ones (slice, dimensions, period, period_start).
    pub output: &'static [ColumnSpec],
    /// How a report draws it.
    pub view: View,
    /// Author, year, title of what it rests on.
    pub references: &'static [&'static str],
    /// From the merged states of one slice and period length to rows.
    pub finish: fn(&Group<'_>, &mut Rows<'_>) -> Result<(), Error>,
    /// Laws that every output row obeys; checked in every run.
    pub identities: &'static [Identity],
}

/// One additive state: a `GROUP BY` over one relation.
///
/// `sql` is `SELECT keys, SUM(…) AS … FROM relation [WHERE …] GROUP BY keys`, only with `COUNT(*)`,
/// `SUM`, `MIN` and `MAX` of relation columns or `CASE` expressions over them; how a column merges
/// follows from its function. The engine adds the slice's dimensions to the keys. A key named
/// `period` (or `cohort`) is a base period's first day and is rolled up to each configured period; a
/// key named `grain` restricts the state to the rows of the period length being finished instead.
#[derive(Debug)]
pub struct State {
    /// The relation it reads.
    pub relation: Relation,
    /// The query.
    pub sql: &'static str,
    /// What becomes of the table where the inputs cannot give the relation.
    pub absent: Absent,
}

/// What becomes of a table where a relation is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is left out, with the reason.
    SkipTable,
    /// It is made, and the state has no rows.
    NoRows,
}

/// How a report draws a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Rows and columns only.
    Table,
    /// One measure over periods.
    Line(&'static str),
    /// One bar per key.
    Bars(&'static str),
    /// Stages from wide to narrow.
    Funnel(&'static str),
    /// Two keys and a shade.
    Heatmap(&'static str),
    /// A step curve.
    Steps(&'static str),
}

/// A law of every output row.
#[derive(Debug)]
pub struct Identity {
    /// In words, with the column names as terms.
    pub claim: &'static str,
    /// Whether a row obeys it.
    pub holds: fn(&RowView<'_>) -> bool,
}

/// Read access to one finished row, by column name.
pub struct RowView<'a> {
    /// The columns' declarations.
    pub specs: &'a [ColumnSpec],
    /// The batch the row is in.
    pub batch: &'a arrow::array::RecordBatch,
    /// Its position.
    pub row: usize,
}

impl RowView<'_> {
    /// The row's keys in words, for errors.
    #[must_use]
    pub fn keys_text(&self) -> String {
        let mut text = Vec::new();
        for (spec, column) in self.specs.iter().zip(self.batch.columns()) {
            if spec.role != crate::table::Role::Key {
                continue;
            }
            let value = arrow::util::display::array_value_to_string(column, self.row);
            let value = value.ok().filter(|v| !v.is_empty()).unwrap_or_else(|| "null".into());
            text.push(format!("{} = {value}", spec.name));
        }
        text.join(", ")
    }

    fn cell<T: arrow::array::Array + 'static>(&self, name: &str) -> Option<&T> {
        let position = self.specs.iter().position(|s| s.name == name)?;
        let array = self.batch.columns().get(position)?.as_any().downcast_ref::<T>()?;
        (!array.is_null(self.row)).then_some(array)
    }

    /// A count; `None` where it is null or the column is no count.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.cell::<arrow::array::Int64Array>(name).map(|a| a.value(self.row))
    }

    /// A float; `None` where it is null or the column is no float.
    #[must_use]
    pub fn float(&self, name: &str) -> Option<f64> {
        self.cell::<arrow::array::Float64Array>(name).map(|a| a.value(self.row))
    }

    /// Minor units; `None` where it is null or the column is no money.
    #[must_use]
    pub fn money(&self, name: &str) -> Option<i64> {
        let array = self.cell::<arrow::array::Decimal128Array>(name)?;
        i64::try_from(array.value(self.row)).ok()
    }

    /// Text; `None` where it is null or the column is no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.cell::<arrow::array::StringArray>(name).map(|a| a.value(self.row))
    }

    /// A yes or no; `None` where it is null or the column is none.
    #[must_use]
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.cell::<arrow::array::BooleanArray>(name).map(|a| a.value(self.row))
    }

    /// A civil day; `None` where it is null or the column is none.
    #[must_use]
    pub fn date(&self, name: &str) -> Option<Day> {
        self.cell::<arrow::array::Date32Array>(name).map(|a| a.value(self.row))
    }
}

/// What a finish may know besides the states. Everything is an argument: there is no clock, zone or
/// currency anywhere else.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The run's instant.
    pub as_of: Instant,
    /// Zone, week and fiscal year.
    pub calendar: Calendar,
    /// Unit of durations.
    pub resolution: Resolution,
    /// Names of the open stages, in order.
    pub stages: Vec<String>,
    /// Rates on fewer deals are `low_n`.
    pub rate_floor: i64,
    /// Quantiles of fewer values are `low_n`.
    pub quantile_floor: i64,
    /// Minor digits of the currency.
    pub money_scale: u8,
    /// The names behind codes.
    pub dictionaries: Dictionaries,
}

/// The merged states of one metric for one slice and one period length.
pub struct Group<'a> {
    /// The metric's states, in its order, each sorted by dimensions, then its keys in SQL order.
    pub states: &'a [&'a StateRows],
    /// The period length.
    pub period: Period,
    /// What else a finish may know.
    pub settings: &'a Settings,
}

/// A state's rows: plain integer columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateRows {
    /// Codes of the slice's dimensions, one vector a dimension; -1 is null.
    pub dimensions: Vec<Vec<i64>>,
    /// The state's own keys: name, values (codes of names, days, integers; [`NO_KEY`] is null).
    pub keys: Vec<(String, Vec<i64>)>,
    /// The additive columns: name, values.
    pub values: Vec<(String, Vec<i64>)>,
    /// Number of rows.
    pub rows: usize,
}

/// Stands for null in a key column; sorts before everything.
pub const NO_KEY: i64 = i64::MIN;

/// The first day of the period that a state's key holds; [`NO_DAY`] for the whole history.
#[must_use]
pub fn period_start(key: i64) -> Day {
    Day::try_from(key).unwrap_or(NO_DAY)
}

/// The dimension codes that a row belongs to.
pub type Dims = Vec<i64>;

impl StateRows {
    /// Bytes of all columns.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let columns = self.dimensions.len() + self.keys.len() + self.values.len();
        (columns * self.rows * size_of::<i64>()) as u64
    }

    /// A key column.
    ///
    /// # Errors
    /// A bug of ours: the state has no such key.
    pub fn key(&self, name: &str) -> Result<&[i64], Error> {
        find(&self.keys, name)
    }

    /// An additive column.
    ///
    /// # Errors
    /// A bug of ours: the state has no such column.
    pub fn value(&self, name: &str) -> Result<&[i64], Error> {
        find(&self.values, name)
    }

    /// The dimension codes of a row.
    #[must_use]
    pub fn dims(&self, row: usize) -> Dims {
        self.dimensions.iter().filter_map(|d| d.get(row).copied()).collect()
    }

    /// Runs of neighbouring rows with equal dimensions and equal first `keys` keys, in order.
    #[must_use]
    pub fn runs(&self, keys: usize) -> Vec<std::ops::Range<usize>> {
        let columns: Vec<&Vec<i64>> =
            self.dimensions.iter().chain(self.keys.iter().take(keys).map(|(_, v)| v)).collect();
        let differ = |row: usize| columns.iter().any(|c| c.get(row) != c.get(row - 1));
        let mut runs = Vec::new();
        let mut begin = 0;
        for row in 1..self.rows {
            if differ(row) {
                runs.push(begin..row);
                begin = row;
            }
        }
        if begin < self.rows {
            runs.push(begin..self.rows);
        }
        runs
    }
}

fn find<'a>(columns: &'a [(String, Vec<i64>)], name: &str) -> Result<&'a [i64], Error> {
    columns
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_slice())
        .ok_or_else(|| Error::Bug(format!("a state has no column {name:?}")))
}

/// Where a finish puts its rows: adds the common columns before the metric's own.
pub struct Rows<'a> {
    builder: &'a mut TableBuilder,
    slice: String,
    /// Every dimension of the run, with its position in the slice if it is part of it.
    dimensions: Vec<(String, Option<usize>)>,
    period: Period,
    dictionaries: &'a Dictionaries,
}

impl<'a> Rows<'a> {
    /// Rows of one slice and period length.
    #[must_use]
    pub fn new(
        builder: &'a mut TableBuilder,
        slice: &[String],
        dimensions: &[String],
        period: Period,
        dictionaries: &'a Dictionaries,
    ) -> Self {
        let positions =
            dimensions.iter().map(|d| (d.clone(), slice.iter().position(|s| s == d))).collect();
        Self { builder, slice: slice_name(slice), dimensions: positions, period, dictionaries }
    }

    /// Appends one row: the slice's dimension codes, the first day of the period ([`NO_DAY`] for the
    /// whole history), and the metric's own columns in declared order.
    ///
    /// # Errors
    /// A bug of ours: the values do not fit the declared columns.
    pub fn push(
        &mut self,
        dims: &[i64],
        period_start: Day,
        values: &[(&str, Value<'_>)],
    ) -> Result<(), Error> {
        let mut row: Vec<(&str, Value<'_>)> = Vec::with_capacity(self.dimensions.len() + 3);
        row.push(("slice", Value::Text(&self.slice)));
        for (name, position) in &self.dimensions {
            let code = position.and_then(|p| dims.get(p).copied());
            let text = code.and_then(|c| self.dictionaries.name(name, c));
            row.push((name, text.map_or(Value::Null, Value::Text)));
        }
        row.push(("period", Value::Text(self.period.name())));
        let start = if period_start == NO_DAY { Value::Null } else { Value::Date(period_start) };
        row.push(("period_start", start));
        self.builder.push_parts(&row, values)
    }
}

/// The name of a slice: `all`, `region`, `region+source`.
#[must_use]
pub fn slice_name(slice: &[String]) -> String {
    if slice.is_empty() { "all".into() } else { slice.join("+") }
}

/// The columns that every table begins with.
#[must_use]
pub fn common_columns(dimensions: &[String]) -> Vec<ColumnSpec> {
    let mut columns = vec![
        ColumnSpec::text(
            "slice",
            "The set of dimensions this row is split by: all, or names joined by +.",
        )
        .key(),
    ];
    columns.extend(dimensions.iter().map(|name| {
        ColumnSpec {
            name: name.clone().into(),
            meaning: format!(
                "Value of the dimension {name}; null where it is unknown or not in the slice."
            )
            .into(),
            ..ColumnSpec::text("", "").key().nullable()
        }
    }));
    columns
        .push(ColumnSpec::text("period", "Length of the period: all is the whole history.").key());
    columns.push(
        ColumnSpec::date("period_start", "First day of the period; null for the whole history.")
            .key()
            .nullable(),
    );
    columns
}

/// Rows gathered by dimensions, period start and further keys, for finishes that join two states.
pub type Gathered<K, V> = BTreeMap<(Dims, K), V>;
