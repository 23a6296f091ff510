//! `visits`: one row per deal and stage visit (a maximal run in one stage, G5).
//!
//! Terminal stages are visited too, so that every move has a source and a target and, per stage,
//! entries = advanced + skipped + regressed + unordered + won + lost + reopened + deleted + handoff
//! + still.

use super::{Kind, RelationColumn, column};

/// Kinds of move that end a visit, or `created` for how a first visit begins.
pub const MOVES: &[&str] = &[
    "created",
    "advanced",
    "skipped",
    "regressed",
    "unordered",
    "won",
    "lost",
    "reopened",
    "deleted",
    "handoff",
    "still",
];

/// Classes of stages (G6).
pub const CLASSES: &[&str] = &["open", "won", "lost", "ignored", "unknown"];

/// Names that stand where there is no stage: before the first visit, and after the last one.
pub const PSEUDO_STAGES: &[&str] = &["START", "STILL", "DELETED", "HANDOFF"];

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column(
        "stage",
        Kind::Stage,
        "the stage visited; where several pipelines have one of its name, the pipeline stands behind",
    ),
    column("stage_class", Kind::Name(CLASSES), "class of the stage"),
    column(
        "stage_order",
        Kind::Small,
        "1 for the first open stage of the pipeline; 0 for a stage outside the order",
    ),
    column("pipeline", Kind::Dictionary("pipeline"), "the pipeline of the stage; never null"),
    column(
        "visit_no",
        Kind::Int,
        "1 for the deal's first visit to this stage, 2 for the second, …",
    ),
    column("prev_stage", Kind::Stage, "where the deal came from; START for its first visit"),
    column(
        "arrival",
        Kind::Name(MOVES),
        "kind of the move that began the visit; created for the first",
    ),
    column(
        "next_stage",
        Kind::Stage,
        "where the deal went; STILL if it is there at as_of, DELETED, HANDOFF",
    ),
    column(
        "move",
        Kind::Name(MOVES),
        "kind of the move that ended the visit; still if it has not ended; unordered if either stage has no order (unknown)",
    ),
    column("entered_on", Kind::Day, "civil day of entry"),
    column("entered_period", Kind::Day, "first day of the base period of entry"),
    column("left_on", Kind::Day, "civil day of exit; null while still there"),
    column(
        "deal_created_period",
        Kind::Day,
        "first day of the base period in which the deal was created",
    ),
    column(
        "deal_entered_period",
        Kind::Day,
        "first day of the base period in which the deal first entered the first open stage; null if it never did",
    ),
    column(
        "dwell",
        Kind::Int,
        "duration of the visit, until as_of if it has not ended, in units of the resolution",
    ),
    column(
        "dwell_days",
        Kind::Int,
        "civil midnights of the visit, until as_of if it has not ended; 0 where it is negative",
    ),
    column(
        "is_negative",
        Kind::Flag,
        "the visit ends before it begins (never, unless input times are inconsistent); excluded from durations",
    ),
    column("is_censored", Kind::Flag, "the visit has not ended, or ended by deletion"),
    column("is_entry", Kind::Flag, "the deal's first visit of all"),
    column("is_first_visit", Kind::Flag, "the deal's first visit to this stage"),
    column("is_last_visit", Kind::Flag, "the deal's last visit to this stage"),
    column(
        "is_first_move",
        Kind::Flag,
        "the first time this deal ends a visit to this stage towards next_stage; counts deals per pair",
    ),
    column(
        "is_first_exit",
        Kind::Flag,
        "is_first_visit and the visit has ended: the deal's first move out of this stage",
    ),
    column("amount", Kind::Int, "amount at entry, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the amount at entry is known"),
    column(
        "move_amount",
        Kind::Int,
        "amount at the end of the visit (at as_of if still there), minor units; 0 if unknown",
    ),
    column("has_move_amount", Kind::Flag, "the amount at the end of the visit is known"),
    column("owner", Kind::Dictionary("owner"), "owner at entry"),
    column("deal_is_won", Kind::Flag, "the deal is won at as_of"),
    column("deal_is_lost", Kind::Flag, "the deal is lost at as_of"),
];
