//! How much memory a run may use, and where it puts what does not fit.

use std::sync::Arc;

use crate::config::Resolved;
use crate::error::Error;
use crate::fold::Scattered;
use crate::source::DealSource;
use crate::spill::{self, Budget, Demand, Part, Room, Scratch, Store};

/// A run's account of memory and its scratch folder.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The account, under the limit asked for or the default one.
    pub budget: Arc<Budget>,
    /// Where scratch files are made.
    pub scratch: Scratch,
    /// Rows that a thread may decode and scatter at a time.
    pub rows_in_flight: usize,
    demand: Demand,
    /// Whether somebody asked for the limit.
    is_asked: bool,
}

/// Bytes of a row in flight whatever its columns: keys, times, places.
const ROW_BYTES: u64 = 48;
/// Bytes of a row in flight for each column, decoded and again scattered.
const ROW_COLUMN_BYTES: u64 = 12;

impl Memory {
    /// The memory of a run over these inputs.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`] for a limit that cannot hold the run.
    pub fn of(resolved: &Resolved, source: &DealSource) -> Result<Self, Error> {
        let threads = rayon::current_num_threads();
        let footprint = source.footprint();
        let demand = Demand {
            threads: threads as u64,
            files: footprint.files,
            row_groups: footprint.row_groups,
            columns: footprint.columns,
            page_bytes: footprint.page_bytes,
            row_bytes: ROW_BYTES + ROW_COLUMN_BYTES * footprint.columns,
            kept_bytes: 0,
        };
        let limit = match resolved.memory_limit {
            Some(limit) => {
                spill::refuse(limit, &demand)?;
                crate::allocator::return_pages();
                limit
            }
            // Where nobody asked for a bound, a small machine is no reason to refuse.
            None => {
                crate::allocator::keep_pages();
                spill::default_limit().max(spill::smallest_limit(&demand))
            }
        };
        let budget = Budget::spilling_when(limit, resolved.spilling);
        let rows_in_flight = budget.rows_in_flight(threads, demand.row_bytes);
        let scratch = match &resolved.scratch {
            Some(folder) if !folder.is_dir() => {
                let folder = folder.display();
                let problem = format!("run.scratch: there is no folder {folder}; make it first");
                return Err(Error::Config(vec![problem]));
            }
            Some(folder) => Scratch::within(folder),
            None => Scratch::beside(&resolved.output),
        };
        tracing::debug!(limit, rows_in_flight, scratch = %scratch.folder().display(), "memory");
        let is_asked = resolved.memory_limit.is_some();
        Ok(Self { budget, scratch, rows_in_flight, demand, is_asked })
    }

    /// Refuses a limit that cannot hold what is kept of so many of all rows: names, and rows in
    /// quarantine.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`], with the limit that the names of all rows can be expected to need, as
    /// far as their number is known, and the broken rows so far.
    pub fn check_kept(&self, names: u64, broken: u64, rows: u64, all: u64) -> Result<(), Error> {
        let found = Demand { kept_bytes: names.saturating_add(broken), ..self.demand };
        if !self.is_asked || self.budget.limit() >= spill::smallest_limit(&found) {
            return Ok(());
        }
        let names = u128::from(names) * u128::from(all.max(rows)) / u128::from(rows.max(1));
        let names = u64::try_from(names).unwrap_or(u64::MAX);
        let kept_bytes = names.saturating_add(broken);
        spill::refuse(self.budget.limit(), &Demand { kept_bytes, ..self.demand })
    }

    /// The room for sums and finished tables.
    #[must_use]
    pub fn room(&self) -> Arc<Room> {
        Room::new(&self.budget, &self.scratch, rayon::current_num_threads())
    }

    /// A store for so many events in `2^bits` buckets.
    #[must_use]
    pub fn events(&self, bits: u32, events: u64) -> Store<Scattered> {
        // What each thread reads back at a time is to take an eighth of its room for rows in flight.
        let threads = rayon::current_num_threads() as u64;
        let room = self.budget.share(Part::Reading) / threads / 8;
        let packed = PACKED_BYTES + PACKED_COLUMN_BYTES * self.demand.columns;
        let ranges = events.saturating_mul(packed) / room.max(1);
        let least = (threads * 4).min(RANGES_MAX);
        let ranges = ranges.clamp(least, RANGES_MAX) as usize;
        Store::new(&self.budget, Part::Events, &self.scratch, 1 << bits, ranges)
    }

    /// How many ranges the shards of customers are taken in, so that a thread's has room.
    #[must_use]
    pub fn order_ranges(&self, events: u64, shards: usize) -> usize {
        let room = self.budget.share(Part::Orders) / rayon::current_num_threads() as u64;
        let ranges = (events / ORDER_EVENTS).saturating_mul(ORDER_BYTES) / room.max(1);
        let ranges = ranges.clamp(ORDER_RANGES_MIN, (shards as u64).max(ORDER_RANGES_MIN));
        usize::try_from(ranges).unwrap_or(shards)
    }
}

/// Bytes of a packed event, about: its deal, if it is a text, and each column.
const PACKED_BYTES: u64 = 16;
const PACKED_COLUMN_BYTES: u64 = 3;
/// Bytes of an order while its customer is looked at: the order, sorted, and what comes out.
const ORDER_BYTES: u64 = 256;
/// Events of a won deal, at least: its creation, a move, the close.
const ORDER_EVENTS: u64 = 3;
/// Ranges of shards that balance the threads.
const ORDER_RANGES_MIN: u64 = 64;
/// Ranges above which their blocks would be too small to be worth writing.
const RANGES_MAX: u64 = 256;
