//! The optional tables of a run: read with its money and names, and what is known of them for the
//! report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::Memory;
use super::pricing::{Foreign, Spending};
use crate::config::{Config, Resolved, Shape};
use crate::error::Error;
use crate::quality::Ledger;
use crate::relations::Relation;
use crate::source::{
    FxRates, FxSource, Interners, Merges, PaymentSource, Payments, Spend, SpendSource, SpentIn,
    SplitSource, Splits, TableSettings, Tables, TablesSource,
};
use crate::time::{Calendar, Day, Instant};

/// The first and last day of tables, by the name of the input.
pub type Spans = BTreeMap<String, (Day, Day)>;

/// The checked inputs that are given and not folded.
pub(super) struct GivenSource {
    pub(super) rates: FxSource,
    pub(super) spend: SpendSource,
    pub(super) payments: PaymentSource,
    pub(super) splits: SplitSource,
    pub(super) tables: TablesSource,
}

/// What they hold.
pub(super) struct Given {
    pub(super) rates: FxRates,
    pub(super) spend: Option<Spend>,
    pub(super) payments: Option<Payments>,
    pub(super) splits: Option<Splits>,
    pub(super) tables: Tables,
    /// Rows in another currency where none is converted.
    pub(super) foreign: Foreign,
}

impl GivenSource {
    /// Reads the rates, then what is priced by them.
    pub(super) fn read(
        self,
        resolved: &Resolved,
        (names, merges): (&Interners, &Merges),
        as_of: Instant,
        ledger: &Ledger,
        memory: &Memory,
    ) -> Result<Given, Error> {
        let rates = self.rates.read(ledger)?;
        let spending = Spending { resolved, rates: &rates, as_of, names };
        let (spend, foreign_spend) = spending.read(self.spend, ledger)?;
        let (mut payments, foreign_payments) = spending.read_payments(self.payments, ledger)?;
        if let Some(payments) = &mut payments {
            payments.follow(merges);
        }
        let splits = self.splits.read(names, ledger)?;
        let foreign = AtomicU64::new(0);
        let price = |given: &SpentIn<'_>| spending.price(given, &foreign);
        let tables = self.tables.read(&TableSettings {
            calendar: resolved.calendar,
            currency: &resolved.native,
            price: &price,
            as_of,
            names,
            ledger,
        })?;
        let foreign = Foreign {
            deals: 0,
            spend: foreign_spend,
            payments: foreign_payments,
            tables: foreign.load(Ordering::Relaxed),
        };
        let given = Given { rates, spend, payments, splits, tables, foreign };
        let kept = names.bytes() + given.bytes();
        memory.check_kept(kept, ledger.quarantine_bytes(), 1, 1)?;
        Ok(given)
    }
}

impl Given {
    /// Bytes of what is kept whole and may be large.
    fn bytes(&self) -> u64 {
        let payments = self.payments.as_ref().map_or(0, Payments::bytes);
        payments + self.splits.as_ref().map_or(0, Splits::bytes) + self.tables.bytes()
    }

    /// The tables, where there is any.
    pub(super) fn tables(&self) -> Option<&Tables> {
        (!self.tables.inputs.is_empty()).then_some(&self.tables)
    }

