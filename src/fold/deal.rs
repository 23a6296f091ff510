//! The words of the state machine: an event, a visit, a move, an outcome, and what is known of a deal.

use crate::config::{CycleEnd, CycleStart, Deleted, DimensionAt};
use crate::contract::{EventKind, Id, NO_CODE};
use crate::money::NO_AMOUNT;
use crate::time::{Instant, NO_DAY, NO_INSTANT};

/// Kinds of move; the number is its position in [`crate::relations::visits::MOVES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Move {
    /// Begins a deal's first visit.
    #[default]
    Created = 0,
    /// To the next stage of the order.
    Advanced = 1,
    /// Forward, past at least one stage.
    Skipped = 2,
    /// Backward.
    Regressed = 3,
    /// From or to a stage without an order.
    Unordered = 4,
    /// Into a won stage.
    Won = 5,
    /// Into a lost stage.
    Lost = 6,
    /// From a won or lost stage to another class.
    Reopened = 7,
    /// Ended by deletion.
    Deleted = 8,
    /// To another pipeline.
    Handoff = 9,
    /// Not ended.
    Still = 10,
}

/// The rules that have alternatives.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What becomes of deleted deals.
    pub deleted: Deleted,
    /// From when a cycle counts.
    pub cycle_start: CycleStart,
    /// Which close ends it.
    pub cycle_end: CycleEnd,
    /// Which value of a dimension a deal carries.
    pub dimension_at: DimensionAt,
}

/// One event of a deal.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When.
    pub time: Instant,
    /// What it does.
    pub kind: EventKind,
    /// The stage, or [`crate::contract::NO_STAGE`].
    pub stage: u16,
    /// The pipeline, or [`crate::contract::NO_PIPELINE`].
    pub pipeline: u16,
    /// Minor units, or [`NO_AMOUNT`].
    pub amount: i64,
    /// The owner, or [`NO_CODE`].
    pub owner: u32,
    /// The customer, or [`Id::NONE`].
    pub customer: Id,
    /// The expected close day, or [`NO_DAY`].
    pub expected_close: i32,
}

/// One visit of the deal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visit {
    /// The stage visited.
    pub stage: u16,
    /// Where the deal came from.
    pub prev: u16,
    /// Where it went.
    pub next: u16,
    /// How the visit began.
    pub arrival: Move,
    /// How it ended.
    pub ended: Move,
    /// 1 for the first visit to this stage.
    pub visit_no: u32,
    /// When it began.
    pub entered: Instant,
    /// When it ended; [`NO_INSTANT`] if it has not.
    pub left: Instant,
    /// Amount at entry.
    pub amount: i64,
    /// Amount at the end, or at `as_of`.
    pub move_amount: i64,
    /// Owner at entry.
    pub owner: u32,
    /// The first time the deal ends a visit to this stage towards `next`.
    pub first_move: bool,
    /// The last visit to this stage.
    pub last_visit: bool,
}

/// How a deal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Outcome {
    /// It has not.
    #[default]
    Open = 0,
    /// Won.
    Won = 1,
    /// Lost.
    Lost = 2,
    /// Deleted, where deleted deals are kept.
    Deleted = 3,
}

/// What is known of a deal after its last event.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is the relation's column of the same name")]
pub struct Deal {
    pub first_event: Instant,
    pub created: Instant,
    pub entered_first: Instant,
    pub entered_any: Instant,
    pub first_closed: Instant,
    pub first_outcome: Outcome,
    pub closed: Instant,
    pub outcome: Outcome,
    pub ever_won: bool,
    pub first_won: Instant,
    pub first_won_amount: i64,
    pub deleted: Instant,
    pub amount: i64,
    pub created_amount: i64,
    pub has_had_amount: bool,
    pub is_unpriced: bool,
    pub closed_amount: i64,
    pub owner: u32,
    pub created_owner: u32,
    pub closed_owner: u32,
    pub customer: Id,
    pub expected_close: i32,
    pub pipeline: u16,
    pub skips: u32,
    pub regressions: u32,
    pub reopens: u32,
    pub pushes: u32,
    pub no_ops: u64,
    pub before_creation: u64,
    pub after_deletion: u64,
    pub unknown_stage_events: u64,
}

impl Default for Deal {
    fn default() -> Self {
        Self {
            first_event: NO_INSTANT,
            created: NO_INSTANT,
            entered_first: NO_INSTANT,
            entered_any: NO_INSTANT,
            first_closed: NO_INSTANT,
            first_outcome: Outcome::Open,
            closed: NO_INSTANT,
            outcome: Outcome::Open,
            ever_won: false,
            first_won: NO_INSTANT,
            first_won_amount: NO_AMOUNT,
            deleted: NO_INSTANT,
            amount: NO_AMOUNT,
            created_amount: NO_AMOUNT,
            has_had_amount: false,
            is_unpriced: false,
            closed_amount: NO_AMOUNT,
            owner: NO_CODE,
            created_owner: NO_CODE,
            closed_owner: NO_CODE,
            customer: Id::NONE,
            expected_close: NO_DAY,
            pipeline: 0,
            skips: 0,
            regressions: 0,
            reopens: 0,
            pushes: 0,
            no_ops: 0,
            before_creation: 0,
            after_deletion: 0,
            unknown_stage_events: 0,
        }
    }
}
