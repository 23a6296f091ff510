//! The room that sums and finished tables may take, and the scratch file for what exceeds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::{Budget, PROGRAM_BYTES, Part, Spilling};
use super::file::SpillFile;
use super::limit::size_text;
use super::scratch::Scratch;
use crate::error::Error;

/// Below this a thread's tables would be written again and again for nothing.
const THREAD_BYTES_MIN: u64 = 8 << 20;

/// What merging and finishing a table takes, for ten bytes of its merged states: the states
/// themselves and rolled up, the rows made, and these sorted. Measured on `stage_time` and
/// `stage_transitions` by hours: 1.6 GB for 0.7 GB of states.
const FINISHED_TENTHS: u64 = 25;

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
        let share = budget.share(Part::States) / threads.max(1) as u64;
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

    /// Whether a table with so many bytes of merged states can be finished, and every one before.
    #[must_use]
    pub fn can_finish(&self, states_bytes: u64) -> bool {
        let needed = states_bytes.saturating_mul(FINISHED_TENTHS) / 10;
        let most = self.needed.fetch_max(needed, Ordering::Relaxed).max(needed);
        most <= self.bytes
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
        Err(Error::MemoryLimit { limit: size_text(self.limit), smallest })
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
        assert!(room.can_finish(4 << 20));
        assert!(room.judge().is_ok());
        assert!(!room.can_finish(5 << 20));
        assert!(!room.can_finish(1), "only the largest is sought now");
        let error = room.judge().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let smallest = size_text(PROGRAM_BYTES + (25 << 20) / 2);
        assert!(error.hint().unwrap().contains(&smallest), "{:?}", error.hint());
    }
}
