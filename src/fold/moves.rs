//! Kinds of move between stages: what a step from one stage to another is called.

use crate::contract::{Stage, StageClass};

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

/// What the move from one stage to another is.
pub(super) fn classify(from: Stage, to: Stage) -> Move {
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
