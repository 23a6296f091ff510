//! Parts of a whole that is folded range by range of its buckets: held in memory as long as the
//! budget allows, written to a scratch file after that.
//!
//! The thread that brings a part writes it, so that spilling is as parallel as reading and no thread
//! waits for another. What is held stays where it is.

use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::RecordBatch;

use super::budget::{Budget, Held, Part};
use super::file::{Extent, SpillFile};
use super::scratch::Scratch;
use crate::error::Error;

/// What a [`Store`] can hold: rows in the order of their buckets, which can be cut between buckets.
pub trait Spillable: Sized + Send + Sync {
    /// Number of its unit in the source.
    fn unit(&self) -> usize;

    /// Bytes it holds in memory.
    fn held_bytes(&self) -> u64;

    /// Rows in a range of buckets.
    fn rows_of(&self, buckets: &Range<usize>) -> usize;

    /// The rows of each of these ranges of buckets as columns, from which [`Self::from_columns`]
    /// makes them again.
    ///
    /// # Errors
    /// A bug of ours.
    fn into_columns(self, ranges: &[Range<usize>]) -> Result<Vec<Vec<RecordBatch>>, Error>;

    /// The rows of a range of buckets, from its columns.
    ///
    /// # Errors
    /// The columns are not what was written.
    fn from_columns(
        unit: usize,
        buckets: Range<usize>,
        columns: &[RecordBatch],
    ) -> Result<Self, Error>;
}

/// A part of a range: held as a whole (other buckets are in it, too), or read back.
#[derive(Debug)]
pub enum Chunk<'a, T> {
    /// The whole part, in memory.
    Held(&'a T),
    /// The asked range only.
    Read(Box<T>),
}

impl<T> Deref for Chunk<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Held(part) => part,
            Self::Read(part) => part,
        }
    }
}

/// The parts of one range, in the order of the source.
pub type Parts<'a, T> = Vec<Chunk<'a, T>>;

/// The unit of a part and the number of parts that came before: the parts of one unit come one
/// after the other.
type Place = (usize, usize);

#[derive(Debug)]
struct Spilled {
    place: Place,
    /// One for each range; `None` where the part has no row there.
    extents: Vec<Option<Extent>>,
}

/// A whole in parts. See the module.
#[derive(Debug)]
pub struct Store<T> {
    budget: Arc<Budget>,
    part: Part,
    scratch: Scratch,
    ranges: Vec<Range<usize>>,
    file: OnceLock<SpillFile>,
    creating: Mutex<()>,
    /// How many parts have come, and how many rows.
    count: AtomicUsize,
    rows: AtomicU64,
    /// A part could not be written: the others need not be tried.
    failed: AtomicBool,
    arriving: Mutex<Arrived<T>>,
}

#[derive(Debug)]
struct Arrived<T> {
    held: Vec<(Place, T, Held)>,
    spilled: Vec<Spilled>,
}

/// A store that nothing is added to any more.
#[derive(Debug)]
pub struct Complete<T> {
    ranges: Vec<Range<usize>>,
    file: Option<SpillFile>,
    rows: u64,
    arrived: Arrived<T>,
}

impl<T: Spillable> Store<T> {
    /// An empty store of `buckets` buckets that are asked for in `ranges` ranges at most.
    #[must_use]
    pub fn new(
        budget: &Arc<Budget>,
        part: Part,
        scratch: &Scratch,
        buckets: usize,
        ranges: usize,
    ) -> Self {
        let step = buckets.div_ceil(ranges.max(1)).max(1);
        let ranges =
            (0..buckets).step_by(step).map(|from| from..(from + step).min(buckets)).collect();
        Self {
            budget: budget.clone(),
            part,
            scratch: scratch.clone(),
            ranges,
            file: OnceLock::new(),
            creating: Mutex::default(),
            count: AtomicUsize::new(0),
            rows: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            arriving: Mutex::new(Arrived { held: Vec::new(), spilled: Vec::new() }),
        }
    }

