//! What a table of current deals adds to a deal's history, and whether the two agree.
//!
//! The history counts where both speak. What it lacks is taken from the table: attributes as if they
//! had been so from the beginning, the creation, the outcome at the time that the table gives.

use super::deal::Event;
use super::observe::{Gives, Observer, Place, Step, bare, currency, tells_stage};
use super::{event, first_pipeline};
use crate::contract::{
    EventBatch, EventKind, NO_CODE, NO_PIPELINE, NO_PROBABILITY, NO_STAGE, StageClass,
};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, MICROS_PER_DAY, NO_DAY, NO_INSTANT};

impl Observer<'_> {
    /// Adds to the sorted steps what they lack.
    pub(super) fn fill(&mut self, events: &EventBatch, created: Option<Instant>) {
        let Some(row) = self.current.or(self.current_gone) else { return };
        let has_history = self.quality != super::telling::Quality::Current;
        self.compared.unlogged_deals = u64::from(!has_history);
        self.compared.compared = u64::from(has_history);
        let own = event(events, row);
        let ended = |row: usize| {
            let at = events.ingested.get(row).copied().unwrap_or(NO_INSTANT);
            (at != NO_INSTANT).then_some(at)
        };
        let agrees =
            self.settle_stage(&own, row, created) & self.settle_outcome(&own, row, ended(row));
        self.compared.history_disagrees = u64::from(has_history && !agrees);
        if self.compared.undated_outcomes > 0 && !has_history {
            // Neither open nor in any period: to count it anywhere would be a guess.
            self.steps.clear();
            return;
        }
        if let Some(gone) = self.current_gone {
            self.settle_deletion(gone, ended(gone));
        }
        self.fill_attributes(events, &own, row);
    }

    fn last(&self, is_it: impl Fn(&Event) -> bool) -> Option<Step> {
        self.steps.iter().rev().find(|step| is_it(&step.event)).copied()
    }

    /// Whether the last deletion was not taken back.
    fn is_deleted(&self) -> bool {
        let last = self.last(|event| {
            matches!(event.kind, EventKind::Deleted | EventKind::Merged | EventKind::Restored)
        });
        last.is_some_and(|step| step.event.kind != EventKind::Restored)
    }

    /// A deal whose history tells no stage has been in its stage since its creation, because a move
    /// would have been told. Returns whether the stages agree.
    fn settle_stage(&mut self, own: &Event, row: usize, created: Option<Instant>) -> bool {
        let class = self.stages.stage(own.stage).class;
        let is_open = matches!(class, StageClass::Open | StageClass::Unknown);
        if own.stage == NO_STAGE || !is_open {
            return true;
        }
        let Some(last) = self.last(tells_stage) else {
            if let Some(time) = created {
                let stage = Event { stage: own.stage, ..bare(time, EventKind::Stage) };
                self.push(stage, row, Gives::Nothing, Place::Initial);
            }
            return true;
        };
        // Won and lost deals may keep the stage they were in, so only the outcome is compared.
        let is_open = own.kind == EventKind::CurrentOpen || own.kind == EventKind::Current;
        let was_open = last.event.kind == EventKind::Stage
            && self.class_of(&last.event) != Some(StageClass::Won)
            && self.class_of(&last.event) != Some(StageClass::Lost);
        !(is_open && was_open)
            || self.stages.agree(last.event.stage, own.stage)
            || self.is_deleted()
    }

    /// Whether the deal was won in another pipeline than the one that it is in, and no loss, no
    /// re-opening and no move there has taken that back: as the machine will have it.
    fn keeps_win(&self) -> bool {
        if !self.stages.has_pipelines() {
            return false;
        }
        let mut pipeline = first_pipeline(self.stages, self.steps.iter().map(|step| step.event));
        let mut won_in = None;
        for event in self.steps.iter().map(|step| step.event) {
            if event.pipeline != NO_PIPELINE {
                pipeline = event.pipeline;
            }
            if !tells_stage(&event) {
                continue;
            }
            let stage = self.stages.settle(event.stage, pipeline);
            if stage != NO_STAGE {
                pipeline = self.stages.pipeline_of(stage);
            }
            match self.class_of(&Event { stage, ..event }) {
                Some(StageClass::Won) => won_in = Some(pipeline),
                Some(StageClass::Lost) => won_in = None,
                _ if event.kind == EventKind::Reopened || won_in == Some(pipeline) => won_in = None,
                _ => {}
            }
        }
        won_in.is_some_and(|won_in| won_in != pipeline)
    }

    fn class_of(&self, event: &Event) -> Option<StageClass> {
        match event.kind {
            EventKind::Won => Some(StageClass::Won),
            EventKind::Lost => Some(StageClass::Lost),
            EventKind::Reopened if event.stage == NO_STAGE => Some(StageClass::Open),
            _ if event.stage == NO_STAGE => None,
            _ => Some(self.stages.stage(event.stage).class),
        }
    }

    /// Adds the close where the history has none. Returns whether the outcomes agree.
    fn settle_outcome(&mut self, own: &Event, row: usize, closed: Option<Instant>) -> bool {
        if self.is_deleted() {
            return self.current_gone.is_some();
        }
        let last = self.last(tells_stage);
        let now = last.and_then(|step| self.class_of(&step.event));
        let told = if self.keeps_win() { Some(StageClass::Won) } else { now };
        let (kind, class) = match own.kind {
            EventKind::CurrentWon => (EventKind::Won, StageClass::Won),
            EventKind::CurrentLost => (EventKind::Lost, StageClass::Lost),
            // A deal that was won and goes on in another pipeline is in an open stage there.
            EventKind::CurrentOpen => {
                return !matches!(now, Some(StageClass::Won | StageClass::Lost));
            }
            _ => return true,
        };
        if matches!(told, Some(StageClass::Won | StageClass::Lost)) {
            return told == Some(class);
        }
        let Some(closed) = closed else {
            self.compared.undated_outcomes = u64::from(self.current_gone.is_none());
            return false;
        };
        // What the table itself gives is no move: a close a day or more before it stays as it is given
        // (G12). A stage that it gives from the creation on must not take that close back.
        let is_assumed = |step: &Step| step.place == Place::Initial && step.gives == Gives::Nothing;
        let is_early = |step: &Step| step.event.time.saturating_sub(closed) >= MICROS_PER_DAY;
        let stays = last.is_some_and(|step| is_assumed(&step) && is_early(&step));
        if stays {
            self.steps.retain(|step| !is_assumed(step));
        }
        let told = last.filter(|_| !stays);
        let moved = told.map_or(closed, |step| step.event.time);
        // A close that is a date may seem to be before the last move of its day.
        if moved.saturating_sub(closed) >= MICROS_PER_DAY {
            return false;
        }
        let stage = if self.stages.stage(own.stage).class == class { own.stage } else { NO_STAGE };
        let event = Event { stage, ..bare(closed.max(moved), kind) };
        self.push(event, row, Gives::Nothing, Place::Ending);
        self.compared.unlogged_outcomes = 1;
        self.compared.early_closes = u64::from(moved > closed);
        true
    }

    /// Adds the deletion where the history has none: when the table says, or with the last event.
    fn settle_deletion(&mut self, row: usize, deleted: Option<Instant>) {
        let last = self.steps.iter().map(|step| step.event.time).max();
        if self.is_deleted() {
            return;
        }
        if let Some(time) = deleted.or(last) {
            self.push(bare(time, EventKind::Deleted), row, Gives::Nothing, Place::Ending);
            self.compared.unlogged_outcomes = 1;
        }
    }

    /// Attributes that no row of the history gives, from the first event on.
    fn fill_attributes(&mut self, events: &EventBatch, own: &Event, row: usize) {
        let Some(time) = self.steps.iter().map(|step| step.event.time).min() else { return };
        let lacks = |is_given: fn(&Event) -> bool| !self.steps.iter().any(|s| is_given(&s.event));
        let mut filled = bare(time, EventKind::Attribute);
        if lacks(|e| e.amount != NO_AMOUNT || e.kind == EventKind::Cleared) {
            filled.amount = own.amount;
        }
        if lacks(|e| e.owner != NO_CODE) {
            filled.owner = own.owner;
        }
        if lacks(|e| !e.customer.is_none()) {
            filled.customer = own.customer;
        }
        if lacks(|e| e.expected_close != NO_DAY) {
            filled.expected_close = own.expected_close;
        }
        if lacks(|e| e.probability != NO_PROBABILITY) {
            filled.probability = own.probability;
        }
        if lacks(|e| e.pipeline != NO_PIPELINE) {
            filled.pipeline = own.pipeline;
        }
        for (place, lacking) in self.lacking.iter_mut().enumerate() {
            let code = |row: usize| events.dimensions.get(place).and_then(|d| d.get(row)).copied();
            let is_given = |step: &Step| {
                step.gives == Gives::All && code(step.row).is_some_and(|code| code != NO_CODE)
            };
            *lacking = !self.steps.iter().any(is_given);
        }
        self.push(filled, row, Gives::Lacking, Place::Filled);
    }
}

