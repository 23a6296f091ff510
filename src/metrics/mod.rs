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
pub mod pipeline;
pub mod quality;
pub mod revenue;
#[cfg(test)]
pub(crate) mod testing;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::RecordBatch;

pub use self::lifetime::valuation::Valuation;
use crate::error::Error;
use crate::relations::{Dictionaries, Relation};
use crate::table::{ColumnSpec, Follows, TableBuilder, Value};
use crate::time::{Calendar, Day, Instant, NO_DAY, Period, Resolution};

/// Every metric, in the order of `dealmill tables`.
pub static REGISTRY: &[&Metric] = &[
    &revenue::revenue::METRIC,
    &revenue::revenue_clocks::METRIC,
    &revenue::revenue_credit::METRIC,
    &revenue::revenue_paid::METRIC,
    &conversion::conversion::METRIC,
    &funnel::funnel::METRIC,
    &funnel::stage_transitions::METRIC,
    &funnel::stage_time::METRIC,
    &cycle::cycle_length::METRIC,
    &cycle::cycle_curve::METRIC,
    &cycle::cycle_histogram::METRIC,
    &cycle::cycle_outcomes::METRIC,
    &cycle::outcome_curve::METRIC,
    &cycle::win_horizons::METRIC,
    &pipeline::pipeline_snapshot::METRIC,
    &pipeline::pipeline_ages::METRIC,
    &pipeline::pipeline_waterfall::METRIC,
    &pipeline::pipeline_causes::METRIC,
    &pipeline::sales_velocity::METRIC,
    &lifetime::clv_cohorts::METRIC,
    &lifetime::clv_models::METRIC,
    &lifetime::clv_holdout::METRIC,
    &lifetime::customer_value::METRIC,
    &customers::customer_growth::METRIC,
    &acquisition::cac::METRIC,
    &quality::data_quality::METRIC,
];

/// Metrics that are split by dimensions only where the configuration asks it of the table: those that
/// fit models, because a fit costs the same for a slice of ten customers and for all, and those with
/// nearly as many sums as deals in every slice.
static SPLIT_WHEN_ASKED: &[&Metric] = &[
    &lifetime::clv_models::METRIC,
    &lifetime::clv_holdout::METRIC,
    &pipeline::pipeline_ages::METRIC,
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
    /// From the merged states of one value of a slice and one period length to rows.
    pub finish: fn(&Group<'_>, &mut Rows<'_>) -> Result<(), Error>,
    /// Laws that every output row obeys; checked in every run.
    pub identities: &'static [Identity],
}

impl Metric {
    /// Whether it is split by the run's slices, and not only by slices of its own.
    #[must_use]
    pub fn is_split_by_default(&self) -> bool {
        !SPLIT_WHEN_ASKED.iter().any(|metric| std::ptr::eq(*metric, self))
    }
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

/// Read access to finished rows, by column name.
pub struct TableView<'a> {
    specs: &'a [ColumnSpec],
    batch: &'a RecordBatch,
    /// Where names were found before, by their address: laws ask every row for the same columns.
    known: [Cell<usize>; KNOWN_NAMES],
}

/// More than any law asks for; addresses that fall together only cost time.
const KNOWN_NAMES: usize = 64;

impl<'a> TableView<'a> {
    /// The rows of one batch of a table of these columns.
    #[must_use]
    pub fn new(specs: &'a [ColumnSpec], batch: &'a RecordBatch) -> Self {
        Self { specs, batch, known: [const { Cell::new(0) }; KNOWN_NAMES] }
    }

    /// Each row.
    pub fn rows(&self) -> impl Iterator<Item = RowView<'_>> {
        (0..self.batch.num_rows()).map(|row| RowView { table: self, row })
    }

    fn position(&self, name: &str) -> Option<usize> {
        let is_named = |spec: &ColumnSpec| spec.name == name;
        let known = self.known.get(name.as_ptr().addr() / 4 % KNOWN_NAMES)?;
        if self.specs.get(known.get()).is_some_and(is_named) {
            return Some(known.get());
        }
        known.set(self.specs.iter().position(is_named)?);
        Some(known.get())
    }
}

/// Read access to one finished row, by column name.
pub struct RowView<'a> {
    table: &'a TableView<'a>,
    row: usize,
}

