//! Metrics of the user's own: one SQL aggregation over one relation, its keys and sums as a table.
//!
//! They get the same slices, periods and merge rules as the built-in ones. Ratios are not offered:
//! they do not add up, and can be taken where the table is read.

use super::expression::is_money;
use super::merge::Merge;
use super::sql::StateQuery;
use crate::config::CustomMetric;
use crate::error::{Error, nearest_names};
use crate::metrics::{Group, NO_KEY, Rows, StateView, period_start};
use crate::relations::{Kind, Relation};
use crate::table::{ColumnSpec, Dtype, Value};
use crate::time::{Day, NO_DAY};

/// The key that becomes the common column `period_start`.
const PERIOD: &str = "period";
/// The key that selects the rows of one period length.
const GRAIN: &str = "grain";
/// Relations a metric may read; the quality ledger has a table of its own.
const READABLE: [Relation; 21] = [
    Relation::Visits,
    Relation::Deals,
    Relation::StageEntries,
    Relation::Follows,
    Relation::FunnelSteps,
    Relation::Bookings,
    Relation::PipelineStock,
    Relation::PipelineFlows,
    Relation::Orders,
    Relation::Customers,
    Relation::CustomerPeriods,
    Relation::Purchases,
    Relation::Credits,
    Relation::Payments,
    Relation::Spend,
    Relation::Targets,
    Relation::Surveys,
    Relation::SurveyWaves,
    Relation::Touches,
    Relation::Contracts,
    Relation::ContractPeriods,
];

/// The columns of a custom table and what stands in them.
#[derive(Debug)]
pub(crate) struct CustomTable {
    pub(crate) output: Vec<ColumnSpec>,
    cells: Vec<Cell>,
}

/// Where one column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// A key that is a code of a run's dictionary.
    Dictionary(String, String),
    /// A key that is a position in a fixed list.
    Listed(String, &'static [&'static str]),
    /// A key that is a day.
    Day(String),
    /// A key that is a number.
    Number(String),
    /// An additive count or number.
    Value(String),
    /// An additive amount.
    Money(String),
    /// The least or greatest day.
    ValueDay(String),
}

impl CustomTable {
    /// Reads a definition; every way in which it cannot be used is an error that names it.
    pub(crate) fn read(
        definition: &CustomMetric,
        dimensions: &[String],
    ) -> Result<(StateQuery, Self), Error> {
        let what = || format!("metric {:?}", definition.name);
        check_name(&definition.name)?;
        let relation = READABLE.into_iter().find(|r| r.name() == definition.relation);
        let relation = relation.ok_or_else(|| Error::UnknownName {
            what: "relation",
            name: definition.relation.clone(),
            nearest: nearest_names(&definition.relation, READABLE.iter().map(|r| r.name())),
        })?;
        let query = StateQuery::parse(relation, &definition.sql, dimensions)
            .map_err(|refusal| refusal.into_error(what()))?;
        let mut table = Self { output: Vec::new(), cells: Vec::new() };
        let plain = query.keys.iter().filter(|k| k.name != PERIOD && k.name != GRAIN);
        for key in plain {
            let name = key.name.clone();
            let cell = match key.kind {
                Some(Kind::Stage) => Cell::Dictionary(name, "stage".into()),
                Some(Kind::Dictionary("dimension")) => {
                    Cell::Dictionary(name, key.expr.to_string().replace('"', ""))
                }
                Some(Kind::Dictionary(dictionary)) => Cell::Dictionary(name, dictionary.into()),
                Some(Kind::Name(names)) => Cell::Listed(name, names),
                Some(Kind::Day) => Cell::Day(name),
                Some(Kind::Flag | Kind::Small | Kind::Int) | None => Cell::Number(name),
            };
            table.add(cell, &key.name, &format!("Key: {}.", key.expr));
        }
        for value in &query.values {
            let name = value.name.clone();
            let argument = value.argument.as_ref();
            let is_day = argument.is_some_and(|e| {
                query
                    .relation
                    .columns()
                    .iter()
                    .any(|c| c.kind == Kind::Day && super::expression::is_column(e, c.name))
            });
            let cell = match argument {
                _ if is_day => Cell::ValueDay(name),
                Some(expr) if is_money(expr) => Cell::Money(name),
                _ => Cell::Value(name),
            };
            let function = match (argument, value.merge) {
                (None, _) => "COUNT(*)".to_owned(),
                (Some(expr), Merge::Sum) => format!("SUM({expr})"),
                (Some(expr), Merge::Min) => format!("MIN({expr})"),
                (Some(expr), Merge::Max) => format!("MAX({expr})"),
            };
            table.add(cell, &value.name, &format!("{function} of {}.", relation.name()));
        }
        Ok((query, table))
    }

