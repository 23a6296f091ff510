//! Rows kept as they come, packed into a word or two each, and grouped only at the end.
//!
//! Where nearly every row is a group of its own, a hash table is only in the way: it is as large as
//! the rows, once for each slice, and every row waits for memory. Kept rows are there once for all
//! slices. Their keys are sorted once, a digit at a time, and each slice then takes one more pass
//! over its dimensions' few bits.
//!
//! Invariant: the groups of a slice are those that [`Groups`] would have, with the same sums.

use super::{Field, Groups, NULL, range};
use crate::engine::merge::{Merge, sort_bits};

/// Words of a piece: pieces are not copied when more come.
const PIECE_WORDS: usize = 1 << 16;

/// Kept rows of one state: dimensions of all slices, keys, and values, in columns of this order.
#[derive(Debug)]
pub(in super::super) struct Kept {
    /// Packs a block; it has no groups.
    packer: Groups,
    segments: Vec<Segment>,
    /// The least and the greatest value of each column; the packer leaves room around them.
    bounds: Vec<Option<(i64, i64)>>,
    rows: usize,
}

/// Rows of one layout; there is another whenever a value did not fit.
#[derive(Debug)]
struct Segment {
    fields: Vec<Field>,
    words: usize,
    pieces: Vec<Vec<u64>>,
}

impl Kept {
    /// No rows. `names` says of each column how many names its codes can be, where it has codes.
    pub(in super::super) fn new(names: &[Option<usize>]) -> Self {
        let packer = Groups::new(names, Vec::new());
        Self { packer, segments: Vec::new(), bounds: vec![None; names.len()], rows: 0 }
    }

    /// Number of rows.
    pub(in super::super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(in super::super) fn columns(&self) -> usize {
        self.packer.fields.len()
    }

    /// Keeps the rows of a block, or the picked ones of it.
    pub(in super::super) fn add(&mut self, columns: &[&[i64]], rows: Option<&[u32]>, block: usize) {
        self.packer.fit(columns);
        self.packer.pack(columns, block);
        for (bounds, column) in self.bounds.iter_mut().zip(columns) {
            *bounds = wider(*bounds, range(column));
        }
        let (fields, words) = (&self.packer.fields, self.packer.words);
        if self.segments.last().is_none_or(|last| last.fields != *fields) {
            let segment = Segment { fields: fields.clone(), words, pieces: Vec::new() };
            self.segments.push(segment);
        }
        let own = rows.map_or(block, <[u32]>::len);
        self.rows += own;
        let Some(segment) = self.segments.last_mut() else { return };
        let is_full = |piece: &Vec<u64>| piece.len() + own * words > piece.capacity();
        if segment.pieces.last().is_none_or(is_full) {
            segment.pieces.push(Vec::with_capacity(PIECE_WORDS.max(own * words)));
        }
        let Some(piece) = segment.pieces.last_mut() else { return };
        let packed = self.packer.packed.as_slice();
        match rows {
            None => piece.extend_from_slice(packed),
            Some(rows) => {
                let row =
                    |row: &u32| packed.get(*row as usize * words..(*row as usize + 1) * words);
                piece.extend(rows.iter().filter_map(row).flatten());
            }
        }
    }

    /// Gives all rows back as columns, some at a time.
    pub(in super::super) fn pour<E>(
        &self,
        at_once: usize,
        mut take: impl FnMut(&[Vec<i64>], usize) -> Result<(), E>,
    ) -> Result<(), E> {
        for segment in &self.segments {
            let pieces = segment.pieces.iter();
            for some in pieces.flat_map(|piece| piece.chunks(at_once * segment.words)) {
                let column = |field: &Field| {
                    some.chunks_exact(segment.words).map(|row| field.unpack(row)).collect()
                };
                let columns: Vec<Vec<i64>> = segment.fields.iter().map(column).collect();
                take(&columns, some.len() / segment.words)?;
            }
        }
        Ok(())
    }
}

/// The kept rows of every thread in one layout, sorted by their keys.
#[derive(Debug)]
pub(in super::super) struct Sorted {
    fields: Vec<Field>,
    /// The position of the first key, and of the first value.
    keys: std::ops::Range<usize>,
    rows: Vec<u64>,
}

/// A slice's groups, in order: columns of its dimensions and keys, and of its values.
pub(in super::super) type Columns = (Vec<Vec<i64>>, Vec<Vec<i64>>);

impl Sorted {
    /// Sorts the rows by the keys, which are the columns from the one position to the other. `None`
    /// where a row needs more than a word.
    pub(in super::super) fn of(all: &[Kept], keys: std::ops::Range<usize>) -> Option<Self> {
        let fields = common_layout(all)?;
        let mut rows = vec![super::TAKEN; all.iter().map(Kept::rows).sum()];
        let mut left = rows.as_mut_slice();
        for segment in all.iter().flat_map(|kept| &kept.segments) {
            for piece in &segment.pieces {
                let (own, rest) = left.split_at_mut_checked(piece.len() / segment.words)?;
                for (from, to) in segment.fields.iter().zip(&fields) {
                    from.translate(piece.chunks_exact(segment.words), to, own);
                }
                left = rest;
            }
        }
        let mut sorted = Self { fields, keys, rows };
        let own = sorted.fields.get(sorted.keys.clone()).unwrap_or_default();
        let bits = own.iter().map(|field| field.bits).sum();
        let low = own.last().map_or(0, |field| field.shift);
        sort_bits(&mut sorted.rows, low, bits);
        Some(sorted)
    }

