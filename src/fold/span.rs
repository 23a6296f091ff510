//! From when to when a deal's sales cycle lasts, and what else a folded deal says of itself.

use super::machine::{Machine, Move, Outcome};
use crate::config::{CycleEnd, CycleStart};
use crate::contract::StageClass;
use crate::time::{Instant, NO_INSTANT};

impl Machine<'_> {
    /// Whether a stage that is not in the pipeline re-opened the deal, which G8 says of open ones only.
    #[must_use]
    pub fn is_reopened_by_unknown(&self) -> bool {
        let class = |stage: u16| self.stages.stage(stage).class;
        self.visits.iter().any(|visit| {
            class(visit.stage) == StageClass::Unknown
                && visit.arrival == Move::Reopened
                && matches!(class(visit.prev), StageClass::Won | StageClass::Lost)
        })
    }

    /// Whether its last deletion was a merge into another deal.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.merged && self.deal.deleted != NO_INSTANT
    }

    /// Start of the sales cycle; [`NO_INSTANT`] if there is none.
    #[must_use]
    pub fn cycle_start(&self) -> Instant {
        match self.rules.cycle_start {
            CycleStart::Created => self.created(),
            CycleStart::FirstStage => self.deal.entered_any,
        }
    }

    /// Creation: the created event, or an earlier event (G11).
    #[must_use]
    pub fn created(&self) -> Instant {
        if self.deal.created == NO_INSTANT {
            self.deal.first_event
        } else {
            self.deal.created.min(self.deal.first_event)
        }
    }

    /// Whether the deal was closed before its creation event: a span that no duration may use and
    /// that is not clipped to zero either (G12).
    #[must_use]
    pub fn closed_before_creation(&self, end: Instant, ended: Outcome) -> bool {
        let created = self.deal.created;
        created != NO_INSTANT && ended != Outcome::Open && end < created
    }

    /// End of the sales cycle and how it ended.
    #[must_use]
    pub fn cycle_end(&self, as_of: Instant) -> (Instant, Outcome) {
        let deal = &self.deal;
        let (at, outcome) = match self.rules.cycle_end {
            CycleEnd::FirstClose => (deal.first_closed, deal.first_outcome),
            CycleEnd::Final => (deal.closed, deal.outcome),
        };
        if at != NO_INSTANT && outcome != Outcome::Deleted {
            (at, outcome)
        } else if deal.deleted != NO_INSTANT {
            (deal.deleted, Outcome::Deleted)
        } else {
            (as_of, Outcome::Open)
        }
    }
}
