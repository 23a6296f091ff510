//! `customers`: one row per customer with at least one order: a won deal, or a payment
//! where payments are given. Dimensions are those of the first
//! order's deal, so that a customer stays in one group for life.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("customer", Kind::Int, "number of the customer within the run"),
    column("first_ordered_on", Kind::Day, "civil day of the first order"),
    column("last_ordered_on", Kind::Day, "civil day of the last order"),
    column("cohort_period", Kind::Day, "first day of the base period of the first order"),
    column("orders_n", Kind::Int, "orders"),
    column(
        "purchase_days_n",
        Kind::Int,
        "distinct civil days with a net amount above zero, or with any order where the total of the day is zero by zero-value orders only",
    ),
    column("is_repeat", Kind::Flag, "more than one distinct day with an order"),
    column("amount", Kind::Int, "net amount of all orders, minor units"),
    column("repeat_amount", Kind::Int, "net amount of the days after the first, minor units"),
    column("recency_days", Kind::Int, "days from the first to the last order day (t_x)"),
    column("age_days", Kind::Int, "days from the first order day to the as_of day (T)"),
    column(
        "channel",
        Kind::Dictionary("channel"),
        "acquisition channel: that of the first order; null if unknown",
    ),
];
