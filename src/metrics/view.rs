//! Finished rows by column name, as laws and other tables read them.
//!
//! It changes nothing and knows no metric.

use std::cell::Cell;

use arrow::array::RecordBatch;

use crate::table::ColumnSpec;
use crate::time::Day;

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
