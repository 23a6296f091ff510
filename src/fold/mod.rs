//! Events to visits and deals: scatter by deal, order, one linear pass per deal.
//!
//! This is the hot path. It works on plain typed columns: [`mod@scatter`] copies every column once into
//! bucket order, [`order`] sorts 24-byte keys a bucket, [`machine`] folds a deal without allocating,
//! and each bucket's visits and deals come out as columns again. Buckets are independent, so they
//! are folded in parallel, and the result does not depend on how many threads there are or how the
//! rows were spread over files.

mod booking;
pub mod columns;
mod current;
pub mod deal;
mod emit;
mod follow;
pub mod following;
mod handoff;
mod initial;
pub mod ledger;
pub mod levels;
pub mod machine;
pub mod merged;
pub mod observe;
pub mod order;
pub mod pricing;
pub mod replay;
pub mod scatter;
mod span;
pub mod telling;
pub mod windowed;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

pub use columns::{
    BookingRow, Chunk, Content, DealRow, HistoryRow, MomentRow, StepRow, TakenRow, Tally, VisitRow,
};
pub use follow::{Followed, Hearing, follow};
pub use handoff::first_pipeline;
pub use ledger::{Booking, Keys};
pub use machine::{Machine, Move, Outcome, Rules};
pub use replay::{Moment, Replaying};
pub use scatter::{Scattered, bucket_bits, scatter, scatter_as};
pub use telling::{Quality, Ranks, Telling, Told};

use crate::config::{MoneyPolicy, Ties};
use crate::contract::{
    EventBatch, EventKind, Id, NO_CODE, NO_PIPELINE, NO_PROBABILITY, NO_STAGE, StageTable,
};
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::source::Merges;
use crate::spill::Complete;
use crate::time::{Calendar, Instant, NO_DAY, NO_INSTANT};
use following::Follows;
use levels::Leveller;
use machine::Event;
use merged::{as_history, is_losers, unite};
use pricing::{Pricing, Purse};
use windowed::Funnel;

/// What is asked beside deals and visits; what nobody asks for costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Whether anybody asks what deals book.
    pub booking: Booking,
    /// Whether anybody asks what follows what.
    pub follows: Follows,
    /// Whether anybody asks what deals were after each of their events.
    pub replaying: Replaying,
}

/// What the fold needs to know beside the events.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Stages, with their final codes.
    pub stages: &'a StageTable,
    /// Number of dimensions that come with the events.
    pub dimensions: usize,
    /// Alternatives of the fold.
    pub rules: Rules,
    /// Order of events at one instant.
    pub ties: Ties,
    /// The run's instant.
    pub as_of: Instant,
    /// What amounts are worth, where any has a currency of its own.
    pub pricing: Option<&'a Pricing>,
    /// What the inputs tell.
    pub telling: &'a Telling,
    /// What is asked beside deals and visits.
    pub asked: Asked,
    /// The funnels of the user's own, where somebody asks for them.
    pub funnels: &'a [Funnel],
    /// The reporting zone's calendar, by which funnels count days.
    pub calendar: Calendar,
    /// Which deals were merged into others, where any was.
    pub merges: Option<&'a Merges>,
}

/// Folds all scattered events and hands what comes out over, a chunk at a time, in no particular
/// order. Returns what was counted. Where events were written to a scratch file, a thread reads the
/// buckets of one range back at a time.
///
/// # Errors
/// Whatever `take` returns; events that cannot be read back.
pub fn fold(
    events: &Complete<Scattered>,
    settings: &Settings<'_>,
    take: impl Fn(&Chunk) -> Result<(), Error> + Sync,
) -> Result<Tally, Error> {
    let chunk = |folder: &mut Folder<'_>, parts: &[&Scattered], mut buckets: Range<usize>| {
        folder.out.clear();
        buckets.try_for_each(|bucket| folder.gather(parts, bucket, &take))?;
        take(&folder.out)?;
        Ok(std::mem::take(&mut folder.out.tally))
    };
    let chunks = |buckets: &Range<usize>| {
        let end = buckets.end;
        let begins = buckets.clone().step_by(BUCKETS_A_CHUNK);
        begins.map(move |first| first..(first + BUCKETS_A_CHUNK).min(end))
    };
    let both = |mut all: Tally, part| {
        all.append(part);
        Ok(all)
    };
    if let Some(parts) = events.held() {
        let every: Vec<Range<usize>> = events.ranges().iter().flat_map(chunks).collect();
        return every
            .into_par_iter()
            .map_init(|| Folder::new(settings), |folder, buckets| chunk(folder, &parts, buckets))
            .try_reduce(Tally::default, both);
    }
    let range = |folder: &mut Folder<'_>, (number, buckets): (usize, &Range<usize>)| {
        let parts = events.range(number)?;
        let parts: Vec<&Scattered> = parts.iter().map(|part| &**part).collect();
        let tallies = chunks(buckets).map(|buckets| chunk(folder, &parts, buckets));
        tallies
            .into_iter()
            .try_fold(Tally::default(), |all, part: Result<_, Error>| both(all, part?))
    };
    let ranges = events.ranges().par_iter().enumerate().with_max_len(1);
    ranges.map_init(|| Folder::new(settings), range).try_reduce(Tally::default, both)
}

