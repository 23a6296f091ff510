//! The compact relations that the fold emits and every metric is computed from.
//!
//! Each relation has one file that declares its columns; everything a metric needs is already a
//! column here (flags are 0 or 1 in 8 bits, durations are whole units of the run's resolution,
//! periods are civil days, names are codes of an enumeration), so that no metric looks at an event.
//!
//! Conventions: an amount is 0 where it is unknown and `has_amount` tells the two apart; a day or a
//! name that does not exist is null; `shard` is a number in `0..1024` by which the relation can be
//! split so that a customer (a deal without one; a channel of spend) never straddles two shards.
//! Every relation also carries the run's dimensions as columns of their own name, except where a
//! relation says otherwise.
//!
//! The optional tables are relations as given: `spend`, `targets`, `surveys`, `touches`, `contracts`.

pub mod assemble;
pub mod batch;
pub mod bookings;
pub mod contract_periods;
pub mod contracts;
pub mod credits;
pub mod customer_ids;
pub mod customer_periods;
pub mod customers;
mod customers_emit;
pub mod deals;
mod cap;
mod emit;
mod joins;
mod matching;
mod naming;
pub mod export;
pub mod findings;
pub mod follows;
pub mod funnel_steps;
#[cfg(test)]
pub(crate) mod fixture;
pub mod frame;
pub mod late_entries;
pub mod open_deals;
pub mod pipeline_flows;
pub mod pipeline_stock;
pub mod orders;
pub mod orders_pass;
pub mod paths;
pub mod payments;
pub mod purchases;
mod replayed;
pub mod spend;
pub mod stage_entries;
pub mod survey_waves;
pub mod surveys;
mod tables_emit;
pub mod targets;
mod targets_emit;
mod teams;
pub mod touches;
mod transfers;
pub mod visits;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use batch::{Batch, Wanted};
pub use customers_emit::{Habits, Of};

use crate::error::Error;

/// Number of shards that a relation can be split into at most.
pub const SHARDS_MAX: i32 = 1024;

/// A relation by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// One row per deal and stage visit.
    Visits,
    /// One row per deal.
    Deals,
    /// One row per deal that began before the history does.
    LateEntries,
    /// One row per visit to a stage that is neither won nor lost, followed to the deal's next close.
    StageEntries,
    /// One row per open deal, with the identifier.
    OpenDeals,
    /// One row per event of a deal that names a stage, and what follows it.
    Follows,
    /// One row per step that a deal took in a funnel of the user's own.
    FunnelSteps,
    /// One row per entry of the ledger of won deals.
    Bookings,
    /// What is open at the end of each period, by its changes.
    PipelineStock,
    /// One row per deal and period in which it came into the pipeline, changed there or left it.
    PipelineFlows,
    /// One row per won deal with an amount and a customer.
    Orders,
    /// One row per customer.
    Customers,
    /// One row per customer, with the identifier.
    CustomerIds,
    /// One row per customer, period length and active period.
    CustomerPeriods,
    /// One row per customer and purchase day.
    Purchases,
    /// One row per won deal and owner who is credited with it.
    Credits,
    /// One row per payment.
    Payments,
    /// One row per row of the spend input.
    Spend,
    /// One row per target.
    Targets,
    /// One row per answer to a survey.
    Surveys,
    /// One row per answer to a survey and period length.
    SurveyWaves,
    /// One row per contact with a customer or lead.
    Touches,
    /// One row per contract.
    Contracts,
    /// One row per customer, period length and period with a contract.
    ContractPeriods,
    /// One row per input and data-quality rule.
    Findings,
}

