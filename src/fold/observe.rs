//! What full rows, old values and tables of current deals say of one deal, turned into the events
//! that must have happened, before the machine applies them.
//!
//! A row is compared with the row before of the same input, so that a row of another input between
//! them is not taken back. Histories of plain events never come here. What follows from a table of
//! current deals is in [`super::current`].

use super::deal::Event;
use super::merged::is_losers;
use super::telling::{Quality, Telling, Told};
use super::{Settings, event};
use crate::config::{Deleted, Shape};
use crate::contract::{
    EventBatch, EventKind, Id, NO_CODE, NO_CREATION, NO_PIPELINE, NO_STAGE, OPEN_END, StageClass,
    StageTable,
};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, NO_DAY, NO_INSTANT};

#[cfg(test)]
mod tests;

/// An interval that begins within so many microseconds of the end of the one before follows it
/// without a gap: connectors end one a millisecond before the next, others to the second.
const GAP_MIN: i64 = 1_000_000;

/// One event that is to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The event.
    pub event: Event,
    /// The row that it was made of.
    pub row: usize,
    /// Which dimensions of that row it gives.
    pub gives: Gives,
    /// Its place among those of its instant.
    pub(super) place: Place,
}

/// Which dimensions of its row an event gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// None.
    Nothing,
    /// All that the row has.
    All,
    /// Those that no other row of the deal has.
    Lacking,
}

/// Order within an instant; rows keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Filled,
    Created,
    Initial,
    Row,
    Ending,
}

/// What was noticed of one deal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the quality rule of the same name")]
pub struct Compared {
    pub overlapping_intervals: u64,
    pub vanished_deals: u64,
    pub closed_when_first_seen: u64,
    pub history_disagrees: u64,
    pub unlogged_outcomes: u64,
    pub unlogged_deals: u64,
    pub repeated_deals: u64,
    /// Deals with both a history and a current state.
    pub compared: u64,
}

impl Compared {
    /// Adds what was noticed of other deals.
    pub fn add(&mut self, other: &Self) {
        self.overlapping_intervals += other.overlapping_intervals;
        self.vanished_deals += other.vanished_deals;
        self.closed_when_first_seen += other.closed_when_first_seen;
        self.history_disagrees += other.history_disagrees;
        self.unlogged_outcomes += other.unlogged_outcomes;
        self.unlogged_deals += other.unlogged_deals;
        self.repeated_deals += other.repeated_deals;
        self.compared += other.compared;
    }
}

/// What an input's rows said of the deal so far.
#[derive(Debug, Clone, Copy)]
struct Seen {
    is_seen: bool,
    is_gone: bool,
    row: usize,
    at: Instant,
    /// Until when some interval holds.
    until: Instant,
    /// Whether the rows are of a deal that was merged into this one; its end is not this one's.
    is_merged: bool,
    stage: u16,
    pipeline: u16,
    amount: i64,
    owner: u32,
    customer: Id,
    expected_close: i32,
}

const UNSEEN: Seen = Seen {
    is_seen: false,
    is_gone: false,
    row: 0,
    at: NO_INSTANT,
    until: NO_INSTANT,
    is_merged: false,
    stage: NO_STAGE,
    pipeline: NO_PIPELINE,
    amount: NO_AMOUNT,
    owner: NO_CODE,
    customer: Id::NONE,
    expected_close: NO_DAY,
};

/// Turns one deal's rows after the other into steps, in the same room.
#[derive(Debug)]
pub struct Observer<'a> {
    pub(super) telling: &'a Telling,
    pub(super) stages: &'a StageTable,
    deleted: Deleted,
    /// The deal's events, in order.
    pub steps: Vec<Step>,
    /// By deal and input, the deals of [`Self::deals`] one after the other.
    seen: Vec<Seen>,
    /// The deals that the rows were of, where several were merged.
    deals: Vec<Id>,
    before: Vec<usize>,
    /// Rows of the table of current deals: how the deal stands, and that it is deleted.
    pub(super) current: Option<usize>,
    pub(super) current_gone: Option<usize>,
    /// The earliest creation that a full row gives.
    born: Option<(Instant, usize)>,
    /// The earliest creation that the table of current deals gives of those merged into this one.
    born_merged: Option<(Instant, usize)>,
    /// Dimensions that no history of the deal gives.
    pub(super) lacking: Vec<bool>,
    /// What was noticed of the deal.
    pub compared: Compared,
    /// The worst of the inputs that tell of it.
    pub quality: Quality,
}

