//! Events to visits and deals: scatter by deal, order, one linear pass per deal.
//!
//! This is the hot path. It works on plain typed columns: [`mod@scatter`] copies every column once into
//! bucket order, [`order`] sorts 24-byte keys a bucket, [`machine`] folds a deal without allocating,
//! and each bucket's visits and deals come out as columns again. Buckets are independent, so they
//! are folded in parallel, and the result does not depend on how many threads there are or how the
//! rows were spread over files.

pub mod columns;
pub mod deal;
pub mod levels;
pub mod machine;
pub mod order;
pub mod scatter;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub use columns::{DealColumns, Folded, Tally, VisitColumns};
pub use machine::{Machine, Move, Outcome, Rules};
pub use scatter::{Scattered, bucket_bits, scatter};

use crate::config::Ties;
use crate::contract::{EventBatch, Id, NO_CODE, NO_STAGE, StageClass, StageTable};
use crate::money::NO_AMOUNT;
use crate::time::{Calendar, Day, Instant, NO_DAY, NO_INSTANT, Period, Resolution};
use levels::Leveller;
use machine::{Event, Visit};

/// What the fold needs to know beside the events.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Stages, with their final codes.
    pub stages: &'a StageTable,
    /// Final code of each stage code.
    pub stage_codes: &'a [u16],
    /// Rank of each owner's number.
    pub owner_ranks: &'a [u32],
    /// Rank of each dimension's numbers.
    pub dimension_ranks: &'a [Vec<u32>],
    /// Alternatives of the fold.
    pub rules: Rules,
    /// Order of events at one instant.
    pub ties: Ties,
    /// Zone and calendar.
    pub calendar: Calendar,
    /// Unit of durations.
    pub resolution: Resolution,
    /// The period that all configured ones roll up from.
    pub base: Period,
    /// The run's instant.
    pub as_of: Instant,
}

/// Folds all scattered events, `2^bits` buckets of them. Consumes nothing, so that a caller that is
/// short of memory can fold bucket by bucket.
#[must_use]
pub fn fold(parts: &[Scattered], bits: u32, settings: &Settings<'_>) -> Folded {
    let buckets = 1_usize << bits;
    // A few tasks a thread, large enough that their outputs are few, small enough to balance.
    let tasks = (rayon::current_num_threads() * 8).min(buckets);
    let folded: Vec<Folded> = (0..tasks)
        .into_par_iter()
        .map(|task| {
            let own = (task * buckets / tasks)..((task + 1) * buckets / tasks);
            let mut folder = Folder::new(settings);
            folder.out.reserve(rows_of(parts, &own));
            let (mut events, mut units) = (EventBatch::default(), Vec::new());
            for bucket in own {
                scatter::gather(parts, bucket, &mut events, &mut units);
                folder.bucket(&events, &units);
            }
            folder.out
        })
        .collect();
    let mut all = Folded::default();
    let visits = folded.iter().map(|f| f.visits.deal.len()).sum();
    let deals = folded.iter().map(|f| f.deals.deal.len()).sum();
    all.visits.reserve(visits);
    all.deals.reserve(deals);
    all.dimensions = vec![Vec::with_capacity(deals); settings.dimension_ranks.len()];
    for part in folded {
        all.append(part);
    }
    all
}

/// Events in a range of buckets.
fn rows_of(parts: &[Scattered], buckets: &std::ops::Range<usize>) -> usize {
    let at = |part: &Scattered, bucket: usize| part.offsets.get(bucket).copied().unwrap_or(0);
    parts.iter().map(|p| (at(p, buckets.end) - at(p, buckets.start)) as usize).sum()
}

/// Folds buckets one after the other into one output.
struct Folder<'a> {
    settings: &'a Settings<'a>,
    machine: Machine<'a>,
    leveller: Leveller<'a>,
    sorter: order::Sorter,
    ordered: order::Ordered,
    rows: Vec<u32>,
    out: Folded,
}

impl<'a> Folder<'a> {
    fn new(settings: &'a Settings<'a>) -> Self {
        let dimensions = settings.dimension_ranks.len();
        let out = Folded { dimensions: vec![Vec::new(); dimensions], ..Folded::default() };
        Self {
            settings,
            machine: Machine::new(settings.stages, settings.rules, dimensions),
            leveller: Leveller::new(settings.stages),
            sorter: order::Sorter::default(),
            ordered: order::Ordered::default(),
            rows: Vec::new(),
            out,
        }
    }

