//! The columns of `visits` and `deals`, each made from the fold's rows when it is asked for.

use std::cell::LazyCell;

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::paths::{PathCode, WORDS};
use super::{Relation, visits::CLASSES};
use crate::contract::{NO_CODE, NO_PROBABILITY, StageClass};
use crate::error::Error;
use crate::fold::machine::{Move, Outcome};
use crate::fold::{Chunk, DealRow, VisitRow, amount_or_zero};
use crate::money::NO_AMOUNT;
use crate::time::{Day, Instant, NO_DAY, NO_INSTANT, Resolution};

const _: () = assert!(CLASSES.len() == StageClass::Unknown as usize + 1);

/// A chunk with what the look-ups say of its deals.
pub(super) struct Deals<'a> {
    pub(super) chunk: &'a Chunk,
    /// The codes of every dimension of the run, a deal.
    pub(super) dimensions: Vec<Vec<u32>>,
}

impl Assembler<'_> {
    pub(super) fn shards(&self, deals: &Deals<'_>) -> Vec<i16> {
        each(&deals.chunk.deals, |row| shard(self.split_hash(row)))
    }

    pub(super) fn day(&self, at: Instant) -> Day {
        if at == NO_INSTANT { NO_DAY } else { self.calendar.day(at) }
    }

    pub(super) fn period(&self, at: Instant) -> Day {
        self.starts.start(self.day(at))
    }

    pub(super) fn stage(&self, code: u16) -> u32 {
        self.stage_codes.get(usize::from(code)).map_or(0, |c| u32::from(*c))
    }

    pub(super) fn owner(&self, code: u32) -> u32 {
        self.owner_codes.get(code as usize).copied().unwrap_or(NO_CODE)
    }

    fn dwell(&self, row: &VisitRow, resolution: Resolution) -> i64 {
        let visit = &row.visit;
        let left = if visit.left == NO_INSTANT { self.as_of } else { visit.left };
        if left < visit.entered {
            return 0;
        }
        resolution.between(&self.calendar, visit.entered, left)
    }

    fn is_negative(&self, row: &VisitRow) -> bool {
        let visit = &row.visit;
        visit.entered > if visit.left == NO_INSTANT { self.as_of } else { visit.left }
    }

    pub(super) fn visits(&self, deals: &Deals<'_>, rows: &[VisitRow]) -> Result<Batch, Error> {
        let of = |row: &VisitRow| deals.chunk.deals.get(row.deal as usize);
        let deal = |row: &VisitRow| row.deal;
        let is = |deal: &DealRow, outcome| deal.deal.outcome == outcome;
        let info = |row: &VisitRow| self.stages.stage_at(row.visit.stage, row.visit.entered);
        let order = |row: &VisitRow| {
            let info = info(row);
            if info.class == StageClass::Open { info.order } else { 0 }
        };
        let builder = BatchBuilder::new(Relation::Visits, rows.len(), self.wanted)
            .small("shard", || of_deals(&self.shards(deals), rows, deal))
            .name("stage", || each(rows, |row| self.stage(row.visit.stage)))
            .name("stage_class", || each(rows, |r| info(r).class as u32))
            .small("stage_order", || each(rows, order))
            .name("pipeline", || {
                each(rows, |r| self.pipelines.place(self.stages.pipeline_of(r.visit.stage)))
            })
            .int("visit_no", || each(rows, |r| i64::from(r.visit.visit_no)))
            .name("prev_stage", || each(rows, |row| self.stage(row.visit.prev)))
            .name("arrival", || each(rows, |r| r.visit.arrival as u32))
            .name("next_stage", || each(rows, |row| self.stage(row.visit.next)))
            .name("move", || each(rows, |r| r.visit.ended as u32))
            .day("entered_on", || each(rows, |row| self.day(row.visit.entered)))
            .day("entered_period", || each(rows, |row| self.period(row.visit.entered)))
            .day("left_on", || each(rows, |row| self.day(row.visit.left)))
            .day("deal_created_period", || {
                each(rows, |row| of(row).map_or(NO_DAY, |d| self.period(d.created)))
            })
            .day("deal_entered_period", || {
                each(rows, |row| of(row).map_or(NO_DAY, |d| self.period(d.deal.entered_first)))
            })
            .int("dwell", || each(rows, |row| self.dwell(row, self.resolution)))
            .int("dwell_days", || each(rows, |row| self.dwell(row, Resolution::Day)))
            .flag("is_negative", || flags(rows, |row| self.is_negative(row)))
            .flag("is_censored", || {
                flags(rows, |row| matches!(row.visit.ended, Move::Still | Move::Deleted))
            })
            .flag("is_entry", || flags(rows, |row| row.place == 0))
            .flag("is_first_visit", || flags(rows, |row| row.visit.visit_no == 1))
            .flag("is_last_visit", || flags(rows, |row| row.visit.last_visit))
            .flag("is_first_move", || flags(rows, |row| row.visit.first_move))
            .flag("is_first_exit", || {
                flags(rows, |row| row.visit.visit_no == 1 && row.visit.ended != Move::Still)
            })
            .int("amount", || each(rows, |row| amount_or_zero(row.visit.amount)))
            .flag("has_amount", || flags(rows, |row| row.visit.amount != NO_AMOUNT))
            .int("move_amount", || each(rows, |row| amount_or_zero(row.visit.move_amount)))
            .flag("has_move_amount", || flags(rows, |row| row.visit.move_amount != NO_AMOUNT))
            .name("owner", || each(rows, |r| self.owner(r.visit.owner)))
            .flag("deal_is_won", || flags(rows, |r| of(r).is_some_and(|d| is(d, Outcome::Won))))
            .flag("deal_is_lost", || flags(rows, |r| of(r).is_some_and(|d| is(d, Outcome::Lost))));
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || of_deals(codes, rows, deal)))
            .finish(&self.dictionaries)
    }

    pub(super) fn deals(&self, deals: &Deals<'_>) -> Result<Batch, Error> {
        let rows = deals.chunk.deals.as_slice();
        let ended = |outcome| move |row: &DealRow| i8::from(row.deal.outcome == outcome);
        let first = |outcome| move |row: &DealRow| i8::from(row.deal.first_outcome == outcome);
        let today = self.calendar.day(self.as_of);
        let overdue = |row: &DealRow| {
            let expected = row.deal.expected_close;
            row.deal.outcome == Outcome::Open && expected != NO_DAY && expected < today
        };
        let builder = BatchBuilder::new(Relation::Deals, rows.len(), self.wanted)
            .small("shard", || self.shards(deals))
            .day("created_on", || each(rows, |row| self.day(row.created)))
            .day("created_period", || each(rows, |row| self.period(row.created)))
            .day("entered_period", || each(rows, |row| self.period(row.deal.entered_first)))
            .day("closed_on", || each(rows, |row| self.day(row.deal.closed)))
            .day("closed_period", || each(rows, |row| self.period(row.deal.closed)))
            .day("first_closed_on", || each(rows, |row| self.day(row.deal.first_closed)))
            .day("first_closed_period", || each(rows, |row| self.period(row.deal.first_closed)))
            .flag("is_won", || each(rows, ended(Outcome::Won)))
            .flag("is_lost", || each(rows, ended(Outcome::Lost)))
            .flag("is_open", || each(rows, ended(Outcome::Open)))
            .flag("is_deleted", || each(rows, ended(Outcome::Deleted)))
            .flag("is_first_won", || each(rows, first(Outcome::Won)))
            .flag("is_first_lost", || each(rows, first(Outcome::Lost)))
            .flag("ever_won", || flags(rows, |row| row.deal.ever_won))
            .day("first_won_on", || each(rows, |row| self.day(row.deal.first_won)))
            .day("first_won_period", || each(rows, |row| self.period(row.deal.first_won)))
            .int("first_won_amount", || each(rows, |r| amount_or_zero(r.deal.first_won_amount)))
            .day("expected_close_on", || each(rows, |row| row.deal.expected_close))
            .day("expected_close_period", || {
                each(rows, |row| self.starts.start(row.deal.expected_close))
            })
            .flag("is_overdue", || each(rows, |row| i8::from(overdue(row))))
            .int("cycle", || each(rows, |row| self.cycle(row)))
            .name("cycle_status", || each(rows, |r| r.cycle_status as u32))
            .flag("is_negative_cycle", || flags(rows, |row| !row.has_cycle))
            .int("visits_n", || each(rows, |row| i64::from(row.visits_n)))
            .int("skips_n", || each(rows, |row| i64::from(row.deal.skips)))
            .int("regressions_n", || each(rows, |row| i64::from(row.deal.regressions)))
            .int("reopens_n", || each(rows, |row| i64::from(row.deal.reopens)))
            .int("pushes_n", || each(rows, |row| i64::from(row.deal.pushes)))
            .int("amount", || each(rows, |row| amount_or_zero(row.deal.amount)))
            .flag("has_amount", || flags(rows, |row| row.deal.amount != NO_AMOUNT))
            .int("held_amount", || {
                let held = &deals.chunk.held;
                if held.is_empty() { vec![0; rows.len()] } else { held.clone() }
            })
            .int("created_amount", || each(rows, |row| amount_or_zero(row.deal.created_amount)))
            .int("closed_amount", || each(rows, |row| amount_or_zero(row.deal.closed_amount)))
            .flag("has_closed_amount", || flags(rows, |row| row.deal.closed_amount != NO_AMOUNT))
            .flag("has_customer", || flags(rows, |row| !row.deal.customer.is_none()))
            .name("owner", || each(rows, |row| self.owner(row.deal.owner)))
            .name("team_of_owner", || {
                self.teams_of(rows.iter().map(|row| (self.owner(row.deal.owner), self.as_of)))
            })
            .name("owner_at_close", || each(rows, |row| self.owner(row.deal.closed_owner)))
            .name("owner_at_creation", || each(rows, |row| self.owner(row.deal.created_owner)));
        let chance = |row: &DealRow| match row.deal.probability {
            NO_PROBABILITY => self.stages.probability(row.deal.stage),
            own => own,
        };
        let builder = builder
            .int("probability_ppm", || each(rows, |row| i64::from(chance(row).max(0))))
            .flag("has_probability", || flags(rows, |row| chance(row) != NO_PROBABILITY));
        let builder = builder
            .int("amount_ln_milli", || each(rows, |row| ln_milli(amount_or_zero(row.deal.amount))))
            .int("stratum", || self.strata_of(deals));
        let builder = levels(builder, rows)
            .name("pipeline", || each(rows, |row| self.pipelines.place(row.deal.pipeline)));
        let builder =
            builder.small("stages_n", || each(rows, |r| self.stages.open_n(r.deal.pipeline)));
        let builder = histories(builder, deals.chunk);
        let builder = self.paths(builder, deals.chunk);
        let dimensions = self.dimensions.iter().zip(&deals.dimensions);
        dimensions
            .fold(builder, |b, (name, codes)| b.dimension(name, || codes.clone()))
            .finish(&self.dictionaries)
    }

    /// A number for each deal's values of the dimensions that make strata.
    fn strata_of(&self, deals: &Deals<'_>) -> Vec<i64> {
        let mut all = vec![0; deals.chunk.deals.len()];
        for (place, values) in &self.strata {
            let codes = deals.dimensions.get(*place).map_or(&[][..], Vec::as_slice);
            for (stratum, code) in all.iter_mut().zip(codes) {
                let code = if *code == NO_CODE { 0 } else { i64::from(*code) + 1 };
                *stratum = *stratum * values + code;
            }
        }
        all
    }

    /// The path of each deal. The visits of one that has very many came before it, and are more than
    /// the words hold.
    fn paths<'a>(&self, builder: BatchBuilder<'a>, chunk: &Chunk) -> BatchBuilder<'a> {
        let paths = LazyCell::new(|| {
            let code = PathCode::new(self.dictionaries.names.get("stage").map_or(0, |n| n.len()));
            let stages = chunk.visits.iter().map(|v| (v.deal, self.stage(v.visit.stage)));
            code.encode_all(chunk.deals.iter().map(|row| row.visits_n as usize), stages)
        });
        let word = |of: fn(&[i64; WORDS]) -> i64| paths.iter().map(of).collect::<Vec<i64>>();
        builder
            .int("path_1", || word(|[first, ..]| *first))
            .int("path_2", || word(|[_, second, ..]| *second))
            .int("path_3", || word(|[_, _, third, _]| *third))
            .int("path_4", || word(|[.., fourth]| *fourth))
    }

    pub(super) fn cycle(&self, row: &DealRow) -> i64 {
        if !row.has_cycle {
            return 0;
        }
        self.resolution.between(&self.calendar, row.cycle_from, row.cycle_to)
    }
}

