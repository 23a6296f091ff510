//! Selected rows of a written table with typed access by name, so that a table of another version
//! loses a section of the page rather than the whole page.

use polars::prelude as pl;

use super::cells;
use super::terminal::select;
use crate::error::Error;
use crate::sink::FinishedRun;

/// Rows of one table.
#[derive(Debug)]
pub(super) struct Sheet {
    frame: pl::DataFrame,
}

impl Sheet {
    /// The rows of a table that a condition selects, in the order of the file; nothing where the
    /// run has no such table, the table has no such columns, or no row is selected.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(
        run: &FinishedRun,
        table: &str,
        condition: &str,
    ) -> Result<Option<Self>, Error> {
        let Some(entry) = run.table(table) else { return Ok(None) };
        let rows = match select(run, entry, Some(condition)) {
            Ok(rows) => rows,
            Err(problem @ Error::Sql { .. }) => {
                tracing::debug!(table, %problem, "left out of the page");
                return Ok(None);
            }
            Err(other) => return Err(other),
        };
        let failed = |e| Error::compute(format!("table {table:?} for the terminal"), e);
        let frame = rows.collect().map_err(failed)?;
        Ok((frame.height() > 0).then_some(Self { frame }))
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.frame.height()
    }

    fn value(&self, row: usize, name: &str) -> Option<pl::AnyValue<'_>> {
        let value = self.frame.column(name).ok()?.get(row).ok()?;
        (value != pl::AnyValue::Null).then_some(value)
    }

    /// A count.
    pub(super) fn int(&self, row: usize, name: &str) -> Option<i64> {
        self.value(row, name)?.extract::<i64>()
    }

    /// Any number as a float, for the length of a bar; money in whole currency.
    pub(super) fn float(&self, row: usize, name: &str) -> Option<f64> {
        match self.value(row, name)? {
            pl::AnyValue::Decimal(units, _, scale) => {
                Some(units as f64 / 10_f64.powi(i32::try_from(scale).ok()?))
            }
            other => other.extract::<f64>(),
        }
    }

    /// A flag.
    pub(super) fn flag(&self, row: usize, name: &str) -> Option<bool> {
        match self.value(row, name)? {
            pl::AnyValue::Boolean(flag) => Some(flag),
            _ => None,
        }
    }

    /// Any value as it is shown.
    pub(super) fn text(&self, row: usize, name: &str) -> Option<String> {
        Some(cells::text(&self.value(row, name)?))
    }
}
