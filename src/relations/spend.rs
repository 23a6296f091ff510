//! `spend`: one row per row of the spend input up to as_of. It carries only the dimensions that the
//! input has columns for, and the one that is the acquisition channel.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the channel"),
    column("spent_on", Kind::Day, "civil day of the spend"),
    column("spent_period", Kind::Day, "first day of its base period"),
    column("channel", Kind::Dictionary("channel"), "acquisition channel; null if unattributed"),
    column("cost_type", Kind::Dictionary("cost_type"), "kind of cost; null if not given"),
    column("amount", Kind::Int, "minor units"),
    column("has_amount", Kind::Flag, "the amount is known"),
];
