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
pub mod forecast;
pub mod funnel;
pub mod lifetime;
pub mod people;
pub mod pipeline;
pub mod process;
pub mod quality;
pub mod revenue;
mod view;
pub mod targets;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::ops::Range;

pub use self::customers::rules::{CustomerRules, TierBy, TierRule, Tiering};
pub use self::forecast::{Forecasting, NewDeals, Thresholds};
pub use self::lifetime::valuation::Valuation;
pub use self::targets::tiers::{CommissionPlan, CommissionTier, TierMethod};
pub use self::view::{RowView, TableView};
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
    &cycle::cycle_comparisons::METRIC,
    &pipeline::pipeline_snapshot::METRIC,
    &pipeline::pipeline_ages::METRIC,
    &pipeline::pipeline_waterfall::METRIC,
    &pipeline::pipeline_causes::METRIC,
    &pipeline::sales_velocity::METRIC,
    &lifetime::clv_cohorts::METRIC,
    &lifetime::clv_models::METRIC,
    &lifetime::clv_holdout::METRIC,
    &lifetime::customer_value::METRIC,
    &customers::customer_tiers::METRIC,
    &customers::tier_migration::METRIC,
    &customers::customer_growth::METRIC,
    &customers::growth_accounting::METRIC,
    &customers::cohort_retention::METRIC,
    &customers::retention_average::METRIC,
    &customers::repurchase::METRIC,
    &customers::churn::METRIC,
    &customers::concentration::METRIC,
    &customers::contract_retention::METRIC,
    &customers::satisfaction::METRIC,
    &customers::satisfaction_by_tier::METRIC,
    &customers::satisfaction_by_deal::METRIC,
    &customers::satisfaction_outcomes::METRIC,
    &acquisition::cac::METRIC,
    &people::rep_scorecard::METRIC,
    &people::rep_skills::METRIC,
    &targets::target_attainment::METRIC,
    &targets::target_contributions::METRIC,
    &targets::commission::METRIC,
    &targets::kpi_status::METRIC,
    &forecast::forecast::METRIC,
    &forecast::forecast_deals::METRIC,
    &forecast::forecast_backtest::METRIC,
    &forecast::triggers::METRIC,
    &process::process_variants::METRIC,
    &process::directly_follows::METRIC,
    &process::rework::METRIC,
    &process::windowed_funnel::METRIC,
    &quality::data_quality::METRIC,
];

/// Metrics that are split by dimensions only where the configuration asks it of the table: those
/// that fit models, because a fit costs the same for a slice of ten customers and for all, and those
/// whose states have nearly a row a purchase, those whose rows are owners, teams or deals already, and
/// those of paths, because a small slice has nearly as many as all deals.
static SPLIT_WHEN_ASKED: &[&Metric] = &[
    &lifetime::clv_models::METRIC,
    &lifetime::clv_holdout::METRIC,
    &customers::churn::METRIC,
    &customers::concentration::METRIC,
    &targets::target_attainment::METRIC,
    &targets::target_contributions::METRIC,
    &targets::commission::METRIC,
    &forecast::forecast::METRIC,
    &forecast::forecast_deals::METRIC,
    &forecast::forecast_backtest::METRIC,
    &process::process_variants::METRIC,
    &process::directly_follows::METRIC,
    &pipeline::pipeline_ages::METRIC,
];

/// Metrics whose finish sees all values of a slice at once, because it compares them with each other.
static TOGETHER: &[&Metric] = &[
    &cycle::cycle_comparisons::METRIC,
    &people::rep_scorecard::METRIC,
    &people::rep_skills::METRIC,
];

/// Metrics that are made only of slices by people or teams, whatever else there is to split by.
static ABOUT_PEOPLE: &[&Metric] = &[&people::rep_scorecard::METRIC, &people::rep_skills::METRIC];

