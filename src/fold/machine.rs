//! The state machine: one deal's ordered events to its visits and its outcome, in one pass.
//!
//! It looks at plain values only, so it is tested without files, engines or relations. It keeps its
//! buffers between deals, so that a deal costs no allocation.

pub use super::deal::{Deal, Event, Move, Outcome, Rules, Visit};
use super::following::{Following, Follows};
use super::ledger::{Booking, Ledger};
use super::pricing::Pricing;
use super::replay::Replay;
use super::windowed::VisitDimensions;
use crate::config::{Deleted, DimensionAt};
use crate::contract::{
    EventBatch, EventKind, NO_CODE, NO_PIPELINE, NO_PROBABILITY, NO_STAGE, STAGE_DELETED,
    STAGE_HANDOFF, STAGE_START, STAGE_STILL, Stage, StageClass, StageTable,
};
use crate::money::{NO_AMOUNT, UNPRICED};
use crate::time::{Instant, NO_DAY, NO_INSTANT};

/// Folds one deal at a time.
#[derive(Debug)]
pub struct Machine<'a> {
    pub(super) stages: &'a StageTable,
    pub(super) rules: Rules,
    /// What is known of the deal so far.
    pub deal: Deal,
    /// Its visits so far, in order.
    pub visits: Vec<Visit>,
    /// Its dimensions so far: the value it carries, by [`Rules::dimension_at`].
    pub dimensions: Vec<u32>,
    dimensions_now: Vec<u32>,
    pub(super) current: Option<u16>,
    pub(super) last_open: u16,
    pub(super) merged: bool,
    /// The pipeline in which the deal was last won.
    pub(super) won_in: u16,
    /// Where the deal was, and how it stood, when a deletion, which counts as a loss, took it.
    lost_from: Option<(u16, Outcome)>,
    /// Events so far, those before the current instant, and that instant.
    seen: u64,
    earlier: u64,
    latest: Instant,
    /// Visits by stage, and the stages touched, to reset them cheaply.
    visits_by_stage: Vec<u32>,
    pairs: Vec<(u16, u16)>,
    /// What it books, where somebody asks.
    pub ledger: Option<Ledger<'a>>,
    /// What follows what, where somebody asks.
    pub following: Option<Following>,
    /// The values of the dimensions at the beginning of each visit, where somebody asks.
    pub visit_dimensions: Option<Vec<u32>>,
    /// What it was after each event, where somebody asks.
    pub replay: Option<Replay>,
}

impl<'a> Machine<'a> {
    /// A machine for deals with so many dimensions.
    #[must_use]
    pub fn new(stages: &'a StageTable, rules: Rules, dimensions: usize) -> Self {
        Self {
            stages,
            rules,
            deal: Deal::default(),
            visits: Vec::new(),
            dimensions: vec![NO_CODE; dimensions],
            dimensions_now: vec![NO_CODE; dimensions],
            current: None,
            last_open: NO_STAGE,
            merged: false,
            won_in: NO_PIPELINE,
            lost_from: None,
            seen: 0,
            earlier: 0,
            latest: NO_INSTANT,
            visits_by_stage: Vec::new(),
            pairs: Vec::new(),
            ledger: None,
            following: None,
            visit_dimensions: None,
            replay: None,
        }
    }

    /// The same, but it keeps a ledger if somebody reads it.
    #[must_use]
    pub fn booking(self, booking: Booking, pricing: Option<&'a Pricing>) -> Self {
        let ledger = (booking != Booking::Unread).then(|| Ledger::new(booking, pricing));
        Self { ledger, ..self }
    }

    /// The same, but it keeps what follows what, and the dimensions of visits, if somebody asks.
    #[must_use]
    pub fn telling(self, follows: Follows, dimensions: VisitDimensions) -> Self {
        Self {
            following: (follows == Follows::Read).then(Following::default),
            visit_dimensions: (dimensions == VisitDimensions::Read).then(Vec::new),
            ..self
        }
    }

    /// Begins a deal.
    pub fn begin(&mut self) {
        for visit in &self.visits {
            if let Some(n) = self.visits_by_stage.get_mut(usize::from(visit.stage)) {
                *n = 0;
            }
        }
        self.deal = Deal { pipeline: self.stages.first_pipeline(), ..Deal::default() };
        self.visits.clear();
        self.dimensions.fill(NO_CODE);
        self.dimensions_now.fill(NO_CODE);
        self.current = None;
        self.last_open = NO_STAGE;
        (self.merged, self.won_in, self.lost_from) = (false, NO_PIPELINE, None);
        (self.seen, self.earlier, self.latest) = (0, 0, NO_INSTANT);
        if let Some(ledger) = &mut self.ledger {
            ledger.begin();
        }
        if let Some(following) = &mut self.following {
            following.begin();
        }
        if let Some(dimensions) = &mut self.visit_dimensions {
            dimensions.clear();
        }
        if let Some(replay) = &mut self.replay {
            replay.begin();
        }
    }

