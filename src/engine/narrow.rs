//! Finishing tables in little room: from sorted runs of states to sorted pieces of a table, some
//! values of the dimensions at a time.
//!
//! What is held at a time is the states of some values of a slice's dimensions, at least of one, and
//! some rows of the table. So what a table needs of the room is what its most frequent value needs:
//! this is looked up for all tables before the first one is made, and a limit that does not allow it
//! is refused with the least one that does.
//!
//! Invariant: the tables are those that [`super::finish`] makes with everything in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::Plan;
use super::finish::{check_identities, finish_slice};
use super::finished::{Finished, Written};
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::pieces::{Pieces, Recut};
use super::runs::{Collector, Layout, Source, Stream};
use super::runs::{append, compare_last, last_row, rows_below, take_first};
use super::states::{overflow, panic_text};
use super::units::Unit;
use crate::error::Error;
use crate::metrics::{Settings, StateRows, common_columns, slice_name};
use crate::spill::{Room, SpillFile};
use crate::table::{ColumnSpec, TableBuilder};

/// Finishes tables in little room.
pub(super) struct Narrow<'a> {
    room: &'a Room,
    plan: &'a Plan,
    settings: &'a Settings,
    /// Rolled up slices that were made to see how large they are, by table and slice.
    made: BTreeMap<(String, Vec<String>), Vec<Arc<Source>>>,
}

impl<'a> Narrow<'a> {
    pub(super) fn new(room: &'a Room, plan: &'a Plan, settings: &'a Settings) -> Self {
        Self { room, plan, settings, made: BTreeMap::new() }
    }

    /// Notes what a table needs of the room. `sources` are the rows of the unit's jobs, state by
    /// state, maximal slice by maximal slice.
    ///
    /// # Errors
    /// Scratch data that cannot be written or read back; a sum that leaves 64 bits.
    pub(super) fn weigh(&mut self, unit: &Unit, sources: &[Arc<Source>]) -> Result<(), Error> {
        let file = self.room.file()?;
        for slice in &unit.slices {
            let holding = smallest_holding(unit, sources, slice)?;
            // Rolling up makes fewer rows, but puts values together.
            let most = holding.iter().map(|(from, source)| {
                let is_cut = *from == slice && !unit.compares_values();
                if is_cut { source.most_bytes() } else { source.bytes() }
            });
            if self.room.has_room_for(most.sum()) {
                continue;
            }
            let sliced = self.slice_sources(unit, sources, slice, &file)?;
            let mut largest = 0;
            for source in &sliced {
                let together = unit.compares_values();
                largest += if together { source.bytes() } else { source.largest_bytes()? };
            }
            self.room.needs(largest);
            self.made.insert((unit.name.clone(), slice.clone()), sliced);
        }
        Ok(())
    }

    /// Finishes a table. `sources` are as in [`Self::weigh`].
    ///
    /// # Errors
    /// As [`super::finish::finish`]; scratch data that cannot be written or read back.
    pub(super) fn finish(
        &mut self,
        unit: &Unit,
        sources: &[Arc<Source>],
    ) -> Result<Finished, Error> {
        let caught = catch_unwind(AssertUnwindSafe(|| self.finish_unit(unit, sources)));
        caught.unwrap_or_else(|panic| {
            let what = format!("table {:?}, finish", unit.name);
            Err(Error::compute(what, panic_text(panic.as_ref())))
        })
    }

    fn finish_unit(&mut self, unit: &Unit, sources: &[Arc<Source>]) -> Result<Finished, Error> {
        let file = self.room.file()?;
        let mut specs = common_columns(&self.plan.dimensions);
        specs.extend_from_slice(unit.output());
        let pieces = Pieces::new(&unit.name, &specs, &file);
        let builder = TableBuilder::new(&unit.name, specs.clone(), self.settings.money_scale);
        let mut builder = builder.sealing(self.room.table_rows(), pieces.seal());
        for slice in &unit.slices {
            let sliced = match self.made.remove(&(unit.name.clone(), slice.clone())) {
                Some(made) => made,
                None => self.slice_sources(unit, sources, slice, &file)?,
            };
            // Values that are compared are not cut apart.
            let together = unit.compares_values();
            let at_once = if together { u64::MAX } else { self.room.piece_bytes() };
            let mut cutter = Cutter::new(&sliced, at_once);
            while let Some(states) = cutter.cut()? {
                let states: Vec<Cow<'_, StateRows>> = states.into_iter().map(Cow::Owned).collect();
                finish_slice(unit, slice, &states, self.plan, self.settings, &mut builder)?;
            }
        }
        written(unit, specs, builder, pieces, file)
    }

