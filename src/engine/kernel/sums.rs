//! One thread's sums of one state: a hash table a slice, or, where there turn out to be nearly as
//! many groups as rows, the rows themselves.
//!
//! Invariant: the rows of a slice do not depend on when the one gave way to the other.

use rayon::prelude::*;

use super::State;
use super::groups::{Groups, Kept, Sorted};
use super::program::BLOCK;
use crate::engine::merge::{KeyRule, Merge, combine};
use crate::engine::states::overflow;
use crate::error::Error;
use crate::metrics::{StateRows, StateView};

/// Rows of a window: whether grouping pays is judged by the second one, because of the first few
/// rows most are new.
const WINDOW: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// Bytes of a slice's groups for each cell of the rows that are kept: most distributions have a
/// third as many groups as rows.
const CELL_BYTES: usize = 3;

/// How rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They are both grouped and kept until it is clear what pays.
    Both,
    /// They are grouped.
    Grouping,
    /// They are kept.
    Keeping,
}

/// One thread's sums of one state.
#[derive(Debug)]
pub(super) struct StateSums {
    /// The hash tables, a slice.
    pub(super) slices: Vec<Groups>,
    kept: Kept,
    way: Way,
    rows: usize,
    /// How many groups there were after the first window.
    groups_before: Option<usize>,
}

impl StateSums {
    pub(super) fn new(state: &State) -> Self {
        Self {
            slices: state.tables(),
            kept: Kept::new(&state.kept_names()),
            way: Way::Both,
            rows: 0,
            groups_before: None,
        }
    }

    /// Bytes held, and those that kept rows will take.
    pub(super) fn bytes(&self) -> u64 {
        let groups: usize = self.slices.iter().map(Groups::bytes).sum();
        let cells = match self.way {
            Way::Keeping => self.kept.rows() * self.kept.columns() * self.slices.len(),
            Way::Both | Way::Grouping => 0,
        };
        (groups + cells * CELL_BYTES) as u64
    }

    /// Adds the rows of a block, or the picked ones. `column` gives a register's values.
    pub(super) fn add<'a>(
        &mut self,
        state: &State,
        column: impl Fn(usize) -> &'a [i64],
        rows: Option<&[u32]>,
        block: usize,
    ) -> Result<(), Error> {
        if self.way != Way::Grouping {
            let columns: Vec<&[i64]> = state.kept_registers().map(&column).collect();
            self.kept.add(&columns, rows, block);
        }
        if self.way == Way::Keeping {
            return Ok(());
        }
        let values: Vec<Option<&[i64]>> =
            state.values.iter().map(|(_, _, register)| register.map(&column)).collect();
        for (slice, groups) in state.slices.iter().zip(&mut self.slices) {
            let keys: Vec<&[i64]> =
                slice.iter().chain(&state.keys).map(|(_, register, _)| column(*register)).collect();
            groups.add(&keys, &values, rows, block).map_err(|o| state.overflowed(&o))?;
        }
        if self.way == Way::Both {
            self.judge(state);
        }
        Ok(())
    }

    /// Decides for keeping if most rows of the second window began a group.
    fn judge(&mut self, state: &State) {
        let rows = self.kept.rows() - self.rows;
        if rows < WINDOW {
            return;
        }
        let groups = self.slices.iter().map(Groups::len).sum();
        match self.groups_before {
            None => (self.groups_before, self.rows) = (Some(groups), self.kept.rows()),
            Some(before) if (groups - before) * 2 > rows * self.slices.len() => {
                (self.way, self.slices) = (Way::Keeping, state.tables());
            }
            Some(_) => self.group(state),
        }
    }

    fn group(&mut self, state: &State) {
        (self.way, self.kept) = (Way::Grouping, Kept::new(&state.kept_names()));
    }

    /// Groups the kept rows after all, and those to come: there is no room for keeping them.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub(super) fn confine(&mut self, state: &State) -> Result<(), Error> {
        let is_grouped = self.way != Way::Keeping;
        let kept = std::mem::replace(&mut self.kept, Kept::new(&[]));
        self.group(state);
        if is_grouped {
            return Ok(());
        }
        let registers: Vec<usize> = state.kept_registers().collect();
        kept.pour(BLOCK, |columns, rows| {
            let of = |register: usize| {
                let place = registers.iter().position(|r| *r == register);
                place.and_then(|place| columns.get(place)).map_or(&[][..], Vec::as_slice)
            };
            self.add(state, of, None, rows)
        })
    }
}

impl State {
    /// An empty hash table a slice.
    fn tables(&self) -> Vec<Groups> {
        (0..self.slices.len()).map(|slice| self.groups(slice)).collect()
    }

    /// The dimensions of all slices.
    fn dimensions(&self) -> Vec<&(String, usize, Option<usize>)> {
        let mut all: Vec<&(String, usize, Option<usize>)> = Vec::new();
        for dimension in self.slices.iter().flatten() {
            if all.iter().all(|known| known.0 != dimension.0) {
                all.push(dimension);
            }
        }
        all
    }