    /// Adds a part, and writes it where the budget has no room for it.
    ///
    /// Edge cases: once a part could not be written, the later ones are let go, so that the caller
    /// ends by that error alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&self, part: T) -> Result<(), Error> {
        let place = (part.unit(), self.count.fetch_add(1, Ordering::Relaxed));
        let every = self.ranges.first().zip(self.ranges.last()).map(|(a, b)| a.start..b.end);
        let rows = every.map_or(0, |buckets| part.rows_of(&buckets) as u64);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if let Some(held) = self.budget.try_hold(self.part, part.held_bytes()) {
            self.arrived().held.push((place, part, held));
            return Ok(());
        }
        if self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let written = self.write(part);
        self.failed.fetch_or(written.is_err(), Ordering::Relaxed);
        self.arrived().spilled.push(Spilled { place, extents: written? });
        Ok(())
    }

    fn write(&self, part: T) -> Result<Vec<Option<Extent>>, Error> {
        let rows: Vec<usize> = self.ranges.iter().map(|range| part.rows_of(range)).collect();
        let file = self.file()?;
        let blocks = part.into_columns(&self.ranges)?;
        let write = |(block, rows): (Vec<RecordBatch>, usize)| {
            if rows == 0 { Ok(None) } else { file.write(&block).map(Some) }
        };
        blocks.into_iter().zip(rows).map(write).collect()
    }

    /// Everything has been added.
    #[must_use]
    pub fn complete(self) -> Complete<T> {
        let mut arrived = self.arriving.into_inner().unwrap_or_else(PoisonError::into_inner);
        arrived.held.sort_by_key(|(place, _, _)| *place);
        arrived.spilled.sort_by_key(|part| part.place);
        let rows = self.rows.into_inner();
        Complete { ranges: self.ranges, file: self.file.into_inner(), rows, arrived }
    }

    fn arrived(&self) -> std::sync::MutexGuard<'_, Arrived<T>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scratch file, made when the first part is written.
    fn file(&self) -> Result<&SpillFile, Error> {
        let _alone = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let made = SpillFile::create(&self.scratch)?;
        Ok(self.file.get_or_init(|| made))
    }
}

