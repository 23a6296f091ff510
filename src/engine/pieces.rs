//! A finished table that is written while its rows are made: sorted pieces in a scratch file, merged
//! a block at a time.
//!
//! Invariant: the merged rows are those that a table in memory would have, in the same order.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};

use crate::error::Error;
use crate::spill::{Extent, SpillFile};
use crate::table::{self, ColumnSpec, Seal, key_columns, sort_by_keys};

/// Rows in a block of a piece: few, because there is one of each piece while they are merged.
const PIECE_ROWS: usize = 1 << 11;

/// Pieces merged at a time. More are merged to fewer first.
const PIECES_AT_ONCE: usize = 24;

/// One sorted piece: its blocks.
type Piece = Vec<Extent>;

/// The pieces of one table.
pub(super) struct Pieces {
    what: String,
    specs: Vec<ColumnSpec>,
    file: Arc<SpillFile>,
    pieces: Arc<Mutex<Vec<Piece>>>,
}

impl Pieces {
    /// No pieces of a table.
    pub(super) fn new(name: &str, specs: &[ColumnSpec], file: &Arc<SpillFile>) -> Self {
        let what = format!("table {name:?}, merging its rows");
        Self { what, specs: specs.to_vec(), file: file.clone(), pieces: Arc::default() }
    }

    /// Takes sorted rows from a builder.
    pub(super) fn seal(&self) -> Seal {
        let (file, pieces) = (self.file.clone(), self.pieces.clone());
        Box::new(move |batch| {
            let mut piece = Piece::new();
            write(&batch, &file, &mut piece)?;
            pieces.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
            Ok(())
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All rows in order, some at a time.
    pub(super) fn merge(
        self,
        mut take: impl FnMut(RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut pieces =
            std::mem::take(&mut *self.pieces.lock().unwrap_or_else(PoisonError::into_inner));
        while pieces.len() > PIECES_AT_ONCE {
            let mut fewer = Vec::with_capacity(pieces.len().div_ceil(PIECES_AT_ONCE));
            for some in pieces.chunks(PIECES_AT_ONCE) {
                let mut piece = Piece::new();
                self.merge_some(some, &mut |batch| write(&batch, &self.file, &mut piece))?;
                fewer.push(piece);
            }
            pieces = fewer;
        }
        self.merge_some(&pieces, &mut take)
    }

    fn merge_some(
        &self,
        pieces: &[Piece],
        take: &mut dyn FnMut(RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let failed = |e: ArrowError| Error::compute(self.what.clone(), e);
        let mut cursors: Vec<Cursor<'_>> = pieces.iter().map(|p| Cursor::new(p)).collect();
        let mut converter: Option<RowConverter> = None;
        loop {
            for cursor in &mut cursors {
                cursor.fill(&self.file, &self.specs, &mut converter, &failed)?;
            }
            cursors.retain(|cursor| cursor.block.is_some());
            if cursors.is_empty() {
                return Ok(());
            }
            // No later row of any piece sorts before the least end of a block that others follow.
            let bound = cursors.iter().filter_map(Cursor::end).min();
            let parts: Vec<RecordBatch> =
                cursors.iter_mut().filter_map(|cursor| cursor.until(bound.as_ref())).collect();
            let Some(first) = parts.first() else {
                return Err(Error::Bug(format!("{}: no piece goes on", self.what)));
            };
            let rows = match parts.as_slice() {
                [only] => only.clone(),
                _ => concat_batches(&first.schema(), &parts)
                    .and_then(|all| sort_by_keys(&all, &self.specs))
                    .map_err(failed)?,
            };
            take(rows)?;
        }
    }
}

/// Writes rows block by block.
fn write(batch: &RecordBatch, file: &SpillFile, piece: &mut Piece) -> Result<(), Error> {
    for begin in (0..batch.num_rows()).step_by(PIECE_ROWS) {
        let block = batch.slice(begin, PIECE_ROWS.min(batch.num_rows() - begin));
        piece.push(file.write(&[block])?);
    }
    Ok(())
}

/// A place in a piece.
struct Cursor<'a> {
    rest: &'a [Extent],
    block: Option<Block>,
}

/// A block with its keys, and how many of its rows have been taken.
struct Block {
    batch: RecordBatch,
    keys: Rows,
    taken: usize,
}

impl<'a> Cursor<'a> {
    fn new(piece: &'a [Extent]) -> Self {
        Self { rest: piece, block: None }
    }

    fn fill(
        &mut self,
        file: &SpillFile,
        specs: &[ColumnSpec],
        converter: &mut Option<RowConverter>,
        failed: &impl Fn(ArrowError) -> Error,
    ) -> Result<(), Error> {
        if self.block.is_some() {
            return Ok(());
        }
        let Some((next, rest)) = self.rest.split_first() else { return Ok(()) };
        self.rest = rest;
        let batch = file.read(*next)?.into_iter().next();
        let batch = batch.ok_or_else(|| Error::Bug("a piece of a table without rows".into()))?;
        let columns = key_columns(&batch, specs);
        let converter = match converter {
            Some(converter) => converter,
            None => {
                let fields = columns.iter().map(|c| SortField::new(c.data_type().clone()));
                converter.insert(RowConverter::new(fields.collect()).map_err(failed)?)
            }
        };
        let keys = converter.convert_columns(&columns).map_err(failed)?;
        self.block = Some(Block { batch, keys, taken: 0 });
        Ok(())
    }

    /// The last key of the block, if others follow.
    fn end(&self) -> Option<OwnedRow> {
        let block = self.block.as_ref().filter(|_| !self.rest.is_empty())?;
        let last = block.keys.num_rows().checked_sub(1)?;
        Some(block.keys.row(last).owned())
    }

    /// Takes the rows up to a key.
    fn until(&mut self, bound: Option<&OwnedRow>) -> Option<RecordBatch> {
        let block = self.block.as_mut()?;
        let rows = block.batch.num_rows();
        let (mut low, mut high) = (block.taken, rows);
        while let Some(bound) = bound
            && low < high
        {
            let middle = low + (high - low) / 2;
            if block.keys.row(middle) <= bound.row() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let end = if bound.is_some() { low } else { rows };
        let part = block.batch.slice(block.taken, end - block.taken);
        block.taken = end;
        if end == rows {
            self.block = None;
        }
        (part.num_rows() > 0).then_some(part)
    }
}

/// Cuts rows into blocks of one length, but for the last.
pub(super) struct Recut {
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    rows: usize,
}

impl Recut {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, held: Vec::new(), rows: 0 }
    }

    /// Adds rows, and gives the blocks that are complete, or all that is left at the end.
    pub(super) fn push(
        &mut self,
        more: Option<RecordBatch>,
        mut take: impl FnMut(RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_end = more.is_none();
        self.rows += more.as_ref().map_or(0, RecordBatch::num_rows);
        self.held.extend(more);
        if self.rows == 0 || (self.rows < table::BLOCK_ROWS && !is_end) {
            return Ok(());
        }
        let all = concat_batches(&self.schema, &self.held)
            .map_err(|e| Error::compute("the blocks of a table", e))?;
        let complete = if is_end { self.rows } else { self.rows - self.rows % table::BLOCK_ROWS };
        for begin in (0..complete).step_by(table::BLOCK_ROWS) {
            take(all.slice(begin, table::BLOCK_ROWS.min(complete - begin)))?;
        }
        self.rows -= complete;
        self.held.clear();
        if self.rows > 0 {
            self.held.push(all.slice(complete, self.rows));
        }
        Ok(())
    }
}