/// Few enough that a chunk's columns stay near the processor, enough that handing it over costs
/// little beside its rows: 16 thousand events.
const BUCKETS_A_CHUNK: usize = 2;

/// A bucket's events, or a deal's visits, above which room is made for just these and given back
/// afterwards: sixteen times what buckets are made for. One deal can have a million events.
const LARGE: usize = 1 << 17;

/// Visits of one deal that are handed over at a time.
const VISITS_AT_ONCE: usize = 1 << 16;

/// Takes what comes out of the fold.
type Take<'t> = &'t (dyn Fn(&Chunk) -> Result<(), Error> + Sync);

/// Folds buckets one after the other into one output.
struct Folder<'a> {
    settings: &'a Settings<'a>,
    machine: Machine<'a>,
    leveller: Leveller<'a>,
    events: EventBatch,
    units: Vec<(usize, usize)>,
    /// The deal that each event was of, where merged deals are folded with others.
    own: Vec<Id>,
    sorter: order::Sorter,
    ordered: order::Ordered,
    rows: Vec<u32>,
    /// Where rows have to be compared.
    observer: Option<observe::Observer<'a>>,
    /// What the ledger holds for the deal, where its entries were made apart from its fold.
    booked_apart: Option<i64>,
    out: Chunk,
}

impl<'a> Folder<'a> {
    fn new(settings: &'a Settings<'a>) -> Self {
        let dimensions = settings.dimensions;
        Self {
            settings,
            machine: Machine::new(settings.stages, settings.rules, dimensions)
                .booking(settings.asked.booking, settings.pricing)
                .telling(settings.asked.follows, windowed::reads_dimensions(settings.funnels))
                .replaying(settings.asked.replaying),
            leveller: Leveller::new(settings.stages),
            events: EventBatch::default(),
            units: Vec::new(),
            own: Vec::new(),
            sorter: order::Sorter::default(),
            ordered: order::Ordered::default(),
            rows: Vec::new(),
            observer: (!settings.telling.is_plain()).then(|| observe::Observer::new(settings)),
            booked_apart: None,
            out: Chunk { quality: settings.telling.quality(), ..Chunk::new(dimensions) },
        }
    }

    /// Folds one bucket of all parts.
    fn gather(&mut self, parts: &[&Scattered], bucket: usize, take: Take<'_>) -> Result<(), Error> {
        let (mut events, mut units) =
            (std::mem::take(&mut self.events), std::mem::take(&mut self.units));
        scatter::gather(parts, bucket, &mut events, &mut units);
        if let Some(merges) = self.settings.merges {
            unite(merges, &mut events, &mut self.own);
        }
        if !events.probability.is_empty() {
            let telling = self.settings.telling;
            self.out.tally.bad_probability += telling.settle_probabilities(&mut events, &units);
        }
        let is_large = events.len() > LARGE;
        self.bucket(&events, &units, take)?;
        if !is_large {
            (self.events, self.units) = (events, units);
        }
        Ok(())
    }

    fn bucket(
        &mut self,
        events: &EventBatch,
        units: &[(usize, usize)],
        take: Take<'_>,
    ) -> Result<(), Error> {
        let mut ordered = std::mem::take(&mut self.ordered);
        self.sorter.order(events, self.settings.stages, self.settings.ties, &mut ordered);
        if events.len() > LARGE {
            self.sorter = order::Sorter::default();
        }
        let mut begin = 0;
        for end in &ordered.ends {
            self.rows.clear();
            self.rows.extend_from_slice(ordered.rows.get(begin..*end).unwrap_or(&[]));
            begin = *end;
            self.deal(events, units, take)?;
        }
        if events.len() <= LARGE {
            self.ordered = ordered;
        }
        Ok(())
    }

