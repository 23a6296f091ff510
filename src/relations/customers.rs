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
    column("is_buyer", Kind::Flag, "at least one purchase day"),
    column("repeats_n", Kind::Int, "purchase days after the first (x); 0 without any"),
    column(
        "repeat_amount",
        Kind::Int,
        "net amount of the purchase days after the first, minor units",
    ),
    column("recency_days", Kind::Int, "days from the first to the last purchase day (t_x)"),
    column(
        "age_days",
        Kind::Int,
        "days from the first purchase day (without any, the first order day) to the as_of day (T)",
    ),
    column(
        "is_calibrated",
        Kind::Flag,
        "the first purchase day is not in the hold-out, the last days before as_of",
    ),
    column("calibration_repeats_n", Kind::Int, "repeats_n without the hold-out"),
    column("calibration_recency_days", Kind::Int, "recency_days without the hold-out"),
    column("calibration_age_days", Kind::Int, "age_days up to the hold-out"),
    column("holdout_days_n", Kind::Int, "purchase days in the hold-out"),
    column(
        "channel",
        Kind::Dictionary("channel"),
        "acquisition channel: that of the first order; null if unknown",
    ),
];

/// The columns that are made of a customer's purchase days, which are counted only where one of
/// them is wanted.
pub(super) const OF_PURCHASES: [&str; 11] = [
    "purchase_days_n",
    "is_buyer",
    "repeats_n",
    "repeat_amount",
    "recency_days",
    "age_days",
    "is_calibrated",
    "calibration_repeats_n",
    "calibration_recency_days",
    "calibration_age_days",
    "holdout_days_n",
];
