//! What a deal was after each of its events: from this, what was open at any time can be told.
//!
//! It compares nothing with a period and knows no look-ups; what becomes of the moments is in
//! [`crate::relations::pipeline_stock`] and [`crate::relations::pipeline_flows`].
//!
//! Invariant: moments are in order of time, neighbouring ones differ, and those of one instant differ
//! in whether the deal is open, won, lost or deleted.

use super::deal::{Deal, Outcome};
use super::machine::Machine;
use crate::contract::{NO_CODE, NO_PROBABILITY, NO_STAGE};
use crate::money::NO_AMOUNT;
use crate::time::{Day, Instant, NO_DAY, NO_INSTANT};

/// Whether moments are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replaying {
    /// Nobody asks for them.
    #[default]
    Unread,
    /// They are noted.
    Read,
}

/// What a deal is from one event to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since when.
    pub time: Instant,
    /// Open, won, lost or deleted.
    pub status: Outcome,
    /// The stage it is in, or [`NO_STAGE`].
    pub stage: u16,
    /// The pipeline it is in.
    pub pipeline: u16,
    /// Since when it is in that stage; [`NO_INSTANT`] in none.
    pub entered: Instant,
    /// Minor units, or [`NO_AMOUNT`].
    pub amount: i64,
    /// What the amount before became worth more by another rate of exchange, in minor units.
    pub revalued: i64,
    /// The expected close day, or [`NO_DAY`].
    pub expected_close: Day,
    /// The deal's own chance of winning in millionths, or [`NO_PROBABILITY`].
    pub probability: i32,
    /// The owner, or [`NO_CODE`].
    pub owner: u32,
}

impl Default for Moment {
    fn default() -> Self {
        Self {
            time: NO_INSTANT,
            status: Outcome::Open,
            stage: NO_STAGE,
            pipeline: 0,
            entered: NO_INSTANT,
            amount: NO_AMOUNT,
            revalued: 0,
            expected_close: NO_DAY,
            probability: NO_PROBABILITY,
            owner: NO_CODE,
        }
    }
}

impl Moment {
    /// The amount that counts: nothing where it is unknown.
    #[must_use]
    pub fn value(&self) -> i64 {
        if self.amount == NO_AMOUNT { 0 } else { self.amount }
    }

    /// Whether the deal is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status == Outcome::Open
    }

    /// Whether two moments tell the same but for their time.
    fn is_same(&self, other: &Self) -> bool {
        Self { time: other.time, ..*self } == *other
    }
}

/// The moments of one deal; keeps its buffers between deals.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// The moments, in order of time.
    pub moments: Vec<Moment>,
    /// Of each moment the value of every dimension, one moment after the other.
    pub dimensions: Vec<u32>,
    /// What the amount before the next event is worth by the rates of that event; [`NO_AMOUNT`]
    /// where there is but one rate, or nothing is known of it.
    pub worth: i64,
}

impl Replay {
    /// Begins a deal.
    pub fn begin(&mut self) {
        self.moments.clear();
        self.dimensions.clear();
        self.worth = NO_AMOUNT;
    }

    /// Notes what the deal is after an event. `entered` is when it entered its stage.
    pub fn note(
        &mut self,
        deal: &Deal,
        (stage, entered): (Option<u16>, Instant),
        dimensions: &[u32],
        time: Instant,
    ) {
        let before = self.moments.last().map_or(NO_AMOUNT, |moment| moment.amount);
        let worth = std::mem::replace(&mut self.worth, NO_AMOUNT);
        let is_revalued = ![worth, before, deal.amount].contains(&NO_AMOUNT);
        let moment = Moment {
            time,
            status: if deal.deleted == NO_INSTANT { deal.outcome } else { Outcome::Deleted },
            stage: stage.unwrap_or(NO_STAGE),
            pipeline: deal.pipeline,
            entered: if stage.is_some() { entered } else { NO_INSTANT },
            amount: deal.amount,
            revalued: if is_revalued { worth.saturating_sub(before) } else { 0 },
            expected_close: deal.expected_close,
            probability: deal.probability,
            owner: deal.owner,
        };
        let moment = self.united(moment, dimensions.len());
        let of_last = self.dimensions.len() - dimensions.len().min(self.dimensions.len());
        let known = self.dimensions.get(of_last..).unwrap_or_default();
        // What was revalued before must not stand for a second time.
        let last = self.moments.last().map(|last| Moment { revalued: 0, ..*last });
        if last.is_some_and(|last| last.is_same(&moment)) && known == dimensions {
            return;
        }
        self.moments.push(moment);
        self.dimensions.extend_from_slice(dimensions);
    }