    fn bucket(&mut self, events: &EventBatch, units: &[(usize, usize)]) {
        let mut ordered = std::mem::take(&mut self.ordered);
        self.sorter.order(events, self.settings.stages, self.settings.ties, &mut ordered);
        let mut begin = 0;
        for end in &ordered.ends {
            self.rows.clear();
            self.rows.extend_from_slice(ordered.rows.get(begin..*end).unwrap_or(&[]));
            begin = *end;
            self.deal(events, units);
        }
        self.ordered = ordered;
    }

    fn deal(&mut self, events: &EventBatch, units: &[(usize, usize)]) {
        let mut rows = std::mem::take(&mut self.rows);
        let noticed = order::deduplicate(events, &mut rows);
        let tally = &mut self.out.tally;
        tally.duplicate_events += noticed.duplicates;
        tally.equal_events += noticed.equal;
        tally.tied_events += noticed.ties;
        tally.deals += 1;
        if noticed.ties > 0 && self.settings.ties == Ties::Reject {
            tally.tied_deals += 1;
            tally.rejected.extend(rows.iter().map(|row| locate(units, events, *row)));
            self.rows = rows;
            return;
        }
        self.machine.begin();
        for row in &rows {
            let at = *row as usize;
            let dimension = |i: usize| {
                events.dimensions.get(i).and_then(|d| d.get(at)).copied().unwrap_or(NO_CODE)
            };
            self.machine.apply(&event(events, at), dimension);
        }
        let kept = self.machine.finish();
        self.count_deal(kept);
        if kept {
            let first = rows.first().map_or(0, |row| *row as usize);
            self.emit_deal(events.deal.get(first).copied().unwrap_or_default());
            self.emit_visits();
        }
        self.rows = rows;
    }

    fn count_deal(&mut self, kept: bool) {
        let (deal, tally) = (&self.machine.deal, &mut self.out.tally);
        tally.no_op_changes += deal.no_ops;
        tally.before_creation += deal.before_creation;
        tally.after_deletion += deal.after_deletion;
        tally.unknown_stage_events += deal.unknown_stage_events;
        tally.deleted_deals += u64::from(deal.deleted != NO_INSTANT);
        if !kept {
            return;
        }
        tally.no_customer += u64::from(deal.customer.is_none());
        tally.no_stage += u64::from(self.machine.visits.is_empty());
        if deal.outcome == Outcome::Won {
            tally.null_amount_won += u64::from(deal.amount == NO_AMOUNT);
            tally.zero_amount_won += u64::from(deal.amount == 0);
            tally.negative_amount_won += u64::from(deal.amount < 0 && deal.amount != NO_AMOUNT);
        }
    }

    fn emit_deal(&mut self, id: Id) {
        let s = self.settings;
        let levels = self.leveller.levels(&self.machine.visits, self.machine.deal.outcome);
        let (start, (end, ended)) = (self.machine.cycle_start(), self.machine.cycle_end(s.as_of));
        let has_cycle =
            start != NO_INSTANT && end >= start && !self.machine.closed_before_creation(end, ended);
        let cycle = if has_cycle { s.resolution.between(&s.calendar, start, end) } else { 0 };
        self.out.tally.negative_cycle += u64::from(!has_cycle && ended != Outcome::Open);
        let deal = &self.machine.deal;
        let is = |outcome| i8::from(deal.outcome == outcome);
        let created_on = s.day(self.machine.created());
        let (closed_on, first_closed_on) = (s.day(deal.closed), s.day(deal.first_closed));
        let overdue = deal.outcome == Outcome::Open
            && deal.expected_close != NO_DAY
            && deal.expected_close < s.calendar.day(s.as_of);
        let out = &mut self.out.deals;
        out.created_on.push(created_on);
        out.created_period.push(s.period(created_on));
        out.entered_period.push(s.period(s.day(deal.entered_first)));
        out.closed_on.push(closed_on);
        out.closed_period.push(s.period(closed_on));
        out.first_closed_on.push(first_closed_on);
        out.first_closed_period.push(s.period(first_closed_on));
        out.is_won.push(is(Outcome::Won));
        out.is_lost.push(is(Outcome::Lost));
        out.is_open.push(is(Outcome::Open));
        out.is_deleted.push(is(Outcome::Deleted));
        out.is_first_won.push(i8::from(deal.first_outcome == Outcome::Won));
        out.is_first_lost.push(i8::from(deal.first_outcome == Outcome::Lost));
        out.ever_won.push(i8::from(deal.ever_won));
        out.is_overdue.push(i8::from(overdue));
        out.cycle.push(cycle);
        out.cycle_status.push(ended as u32);
        out.is_negative_cycle.push(i8::from(!has_cycle));
        out.reached_level.push(levels.reached);
        out.fall_through_level.push(levels.fall_through);
        out.ordered_level.push(levels.ordered);
        out.strict_level.push(levels.strict);
        out.furthest_final_level.push(levels.furthest_final);
        out.first_level.push(levels.first);
        out.visits_n.push(self.machine.visits.len() as i64);
        out.skips_n.push(i64::from(deal.skips));
        out.regressions_n.push(i64::from(deal.regressions));
        out.reopens_n.push(i64::from(deal.reopens));
        out.pushes_n.push(i64::from(deal.pushes));
        out.amount.push(deal.amount);
        out.created_amount.push(deal.created_amount);
        out.closed_amount.push(deal.closed_amount);
        out.owner.push(ranked(s.owner_ranks, deal.owner));
        out.owner_at_close.push(ranked(s.owner_ranks, deal.closed_owner));
        out.owner_at_creation.push(ranked(s.owner_ranks, deal.created_owner));
        out.customer.push(deal.customer);
        out.deal.push(id);
        out.deal_hash.push(id.hash());
        out.closed_at.push(deal.closed);
        let dimensions = self.machine.dimensions.iter().zip(s.dimension_ranks);
        for (column, (code, ranks)) in self.out.dimensions.iter_mut().zip(dimensions) {
            column.push(ranked(ranks, *code));
        }
    }

