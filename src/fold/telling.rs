//! What the inputs of a run can tell: which rows come from which, how good their histories are, and
//! whether rows have to be compared before they are events.

use crate::config::{ProbabilityUnit, Shape};
use crate::contract::{BAD_PROBABILITY, EventBatch, NO_PROBABILITY};
use crate::source::in_millionths;
use crate::time::Instant;

/// How much of what happened to a deal its history shows; the number is its position in
/// [`crate::relations::deals::HISTORY_QUALITY`]. Worse is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Quality {
    /// Every change, at its time.
    #[default]
    Events = 0,
    /// One visit to each stage.
    Wide = 1,
    /// What extracts show; times are those of the extracts.
    Snapshot = 2,
    /// The current state only.
    Current = 3,
}

impl Quality {
    /// The quality of the histories of a shape.
    #[must_use]
    pub fn of(shape: Shape) -> Self {
        match shape {
            Shape::StageDates => Self::Wide,
            Shape::Snapshots => Self::Snapshot,
            Shape::Deals => Self::Current,
            _ => Self::Events,
        }
    }
}

/// What one input tells.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its shape.
    pub shape: Shape,
    /// How good its histories are.
    pub quality: Quality,
    /// Whether it has amounts, so that a row without one says that there is none.
    pub has_amount: bool,
    /// Whether it has ends of intervals.
    pub has_ends: bool,
    /// Whether full rows tell when their deals were created.
    pub is_created_told: bool,
    /// In what its probabilities are.
    pub probability_unit: ProbabilityUnit,
    /// When its extracts were made, ascending; of snapshots only.
    pub extracts: Vec<Instant>,
}

impl Told {
    /// The first extract after an instant.
    #[must_use]
    pub fn extract_after(&self, at: Instant) -> Option<Instant> {
        self.extracts.get(self.extracts.partition_point(|extract| *extract <= at)).copied()
    }

    /// The last extract before an instant that is one of them.
    #[must_use]
    pub fn extract_before(&self, at: Instant) -> Option<Instant> {
        let place = self.extracts.binary_search(&at).ok()?;
        self.extracts.get(place.checked_sub(1)?).copied()
    }
}

/// The place of each code among the sorted names, where a choice between rows may not depend on the
/// order of files; empty where there is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranks {
    /// Of stages.
    pub stage: Vec<u16>,
    /// Of owners.
    pub owner: Vec<u32>,
    /// Of currencies.
    pub currency: Vec<u32>,
    /// Of the values of each dimension.
    pub dimensions: Vec<Vec<u32>>,
}

impl Ranks {
    /// No names.
    pub const NONE: Self =
        Self { stage: Vec::new(), owner: Vec::new(), currency: Vec::new(), dimensions: Vec::new() };
}

/// What the inputs of a run tell.
#[derive(Debug, Clone, Default)]
pub struct Telling {
    /// The position of each unit's input.
    pub units: Vec<u16>,
    /// The inputs.
    pub inputs: Vec<Told>,
    /// Where a table of current deals may have several rows of one deal.
    pub ranks: Ranks,
}

impl Telling {
    /// Plain events and nothing else.
    pub const PLAIN: &'static Self =
        &Self { units: Vec::new(), inputs: Vec::new(), ranks: Ranks::NONE };

    /// Whether every row is an event as it stands, and all histories are equally good.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_event = |told: &Told| matches!(told.shape, Shape::Events | Shape::StageDates);
        let qualities = |pair: &[Told]| matches!(pair, [a, b] if a.quality == b.quality);
        self.inputs.iter().all(is_event) && self.inputs.windows(2).all(qualities)
    }

    /// The quality of all histories, where it is one.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.inputs.first().map_or(Quality::Events, |told| told.quality)
    }

    /// The position of the input that a bucket's row comes from.
    #[must_use]
    pub fn input_of(&self, units: &[(usize, usize)], row: usize) -> usize {
        if self.inputs.len() < 2 {
            return 0;
        }
        let part = units.partition_point(|(first, _)| *first <= row);
        let unit = part.checked_sub(1).and_then(|p| units.get(p)).map_or(0, |(_, unit)| *unit);
        self.units.get(unit).map_or(0, |input| usize::from(*input))
    }

    /// Brings the probabilities of a bucket's events into millionths of 1; what is none is unknown.
    /// Gives how many are none.
    pub fn settle_probabilities(&self, events: &mut EventBatch, units: &[(usize, usize)]) -> u64 {
        let mut bad = 0;
        for (row, value) in events.probability.iter_mut().enumerate() {
            let told = self.inputs.get(self.input_of(units, row));
            let unit = told.map_or(ProbabilityUnit::Share, |told| told.probability_unit);
            *value = in_millionths(*value, unit);
            if *value == BAD_PROBABILITY {
                *value = NO_PROBABILITY;
                bad += 1;
            }
        }
        bad
    }

    /// Seconds that a close may be off at most to either side of the middle between the extract that
    /// first showed it and the one before; 0 where it is no extract.
    #[must_use]
    pub fn uncertainty_seconds(&self, closed: Instant) -> i64 {
        let before = self.inputs.iter().find_map(|told| told.extract_before(closed));
        before.map_or(0, |before| (closed - before) / 2_000_000)
    }
}
