//! The columns of the shapes beside events: changes of fields, full rows in their three forms, the
//! current deals, the registry of stages.

use super::{CanonicalColumn, ColumnType, optional, required};

const DEAL: CanonicalColumn = required("deal_id", ColumnType::Id, "the deal");
const PIPELINE: CanonicalColumn =
    optional("pipeline_id", ColumnType::Text, "the pipeline that the deal is in then");
const AMOUNT: CanonicalColumn = optional("amount", ColumnType::Money, "the amount");
const CURRENCY: CanonicalColumn = optional("currency", ColumnType::Text, "currency of the amount");
const OWNER: CanonicalColumn = optional("owner_id", ColumnType::Text, "the owner");
const CUSTOMER: CanonicalColumn = optional("customer_id", ColumnType::Id, "the customer");
const EXPECTED_CLOSE: CanonicalColumn =
    optional("expected_close", ColumnType::Date, "the expected close date");
const CREATED: CanonicalColumn =
    optional("created_at", ColumnType::Instant, "when the deal was created");
const STAGE: CanonicalColumn = optional("stage_id", ColumnType::Text, "the stage");
const OUTCOME: CanonicalColumn = optional(
    "outcome",
    ColumnType::Text,
    "won, lost, open or deleted, where the stage does not tell; other words by [inputs.….values]",
);
const IS_CLOSED: CanonicalColumn =
    optional("is_closed", ColumnType::Flag, "whether it is won or lost, where no outcome is told");
const IS_WON: CanonicalColumn =
    optional("is_won", ColumnType::Flag, "whether it is won, where no outcome is told");
const IS_DELETED: CanonicalColumn =
    optional("is_deleted", ColumnType::Flag, "whether the deal is deleted");
const EVENT_ID: CanonicalColumn =
    optional("event_id", ColumnType::Id, "identifies the row; of several the last counts");
const SEQ: CanonicalColumn = optional("seq", ColumnType::Integer, "order within one instant");

/// `deal_events` of shape `field_history`: one row per change of a field.
pub static FIELD_HISTORY: &[CanonicalColumn] = &[
    DEAL,
    required("event_time", ColumnType::Instant, "when the field was changed"),
    required("field", ColumnType::Text, "the field, by the names under [inputs.….fields]"),
    required("new_value", ColumnType::Text, "the value from then on"),
    optional("old_value", ColumnType::Text, "the value until then"),
    PIPELINE,
    CUSTOMER,
    SEQ,
    EVENT_ID,
    optional("ingested_at", ColumnType::Instant, "when the row arrived"),
];

/// What a field of a field history may be, beside a dimension.
pub const FIELD_TARGETS: [&str; 9] = [
    "created",
    "stage_id",
    "outcome",
    "amount",
    "owner_id",
    "customer_id",
    "expected_close",
    "is_deleted",
    "pipeline_id",
];

/// `deal_events` of shape `row_history`: a full row per change, to be compared with the one before.
pub static ROW_HISTORY: &[CanonicalColumn] = &[
    DEAL,
    required("event_time", ColumnType::Instant, "from when on the row holds"),
    STAGE,
    OUTCOME,
    IS_CLOSED,
    IS_WON,
    PIPELINE,
    AMOUNT,
    CURRENCY,
    OWNER,
    CUSTOMER,
    EXPECTED_CLOSE,
    CREATED,
    IS_DELETED,
    SEQ,
    EVENT_ID,
];

/// `deal_events` of shape `intervals`: a full row per interval in which it holds.
pub static INTERVALS: &[CanonicalColumn] = &[
    DEAL,
    required("valid_from", ColumnType::Instant, "from when on the row holds"),
    optional(
        "valid_to",
        ColumnType::Instant,
        "until when it holds; none, or 2050 and later: it still does",
    ),
    optional("is_active", ColumnType::Flag, "whether the row still holds"),
    STAGE,
    OUTCOME,
    IS_CLOSED,
    IS_WON,
    PIPELINE,
    AMOUNT,
    CURRENCY,
    OWNER,
    CUSTOMER,
    EXPECTED_CLOSE,
    CREATED,
    IS_DELETED,
    EVENT_ID,
];

/// `deal_events` of shape `snapshots`: every deal in every extract.
pub static SNAPSHOTS: &[CanonicalColumn] = &[
    DEAL,
    required(
        "snapshot_at",
        ColumnType::Instant,
        "when the extract was made: one date or instant for all of its rows, mostly a partition",
    ),
    STAGE,
    OUTCOME,
    IS_CLOSED,
    IS_WON,
    PIPELINE,
    AMOUNT,
    CURRENCY,
    OWNER,
    CUSTOMER,
    EXPECTED_CLOSE,
    CREATED,
    IS_DELETED,
];

/// `deals`: the current state of every deal, one row each.
pub static DEALS: &[CanonicalColumn] = &[
    DEAL,
    CREATED,
    STAGE,
    OUTCOME,
    IS_CLOSED,
    IS_WON,
    optional("closed_at", ColumnType::Instant, "when the deal was won or lost"),
    optional("won_at", ColumnType::Instant, "when the deal was won"),
    optional("lost_at", ColumnType::Instant, "when the deal was lost"),
    IS_DELETED,
    optional("deleted_at", ColumnType::Instant, "when the deal was deleted"),
    PIPELINE,
    AMOUNT,
    CURRENCY,
    OWNER,
    CUSTOMER,
    EXPECTED_CLOSE,
];

/// `stages`: the registry of stages, one row each.
pub static STAGES: &[CanonicalColumn] = &[
    required("stage_id", ColumnType::Text, "the stage, as it stands in the deal histories"),
    optional("stage_name", ColumnType::Text, "another name of it"),
    optional("aliases", ColumnType::Text, "further names of it, separated by |"),
    optional("stage_order", ColumnType::Integer, "its place; default: the order of the rows"),
    optional("class", ColumnType::Text, "open, won, lost or ignored; default: open"),
    IS_CLOSED,
    IS_WON,
    optional(
        "pipeline_id",
        ColumnType::Text,
        "its pipeline; one id in two pipelines is two stages",
    ),
    optional(
        "valid_from",
        ColumnType::Instant,
        "from when on the row holds, where a stage has several; its class is that of the event's time",
    ),
    optional("valid_to", ColumnType::Instant, "until when; the last row of a stage holds on"),
    optional("probability", ColumnType::Text, "the chance of winning there; not used yet"),
    optional("target_days", ColumnType::Text, "the time meant for it; not used yet"),
];