    fn add(&mut self, cell: Cell, name: &str, meaning: &str) {
        let (dtype, unit) = match &cell {
            Cell::Dictionary(..) | Cell::Listed(..) => (Dtype::Text, "name"),
            Cell::Day(_) | Cell::ValueDay(_) => (Dtype::Date, "date"),
            Cell::Number(_) | Cell::Value(_) => (Dtype::Int, "number"),
            Cell::Money(_) => (Dtype::Money, "currency"),
        };
        let spec = ColumnSpec {
            name: name.to_owned().into(),
            dtype,
            unit,
            meaning: meaning.to_owned().into(),
            ..ColumnSpec::text("", "").nullable()
        };
        let is_key = !matches!(cell, Cell::Value(_) | Cell::Money(_) | Cell::ValueDay(_));
        self.output.push(if is_key { spec.key() } else { spec });
        self.cells.push(cell);
    }

    /// Keys and sums as they are, one row a group.
    pub(crate) fn finish(&self, group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let [state] = group.states else {
            return Err(Error::Bug("a custom metric has one state".into()));
        };
        let periods = state.key(PERIOD).ok();
        for row in 0..state.rows() {
            let start = periods.and_then(|p| p.get(row)).map_or(NO_DAY, |key| period_start(*key));
            let mut values = Vec::with_capacity(self.cells.len());
            for (cell, spec) in self.cells.iter().zip(&self.output) {
                values.push((spec.name.as_ref(), cell.read(state, row, group)?));
            }
            rows.push(start, &values)?;
        }
        Ok(())
    }
}

impl Cell {
    fn read<'a>(
        &self,
        state: &StateView<'_>,
        row: usize,
        group: &Group<'a>,
    ) -> Result<Value<'a>, Error> {
        let of = |column: &[i64]| column.get(row).copied().filter(|v| *v != NO_KEY);
        let day = |v: i64| Day::try_from(v).ok().map_or(Value::Null, Value::Date);
        Ok(match self {
            Self::Dictionary(key, dictionary) => {
                let dictionaries = &group.settings.dictionaries;
                let name = of(state.key(key)?).and_then(|c| dictionaries.name(dictionary, c));
                name.map_or(Value::Null, Value::Text)
            }
            Self::Listed(key, names) => of(state.key(key)?)
                .and_then(|code| names.get(usize::try_from(code).ok()?))
                .map_or(Value::Null, |name| Value::Text(name)),
            Self::Day(key) => of(state.key(key)?).map_or(Value::Null, day),
            Self::Number(key) => Value::int(of(state.key(key)?)),
            Self::Value(name) => Value::int(of(state.value(name)?)),
            Self::Money(name) => Value::money(of(state.value(name)?)),
            Self::ValueDay(name) => of(state.value(name)?).map_or(Value::Null, day),
        })
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let mut chars = name.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good {
        return Ok(());
    }
    let problem = format!("the metric name {name:?} is not in snake_case (a-z, 0-9 and _)");
    Err(Error::Config(vec![problem]))
}
