//! An account of the bytes that a run holds, by what they are for.
//!
//! Each part has a share of the limit, so that whoever comes first cannot starve who comes later: a
//! part that would outgrow its share is told so and spills. The account counts what is known to be
//! large; it does not see every allocation, which is why a part of the limit is nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the program takes before it reads a row: its code, the threads, Polars, the allocator.
pub const PROGRAM_BYTES: u64 = 72 << 20;

/// Rows in flight on a thread below which reading would crawl.
pub(super) const ROWS_IN_FLIGHT_MIN: u64 = 32_768;

/// Rows in flight on a thread beyond which nothing is gained.
const ROWS_IN_FLIGHT_MAX: u64 = 1 << 20;

/// What memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Scattered events between reading and folding.
    Events,
    /// Rows being decoded and scattered.
    Reading,
    /// Batches of relations on their way into states.
    Relations,
    /// Accumulated states.
    States,
    /// Scattered orders between folding and the customers' pass.
    Orders,
}

impl Part {
    /// Every part.
    pub const EVERY: [Self; 5] =
        [Self::Events, Self::Reading, Self::Relations, Self::States, Self::Orders];

    /// The share of what the program leaves, in percent. No rows are in flight any more when there
    /// are states and orders; what is left at any time is for what nobody counts.
    const fn percent(self) -> u64 {
        match self {
            Self::Events => 35,
            Self::Reading => 20,
            Self::Relations => 10,
            Self::States => 25,
            Self::Orders => 15,
        }
    }
}

/// When what can be spilled is. No number depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spilling {
    /// When there is no room for it.
    #[default]
    AsNeeded,
    /// At once, so that small histories can show that it changes nothing.
    Always,
}

/// The account of a run, shared by its threads.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    spilling: Spilling,
    held: [AtomicU64; Part::EVERY.len()],
    peak: [AtomicU64; Part::EVERY.len()],
}

impl Budget {
    /// An empty account under a limit in bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Self::spilling_when(limit, Spilling::AsNeeded)
    }

    /// An empty account that spills when it is told to.
    #[must_use]
    pub fn spilling_when(limit: u64, spilling: Spilling) -> Arc<Self> {
        Arc::new(Self { limit, spilling, held: Default::default(), peak: Default::default() })
    }

    /// When what can be spilled is.
    #[must_use]
    pub fn spilling(&self) -> Spilling {
        self.spilling
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes that a part may hold.
    #[must_use]
    pub fn share(&self, part: Part) -> u64 {
        self.limit.saturating_sub(PROGRAM_BYTES) / 100 * part.percent()
    }

    /// The bytes that a part holds.
    #[must_use]
    pub fn held(&self, part: Part) -> u64 {
        self.of(&self.held, part).load(Ordering::Relaxed)
    }

    /// The most bytes that a part held at any time.
    #[must_use]
    pub fn peak(&self, part: Part) -> u64 {
        self.of(&self.peak, part).load(Ordering::Relaxed)
    }

    /// Enters bytes if the part's share has room for them. They are released when the answer is
    /// dropped.
    #[must_use]
    pub fn try_hold(self: &Arc<Self>, part: Part, bytes: u64) -> Option<Held> {
        let share = match self.spilling {
            Spilling::AsNeeded => self.share(part),
            Spilling::Always => 0,
        };
        let room = |held: u64| held.checked_add(bytes).filter(|all| *all <= share);
        let counter = self.of(&self.held, part);
        let before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        self.of(&self.peak, part).fetch_max(before + bytes, Ordering::Relaxed);
        Some(Held { budget: self.clone(), part, bytes })
    }

    /// Rows that a thread may decode and scatter at a time, of so many bytes each.
    #[must_use]
    pub fn rows_in_flight(&self, threads: usize, row_bytes: u64) -> usize {
        let share = self.share(Part::Reading) / (threads.max(1) as u64);
        let rows = (share / row_bytes.max(1)).clamp(ROWS_IN_FLIGHT_MIN, ROWS_IN_FLIGHT_MAX);
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    fn of<'a>(&self, counters: &'a [AtomicU64; 5], part: Part) -> &'a AtomicU64 {
        let [events, reading, relations, states, orders] = counters;
        match part {
            Part::Events => events,
            Part::Reading => reading,
            Part::Relations => relations,
            Part::States => states,
            Part::Orders => orders,
        }
    }
}

/// Bytes entered in an account, until dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    part: Part,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let counter = self.budget.of(&self.budget.held, self.part);
        counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_exceeds_the_share() {
        // By hand: 1,000 bytes above the program, of which events may hold 35 %.
        let budget = Budget::new(PROGRAM_BYTES + 1_000);
        assert_eq!(budget.share(Part::Events), 350);
        let first = budget.try_hold(Part::Events, 300).unwrap();
        assert!(budget.try_hold(Part::Events, 51).is_none());
        let second = budget.try_hold(Part::Events, 50).unwrap();
        assert_eq!(budget.held(Part::Events), 350);
        drop(first);
        assert_eq!(budget.held(Part::Events), 50);
        drop(second);
        assert_eq!(budget.held(Part::Events), 0);
        assert_eq!(budget.peak(Part::Events), 350);
    }

    #[test]
    fn parts_do_not_take_from_each_other_and_leave_something_over() {
        let budget = Budget::new(PROGRAM_BYTES + 1_000_000);
        let all: u64 = Part::EVERY.iter().map(|part| budget.share(*part)).sum();
        let later = budget.share(Part::States) + budget.share(Part::Orders);
        assert_eq!(all - later, 650_000, "while rows are read");
        assert_eq!(all - budget.share(Part::Reading), 850_000, "while they are folded");
        let _events = budget.try_hold(Part::Events, 350_000).unwrap();
        assert!(budget.try_hold(Part::Orders, 150_000).is_some());
    }

    #[test]
    fn a_limit_below_the_program_holds_nothing() {
        let budget = Budget::new(1 << 20);
        assert!(budget.try_hold(Part::Events, 1).is_none());
        assert_eq!(budget.rows_in_flight(2, 100), 32_768);
    }

    #[test]
    fn rows_in_flight_follow_the_limit() {
        // By hand: a fifth of 100,000,000 bytes for two threads is 10,000,000 each.
        let budget = Budget::new(PROGRAM_BYTES + 100_000_000);
        assert_eq!(budget.rows_in_flight(2, 100), 100_000);
        assert_eq!(Budget::new(u64::MAX).rows_in_flight(2, 100), 1 << 20);
    }
}
