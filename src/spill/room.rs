//! The room that sums and finished tables may take, and the scratch file for what exceeds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::{Budget, PROGRAM_BYTES, Part, Spilling};
use super::file::SpillFile;
use super::limit::size_text;
use super::scratch::Scratch;
use crate::error::Error;

/// Below this a thread's tables would be written again and again for nothing.
pub(super) const THREAD_BYTES_MIN: u64 = 4 << 20;

/// What finishing takes for a byte of states: these, rolled up to each period, what that takes on
/// the way, and what the table makes of them. Measured on `stage_time` by hours, month and quarter:
/// with 37 MB of states finished together the whole run peaked at 252 MiB, the program included.
const FINISHED: u64 = 5;

/// What finishing all tables at a time takes for a byte of sums. Measured on `stage_transitions` and
/// `cycle_curve` by hours: 465 MB above the program for 80 MB of sums.
const FINISHED_ALL: u64 = 6;

/// Parts of the room, for the states of some values of a slice's dimensions. Smaller ones would be
/// finished more slowly.
const PIECES: u64 = 8;

/// Rows of a table that are sorted in memory: about 10 MB.
const TABLE_ROWS: usize = 1 << 15;
/// The same where everything is spilled at once.
const TABLE_ROWS_ALWAYS: usize = 1 << 7;

/// Room for sums. See the module.
#[derive(Debug)]
pub struct Room {
    thread_bytes: u64,
    bytes: u64,
    limit: u64,
    /// What the most demanding table so far needs of the room.
    needed: AtomicU64,
    scratch: Scratch,
    file: Mutex<Option<Arc<SpillFile>>>,
}

impl Room {
    /// The room of a run with so many threads.
    #[must_use]
    pub fn new(budget: &Budget, scratch: &Scratch, threads: usize) -> Arc<Self> {
        // A table that grows takes half as much again while it does.
        let share = budget.share(Part::States) / threads.max(1) as u64 * 2 / 3;
        let thread_bytes = match budget.spilling() {
            Spilling::AsNeeded => share.max(THREAD_BYTES_MIN),
            Spilling::Always => 0,
        };
        Arc::new(Self {
            thread_bytes,
            bytes: budget.limit().saturating_sub(PROGRAM_BYTES),
            limit: budget.limit(),
            needed: AtomicU64::new(0),
            scratch: scratch.clone(),
            file: Mutex::default(),
        })
    }

    /// The bytes that one thread's sums may hold.
    #[must_use]
    pub fn thread_bytes(&self) -> u64 {
        self.thread_bytes
    }

    /// All that the run may hold besides the program, as when nothing else is held any more.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all tables can be finished at a time from so many bytes of sums.
    #[must_use]
    pub fn can_finish_all(&self, sums_bytes: u64) -> bool {
        sums_bytes.saturating_mul(FINISHED_ALL) <= self.bytes
    }

    /// The bytes of states that are best finished together.
    #[must_use]
    pub fn piece_bytes(&self) -> u64 {
        if self.thread_bytes == 0 { 0 } else { self.bytes / FINISHED / PIECES }
    }

    /// The rows of a table that are held until they are written.
    #[must_use]
    pub fn table_rows(&self) -> usize {
        if self.thread_bytes == 0 { TABLE_ROWS_ALWAYS } else { TABLE_ROWS }
    }

    /// Whether so many bytes of states can be finished together.
    #[must_use]
    pub fn has_room_for(&self, states_bytes: u64) -> bool {
        states_bytes.saturating_mul(FINISHED) <= self.bytes
    }

    /// Notes that so many bytes of states have to be finished together.
    pub fn needs(&self, states_bytes: u64) {
        self.needed.fetch_max(states_bytes.saturating_mul(FINISHED), Ordering::Relaxed);
    }

    /// Refuses a limit that could not hold all tables.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`], with the smallest limit that can.
    pub fn judge(&self) -> Result<(), Error> {
        let needed = self.needed.load(Ordering::Relaxed);
        if needed <= self.bytes {
            return Ok(());
        }
        let smallest = size_text(PROGRAM_BYTES.saturating_add(needed));
        let instead = "fewer slices, fewer periods or a coarser [run] resolution need";
        Err(Error::MemoryLimit { limit: size_text(self.limit), smallest, instead })
    }

    /// The scratch file, made when it is first asked for.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(&self) -> Result<Arc<SpillFile>, Error> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let made = Arc::new(SpillFile::create(&self.scratch)?);
        *file = Some(made.clone());
        Ok(made)
    }

    /// Bytes of scratch data.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(0, |file| file.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_too_narrow_for_the_largest_table_names_the_smallest_limit() {
        // By hand: 10 MiB above the program hold the finish of 4 MiB of states, but not of 5 MiB.
        let budget = Budget::new(PROGRAM_BYTES + (10 << 20));
        let room = Room::new(&budget, &Scratch::within(std::path::Path::new(".")), 2);
        let fits = (10 << 20) / FINISHED;
        assert!(room.has_room_for(fits) && !room.has_room_for(fits + 1));
        room.needs(fits);
        assert!(room.judge().is_ok());
        room.needs(5 << 20);
        room.needs(1);
        let error = room.judge().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let smallest = size_text(PROGRAM_BYTES + FINISHED * (5 << 20));
        assert!(error.hint().unwrap().contains(&smallest), "{:?}", error.hint());
    }
}
