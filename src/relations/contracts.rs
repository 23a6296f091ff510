//! `contracts`: one row per contract that began up to as_of. It carries the dimensions that come from
//! a look-up table of customers, as of the beginning.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("customer", Kind::Int, "number of the customer in such tables"),
    column("starts_on", Kind::Day, "first day of the contract"),
    column("ends_on", Kind::Day, "the day after its last one; null if it has no end"),
    column("starts_period", Kind::Day, "first day of the base period of the first day"),
    column("ends_period", Kind::Day, "first day of the base period of its end; null without one"),
    column("mrr_amount", Kind::Int, "what it brings a month, minor units; 0 if unknown"),
    column("has_amount", Kind::Flag, "that is known: it has an exchange rate"),
    column("is_running", Kind::Flag, "it runs on the as_of day"),
    column("has_deal", Kind::Flag, "a deal has the customer"),
];
