//! `surveys`: one row per answer, or question without one, up to as_of. It carries the dimensions
//! that come from a look-up table of customers, as of the answer.
//!
//! NPS: promoters have nine tenths of the highest score or more, detractors six tenths or less.
//! CSAT: four fifths of it or more are satisfied. CES: five sevenths or more.

use super::{Kind, RelationColumn, column};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer, or the deal where there is none"),
    column("answered_on", Kind::Day, "civil day of the answer"),
    column("answered_period", Kind::Day, "first day of its base period"),
    column("survey_kind", Kind::Name(KINDS), "what was asked"),
    column("score_class", Kind::Name(CLASSES), "what the score means; none without an answer"),
    column("score_thousandths", Kind::Int, "the score in thousandths of a point; 0 if none"),
    column("scale_max", Kind::Int, "the highest score that there is, in points"),
    column("is_response", Kind::Flag, "there is a score"),
    column("is_promoter", Kind::Flag, "an answer to NPS that is a promoter's"),
    column("is_passive", Kind::Flag, "an answer to NPS that is neither"),
    column("is_detractor", Kind::Flag, "an answer to NPS that is a detractor's"),
    column("is_satisfied", Kind::Flag, "an answer to CSAT or CES that is satisfied"),
    column(
        "is_latest",
        Kind::Flag,
        "the last answer of its customer to this kind; of nobody known, every answer",
    ),
    column("customer", Kind::Int, "number of the customer in such tables; 0 if none is known"),
    column("has_customer", Kind::Flag, "the customer is known, if only by the deal"),
    column("has_deal", Kind::Flag, "a deal has the customer, or is the one that is named"),
    column("id_high", Kind::Int, "first word of the customer's identifier, as in customer_ids"),
    column("id_low", Kind::Int, "second word of it"),
    column(
        "is_followed",
        Kind::Flag,
        "an answer of a customer of the deals that is at least survey_days old",
    ),
    column(
        "is_bought_again",
        Kind::Flag,
        "is_followed, and the customer has a purchase day within survey_days after the answer",
    ),
    column(
        "owner_at_answer",
        Kind::Dictionary("owner"),
        "owner of the stage visit that the named deal was in; null if none is known",
    ),
    column(
        "stage_at_answer",
        Kind::Dictionary("stage"),
        "stage that the named deal was in; null if none is known",
    ),
];

/// What was asked.
pub const KINDS: &[&str] = &["nps", "csat", "ces"];

/// What a score means.
pub const CLASSES: &[&str] =
    &["none", "promoter", "passive", "detractor", "satisfied", "unsatisfied"];
