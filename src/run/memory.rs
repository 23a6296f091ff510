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
            name_bytes: 0,
        };
        let limit = match resolved.memory_limit {
            Some(limit) => {
                spill::refuse(limit, &demand)?;
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
            Some(folder) => Scratch::within(folder),
            None => Scratch::beside(&resolved.output),
        };
        tracing::debug!(limit, rows_in_flight, scratch = %scratch.folder().display(), "memory");
        Ok(Self { budget, scratch, rows_in_flight })
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
        let ranges = events.saturating_mul(PACKED_BYTES) / room.max(1);
        let least = (threads * 4).min(RANGES_MAX);
        let ranges = ranges.clamp(least, RANGES_MAX) as usize;
        Store::new(&self.budget, Part::Events, &self.scratch, 1 << bits, ranges)
    }
}

/// Bytes of a packed event, about.
const PACKED_BYTES: u64 = 24;
/// Ranges above which their blocks would be too small to be worth writing.
const RANGES_MAX: u64 = 256;
