//! What the configuration wants of finished tables: commissions by tiers, and KPIs, which are judged
//! by the rows that are written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};

use crate::config::{
    Commission, CommissionMethod, Config, Direction, FROM_MAX, Kpi, Resolved, millionths,
};
use crate::engine::Finished;
use crate::error::Error;
use crate::metrics::targets::{commission, kpi_status};
use crate::metrics::{self, CommissionPlan, CommissionTier, TableView, TierMethod, common_columns};
use crate::table::{ColumnSpec, Dtype, Role, Table, TableBuilder, Value};
use crate::time::Day;

/// The tables that the configuration gives no reason for, each with what is missing.
pub(super) fn unasked(config: &Config) -> Vec<(&'static str, String)> {
    let mut unasked = Vec::new();
    if config.commission.tiers.is_empty() {
        let why = "it needs tiers: add [commission] tiers = [{ from = 0.0, rate = 0.05 }]";
        unasked.push((commission::METRIC.name, why.to_owned()));
    }
    if config.kpi.is_empty() {
        let why = "it needs KPIs: add [kpi.NAME] with table, column and target";
        unasked.push((kpi_status::METRIC.name, why.to_owned()));
    }
    unasked
}

/// The tiers as the metric is told; they were checked when the configuration was read.
pub(super) fn plan(commission: &Commission) -> CommissionPlan {
    let tier = |tier: &crate::config::Tier| {
        let (from_ppm, rate_ppm) = (millionths(tier.from, FROM_MAX)?, millionths(tier.rate, 1.0)?);
        Some(CommissionTier { from_ppm, rate_ppm })
    };
    CommissionPlan {
        period: commission.period,
        tiers: commission.tiers.iter().filter_map(tier).collect(),
        method: match commission.method {
            CommissionMethod::Marginal => TierMethod::Marginal,
            CommissionMethod::Whole => TierMethod::Whole,
        },
    }
}

/// The KPIs while tables are finished, in any order and on any thread.
pub(super) struct Goals<'a> {
    resolved: &'a Resolved,
    rows: Mutex<Vec<Judged<'a>>>,
}

impl<'a> Goals<'a> {
    pub(super) fn new(resolved: &'a Resolved) -> Self {
        Self { resolved, rows: Mutex::default() }
    }

    /// Judges the rows of a finished table that KPIs ask about.
    ///
    /// # Errors
    /// It cannot be read back, or has no such column.
    pub(super) fn note(&self, table: &Finished) -> Result<(), Error> {
        for (kpi, goal) in self.resolved.config.kpi.iter().filter(|(_, g)| g.table == table.name())
        {
            let found = judge(kpi, goal, table, self.resolved)?;
            self.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
        Ok(())
    }

    /// The table of KPIs, and which of them no row was found for.
    ///
    /// # Errors
    /// An identity that does not hold.
    pub(super) fn table(self) -> Result<(Table, Vec<String>), Error> {
        let config = &self.resolved.config;
        let rows = self.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_lost = |(kpi, _): &(&String, &Kpi)| rows.iter().all(|row| row.kpi != kpi.as_str());
        let lost = config.kpi.iter().filter(is_lost);
        let lost = lost.map(|(kpi, goal)| {
            format!("kpi.{kpi}: the table {:?} was not made, or has no such row", goal.table)
        });
        let lost = lost.collect();
        Ok((table(&config.dimensions.columns, self.resolved.currency.scale, &rows)?, lost))
    }

    /// Puts the table of KPIs in its place among all tables; gives what could not be judged.
    ///
    /// # Errors
    /// As [`Self::note`] and [`Self::table`].
    pub(super) fn fill(self, tables: &mut [Finished]) -> Result<Vec<String>, Error> {
        let name = kpi_status::METRIC.name;
        let Some(place) = tables.iter().position(|table| table.name() == name) else {
            return Ok(Vec::new());
        };
        tables.iter().try_for_each(|table| self.note(table))?;
        let (made, lost) = self.table()?;
        if let Some(slot) = tables.get_mut(place) {
            *slot = made.into();
        }
        Ok(lost)
    }
}

/// A row of a table that a KPI asks about.
struct Judged<'a> {
    kpi: &'a str,
    goal: &'a Kpi,
    /// The values of the columns that every table begins with, as text; a day as such.
    common: BTreeMap<String, String>,
    start: Option<Day>,
    keys: String,
    unit: &'static str,
    value: Option<f64>,
    low_n: bool,
}

