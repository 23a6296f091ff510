//! The columns of the tables that stand beside the histories, each as its people keep it: money
//! and people, customers' answers and contacts, calendars.

use super::{CanonicalColumn, ColumnType, optional, required};

const CUSTOMER: CanonicalColumn = optional("customer_id", ColumnType::Id, "the customer");
const DEAL: CanonicalColumn = optional("deal_id", ColumnType::Id, "the deal");
const CURRENCY: CanonicalColumn = optional("currency", ColumnType::Text, "currency of the amount");
const CHANNEL: CanonicalColumn = optional("channel", ColumnType::Text, "the channel");

/// `customers`: one row per customer, or per customer and time with `valid_from` and `valid_to`.
pub static CUSTOMERS: &[CanonicalColumn] = &[
    required("customer_id", ColumnType::Text, "the customer"),
    optional("first_seen", ColumnType::Text, "when the customer was first seen"),
    optional("segment", ColumnType::Text, "the segment"),
    optional("region", ColumnType::Text, "the region"),
    optional("tier", ColumnType::Text, "the tier"),
    optional("parent_id", ColumnType::Text, "the customer that it belongs to"),
    optional("acquired_channel", ColumnType::Text, "the channel that it was acquired through"),
    optional("acquired_at", ColumnType::Text, "when it was acquired"),
    VALID_FROM,
    VALID_TO,
];

/// `users`: one row per owner, or per owner and time with `valid_from` and `valid_to`.
pub static USERS: &[CanonicalColumn] = &[
    required("owner_id", ColumnType::Text, "the owner"),
    optional("name", ColumnType::Text, "the name"),
    optional("team_id", ColumnType::Text, "the team"),
    optional("manager_id", ColumnType::Text, "the manager"),
    optional("hired_at", ColumnType::Text, "when the owner was hired"),
    VALID_FROM,
    VALID_TO,
];

const VALID_FROM: CanonicalColumn =
    optional("valid_from", ColumnType::Instant, "from when on the row holds; none: always");
const VALID_TO: CanonicalColumn =
    optional("valid_to", ColumnType::Instant, "until when the row holds; none: it still does");

/// `spend`: one row per date, channel and cost type.
pub static SPEND: &[CanonicalColumn] = &[
    required("date", ColumnType::Instant, "the day of the spend, or the first day of its period"),
    required("amount", ColumnType::Money, "what was spent"),
    optional("channel", ColumnType::Text, "the acquisition channel"),
    optional("cost_type", ColumnType::Text, "kind of cost: media, salaries, tools, …"),
    optional("currency", ColumnType::Text, "currency of the amount"),
];

/// `fx_rates`: one row per day and currency.
pub static FX_RATES: &[CanonicalColumn] = &[
    required("date", ColumnType::Date, "the day from which the rate holds, until the next one"),
    required("currency", ColumnType::Text, "the currency, an ISO 4217 code"),
    required("rate_to_base", ColumnType::Money, "what one unit is worth in the reporting currency"),
];

/// `payments`: one row per payment or refund.
pub static PAYMENTS: &[CanonicalColumn] = &[
    optional("payment_id", ColumnType::Id, "identifies the payment; of several the last counts"),
    DEAL,
    CUSTOMER,
    required("paid_at", ColumnType::Instant, "when it was paid"),
    required("amount", ColumnType::Money, "what was paid; of a refund with or without its minus"),
    CURRENCY,
    optional("kind", ColumnType::Text, "payment or refund; default: refund where it is negative"),
];

/// `deal_splits`: one row per deal and owner who has a share in it.
pub static DEAL_SPLITS: &[CanonicalColumn] = &[
    required("deal_id", ColumnType::Id, "the deal"),
    required("owner_id", ColumnType::Text, "the owner"),
    required("share", ColumnType::Money, "the owner's share; a deal's shares add up to 1"),
];

/// `merges`: one row per deal that was merged into another.
pub static MERGES: &[CanonicalColumn] = &[
    required("loser_id", ColumnType::Id, "the deal that was merged and no longer counts"),
    required("winner_id", ColumnType::Id, "the deal that it was merged into"),
    optional("at", ColumnType::Instant, "when"),
];

/// `targets`: one row per owner or team, period and what is to be reached.
pub static TARGETS: &[CanonicalColumn] = &[
    optional("owner_id", ColumnType::Text, "the owner; neither owner nor team: everybody"),
    optional("team_id", ColumnType::Text, "the team"),
    required("period_start", ColumnType::Date, "the first day"),
    required("period_end", ColumnType::Date, "the day after the last one"),
    optional("metric", ColumnType::Text, "what is counted; default: net won amount"),
    required("target", ColumnType::Money, "what is to be reached"),
    CURRENCY,
];

/// `surveys`: one row per answer.
pub static SURVEYS: &[CanonicalColumn] = &[
    optional("response_id", ColumnType::Id, "identifies the answer; of several the last counts"),
    CUSTOMER,
    DEAL,
    required("at", ColumnType::Instant, "when it was given"),
    required("kind", ColumnType::Text, "nps, csat or ces"),
    required("score", ColumnType::Money, "the score; none: asked and not answered"),
    optional("scale_max", ColumnType::Integer, "the highest score; default: 10 for nps, 5, 7"),
];

/// `touches`: one row per contact with a customer or a lead.
pub static TOUCHES: &[CanonicalColumn] = &[
    CUSTOMER,
    optional("lead_id", ColumnType::Id, "the lead, where there is no customer yet"),
    required("at", ColumnType::Instant, "when"),
    CHANNEL,
    optional("campaign_id", ColumnType::Text, "the campaign"),
];

/// `calendar`: one row per day.
pub static CALENDAR: &[CanonicalColumn] = &[
    required("date", ColumnType::Date, "the day"),
    optional("is_workday", ColumnType::Flag, "whether people work; default: Monday to Friday"),
];

/// `contracts`: one row per contract.
pub static CONTRACTS: &[CanonicalColumn] = &[
    required("customer_id", ColumnType::Id, "the customer"),
    required("start", ColumnType::Date, "the first day"),
    optional("end", ColumnType::Date, "the day after the last one; none: it still runs"),
    required("mrr", ColumnType::Money, "what it brings a month"),
    CURRENCY,
];