impl<'a> Observer<'a> {
    /// An observer for the deals of a run.
    #[must_use]
    pub fn new(settings: &Settings<'a>) -> Self {
        Self {
            telling: settings.telling,
            stages: settings.stages,
            deleted: settings.rules.deleted,
            steps: Vec::new(),
            seen: vec![UNSEEN; settings.telling.inputs.len()],
            deals: Vec::new(),
            before: Vec::new(),
            current: None,
            current_gone: None,
            born: None,
            born_merged: None,
            lacking: vec![false; settings.dimensions],
            compared: Compared::default(),
            quality: Quality::Events,
        }
    }

    /// Turns a deal's ordered rows into steps. There are none where nothing says when anything
    /// happened to the deal. `own` has the deal that each row was of where some were merged.
    pub fn observe(
        &mut self,
        events: &EventBatch,
        units: &[(usize, usize)],
        own: &[Id],
        rows: &[u32],
    ) {
        self.begin();
        let mut quality = None;
        for row in rows {
            let at = *row as usize;
            let is_merged = is_losers(events, own, at);
            let deal = own.get(at).copied();
            let own = event(events, at);
            let input = self.telling.input_of(units, at);
            if is_merged && own.kind.is_current() {
                if own.time != NO_CREATION {
                    self.born_merged = earlier(self.born_merged, (own.time, at));
                }
                continue;
            }
            if own.kind == EventKind::CurrentGone {
                self.current_gone = later(events, self.current_gone, at);
                continue;
            }
            if own.kind.is_current() {
                self.compared.repeated_deals += u64::from(self.current.is_some());
                self.current = later(events, self.current, at);
                continue;
            }
            let told = self.telling.inputs.get(input);
            quality = quality.max(told.map(|told| told.quality));
            match own.kind {
                EventKind::Before => self.before.push(at),
                EventKind::Observed | EventKind::ObservedGone => {
                    let slot = self.slot(deal, input, is_merged);
                    if let Some(told) = told {
                        self.observed(events, told, slot, at, &own);
                    }
                }
                kind => {
                    let place =
                        if kind == EventKind::Created { Place::Created } else { Place::Row };
                    self.push(own, at, Gives::All, place);
                }
            }
        }
        self.end();
        self.quality = quality.unwrap_or(Quality::Current);
        let created = self.creation(events);
        self.initial(events, created);
        self.sort();
        self.fill(events, created);
        self.sort();
    }

    /// The code of a dimension that a step gives.
    #[must_use]
    pub fn dimension(&self, events: &EventBatch, step: &Step, index: usize) -> u32 {
        let is_given = match step.gives {
            Gives::Nothing => false,
            Gives::All => true,
            Gives::Lacking => self.lacking.get(index) == Some(&true),
        };
        let code = events.dimensions.get(index).and_then(|d| d.get(step.row)).copied();
        if is_given { code.unwrap_or(NO_CODE) } else { NO_CODE }
    }

    fn begin(&mut self) {
        self.steps.clear();
        self.deals.clear();
        self.seen.truncate(self.telling.inputs.len());
        self.seen.fill(UNSEEN);
        self.before.clear();
        (self.current, self.current_gone) = (None, None);
        (self.born, self.born_merged) = (None, None);
        self.compared = Compared::default();
    }

    /// Where what was seen of a deal in an input is kept.
    fn slot(&mut self, deal: Option<Id>, input: usize, is_merged: bool) -> usize {
        let Some(deal) = deal else { return input };
        let inputs = self.telling.inputs.len();
        let place = self.deals.iter().position(|known| *known == deal).unwrap_or_else(|| {
            self.deals.push(deal);
            let all = self.deals.len() * inputs;
            self.seen.resize(all, Seen { is_merged, ..UNSEEN });
            let own = self.seen.iter_mut().skip(all - inputs);
            own.for_each(|seen| seen.is_merged = is_merged);
            self.deals.len() - 1
        });
        place * inputs + input
    }

