//! What the program needs to know: the configuration file, resolved and validated once.
//!
//! [`Config`] mirrors the TOML file; every key is declared here once, with its default and its
//! meaning (the JSON Schema comes from it, and a test holds `dealmill init` against it). Unknown
//! keys are refused. [`load()`] lays the layers over each other, [`Resolved`] is what the rest of
//! the program works with. This is also the one place that reads the environment.

mod clv;
mod customers;
pub mod environment;
mod fiscal;
mod forecast;
mod goals;
mod inputs;
mod load;
mod pipelines;
pub mod process;
mod places;
mod resolve;
mod syntax;
mod tables;
mod template;
mod validate;

#[cfg(test)]
mod tests;

pub use clv::{Clv, ClvModel, ClvUnit};
pub use customers::{Customers, TierBy, TierRule, Tiers};
pub use fiscal::{FiscalYearEnds, WeekPattern};
pub use forecast::{Forecast, NewDeals, Triggers};
pub use goals::{Commission, CommissionMethod, Direction, FROM_MAX, Kpi, Tier, millionths};
pub use load::{Flags, load};
pub use process::{Breakdown, Funnel, Process, Reentry, Step, StepOrder, Strict, WindowClock};
pub use resolve::{Resolved, ResolvedInput};
pub use tables::TableOptions;
pub use template::{PRESETS, Preset, presets_help, template};

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::StageClass;
use crate::money::DecimalMark;
use crate::time::{Instant, Period, Resolution};

/// The whole configuration file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to run: clock, zone, periods, output.
    pub run: Run,
    /// The stages of the pipeline and what ends a deal.
    pub pipeline: Pipeline,
    /// The pipelines of a run of several, by their values of `pipeline_id`; each has stages of its
    /// own. `[pipeline]` then is for deals in none of them, if it lists stages.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pipelines: BTreeMap<String, Pipeline>,
    /// By what the numbers are split.
    pub dimensions: Dimensions,
    /// Currency of the amounts.
    pub money: Money,
    /// Rules of the fold that have alternatives.
    pub fold: Fold,
    /// How customers are acquired, for CAC.
    pub acquisition: Acquisition,
    /// Models of what customers will be worth.
    pub clv: Clv,
    /// What is expected of open deals and of those to come.
    pub forecast: Forecast,
    /// When somebody should act.
    pub triggers: Triggers,
    /// How customers come back and fall silent.
    pub customers: Customers,
    /// Who is a VIP, who a regular customer.
    pub tiers: Tiers,
    /// What owners earn for what they win, by tiers of their targets.
    pub commission: Commission,
    /// What columns of finished tables are to reach, by names of yours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kpi: BTreeMap<String, Kpi>,
    /// How the paths of deals are told.
    pub process: Process,
    /// Funnels of your own, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub funnels: BTreeMap<String, Funnel>,
    /// Severity of the data-quality rules, and sample floors.
    pub quality: Quality,
    /// Where the data is: `deal_events` (required) and further histories named `deal_events_…`,
    /// `deals`, `stages`, `spend`, `fx_rates`, `customers`, `users`, `targets`, `surveys`, `touches`,
    /// `contracts`, `calendar`, `payments`, `deal_splits`, `merges`, and any look-up tables.
    pub inputs: BTreeMap<String, Input>,
    /// Your own metrics.
    pub metrics: Vec<CustomMetric>,
    /// What single tables report by, by name, where it differs from the others.
    pub tables: BTreeMap<String, TableOptions>,
}

