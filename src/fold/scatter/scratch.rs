//! Scattered rows as columns of a scratch file and back.
//!
//! A block has what is not rows as 64-bit words (what the columns' numbers stand for, where the
//! buckets begin), and the packed columns as they are. Invariant: what is read back unpacks to the
//! same rows as what was written.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, UInt8Type, UInt16Type, UInt32Type, UInt64Type};

use super::{Column, Packed, Scattered};
use crate::error::Error;
use crate::spill::Spillable;

/// Words that a column has beside its rows: what it is, `none`, `base`, `step`, and the one number
/// of all rows.
const WORDS: usize = 5;
const ABSENT: u64 = 0;
const SAME: u64 = 1;
const ROWS: u64 = 2;

impl Spillable for Scattered {
    fn unit(&self) -> usize {
        self.unit
    }

    fn held_bytes(&self) -> u64 {
        self.bytes() as u64
    }

    fn rows_of(&self, buckets: &Range<usize>) -> usize {
        self.rows_in(buckets).len()
    }

    fn into_columns(mut self, ranges: &[Range<usize>]) -> Result<Vec<Vec<RecordBatch>>, Error> {
        let columns = std::mem::take(&mut self.columns);
        let mut heads = vec![columns.len() as u64];
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for column in columns {
            let (kind, number) = match &column.packed {
                Packed::Absent => (ABSENT, 0),
                Packed::Same { number, .. } => (SAME, *number),
                _ => (ROWS, 0),
            };
            let (none, base, step) = (column.none, column.base, column.step);
            heads.extend([kind, none as u64, base as u64, step as u64, number]);
            arrays.extend(array(column.packed));
        }
        ranges.iter().map(|range| self.block(&heads, &arrays, range)).collect()
    }

    fn from_columns(
        unit: usize,
        buckets: Range<usize>,
        columns: &[RecordBatch],
    ) -> Result<Self, Error> {
        let broken = || Error::Bug("a block of scratch data is not what was written".into());
        let mut batches = columns.iter();
        let words = batches.next().and_then(|batch| batch.columns().first()).ok_or_else(broken)?;
        let words = words.as_primitive_opt::<UInt64Type>().ok_or_else(broken)?.values();
        let mut arrays = batches.next().map_or(&[][..], RecordBatch::columns).iter();
        let (count, words) = words.split_first().ok_or_else(broken)?;
        let (heads, offsets) =
            words.split_at_checked(*count as usize * WORDS).ok_or_else(broken)?;
        let rows = offsets.last().map_or(0, |end| *end as usize);
        let mut all = Vec::with_capacity(*count as usize);
        for head in heads.chunks_exact(WORDS) {
            let &[kind, none, base, step, number] = head else { return Err(broken()) };
            let packed = match kind {
                ABSENT => Packed::Absent,
                SAME => Packed::Same { rows, number },
                _ => arrays.next().and_then(packed).ok_or_else(broken)?,
            };
            all.push(Column { none: none as i64, base: base as i64, step: step as i64, packed });
        }
        let offsets = offsets.iter().map(|offset| *offset as u32).collect();
        Ok(Self { unit, first: buckets.start, offsets, columns: all })
    }
}

impl Scattered {
    /// The rows of a range of buckets.
    fn block(
        &self,
        heads: &[u64],
        arrays: &[ArrayRef],
        buckets: &Range<usize>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let rows = self.rows_in(buckets);
        let mut words = heads.to_vec();
        let from = buckets.start - self.first.min(buckets.start);
        let own = self.offsets.iter().skip(from).take(buckets.len() + 1);
        words.extend(own.map(|offset| u64::from(*offset) - rows.start as u64));
        let words: ArrayRef = Arc::new(UInt64Array::from(words));
        let mut batches = vec![named(vec![words])?];
        if !arrays.is_empty() {
            let slice = |array: &ArrayRef| array.slice(rows.start, rows.len());
            batches.push(named(arrays.iter().map(slice).collect())?);
        }
        Ok(batches)
    }
}

fn named(arrays: Vec<ArrayRef>) -> Result<RecordBatch, Error> {
    let columns = arrays.into_iter().enumerate().map(|(n, array)| (n.to_string(), array));
    RecordBatch::try_from_iter(columns).map_err(|e| Error::compute("a block of scratch data", e))
}

fn array(packed: Packed) -> Option<ArrayRef> {
    match packed {
        Packed::Absent | Packed::Same { .. } => None,
        Packed::U8(v) => Some(Arc::new(UInt8Array::from(v))),
        Packed::U16(v) => Some(Arc::new(UInt16Array::from(v))),
        Packed::U32(v) => Some(Arc::new(UInt32Array::from(v))),
        Packed::U64(v) => Some(Arc::new(UInt64Array::from(v))),
    }
}

fn packed(array: &ArrayRef) -> Option<Packed> {
    match array.data_type() {
        DataType::UInt8 => Some(Packed::U8(array.as_primitive::<UInt8Type>().values().to_vec())),
        DataType::UInt16 => Some(Packed::U16(array.as_primitive::<UInt16Type>().values().to_vec())),
        DataType::UInt32 => Some(Packed::U32(array.as_primitive::<UInt32Type>().values().to_vec())),
        DataType::UInt64 => Some(Packed::U64(array.as_primitive::<UInt64Type>().values().to_vec())),
        _ => None,
    }
}