impl<T: Spillable> Complete<T> {
    /// The ranges of buckets, in order; each is asked for by its number.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Rows of all parts.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of scratch data.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, SpillFile::bytes)
    }

    /// Every part, in the order of the source, if all of them are in memory.
    #[must_use]
    pub fn held(&self) -> Option<Vec<&T>> {
        let held = || self.arrived.held.iter().map(|(_, part, _)| part).collect();
        self.arrived.spilled.is_empty().then(held)
    }

    /// Every part that has rows in a range, in the order of the source.
    ///
    /// Shape: a part that is held comes as a whole; one that was written comes as the range only.
    ///
    /// # Errors
    /// A part cannot be read back.
    pub fn range(&self, number: usize) -> Result<Parts<'_, T>, Error> {
        let buckets = self.ranges.get(number).cloned().unwrap_or_default();
        let mut parts: Vec<(Place, Chunk<'_, T>)> = Vec::new();
        for (place, part, _) in &self.arrived.held {
            if part.rows_of(&buckets) > 0 {
                parts.push((*place, Chunk::Held(part)));
            }
        }
        for part in &self.arrived.spilled {
            let (Some(file), Some(Some(extent))) = (&self.file, part.extents.get(number)) else {
                continue;
            };
            let columns = file.read(*extent)?;
            let read = T::from_columns(part.place.0, buckets.clone(), &columns)?;
            parts.push((part.place, Chunk::Read(Box::new(read))));
        }
        parts.sort_by_key(|(place, _)| *place);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, UInt32Array};
    use arrow::datatypes::UInt32Type;

    use super::super::budget::PROGRAM_BYTES;
    use super::*;

    /// One value a bucket row; offsets as in a scattered unit.
    #[derive(Debug, Clone, PartialEq)]
    struct Numbers {
        unit: usize,
        first_bucket: usize,
        offsets: Vec<u32>,
        values: Vec<u32>,
    }

    impl Numbers {
        fn values(&self, bucket: usize) -> &[u32] {
            let at = bucket - self.first_bucket;
            &self.values[self.offsets[at] as usize..self.offsets[at + 1] as usize]
        }
    }

    fn batch(name: &str, values: &[u32]) -> RecordBatch {
        let column: ArrayRef = Arc::new(UInt32Array::from(values.to_vec()));
        RecordBatch::try_from_iter([(name, column)]).unwrap()
    }

    impl Spillable for Numbers {
        fn unit(&self) -> usize {
            self.unit
        }

        fn held_bytes(&self) -> u64 {
            4 * (self.offsets.len() + self.values.len()) as u64
        }

        fn rows_of(&self, buckets: &Range<usize>) -> usize {
            buckets.clone().map(|bucket| self.values(bucket).len()).sum()
        }

        fn into_columns(self, ranges: &[Range<usize>]) -> Result<Vec<Vec<RecordBatch>>, Error> {
            let block = |range: &Range<usize>| {
                let offsets = &self.offsets[range.start..=range.end];
                let rows = offsets[0] as usize..offsets[offsets.len() - 1] as usize;
                let offsets: Vec<u32> = offsets.iter().map(|o| o - offsets[0]).collect();
                vec![batch("offsets", &offsets), batch("values", &self.values[rows])]
            };
            Ok(ranges.iter().map(block).collect())
        }

        fn from_columns(
            unit: usize,
            buckets: Range<usize>,
            columns: &[RecordBatch],
        ) -> Result<Self, Error> {
            let column =
                |at: usize| columns[at].column(0).as_primitive::<UInt32Type>().values().to_vec();
            let (offsets, values) = (column(0), column(1));
            Ok(Self { unit, first_bucket: buckets.start, offsets, values })
        }
    }

    const BUCKETS: usize = 23;

    fn parts() -> Vec<Numbers> {
        (0..9_u32)
            .map(|unit| {
                let sizes = (0..BUCKETS as u32).map(|bucket| (bucket * unit) % 5);
                let mut offsets = vec![0];
                for size in sizes {
                    offsets.push(offsets[offsets.len() - 1] + size);
                }
                let rows = offsets[BUCKETS];
                let values = (0..rows).map(|row| unit * 1000 + row).collect();
                Numbers { unit: unit as usize / 2, first_bucket: 0, offsets, values }
            })
            .collect()
    }

    /// All values by bucket, in the order of the source.
    fn expected() -> Vec<Vec<u32>> {
        (0..BUCKETS)
            .map(|bucket| parts().iter().flat_map(|p| p.values(bucket).to_vec()).collect())
            .collect()
    }

    #[track_caller]
    fn check(events_bytes: u64, ranges: usize, spills: std::cmp::Ordering) {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(PROGRAM_BYTES + events_bytes * 100 / 35 + 100);
        let scratch = Scratch::within(folder.path());
        let store = Store::new(&budget, Part::Events, &scratch, BUCKETS, ranges);
        // Units arrive in any order, the parts of one in theirs.
        let units = parts();
        for unit in units.chunks(2).rev() {
            for part in unit {
                store.add(part.clone()).unwrap();
            }
        }
        let complete = store.complete();
        assert_eq!(complete.spilled_bytes().cmp(&0), spills);
        let mut found = vec![Vec::new(); BUCKETS];
        for (number, buckets) in complete.ranges().iter().enumerate() {
            let parts = complete.range(number).unwrap();
            for bucket in buckets.clone() {
                found[bucket] = parts.iter().flat_map(|p| p.values(bucket).to_vec()).collect();
            }
        }
        assert_eq!(found, expected());
        drop(complete);
        assert_eq!(budget.held(Part::Events), 0);
    }

    #[test]
    fn everything_comes_back_in_source_order_held_or_written() {
        use std::cmp::Ordering::{Equal, Greater};
        check(1 << 20, 4, Equal);
        check(0, 4, Greater);
        check(600, 4, Greater);
        check(0, 1, Greater);
        check(600, BUCKETS, Greater);
        check(600, 1000, Greater);
    }
}
