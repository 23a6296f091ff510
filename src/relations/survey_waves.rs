//! `survey_waves`: one row per answer, or question without one, and period length, so that the last
//! answer of a customer in a month can be told from the last one in a quarter. It carries the
//! dimensions of `surveys`. Beside it, what `surveys` knows of the time after an answer.

use std::collections::BTreeMap;

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::customer_ids::words;
use super::matching::{Stay, Whose};
use super::tables_emit::{DETRACTOR, PASSIVE, PROMOTER, SATISFIED, class};
use super::{Kind, Relation, RelationColumn, column};
use crate::contract::{Id, NO_CODE};
use crate::error::Error;
use crate::fold::amount_or_zero;
use crate::money::NO_AMOUNT;
use crate::source::{LookupKey, SurveyKind, SurveyRow};
use crate::time::{Day, Instant, Period, Starts};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer, or the deal where there is none"),
    column("grain", Kind::Name(super::customer_periods::GRAINS), "length of the period"),
    column("period_start", Kind::Day, "first day of the period of the answer"),
    column("survey_kind", Kind::Name(super::surveys::KINDS), "what was asked"),
    column("is_response", Kind::Flag, "there is a score"),
    column(
        "is_last_of_wave",
        Kind::Flag,
        "the last answer of its customer to this kind in the period; of nobody known, every answer",
    ),
    column("is_promoter", Kind::Flag, "an answer to NPS that is a promoter's"),
    column("is_passive", Kind::Flag, "an answer to NPS that is neither"),
    column("is_detractor", Kind::Flag, "an answer to NPS that is a detractor's"),
    column("is_satisfied", Kind::Flag, "an answer to CSAT or CES that is satisfied"),
    column("score_thousandths", Kind::Int, "the score in thousandths of a point; 0 if none"),
    column("scale_max", Kind::Int, "the highest score that there is, in points"),
];

/// A row and period length: the first day of the period, and whether it is the last answer in it.
type Wave<'a> = (&'a SurveyRow, &'a Whose, u32, Day, i8);

impl Assembler<'_> {
    /// The relation of these answers.
    pub(super) fn survey_waves(&self, rows: &[SurveyRow], whose: &[Whose]) -> Result<Batch, Error> {
        let mut all: Vec<Wave<'_>> = Vec::with_capacity(rows.len() * self.period_starts.len());
        for starts in &self.period_starts {
            let grain =
                Period::EVERY.iter().position(|p| *p == starts.period()).unwrap_or(0) as u32;
            let periods = self.periods_of(rows, starts);
            let last = last_of_waves(rows, whose, &periods);
            let own = rows.iter().zip(whose).zip(periods).zip(last);
            all.extend(own.map(|(((row, whose), start), last)| (row, whose, grain, start, last)));
        }
        let is = |wanted: u32| all.iter().map(|w| i8::from(class(w.0) == wanted)).collect();
        let score = |wave: &Wave<'_>| amount_or_zero(wave.0.score);
        let builder = BatchBuilder::new(Relation::SurveyWaves, all.len(), self.wanted)
            .small("shard", || all.iter().map(|wave| shard(wave.1.hash)).collect())
            .name("grain", || all.iter().map(|wave| wave.2).collect::<Vec<u32>>())
            .day("period_start", || all.iter().map(|wave| wave.3).collect())
            .name("survey_kind", || all.iter().map(|wave| wave.0.kind as u32).collect::<Vec<_>>())
            .flag("is_response", || all.iter().map(|w| i8::from(w.0.score != NO_AMOUNT)).collect())
            .flag("is_last_of_wave", || all.iter().map(|wave| wave.4).collect())
            .flag("is_promoter", || is(PROMOTER))
            .flag("is_passive", || is(PASSIVE))
            .flag("is_detractor", || is(DETRACTOR))
            .flag("is_satisfied", || is(SATISFIED))
            .int("score_thousandths", || all.iter().map(score).collect())
            .int("scale_max", || all.iter().map(|wave| wave.0.scale_max).collect());
        let key = |wave: &Wave<'_>| self.customers.text(wave.1.customer);
        self.looked_up(builder, &LookupKey::Customer, &all, &key, &|wave| wave.0.at, &|_| None)
            .finish(&self.dictionaries)
    }

    fn periods_of(&self, rows: &[SurveyRow], starts: &Starts) -> Vec<Day> {
        rows.iter().map(|row| starts.start(self.calendar.day(row.at))).collect()
    }

    /// Whether anybody asks what customers bought after they answered.
    pub(super) fn follows_answers(&self) -> bool {
        self.optional.is_some() && self.wanted.column(Relation::Surveys, "is_bought_again")
    }

    /// Whether anybody asks where a deal was when its customer answered.
    pub(super) fn follows_deals(&self) -> bool {
        let asks = |name| self.wanted.column(Relation::Surveys, name);
        self.optional.is_some() && (asks("owner_at_answer") || asks("stage_at_answer"))
    }

    /// Adds to `surveys` who answered, where the deal was, and what the customer did then.
    pub(super) fn after_answers<'b>(
        &self,
        builder: BatchBuilder<'b>,
        rows: &[SurveyRow],
        whose: &[Whose],
    ) -> BatchBuilder<'b> {
        let days = self.habits.survey_days;
        let today = i64::from(self.calendar.day(self.as_of));
        let day = |row: &SurveyRow| i64::from(self.calendar.day(row.at));
        let answers = || rows.iter().zip(whose);
        let is_followed = |row: &SurveyRow, whose: &Whose| {
            let is_known = whose.has_deal && !whose.customer.is_none();
            row.score != NO_AMOUNT && is_known && today - day(row) >= days
        };
        let is_bought = |row: &SurveyRow, whose: &Whose| {
            let bought = self.optional.as_ref().map(|known| known.purchases_of(whose.customer));
            let mut after = bought.into_iter().flatten().map(|on| i64::from(on) - day(row));
            after.any(|after| (1..=days).contains(&after))
        };
        let stays = || {
            let known = self.optional.as_ref();
            rows.iter().map(move |row| known.and_then(|known| known.stay_at(row.deal, row.at)))
        };
        let owner = |stay: Option<Stay>| stay.map_or(NO_CODE, |stay| self.owner(stay.owner));
        let stage = |stay: Option<Stay>| stay.map_or(NO_CODE, |stay| self.stage(stay.stage));
        // As the relations about customers have it: payments know one spelling of each.
        let is_paid = self.payments.is_some();
        let id = |whose: &Whose| words(if is_paid { whose.customer } else { whose.spelled });
        builder
            .int("id_high", || whose.iter().map(|w| id(w).0).collect())
            .int("id_low", || whose.iter().map(|w| id(w).1).collect())
            .flag("is_followed", || answers().map(|(r, w)| i8::from(is_followed(r, w))).collect())
            .flag("is_bought_again", || {
                answers().map(|(r, w)| i8::from(is_followed(r, w) && is_bought(r, w))).collect()
            })
            .name("owner_at_answer", || stays().map(owner).collect::<Vec<u32>>())
            .name("stage_at_answer", || stays().map(stage).collect::<Vec<u32>>())
    }
}

