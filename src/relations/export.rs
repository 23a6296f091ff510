//! A relation as plain Arrow columns, names written out: what another program needs to compute the
//! same states from the same rows.
//!
//! It makes no numbers and writes no file. Invariant: row for row what the states are computed from.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int8Array, Int16Array, Int64Array, RecordBatch, StringArray,
};
use polars::prelude as pl;

use super::{Relation, Relations};
use crate::error::Error;

/// The relation as one batch: flags, small and large integers, days, and names as text.
///
/// Shape: the relation's rows and columns, in order.
///
/// # Errors
/// A bug of ours: a column of a type that no relation declares.
pub fn to_arrow(relations: &Relations, relation: Relation) -> Result<RecordBatch, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Bug(format!("exporting a relation: {e}"));
    let batch = relations
        .batches
        .get(&relation)
        .ok_or_else(|| Error::Bug(format!("there is no relation {:?}", relation.name())))?;
    let columns: Vec<(String, ArrayRef)> = batch
        .frame(&relations.dictionaries)?
        .columns()
        .iter()
        .map(|column| Ok((column.name().to_string(), array(column)?)))
        .collect::<Result<_, pl::PolarsError>>()
        .map_err(|e| failed(&e))?;
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| failed(&e))
}

fn array(column: &pl::Column) -> Result<ArrayRef, pl::PolarsError> {
    let series = column.as_materialized_series();
    Ok(match series.dtype() {
        pl::DataType::Int8 => Arc::new(series.i8()?.iter().collect::<Int8Array>()),
        pl::DataType::Int16 => Arc::new(series.i16()?.iter().collect::<Int16Array>()),
        pl::DataType::Date => {
            let days = series.to_physical_repr();
            Arc::new(days.i32()?.iter().collect::<Date32Array>())
        }
        pl::DataType::Int64 => Arc::new(series.i64()?.iter().collect::<Int64Array>()),
        _ => {
            let names = series.cast(&pl::DataType::String)?;
            Arc::new(names.str()?.iter().collect::<StringArray>())
        }
    })
}