    /// The rows of each state for one slice, rolled up where it was not computed.
    fn slice_sources(
        &self,
        unit: &Unit,
        sources: &[Arc<Source>],
        slice: &[String],
        file: &Arc<SpillFile>,
    ) -> Result<Vec<Arc<Source>>, Error> {
        let mut sliced = Vec::with_capacity(unit.states.len());
        let holding = smallest_holding(unit, sources, slice)?;
        for (query, (from, source)) in unit.states.iter().zip(holding) {
            if from == slice {
                sliced.push(source.clone());
                continue;
            }
            let place = |dimension: &String| from.iter().position(|d| d == dimension);
            let dimensions: Vec<usize> = slice.iter().filter_map(place).collect();
            let merges: Vec<Merge> = query.values.iter().map(|v| v.merge).collect();
            let keys = vec![KeyRule::Keep; query.keys.len()];
            let layout = Layout { dimensions: dimensions.len(), ..source.layout().clone() };
            let mut collector = Collector::new(layout, file, self.room.piece_bytes());
            for rows in source.stream() {
                let rolled = combine(&[rows?.view()], &dimensions, &keys, &merges);
                collector.add(rolled.map_err(|Overflowed(name)| overflow(&unit.name, &name))?)?;
            }
            sliced.push(Arc::new(collector.finish()?));
        }
        Ok(sliced)
    }
}

/// A slice that was computed, and its rows.
type Computed<'s> = (&'s Vec<String>, &'s Arc<Source>);

/// For each state the smallest computed slice that holds another one.
fn smallest_holding<'s>(
    unit: &'s Unit,
    sources: &'s [Arc<Source>],
    slice: &[String],
) -> Result<Vec<Computed<'s>>, Error> {
    let smallest = |computed: &'s [Arc<Source>]| {
        let holding = unit.maximal.iter().zip(computed);
        let holding = holding.filter(|(from, _)| slice.iter().all(|d| from.contains(d)));
        holding.min_by_key(|(_, source)| source.rows()).ok_or_else(|| {
            let slice = slice_name(slice);
            Error::Bug(format!("table {:?}: nothing holds {slice}", unit.name))
        })
    };
    sources.chunks(unit.maximal.len().max(1)).map(smallest).collect()
}

/// The table, merged from its pieces and the rows that are still in the builder.
fn written(
    unit: &Unit,
    specs: Vec<ColumnSpec>,
    builder: TableBuilder,
    pieces: Pieces,
    file: Arc<SpillFile>,
) -> Result<Finished, Error> {
    let last = builder.finish()?.whole()?;
    let schema = last.schema();
    let (mut blocks, mut rows) = (Vec::new(), 0);
    let mut keep = |block: RecordBatch| {
        check_identities(unit, &specs, &block)?;
        rows += block.num_rows() as u64;
        blocks.push(file.write(&[block])?);
        Ok(())
    };
    let mut recut = Recut::new(schema.clone());
    if pieces.is_empty() {
        recut.push(Some(last), &mut keep)?;
    } else {
        let mut seal = pieces.seal();
        seal(last)?;
        pieces.merge(|rows| recut.push(Some(rows), &mut keep))?;
    }
    recut.push(None, &mut keep)?;
    let name = unit.name.clone();
    Ok(Finished::from(Written { name, specs, schema, rows, blocks, file }))
}

/// Cuts the streams of several states between the same values of the dimensions.
struct Cutter<'a> {
    streams: Vec<Ahead<'a>>,
    /// Bytes of all states that are best cut off together.
    piece_bytes: u64,
    pieces: usize,
}

/// A stream and the rows read ahead of it.
struct Ahead<'a> {
    stream: Stream<'a>,
    rows: StateRows,
    has_ended: bool,
}

impl Ahead<'_> {
    fn read(&mut self) -> Result<(), Error> {
        match self.stream.next().transpose()? {
            Some(rows) => append(&mut self.rows, rows),
            None => self.has_ended = true,
        }
        Ok(())
    }
}