/// Why a table about people is left out.
pub const NO_PEOPLE: &str = "it needs people: add owner_id, or a dimension from a look-up of owners \
                             such as \"users.team_id\", to [dimensions] columns and slices";

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

    /// Whether it is made only of slices by people or teams.
    #[must_use]
    pub fn is_about_people(&self) -> bool {
        ABOUT_PEOPLE.iter().any(|metric| std::ptr::eq(*metric, self))
    }

    /// Whether its finish sees all values of a slice at once, as [`Group::segments`].
    #[must_use]
    pub fn compares_values(&self) -> bool {
        TOGETHER.iter().any(|metric| std::ptr::eq(*metric, self))
    }
}

/// One additive state: a `GROUP BY` over one relation.
///
/// `sql` is `SELECT keys, SUM(…) AS … FROM relation [WHERE …] GROUP BY keys`, only with `COUNT(*)`,
/// `SUM`, `MIN` and `MAX` of relation columns or `CASE` expressions over them; how a column merges
/// follows from its function. The engine adds the slice's dimensions to the keys. A key named
/// `period` (or `cohort`) is a base period's first day and is rolled up to each configured period; a
/// key named `grain` restricts the state to the rows of the period length being finished instead. A
/// key named `ever_on` is a day, and its state is given to each period length as it is.
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
    /// So many variants of paths have a row of their own.
    pub variants_max: usize,
    /// The configured funnels, by their codes.
    pub funnels: Vec<FunnelNames>,
    /// Minor digits of the currency.
    pub money_scale: u8,
    /// By which model customers are valued, and how far ahead.
    pub clv: Valuation,
    /// How forecasts are made.
    pub forecast: Forecasting,
    /// When somebody should act.
    pub triggers: Thresholds,
    /// By which rules customers are judged.
    pub customers: CustomerRules,
    /// What of won amounts owners earn.
    pub commission: CommissionPlan,
    /// The names behind codes.
    pub dictionaries: Dictionaries,
}

/// A configured funnel as its table shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunnelNames {
    /// Its name.
    pub name: String,
    /// The names of its steps.
    pub steps: Vec<String>,
    /// The numbers, from 1, of those that may be left out.
    pub optional: Vec<i64>,
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
/// length; or for all values of the slice, where the metric compares them.
pub struct Group<'a> {
    /// The metric's states, in its order, each sorted by its keys in SQL order; none where
    /// `segments` has them.
    pub states: &'a [StateView<'a>],
    /// Every value of the slice, in order, where the metric compares them; else none.
    pub segments: &'a [Segment<'a>],
    /// The period length.
    pub period: Period,
    /// What else a finish may know.
    pub settings: &'a Settings,
}

/// One value of a slice among the others, such as one of the regions.
pub struct Segment<'a> {
    /// The names of the slice's dimensions in words; nothing for the total.
    pub value: String,
    /// Its states, as in [`Group::states`].
    pub states: Vec<StateView<'a>>,
}

/// Stands for null in the words of a slice's value.
pub const NO_VALUE: &str = "(none)";

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
    /// The dimensions of each of the group's segments.
    segments: &'a [Vec<(&'a str, Option<&'a str>)>],
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
        Self { builder, common, before: None, segments: &[] }
    }

    /// Rows of all values of a slice and one period length; each row is about the slice as a whole
    /// until [`Rows::turn_to`] says otherwise.
    #[must_use]
    pub fn among(
        builder: &'a mut TableBuilder,
        slice: &'a str,
        dimensions: &'a [String],
        segments: &'a [Vec<(&'a str, Option<&'a str>)>],
        period: Period,
    ) -> Self {
        let none: Vec<_> = dimensions.iter().map(|name| (name.as_str(), None)).collect();
        Self { segments, ..Self::new(builder, slice, &none, period) }
    }

    /// The rows that follow are about the segment of this place in the group, or with `None` about
    /// the slice as a whole.
    pub fn turn_to(&mut self, segment: Option<usize>) {
        let own = segment.and_then(|place| self.segments.get(place)).map_or(&[][..], Vec::as_slice);
        let dimensions = self.common.len().saturating_sub(3);
        for (at, (_, value)) in self.common.iter_mut().skip(1).take(dimensions).enumerate() {
            let name = own.get(at).and_then(|(_, name)| *name);
            *value = name.map_or(Value::Null, Value::Text);
        }
        // What comes next need not sort behind what came before.
        self.before = Some(Day::MAX);
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
