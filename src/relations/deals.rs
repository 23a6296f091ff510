//! `deals`: one row per deal that is not left out by the deletion policy.
//!
//! The outcome bases of G7 are here: `is_*` and `closed_*` are final (the state at as_of),
//! `is_first_*` and `first_closed_*` the first close, `ever_won` and `first_won_*` the first win. Exactly one of is_won, is_lost, is_open, is_deleted is 1.

use super::{Kind, RelationColumn, column};

/// The most open stages a pipeline can have, since each has a bit in `touched_stages`.
pub const STAGES_MAX: usize = 62;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("created_on", Kind::Day, "civil day of creation"),
    column("created_period", Kind::Day, "first day of the base period of creation"),
    column(
        "entered_period",
        Kind::Day,
        "first day of the base period of the first entry to the first open stage; null if never entered",
    ),
    column("closed_on", Kind::Day, "civil day of the close that holds at as_of; null if open"),
    column("closed_period", Kind::Day, "first day of its base period; null if open"),
    column("first_closed_on", Kind::Day, "civil day of the first close; null if never closed"),
    column("first_closed_period", Kind::Day, "first day of its base period; null if never closed"),
    column("is_won", Kind::Flag, "won at as_of"),
    column("is_lost", Kind::Flag, "lost at as_of"),
    column("is_open", Kind::Flag, "open at as_of"),
    column("is_deleted", Kind::Flag, "deleted (only with deleted = \"keep_until_deleted\")"),
    column("is_first_won", Kind::Flag, "the first close was a win"),
    column("is_first_lost", Kind::Flag, "the first close was a loss"),
    column("ever_won", Kind::Flag, "was won at some time"),
    column("first_won_on", Kind::Day, "civil day of the first win; null if never won"),
    column("first_won_period", Kind::Day, "first day of its base period; null if never won"),
    column(
        "first_won_amount",
        Kind::Int,
        "amount at the first win, minor units; 0 if never won or unknown",
    ),
    column(
        "expected_close_on",
        Kind::Day,
        "the close date field as it is at as_of; null if unknown",
    ),
    column("expected_close_period", Kind::Day, "first day of its base period; null if unknown"),
    column("is_overdue", Kind::Flag, "open and past its expected close date at as_of"),
    column(
        "cycle",
        Kind::Int,
        "duration from the configured start to the configured close, or to as_of or the deletion for a deal not closed, in units of the resolution",
    ),
    column("cycle_status", Kind::Name(CYCLE_STATUS), "how the cycle ended"),
    column(
        "is_negative_cycle",
        Kind::Flag,
        "the cycle ends before it begins (G12) or has no start; excluded from durations",
    ),
    column(
        "pipeline",
        Kind::Dictionary("pipeline"),
        "the pipeline that the deal is in at as_of, which the levels are of; never null",
    ),
    column("stages_n", Kind::Small, "number of open stages of the pipeline"),
    column(
        "reached_level",
        Kind::Small,
        "highest order ever visited; number of stages + 1 if ever won",
    ),
    column(
        "fall_through_level",
        Kind::Small,
        "how many of the stages, from the first, were all visited; number of stages + 1 if all and ever won",
    ),
    column(
        "ordered_level",
        Kind::Small,
        "how many of the stages, from the first, were visited in order of time (equal times allowed), then won",
    ),
    column(
        "strict_level",
        Kind::Small,
        "the longest run of consecutive visits that begins with the first stage and follows the order without another stage between, then won",
    ),
    column(
        "furthest_final_level",
        Kind::Small,
        "order of the current or last open stage; number of stages + 1 if won at as_of; 0 if none",
    ),
    column(
        "first_level",
        Kind::Small,
        "order of the first open stage visited; number of stages + 1 if won without any; 0 if none",
    ),
    column(
        "touched_stages",
        Kind::Int,
        "the open stages visited: bit 1 (the lowest) for the first stage of the pipeline, …",
    ),
    column("visits_n", Kind::Int, "visits to any stage"),
    column(
        "path_1",
        Kind::Int,
        "the first stages of the deal's visits, each in as many bits as the stages need; -1 if there are more visits than path_4 ends with",
    ),
    column("path_2", Kind::Int, "those after them"),
    column("path_3", Kind::Int, "those after them"),
    column("path_4", Kind::Int, "those after them"),
    column("skips_n", Kind::Int, "forward moves that left out at least one stage"),
    column("regressions_n", Kind::Int, "moves to an earlier stage"),
    column("reopens_n", Kind::Int, "moves from a won or lost stage to an open one"),
    column("pushes_n", Kind::Int, "moves of the expected close date to a later day"),
    column("amount", Kind::Int, "latest amount, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the latest amount is known"),
    column(
        "amount_ln_milli",
        Kind::Int,
        "1000 times the natural logarithm of the latest amount in minor units, rounded; 0 where it is not above 1",
    ),
    column(
        "stratum",
        Kind::Int,
        "stands for the values of the dimensions of [dimensions] strata; equal where they are equal, and 0 without any",
    ),
    column(
        "held_amount",
        Kind::Int,
        "what the ledger holds for it, minor units: its amount if it is won at as_of, by the rates of the days of its entries; else 0",
    ),
    column(
        "probability_ppm",
        Kind::Int,
        "latest chance of winning in millionths, or else that of the stage it is in; 0 if unknown",
    ),
    column("has_probability", Kind::Flag, "that chance is known"),
    column("created_amount", Kind::Int, "first known amount, minor units; 0 if unknown"),
    column(
        "closed_amount",
        Kind::Int,
        "amount at the close that holds at as_of, minor units; 0 if open or unknown",
    ),
    column("has_closed_amount", Kind::Flag, "the amount at that close is known"),
    column("has_customer", Kind::Flag, "the deal has a customer"),
    column("owner", Kind::Dictionary("owner"), "latest owner"),
    column(
        "team_of_owner",
        Kind::Dictionary("team_of_owner"),
        "team of the latest owner at as_of, by the first dimension that is the team of the users; null if unknown",
    ),
    column(
        "owner_at_close",
        Kind::Dictionary("owner"),
        "owner at the close that holds at as_of; null if open",
    ),
    column("owner_at_creation", Kind::Dictionary("owner"), "first known owner"),
    column(
        "history_quality",
        Kind::Name(HISTORY_QUALITY),
        "what the deal's history shows: every change (events), one visit to each stage (wide), what extracts show (snapshot), or the current state only (current)",
    ),
    column(
        "close_uncertainty_seconds",
        Kind::Int,
        "half the time between the extract that first showed the close that holds at as_of and the one before; 0 where it is exact, or where no extract is before",
    ),
];

/// How much of what happened to a deal its history shows.
pub const HISTORY_QUALITY: &[&str] = &["events", "wide", "snapshot", "current"];

/// How a sales cycle ended.
pub const CYCLE_STATUS: &[&str] = &["open", "won", "lost", "deleted"];