    fn emit_visits(&mut self) {
        let s = self.settings;
        let deal = (self.out.deals.deal.len() - 1) as u32;
        for (index, visit) in self.machine.visits.iter().enumerate() {
            let left = if visit.left == NO_INSTANT { s.as_of } else { visit.left };
            let negative = left < visit.entered;
            let dwell =
                if negative { 0 } else { s.resolution.between(&s.calendar, visit.entered, left) };
            let Visit { stage, ended, .. } = *visit;
            let still = matches!(ended, Move::Still | Move::Deleted);
            let info = s.stages.stage(stage);
            let entered_on = s.day(visit.entered);
            let out = &mut self.out.visits;
            out.deal.push(deal);
            out.stage.push(s.stage(stage));
            out.stage_class.push(info.class as u32);
            out.stage_order.push(if info.class == StageClass::Open { info.order } else { 0 });
            out.visit_no.push(i64::from(visit.visit_no));
            out.prev_stage.push(s.stage(visit.prev));
            out.arrival.push(visit.arrival as u32);
            out.next_stage.push(s.stage(visit.next));
            out.ended.push(ended as u32);
            out.entered_on.push(entered_on);
            out.entered_period.push(s.period(entered_on));
            out.left_on.push(s.day(visit.left));
            out.dwell.push(dwell);
            out.is_negative.push(i8::from(negative));
            out.is_censored.push(i8::from(still));
            out.is_entry.push(i8::from(index == 0));
            out.is_first_visit.push(i8::from(visit.visit_no == 1));
            out.is_last_visit.push(i8::from(visit.last_visit));
            out.is_first_move.push(i8::from(visit.first_move));
            out.is_first_exit.push(i8::from(visit.visit_no == 1 && ended != Move::Still));
            out.amount.push(amount_or_zero(visit.amount));
            out.has_amount.push(i8::from(visit.amount != NO_AMOUNT));
            out.move_amount.push(amount_or_zero(visit.move_amount));
            out.has_move_amount.push(i8::from(visit.move_amount != NO_AMOUNT));
            out.owner.push(ranked(s.owner_ranks, visit.owner));
        }
    }
}

impl Settings<'_> {
    fn day(&self, at: Instant) -> Day {
        if at == NO_INSTANT { NO_DAY } else { self.calendar.day(at) }
    }

    fn period(&self, day: Day) -> Day {
        self.calendar.start(self.base, day)
    }

    fn stage(&self, code: u16) -> u32 {
        self.stage_codes.get(usize::from(code)).map_or(0, |c| u32::from(*c))
    }
}

/// The relation's form of an amount: 0 where it is unknown.
#[must_use]
pub fn amount_or_zero(amount: i64) -> i64 {
    if amount == NO_AMOUNT { 0 } else { amount }
}

fn ranked(ranks: &[u32], code: u32) -> u32 {
    ranks.get(code as usize).copied().unwrap_or(NO_CODE)
}

/// One row of a bucket as an event; absent columns give no value.
#[must_use]
pub fn event(events: &EventBatch, at: usize) -> Event {
    Event {
        time: events.time.get(at).copied().unwrap_or(NO_INSTANT),
        kind: events.kind.get(at).copied().unwrap_or_default(),
        stage: events.stage.get(at).copied().unwrap_or(NO_STAGE),
        amount: events.amount.get(at).copied().unwrap_or(NO_AMOUNT),
        owner: events.owner.get(at).copied().unwrap_or(NO_CODE),
        customer: events.customer.get(at).copied().unwrap_or_default(),
        expected_close: events.expected_close.get(at).copied().unwrap_or(NO_DAY),
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