    fn deal(
        &mut self,
        events: &EventBatch,
        units: &[(usize, usize)],
        take: Take<'_>,
    ) -> Result<(), Error> {
        let mut rows = std::mem::take(&mut self.rows);
        self.begin_bookings();
        if let Some(merges) = self.settings.merges {
            self.book_merged(merges, events, units, &rows);
            merged::keep(merges, events, &self.own, &mut rows, &mut self.out.tally);
            if rows.is_empty() {
                self.rows = rows;
                return Ok(());
            }
        }
        if self.observer.is_some() {
            let is_seen = |row: &u32| events.kind.get(*row as usize) == Some(&EventKind::Seen);
            if rows.iter().all(is_seen) {
                self.rows = rows;
                return Ok(());
            }
            self.out.tally.compared_rows += rows.len() as u64;
        }
        let telling = self.settings.telling;
        let noticed =
            order::deduplicate(events, &mut rows, |row| telling.input_of(units, row as usize));
        let tally = &mut self.out.tally;
        tally.duplicate_events += noticed.duplicates;
        tally.equal_events += noticed.equal;
        tally.tied_events += noticed.ties;
        tally.deals += 1;
        if noticed.ties > 0 && self.settings.ties == Ties::Reject {
            tally.tied_deals += 1;
            tally.rejected.extend(rows.iter().map(|row| locate(units, events, *row)));
            self.rows = rows;
            return Ok(());
        }
        let Some(kept) = self.fold_rows(events, units, &rows, &mut ()) else {
            self.rows = rows;
            return Ok(());
        };
        self.count_deal(kept);
        let first = rows.first().map_or(0, |row| *row as usize);
        let id = events.deal.get(first).copied().unwrap_or_default();
        if kept {
            self.emit_deal(id);
            self.emit_steps();
            self.emit_visits(take)?;
        }
        self.emit_bookings(id);
        if rows.len() <= LARGE {
            self.rows = rows;
        } else {
            // What the machine counted by visit is taken back before they go.
            self.machine.begin();
            self.machine.visits = Vec::new();
        }
        Ok(())
    }

    /// Folds the rows of one deal, at its worth where amounts have currencies of their own. `None`
    /// if comparing the rows leaves nothing; else whether the deal counts.
    fn fold_rows(
        &mut self,
        events: &EventBatch,
        units: &[(usize, usize)],
        rows: &[u32],
        hearing: &mut impl Hearing,
    ) -> Option<bool> {
        let is_told = match &mut self.observer {
            Some(observer) => {
                observer.observe(events, units, &self.own, rows);
                self.out.tally.compared.add(&observer.compared);
                self.out.tally.compared_events += observer.steps.len() as u64;
                !observer.steps.is_empty()
            }
            None => true,
        };
        if !is_told {
            return None;
        }
        let Some(pricing) = self.settings.pricing else {
            hearing.begin(None);
            let own = |_: usize, event: &Event| (event.amount, NO_AMOUNT);
            return Some(self.apply(events, rows, own, hearing));
        };
        let purse = pricing.purse(events, rows);
        let kept = self.apply_priced(pricing, purse, (events, rows), hearing);
        let closed = self.machine.deal.closed;
        if pricing.policy == MoneyPolicy::None {
            let is_foreign = kept && pricing.is_foreign(events, rows);
            self.out.tally.foreign_deals += u64::from(is_foreign);
        } else if kept && closed != NO_INSTANT && pricing.waits_for_close(events, rows) {
            let purse = pricing.purse_of_close(events, rows, closed);
            let before = self.out.tally.inexact_amounts;
            let kept = self.apply_priced(pricing, purse, (events, rows), hearing);
            // They were counted the first time.
            self.out.tally.inexact_amounts = before;
            return Some(kept);
        }
        Some(kept)
    }

    fn apply_priced(
        &mut self,
        pricing: &Pricing,
        mut purse: Purse,
        (events, rows): (&EventBatch, &[u32]),
        hearing: &mut impl Hearing,
    ) -> bool {
        hearing.begin(Some(purse));
        let is_revalued = self.settings.asked.replaying == Replaying::Read;
        let price = |row: usize, event: &Event| {
            let before = is_revalued.then(|| pricing.worth_again(event, &purse)).flatten();
            let amount = pricing.price(events, row, event, &mut purse);
            (amount, before.filter(|_| amount != NO_AMOUNT).unwrap_or(NO_AMOUNT))
        };
        let kept = self.apply(events, rows, price, hearing);
        self.out.tally.inexact_amounts += purse.inexact;
        kept
    }

