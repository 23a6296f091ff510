//! The optional tables as relations: as given, with days put into periods, names into dictionaries,
//! and customers numbered. Here are the columns of `surveys`, `touches` and `contracts`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::Relation;
use super::assemble::{Assembler, Column, Parts, shard};
use super::batch::{Batch, BatchBuilder};
use super::joins::Key;
use super::matching::{Matching, Stay, Whose};
use crate::config::DimensionAt;
use crate::contract::{Id, NO_CODE};
use crate::error::Error;
use crate::fold::amount_or_zero;
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, Rule};
use crate::source::{ContractRow, LookupKey, SurveyKind, SurveyRow, Tables, TargetRow, TouchRow};
use crate::time::{Day, Instant, NO_DAY};

/// The optional tables while a run goes on.
pub(super) struct Optional<'a> {
    pub(super) tables: &'a Tables,
    matching: Option<Matching>,
    /// Whether everything that rules are counted over is read.
    is_judged: bool,
}

/// The relations that are made of them.
const RELATIONS: [Relation; 6] = [
    Relation::Targets,
    Relation::Surveys,
    Relation::SurveyWaves,
    Relation::Touches,
    Relation::Contracts,
    Relation::ContractPeriods,
];

impl<'a> Optional<'a> {
    /// `None` where there are none.
    pub(super) fn new(parts: &Parts<'a>) -> Option<Self> {
        let tables = parts.tables?;
        let asked = RELATIONS.into_iter().chain([Relation::Findings]);
        let is_judged = parts.reads_all || parts.wanted.relation(Relation::Findings);
        let is_asked = is_judged || asked.into_iter().any(|r| parts.wanted.relation(r));
        let matching = if is_asked { Matching::new(tables) } else { None };
        Some(Self { tables, matching, is_judged })
    }

    /// The purchase days of a customer that the tables name, where they are known.
    pub(super) fn purchases_of(&self, customer: Id) -> Vec<Day> {
        let matching = self.matching.as_ref();
        matching.map_or_else(Vec::new, |matching| matching.purchases_of(customer))
    }

    /// Notes the purchase days of a customer.
    pub(super) fn note_purchases(&self, customer: Id, days: &[Day]) {
        if let Some(matching) = &self.matching {
            matching.note_purchases(customer, days);
        }
    }

    /// Where a deal that the tables name was at an instant, where that is known.
    pub(super) fn stay_at(&self, deal: Id, at: Instant) -> Option<Stay> {
        self.matching.as_ref()?.stay_at(deal, at)
    }

    /// Notes the visits of the deals that the tables name.
    pub(super) fn note_visits(&self, chunk: &crate::fold::Chunk) {
        if let Some(matching) = &self.matching {
            matching.note_visits(chunk);
        }
    }

    /// Looks for the customers and deals that the tables name.
    pub(super) fn note(&self, chunk: &crate::fold::Chunk) {
        if let Some(matching) = &self.matching {
            matching.note(&chunk.deals);
        }
    }

    fn whose(&self, customer: Id, deal: Id) -> Whose {
        match &self.matching {
            Some(matching) => matching.whose(customer, deal),
            None => Matching::default().whose(customer, deal),
        }
    }
}

/// The names that only the optional tables have.
pub(super) fn dictionaries(tables: &Tables) -> Vec<(&'static str, Arc<Vec<String>>)> {
    let targets = || tables.targets.iter().flatten();
    let touches = tables.touches.iter().flatten();
    vec![
        ("target_owner", names(targets().filter_map(|row| row.owner.as_ref()))),
        ("target_team", names(targets().filter_map(|row| row.team.as_ref()))),
        ("target_metric", names(targets().map(|row| &row.metric))),
        ("touch_campaign", names(touches.filter_map(|row| row.campaign.as_ref()))),
    ]
}

fn names<'a>(all: impl Iterator<Item = &'a String>) -> Arc<Vec<String>> {
    let distinct: BTreeSet<&String> = all.collect();
    Arc::new(distinct.into_iter().cloned().collect())
}