    /// Notes for the ledger what the row of the deal's next event gives.
    pub fn note(&mut self, events: &EventBatch, row: usize, event: &Event) {
        if let Some(ledger) = &mut self.ledger {
            ledger.reach(&self.deal, &self.dimensions, event.time);
            ledger.note(events, row, event);
        }
    }

    /// Applies the deal's next event. `dimension` gives the event's value of each dimension.
    pub fn apply(&mut self, event: &Event, dimension: impl Fn(usize) -> u32) {
        if let Some(ledger) = &mut self.ledger {
            ledger.reach(&self.deal, &self.dimensions, event.time);
        }
        self.apply_event(event, dimension);
        if let Some(ledger) = &mut self.ledger {
            ledger.settle(&self.deal, &self.dimensions, event.time);
        }
        self.note_moment(event.time);
    }

    #[inline]
    fn apply_event(&mut self, event: &Event, dimension: impl Fn(usize) -> u32) {
        if self.deal.first_event == NO_INSTANT {
            self.deal.first_event = event.time;
        }
        if event.time != self.latest {
            (self.earlier, self.latest) = (self.seen, event.time);
        }
        self.seen += 1;
        self.apply_attributes(event, dimension);
        if self.stages.has_pipelines() {
            let event = self.in_pipeline(event);
            self.apply_move(&event);
        } else {
            self.apply_move(event);
        }
    }

    fn apply_move(&mut self, event: &Event) {
        let kind = match event.kind {
            EventKind::Deleted if self.rules.deleted == Deleted::AsLost => {
                if self.deal.deleted == NO_INSTANT && self.deal.outcome != Outcome::Lost {
                    self.lost_from = self.current.map(|stage| (stage, self.deal.outcome));
                }
                EventKind::Lost
            }
            kind => kind,
        };
        if self.deal.deleted != NO_INSTANT && kind != EventKind::Restored {
            let moves = !matches!(kind, EventKind::Attribute | EventKind::Cleared);
            self.deal.after_deletion += u64::from(moves);
            return;
        }
        match kind {
            EventKind::Attribute => {}
            EventKind::Created => {
                if self.deal.created == NO_INSTANT {
                    self.deal.created = event.time;
                    self.deal.before_creation = self.earlier;
                }
                if event.stage != NO_STAGE {
                    self.enter(event.stage, event);
                }
            }
            EventKind::Stage => self.enter(event.stage, event),
            EventKind::Won => self.enter(self.or_default(event.stage, StageClass::Won), event),
            EventKind::Lost => self.enter(self.or_default(event.stage, StageClass::Lost), event),
            EventKind::Reopened => self.reopen(event),
            EventKind::Deleted => self.delete(event.time),
            EventKind::Merged => {
                self.merged = true;
                self.delete(event.time);
            }
            EventKind::Restored => self.restore(event),
            EventKind::Cleared => {
                (self.deal.amount, self.deal.is_unpriced) = (NO_AMOUNT, false);
            }
            // They are compared before anything is applied.
            EventKind::Observed
            | EventKind::ObservedGone
            | EventKind::Before
            | EventKind::Current
            | EventKind::CurrentOpen
            | EventKind::CurrentWon
            | EventKind::CurrentLost
            | EventKind::CurrentGone
            | EventKind::Seen => {}
        }
    }

    fn apply_attributes(&mut self, event: &Event, dimension: impl Fn(usize) -> u32) {
        let deal = &mut self.deal;
        if event.amount != NO_AMOUNT {
            deal.is_unpriced = event.amount == UNPRICED;
            deal.amount = if deal.is_unpriced { NO_AMOUNT } else { event.amount };
            if !deal.has_had_amount {
                deal.created_amount = deal.amount;
                deal.has_had_amount = true;
            }
        }
        if event.owner != NO_CODE {
            deal.owner = event.owner;
            if deal.created_owner == NO_CODE {
                deal.created_owner = event.owner;
            }
        }
        if !event.customer.is_none() {
            deal.customer = event.customer;
        }
        if event.expected_close != NO_DAY {
            let known = deal.expected_close != NO_DAY;
            deal.pushes += u32::from(known && event.expected_close > deal.expected_close);
            deal.expected_close = event.expected_close;
        }
        if event.probability != NO_PROBABILITY {
            deal.probability = event.probability;
        }
        let closed = self.deal.outcome != Outcome::Open;
        for (index, now) in self.dimensions_now.iter_mut().enumerate() {
            let value = dimension(index);
            if value == NO_CODE {
                continue;
            }
            *now = value;
            let Some(kept) = self.dimensions.get_mut(index) else { continue };
            let keep = match self.rules.dimension_at {
                DimensionAt::AsOf => true,
                DimensionAt::Created => *kept == NO_CODE,
                DimensionAt::Close => !closed || *kept == NO_CODE,
            };
            if keep {
                *kept = value;
            }
        }
    }