impl Relation {
    /// Every relation.
    pub const EVERY: [Self; 25] = [
        Self::Visits,
        Self::Deals,
        Self::LateEntries,
        Self::StageEntries,
        Self::OpenDeals,
        Self::Follows,
        Self::FunnelSteps,
        Self::Bookings,
        Self::PipelineStock,
        Self::PipelineFlows,
        Self::Orders,
        Self::Customers,
        Self::CustomerIds,
        Self::CustomerPeriods,
        Self::Purchases,
        Self::Credits,
        Self::Payments,
        Self::Spend,
        Self::Targets,
        Self::Surveys,
        Self::SurveyWaves,
        Self::Touches,
        Self::Contracts,
        Self::ContractPeriods,
        Self::Findings,
    ];

    /// The relations about customers, which are made of all orders or payments of a customer.
    pub const OF_CUSTOMERS: [Self; 4] =
        [Self::Customers, Self::CustomerIds, Self::CustomerPeriods, Self::Purchases];

    /// Its name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Visits => "visits",
            Self::Deals => "deals",
            Self::LateEntries => "late_entries",
            Self::StageEntries => "stage_entries",
            Self::OpenDeals => "open_deals",
            Self::Follows => "follows",
            Self::FunnelSteps => "funnel_steps",
            Self::Bookings => "bookings",
            Self::PipelineStock => "pipeline_stock",
            Self::PipelineFlows => "pipeline_flows",
            Self::Orders => "orders",
            Self::Customers => "customers",
            Self::CustomerIds => "customer_ids",
            Self::CustomerPeriods => "customer_periods",
            Self::Purchases => "purchases",
            Self::Credits => "credits",
            Self::Payments => "payments",
            Self::Spend => "spend",
            Self::Targets => "targets",
            Self::Surveys => "surveys",
            Self::SurveyWaves => "survey_waves",
            Self::Touches => "touches",
            Self::Contracts => "contracts",
            Self::ContractPeriods => "contract_periods",
            Self::Findings => "findings",
        }
    }

    /// Whether it carries the run's dimensions, or those of them that it has.
    #[must_use]
    pub fn has_dimensions(self) -> bool {
        !matches!(self, Self::CustomerIds | Self::Findings)
    }

    /// What is missing in the inputs when there is no such relation.
    #[must_use]
    pub fn missing_because(self) -> &'static str {
        match self {
            Self::Visits
            | Self::Deals
            | Self::StageEntries
            | Self::OpenDeals
            | Self::Follows
            | Self::Bookings
            | Self::PipelineStock
            | Self::PipelineFlows
            | Self::Credits
            | Self::Findings => "the inputs have no deal events",
            Self::FunnelSteps => "it needs a funnel: add [funnels.NAME] with steps",
            Self::LateEntries => "it needs the begin of the history: set [run] history_from",
            Self::Orders
            | Self::Customers
            | Self::CustomerIds
            | Self::CustomerPeriods
            | Self::Purchases => {
                "it needs customers: map a column to customer_id in the deal events"
            }
            Self::Payments => {
                "it needs payments: add [inputs.payments] with paid_at, amount and deal_id"
            }
            Self::Spend => "it needs spend: add [inputs.spend] with date, channel and amount",
            Self::Targets => {
                "it needs targets: add [inputs.targets] with owner_id or team_id, period_start, \
                 period_end and target"
            }
            Self::Surveys | Self::SurveyWaves => {
                "it needs surveys: add [inputs.surveys] with customer_id, at, kind and score"
            }
            Self::Touches => "it needs touches: add [inputs.touches] with customer_id, at, channel",
            Self::Contracts | Self::ContractPeriods => {
                "it needs contracts: add [inputs.contracts] with customer_id, start, end and mrr"
            }
        }
    }

    /// Its columns, without the dimensions.
    #[must_use]
    pub fn columns(self) -> &'static [RelationColumn] {
        match self {
            Self::Visits => visits::COLUMNS,
            Self::Deals => deals::COLUMNS,
            Self::LateEntries => late_entries::COLUMNS,
            Self::StageEntries => stage_entries::COLUMNS,
            Self::OpenDeals => open_deals::COLUMNS,
            Self::Follows => follows::COLUMNS,
            Self::FunnelSteps => funnel_steps::COLUMNS,
            Self::Bookings => bookings::COLUMNS,
            Self::PipelineStock => pipeline_stock::COLUMNS,
            Self::PipelineFlows => pipeline_flows::COLUMNS,
            Self::Orders => orders::COLUMNS,
            Self::Customers => customers::COLUMNS,
            Self::CustomerIds => customer_ids::COLUMNS,
            Self::CustomerPeriods => customer_periods::COLUMNS,
            Self::Purchases => purchases::COLUMNS,
            Self::Credits => credits::COLUMNS,
            Self::Payments => payments::COLUMNS,
            Self::Spend => spend::COLUMNS,
            Self::Targets => targets::COLUMNS,
            Self::Surveys => surveys::COLUMNS,
            Self::SurveyWaves => survey_waves::COLUMNS,
            Self::Touches => touches::COLUMNS,
            Self::Contracts => contracts::COLUMNS,
            Self::ContractPeriods => contract_periods::COLUMNS,
            Self::Findings => findings::COLUMNS,
        }
    }
}