/// How to run: clock, zone, periods, output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// The instant (RFC 3339) or date after which events do not exist; a date means the end of
    /// that day in the reporting zone. Default: the latest event in the data.
    #[serde(deserialize_with = "syntax::text_or_date")]
    #[schemars(with = "Option<String>")]
    pub as_of: Option<String>,
    /// The instant or date from which on the history is complete. Deals that began before it are
    /// followed only from it on, because those that closed earlier are not there. Default: all
    /// deals are there from their start.
    #[serde(deserialize_with = "syntax::text_or_date", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub history_from: Option<String>,
    /// Reporting zone, an IANA name.
    pub timezone: String,
    /// Reporting periods; the whole history ("all") is always computed too.
    pub periods: Vec<Period>,
    /// First day of the week, "monday" to "sunday".
    pub week_start: Weekday,
    /// First month of the fiscal year, 1 to 12.
    pub fiscal_start_month: u8,
    /// Fiscal years of 52 or 53 weeks: weeks of the months of each quarter, "4-4-5", "4-5-4" or
    /// "5-4-4". The period "fiscal_month" is one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fiscal_weeks: Option<WeekPattern>,
    /// The day on which such years end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fiscal_year_ends: Option<FiscalYearEnds>,
    /// Unit in which durations are counted; output is in days whatever the unit.
    pub resolution: Resolution,
    /// After how many days `win_horizons` says what share of deals is won, each above 0.
    pub horizons_days: Vec<u32>,
    /// Output folder.
    pub output: PathBuf,
    /// How many finished runs to keep; older ones are removed after a successful run.
    pub keep_runs: usize,
    /// Format of the tables.
    pub format: Format,
    /// Threads; default all cores.
    pub threads: Option<usize>,
    /// Shards the states are computed in and merged from; 1 = one piece.
    pub shards: usize,
    /// Bound on memory: KiB, MiB and GiB are powers of 1024, kB, MB and GB powers of 1000, a whole
    /// number alone is bytes, such as "512MiB" or "2GB"; default 70 % of what the machine or its
    /// control group allows. Changes no number.
    #[serde(deserialize_with = "syntax::text_or_number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<syntax::TextOrNumber>")]
    pub memory_limit: Option<String>,
    /// Folder for what does not fit into memory, on a disk that is quick and has room; it has to be
    /// there; default beside the output. Nothing stays in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// Only these tables; empty = all.
    pub only: Vec<String>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            as_of: None,
            history_from: None,
            timezone: "UTC".into(),
            periods: vec![Period::Month, Period::Quarter],
            week_start: Weekday::default(),
            fiscal_start_month: 1,
            fiscal_weeks: None,
            fiscal_year_ends: None,
            resolution: Resolution::default(),
            horizons_days: vec![30, 90, 180, 365],
            output: "out".into(),
            keep_runs: 10,
            format: Format::default(),
            threads: None,
            shards: 1,
            memory_limit: None,
            scratch: None,
            only: Vec::new(),
        }
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Weekday {
    #[default]
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// File format of the tables.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Parquet, ZSTD, with units and meanings in the file metadata.
    #[default]
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Json,
}

/// The stages of the pipeline and what ends a deal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pipeline {
    /// Ids of the open stages, in order.
    pub stages: Vec<String>,
    /// Ids of the stages that mean won.
    pub won: Vec<String>,
    /// Ids of the stages that mean lost.
    pub lost: Vec<String>,
    /// Ids of stages whose events are attribute updates only.
    pub ignored: Vec<String>,
    /// Other names of a stage: alias = stage id.
    pub aliases: BTreeMap<String, String>,
    /// Only deals of these pipelines (values of the column `pipeline_id`); empty = all.
    pub only: Vec<String>,
    /// From when on a stage has which class, by its id, as a registry says where that changes.
    #[serde(skip)]
    #[schemars(skip)]
    pub dated: BTreeMap<String, Vec<(Instant, StageClass)>>,
    /// The chance of winning in each stage that a registry gives, in millionths.
    #[serde(skip)]
    #[schemars(skip)]
    pub probability: BTreeMap<String, i32>,
}

/// By what the numbers are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dimensions {
    /// Names of the dimensions; each is a column of the deal events unless `from` says otherwise.
    pub columns: Vec<String>,
    /// Sets of dimensions to report by; `[]` is the total. Default: the total and each dimension.
    pub slices: Option<Vec<Vec<String>>>,
    /// Dimensions that come from a look-up table: dimension = "table.column".
    pub from: BTreeMap<String, String>,
    /// Which value of a dimension a deal carries when it changes over time.
    pub at: DimensionAt,
    /// The same for single dimensions from look-up tables by owner or customer: dimension = time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub at_of: BTreeMap<String, DimensionAt>,
    /// Dimensions by which deals are alike enough for people to be compared by them: what is
    /// expected of an owner is what all achieve with deals of the same values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strata: Vec<String>,
    /// So many values of a dimension are named, the most frequent ones; all others together are
    /// "(other)". The acquisition channel has no such bound.
    pub values_max: usize,
}

impl Default for Dimensions {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            slices: None,
            from: BTreeMap::new(),
            at: DimensionAt::default(),
            at_of: BTreeMap::new(),
            strata: Vec::new(),
            values_max: 10_000,
        }
    }
}

/// Which value of a dimension a deal carries when it changes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DimensionAt {
    /// The value when the deal closed; for an open deal the latest.
    #[default]
    Close,
    /// The first value known.
    Created,
    /// The latest value.
    AsOf,
}

/// Currency of the amounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Money {
    /// The reporting currency, an ISO 4217 code; gives the number of minor digits. Amounts without
    /// a currency of their own are in it.
    pub currency: String,
    /// By the rate of which day amounts in other currencies are converted (G16).
    pub policy: MoneyPolicy,
    /// For policy = "constant": the day whose rates hold for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_date: Option<String>,
}