    /// The given stage if it is of the class, else the pipeline's own stage of that class.
    fn or_default(&self, stage: u16, class: StageClass) -> u16 {
        if stage != NO_STAGE && self.stages.stage_at(stage, self.latest).class == class {
            return stage;
        }
        self.stages.end(self.deal.pipeline, class)
    }

    /// The stage an event names; one that is ignored is as good as none.
    pub(super) fn named_stage(&self, event: &Event) -> u16 {
        let ignored = self.stages.stage_at(event.stage, event.time).class == StageClass::Ignored;
        if ignored { NO_STAGE } else { event.stage }
    }

    /// Since when the deal is in its stage, whose class then holds for the whole visit.
    fn since(&self, event: &Event) -> Instant {
        self.visits.last().map_or(event.time, |visit| visit.entered)
    }

    fn delete(&mut self, at: Instant) {
        self.deal.deleted = at;
        self.close_visit(STAGE_DELETED, Move::Deleted, at);
        self.current = None;
    }

    fn restore(&mut self, event: &Event) {
        if self.deal.deleted == NO_INSTANT {
            match self.lost_from.take() {
                Some((stage, outcome)) if self.is_here(stage) => {
                    self.enter(stage, event);
                    if outcome == Outcome::Won {
                        self.set_outcome(outcome, event.time);
                    }
                }
                _ => self.deal.no_ops += 1,
            }
            return;
        }
        self.deal.deleted = NO_INSTANT;
        self.merged = false;
        let back = self.visits.last().map(|v| v.stage).filter(|stage| self.is_here(*stage));
        let named = self.named_stage(event);
        if let Some(stage) = if named == NO_STAGE { back } else { Some(named) } {
            self.open_visit(stage, STAGE_DELETED, Move::Reopened, event);
            self.settle_outcome(self.stages.stage_at(stage, event.time).class, event.time);
        }
    }

    pub(super) fn enter(&mut self, to: u16, event: &Event) {
        let target = self.stages.stage_at(to, event.time);
        if target.class == StageClass::Ignored {
            return;
        }
        self.deal.unknown_stage_events += u64::from(target.class == StageClass::Unknown);
        self.stages.note_visited(to);
        let (from, kind) = match self.current {
            None if self.visits.is_empty() => (STAGE_START, Move::Created),
            // Only a change of pipeline leaves a deal in no stage.
            None => (STAGE_HANDOFF, Move::Handoff),
            Some(from) if from == to => {
                self.deal.no_ops += 1;
                if let Some(following) = &mut self.following {
                    following.note(to, event.time);
                }
                return;
            }
            Some(from) => (from, classify(self.stages.stage_at(from, self.since(event)), target)),
        };
        self.close_visit(to, kind, event.time);
        match kind {
            Move::Skipped => self.deal.skips += 1,
            Move::Regressed => self.deal.regressions += 1,
            _ => {}
        }
        let was = self.deal.outcome;
        self.open_visit(to, from, kind, event);
        self.settle_outcome(target.class, event.time);
        let is_reopened = was != Outcome::Open && self.deal.outcome == Outcome::Open;
        self.deal.reopens += u32::from(is_reopened);
    }

    pub(super) fn close_visit(&mut self, next: u16, kind: Move, at: Instant) {
        let amount = self.deal.amount;
        if self.current.is_some()
            && let Some(visit) = self.visits.last_mut()
        {
            visit.next = next;
            visit.ended = kind;
            visit.left = at;
            visit.move_amount = amount;
        }
    }

