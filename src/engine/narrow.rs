//! Finishing tables in little room: from sorted runs of states to sorted pieces of a table, some
//! values of the dimensions at a time.
//!
//! What is held at a time is the states of some values of a slice's dimensions, at least of one, and
//! some rows of the table. So what a table needs of the room is what its most frequent value needs,
//! which is known when it has been found; a table that needs too much is not made, and the limit is
//! refused with the least that would do for all.
//!
//! Invariant: the tables are those that [`super::finish`] makes with everything in memory.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Plan;
use super::finish::{check_identities, finish_slice};
use super::finished::{Finished, Written};
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::pieces::{Pieces, Recut};
use super::runs::{
    Collector, Layout, Source, Stream, append, compare_last, rows_below, rows_until, take_first,
};
use super::states::{overflow, panic_text};
use super::units::Unit;
use crate::error::Error;
use crate::metrics::{Settings, StateRows, common_columns, runs, slice_name};
use crate::spill::{Room, SpillFile};
use crate::table::{ColumnSpec, TableBuilder};

/// Finishes tables in little room.
pub(super) struct Narrow<'a> {
    pub(super) room: &'a Room,
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a Settings,
}

/// Whether there was room for a table.
enum Fit {
    Fits,
    TooLarge,
}

impl Narrow<'_> {
    /// Finishes a table. `sources` are the rows of the unit's jobs, state by state, maximal slice by
    /// maximal slice. `None` where the room is too narrow for it, or was for an earlier one: then
    /// only what each table needs is sought.
    ///
    /// # Errors
    /// As [`super::finish::finish`]; scratch data that cannot be written or read back.
    pub(super) fn finish(
        &self,
        unit: &Unit,
        sources: &[Arc<Source>],
    ) -> Result<Option<Finished>, Error> {
        let caught = catch_unwind(AssertUnwindSafe(|| self.finish_unit(unit, sources)));
        caught.unwrap_or_else(|panic| {
            let what = format!("table {:?}, finish", unit.name);
            Err(Error::compute(what, panic_text(panic.as_ref())))
        })
    }

    fn finish_unit(&self, unit: &Unit, sources: &[Arc<Source>]) -> Result<Option<Finished>, Error> {
        let file = self.room.file()?;
        let mut specs = common_columns(&self.plan.dimensions);
        specs.extend_from_slice(unit.output());
        let pieces = Pieces::new(&unit.name, &specs, &file);
        let builder = TableBuilder::new(&unit.name, specs.clone(), self.settings.money_scale);
        let mut builder = builder.sealing(self.room.table_rows(), pieces.seal());
        for slice in &unit.slices {
            let sliced = self.slice_sources(unit, sources, slice, &file)?;
            if !self.room.is_exceeded()
                && matches!(self.finish_slice(unit, slice, &sliced, &mut builder)?, Fit::Fits)
            {
                continue;
            }
            self.room.needs(largest(&sliced)?);
        }
        if self.room.is_exceeded() {
            return Ok(None);
        }
        self.written(unit, specs, builder, pieces, file).map(Some)
    }

    /// The rows of each state for one slice, rolled up from the smallest computed slice that holds
    /// it.
    fn slice_sources(
        &self,
        unit: &Unit,
        sources: &[Arc<Source>],
        slice: &[String],
        file: &Arc<SpillFile>,
    ) -> Result<Vec<Arc<Source>>, Error> {
        let mut sliced = Vec::with_capacity(unit.states.len());
        for (query, computed) in unit.states.iter().zip(sources.chunks(unit.maximal.len())) {
            let holding = unit.maximal.iter().zip(computed);
            let smallest = holding
                .filter(|(from, _)| slice.iter().all(|d| from.contains(d)))
                .min_by_key(|(_, source)| source.rows());
            let Some((from, source)) = smallest else {
                let slice = slice_name(slice);
                return Err(Error::Bug(format!("table {:?}: nothing holds {slice}", unit.name)));
            };
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

    fn finish_slice(
        &self,
        unit: &Unit,
        slice: &[String],
        sliced: &[Arc<Source>],
        builder: &mut TableBuilder,
    ) -> Result<Fit, Error> {
        let mut cutter = Cutter::new(sliced, self.room);
        loop {
            match cutter.cut()? {
                Cut::Piece(states) => {
                    let states: Vec<Cow<'_, StateRows>> =
                        states.into_iter().map(Cow::Owned).collect();
                    finish_slice(unit, slice, &states, self.plan, self.settings, builder)?;
                }
                Cut::TooLarge => return Ok(Fit::TooLarge),
                Cut::End => return Ok(Fit::Fits),
            }
        }
    }

    /// The table, merged from its pieces and the rows that are still in the builder.
    fn written(
        &self,
        unit: &Unit,
        specs: Vec<ColumnSpec>,
        builder: TableBuilder,
        pieces: Pieces,
        file: Arc<SpillFile>,
    ) -> Result<Finished, Error> {
        let last = builder.finish()?;
        let (schema, last) = (last.schema.clone(), last.whole()?);
        let (mut blocks, mut rows) = (Vec::new(), 0);
        let mut keep = |block: arrow::array::RecordBatch| {
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
}

/// What comes next.
enum Cut {
    /// All rows of the next values of the dimensions, a state.
    Piece(Vec<StateRows>),
    /// One value has more rows than there is room for.
    TooLarge,
    End,
}

/// Cuts the streams of several states between the same values of the dimensions.
struct Cutter<'a> {
    streams: Vec<Ahead<'a>>,
    room: &'a Room,
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
    fn new(sources: &'a [Arc<Source>], room: &'a Room) -> Self {
        let begin = |source: &'a Arc<Source>| Ahead {
            stream: source.stream(),
            rows: source.layout().none(),
            has_ended: false,
        };
        Self { streams: sources.iter().map(begin).collect(), room, pieces: 0 }
    }

    fn cut(&mut self) -> Result<Cut, Error> {
        let mut wanted = self.room.piece_bytes() / self.streams.len().max(1) as u64;
        loop {
            for ahead in &mut self.streams {
                while !ahead.has_ended && ahead.rows.bytes() <= wanted {
                    ahead.read()?;
                }
            }
            let going_on = self.streams.iter().filter(|ahead| !ahead.has_ended);
            let bound = going_on.map(|ahead| &ahead.rows).min_by(|a, b| compare_last(a, b));
            let bound = match bound {
                None => break,
                Some(rows) => last_row(rows),
            };
            let below = |ahead: &Ahead<'_>| rows_below(&ahead.rows, &bound, 0);
            let counts: Vec<usize> = self.streams.iter().map(below).collect();
            if counts.iter().any(|rows| *rows > 0) {
                let parts = self.streams.iter_mut().zip(counts);
                let parts = parts.map(|(ahead, rows)| take_first(&mut ahead.rows, rows));
                self.pieces += 1;
                return Ok(Cut::Piece(parts.collect()));
            }
            // All that was read of the state that is furthest behind is of one value.
            let own = |ahead: &Ahead<'_>| {
                let rows = rows_until(&ahead.rows, &bound, 0) as u64;
                ahead.rows.bytes() / (ahead.rows.rows as u64).max(1) * rows
            };
            if !self.room.has_room_for(self.streams.iter().map(own).sum()) {
                return Ok(Cut::TooLarge);
            }
            wanted = wanted.saturating_mul(2).max(1 << 10);
        }
        let is_empty = self.streams.iter().all(|ahead| ahead.rows.rows == 0);
        // A table is asked once even if there is nothing to tell.
        if is_empty && self.pieces > 0 {
            return Ok(Cut::End);
        }
        self.pieces += 1;
        let rest = self.streams.iter_mut();
        Ok(Cut::Piece(rest.map(|ahead| take_first(&mut ahead.rows, usize::MAX)).collect()))
    }
}