impl Assembler<'_> {
    /// Makes the relations of the optional tables, and counts what they name that no deal has.
    ///
    /// # Errors
    /// Whatever `take` returns; a bug of ours: columns that do not fit their declaration.
    pub fn optional(&self, take: impl Fn(&Batch) -> Result<(), Error>) -> Result<(), Error> {
        let Some(optional) = &self.optional else { return Ok(()) };
        let tables = optional.tables;
        let numbers = self.customer_numbers(optional);
        if let Some(rows) = &tables.targets {
            let known = self.known_targets(rows);
            if optional.is_judged {
                let orphans = rows.iter().zip(&known).filter(|(_, known)| !**known);
                let name = |row: &TargetRow| row.owner.clone().or(row.team.clone());
                let names = orphans.map(|(row, _)| name(row));
                self.record(optional, Relation::Targets, Rule::OrphanTargets, names);
            }
            self.give(Relation::Targets, || self.targets(optional, rows, &known), &take)?;
        }
        if let Some(rows) = &tables.surveys {
            let whose: Vec<Whose> =
                rows.iter().map(|r| optional.whose(r.customer, r.deal)).collect();
            let named = rows.iter().map(|r| if r.customer.is_none() { r.deal } else { r.customer });
            self.count_orphans(optional, Relation::Surveys, &whose, named);
            self.give(Relation::Surveys, || self.surveys(rows, &whose, &numbers), &take)?;
            self.give(Relation::SurveyWaves, || self.survey_waves(rows, &whose), &take)?;
        }
        if let Some(rows) = &tables.touches {
            let of = |r: &TouchRow| optional.whose(r.customer, Id::NONE);
            let whose: Vec<Whose> = rows.iter().map(of).collect();
            let named = rows.iter().map(|r| r.customer);
            self.count_orphans(optional, Relation::Touches, &whose, named);
            self.give(Relation::Touches, || self.touches(rows, &whose, &numbers), &take)?;
        }
        if let Some(rows) = &tables.contracts {
            let of = |r: &ContractRow| optional.whose(r.customer, Id::NONE);
            let whose: Vec<Whose> = rows.iter().map(of).collect();
            let named = rows.iter().map(|r| r.customer);
            self.count_orphans(optional, Relation::Contracts, &whose, named);
            self.give(Relation::Contracts, || self.contracts(rows, &whose, &numbers), &take)?;
            let periods = || self.contract_periods(rows, &whose, &numbers);
            self.give(Relation::ContractPeriods, periods, &take)?;
        }
        Ok(())
    }

    fn give(
        &self,
        relation: Relation,
        make: impl FnOnce() -> Result<Batch, Error>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.wanted.relation(relation) { take(&make()?) } else { Ok(()) }
    }

    /// Counts rows whose customer or deal is in no history.
    fn count_orphans(
        &self,
        optional: &Optional<'_>,
        relation: Relation,
        whose: &[Whose],
        named: impl Iterator<Item = Id>,
    ) {
        if !optional.is_judged {
            return;
        }
        let known = whose.iter().zip(named);
        let orphans = known.filter(|(whose, named)| !named.is_none() && !whose.has_deal);
        let names = orphans.map(|(_, named)| self.customers.text(named));
        self.record(optional, relation, Rule::OrphanRows, names);
    }

    /// Counts under the table's first input, and names what is counted where that is asked for.
    fn record(
        &self,
        optional: &Optional<'_>,
        relation: Relation,
        rule: Rule,
        names: impl Iterator<Item = Option<String>>,
    ) {
        let inputs = &optional.tables.inputs;
        let Some(input) = inputs.iter().find(|input| input.name == relation.name()) else { return };
        let mut counts = Counts::default();
        for name in names {
            counts.add(rule, 1);
            if let Some(name) = name.filter(|_| self.ledger.is_profiling()) {
                self.ledger.mention(rule, &input.name, &name, 1);
            }
        }
        self.ledger.record(&input.name, &counts);
    }

    /// A number for each customer that the tables name, from 1, in the order of identifiers.
    fn customer_numbers(&self, optional: &Optional<'_>) -> HashMap<Id, i64> {
        let tables = optional.tables;
        let surveys = tables.surveys.iter().flatten();
        let touches = tables.touches.iter().flatten();
        let contracts = tables.contracts.iter().flatten();
        let all = surveys
            .map(|row| optional.whose(row.customer, row.deal).customer)
            .chain(touches.map(|row| row.customer.as_number()))
            .chain(contracts.map(|row| row.customer.as_number()));
        let mut ids: Vec<Id> = all.filter(|id| !id.is_none()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.sort_by_cached_key(|id| self.customers.order_key(*id));
        ids.into_iter().zip(1..).collect()
    }

    pub(super) fn code(&self, dictionary: &str, name: Option<&String>) -> u32 {
        let names = self.dictionaries.names.get(dictionary);
        let place = name.and_then(|name| names?.binary_search(name).ok());
        place.map_or(NO_CODE, |place| place as u32)
    }

    pub(super) fn codes<'b>(
        &self,
        dictionary: &str,
        names: impl Iterator<Item = Option<&'b String>>,
    ) -> Vec<u32> {
        names.map(|name| self.code(dictionary, name)).collect()
    }

    fn surveys(
        &self,
        rows: &[SurveyRow],
        whose: &[Whose],
        numbers: &HashMap<Id, i64>,
    ) -> Result<Batch, Error> {
        let day = |row: &SurveyRow| self.calendar.day(row.at);
        let classes: Vec<u32> = rows.iter().map(class).collect();
        let is = |wanted: u32| classes.iter().map(|c| i8::from(*c == wanted)).collect::<Vec<_>>();
        let score = |row: &SurveyRow| amount_or_zero(row.score);
        let builder = BatchBuilder::new(Relation::Surveys, rows.len(), self.wanted)
            .small("shard", || whose.iter().map(|w| shard(w.hash)).collect())
            .day("answered_on", || rows.iter().map(day).collect())
            .day("answered_period", || rows.iter().map(|r| self.starts.start(day(r))).collect())
            .name("survey_kind", || rows.iter().map(|r| r.kind as u32).collect::<Vec<_>>())
            .name("score_class", || classes.clone())
            .int("score_thousandths", || rows.iter().map(score).collect())
            .int("scale_max", || rows.iter().map(|r| r.scale_max).collect())
            .flag("is_response", || rows.iter().map(|r| i8::from(r.score != NO_AMOUNT)).collect())
            .flag("is_promoter", || is(PROMOTER))
            .flag("is_passive", || is(PASSIVE))
            .flag("is_detractor", || is(DETRACTOR))
            .flag("is_satisfied", || is(SATISFIED))
            .flag("is_latest", || latest(rows, whose));
        let builder = whose_columns(builder, whose, numbers);
        let builder = self.after_answers(builder, rows, whose);
        let key = |whose: &(&SurveyRow, &Whose)| self.customers.text(whose.1.customer);
        let at = |whose: &(&SurveyRow, &Whose)| whose.0.at;
        let pairs: Vec<(&SurveyRow, &Whose)> = rows.iter().zip(whose).collect();
        self.looked_up(builder, &LookupKey::Customer, &pairs, &key, &at, &|_| None)
            .finish(&self.dictionaries)
    }

    fn touches(
        &self,
        rows: &[TouchRow],
        whose: &[Whose],
        numbers: &HashMap<Id, i64>,
    ) -> Result<Batch, Error> {
        let day = |row: &TouchRow| self.calendar.day(row.at);
        let split = |(row, whose): (&TouchRow, &Whose)| {
            shard(if row.customer.is_none() { row.lead.hash() } else { whose.hash })
        };
        let channels = || self.codes("channel", rows.iter().map(|r| r.channel.as_ref()));
        let campaigns = || self.codes("touch_campaign", rows.iter().map(|r| r.campaign.as_ref()));
        let mut builder = BatchBuilder::new(Relation::Touches, rows.len(), self.wanted)
            .small("shard", || rows.iter().zip(whose).map(split).collect())
            .day("touched_on", || rows.iter().map(day).collect())
            .day("touched_period", || rows.iter().map(|r| self.starts.start(day(r))).collect())
            .name("channel", channels)
            .name("touch_campaign", campaigns)
            .flag("is_first_touch", || first_touches(rows));
        let channel = self.channel.and_then(|place| self.dimensions.get(place));
        if let Some(name) = channel {
            builder = builder.dimension(name, channels);
        }
        let builder = whose_columns(builder, whose, numbers);
        let key = |row: &TouchRow| self.customers.text(row.customer);
        self.looked_up(builder, &LookupKey::Customer, rows, &key, &|row| row.at, &|_| None)
            .finish(&self.dictionaries)
    }

    fn contracts(
        &self,
        rows: &[ContractRow],
        whose: &[Whose],
        numbers: &HashMap<Id, i64>,
    ) -> Result<Batch, Error> {
        let today = self.calendar.day(self.as_of);
        let runs = |row: &ContractRow| i8::from(row.to == NO_DAY || row.to > today);
        let number = |whose: &Whose| numbers.get(&whose.customer).copied().unwrap_or(0);
        let builder = BatchBuilder::new(Relation::Contracts, rows.len(), self.wanted)
            .small("shard", || whose.iter().map(|w| shard(w.hash)).collect())
            .int("customer", || whose.iter().map(number).collect())
            .day("starts_on", || rows.iter().map(|r| r.from).collect())
            .day("ends_on", || rows.iter().map(|r| r.to).collect())
            .day("starts_period", || rows.iter().map(|r| self.starts.start(r.from)).collect())
            .day("ends_period", || rows.iter().map(|r| self.starts.start(r.to)).collect())
            .int("mrr_amount", || rows.iter().map(|r| amount_or_zero(r.amount)).collect())
            .flag("has_amount", || rows.iter().map(|r| i8::from(r.amount != NO_AMOUNT)).collect())
            .flag("is_running", || rows.iter().map(runs).collect())
            .flag("has_deal", || whose.iter().map(|w| i8::from(w.has_deal)).collect());
        let key = |row: &ContractRow| self.customers.text(row.customer);
        let at = |row: &ContractRow| self.calendar.instant(row.from);
        self.looked_up(builder, &LookupKey::Customer, rows, &key, &at, &|_| None)
            .finish(&self.dictionaries)
    }

    /// Adds the dimensions that come from look-up tables by this key: of the row that holds when
    /// `at` says, or at `as_of` where the dimension is of that time; or the value that `own` gives
    /// for the team of the users.
    pub(super) fn looked_up<'b, R>(
        &self,
        mut builder: BatchBuilder<'b>,
        by: &LookupKey,
        rows: &[R],
        key: &dyn Fn(&R) -> Option<String>,
        at: &dyn Fn(&R) -> Instant,
        own: &dyn Fn(&R) -> Option<String>,
    ) -> BatchBuilder<'b> {
        for (name, source) in self.dimensions.iter().zip(&self.sources) {
            let Column::Lookup(place, by_row) = source else { continue };
            let Some(join) = self.lookups.get(*place).filter(|j| j.lookup.key == *by) else {
                continue;
            };
            let is_team = self.team_dimensions.contains(name);
            let code = |row: &R| {
                if let Some(given) = own(row).filter(|_| is_team) {
                    return self.code(name, Some(&given));
                }
                let instant = if join.at == DimensionAt::AsOf { self.as_of } else { at(row) };
                let found = key(row).map(|key| join.row_at(join.find(&key), instant));
                match found {
                    Some(Key::Row(row)) => by_row.get(row as usize).copied().unwrap_or(NO_CODE),
                    _ => NO_CODE,
                }
            };
            builder = builder.dimension(name, || rows.iter().map(code).collect::<Vec<u32>>());
        }
        builder
    }
}

