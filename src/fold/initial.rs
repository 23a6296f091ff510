//! What held before the first change of a deal that anybody logged: its creation, and the values
//! that its fields had until then.

use super::deal::Event;
use super::event;
use super::observe::{Gives, Observer, Place, Step, bare, tells_stage};
use crate::contract::{
    EventBatch, EventKind, NO_CODE, NO_CREATION, NO_PIPELINE, NO_PROBABILITY, NO_STAGE,
};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, NO_DAY};

impl Observer<'_> {
    /// When the deal was created: by its history, else by a full row, else by the current deals.
    pub(super) fn creation(&mut self, events: &EventBatch) -> Option<Instant> {
        let created = self.steps.iter().filter(|step| step.event.kind == EventKind::Created);
        let created = created.map(|step| step.event.time).min();
        let of_current = self.current.or(self.current_gone).and_then(|row| {
            let at = events.time.get(row).copied()?;
            (at != NO_CREATION).then_some((at, row))
        });
        let told = self.born.or(of_current).filter(|_| created.is_none());
        // Of deals that are one now, the earliest creation is the creation.
        let merged = self.born_merged.filter(|(at, _)| created.is_none_or(|known| *at < known));
        let Some((at, row)) = merged.into_iter().fold(told, earlier) else { return created };
        self.push(bare(at, EventKind::Created), row, Gives::Nothing, Place::Created);
        Some(at)
    }

    /// The values that fields had before their first change. A stage needs to know from when on, so
    /// it is taken where the creation is known; the others hold from the deal's first event.
    pub(super) fn initial(&mut self, events: &EventBatch, created: Option<Instant>) {
        let first = self.steps.iter().map(|step| step.event.time).min();
        let mut told: Vec<Field> = Vec::new();
        for position in 0..self.before.len() {
            let Some(row) = self.before.get(position).copied() else { continue };
            let own = event(events, row);
            let field = Field::of(&own, events, row);
            let is_told =
                |step: &Step| step.event.time < own.time && field.is_told_by(step, events);
            if told.contains(&field) || self.steps.iter().any(is_told) {
                continue;
            }
            told.push(field);
            let from = if field == Field::Stage { created } else { created.or(first) };
            let Some(time) = from.filter(|from| *from <= own.time) else { continue };
            // Attributes come first, so that they are those of the visit that begins then.
            let (kind, place) = if field == Field::Stage {
                (EventKind::Stage, Place::Initial)
            } else {
                (EventKind::Attribute, Place::Filled)
            };
            self.push(Event { time, kind, ..own }, row, Gives::All, place);
        }
    }
}

/// What the note of an old value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Stage,
    Amount,
    Owner,
    Customer,
    ExpectedClose,
    Probability,
    Pipeline,
    /// The dimension at this position.
    Dimension(usize),
}

impl Field {
    fn of(own: &Event, events: &EventBatch, row: usize) -> Self {
        if own.stage != NO_STAGE {
            return Self::Stage;
        }
        if own.amount != NO_AMOUNT {
            return Self::Amount;
        }
        if own.owner != NO_CODE {
            return Self::Owner;
        }
        if own.expected_close != NO_DAY {
            return Self::ExpectedClose;
        }
        if own.probability != NO_PROBABILITY {
            return Self::Probability;
        }
        if own.pipeline != NO_PIPELINE {
            return Self::Pipeline;
        }
        let is_given = |d: &Vec<u32>| d.get(row).is_some_and(|code| *code != NO_CODE);
        events.dimensions.iter().position(is_given).map_or(Self::Customer, Self::Dimension)
    }

    fn is_told_by(self, step: &Step, events: &EventBatch) -> bool {
        let event = &step.event;
        match self {
            Self::Stage => tells_stage(event),
            Self::Amount => event.amount != NO_AMOUNT,
            Self::Owner => event.owner != NO_CODE,
            Self::Customer => !event.customer.is_none(),
            Self::ExpectedClose => event.expected_close != NO_DAY,
            Self::Probability => event.probability != NO_PROBABILITY,
            Self::Pipeline => event.pipeline != NO_PIPELINE,
            Self::Dimension(place) => {
                let code = events.dimensions.get(place).and_then(|d| d.get(step.row));
                step.gives == Gives::All && code.is_some_and(|code| *code != NO_CODE)
            }
        }
    }
}

/// The earlier of two creations.
pub(super) fn earlier(
    known: Option<(Instant, usize)>,
    other: (Instant, usize),
) -> Option<(Instant, usize)> {
    known.filter(|known| known.0 <= other.0).or(Some(other))
}
