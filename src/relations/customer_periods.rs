//! `customer_periods`: one row per customer, period length and period with an order. Dimensions
//! are those of the customer's first order. There is one set of rows for each configured period
//! length, because "active in the quarter" is not a sum of "active in the month".

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("customer", Kind::Int, "number of the customer within the run"),
    column("grain", Kind::Name(GRAINS), "length of the period"),
    column("cohort_start", Kind::Day, "first day of the period of the customer's first order"),
    column("period_start", Kind::Day, "first day of the period"),
    column("age", Kind::Int, "periods since the cohort's; 0 for the first"),
    column("orders_n", Kind::Int, "orders in the period"),
    column("amount", Kind::Int, "net amount of the period, minor units"),
    column(
        "is_active",
        Kind::Flag,
        "the period has a purchase day (net above zero, or zero-value orders only), or is the first",
    ),
    column("is_new", Kind::Flag, "the customer's first period"),
    column("is_returning", Kind::Flag, "active in the period just before, too"),
    column("is_reactivated", Kind::Flag, "not new and not active in the period just before"),
    column(
        "churned_start",
        Kind::Day,
        "first day of the next period if the customer is not active in it and it begins by as_of; else null",
    ),
    column("is_churned", Kind::Flag, "churned_start is not null"),
    column("is_last_active", Kind::Flag, "the customer's last active period so far"),
    column(
        "is_bracket_first",
        Kind::Flag,
        "the customer's first active period in one of the configured brackets of ages",
    ),
    column(
        "previous_amount",
        Kind::Int,
        "net amount of the period just before, if active in it, minor units; else 0",
    ),
];

/// The columns that only some tables ask for.
pub(super) const OF_HABITS: [&str; 3] = ["is_last_active", "is_bracket_first", "previous_amount"];

/// Names of the period lengths, as in [`crate::time::Period::name`].
pub const GRAINS: &[&str] = &[
    "all",
    "year",
    "fiscal_year",
    "quarter",
    "fiscal_quarter",
    "fiscal_month",
    "month",
    "week",
    "day",
];
