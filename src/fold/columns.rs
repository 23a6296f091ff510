//! What the fold emits: visits and deals as rows, a few thousand deals at a time, from which the
//! relations' columns are made.
//!
//! Rows and not columns, because the machine writes a visit at once, in one cache line, and most of
//! the columns that could be made of it are not wanted. On 6.6 million events this and the small
//! chunks took the fold from 1.65 s to a fourth of that.

use super::deal::{Deal, Outcome, Visit};
use super::following::Step;
use super::ledger::{Entry, Keys};
use super::levels::Levels;
use super::observe::Compared;
use super::replay::Moment;
use super::telling::Quality;
use crate::contract::Id;
use crate::time::Instant;

/// A visit and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct VisitRow {
    /// Row of the deal in the chunk.
    pub deal: u32,
    /// Its place among the deal's visits; 0 is the entry.
    pub place: u32,
    /// What the machine noted.
    pub visit: Visit,
}

/// An entry of the ledger and whose it is. The deal may be in no other relation: deals that are
/// deleted or merged are booked until then.
#[derive(Debug, Clone, Copy)]
pub struct BookingRow {
    /// The deal.
    pub deal: Id,
    /// Hash of its customer, or its own where it has none.
    pub split: u64,
    /// What was booked.
    pub entry: Entry,
}

/// A step from one event to the next and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct StepRow {
    /// Row of the deal in the chunk.
    pub deal: u32,
    /// From what to what.
    pub step: Step,
}

/// A step of a funnel that a deal took, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct TakenRow {
    /// Row of the deal in the chunk.
    pub deal: u32,
    /// Code of the funnel.
    pub funnel: u16,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Number of the step, from 1.
    pub step: u16,
    /// When the attempt was entered.
    pub entered: Instant,
    /// When the step before was taken; of the first step the entry.
    pub before: Instant,
    /// When the step was taken.
    pub at: Instant,
    /// Whether it is the attempt's last.
    pub is_last: bool,
    /// Whether an excluded stage ended the attempt.
    pub is_excluded: bool,
    /// Whether the attempt has had all the time that it may take.
    pub is_mature: bool,
    /// Amount at the entry.
    pub amount: i64,
    /// Owner at the entry.
    pub owner: u32,
}

/// What a deal was from one event to the next, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct MomentRow {
    /// Row of the deal in the chunk.
    pub deal: u32,
    /// What it was.
    pub moment: Moment,
}

/// A deal and what follows from its visits.
#[derive(Debug, Clone)]
pub struct DealRow {
    /// Its identifier.
    pub id: Id,
    /// When it was created.
    pub created: Instant,
    /// When its cycle began.
    pub cycle_from: Instant,
    /// When its cycle ended, or `as_of`.
    pub cycle_to: Instant,
    /// How its cycle ended.
    pub cycle_status: Outcome,
    /// Whether its cycle has a length: it has a beginning, and that is not after its end.
    pub has_cycle: bool,
    /// Number of visits.
    pub visits_n: u32,
    /// How far it came.
    pub levels: Levels,
    /// What the machine noted.
    pub deal: Deal,
}

/// What a chunk stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Its deals with all of their visits, but for those that came before.
    #[default]
    Deals,
    /// Some visits of one deal that has very many; the deal itself is in a later chunk.
    VisitsOnly,
}

/// What one part of the fold emits.
#[derive(Debug, Default)]
pub struct Chunk {
    /// What it stands for.
    pub content: Content,
    /// The visits, deal by deal.
    pub visits: Vec<VisitRow>,
    /// The deals.
    pub deals: Vec<DealRow>,
    /// The value of each dimension that comes with the events, a deal.
    pub dimensions: Vec<Vec<u32>>,
    /// The entries of the ledger, deal by deal, where somebody asks for them.
    pub bookings: Vec<BookingRow>,
    /// The value of each dimension that comes with the events, an entry.
    pub booking_dimensions: Vec<Vec<u32>>,
    /// What look-ups need to know of each entry; empty where none does.
    pub booking_keys: Vec<Keys>,
    /// What the ledger holds for each deal; empty where nobody asks for it.
    pub held: Vec<i64>,
    /// What follows what, deal by deal, where somebody asks.
    pub steps: Vec<StepRow>,
    /// The steps of funnels that deals took, deal by deal, where there are funnels.
    pub taken: Vec<TakenRow>,
    /// The value of each dimension that comes with the events, a step taken.
    pub taken_dimensions: Vec<Vec<u32>>,
    /// What the deals were after each of their events, deal by deal, where somebody asks for it.
    pub moments: Vec<MomentRow>,
    /// The value of each dimension that comes with the events, a moment.
    pub moment_dimensions: Vec<Vec<u32>>,
    /// How good each deal's history is; empty where all are of the same quality.
    pub histories: Vec<HistoryRow>,
    /// The quality of all histories where there is no such list.
    pub quality: Quality,
    /// What was counted on the way.
    pub tally: Tally,
}