fn whose_columns<'b>(
    builder: BatchBuilder<'b>,
    whose: &[Whose],
    numbers: &HashMap<Id, i64>,
) -> BatchBuilder<'b> {
    let number = |whose: &Whose| numbers.get(&whose.customer).copied().unwrap_or(0);
    builder
        .int("customer", || whose.iter().map(number).collect())
        .flag("has_customer", || whose.iter().map(|w| i8::from(!w.customer.is_none())).collect())
        .flag("has_deal", || whose.iter().map(|w| i8::from(w.has_deal)).collect())
}

const NONE: u32 = 0;
pub(super) const PROMOTER: u32 = 1;
pub(super) const PASSIVE: u32 = 2;
pub(super) const DETRACTOR: u32 = 3;
pub(super) const SATISFIED: u32 = 4;
const UNSATISFIED: u32 = 5;

/// The place of a row's class in [`super::surveys::CLASSES`].
pub(super) fn class(row: &SurveyRow) -> u32 {
    if row.score == NO_AMOUNT {
        return NONE;
    }
    // In thousandths, so that a scale of any length is cut exactly.
    let (score, max) = (row.score, row.scale_max * 1_000);
    let satisfied = |is: bool| if is { SATISFIED } else { UNSATISFIED };
    match row.kind {
        SurveyKind::Nps if score * 10 >= max * 9 => PROMOTER,
        SurveyKind::Nps if score * 10 > max * 6 => PASSIVE,
        SurveyKind::Nps => DETRACTOR,
        SurveyKind::Csat => satisfied(score * 5 >= max * 4),
        SurveyKind::Ces => satisfied(score * 7 >= max * 5),
    }
}

