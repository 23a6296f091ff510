//! Sorted rows of a state in a scratch file, and how any number of such runs becomes one stream.
//!
//! What there is no room for is written as a run: rows sorted by dimensions, then keys, in small
//! blocks. Runs are merged a block at a time, so that a state of any size takes little memory until
//! somebody wants rows of it together.
//!
//! Invariant: the rows of a stream are sorted and no two have equal keys, whatever the runs were.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::states::overflow;
use crate::error::Error;
use crate::metrics::{NO_KEY, StateRows, StateView, runs};
use crate::spill::{Extent, SpillFile};

/// Rows in a block: enough to be packed well, few enough to hold one of each run.
pub(super) const BLOCK_ROWS: usize = 1 << 11;

/// A source that is no larger stays in memory; there may be hundreds.
const HELD_BYTES: u64 = 1 << 16;

/// Runs merged at a time. More are merged to fewer first.
const RUNS_AT_ONCE: usize = 24;

/// What the columns of a state are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Table and state, for errors.
    pub(super) what: String,
    /// Number of dimensions.
    pub(super) dimensions: usize,
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<(String, Merge)>,
}

impl Layout {
    /// Rows of these columns: dimensions and keys, then values.
    pub(super) fn rows(&self, mut keys: Vec<Vec<i64>>, values: Vec<Vec<i64>>) -> StateRows {
        let rows = keys.first().or(values.first()).map_or(0, Vec::len);
        let own = keys.split_off(self.dimensions.min(keys.len()));
        for code in keys.iter_mut().flatten() {
            // Null sorts first in either form.
            *code = if *code == NO_KEY { -1 } else { *code };
        }
        let names = self.values.iter().map(|(name, _)| name.clone());
        StateRows {
            dimensions: keys,
            keys: self.keys.iter().cloned().zip(own).collect(),
            values: names.zip(values).collect(),
            rows,
        }
    }

    fn row_bytes(&self) -> u64 {
        8 * (self.dimensions + self.keys.len() + self.values.len()) as u64
    }

    /// No rows.
    pub(super) fn none(&self) -> StateRows {
        let keys = vec![Vec::new(); self.dimensions + self.keys.len()];
        self.rows(keys, vec![Vec::new(); self.values.len()])
    }

    /// All rows of the parts, sorted, equal keys merged.
    fn combined(&self, parts: &[&StateRows]) -> Result<StateRows, Error> {
        let dimensions: Vec<usize> = (0..self.dimensions).collect();
        let merges: Vec<Merge> = self.values.iter().map(|(_, merge)| *merge).collect();
        let parts: Vec<StateView<'_>> = parts.iter().map(|part| part.view()).collect();
        combine(&parts, &dimensions, &vec![KeyRule::Keep; self.keys.len()], &merges)
            .map_err(|Overflowed(name)| overflow(&self.what, &name))
    }
}

/// All columns, in order: dimensions, keys, values.
fn columns(rows: &StateRows) -> impl Iterator<Item = &Vec<i64>> {
    let named = rows.keys.iter().chain(&rows.values).map(|(_, column)| column);
    rows.dimensions.iter().chain(named)
}

fn columns_mut(rows: &mut StateRows) -> impl Iterator<Item = &mut Vec<i64>> {
    let named = rows.keys.iter_mut().chain(&mut rows.values).map(|(_, column)| column);
    rows.dimensions.iter_mut().chain(named)
}

/// No rows of the same columns.
fn without_rows(rows: &StateRows) -> StateRows {
    let none = |(name, _): &(String, Vec<i64>)| (name.clone(), Vec::new());
    StateRows {
        dimensions: vec![Vec::new(); rows.dimensions.len()],
        keys: rows.keys.iter().map(none).collect(),
        values: rows.values.iter().map(none).collect(),
        rows: 0,
    }
}

/// Appends rows with the same columns.
pub(super) fn append(to: &mut StateRows, from: StateRows) {
    if to.rows == 0 {
        *to = from;
        return;
    }
    to.rows += from.rows;
    columns_mut(to).zip(columns(&from)).for_each(|(to, from)| to.extend_from_slice(from));
}

/// Takes the first rows away from the others.
pub(super) fn take_first(rows: &mut StateRows, n: usize) -> StateRows {
    let mut first = without_rows(rows);
    if n >= rows.rows {
        std::mem::swap(&mut first, rows);
        return first;
    }
    for (to, from) in columns_mut(&mut first).zip(columns_mut(rows)) {
        // What stays behind is mostly little.
        let rest = from.split_off(n);
        *to = std::mem::replace(from, rest);
    }
    first.rows = n;
    rows.rows -= n;
    first
}

