//! What comes out of a deal that was folded: rows of columns, and counts of what it breaks.
//!
//! It decides nothing about the deal; what it books is emitted in [`super::booking`].

use super::columns::{Chunk, Content, DealRow, HistoryRow, MomentRow, StepRow, VisitRow};
use super::machine::Outcome;
use super::telling::Quality;
use super::{Folder, LARGE, Take, VISITS_AT_ONCE, windowed};
use crate::contract::Id;
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::time::NO_INSTANT;

impl Folder<'_> {
    /// Counts what the deal that was folded last breaks.
    pub(super) fn count_deal(&mut self, kept: bool) {
        let (deal, tally) = (&self.machine.deal, &mut self.out.tally);
        tally.no_op_changes += deal.no_ops;
        tally.before_creation += deal.before_creation;
        tally.after_deletion += deal.after_deletion;
        tally.unknown_stage_events += deal.unknown_stage_events;
        let is_reopened = deal.unknown_stage_events > 0 && self.machine.is_reopened_by_unknown();
        tally.reopened_by_unknown_stage += u64::from(is_reopened);
        let is_merged = self.machine.is_merged();
        tally.merged_deals += u64::from(is_merged);
        tally.deleted_deals += u64::from(deal.deleted != NO_INSTANT && !is_merged);
        if !kept {
            return;
        }
        tally.unpriced_deals += u64::from(deal.is_unpriced);
        let is_known = self.settings.stages.knows_pipeline(deal.pipeline);
        tally.unknown_pipeline += u64::from(!is_known);
        tally.no_customer += u64::from(deal.customer.is_none());
        tally.no_stage += u64::from(self.machine.visits.is_empty());
        if deal.outcome == Outcome::Won {
            tally.null_amount_won += u64::from(deal.amount == NO_AMOUNT);
            tally.zero_amount_won += u64::from(deal.amount == 0);
            tally.negative_amount_won += u64::from(deal.amount < 0 && deal.amount != NO_AMOUNT);
        }
    }

    /// The deal that was folded last.
    pub(super) fn emit_deal(&mut self, id: Id) {
        let (machine, s) = (&self.machine, self.settings);
        let (start, (end, ended)) = (machine.cycle_start(), machine.cycle_end(s.as_of));
        let has_cycle =
            start != NO_INSTANT && end >= start && !machine.closed_before_creation(end, ended);
        self.out.tally.negative_cycle += u64::from(!has_cycle && ended != Outcome::Open);
        self.out.deals.push(DealRow {
            id,
            created: machine.created(),
            cycle_from: start,
            cycle_to: end,
            cycle_status: ended,
            has_cycle,
            visits_n: machine.visits.len() as u32,
            levels: self.leveller.levels(&machine.visits, &machine.deal),
            deal: machine.deal.clone(),
        });
        if let Some(observer) = &self.observer {
            let closed = machine.deal.closed;
            let is_dated = observer.quality == Quality::Snapshot && closed != NO_INSTANT;
            self.out.histories.push(HistoryRow {
                quality: observer.quality,
                close_uncertainty_seconds: if is_dated {
                    s.telling.uncertainty_seconds(closed)
                } else {
                    0
                },
            });
        }
        for (column, code) in self.out.dimensions.iter_mut().zip(&machine.dimensions) {
            column.push(*code);
        }
        self.emit_held();
    }

    /// What follows what, the deal's ways through the funnels, and what it was at any time.
    pub(super) fn emit_steps(&mut self) {
        let deal = (self.out.deals.len() - 1) as u32;
        if let Some(following) = &self.machine.following {
            let steps = following.steps().iter();
            self.out.steps.extend(steps.map(|step| StepRow { deal, step: *step }));
        }
        if !self.settings.funnels.is_empty() {
            windowed::emit(self.settings, &self.machine, deal, &mut self.out);
        }
        if let Some(replay) = &self.machine.replay {
            let rows = replay.moments.iter().map(|moment| MomentRow { deal, moment: *moment });
            self.out.moments.extend(rows);
            let dimensions = self.settings.dimensions;
            for (place, column) in self.out.moment_dimensions.iter_mut().enumerate() {
                column.extend(replay.dimensions.iter().skip(place).step_by(dimensions));
            }
        }
    }

    /// Its visits; those of one with very many are handed over at once, in pieces.
    pub(super) fn emit_visits(&mut self, take: Take<'_>) -> Result<(), Error> {
        let visits = self.machine.visits.iter().zip(0_u32..);
        if self.machine.visits.len() <= LARGE {
            let deal = (self.out.deals.len() - 1) as u32;
            self.out.visits.extend(visits.map(|(v, place)| VisitRow { deal, place, visit: *v }));
            return Ok(());
        }
        let last = |codes: &Vec<u32>| codes.last().copied().into_iter().collect();
        let mut part = Chunk {
            content: Content::VisitsOnly,
            deals: self.out.deals.last().cloned().into_iter().collect(),
            dimensions: self.out.dimensions.iter().map(last).collect(),
            ..Chunk::default()
        };
        let mut rows = visits.map(|(v, place)| VisitRow { deal: 0, place, visit: *v }).peekable();
        while rows.peek().is_some() {
            part.visits.clear();
            part.visits.extend(rows.by_ref().take(VISITS_AT_ONCE));
            take(&part)?;
        }
        Ok(())
    }
}