    /// The relations that are made of them.
    pub(super) fn relations(&self) -> impl Iterator<Item = Relation> {
        let tables = &self.tables;
        let given = [
            (Relation::Spend, self.spend.is_some()),
            (Relation::Payments, self.payments.is_some()),
            (Relation::Targets, tables.targets.is_some()),
            (Relation::Surveys, tables.surveys.is_some()),
            (Relation::SurveyWaves, tables.surveys.is_some()),
            (Relation::Touches, tables.touches.is_some()),
            (Relation::Contracts, tables.contracts.is_some()),
            (Relation::ContractPeriods, tables.contracts.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(relation, _)| relation)
    }

    /// The first and last day of each table that has any.
    pub(super) fn spans(&self, calendar: &Calendar) -> Spans {
        let days = || self.spend.iter().flat_map(|spend| &spend.rows).map(|row| row.day);
        let of_spend = days().min().zip(days().max()).map(|span| ("spend", span));
        let payments = self.payments.iter().flat_map(Payments::rows);
        let paid: Vec<Day> = payments.map(|paid| calendar.day(paid.at)).collect();
        let of_paid = paid.iter().min().zip(paid.iter().max());
        let of_paid = of_paid.map(|(first, last)| ("payments", (*first, *last)));
        let spans = self.tables.spans(calendar).into_iter().chain(of_spend).chain(of_paid);
        spans.map(|(name, span)| (name.to_owned(), span)).collect()
    }
}

/// The shape of the input that a relation is a table of, and by what its dimensions are looked up.
fn origin(relation: Relation) -> Option<(Shape, &'static str)> {
    match relation {
        Relation::Targets => Some((Shape::Targets, "owner_id")),
        Relation::Surveys | Relation::SurveyWaves => Some((Shape::Surveys, "customer_id")),
        Relation::Touches => Some((Shape::Touches, "customer_id")),
        Relation::Contracts | Relation::ContractPeriods => Some((Shape::Contracts, "customer_id")),
        _ => None,
    }
}

/// The dimensions that the relation of an optional table carries, in configured order; `None` where
/// it is not one of them, or there is no such input.
pub(super) fn carried(
    resolved: &Resolved,
    relation: Relation,
    channel: Option<&str>,
) -> Option<Vec<String>> {
    let (shape, key) = origin(relation)?;
    resolved.inputs.values().find(|input| input.declared.shape == shape)?;
    let config = &resolved.config;
    let is_looked_up = |name: &String| {
        let origin = config.dimensions.from.get(name).and_then(|o| o.split_once('.'));
        let input = origin.and_then(|(table, _)| resolved.inputs.get(table));
        input.is_some_and(|input| input.declared.key.as_deref() == Some(key))
    };
    let is_channel =
        |name: &String| relation == Relation::Touches && channel == Some(name.as_str());
    let all = config.dimensions.columns.iter();
    Some(all.filter(|name| is_channel(name) || is_looked_up(name)).cloned().collect())
}

/// Whether a relation is one of an optional table other than spend.
pub(super) fn is_table(relation: Relation) -> bool {
    origin(relation).is_some()
}

/// An input that a run can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalInput {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The columns that it should have.
    pub columns: &'static str,
    /// What it brings.
    pub brings: &'static str,
    /// Its rows, where there is one.
    pub rows: Option<u64>,
    /// Its first and last day, as far as they are known.
    pub span: Option<(Day, Day)>,
}

/// Name, columns, and what each brings.
const OPTIONAL: &[(&str, &str, &str)] = &[
    (
        "deals",
        "deal_id, created_at, stage_id, closed_at, customer_id, amount",
        "what the histories lack, and how far they disagree with the current deals",
    ),
    ("stages", "stage_id, stage_order, class", "the pipeline's stages, in place of [pipeline]"),
    ("merges", "loser_id, winner_id, at", "deals that were merged into others, counted once"),
    ("customers", "customer_id, segment, region, tier", "dimensions of customers"),
    ("users", "owner_id, team_id, valid_from, valid_to", "dimensions of owners: teams as of then"),
    ("spend", "date, channel, amount", "the table cac"),
    ("fx_rates", "date, currency, rate_to_base", "amounts in several currencies"),
    (
        "payments",
        "paid_at, amount, deal_id or customer_id, kind",
        "the table revenue_paid; customers, cohorts and lifetime values of what was paid",
    ),
    ("deal_splits", "deal_id, owner_id, share", "shared deals in the table revenue_credit"),
    (
        "targets",
        "owner_id or team_id, period_start, period_end, target",
        "the tables target_attainment and target_contributions, tiers of the table commission",
    ),
    (
        "surveys",
        "customer_id, at, kind, score",
        "the tables satisfaction, satisfaction_by_tier, _by_deal and _outcomes: NPS, CSAT and CES",
    ),
    (
        "touches",
        "customer_id, at, channel",
        "the relation touches for metrics of your own: contacts by channel and campaign",
    ),
    (
        "contracts",
        "customer_id, start, end, mrr",
        "the table contract_retention: net and gross revenue retention, renewals",
    ),
    ("calendar", "date, is_workday", "the working days of targets"),
];

/// What there is of each optional input.
pub(super) fn optional_inputs(
    config: &Config,
    ledger: &Ledger,
    spans: &Spans,
) -> Vec<OptionalInput> {
    let counts = ledger.counts();
    let of = |(name, columns, brings): &(&'static str, &'static str, &'static str)| {
        let rows = config.inputs.contains_key(*name).then(|| {
            // An input without any row has no counts.
            counts.get(*name).map_or(0, |c| c.rows_in)
        });
        OptionalInput { name, columns, brings, rows, span: spans.get(*name).copied() }
    };
    OPTIONAL.iter().map(of).collect()
}