/// How a row of one part and a row of another one are ordered.
fn compare<'a>(
    mut columns: impl Iterator<Item = (&'a Vec<i64>, &'a Vec<i64>)>,
    row: usize,
    other: usize,
) -> Ordering {
    columns
        .find_map(|(a, b)| Some(a.get(row).cmp(&b.get(other))).filter(|order| order.is_ne()))
        .unwrap_or(Ordering::Equal)
}

/// Number of leading rows for which `holds`, which no later row fulfils once one does not.
fn leading(rows: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, rows);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Rows at the beginning whose dimensions are less than those of another part's row.
pub(super) fn rows_below(rows: &StateRows, other: &StateRows, row: usize) -> usize {
    let pairs = || rows.dimensions.iter().zip(&other.dimensions);
    leading(rows.rows, |own| compare(pairs(), own, row).is_lt())
}

/// The dimensions of the last row.
pub(super) fn last_row(rows: &StateRows) -> StateRows {
    let last = |column: &Vec<i64>| column.last().copied().into_iter().collect();
    let dimensions = rows.dimensions.iter().map(last).collect();
    StateRows { dimensions, rows: 1, ..StateRows::default() }
}

/// How the dimensions of the last rows of two parts are ordered.
pub(super) fn compare_last(a: &StateRows, b: &StateRows) -> Ordering {
    let pairs = a.dimensions.iter().zip(&b.dimensions);
    compare(pairs, a.rows.saturating_sub(1), b.rows.saturating_sub(1))
}

/// Rows sorted by dimensions, then keys, without equal ones; in blocks.
#[derive(Debug, Default)]
pub(super) struct Run {
    blocks: Vec<Block>,
    rows: u64,
    /// Rows of the value of the dimensions that has most, and of the last value.
    most: u64,
    own: u64,
    last: Option<StateRows>,
}

#[derive(Debug)]
enum Block {
    Written(Extent),
    Held(StateRows),
}

impl Run {
    /// A run that is held.
    fn held(rows: StateRows) -> Self {
        let mut run = Self::default();
        run.count(&rows);
        run.blocks.push(Block::Held(rows));
        run
    }

    /// Counts rows that sort after all before.
    fn count(&mut self, rows: &StateRows) {
        self.rows += rows.rows as u64;
        for (number, value) in
            runs(rows.dimensions.iter().map(Vec::as_slice), rows.rows).into_iter().enumerate()
        {
            let goes_on =
                number == 0 && self.last.as_ref().is_some_and(|a| rows_below(a, rows, 0) == 0);
            self.own = if goes_on { self.own } else { 0 } + value.len() as u64;
            self.most = self.most.max(self.own);
        }
        if rows.rows > 0 {
            self.last = Some(last_row(rows));
        }
    }

    /// Writes rows that sort after all before.
    pub(super) fn push(&mut self, rows: &StateRows, file: &SpillFile) -> Result<(), Error> {
        for begin in (0..rows.rows).step_by(BLOCK_ROWS) {
            let block = begin..(begin + BLOCK_ROWS).min(rows.rows);
            self.blocks.push(Block::Written(file.write(&[batch(rows, &block)?])?));
        }
        self.count(rows);
        Ok(())
    }

    fn block(
        &self,
        number: usize,
        layout: &Layout,
        file: &SpillFile,
    ) -> Result<Option<StateRows>, Error> {
        match self.blocks.get(number) {
            None => Ok(None),
            Some(Block::Held(rows)) => Ok(Some(rows.clone())),
            Some(Block::Written(extent)) => read(file, *extent, layout).map(Some),
        }
    }
}

fn batch(rows: &StateRows, range: &Range<usize>) -> Result<RecordBatch, Error> {
    let arrays = columns(rows).zip(0..).map(|(column, number): (&Vec<i64>, u32)| {
        let own = column.get(range.clone()).unwrap_or_default().to_vec();
        (number.to_string(), Arc::new(Int64Array::from(own)) as ArrayRef)
    });
    RecordBatch::try_from_iter(arrays).map_err(|e| Error::compute("a block of scratch data", e))
}

fn read(file: &SpillFile, extent: Extent, layout: &Layout) -> Result<StateRows, Error> {
    let broken = || Error::Bug("scratch data that are no state".into());
    let batch = file.read(extent)?.into_iter().next().ok_or_else(broken)?;
    let mut keys = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        let column = column.as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        keys.push(column.values().to_vec());
    }
    let values = keys.split_off((layout.dimensions + layout.keys.len()).min(keys.len()));
    Ok(layout.rows(keys, values))
}

/// All rows of a state and slice, in runs that may share keys.
#[derive(Debug)]
pub(super) struct Source {
    layout: Layout,
    file: Arc<SpillFile>,
    runs: Vec<Run>,
}