    /// The moment, in the place of the last one of the same instant: what is told in several rows
    /// happened at once. Only what came and went at one instant, such as a deal that was created and
    /// won, stays two.
    fn united(&mut self, moment: Moment, dimensions: usize) -> Moment {
        let mut latest = self.moments.iter().rev().map(|other| (other.time, other.status));
        let (last, before) = (latest.next(), latest.next());
        let is_one = last.is_some_and(|(time, status)| {
            let is_passing = before.is_none_or(|(_, before)| before != status);
            time == moment.time && (status == moment.status || !is_passing)
        });
        if !is_one {
            return moment;
        }
        self.dimensions.truncate(self.dimensions.len().saturating_sub(dimensions));
        let revalued = self.moments.pop().map_or(0, |last| last.revalued);
        Moment { revalued: moment.revalued.saturating_add(revalued), ..moment }
    }
}

impl Machine<'_> {
    /// The same, but it notes what a deal was after each event if somebody reads it.
    #[must_use]
    pub fn replaying(mut self, replaying: Replaying) -> Self {
        self.replay = (replaying == Replaying::Read).then(Replay::default);
        self
    }

    /// Says what the amount so far is worth by the rates of the next event.
    #[inline]
    pub fn revalue(&mut self, worth: i64) {
        if let Some(replay) = &mut self.replay {
            replay.worth = worth;
        }
    }

    /// Notes what the deal is after an event.
    #[inline]
    pub(super) fn note_moment(&mut self, time: Instant) {
        if let Some(replay) = &mut self.replay {
            let entered = self.visits.last().map_or(NO_INSTANT, |visit| visit.entered);
            replay.note(&self.deal, (self.current, entered), &self.dimensions, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments after states of a deal, a state an instant but for those joined by `+`: amounts, or
    /// `x` without one, `w` before one that is won; what follows `!` is what the last was worth.
    #[track_caller]
    fn check(states: &str, expected: &[(Instant, i64, i64)]) {
        let mut replay = Replay::default();
        replay.begin();
        for (time, states) in (1..).zip(states.split_whitespace()) {
            for state in states.split('+') {
                let (amount, worth) = state.split_once('!').unwrap_or((state, ""));
                replay.worth = worth.parse().unwrap_or(NO_AMOUNT);
                let outcome = if amount.starts_with('w') { Outcome::Won } else { Outcome::Open };
                let amount = amount.trim_start_matches('w').parse().unwrap_or(NO_AMOUNT);
                let deal = Deal { amount, outcome, ..Deal::default() };
                replay.note(&deal, (None, NO_INSTANT), &[7, 8], time);
            }
        }
        let found = replay.moments.iter().map(|m| (m.time, m.amount, m.revalued));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(replay.dimensions.len(), 2 * replay.moments.len());
    }

    #[test]
    fn only_what_differs_is_a_moment() {
        check("100 100 120 120 100", &[(1, 100, 0), (3, 120, 0), (5, 100, 0)]);
    }

    #[test]
    fn what_is_told_in_several_rows_of_one_instant_happened_at_once() {
        check("100 110+120 120+100", &[(1, 100, 0), (2, 120, 0), (3, 100, 0)]);
        check("100 120+100 90", &[(1, 100, 0), (3, 90, 0)]);
        // The amount first, then the win; and after a win its amount.
        check("100 120+w120 w130", &[(1, 100, 0), (2, 120, 0), (3, 130, 0)]);
        check("100 w100+w120", &[(1, 100, 0), (2, 120, 0)]);
        check("100 130!110+140", &[(1, 100, 0), (2, 140, 10)]);
    }

    #[test]
    fn a_deal_that_is_created_and_won_at_once_was_open() {
        check("x+100+w100", &[(1, 100, 0), (1, 100, 0)]);
    }

    #[test]
    fn what_another_rate_makes_of_an_amount_stands_apart() {
        // 100 is worth 110 when 130 is said: 10 of the 30 are the rate's.
        check("100 130!110 130", &[(1, 100, 0), (2, 130, 10)]);
        check("x 130!110 x!140", &[(1, NO_AMOUNT, 0), (2, 130, 0), (3, NO_AMOUNT, 0)]);
    }
}
