//! `orders`: one row per deal won at as_of that has a customer and an amount, also where payments
//! are given: what is new business is a question of deals.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column(
        "customer",
        Kind::Int,
        "number of the customer within the relation; that of customers unless payments are given",
    ),
    column("ordered_on", Kind::Day, "civil day of the close"),
    column("ordered_period", Kind::Day, "first day of its base period"),
    column("amount", Kind::Int, "net amount, minor units"),
    column(
        "is_first_order",
        Kind::Flag,
        "the first order of its customer (earliest close, then lowest deal)",
    ),
    column(
        "channel",
        Kind::Dictionary("channel"),
        "acquisition channel of this deal; null if unknown",
    ),
];