/// Which answers are their customer's last to a kind; of equal times the later row.
fn latest(rows: &[SurveyRow], whose: &[Whose]) -> Vec<i8> {
    let mut last: BTreeMap<(Id, SurveyKind), (Instant, usize)> = BTreeMap::new();
    let answers = || {
        let known = rows.iter().zip(whose).enumerate();
        known.filter(|(_, (row, _))| row.score != NO_AMOUNT)
    };
    for (place, (row, whose)) in answers() {
        let own = last.entry((whose.customer, row.kind)).or_insert((row.at, place));
        *own = (*own).max((row.at, place));
    }
    let mut flags = vec![0; rows.len()];
    for (place, (row, whose)) in answers() {
        let of_customer = last.get(&(whose.customer, row.kind));
        let is_last = of_customer.is_some_and(|(_, last)| *last == place);
        if let Some(flag) = flags.get_mut(place) {
            *flag = i8::from(is_last || whose.customer.is_none());
        }
    }
    flags
}

/// Which contacts are the first with their customer or lead; of equal times the earlier row. One of
/// nobody is none.
fn first_touches(rows: &[TouchRow]) -> Vec<i8> {
    let whom = |row: &TouchRow| {
        let is_customer = !row.customer.is_none();
        let id = if is_customer { row.customer } else { row.lead };
        (!id.is_none()).then(|| (is_customer, id.as_number()))
    };
    let mut first: BTreeMap<(bool, Id), (Instant, usize)> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        if let Some(whom) = whom(row) {
            let own = first.entry(whom).or_insert((row.at, place));
            *own = (*own).min((row.at, place));
        }
    }
    let is_first = |(place, row): (usize, &TouchRow)| {
        let own = whom(row).and_then(|whom| first.get(&whom));
        i8::from(own.is_some_and(|(_, first)| *first == place))
    };
    rows.iter().enumerate().map(is_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: SurveyKind, score: i64, scale_max: i64) -> SurveyRow {
        let (customer, deal) = (Id::integer(1), Id::NONE);
        SurveyRow { at: 1, kind, score: score * 1_000, scale_max, customer, deal }
    }

    #[track_caller]
    fn check(kind: SurveyKind, scale_max: i64, expected: &[(i64, u32)]) {
        for (score, code) in expected {
            assert_eq!(class(&answer(kind, *score, scale_max)), *code, "{kind:?} {score}");
        }
    }

    #[test]
    fn scores_fall_into_the_usual_classes() {
        let nps = [(0, DETRACTOR), (6, DETRACTOR), (7, PASSIVE), (8, PASSIVE), (9, PROMOTER)];
        check(SurveyKind::Nps, 10, &nps);
        check(SurveyKind::Csat, 5, &[(3, UNSATISFIED), (4, SATISFIED), (5, SATISFIED)]);
        check(SurveyKind::Csat, 100, &[(79, UNSATISFIED), (80, SATISFIED)]);
        check(SurveyKind::Ces, 7, &[(4, UNSATISFIED), (5, SATISFIED)]);
    }

    #[test]
    fn the_last_answer_of_a_customer_is_marked_and_silence_is_none() {
        let mut rows = vec![answer(SurveyKind::Nps, 9, 10); 4];
        for (row, at) in rows.iter_mut().zip([5, 9, 9, 20]) {
            row.at = at;
        }
        rows[3].score = NO_AMOUNT;
        let id = Id::integer(1);
        let whose = vec![Whose { customer: id, spelled: id, hash: 0, has_deal: true }; 4];
        assert_eq!(latest(&rows, &whose), [0, 0, 1, 0]);
        let id = Id::NONE;
        let nobody = vec![Whose { customer: id, spelled: id, hash: 0, has_deal: false }; 4];
        assert_eq!(latest(&rows, &nobody), [1, 1, 1, 0]);
    }

    #[test]
    fn a_customer_and_a_lead_are_each_touched_first_once() {
        let touch =
            |at, customer, lead| TouchRow { at, customer, lead, channel: None, campaign: None };
        let (c, l) = (Id::integer(7), Id::integer(7));
        let rows = [
            touch(9, c, Id::NONE),
            touch(3, c, l),
            touch(4, Id::NONE, l),
            touch(1, Id::NONE, Id::NONE),
            touch(3, c, Id::NONE),
        ];
        assert_eq!(first_touches(&rows), [0, 1, 1, 0, 0]);
    }
}