    /// The registers of kept rows: dimensions, keys, values.
    fn kept_registers(&self) -> impl Iterator<Item = usize> {
        let values = self.values.iter().filter_map(|(_, _, register)| *register);
        let dimensions = self.dimensions().into_iter();
        dimensions.chain(&self.keys).map(|(_, register, _)| *register).chain(values)
    }

    fn kept_names(&self) -> Vec<Option<usize>> {
        let values = self.values.iter().filter_map(|(_, _, register)| register.map(|_| None));
        let dimensions = self.dimensions().into_iter();
        dimensions.chain(&self.keys).map(|(_, _, names)| *names).chain(values).collect()
    }

    /// The rows of every slice from every thread's sums.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub(super) fn all_rows(&self, parts: Vec<StateSums>) -> Result<Vec<StateRows>, Error> {
        let mut tables: Vec<Vec<Groups>> = self.slices.iter().map(|_| Vec::new()).collect();
        let mut kept = Vec::new();
        let is_kept = parts.iter().any(|part| part.way == Way::Keeping);
        for part in parts {
            // What is both is taken as most others are, so that there is little to merge.
            if part.way == Way::Keeping || is_kept && part.way == Way::Both {
                kept.push(part.kept);
            } else {
                tables.iter_mut().zip(part.slices).for_each(|(all, own)| all.push(own));
            }
        }
        let first = self.dimensions().len();
        let sorted = Sorted::of(&kept, first..first + self.keys.len());
        let slice = |(slice, tables): (usize, Vec<Groups>)| {
            if kept.is_empty() {
                return self.rows(slice, tables);
            }
            let rows = match &sorted {
                Some(sorted) => self.rows_of(slice, sorted)?,
                None => self.wide_rows_of(slice, &kept)?,
            };
            tracing::debug!(state = %self.what, rows = rows.rows, "grouped rows");
            if tables.is_empty() {
                return Ok(rows);
            }
            self.merged(slice, &[self.rows(slice, tables)?.view(), rows.view()])
        };
        tables.into_par_iter().enumerate().map(slice).collect()
    }

    /// Where the dimensions of a slice are among all.
    fn places(&self, slice: usize) -> Vec<usize> {
        let all = self.dimensions();
        let own = self.slices.get(slice).map_or(&[][..], Vec::as_slice).iter();
        own.filter_map(|(name, _, _)| all.iter().position(|known| known.0 == *name)).collect()
    }

    /// How each value merges, and its column among the kept ones.
    fn merges(&self) -> Vec<(Merge, Option<usize>)> {
        let mut next = self.dimensions().len() + self.keys.len();
        let mut place = || {
            next += 1;
            next - 1
        };
        let values = self.values.iter();
        values.map(|(_, merge, register)| (*merge, register.map(|_| place()))).collect()
    }

    fn rows_of(&self, slice: usize, sorted: &Sorted) -> Result<StateRows, Error> {
        let groups = sorted.groups(&self.places(slice), &self.merges());
        let (keys, values) = groups.map_err(|o| self.overflowed(&o))?;
        Ok(self.layout(slice).rows(keys, values))
    }

    /// The same of rows that need more than a word.
    fn wide_rows_of(&self, slice: usize, kept: &[Kept]) -> Result<StateRows, Error> {
        const AT_ONCE: usize = 1 << 16;
        let first = self.dimensions().len();
        let places: Vec<usize> =
            self.places(slice).into_iter().chain(first..first + self.keys.len()).collect();
        let mut parts: Vec<StateRows> = Vec::new();
        for kept in kept {
            kept.pour(AT_ONCE, |columns, rows| {
                let column = |place: &usize| columns.get(*place).cloned().unwrap_or_default();
                let value = |(merge, place): &(Merge, Option<usize>)| {
                    let mut values = place.as_ref().map_or_else(|| vec![1; rows], column);
                    // Null adds nothing.
                    for value in values
                        .iter_mut()
                        .filter(|v| *merge == Merge::Sum && **v == super::program::NULL)
                    {
                        *value = 0;
                    }
                    values
                };
                let keys = places.iter().map(column).collect();
                let values = self.merges().iter().map(value).collect();
                parts.push(self.layout(slice).rows(keys, values));
                Ok::<(), Error>(())
            })?;
        }
        let parts: Vec<StateView<'_>> = parts.iter().map(StateRows::view).collect();
        self.merged(slice, &parts)
    }

    fn merged(&self, slice: usize, parts: &[StateView<'_>]) -> Result<StateRows, Error> {
        let dimensions: Vec<usize> = (0..self.slices.get(slice).map_or(0, Vec::len)).collect();
        let merges: Vec<Merge> = self.values.iter().map(|(_, merge, _)| *merge).collect();
        let keys = vec![KeyRule::Keep; self.keys.len()];
        combine(parts, &dimensions, &keys, &merges).map_err(|o| overflow(&self.what, &o.0))
    }
}