impl RowView<'_> {
    /// The row's keys in words, for errors.
    #[must_use]
    pub fn keys_text(&self) -> String {
        let mut text = Vec::new();
        for (spec, column) in self.table.specs.iter().zip(self.table.batch.columns()) {
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
        let position = self.table.position(name)?;
        let array = self.table.batch.columns().get(position)?.as_any().downcast_ref::<T>()?;
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
    /// The pipelines and their stages.
    pub pipelines: Pipelines,
    /// Rates on fewer deals are `low_n`.
    pub rate_floor: i64,
    /// Quantiles of fewer values are `low_n`.
    pub quantile_floor: i64,
    /// Days after the start at which win rates are given, ascending.
    pub horizons_days: Vec<i64>,
    /// Minor digits of the currency.
    pub money_scale: u8,
    /// By which model customers are valued, and how far ahead.
    pub clv: Valuation,
    /// The names behind codes.
    pub dictionaries: Dictionaries,
}

/// The pipelines of a run and their stages.
#[derive(Debug, Clone, Default)]
pub struct Pipelines {
    /// The open stages of each pipeline, in order.
    pub open: BTreeMap<String, Vec<String>>,
    /// Pipeline and name of each stage by its code, where there are several pipelines; else nothing.
    pub stages: Vec<(String, String)>,
}

impl Pipelines {
    /// The name of a pipeline by its code; where there is only one, of that.
    #[must_use]
    pub fn name<'a>(&'a self, code: i64, dictionaries: &'a Dictionaries) -> &'a str {
        let only = self.open.keys().next().filter(|_| self.stages.is_empty());
        let name = only.map(String::as_str).or_else(|| dictionaries.name("pipeline", code));
        name.unwrap_or_default()
    }

    /// The open stages of a pipeline; none where nobody listed it.
    #[must_use]
    pub fn open_stages(&self, pipeline: &str) -> &[String] {
        self.open.get(pipeline).map_or(&[], Vec::as_slice)
    }
}

/// The column of the tables whose stages are of a pipeline.
pub(crate) const PIPELINE: ColumnSpec =
    ColumnSpec::text("pipeline", "The pipeline of the stages; default where there is only one.")
        .key();

/// The merged states of one metric for one value of a slice, such as one region, and one period
/// length.
pub struct Group<'a> {
    /// The metric's states, in its order, each sorted by its keys in SQL order.
    pub states: &'a [StateView<'a>],
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

impl StateRows {
    /// Bytes of all columns.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let columns = self.dimensions.len() + self.keys.len() + self.values.len();
        (columns * self.rows * size_of::<i64>()) as u64
    }

    /// All rows.
    #[must_use]
    pub fn view(&self) -> StateView<'_> {
        StateView { state: self, first_key: 0, range: 0..self.rows }
    }
}

/// Neighbouring rows of a state, and its keys or the later ones of them.
#[derive(Debug, Clone)]
pub struct StateView<'a> {
    state: &'a StateRows,
    first_key: usize,
    range: Range<usize>,
}

