//! `touches`: one row per contact up to as_of. It carries the dimensions that come from a look-up
//! table of customers, as of the contact, and the one that is the acquisition channel.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer, or the lead where there is none"),
    column("touched_on", Kind::Day, "civil day of the contact"),
    column("touched_period", Kind::Day, "first day of its base period"),
    column("channel", Kind::Dictionary("channel"), "the channel; null if not given"),
    column("touch_campaign", Kind::Dictionary("touch_campaign"), "the campaign; null if not given"),
    column(
        "is_first_touch",
        Kind::Flag,
        "the first contact with its customer, or with its lead where there is no customer",
    ),
    column("customer", Kind::Int, "number of the customer in such tables; 0 if none is known"),
    column("has_customer", Kind::Flag, "the customer is known"),
    column("has_deal", Kind::Flag, "a deal has the customer"),
];
