//! `customer_ids`: one row per customer with at least one order, under the identifier that the inputs
//! have. It carries no dimensions: what is asked of single customers is not split.

use super::{Dictionaries, Kind, RelationColumn, column};
use crate::contract::{Id, Spelling};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("id_high", Kind::Int, "first word of the identifier, which tables show as text"),
    column("id_low", Kind::Int, "second word of the identifier"),
    column("orders_n", Kind::Int, "orders"),
    column("purchase_days_n", Kind::Int, "as in customers"),
    column("repeats_n", Kind::Int, "as in customers (x)"),
    column("recency_days", Kind::Int, "as in customers (t_x)"),
    column("age_days", Kind::Int, "as in customers (T)"),
    column("amount", Kind::Int, "net amount of all orders, minor units"),
    column("repeat_amount", Kind::Int, "as in customers, minor units"),
    column(
        "previous_purchase_days_n",
        Kind::Int,
        "purchase days up to the day before the period of as_of whose length tiers are compared by",
    ),
    column("previous_recency_days", Kind::Int, "recency_days up to that day"),
    column("previous_age_days", Kind::Int, "age_days up to that day"),
    column("previous_amount", Kind::Int, "amount up to that day, minor units"),
    column("previous_repeat_amount", Kind::Int, "repeat_amount up to that day, minor units"),
];

/// The columns that are as of an earlier day, which are made only where one of them is wanted.
pub(super) const OF_BEFORE: [&str; 5] = [
    "previous_purchase_days_n",
    "previous_recency_days",
    "previous_age_days",
    "previous_amount",
    "previous_repeat_amount",
];

/// The two words of an identifier as the relation's columns have them.
#[must_use]
pub fn words(id: Id) -> (i64, i64) {
    let (high, low) = id.words();
    (high.cast_signed(), low.cast_signed())
}

/// The text of a customer's identifier of these words.
#[must_use]
pub fn text(high: i64, low: i64, dictionaries: &Dictionaries) -> Option<String> {
    text_of(high, low, &dictionaries.long_customers)
}

/// The text of an identifier of these words, where `long` are those too long to be packed.
#[must_use]
pub fn text_of(high: i64, low: i64, long: &[String]) -> Option<String> {
    match Id::from_words(high.cast_unsigned(), low.cast_unsigned()).spelling() {
        Spelling::None => None,
        Spelling::Integer(value) => Some(value.to_string()),
        Spelling::Text(text) => Some(text),
        Spelling::Interned(code) => long.get(code as usize).cloned(),
    }
}