impl Observer<'_> {
    /// The later of two rows of current deals, by what they say and not by where they stand.
    pub(super) fn later(
        &self,
        events: &EventBatch,
        known: Option<usize>,
        at: usize,
    ) -> Option<usize> {
        let ranks = &self.telling.ranks;
        // Codes are numbered as the rows come; ranks are not.
        let rank = |of: &[u32], code: u32| of.get(code as usize).copied().unwrap_or(code);
        let content = |row: usize| {
            let own = event(events, row);
            let ended = events.ingested.get(row).copied().unwrap_or(NO_INSTANT);
            let stage = ranks.stage.get(usize::from(own.stage)).copied().unwrap_or(own.stage);
            let customer = (own.customer.hash(), own.customer);
            let names =
                (rank(&ranks.owner, own.owner), rank(&ranks.currency, currency(events, row)));
            let rest =
                (own.amount, own.expected_close, customer, names, own.pipeline, own.probability);
            ((ended, own.time, own.kind, stage), rest)
        };
        let dimensions = |row: usize| {
            let columns = events.dimensions.iter().enumerate();
            columns.map(move |(place, codes)| {
                let ranks = ranks.dimensions.get(place).map_or([].as_slice(), Vec::as_slice);
                rank(ranks, codes.get(row).copied().unwrap_or(NO_CODE))
            })
        };
        let is_later = |known: &usize| {
            let order = content(*known).cmp(&content(at));
            order.then_with(|| dimensions(*known).cmp(dimensions(at))).is_ge()
        };
        known.filter(is_later).or(Some(at))
    }
}
