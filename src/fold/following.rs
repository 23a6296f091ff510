//! What follows what in a deal's history, event by event.
//!
//! A visit is a whole stay (G4, G5); here an event that names the stage which the deal is already in
//! counts too, as process mining has it. It looks at stages and times only.
//!
//! Invariant: a deal of n events that name a stage has n + 1 steps, from START to STILL.

use crate::contract::{STAGE_START, STAGE_STILL};
use crate::time::{Instant, NO_INSTANT};

/// Whether anybody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follows {
    /// Nobody does.
    #[default]
    Unread,
    /// Somebody does.
    Read,
}

/// One event of a deal and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The stage of the event; START before the first one.
    pub from: u16,
    /// The stage of the next event; STILL after the last one.
    pub to: u16,
    /// When the deal got to `from`; of START when it got to `to`.
    pub since: Instant,
    /// When it got to `to`; [`NO_INSTANT`] after the last event.
    pub at: Instant,
    /// The deal goes from the one to the other for the first time.
    pub is_first: bool,
}

/// The steps of one deal; keeps its buffers between deals.
#[derive(Debug, Clone, Default)]
pub struct Following {
    steps: Vec<Step>,
    pairs: Vec<(u16, u16)>,
}

impl Following {
    /// Begins a deal.
    pub fn begin(&mut self) {
        self.steps.clear();
        self.pairs.clear();
    }

    /// Notes an event that names a stage.
    pub fn note(&mut self, stage: u16, at: Instant) {
        if let Some(last) = self.steps.last_mut() {
            (last.to, last.at) = (stage, at);
            let pair = (last.from, stage);
            last.is_first = !self.pairs.contains(&pair);
            if last.is_first {
                self.pairs.push(pair);
            }
        } else {
            let (from, to) = (STAGE_START, stage);
            self.steps.push(Step { from, to, since: at, at, is_first: true });
        }
        let (to, open) = (STAGE_STILL, NO_INSTANT);
        self.steps.push(Step { from: stage, to, since: at, at: open, is_first: true });
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of stages at days, as text: from, to, days between, ! for the first of its kind.
    #[track_caller]
    fn check(stages: &[u16], expected: &str) {
        let mut following = Following::default();
        following.begin();
        for (stage, at) in stages.iter().zip(0..) {
            following.note(*stage, at * 10);
        }
        let told = following.steps().iter().map(|step| {
            let gap =
                if step.at == NO_INSTANT { "-".into() } else { (step.at - step.since).to_string() };
            let first = if step.is_first { "!" } else { "" };
            format!("{}>{}:{gap}{first}", step.from, step.to)
        });
        assert_eq!(told.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn every_event_has_one_before_and_one_after() {
        check(&[5], "0>5:0! 5>1:-!");
        check(&[5, 6, 7], "0>5:0! 5>6:10! 6>7:10! 7>1:-!");
        check(&[], "");
    }

    #[test]
    fn repeats_follow_themselves_and_pairs_count_once_a_deal() {
        check(&[5, 5, 5, 6, 5, 5], "0>5:0! 5>5:10! 5>5:10 5>6:10! 6>5:10! 5>5:10 5>1:-!");
    }
}
