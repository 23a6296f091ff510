//! `targets`: one row per row of the targets input, periods to come among them. It carries the
//! dimensions that come from a look-up table of owners: those of the owner when the period begins,
//! and the team's own where the target is a team's.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the owner, or the team where there is none"),
    column("target_scope", Kind::Name(SCOPES), "whose target it is"),
    column("target_owner", Kind::Dictionary("target_owner"), "the owner; null if not an owner's"),
    column("target_team", Kind::Dictionary("target_team"), "the team; null if none is given"),
    column(
        "member_team",
        Kind::Dictionary("team_of_owner"),
        "whose members the target is of: the team that is given, or else the owner's on the first day; null if unknown",
    ),
    column(
        "target_metric",
        Kind::Dictionary("target_metric"),
        "what is counted; net_won_amount where none is given",
    ),
    column("starts_on", Kind::Day, "first day of the target's period"),
    column("ends_on", Kind::Day, "the day after its last one"),
    column("starts_period", Kind::Day, "first day of the base period of the first day"),
    column("target_amount", Kind::Int, "what is to be reached, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "the target is known: it has an exchange rate"),
    column("workdays_n", Kind::Int, "working days of the period, by the calendar"),
    column("elapsed_workdays_n", Kind::Int, "those of them up to the as_of day"),
    column("is_known", Kind::Flag, "a deal has the owner, or the users have the owner or team"),
];

/// Whose a target is.
pub const SCOPES: &[&str] = &["everybody", "team", "owner"];