impl<'a> Cutter<'a> {
    fn new(sources: &'a [Arc<Source>], piece_bytes: u64) -> Self {
        let begin = |source: &'a Arc<Source>| Ahead {
            stream: source.stream(),
            rows: source.layout().none(),
            has_ended: false,
        };
        Self { streams: sources.iter().map(begin).collect(), piece_bytes, pieces: 0 }
    }

    /// All rows of the next values of the dimensions, a state; at least one piece, for a table is
    /// asked even if there is nothing to tell.
    fn cut(&mut self) -> Result<Option<Vec<StateRows>>, Error> {
        let mut wanted = self.piece_bytes / self.streams.len().max(1) as u64;
        loop {
            for ahead in &mut self.streams {
                while !ahead.has_ended && ahead.rows.bytes() <= wanted {
                    ahead.read()?;
                }
            }
            let going_on = self.streams.iter().filter(|ahead| !ahead.has_ended);
            let behind = going_on.map(|ahead| &ahead.rows).min_by(|a, b| compare_last(a, b));
            let Some(bound) = behind.map(last_row) else { break };
            let below = |ahead: &Ahead<'_>| rows_below(&ahead.rows, &bound, 0);
            let counts: Vec<usize> = self.streams.iter().map(below).collect();
            if counts.iter().any(|rows| *rows > 0) {
                let parts = self.streams.iter_mut().zip(counts);
                let parts = parts.map(|(ahead, rows)| take_first(&mut ahead.rows, rows));
                self.pieces += 1;
                return Ok(Some(parts.collect()));
            }
            // All that was read of the state that is furthest behind is of one value.
            wanted = wanted.saturating_mul(2).max(1 << 10);
        }
        let is_empty = self.streams.iter().all(|ahead| ahead.rows.rows == 0);
        if is_empty && self.pieces > 0 {
            return Ok(None);
        }
        self.pieces += 1;
        let rest = self.streams.iter_mut();
        Ok(Some(rest.map(|ahead| take_first(&mut ahead.rows, usize::MAX)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::Scratch;

    fn layout() -> Layout {
        let values = vec![("n".to_owned(), Merge::Sum)];
        Layout { what: "a test".into(), dimensions: 1, keys: vec!["k".into()], values }
    }

    fn scratch_file(folder: &tempfile::TempDir) -> Arc<SpillFile> {
        Arc::new(SpillFile::create(&Scratch::within(folder.path())).unwrap())
    }

    /// A state with so many rows of each value of its dimension, from 0.
    fn source(counts: &[i64], file: &Arc<SpillFile>) -> Arc<Source> {
        let values = counts.iter().zip(0_i64..);
        let rows: Vec<(i64, i64)> =
            values.flat_map(|(n, value)| (0..*n).map(move |key| (value, key))).collect();
        let (dimension, key): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
        let ones = vec![1; key.len()];
        let mut collector = Collector::new(layout(), file, 0);
        collector.add(layout().rows(vec![dimension, key], vec![ones])).unwrap();
        Arc::new(collector.finish().unwrap())
    }

    #[track_caller]
    fn check(counts: [&[i64]; 2], piece_bytes: u64) {
        let folder = tempfile::tempdir().unwrap();
        let file = scratch_file(&folder);
        let sources = counts.map(|counts| source(counts, &file));
        let mut cutter = Cutter::new(&sources, piece_bytes);
        let mut found = [Vec::new(), Vec::new()];
        let mut before = -1;
        while let Some(states) = cutter.cut().unwrap() {
            let own = || states.iter().flat_map(|state| state.dimensions[0].iter().copied());
            // No value comes in two pieces.
            assert!(own().min().is_none_or(|least| least > before), "{before}");
            before = own().max().unwrap_or(before);
            for (state, found) in states.iter().zip(&mut found) {
                found.extend(state.dimensions[0].iter().copied());
            }
        }
        for (found, counts) in found.iter().zip(counts) {
            let values = counts.iter().zip(0_i64..);
            let expected: Vec<i64> =
                values.flat_map(|(n, value)| (0..*n).map(move |_| value)).collect();
            assert_eq!(*found, expected);
        }
        assert!(cutter.pieces > 1 || piece_bytes > 0);
    }

    #[test]
    fn states_are_cut_between_the_same_values() {
        check([&[2, 0, 9_000, 1, 0, 3], &[0, 5, 1, 0, 4]], 0);
        check([&[5_000, 5_000, 5_000], &[0, 0, 9_000, 9_000]], 0);
        check([&[2, 0, 9_000, 1, 0, 3], &[0, 5, 1, 0, 4]], 1 << 20);
        check([&[1], &[]], 1 << 20);
    }

    #[test]
    fn a_state_needs_what_its_most_frequent_value_needs() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(&[10, 9_000, 3], &scratch_file(&folder));
        // By hand: three columns of eight bytes.
        assert_eq!(source.largest_bytes().unwrap(), 9_000 * 3 * 8);
        assert!(source.most_bytes() >= 9_000 * 3 * 8);
    }
}