    /// The groups of a slice. `dimensions` are the positions of its dimensions; `values` says how
    /// each value merges, and the position of its column, or nothing where rows are counted.
    ///
    /// Errors: the position of a value whose sum leaves 64 bits.
    pub(in super::super) fn groups(
        &self,
        dimensions: &[usize],
        values: &[(Merge, Option<usize>)],
    ) -> Result<Columns, super::Overflow> {
        let field = |position: &usize| self.fields.get(*position).copied();
        let own: Vec<Field> = dimensions.iter().filter_map(field).collect();
        let mut rows = self.rows.clone();
        for field in own.iter().rev() {
            sort_bits(&mut rows, field.shift, field.bits);
        }
        let keys = self.fields.get(self.keys.clone()).unwrap_or_default();
        let own: Vec<Field> = own.iter().chain(keys).copied().collect();
        let mask = own.iter().fold(0, |mask, field| mask | field.mask());
        let mut ends = Vec::new();
        for ((row, next), end) in rows.iter().zip(rows.iter().skip(1)).zip(1_u32..) {
            if (row ^ next) & mask != 0 {
                ends.push(end);
            }
        }
        ends.extend((!rows.is_empty()).then_some(rows.len() as u32));
        let last = |end: &u32| rows.get(*end as usize - 1..*end as usize).unwrap_or_default();
        let column = |field: &Field| ends.iter().map(|end| field.unpack(last(end))).collect();
        let keys = own.iter().map(column).collect();
        let mut merged = Vec::with_capacity(values.len());
        for (position, (merge, value)) in values.iter().enumerate() {
            let field = value.as_ref().and_then(field);
            let all = merged_values(&rows, &ends, *merge, field);
            merged.push(all.ok_or(super::Overflow(position))?);
        }
        Ok((keys, merged))
    }
}

/// The value of every group: the rows up to each end, from the end before.
fn merged_values(
    rows: &[u64],
    ends: &[u32],
    merge: Merge,
    field: Option<Field>,
) -> Option<Vec<i64>> {
    let begins = [0].into_iter().chain(ends.iter().copied());
    let runs = begins.zip(ends).map(|(begin, end)| begin as usize..*end as usize);
    let Some(field) = field else { return Some(runs.map(|run| run.len() as i64).collect()) };
    let of_run = |run: std::ops::Range<usize>| {
        let mut values = rows.get(run)?.chunks_exact(1).map(|row| field.unpack(row));
        if merge == Merge::Sum {
            values.try_fold(0_i64, |sum, v| sum.checked_add(if v == NULL { 0 } else { v }))
        } else {
            values.try_fold(NULL, |all, v| merge.apply(all, v))
        }
    };
    runs.map(of_run).collect()
}

/// Fields as wide as the values of all threads are; `None` where they need more than a word.
fn common_layout(all: &[Kept]) -> Option<Vec<Field>> {
    let mut packer = Groups::new(&vec![None; all.first()?.columns()], Vec::new());
    for (position, field) in packer.fields.iter_mut().enumerate() {
        let own = all.iter().map(|kept| kept.bounds.get(position).copied().flatten());
        if let Some((least, most)) = own.fold(None, wider) {
            let values = (i128::from(most) - i128::from(least) + 1).unsigned_abs();
            (field.least, field.bits) = (least, (128 - values.leading_zeros()).min(64));
        }
    }
    packer.lay_out();
    (packer.words == 1).then_some(packer.fields)
}

/// Bounds that hold both.
fn wider(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, other) => one.or(other),
    }
}

impl Field {
    /// The bits of the field in its word.
    fn mask(&self) -> u64 {
        if self.bits == 0 { 0 } else { u64::MAX >> (64 - self.bits) << self.shift }
    }

    /// Puts the values that packed rows have in this field into another field of other rows.
    fn translate<'a>(&self, rows: impl Iterator<Item = &'a [u64]>, to: &Self, own: &mut [u64]) {
        if self.bits == 0 || to.bits == 0 {
            return;
        }
        let above = 64 - self.bits - self.shift;
        let further = self.least.wrapping_sub(to.least) as u64;
        for (row, own) in rows.zip(own) {
            let word = row.get(self.word).copied().unwrap_or(0);
            let digit = word << above >> (above + self.shift);
            let other = if digit == 0 { 0 } else { digit.wrapping_add(further) };
            *own |= other << to.shift;
        }
    }
}