impl Source {
    /// The source of these runs, merged until they are few.
    pub(super) fn new(
        layout: Layout,
        file: &Arc<SpillFile>,
        mut runs: Vec<Run>,
    ) -> Result<Self, Error> {
        while runs.len() > RUNS_AT_ONCE {
            let mut fewer = Vec::with_capacity(runs.len().div_ceil(RUNS_AT_ONCE));
            for some in runs.chunks(RUNS_AT_ONCE) {
                let mut one = Run::default();
                for rows in Stream::new(&layout, file, some) {
                    one.push(&rows?, file)?;
                }
                fewer.push(one);
            }
            runs = fewer;
        }
        Ok(Self { layout, file: file.clone(), runs })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of the rows of all runs.
    pub(super) fn bytes(&self) -> u64 {
        self.rows() * self.layout.row_bytes()
    }

    /// Rows of all runs, equal keys counted as often as they occur.
    pub(super) fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// Bytes of the rows of one value of the dimensions, at most.
    pub(super) fn most_bytes(&self) -> u64 {
        let rows: u64 = self.runs.iter().map(|run| run.most).sum();
        rows.min(self.rows()) * self.layout.row_bytes()
    }

    /// Bytes of the rows of the value of the dimensions that has most.
    pub(super) fn largest_bytes(&self) -> Result<u64, Error> {
        let mut all = Run::default();
        for rows in self.stream() {
            all.count(&rows?);
        }
        Ok(all.most * self.layout.row_bytes())
    }

    /// The rows in order, some at a time.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream::new(&self.layout, &self.file, &self.runs)
    }
}

/// Rows in order, a few blocks at a time, equal keys merged.
pub(super) struct Stream<'a> {
    layout: &'a Layout,
    file: &'a SpillFile,
    cursors: Vec<Cursor<'a>>,
}

struct Cursor<'a> {
    run: &'a Run,
    /// The next block to read.
    next: usize,
    /// What is left of the last one read.
    rows: StateRows,
}

impl Cursor<'_> {
    fn has_more(&self) -> bool {
        self.next < self.run.blocks.len()
    }
}

impl<'a> Stream<'a> {
    fn new(layout: &'a Layout, file: &'a SpillFile, runs: &'a [Run]) -> Self {
        let begin = |run| Cursor { run, next: 0, rows: layout.none() };
        Self { layout, file, cursors: runs.iter().map(begin).collect() }
    }

    /// Reads the next block where none is left.
    fn fill(&mut self) -> Result<(), Error> {
        for cursor in &mut self.cursors {
            while cursor.rows.rows == 0 && cursor.has_more() {
                if let Some(rows) = cursor.run.block(cursor.next, self.layout, self.file)? {
                    cursor.rows = rows;
                }
                cursor.next += 1;
            }
        }
        self.cursors.retain(|cursor| cursor.rows.rows > 0);
        Ok(())
    }

    /// The rows up to the least end of a block after which there are others: no later row of any
    /// run sorts before it or is equal to it.
    fn step(&mut self) -> Result<Option<StateRows>, Error> {
        self.fill()?;
        if let [only] = self.cursors.as_mut_slice() {
            let none = without_rows(&only.rows);
            return Ok(Some(std::mem::replace(&mut only.rows, none)));
        }
        let keys = |rows: &StateRows| rows.dimensions.len() + rows.keys.len();
        let last = |rows: &StateRows| -> Vec<i64> {
            let last = columns(rows).take(keys(rows)).map(|column| column.last().copied());
            last.flatten().collect()
        };
        let with_more = self.cursors.iter().filter(|cursor| cursor.has_more());
        let bound = with_more.map(|cursor| last(&cursor.rows)).min();
        let mut parts = Vec::with_capacity(self.cursors.len());
        for cursor in &mut self.cursors {
            let own = &cursor.rows;
            let until = bound.as_ref().map_or(own.rows, |bound| {
                let is_within = |row: usize| {
                    let mut pairs = columns(own).zip(bound).map(|(c, b)| c.get(row).cmp(&Some(b)));
                    pairs.find(|order| order.is_ne()).unwrap_or(Ordering::Equal).is_le()
                };
                leading(own.rows, is_within)
            });
            if until > 0 {
                parts.push(take_first(&mut cursor.rows, until));
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        self.layout.combined(&parts.iter().collect::<Vec<_>>()).map(Some)
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<StateRows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            // The end, or nothing can come after an error.
            self.cursors.clear();
        }
        step
    }
}

/// Takes rows in any order and makes a source of them, in so many bytes of memory.
pub(super) struct Collector {
    layout: Layout,
    file: Arc<SpillFile>,
    room: u64,
    held: Vec<StateRows>,
    bytes: u64,
    runs: Vec<Run>,
}

impl Collector {
    pub(super) fn new(layout: Layout, file: &Arc<SpillFile>, room: u64) -> Self {
        let (held, runs) = (Vec::new(), Vec::new());
        Self { layout, file: file.clone(), room, held, bytes: 0, runs }
    }