/// How good a deal's history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRow {
    /// In one word.
    pub quality: Quality,
    /// How far off the close may be, to either side of the middle between two extracts.
    pub close_uncertainty_seconds: i64,
}

impl Chunk {
    /// An empty chunk of deals with so many dimensions.
    #[must_use]
    pub fn new(dimensions: usize) -> Self {
        let columns = vec![Vec::new(); dimensions];
        Self {
            dimensions: columns.clone(),
            booking_dimensions: columns.clone(),
            taken_dimensions: columns.clone(),
            moment_dimensions: columns,
            ..Self::default()
        }
    }

    /// Only some of the deals, with their visits, and the entries of some.
    #[must_use]
    pub fn only(
        &self,
        is_wanted: impl Fn(&DealRow) -> bool,
        is_booked: impl Fn(&BookingRow) -> bool,
    ) -> Self {
        let all = self.deals.iter().enumerate();
        let rows: Vec<usize> =
            all.filter(|(_, row)| is_wanted(row)).map(|(place, _)| place).collect();
        let codes =
            |column: &Vec<u32>| rows.iter().filter_map(|r| column.get(*r).copied()).collect();
        let place = |deal: u32| rows.binary_search(&(deal as usize)).ok().map(|row| row as u32);
        let visit = |visit: &VisitRow| Some(VisitRow { deal: place(visit.deal)?, ..*visit });
        let entries = self.bookings.iter().enumerate();
        let entries: Vec<(usize, BookingRow)> =
            entries.filter(|(_, row)| is_booked(row)).map(|(n, row)| (n, *row)).collect();
        let of_entries = |column: &Vec<u32>| {
            entries.iter().filter_map(|(n, _)| column.get(*n).copied()).collect()
        };
        let taken = self.taken.iter().enumerate();
        let taken: Vec<(usize, TakenRow)> = taken
            .filter_map(|(n, row)| Some((n, TakenRow { deal: place(row.deal)?, ..*row })))
            .collect();
        let of_taken =
            |column: &Vec<u32>| taken.iter().filter_map(|(n, _)| column.get(*n).copied()).collect();
        let step = |row: &StepRow| Some(StepRow { deal: place(row.deal)?, ..*row });
        let moments = self.moments.iter().enumerate();
        let moments: Vec<(usize, MomentRow)> = moments
            .filter_map(|(n, row)| Some((n, MomentRow { deal: place(row.deal)?, ..*row })))
            .collect();
        let of_moments = |column: &Vec<u32>| {
            moments.iter().filter_map(|(n, _)| column.get(*n).copied()).collect()
        };
        Self {
            content: self.content,
            visits: self.visits.iter().filter_map(visit).collect(),
            deals: rows.iter().filter_map(|row| self.deals.get(*row).cloned()).collect(),
            dimensions: self.dimensions.iter().map(codes).collect(),
            booking_dimensions: self.booking_dimensions.iter().map(of_entries).collect(),
            bookings: entries.iter().map(|(_, row)| *row).collect(),
            booking_keys: entries
                .iter()
                .filter_map(|(n, _)| self.booking_keys.get(*n).copied())
                .collect(),
            held: rows.iter().filter_map(|row| self.held.get(*row).copied()).collect(),
            steps: self.steps.iter().filter_map(step).collect(),
            taken_dimensions: self.taken_dimensions.iter().map(of_taken).collect(),
            taken: taken.iter().map(|(_, row)| *row).collect(),
            moment_dimensions: self.moment_dimensions.iter().map(of_moments).collect(),
            moments: moments.iter().map(|(_, row)| *row).collect(),
            histories: rows.iter().filter_map(|row| self.histories.get(*row).copied()).collect(),
            quality: self.quality,
            tally: Tally::default(),
        }
    }