/// The dimensions of the last row.
fn last_row(rows: &StateRows) -> StateRows {
    let last = |column: &Vec<i64>| column.last().copied().into_iter().collect();
    let dimensions = rows.dimensions.iter().map(last).collect();
    StateRows { dimensions, rows: 1, ..StateRows::default() }
}

/// Bytes of the states of the value that has the most of each.
fn largest(sources: &[Arc<Source>]) -> Result<u64, Error> {
    let mut all = 0;
    for source in sources {
        let (mut most, mut own, mut row_bytes) = (0_u64, 0_u64, 0_u64);
        let mut last: Option<StateRows> = None;
        for rows in source.stream() {
            let rows = rows?;
            row_bytes = rows.bytes() / (rows.rows as u64).max(1);
            let is_same = |a: &StateRows| rows_below(a, &rows, 0) == 0;
            for (number, run) in
                runs(rows.dimensions.iter().map(Vec::as_slice), rows.rows).into_iter().enumerate()
            {
                let goes_on = number == 0 && last.as_ref().is_some_and(is_same);
                own = if goes_on { own + run.len() as u64 } else { run.len() as u64 };
                most = most.max(own);
            }
            last = Some(last_row(&rows));
        }
        all += most * row_bytes;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::{Budget, PROGRAM_BYTES, Scratch, Spilling};

    fn layout(dimensions: usize) -> Layout {
        let values = vec![("n".to_owned(), Merge::Sum)];
        Layout { what: "a test".into(), dimensions, keys: vec!["k".into()], values }
    }

    /// A state with so many rows of each value of its dimension, from 0.
    fn source(counts: &[i64], file: &Arc<SpillFile>) -> Arc<Source> {
        let values = counts.iter().zip(0_i64..);
        let rows: Vec<(i64, i64)> =
            values.flat_map(|(n, value)| (0..*n).map(move |key| (value, key))).collect();
        let (dimension, key): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
        let ones = vec![1; key.len()];
        let mut collector = Collector::new(layout(1), file, 0);
        collector.add(layout(1).rows(vec![dimension, key], vec![ones])).unwrap();
        Arc::new(collector.finish().unwrap())
    }

    #[test]
    fn states_are_cut_between_the_same_values() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(folder.path());
        let budget = Budget::spilling_when(1 << 40, Spilling::Always);
        let room = Room::new(&budget, &scratch, 1);
        let file = room.file().unwrap();
        let counts: [&[i64]; 2] = [&[2, 0, 9_000, 1, 0, 3], &[0, 5, 1, 0, 4]];
        let sources = counts.map(|counts| source(counts, &file));
        let mut cutter = Cutter::new(&sources, &room);
        let mut found = [Vec::new(), Vec::new()];
        let mut pieces = 0;
        while let Cut::Piece(states) = cutter.cut().unwrap() {
            pieces += 1;
            let own: Vec<Option<&i64>> =
                states.iter().filter_map(|s| s.dimensions.first()).map(|d| d.last()).collect();
            for (state, found) in states.iter().zip(&mut found) {
                found.extend(state.dimensions[0].iter().copied());
                // No value comes in two pieces: the next one begins above both ends.
                let first = state.dimensions[0].first();
                assert!(own.iter().all(|last| last.is_none() || first <= *last || first.is_none()));
            }
        }
        assert!(pieces > 1);
        for (found, counts) in found.iter().zip(counts) {
            let values = counts.iter().zip(0_i64..);
            let expected: Vec<i64> =
                values.flat_map(|(n, value)| (0..*n).map(move |_| value)).collect();
            assert_eq!(*found, expected);
        }
    }

    #[test]
    fn a_table_needs_what_its_most_frequent_value_needs() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(folder.path());
        let budget = Budget::new(PROGRAM_BYTES + (1 << 10));
        let room = Room::new(&budget, &scratch, 1);
        let file = room.file().unwrap();
        let sources = [source(&[10, 9_000, 3], &file), source(&[700, 2], &file)];
        // By hand: three columns of eight bytes.
        assert_eq!(largest(&sources).unwrap(), (9_000 + 700) * 3 * 8);
        assert!(matches!(Cutter::new(&sources, &room).cut().unwrap(), Cut::TooLarge));
    }
}