    /// Adds rows, whose keys may be equal to any before.
    pub(super) fn add(&mut self, rows: StateRows) -> Result<(), Error> {
        self.bytes += rows.bytes();
        self.held.push(rows);
        if self.bytes > self.room {
            self.settle()?;
        }
        Ok(())
    }

    /// Merges what is held, and writes it where that did not make it much smaller.
    fn settle(&mut self) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        let merged = self.layout.combined(&held.iter().collect::<Vec<_>>())?;
        drop(held);
        self.bytes = merged.bytes();
        if self.bytes > self.room / 2 {
            let mut run = Run::default();
            run.push(&merged, &self.file)?;
            self.runs.push(run);
            self.bytes = 0;
        } else {
            self.held.push(merged);
        }
        Ok(())
    }

    /// All rows.
    pub(super) fn finish(mut self) -> Result<Source, Error> {
        if !self.held.is_empty() {
            let held = self.layout.combined(&self.held.iter().collect::<Vec<_>>())?;
            self.held.clear();
            if held.bytes() <= HELD_BYTES {
                self.runs.push(Run::held(held));
            } else {
                let mut run = Run::default();
                run.push(&held, &self.file)?;
                self.runs.push(run);
            }
        }
        Source::new(self.layout, &self.file, self.runs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::spill::Scratch;

    fn layout() -> Layout {
        Layout {
            what: "a test".into(),
            dimensions: 1,
            keys: vec!["k".into()],
            values: vec![("n".into(), Merge::Sum), ("most".into(), Merge::Max)],
        }
    }

    type Row = (i64, i64, i64);

    /// Sums and greatest values by a map.
    fn by_map(rows: &[Row]) -> Vec<(i64, i64, i64, i64)> {
        let mut map: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
        for (dimension, key, value) in rows {
            let own = map.entry((*dimension, *key)).or_insert((0, i64::MIN + 1));
            *own = (own.0 + value, own.1.max(*value));
        }
        map.into_iter().map(|((d, k), (n, most))| (d, k, n, most)).collect()
    }

    fn state(rows: &[Row]) -> StateRows {
        let column = |f: &dyn Fn(&Row) -> i64| rows.iter().map(f).collect::<Vec<i64>>();
        let keys = vec![column(&|r| r.0), column(&|r| r.1)];
        layout().rows(keys, vec![column(&|r| r.2), column(&|r| r.2)])
    }

    #[track_caller]
    fn check(rows: &[Row], at_once: usize, room: u64) {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(SpillFile::create(&Scratch::within(folder.path())).unwrap());
        let mut collector = Collector::new(layout(), &file, room);
        rows.chunks(at_once).for_each(|some| collector.add(state(some)).unwrap());
        let source = collector.finish().unwrap();
        for _ in 0..2 {
            let mut found = layout().none();
            source.stream().for_each(|rows| append(&mut found, rows.unwrap()));
            let [dimension, key, n, most] = columns(&found).collect::<Vec<_>>().try_into().unwrap();
            let row = |r: usize| (dimension[r], key[r], n[r], most[r]);
            assert_eq!((0..found.rows).map(row).collect::<Vec<_>>(), by_map(rows));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_stream_is_the_sorted_map_of_all_rows(
            rows in prop::collection::vec(
                (-1..5_i64, prop_oneof![0..40_i64, Just(NO_KEY)], -9..9_i64),
                0..600,
            ),
            at_once in 1..50_usize,
            room in prop_oneof![Just(0_u64), 0..4_000_u64],
        ) {
            check(&rows, at_once, room);
        }
    }

    #[test]
    fn runs_of_many_blocks_merge_as_they_are_read() {
        let rows: Vec<Row> = (0..60_000).map(|n| (n * 7 % 3, n * 31 % 17_000, n % 5)).collect();
        check(&rows, 20_000, 0);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_named_with_its_table() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(SpillFile::create(&Scratch::within(folder.path())).unwrap());
        let mut collector = Collector::new(layout(), &file, 0);
        collector.add(state(&[(0, 0, i64::MAX)])).unwrap();
        collector.add(state(&[(0, 0, 1)])).unwrap();
        let error = collector.finish().unwrap().stream().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("a test, the sum \"n\""), "{error}");
    }
}