fn judge<'a>(
    kpi: &'a str,
    goal: &'a Kpi,
    table: &Finished,
    resolved: &Resolved,
) -> Result<Vec<Judged<'a>>, Error> {
    let mut rows = Vec::new();
    let common = common_columns(&resolved.config.dimensions.columns);
    let specs = table.specs();
    let Some(column) = specs.iter().find(|spec| spec.name == goal.column) else {
        return Err(Error::Config(vec![format!(
            "kpi.{kpi}.column: the table {:?} has no column {:?}",
            goal.table, goal.column
        )]));
    };
    for batch in table.blocks() {
        let batch = batch?;
        let view = TableView::new(specs, &batch);
        for (at, row) in view.rows().enumerate() {
            let cell = |spec: &&ColumnSpec| Some((spec.name.to_string(), text(&batch, spec, at)?));
            let keys = specs.iter().filter(|spec| spec.role == Role::Key);
            let keys: BTreeMap<String, String> = keys.clone().filter_map(|s| cell(&s)).collect();
            if !goal.rows.iter().all(|(name, wanted)| keys.get(name) == Some(wanted)) {
                continue;
            }
            let is_common = |name: &String| common.iter().any(|spec| spec.name == name.as_str());
            let (common, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
                keys.into_iter().partition(|(name, _)| is_common(name));
            let own: Vec<String> = own.iter().map(|(name, v)| format!("{name}={v}")).collect();
            let value = match column.dtype {
                Dtype::Int => row.int(&goal.column).map(|n| n as f64),
                Dtype::Money => row
                    .money(&goal.column)
                    .map(|minor| minor as f64 / 10_f64.powi(i32::from(resolved.currency.scale))),
                _ => row.float(&goal.column),
            };
            let start = row.date("period_start");
            let low_n = row.bool("low_n") == Some(true);
            let (keys, unit) = (own.join("; "), column.unit);
            rows.push(Judged { kpi, goal, common, start, keys, unit, value, low_n });
        }
    }
    Ok(rows)
}

/// A cell as text; `None` where it is null.
fn text(batch: &RecordBatch, spec: &ColumnSpec, row: usize) -> Option<String> {
    let column: &ArrayRef = batch.column_by_name(&spec.name)?;
    if column.is_null(row) {
        return None;
    }
    arrow::util::display::array_value_to_string(column, row).ok()
}

impl Judged<'_> {
    fn status(&self) -> &'static str {
        let (target, tolerance) = (self.goal.target, self.goal.tolerance);
        let Some(value) = self.value else { return "unknown" };
        // How far it is on the wrong side.
        let short = match self.goal.direction {
            Direction::AtLeast => target - value,
            Direction::AtMost => value - target,
        };
        match short {
            short if short <= 0.0 => "met",
            short if short <= tolerance * target.abs() => "near",
            _ => "missed",
        }
    }

    fn push(&self, dimensions: &[String], builder: &mut TableBuilder) -> Result<(), Error> {
        let Kpi { table, column, target, direction, .. } = self.goal;
        let common = |name: &str| {
            self.common.get(name).map_or(Value::Null, |text| Value::Text(text.as_str()))
        };
        let mut values = vec![("slice", common("slice"))];
        values.extend(dimensions.iter().map(|name| (name.as_str(), common(name))));
        let share = self.value.filter(|_| target.abs() > 0.0).map(|value| value / target);
        values.extend([
            ("period", common("period")),
            ("period_start", self.start.map_or(Value::Null, Value::Date)),
            ("kpi", Value::Text(self.kpi)),
            ("row_keys", Value::Text(&self.keys)),
            ("table_name", Value::Text(table)),
            ("column_name", Value::Text(column)),
            ("value_unit", Value::Text(self.unit)),
            ("value", Value::float(self.value)),
            ("target", Value::Float(*target)),
            (
                "direction",
                Value::Text(match direction {
                    Direction::AtLeast => "at_least",
                    Direction::AtMost => "at_most",
                }),
            ),
            ("gap", Value::float(self.value.map(|value| target - value))),
            ("attainment", Value::float(share)),
            ("status", Value::Text(self.status())),
            ("low_n", Value::Bool(self.low_n)),
        ]);
        builder.push(&values)
    }
}

fn table(dimensions: &[String], scale: u8, rows: &[Judged<'_>]) -> Result<Table, Error> {
    let metric = &kpi_status::METRIC;
    let mut specs = common_columns(dimensions);
    specs.extend_from_slice(metric.output);
    let mut builder = TableBuilder::new(metric.name, specs.clone(), scale);
    rows.iter().try_for_each(|row| row.push(dimensions, &mut builder))?;
    let table = builder.finish()?;
    for batch in &table.batches {
        for row in TableView::new(&specs, batch).rows() {
            if let Some(law) = metric.identities.iter().find(|law| !(law.holds)(&row)) {
                return Err(Error::IdentityBroken {
                    table: metric.name.into(),
                    identity: law.claim.into(),
                    place: row.keys_text(),
                });
            }
        }
    }
    Ok(table)
}

/// Whether a metric is to be made: a table that the configuration gives no reason for is not.
pub(super) fn is_asked(config: &Config, metric: &metrics::Metric) -> bool {
    unasked(config).iter().all(|(name, _)| *name != metric.name)
}