fn levels<'a>(builder: BatchBuilder<'a>, rows: &[DealRow]) -> BatchBuilder<'a> {
    builder
        .small("reached_level", || each(rows, |row| row.levels.reached))
        .small("fall_through_level", || each(rows, |row| row.levels.fall_through))
        .small("ordered_level", || each(rows, |row| row.levels.ordered))
        .small("strict_level", || each(rows, |row| row.levels.strict))
        .small("furthest_final_level", || each(rows, |row| row.levels.furthest_final))
        .int("touched_stages", || each(rows, |row| row.levels.touched))
        .small("first_level", || each(rows, |row| row.levels.first))
}

fn histories<'a>(builder: BatchBuilder<'a>, chunk: &Chunk) -> BatchBuilder<'a> {
    let rows = chunk.deals.len();
    let is_one = chunk.histories.is_empty();
    builder
        .name("history_quality", || {
            if is_one {
                return vec![chunk.quality as u32; rows];
            }
            each(&chunk.histories, |history| history.quality as u32)
        })
        .int("close_uncertainty_seconds", || {
            if is_one {
                return vec![0; rows];
            }
            each(&chunk.histories, |history| history.close_uncertainty_seconds)
        })
}

/// 1000 times the natural logarithm of an amount, rounded; 0 where it is not above 1.
fn ln_milli(amount: i64) -> i64 {
    if amount > 1 { (1000.0 * (amount as f64).ln()).round() as i64 } else { 0 }
}

/// One value a row.
fn each<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// One flag a row.
fn flags<R>(rows: &[R], test: impl Fn(&R) -> bool) -> Vec<i8> {
    rows.iter().map(|row| i8::from(test(row))).collect()
}

/// A deal's value for each of its rows.
pub(super) fn of_deals<T: Copy + Default, R>(
    column: &[T],
    rows: &[R],
    deal: impl Fn(&R) -> u32,
) -> Vec<T> {
    rows.iter().map(|row| column.get(deal(row) as usize).copied().unwrap_or_default()).collect()
}