/// Which answers are their customer's last to a kind in its period; of equal times the later row.
fn last_of_waves(rows: &[SurveyRow], whose: &[Whose], periods: &[Day]) -> Vec<i8> {
    let mut last: BTreeMap<(Id, SurveyKind, Day), (Instant, usize)> = BTreeMap::new();
    let answers = || {
        let all = rows.iter().zip(whose).zip(periods).enumerate();
        all.filter(|(_, ((row, _), _))| row.score != NO_AMOUNT)
    };
    for (place, ((row, whose), start)) in answers() {
        let own = last.entry((whose.customer, row.kind, *start)).or_insert((row.at, place));
        *own = (*own).max((row.at, place));
    }
    let mut flags = vec![0; rows.len()];
    for (place, ((row, whose), start)) in answers() {
        let of_customer = last.get(&(whose.customer, row.kind, *start));
        let is_last = of_customer.is_some_and(|(_, last)| *last == place);
        if let Some(flag) = flags.get_mut(place) {
            *flag = i8::from(is_last || whose.customer.is_none());
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_has_one_answer_of_a_customer() {
        let (kind, customer) = (SurveyKind::Nps, Id::integer(1));
        let row =
            |at, score| SurveyRow { at, kind, score, scale_max: 10, customer, deal: Id::NONE };
        let rows = [row(3, 9_000), row(7, 2_000), row(8, NO_AMOUNT), row(40, 9_000)];
        let whose = vec![Whose { customer, spelled: customer, hash: 0, has_deal: true }; 4];
        assert_eq!(last_of_waves(&rows, &whose, &[0, 0, 0, 31]), [0, 1, 0, 1]);
        assert_eq!(last_of_waves(&rows, &whose, &[0; 4]), [0, 0, 0, 1]);
        let id = Id::NONE;
        let nobody = vec![Whose { customer: id, spelled: id, hash: 0, has_deal: false }; 4];
        assert_eq!(last_of_waves(&rows, &nobody, &[0; 4]), [1, 1, 0, 1]);
    }
}