impl Default for Money {
    fn default() -> Self {
        Self { currency: "USD".into(), policy: MoneyPolicy::default(), constant_date: None }
    }
}

/// By the rate of which day amounts in other currencies are converted (G16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoneyPolicy {
    /// None is converted; a history in other currencies is refused.
    #[default]
    None,
    /// The day the deal was closed; while it is open, the day of `as_of`.
    AtClose,
    /// The day of the event that gives the amount.
    AtEvent,
    /// The day of `as_of`.
    AtAsOf,
    /// One day for all, `constant_date`.
    Constant,
}

/// Rules of the fold that have alternatives.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fold {
    /// Order of stage events of one deal at one instant without `seq` (G2).
    pub ties: Ties,
    /// What becomes of deleted deals (G17).
    pub deleted: Deleted,
    /// What becomes of the histories of deals that were merged into others (G17).
    pub merged: Merged,
    /// From when a sales cycle counts.
    pub cycle_start: CycleStart,
    /// Which close ends a sales cycle (G7).
    pub cycle_end: CycleEnd,
}

/// Order of stage events of one deal at one instant without `seq` (G2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// Ascending stage order, terminal stages last.
    #[default]
    Forward,
    /// As in the source: file, then row.
    SourceOrder,
    /// Deals with such ties are quarantined.
    Reject,
}

/// What becomes of deleted deals (G17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deleted {
    /// They are left out of every table but the ledger, and counted in `data_quality`.
    #[default]
    Exclude,
    /// A deletion counts as a loss.
    AsLost,
    /// They count until their deletion, and are censored there.
    KeepUntilDeleted,
}

/// What becomes of the histories of deals that were merged into others (G17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merged {
    /// They are left out of every table but the ledger, and counted in `data_quality`.
    #[default]
    Drop,
    /// They are folded with the history of the deal that goes on; needs `[inputs.merges]`.
    Union,
}

/// From when a sales cycle counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleStart {
    /// From the deal's creation.
    #[default]
    Created,
    /// From the first entry into any open stage of the pipeline.
    FirstStage,
}

/// Which close ends a sales cycle (G7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleEnd {
    /// The first time the deal was won or lost.
    #[default]
    FirstClose,
    /// The close that holds at `as_of`; a re-opened deal is open.
    Final,
}

/// How customers are acquired, for CAC.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acquisition {
    /// The dimension of the customer's first won deal that is matched with the channel of `spend`.
    /// Default: `source` where there is such a dimension.
    pub channel: Option<String>,
    /// Cost types of `spend` that count; empty = all.
    pub cost_types: Vec<String>,
}

/// Severity of the data-quality rules, and sample floors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// Severity per rule name (`dealmill tables data_quality` lists the rules).
    pub severity: BTreeMap<String, Severity>,
    /// Rates on fewer than this many deals are marked `low_n`.
    pub rate_floor: i64,
    /// Quantiles of fewer than this many values are marked `low_n`.
    pub quantile_floor: i64,
}

impl Default for Quality {
    fn default() -> Self {
        Self { severity: BTreeMap::new(), rate_floor: 10, quantile_floor: 5 }
    }
}

/// What happens when a data-quality rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Counted only.
    Ignore,
    /// Counted and named in the run's summary.
    Warn,
    /// Rows are kept out and written to the quarantine.
    Quarantine,
    /// The run fails with exit code 3 and publishes nothing.
    Fail,
}

