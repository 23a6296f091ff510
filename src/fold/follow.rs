//! One deal's fold, heard event by event: for telling its story. It is the fold itself, so the story
//! cannot differ from the tables.

use super::machine::{Event, Machine};
use super::observe::Compared;
use super::pricing::Purse;
use super::{DealRow, Folder, Quality, Settings};
use crate::contract::{EventBatch, Id};

/// Hears what is done to a deal while it is folded. The fold of a run has nobody who hears.
pub trait Hearing {
    /// The deal is folded from its beginning, with its amounts worth this; perhaps again.
    fn begin(&mut self, _purse: Option<Purse>) {}

    /// An event is about to be applied.
    fn before(&mut self, _machine: &Machine<'_>) {}

    /// An event was applied that comes from a row, as given and at its worth.
    fn after(&mut self, _machine: &Machine<'_>, _row: usize, _given: &Event, _priced: &Event) {}
}

impl Hearing for () {}

/// What became of a deal.
#[derive(Debug)]
pub struct Followed<'a> {
    /// The machine after the last event.
    pub machine: Machine<'a>,
    /// Whether anything could be folded at all.
    pub is_told: bool,
    /// The deal as the tables have it; `None` where it counts nowhere.
    pub row: Option<DealRow>,
    /// How much of what happened the history shows.
    pub quality: Quality,
    /// What comparing rows showed.
    pub compared: Compared,
}

/// Folds the rows of one deal, which are in order and without duplicates. `own` are the deals that
/// the events were of, where some are united with others.
#[must_use]
pub fn follow<'a>(
    (events, own): (&EventBatch, &[Id]),
    units: &[(usize, usize)],
    rows: &[u32],
    settings: &'a Settings<'a>,
    hearing: &mut impl Hearing,
) -> Followed<'a> {
    let mut folder = Folder { own: own.to_vec(), ..Folder::new(settings) };
    let kept = folder.fold_rows(events, units, rows, hearing);
    if kept == Some(true) {
        let first = rows.first().map_or(0, |row| *row as usize);
        folder.emit_deal(events.deal.get(first).copied().unwrap_or_default());
    }
    Followed {
        is_told: kept.is_some(),
        row: folder.out.deals.pop(),
        quality: folder.out.histories.pop().map_or(folder.out.quality, |history| history.quality),
        compared: folder.out.tally.compared.clone(),
        machine: folder.machine,
    }
}
