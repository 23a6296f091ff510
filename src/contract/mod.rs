//! The canonical input tables: columns, types, required, meaning; the only place that spells them.
//!
//! What a source delivers, whatever the shape of the files, is an [`EventBatch`]: plain typed
//! columns, one row per event, names already interned.

mod batch;
mod id;
mod pipelines;
mod shapes;
mod sheets;
mod stages;

pub use batch::{EventBatch, EventKind, NO_CODE, NO_CREATION, NO_PIPELINE, NO_STAGE, OPEN_END};
pub use id::{Id, Spelling, hash_integer, hash_text};
pub use pipelines::{DEFAULT_PIPELINE, PipelineNames, StageOf};
pub use shapes::{DEALS, FIELD_HISTORY, FIELD_TARGETS, INTERVALS, ROW_HISTORY, SNAPSHOTS, STAGES};
pub use sheets::{
    CALENDAR, CONTRACTS, CUSTOMERS, DEAL_SPLITS, FX_RATES, MERGES, PAYMENTS, SPEND, SURVEYS,
    TARGETS, TOUCHES, USERS,
};
pub use stages::{
    STAGE_DELETED, STAGE_HANDOFF, STAGE_START, STAGE_STILL, Stage, StageClass, StageTable,
};

use crate::config::Shape;

/// What a canonical column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// An identifier: any integer or text.
    Id,
    /// A name: text (or an integer, taken as its decimal text).
    Text,
    /// An instant: timestamp of any unit, date, or text.
    Instant,
    /// A civil date: date, timestamp, or text.
    Date,
    /// Money: integer, decimal, float or text, in units of the currency.
    Money,
    /// A whole number.
    Integer,
    /// Yes or no: a boolean, 0 or 1, or text.
    Flag,
}

impl ColumnType {
    /// What a file may hold, in words, for error messages.
    #[must_use]
    pub fn accepted(self) -> &'static str {
        match self {
            Self::Id => "an integer or text",
            Self::Text => "text or an integer",
            Self::Instant => "a timestamp, a date or text",
            Self::Date => "a date, a timestamp or text",
            Self::Money => "an integer, decimal, float or text",
            Self::Integer => "an integer or text",
            Self::Flag => "a boolean, an integer or text",
        }
    }
}

/// Whether an input must have a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without it the input is refused.
    Required,
    /// Without it less is computed.
    Optional,
}

/// One canonical column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalColumn {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: ColumnType,
    /// Whether it must be there.
    pub need: Need,
    /// What it means.
    pub meaning: &'static str,
}

const fn required(name: &'static str, holds: ColumnType, meaning: &'static str) -> CanonicalColumn {
    CanonicalColumn { name, holds, need: Need::Required, meaning }
}

const fn optional(name: &'static str, holds: ColumnType, meaning: &'static str) -> CanonicalColumn {
    CanonicalColumn { name, holds, need: Need::Optional, meaning }
}

/// `deal_events` of shape `events`: one row per change of a deal.
pub static DEAL_EVENTS: &[CanonicalColumn] = &[
    required("deal_id", ColumnType::Id, "the deal"),
    required(
        "event_time",
        ColumnType::Instant,
        "when it happened; a date is the local day of the reporting zone",
    ),
    optional(
        "event_type",
        ColumnType::Text,
        "created, stage, won, lost, reopened, deleted, restored, merged, or an attribute change; default: stage where stage_id is given",
    ),
    optional("stage_id", ColumnType::Text, "the new stage"),
    optional("pipeline_id", ColumnType::Text, "the pipeline that the deal is in from then on"),
    optional("amount", ColumnType::Money, "the new amount"),
    optional(
        "currency",
        ColumnType::Text,
        "currency of this amount and later ones; amounts before the first one given are in it, too",
    ),
    optional("owner_id", ColumnType::Text, "the new owner"),
    optional("customer_id", ColumnType::Id, "the customer"),
    optional("expected_close", ColumnType::Date, "the new expected close date"),
    optional("seq", ColumnType::Integer, "order within one instant"),
    optional(
        "event_id",
        ColumnType::Id,
        "identifies the event; of several rows with the same one, the last ingested counts",
    ),
    optional("ingested_at", ColumnType::Instant, "when the row arrived"),
];

/// `deal_events` of shape `stage_dates`: one row per deal, a date column per stage, an outcome.
pub static STAGE_DATES: &[CanonicalColumn] = &[
    required("deal_id", ColumnType::Id, "the deal"),
    optional("created_at", ColumnType::Instant, "when the deal was created"),
    optional("pipeline_id", ColumnType::Text, "the pipeline of the deal"),
    optional("amount", ColumnType::Money, "the amount"),
    optional("currency", ColumnType::Text, "currency of the amount"),
    optional("owner_id", ColumnType::Text, "the owner"),
    optional("customer_id", ColumnType::Id, "the customer"),
    optional("expected_close", ColumnType::Date, "the expected close date"),
];

/// The columns that a look-up table of this name is known to have, the key first; it may have any
/// others, too.
#[must_use]
pub fn lookup_columns(name: &str) -> Option<&'static [CanonicalColumn]> {
    match name {
        "customers" => Some(CUSTOMERS),
        "users" => Some(USERS),
        _ => None,
    }
}

/// The columns that an input can have by the contract; a look-up table may have any.
#[must_use]
pub fn columns_of(shape: Shape) -> Option<&'static [CanonicalColumn]> {
    Some(match shape {
        Shape::Events => DEAL_EVENTS,
        Shape::StageDates => STAGE_DATES,
        Shape::FieldHistory => FIELD_HISTORY,
        Shape::RowHistory => ROW_HISTORY,
        Shape::Intervals => INTERVALS,
        Shape::Snapshots => SNAPSHOTS,
        Shape::Deals => DEALS,
        Shape::Stages => STAGES,
        Shape::Spend => SPEND,
        Shape::FxRates => FX_RATES,
        Shape::Payments => PAYMENTS,
        Shape::DealSplits => DEAL_SPLITS,
        Shape::Merges => MERGES,
        Shape::Targets => TARGETS,
        Shape::Surveys => SURVEYS,
        Shape::Touches => TOUCHES,
        Shape::Calendar => CALENDAR,
        Shape::Contracts => CONTRACTS,
        Shape::Lookup => return None,
    })
}