    /// Applies the events of one deal; `amount` gives what stands in the place of an event's amount,
    /// by the row it comes from, and what the amount before is worth by then where that changes.
    #[inline]
    fn apply(
        &mut self,
        events: &EventBatch,
        rows: &[u32],
        mut amount: impl FnMut(usize, &Event) -> (i64, i64),
        hearing: &mut impl Hearing,
    ) -> bool {
        self.machine.begin();
        if self.settings.stages.has_pipelines() {
            let stages = self.settings.stages;
            self.machine.deal.pipeline = match &self.observer {
                Some(observer) => first_pipeline(stages, observer.steps.iter().map(|s| s.event)),
                None => first_pipeline(stages, rows.iter().map(|r| event(events, *r as usize))),
            };
        }
        if rows.len() > LARGE {
            self.machine.visits.reserve_exact(rows.len());
        }
        // A deal without rows of its own goes on as those that were merged into it.
        let is_own = |row: &u32| !is_losers(events, &self.own, *row as usize);
        let own = if rows.iter().any(is_own) { self.own.as_slice() } else { &[] };
        if let Some(observer) = &self.observer {
            for step in &observer.steps {
                let event =
                    told(&mut self.machine, (events, own), step.row, step.event, &mut amount);
                hearing.before(&self.machine);
                self.machine.apply(&event, |i| observer.dimension(events, step, i));
                hearing.after(&self.machine, step.row, &step.event, &event);
            }
            return self.machine.finish();
        }
        for row in rows {
            let at = *row as usize;
            let dimension = |i: usize| {
                events.dimensions.get(i).and_then(|d| d.get(at)).copied().unwrap_or(NO_CODE)
            };
            let given = event(events, at);
            let event = told(&mut self.machine, (events, own), at, given, &mut amount);
            hearing.before(&self.machine);
            self.machine.apply(&event, dimension);
            hearing.after(&self.machine, at, &given, &event);
        }
        self.machine.finish()
    }
}

/// An event as it is applied: at its worth, and if it is of a deal that was merged as far as that
/// moves this one. The ledger notes what it gives.
#[inline]
fn told(
    machine: &mut Machine<'_>,
    (events, own): (&EventBatch, &[Id]),
    row: usize,
    given: Event,
    amount: &mut impl FnMut(usize, &Event) -> (i64, i64),
) -> Event {
    let is_history = is_losers(events, own, row);
    let event = if is_history { as_history(machine, given) } else { given };
    if is_history && event.amount == NO_AMOUNT && event.kind != EventKind::Cleared {
        // Its currency is that of no amount here.
        return event;
    }
    machine.note(events, row, &event);
    let (amount, before) = amount(row, &event);
    machine.revalue(before);
    Event { amount, ..event }
}

/// The relation's form of an amount: 0 where it is unknown.
#[must_use]
pub fn amount_or_zero(amount: i64) -> i64 {
    if amount == NO_AMOUNT { 0 } else { amount }
}

/// One row of a bucket as an event; absent columns give no value.
#[must_use]
pub fn event(events: &EventBatch, at: usize) -> Event {
    Event {
        time: events.time.get(at).copied().unwrap_or(NO_INSTANT),
        kind: events.kind.get(at).copied().unwrap_or_default(),
        stage: events.stage.get(at).copied().unwrap_or(NO_STAGE),
        pipeline: events.pipeline.get(at).copied().unwrap_or(NO_PIPELINE),
        amount: events.amount.get(at).copied().unwrap_or(NO_AMOUNT),
        owner: events.owner.get(at).copied().unwrap_or(NO_CODE),
        customer: events.customer.get(at).copied().unwrap_or_default(),
        expected_close: events.expected_close.get(at).copied().unwrap_or(NO_DAY),
        probability: events.probability.get(at).copied().unwrap_or(NO_PROBABILITY),
    }
}

/// The unit and the row in it of a bucket's row.
#[must_use]
pub fn locate(units: &[(usize, usize)], events: &EventBatch, row: u32) -> (usize, u32) {
    let part = units.partition_point(|(first, _)| *first <= row as usize);
    let unit = part.checked_sub(1).and_then(|p| units.get(p)).map_or(0, |(_, unit)| *unit);
    (unit, events.row.get(row as usize).copied().unwrap_or(0))
}

/// The rules of a configuration.
#[must_use]
pub fn rules(config: &crate::config::Config) -> Rules {
    Rules {
        deleted: config.fold.deleted,
        cycle_start: config.fold.cycle_start,
        cycle_end: config.fold.cycle_end,
        dimension_at: config.dimensions.at,
    }
}