/// One input: where it is and how its columns map to the canonical ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// Folder, file or glob; relative paths are relative to the configuration file.
    pub path: PathBuf,
    /// How the rows tell a deal's history.
    pub shape: Shape,
    /// Canonical name = your column (left out where they are equal).
    pub columns: BTreeMap<String, String>,
    /// Zone of timestamps without one, an IANA name.
    pub timezone: Option<String>,
    /// `strftime` format of textual dates and times; default ISO 8601.
    pub time_format: Option<String>,
    /// Types of the hive partition keys: "string", "int" or "date"; default "string".
    pub partitions: BTreeMap<String, PartitionType>,
    /// Replacement of values: canonical column -> { "as found" = "as wanted" }.
    pub values: BTreeMap<String, BTreeMap<String, String>>,
    /// For `stage_dates`: stage id = your column with the date the deal entered it.
    pub stage_dates: BTreeMap<String, String>,
    /// For `stage_dates`: how a row tells its outcome.
    pub outcome: Option<Outcome>,
    /// For `field_history`: the name of a field in the source = what it is: `created`, `stage_id`,
    /// `outcome`, `amount`, `owner_id`, `customer_id`, `expected_close`, `is_deleted`, `pipeline_id`,
    /// `probability`, or a dimension. Changes of other fields are counted and change nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// For `field_history`: what a field was before its first change, which is all that is logged.
    #[serde(skip_serializing_if = "Initial::is_default")]
    pub initial: Initial,
    /// In what `probability` is given.
    #[serde(skip_serializing_if = "ProbabilityUnit::is_default")]
    pub probability_unit: ProbabilityUnit,
    /// For `lookup`: the canonical column or dimension whose values the column `key` holds; of
    /// `customers` and `users` it is known.
    pub key: Option<String>,
    /// Follow symbolic links that lead out of the folder.
    pub follow_links: bool,
    /// Of CSV: what parts the fields, one ASCII character, "tab", or "auto" for whichever of comma,
    /// semicolon, tab and bar the header has most of; default a comma, in `*.tsv` a tab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Of CSV: what encloses fields that hold delimiters or line ends, one ASCII character; default
    /// a double quote, "" for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Of CSV: the encoding of files without a byte-order mark, such as "gb18030", "shift_jis",
    /// "utf-16le" or "windows-1252"; default UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Of CSV: values that stand for none in every column, such as "NULL" or "N/A"; empty fields
    /// always do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null_values: Vec<String>,
    /// Decimal mark of amounts that are text: "." or ",". The other one, blanks and apostrophes may
    /// part groups of three digits.
    #[serde(skip_serializing_if = "DecimalMark::is_default")]
    pub decimal: DecimalMark,
}

/// How the rows of an input tell a deal's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One row per change.
    #[default]
    Events,
    /// One row per deal, with one date column per stage reached and an outcome.
    StageDates,
    /// A table of spend: one row per date, channel and cost type.
    Spend,
    /// A look-up table: one row per key, other columns become dimensions.
    Lookup,
    /// Exchange rates: one row per day and currency, worth in the reporting currency.
    FxRates,
    /// One row per change of a field, with its new value and perhaps its old one.
    FieldHistory,
    /// Full rows: one per change of anything, compared with the one before.
    RowHistory,
    /// Full rows with the interval in which each holds.
    Intervals,
    /// Every deal in every one of periodic extracts.
    Snapshots,
    /// The current state of every deal, one row each.
    Deals,
    /// The registry of stages, one row each.
    Stages,
    /// One row per payment or refund.
    Payments,
    /// One row per deal and owner who has a share in it.
    DealSplits,
    /// One row per deal that was merged into another.
    Merges,
    /// One row per owner or team, period and what is to be reached.
    Targets,
    /// One row per answer to a survey.
    Surveys,
    /// One row per contact with a customer or a lead.
    Touches,
    /// One row per day: whether it is worked, its fiscal period.
    Calendar,
    /// One row per contract of a customer.
    Contracts,
}

impl Shape {
    /// Whether its rows are of deals: their histories, or their current state.
    #[must_use]
    pub fn tells_of_deals(self) -> bool {
        matches!(
            self,
            Self::Events
                | Self::StageDates
                | Self::FieldHistory
                | Self::RowHistory
                | Self::Intervals
                | Self::Snapshots
                | Self::Deals
        )
    }
}

/// What a field was before its first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// The old value of the first change, from the creation of the deal on, where that is known.
    #[default]
    OldValue,
    /// Not known.
    Unknown,
}

impl Initial {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// In what a probability is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbabilityUnit {
    /// In whichever makes sense of all values; an input of which both do is refused.
    #[default]
    Auto,
    /// As a share: 1 is certain.
    Share,
    /// In percent: 100 is certain.
    Percent,
}

impl ProbabilityUnit {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Type of a hive partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartitionType {
    /// Text, exactly as in the path after percent-decoding.
    #[default]
    String,
    /// A whole number.
    Int,
    /// A civil date `YYYY-MM-DD`.
    Date,
}

/// How a row of shape `stage_dates` tells its outcome.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Outcome {
    /// Your column with the outcome or the current stage.
    pub column: String,
    /// Your column with the date of the close.
    pub date: String,
    /// Values that mean won.
    pub won: Vec<String>,
    /// Values that mean lost.
    pub lost: Vec<String>,
}

/// A metric of your own: one SQL aggregation over one relation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CustomMetric {
    /// Name of the table, in snake_case.
    pub name: String,
    /// The relation it reads: visits, deals, orders, customers, customer_periods, spend,
    /// targets, surveys, touches or contracts.
    pub relation: String,
    /// `SELECT keys, COUNT(*) AS …, SUM(…) AS … FROM relation WHERE … GROUP BY keys`. A key named
    /// `period` is rolled up to each configured period; the dimensions of each slice are added.
    pub sql: String,
    /// What it answers, for `dealmill tables`.
    pub question: String,
}