    /// Takes everything out and keeps the room, so that the next rows need no new pages.
    pub fn clear(&mut self) {
        self.visits.clear();
        self.deals.clear();
        self.histories.clear();
        self.dimensions.iter_mut().for_each(Vec::clear);
        self.bookings.clear();
        self.booking_dimensions.iter_mut().for_each(Vec::clear);
        self.booking_keys.clear();
        self.held.clear();
        self.steps.clear();
        self.taken.clear();
        self.taken_dimensions.iter_mut().for_each(Vec::clear);
        self.moments.clear();
        self.moment_dimensions.iter_mut().for_each(Vec::clear);
        self.tally = Tally::default();
    }
}

/// What the fold counts for the quality ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the quality rule of the same name")]
pub struct Tally {
    pub duplicate_events: u64,
    /// Of the duplicate events those that are equal to another one in every column read.
    pub equal_events: u64,
    pub tied_events: u64,
    pub no_op_changes: u64,
    pub before_creation: u64,
    pub after_deletion: u64,
    pub unknown_stage_events: u64,
    pub reopened_by_unknown_stage: u64,
    pub deals: u64,
    pub no_customer: u64,
    pub no_stage: u64,
    pub null_amount_won: u64,
    pub zero_amount_won: u64,
    pub negative_amount_won: u64,
    pub unpriced_deals: u64,
    /// Deals in a pipeline that nobody listed.
    pub unknown_pipeline: u64,
    pub bad_probability: u64,
    /// Amounts that were rounded where others are converted.
    pub inexact_amounts: u64,
    /// Deals in another currency where none is converted.
    pub foreign_deals: u64,
    pub negative_cycle: u64,
    pub deleted_deals: u64,
    pub tied_deals: u64,
    /// Deals that events of type `merged` say were merged into others.
    pub merged_deals: u64,
    /// Deals that were merged into others by the table of merges, and those that go on.
    pub losers: Vec<Id>,
    pub winners: Vec<Id>,
    /// Rows that were compared, and the events that came of it.
    pub compared_rows: u64,
    pub compared_events: u64,
    /// What comparing rows and tables showed.
    pub compared: Compared,
    /// Unit and row of every event of a deal kept out for its ties.
    pub rejected: Vec<(usize, u32)>,
}

impl Tally {
    /// Adds what another part counted.
    pub fn append(&mut self, mut other: Self) {
        self.duplicate_events += other.duplicate_events;
        self.equal_events += other.equal_events;
        self.tied_events += other.tied_events;
        self.no_op_changes += other.no_op_changes;
        self.before_creation += other.before_creation;
        self.after_deletion += other.after_deletion;
        self.unknown_stage_events += other.unknown_stage_events;
        self.reopened_by_unknown_stage += other.reopened_by_unknown_stage;
        self.deals += other.deals;
        self.no_customer += other.no_customer;
        self.no_stage += other.no_stage;
        self.null_amount_won += other.null_amount_won;
        self.zero_amount_won += other.zero_amount_won;
        self.negative_amount_won += other.negative_amount_won;
        self.unpriced_deals += other.unpriced_deals;
        self.unknown_pipeline += other.unknown_pipeline;
        self.bad_probability += other.bad_probability;
        self.inexact_amounts += other.inexact_amounts;
        self.foreign_deals += other.foreign_deals;
        self.negative_cycle += other.negative_cycle;
        self.deleted_deals += other.deleted_deals;
        self.tied_deals += other.tied_deals;
        self.merged_deals += other.merged_deals;
        self.losers.append(&mut other.losers);
        self.winners.append(&mut other.winners);
        self.compared_rows += other.compared_rows;
        self.compared_events += other.compared_events;
        self.compared.add(&other.compared);
        self.rejected.append(&mut other.rejected);
    }
}