    fn open_visit(&mut self, stage: u16, prev: u16, arrival: Move, event: &Event) {
        let index = usize::from(stage);
        if self.visits_by_stage.len() <= index {
            self.visits_by_stage.resize(index + 1, 0);
        }
        let mut visit_no = 1;
        if let Some(n) = self.visits_by_stage.get_mut(index) {
            *n += 1;
            visit_no = *n;
        }
        self.visits.push(Visit {
            stage,
            prev,
            next: STAGE_STILL,
            arrival,
            ended: Move::Still,
            visit_no,
            entered: event.time,
            left: NO_INSTANT,
            amount: self.deal.amount,
            move_amount: self.deal.amount,
            owner: self.deal.owner,
            first_move: false,
            last_visit: false,
        });
        if let Some(following) = &mut self.following {
            following.note(stage, event.time);
        }
        if let Some(dimensions) = &mut self.visit_dimensions {
            dimensions.extend_from_slice(&self.dimensions_now);
        }
        self.current = Some(stage);
        let Stage { class, order } = self.stages.stage_at(stage, event.time);
        if class == StageClass::Open {
            self.last_open = stage;
            if self.deal.entered_any == NO_INSTANT {
                self.deal.entered_any = event.time;
            }
            if order == 1 && self.deal.entered_first == NO_INSTANT {
                self.deal.entered_first = event.time;
            }
        }
    }

    /// Brings the outcome in line with the class of the stage just entered.
    fn settle_outcome(&mut self, class: StageClass, at: Instant) {
        let outcome = match class {
            StageClass::Won => Outcome::Won,
            StageClass::Lost => Outcome::Lost,
            _ => Outcome::Open,
        };
        if outcome == Outcome::Won {
            (self.deal.ever_won, self.won_in) = (true, self.deal.pipeline);
        } else if outcome == Outcome::Open && self.keeps_win() {
            return;
        }
        self.set_outcome(outcome, at);
    }

    pub(super) fn set_outcome(&mut self, outcome: Outcome, at: Instant) {
        let deal = &mut self.deal;
        if outcome == deal.outcome {
            return;
        }
        deal.outcome = outcome;
        if outcome == Outcome::Open {
            deal.closed = NO_INSTANT;
            deal.closed_amount = NO_AMOUNT;
            deal.closed_owner = NO_CODE;
            if self.rules.dimension_at == DimensionAt::Close {
                self.dimensions.clone_from(&self.dimensions_now);
            }
            return;
        }
        deal.closed = at;
        deal.closed_amount = deal.amount;
        deal.closed_owner = deal.owner;
        if outcome == Outcome::Won && deal.first_won == NO_INSTANT {
            deal.first_won = at;
            deal.first_won_amount = deal.amount;
        }
        if deal.first_closed == NO_INSTANT {
            deal.first_closed = at;
            deal.first_outcome = outcome;
        }
        if self.rules.dimension_at == DimensionAt::Close {
            self.dimensions.clone_from(&self.dimensions_now);
        }
    }

    /// Ends the deal. Returns `false` if the deletion policy leaves it out.
    pub fn finish(&mut self) -> bool {
        if self.deal.deleted != NO_INSTANT {
            // The winner of a merge carries the deal on (G17).
            if self.rules.deleted == Deleted::Exclude || self.merged {
                return false;
            }
            self.deal.outcome = Outcome::Deleted;
            // No close holds for a deal that is deleted; its first close stays.
            self.deal.closed = NO_INSTANT;
            self.deal.closed_amount = NO_AMOUNT;
            self.deal.closed_owner = NO_CODE;
        } else {
            let amount = self.deal.amount;
            if let Some(visit) = self.visits.last_mut().filter(|v| v.ended == Move::Still) {
                visit.move_amount = amount;
            }
        }
        if self.stages.has_pipelines() {
            self.deal.entered_first = self.entered_first();
        }
        self.deal.stage = self.current.unwrap_or(NO_STAGE);
        self.mark_firsts_and_lasts();
        true
    }

    fn mark_firsts_and_lasts(&mut self) {
        self.pairs.clear();
        for visit in &mut self.visits {
            let pair = (visit.stage, visit.next);
            visit.first_move = !self.pairs.contains(&pair);
            if visit.first_move {
                self.pairs.push(pair);
            }
            let visits = self.visits_by_stage.get(usize::from(visit.stage));
            visit.last_visit = visits == Some(&visit.visit_no);
        }
    }
}

fn classify(from: Stage, to: Stage) -> Move {
    let closed = matches!(from.class, StageClass::Won | StageClass::Lost);
    match to.class {
        StageClass::Won => Move::Won,
        StageClass::Lost => Move::Lost,
        _ if closed => Move::Reopened,
        StageClass::Open if from.class == StageClass::Open => {
            if to.order < from.order {
                Move::Regressed
            } else if to.order == from.order + 1 {
                Move::Advanced
            } else {
                Move::Skipped
            }
        }
        _ => Move::Unordered,
    }
}