/// Physical type of a relation's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1 in 8 bits.
    Flag,
    /// 16-bit integer.
    Small,
    /// 64-bit integer: counts, minor units, durations in units of the run's resolution.
    Int,
    /// Civil day; null where it does not exist.
    Day,
    /// Stage name: a code of the run's stage enumeration ([`Dictionaries::names`]); never null.
    Stage,
    /// One of a fixed list of names; never null.
    Name(&'static [&'static str]),
    /// A name of another dictionary, `owners` or `channels`; null where unknown.
    Dictionary(&'static str),
}

/// Declaration of a relation's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name in SQL.
    pub name: &'static str,
    /// Its physical type.
    pub kind: Kind,
    /// What it means.
    pub meaning: &'static str,
}

/// Shorthand for the declarations.
#[must_use]
pub const fn column(name: &'static str, kind: Kind, meaning: &'static str) -> RelationColumn {
    RelationColumn { name, kind, meaning }
}

/// The names behind the codes, sorted, so that the order of codes is the order of names.
#[derive(Debug, Clone, Default)]
pub struct Dictionaries {
    /// Names of every dictionary by key: `stage`, `owner`, `channel`, and each dimension.
    /// `stage` alone is in pipeline order: pseudo-states, open stages, won, lost, ignored, unknown.
    pub names: BTreeMap<String, Arc<Vec<String>>>,
    /// Identifiers of customers that are too long to be packed, by the number in their words, where
    /// anybody asks for identifiers.
    pub long_customers: Arc<Vec<String>>,
    /// The same of deals.
    pub long_deals: Arc<Vec<String>>,
}

impl Dictionaries {
    /// The name of a code in a dictionary, or `None` for null.
    #[must_use]
    pub fn name(&self, dictionary: &str, code: i64) -> Option<&str> {
        let names = self.names.get(dictionary)?;
        names.get(usize::try_from(code).ok()?).map(String::as_str)
    }
}

/// Whole relations. A run never has them: its batches go to the engine one by one. They are for the
/// Polars backends, for exports, and for tests.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    /// The relations that could be made from the inputs.
    pub batches: BTreeMap<Relation, Batch>,
    /// The names behind the codes.
    pub dictionaries: Dictionaries,
}

impl Relations {
    /// Which relations there are, and the dimensions that each carries.
    #[must_use]
    pub fn carried(&self) -> BTreeMap<Relation, Vec<String>> {
        self.batches.iter().map(|(relation, b)| (*relation, b.dimensions.clone())).collect()
    }

    /// Puts a batch behind those of its relation.
    ///
    /// # Errors
    /// A bug of ours: it has other columns than those.
    pub fn push(&mut self, batch: Batch) -> Result<(), Error> {
        match self.batches.entry(batch.relation) {
            std::collections::btree_map::Entry::Occupied(mut all) => all.get_mut().append(batch),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(batch);
                Ok(())
            }
        }
    }
}