impl<'a> StateView<'a> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.range.len()
    }

    /// A key column.
    ///
    /// # Errors
    /// A bug of ours: the state has no such key.
    pub fn key(&self, name: &str) -> Result<&'a [i64], Error> {
        self.find(&self.state.keys, name)
    }

    /// An additive column.
    ///
    /// # Errors
    /// A bug of ours: the state has no such column.
    pub fn value(&self, name: &str) -> Result<&'a [i64], Error> {
        self.find(&self.state.values, name)
    }

    /// Every key column, by name.
    pub fn keys(&self) -> impl Iterator<Item = (&'a str, &'a [i64])> {
        self.state.keys.iter().skip(self.first_key).map(|(name, c)| (name.as_str(), self.own(c)))
    }

    /// Every additive column, by name.
    pub fn values(&self) -> impl Iterator<Item = (&'a str, &'a [i64])> {
        self.state.values.iter().map(|(name, column)| (name.as_str(), self.own(column)))
    }

    /// The codes of the slice's dimensions, one column a dimension.
    pub fn dimensions(&self) -> impl Iterator<Item = &'a [i64]> {
        self.state.dimensions.iter().map(|column| self.own(column))
    }

    /// Some of the rows.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        let end = (self.range.start + rows.end).min(self.range.end);
        let begin = (self.range.start + rows.start).min(end);
        Self { range: begin..end, ..self.clone() }
    }

    /// The same rows without the first key.
    #[must_use]
    pub fn without_first_key(self) -> Self {
        Self { first_key: self.first_key + 1, ..self }
    }

    /// Runs of neighbouring rows with equal first `keys` keys, in order.
    #[must_use]
    pub fn runs(&self, keys: usize) -> Vec<Range<usize>> {
        runs(self.keys().take(keys).map(|(_, column)| column), self.rows())
    }

    /// The rows of each period, in order: its first day as the first key has it.
    #[must_use]
    pub fn by_period(&self) -> Vec<(Day, StateView<'a>)> {
        let first = self.keys().next().map_or(&[][..], |(_, column)| column);
        let start = |run: &Range<usize>| first.get(run.start).map_or(NO_DAY, |k| period_start(*k));
        self.runs(1).into_iter().map(|run| (start(&run), self.part(run))).collect()
    }

    fn own(&self, column: &'a [i64]) -> &'a [i64] {
        column.get(self.range.clone()).unwrap_or_default()
    }

    fn find(&self, columns: &'a [(String, Vec<i64>)], name: &str) -> Result<&'a [i64], Error> {
        let found = columns.iter().find(|(n, _)| n == name);
        let (_, column) =
            found.ok_or_else(|| Error::Bug(format!("a state has no column {name:?}")))?;
        Ok(self.own(column))
    }
}

/// The rows of several states by the first day of the period that their first key holds. A state
/// without rows of a period has an empty view of it.
#[must_use]
pub fn by_period<'a, const N: usize>(
    states: [&StateView<'a>; N],
) -> BTreeMap<Day, [StateView<'a>; N]> {
    let mut all: BTreeMap<Day, [StateView<'a>; N]> = BTreeMap::new();
    for (position, state) in states.into_iter().enumerate() {
        for (start, rows) in state.by_period() {
            let of_period = all.entry(start).or_insert_with(|| states.map(|s| s.part(0..0)));
            if let Some(place) = of_period.get_mut(position) {
                *place = rows;
            }
        }
    }
    all
}

/// Runs of neighbouring rows that are equal in all columns.
pub(crate) fn runs<'a>(columns: impl Iterator<Item = &'a [i64]>, rows: usize) -> Vec<Range<usize>> {
    let mut begins = vec![false; rows];
    for column in columns {
        let neighbours = column.iter().zip(column.iter().skip(1));
        for (begin, (before, own)) in begins.iter_mut().skip(1).zip(neighbours) {
            *begin |= before != own;
        }
    }
    let mut runs = Vec::new();
    let mut start = 0;
    for (row, _) in begins.iter().enumerate().filter(|(_, begin)| **begin) {
        runs.push(start..row);
        start = row;
    }
    if start < rows {
        runs.push(start..rows);
    }
    runs
}

/// Where a finish puts its rows: adds the common columns before the metric's own.
///
/// Rows that come in the order of the table's keys need not be sorted, which is faster.
pub struct Rows<'a> {
    builder: &'a mut TableBuilder,
    /// The common columns' values, the first day of the period last.
    common: Vec<(&'a str, Value<'a>)>,
    /// The period of the row before.
    before: Option<Day>,
}

impl<'a> Rows<'a> {
    /// Rows of one value of a slice and one period length. `dimensions` are all dimensions of the
    /// run with their values; null where a dimension is not in the slice.
    #[must_use]
    pub fn new(
        builder: &'a mut TableBuilder,
        slice: &'a str,
        dimensions: &[(&'a str, Option<&'a str>)],
        period: Period,
    ) -> Self {
        let text = |value: Option<&'a str>| value.map_or(Value::Null, Value::Text);
        let mut common = vec![("slice", Value::Text(slice))];
        common.extend(dimensions.iter().map(|(name, value)| (*name, text(*value))));
        common.push(("period", Value::Text(period.name())));
        common.push(("period_start", Value::Null));
        Self { builder, common, before: None }
    }

    /// Appends one row: the first day of the period ([`NO_DAY`] for the whole history), and the
    /// metric's own columns in declared order.
    ///
    /// # Errors
    /// A bug of ours: the values do not fit the declared columns.
    pub fn push(&mut self, start: Day, values: &[(&str, Value<'_>)]) -> Result<(), Error> {
        if let Some((_, value)) = self.common.last_mut() {
            *value = if start == NO_DAY { Value::Null } else { Value::Date(start) };
        }
        let follows = match self.before.replace(start) {
            Some(before) if before == start => Follows::Beside,
            Some(before) if before > start => Follows::Unknown,
            _ => Follows::Later,
        };
        self.builder.push_parts(follows, &self.common, values)
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