    /// Stable, so that rows of an instant keep their order.
    fn sort(&mut self) {
        self.steps.sort_by_key(|step| (step.event.time, step.place));
    }

    pub(super) fn push(&mut self, event: Event, row: usize, gives: Gives, place: Place) {
        self.steps.push(Step { event, row, gives, place });
    }

    /// Compares a full row with the one before of its input.
    fn observed(&mut self, events: &EventBatch, told: &Told, slot: usize, at: usize, own: &Event) {
        let Some(mut seen) = self.seen.get(slot).copied() else { return };
        if told.is_created_told
            && let Some(born) = events.ingested.get(at).filter(|born| **born != NO_INSTANT)
            && self.born.is_none_or(|(known, _)| *born < known)
        {
            self.born = Some((*born, at));
        }
        let until = match told.shape {
            Shape::Intervals => events.seq.get(at).copied().unwrap_or(OPEN_END),
            _ => OPEN_END,
        };
        if seen.is_seen {
            self.since(told, &mut seen, own.time);
        } else if told.shape == Shape::Snapshots && told.extracts.first() == Some(&own.time) {
            let class = self.stages.stage(own.stage).class;
            let is_closed = matches!(class, StageClass::Won | StageClass::Lost);
            self.compared.closed_when_first_seen |= u64::from(is_closed);
        }
        self.differ(events, told, &seen, at, own);
        if let Some(slot) = self.seen.get_mut(slot) {
            *slot = Seen {
                is_seen: true,
                is_gone: own.kind == EventKind::ObservedGone,
                row: at,
                at: own.time,
                is_merged: seen.is_merged,
                until: if seen.is_seen && !seen.is_gone { until.max(seen.until) } else { until },
                stage: if own.stage == NO_STAGE { seen.stage } else { own.stage },
                pipeline: if own.pipeline == NO_PIPELINE { seen.pipeline } else { own.pipeline },
                amount: own.amount,
                owner: own.owner,
                customer: own.customer,
                expected_close: own.expected_close,
            };
        }
    }

    /// What happened between the rows of an input up to now and one that begins at `time`.
    fn since(&mut self, told: &Told, seen: &mut Seen, time: Instant) {
        if seen.is_gone || seen.is_merged {
            return;
        }
        match told.shape {
            Shape::Intervals => {
                if time.saturating_sub(seen.until) > GAP_MIN {
                    self.delete(seen.until, seen.row);
                    seen.is_gone = true;
                } else if told.has_ends && time < seen.until {
                    self.compared.overlapping_intervals += 1;
                }
            }
            Shape::Snapshots => {
                if let Some(missed) = told.extract_after(seen.at).filter(|next| *next < time) {
                    self.compared.vanished_deals = 1;
                    self.delete(missed, seen.row);
                    seen.is_gone = true;
                }
            }
            _ => {}
        }
    }

    fn delete(&mut self, at: Instant, row: usize) {
        self.push(bare(at, EventKind::Deleted), row, Gives::Nothing, Place::Row);
    }

    /// The events between the row before and this one.
    fn differ(&mut self, events: &EventBatch, told: &Told, seen: &Seen, at: usize, own: &Event) {
        let mut event = *own;
        let dimensions = events.dimensions.iter();
        let moved = |d: &Vec<u32>| d.get(at) != d.get(seen.row);
        let gives = !seen.is_seen || dimensions.into_iter().any(moved);
        let gives = if gives { Gives::All } else { Gives::Nothing };
        if seen.is_seen {
            keep_changes(&mut event, seen);
        }
        let is_changed = event.amount != NO_AMOUNT
            || event.owner != NO_CODE
            || !event.customer.is_none()
            || event.expected_close != NO_DAY
            || event.pipeline != NO_PIPELINE
            || gives == Gives::All;
        let is_moved = event.pipeline != NO_PIPELINE || own.stage != seen.stage;
        if own.kind == EventKind::ObservedGone {
            if !seen.is_gone {
                (event.kind, event.stage) = (EventKind::Deleted, NO_STAGE);
                self.push(event, at, gives, Place::Row);
            }
            return;
        }
        if told.has_amount && seen.amount != NO_AMOUNT && own.amount == NO_AMOUNT {
            self.push(bare(own.time, EventKind::Cleared), at, Gives::Nothing, Place::Row);
        }
        if seen.is_gone {
            event.kind = EventKind::Restored;
            self.push(event, at, gives, Place::Row);
            // A deletion that counts as a loss is taken back to where the deal was.
            let has_moved = own.stage != NO_STAGE && own.stage != seen.stage;
            if self.deleted == Deleted::AsLost && has_moved {
                let stage = Event { stage: own.stage, ..bare(own.time, EventKind::Stage) };
                self.push(stage, at, Gives::Nothing, Place::Row);
            }
        } else if own.stage != NO_STAGE && is_moved {
            event.kind = EventKind::Stage;
            self.push(event, at, gives, Place::Row);
        } else if is_changed {
            (event.kind, event.stage) = (EventKind::Attribute, NO_STAGE);
            self.push(event, at, gives, Place::Row);
        }
    }

