//! What a deal in one of several pipelines does: which stage an event means, and the handoff from one
//! pipeline to another. A run of one pipeline comes here only to re-open and to restore deals.
//!
//! A deal that was won and goes on in another pipeline, as in onboarding or in renewals, stays won
//! there: only a loss, a re-opening, or a move to an open stage of the pipeline in which it was won
//! takes the win back. Its visits to the other pipeline's stages are visits like any others.
//!
//! Invariant: a deal is in a stage of the pipeline that it is in, or in none.

use super::deal::{Event, Move, Outcome, Visit};
use super::machine::Machine;
use crate::contract::{
    EventKind, NO_PIPELINE, NO_STAGE, STAGE_HANDOFF, Stage, StageClass, StageTable,
};
use crate::time::{Instant, NO_INSTANT};

/// The pipeline that a deal begins in: the first one that its events tell, by name or by a stage that
/// is in one only, because what came before is of the same deal.
#[must_use]
pub fn first_pipeline(stages: &StageTable, mut events: impl Iterator<Item = Event>) -> u16 {
    let told = |event: Event| match event.pipeline {
        NO_PIPELINE => stages.pipeline_of(stages.settle(event.stage, NO_PIPELINE)),
        told => told,
    };
    let first = events.find_map(|event| Some(told(event)).filter(|p| *p != NO_PIPELINE));
    first.unwrap_or_else(|| stages.first_pipeline())
}

impl Machine<'_> {
    /// The event with the stage that it means in the deal's pipeline. A row that tells a pipeline, or
    /// a stage of one only, puts the deal there.
    pub(super) fn in_pipeline(&mut self, event: &Event) -> Event {
        let mut event = *event;
        let mut pipeline = self.deal.pipeline;
        if event.pipeline != NO_PIPELINE {
            pipeline = event.pipeline;
        }
        let names_stage = matches!(
            event.kind,
            EventKind::Created
                | EventKind::Stage
                | EventKind::Won
                | EventKind::Lost
                | EventKind::Reopened
                | EventKind::Restored
        );
        if event.stage != NO_STAGE && names_stage {
            event.stage = self.stages.settle(event.stage, pipeline);
            pipeline = self.stages.pipeline_of(event.stage);
        }
        if pipeline != self.deal.pipeline {
            self.hand_over(pipeline, event.time);
        }
        event
    }

    /// Takes the deal to another pipeline: it is in no stage until it enters one there.
    pub(super) fn hand_over(&mut self, pipeline: u16, at: Instant) {
        self.deal.pipeline = pipeline;
        self.last_open = NO_STAGE;
        self.close_visit(STAGE_HANDOFF, Move::Handoff, at);
        self.current = None;
    }

    /// Whether an open stage of the pipeline that the deal is in leaves it won: it was won in another.
    pub(super) fn keeps_win(&self) -> bool {
        self.deal.outcome == Outcome::Won && self.deal.pipeline != self.won_in
    }

    /// Re-opens a closed deal: a person says so, whatever stage it is in.
    pub(super) fn reopen(&mut self, event: &Event) {
        let is_closed = self.deal.outcome != Outcome::Open;
        let named = self.named_stage(event);
        let is_elsewhere = named != NO_STAGE && self.current != Some(named);
        if self.keeps_win() {
            // Who re-opens a deal takes its win back, whatever pipeline it is in.
            self.won_in = self.deal.pipeline;
            if self.current.is_some() && !is_elsewhere {
                self.deal.reopens += 1;
                self.set_outcome(Outcome::Open, event.time);
                return;
            }
        }
        if named != NO_STAGE {
            self.enter(named, event);
        } else if let Some(to) = self.stage_before_close().filter(|_| is_closed) {
            self.enter(to, event);
        } else {
            self.deal.no_ops += 1;
        }
    }

    /// Where a closed deal goes that is re-opened without a stage: its last open stage, or else the
    /// pipeline's first one; in a pipeline that nobody listed, its last stage that was no close.
    pub(super) fn stage_before_close(&self) -> Option<u16> {
        if self.last_open != NO_STAGE {
            return Some(self.last_open);
        }
        let first = self.stages.first_open(self.deal.pipeline);
        if first != NO_STAGE {
            return Some(first);
        }
        let is_back = |stage: &u16| {
            self.stages.pipeline_of(*stage) == self.deal.pipeline
                && self.stages.stage(*stage).class == StageClass::Unknown
        };
        self.visits.iter().rev().map(|visit| visit.stage).find(is_back)
    }

    /// Whether a stage is in the pipeline that the deal is in.
    pub(super) fn is_here(&self, stage: u16) -> bool {
        !self.stages.has_pipelines() || self.stages.pipeline_of(stage) == self.deal.pipeline
    }

    /// When the deal first entered the first stage of the pipeline that it is in.
    pub(super) fn entered_first(&self) -> Instant {
        let is_first = |visit: &&Visit| {
            let Stage { class, order } = self.stages.stage_at(visit.stage, visit.entered);
            class == StageClass::Open && order == 1 && self.is_here(visit.stage)
        };
        self.visits.iter().find(is_first).map_or(NO_INSTANT, |visit| visit.entered)
    }
}
