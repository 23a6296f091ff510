//! The event batch: what every input shape becomes before the fold.

use super::Id;

/// Stands for "no name" in columns of codes.
pub const NO_CODE: u32 = u32::MAX;
/// Stands for "no stage" in the stage column.
pub const NO_STAGE: u16 = u16::MAX;

/// Stands for "no pipeline" in the pipeline column.
pub const NO_PIPELINE: u16 = u16::MAX;

/// Stands for "has not ended" where an interval's end is.
pub const OPEN_END: i64 = i64::MAX;
/// Stands for an unknown creation in the time of what a table of current deals says: 1900-01-01.
pub const NO_CREATION: i64 = -25_567 * 86_400_000_000;

/// What an event does to its deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum EventKind {
    /// Changes attributes only.
    #[default]
    Attribute = 0,
    /// Creates the deal, in a stage if one is given.
    Created = 1,
    /// Moves the deal to a stage.
    Stage = 2,
    /// Wins the deal.
    Won = 3,
    /// Loses the deal.
    Lost = 4,
    /// Opens a closed deal again.
    Reopened = 5,
    /// Deletes the deal.
    Deleted = 6,
    /// Takes a deletion back.
    Restored = 7,
    /// Merges the deal into another: it counts nowhere any more, whatever becomes of deleted deals.
    Merged = 8,
    /// Takes the amount away: from now on it is unknown.
    Cleared = 9,
    /// Not an event yet: all that a full row says of its deal, which holds from then on. The fold
    /// compares it with the row before. `seq` is the end of an interval, `ingested` the creation.
    Observed = 10,
    /// As [`Self::Observed`], of a row that is marked as deleted.
    ObservedGone = 11,
    /// Not an event: the value that a field had until then.
    Before = 12,
    /// Not an event: what a table of current deals says; `time` is the creation if it is known,
    /// `ingested` the close. Whether the deal is open, won or lost is not told.
    Current = 13,
    /// As [`Self::Current`], of an open deal.
    CurrentOpen = 14,
    /// As [`Self::Current`], of a won deal.
    CurrentWon = 15,
    /// As [`Self::Current`], of a lost deal.
    CurrentLost = 16,
    /// Not an event: by the table of current deals the deal is deleted; `ingested` says when.
    CurrentGone = 17,
}

impl EventKind {
    /// The kind of a number, as `kind as u8` gives it.
    #[must_use]
    #[inline]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Created,
            2 => Self::Stage,
            3 => Self::Won,
            4 => Self::Lost,
            5 => Self::Reopened,
            6 => Self::Deleted,
            7 => Self::Restored,
            8 => Self::Merged,
            9 => Self::Cleared,
            10 => Self::Observed,
            11 => Self::ObservedGone,
            12 => Self::Before,
            13 => Self::Current,
            14 => Self::CurrentOpen,
            15 => Self::CurrentWon,
            16 => Self::CurrentLost,
            17 => Self::CurrentGone,
            _ => Self::Attribute,
        }
    }

    /// Whether a table of current deals says it.
    #[must_use]
    pub fn is_current(self) -> bool {
        (Self::Current..=Self::CurrentGone).contains(&self)
    }

    /// The kind of an `event_type` of the contract, `None` if it is not one of them.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "created" => Self::Created,
            "stage" => Self::Stage,
            "won" => Self::Won,
            "lost" => Self::Lost,
            "reopened" => Self::Reopened,
            "deleted" => Self::Deleted,
            "merged" => Self::Merged,
            "restored" => Self::Restored,
            "amount" | "close_date" | "owner" | "probability" | "forecast_category"
            | "pipeline" | "attribute" => Self::Attribute,
            _ => return None,
        })
    }

    /// Every `event_type` that the contract knows.
    pub const NAMES: [&'static str; 15] = [
        "created",
        "stage",
        "won",
        "lost",
        "reopened",
        "deleted",
        "merged",
        "restored",
        "amount",
        "close_date",
        "owner",
        "probability",
        "forecast_category",
        "pipeline",
        "attribute",
    ];
}

/// Events as plain typed columns of equal length; optional columns are empty where the input has
/// none. Rows are in the order of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventBatch {
    /// Identifier of the deal.
    pub deal: Vec<Id>,
    /// Microseconds since the epoch.
    pub time: Vec<i64>,
    /// What the event does.
    pub kind: Vec<EventKind>,
    /// Code of the stage, [`NO_STAGE`] if none.
    pub stage: Vec<u16>,
    /// Code of the pipeline, [`NO_PIPELINE`] if none; empty where there is only one.
    pub pipeline: Vec<u16>,
    /// Row number within the unit that was read; empty where no row will be asked for.
    pub row: Vec<u32>,
    /// Minor units, [`crate::money::NO_AMOUNT`] if none; empty without the column.
    pub amount: Vec<i64>,
    /// Code of the amount's currency, [`NO_CODE`] if none.
    pub currency: Vec<u32>,
    /// Code of the owner, [`NO_CODE`] if none.
    pub owner: Vec<u32>,
    /// Identifier of the customer.
    pub customer: Vec<Id>,
    /// Civil day, [`crate::time::NO_DAY`] if none.
    pub expected_close: Vec<i32>,
    /// Order within one instant; `i64::MIN` if none.
    pub seq: Vec<i64>,
    /// Identifier of the event.
    pub event_id: Vec<Id>,
    /// When the row arrived.
    pub ingested: Vec<i64>,
    /// Codes of each dimension that comes with the events.
    pub dimensions: Vec<Vec<u32>>,
}

impl EventBatch {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deal.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deal.is_empty()
    }

    /// Takes the events out and keeps the room, so that the next ones need no new pages.
    pub fn clear(&mut self) {
        self.deal.clear();
        self.time.clear();
        self.kind.clear();
        self.stage.clear();
        self.pipeline.clear();
        self.row.clear();
        self.amount.clear();
        self.currency.clear();
        self.owner.clear();
        self.customer.clear();
        self.expected_close.clear();
        self.seq.clear();
        self.event_id.clear();
        self.ingested.clear();
        for column in &mut self.dimensions {
            column.clear();
        }
    }

    /// The events of these rows, in their order.
    #[must_use]
    pub fn pick(&self, rows: &[usize]) -> Self {
        fn pick<T: Copy>(column: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().filter_map(|row| column.get(*row).copied()).collect()
        }
        Self {
            deal: pick(&self.deal, rows),
            time: pick(&self.time, rows),
            kind: pick(&self.kind, rows),
            stage: pick(&self.stage, rows),
            pipeline: pick(&self.pipeline, rows),
            row: pick(&self.row, rows),
            amount: pick(&self.amount, rows),
            currency: pick(&self.currency, rows),
            owner: pick(&self.owner, rows),
            customer: pick(&self.customer, rows),
            expected_close: pick(&self.expected_close, rows),
            seq: pick(&self.seq, rows),
            event_id: pick(&self.event_id, rows),
            ingested: pick(&self.ingested, rows),
            dimensions: self.dimensions.iter().map(|d| pick(d, rows)).collect(),
        }
    }
}