    /// The ends of what holds no longer, though no row followed.
    fn end(&mut self) {
        let inputs = self.telling.inputs.len();
        for slot in 0..self.seen.len() {
            let (Some(seen), Some(told)) =
                (self.seen.get(slot).copied(), self.telling.inputs.get(slot % inputs))
            else {
                continue;
            };
            if !seen.is_seen || seen.is_gone || seen.is_merged {
                continue;
            }
            if told.shape == Shape::Snapshots {
                if let Some(missed) = told.extract_after(seen.at) {
                    self.compared.vanished_deals = 1;
                    self.delete(missed, seen.row);
                }
            } else if seen.until != OPEN_END {
                self.delete(seen.until, seen.row);
            }
        }
    }

    /// When the deal was created: by its history, else by a full row, else by the current deals.
    fn creation(&mut self, events: &EventBatch) -> Option<Instant> {
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
    fn initial(&mut self, events: &EventBatch, created: Option<Instant>) {
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
            Self::Pipeline => event.pipeline != NO_PIPELINE,
            Self::Dimension(place) => {
                let code = events.dimensions.get(place).and_then(|d| d.get(step.row));
                step.gives == Gives::All && code.is_some_and(|code| *code != NO_CODE)
            }
        }
    }
}

/// The earlier of two creations.
fn earlier(known: Option<(Instant, usize)>, other: (Instant, usize)) -> Option<(Instant, usize)> {
    known.filter(|known| known.0 <= other.0).or(Some(other))
}

/// The later of two rows of current deals, by what they say and not by where they stand.
fn later(events: &EventBatch, known: Option<usize>, at: usize) -> Option<usize> {
    let content = |row: usize| {
        let own = event(events, row);
        let ended = events.ingested.get(row).copied().unwrap_or(NO_INSTANT);
        let rest = (own.amount, own.expected_close, own.customer, own.owner, own.pipeline);
        (ended, own.time, own.kind, own.stage, rest)
    };
    known.filter(|known| content(*known) >= content(at)).or(Some(at))
}

/// Whether an event says which stage the deal is in.
pub(super) fn tells_stage(event: &Event) -> bool {
    matches!(event.kind, EventKind::Stage | EventKind::Won | EventKind::Lost | EventKind::Reopened)
        || (event.stage != NO_STAGE
            && matches!(event.kind, EventKind::Created | EventKind::Restored))
}

/// An event that says nothing beside its kind.
pub(super) fn bare(time: Instant, kind: EventKind) -> Event {
    Event {
        time,
        kind,
        stage: NO_STAGE,
        pipeline: NO_PIPELINE,
        amount: NO_AMOUNT,
        owner: NO_CODE,
        customer: Id::NONE,
        expected_close: NO_DAY,
    }
}

/// Takes out what the row before said, too.
fn keep_changes(event: &mut Event, seen: &Seen) {
    if event.amount == seen.amount {
        event.amount = NO_AMOUNT;
    }
    if event.owner == seen.owner {
        event.owner = NO_CODE;
    }
    if event.customer == seen.customer {
        event.customer = Id::NONE;
    }
    if event.expected_close == seen.expected_close {
        event.expected_close = NO_DAY;
    }
    if event.pipeline == seen.pipeline {
        event.pipeline = NO_PIPELINE;
    }
}
