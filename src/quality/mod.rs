//! The rules an event, a deal or a look-up must keep, how often each was broken, and the rows that
//! were kept out.
//!
//! Invariant: for every input, rows in = folded + quarantined + after as_of.

mod applies;
mod examples;
mod profile;
mod quarantined;
mod subject;

pub use examples::Examples;
pub use profile::{Profile, ThinDay};
pub use quarantined::QuarantinedRow;
pub use subject::Subject;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::{Severity, Shape};
use crate::error::Error;

macro_rules! rules {
    ($($variant:ident $name:literal $subject:ident $severity:ident $meaning:literal)*) => {
        /// A rule of data quality.
        // The meanings name sections of the configuration in brackets, which are no links.
        #[allow(rustdoc::broken_intra_doc_links)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $meaning] $variant,)*
        }

        impl Rule {
            /// Every rule.
            pub const EVERY: &[Self] = &[$(Self::$variant,)*];

            /// Its name in tables and in the configuration.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts.
            #[must_use]
            pub fn subject(self) -> Subject {
                match self { $(Self::$variant => Subject::$subject,)* }
            }

            /// What happens when it is broken, unless the configuration says otherwise.
            #[must_use]
            pub fn default_severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

rules! {
    RaggedRows "ragged_rows" Rows Quarantine "A line of CSV with more or fewer fields than the header; none is taken for its neighbour."
    BadQuotes "bad_quotes" Rows Quarantine "A line of CSV with text after a closing quote, so that where its fields end is a guess."
    UndecodableText "undecodable_text" Rows Quarantine "A line of CSV with bytes that are no text in the encoding of the input."
    NullDealId "null_deal_id" Rows Quarantine "The row has no deal."
    NullEventTime "null_event_time" Rows Quarantine "The row has no time."
    BadEventTime "bad_event_time" Rows Quarantine "The time cannot be read."
    SentinelEventTime "sentinel_event_time" Rows Quarantine "The time is a stand-in for none: epoch 0, or outside 1900 to 2200 (G22)."
    UnknownEventType "unknown_event_type" Rows Quarantine "The event type is not one of the contract's."
    MissingStage "missing_stage" Rows Quarantine "A stage event without a stage."
    Undated "undated" Rows Quarantine "A row of stage dates without any date."
    UnknownOutcome "unknown_outcome" Rows Warn "An outcome that is not one of the contract's, or neither won nor lost in [inputs.….outcome]; the deal stays as it was."
    OutcomeWithoutDate "outcome_without_date" Rows Quarantine "A won or lost deal of stage dates without a close date."
    BadInterval "bad_interval" Rows Quarantine "The interval ends before it begins or cannot be read, or is neither active nor ended."
    UnmappedFields "unmapped_fields" Rows Ignore "A change of a field that is not in [inputs.….fields]; it changes nothing."
    BadAmount "bad_amount" Rows Warn "The amount cannot be read or is not finite; taken as unknown."
    BadFlag "bad_flag" Rows Warn "A flag, such as is_won, is neither yes nor no; taken as unknown."
    InexactAmount "inexact_amount" Rows Ignore "The amount was not within a millionth of a minor unit and was rounded half to even."
    BadProbability "bad_probability" Rows Warn "The probability cannot be read or is not between 0 and certain (G21); taken as unknown."
    DuplicateEvents "duplicate_events" Rows Ignore "The same event again (G3); counted once."
    TiedEvents "tied_events" Rows Ignore "Stage events of one deal at one instant without seq (G2); ordered as configured."
    NoOpChanges "no_op_changes" Rows Ignore "The new stage is the current one (G4); taken as an attribute update."
    BeforeCreation "before_creation" Rows Warn "The event is before the deal's creation (G11); kept."
    AfterDeletion "after_deletion" Rows Warn "The event is after the deal's deletion and does not restore it; its attributes count, its stage does not. After a merge neither does."
    UnknownStageEvents "unknown_stage_events" Rows Warn "The stage is not in the deal's pipeline (G6); the visit is kept, outside the order, and re-opens a deal that was closed. List such stages as ignored, or give them as aliases."
    ReopenedByUnknownStage "reopened_by_unknown_stage" Deals Warn "The deal was won or lost and then moved to a stage that its pipeline does not have, which re-opens it (G6, G8). A stage after the close is to be listed as won, lost or ignored."
    UnknownStages "unknown_stages" Values Warn "Stages that are not in the pipeline (G6)."
    UnknownPipeline "unknown_pipeline" Deals Warn "The deal is in a pipeline that is not in [pipelines], or in none; its stages are unknown."
    OtherValues "other_values" Values Warn "Values of dimensions beyond [dimensions] values_max, reported together as (other)."
    NoCustomer "no_customer" Deals Ignore "The deal has no customer; it counts in no customer table."
    NoStage "no_stage" Deals Warn "The deal was never in any stage."
    NullAmountWon "null_amount_won" Deals Ignore "A won deal without an amount (G15)."
    ZeroAmountWon "zero_amount_won" Deals Ignore "A won deal with amount zero; it counts as a win (G15)."
    NegativeAmountWon "negative_amount_won" Deals Ignore "A won deal with a negative amount; reported as refund (G15)."
    NegativeCycle "negative_cycle" Deals Warn "The close is before the cycle's start, or there is no start (G12); excluded from durations."
    DeletedDeals "deleted_deals" Deals Ignore "The deal is deleted at as_of (G17)."
    MergedDeals "merged_deals" Deals Ignore "The deal was merged into another (G17); its amounts and counts are left out, or with [fold] merged = \"union\" its history is the other deal's."
    OrphanMerges "orphan_merges" Deals Warn "The deal was merged into another by [inputs.merges], but no history has it."
    UnknownWinners "unknown_winners" Deals Warn "The deal was merged into one that no history has; unless [fold] merged = \"union\" it is lost."
    BadMerge "bad_merge" Rows Quarantine "A row of merges without a loser or a winner, of a deal into itself, or with a time that cannot be read."
    RepeatedMerges "repeated_merges" Rows Warn "The deal was merged into several others; the latest merge counts."
    TiedDeals "tied_deals" Deals Quarantine "Deals with tied stage events, kept out by ties = \"reject\" (G2)."
    OverlappingIntervals "overlapping_intervals" Rows Warn "The interval begins before another one of its deal has ended; the one that begins later holds."
    VanishedDeals "vanished_deals" Deals Warn "The deal is missing in a later snapshot; taken as deleted from then on, until it is seen again."
    ClosedWhenFirstSeen "closed_when_first_seen" Deals Warn "The deal was won or lost already when a snapshot first showed it; its close is dated then and may be long before."
    HistoryDisagrees "history_disagrees" Deals Warn "The last stage or outcome of the history is not that of [inputs.deals]; the history counts."
    UnloggedOutcomes "unlogged_outcomes" Deals Warn "The deal is won, lost or deleted by [inputs.deals] only; that is added to its history."
    UndatedOutcomes "undated_outcomes" Deals Warn "The deal is won or lost by [inputs.deals] only, which does not say when; with a history it stays as that says, without one it counts nowhere. Map the date to closed_at."
    UndatedDeals "undated_deals" Deals Warn "Nothing says when anything happened to the deal; it counts nowhere."
    EarlyCloses "early_closes" Deals Ignore "The close that [inputs.deals] gives is less than a day before the last move or the creation of the deal; taken to be at that."
    UnloggedDeals "unlogged_deals" Deals Ignore "The deal is in [inputs.deals] only; it has no history."
    RepeatedDeals "repeated_deals" Rows Warn "The deal is in [inputs.deals] more than once; the row with the latest close counts, or else the latest creation, or else one that does not depend on the order."
    Orphans "orphans" Deals Warn "The deal's key is not in the look-up table; its dimensions are unknown."
    NullKeys "null_keys" Deals Ignore "The deal has no key for the look-up table."
    DuplicateKeys "duplicate_keys" Rows Warn "The table has the key more than once at one time; of look-up rows the one whose values come first in order counts, of stages the first row."
    BadValidity "bad_validity" Rows Warn "A row of a look-up table with a validity that cannot be read or does not end after its beginning; it is never found."
    OverlappingValidity "overlapping_validity" Rows Warn "Two rows of a look-up table hold for one key at one time; the one that begins later counts from its beginning."
    RowsWithoutKey "rows_without_key" Rows Warn "A row of the look-up table has no key and is never found."
    OrphanChannels "orphan_channels" Rows Warn "Spend on a channel that no deal has; it has no customers, and they may stand under another name."
    BadRate "bad_rate" Rows Quarantine "A row of exchange rates without a day, a currency, or a rate above 0 and below a million."
    DuplicateRates "duplicate_rates" Rows Warn "A currency has two different rates on one day; the lowest counts."
    CurrenciesWithoutRate "currencies_without_rate" Values Warn "Currencies of amounts that have no exchange rate at all (G16)."
    UnpricedDeals "unpriced_deals" Deals Warn "The deal's amount has no exchange rate on its day; the deal counts, its amount is unknown (G16)."
    UnpricedSpend "unpriced_spend" Rows Warn "Spend in a currency without an exchange rate on its day; its amount is unknown (G16)."
    NullSpend "null_spend" Rows Warn "A row of spend without an amount."
    NullPayment "null_payment" Rows Warn "A payment without an amount; it adds nothing."
    UnknownPaymentKind "unknown_payment_kind" Rows Quarantine "The kind is neither payment nor refund."
    DuplicatePayments "duplicate_payments" Rows Warn "The same payment_id again; the last row counts."
    UnpricedPayments "unpriced_payments" Rows Warn "A payment in a currency without an exchange rate on its day; its amount is unknown (G16)."
    OrphanPayments "orphan_payments" Rows Warn "The payment's deal is not in the history or is left out; it counts without the deal's dimensions."
    BadSplits "bad_splits" Deals Warn "The shares of a deal do not add up to 1, or one has no owner or is below 0; the deal's owner has the whole credit."
    OrphanSplits "orphan_splits" Deals Warn "The shared deal is not in the history or is left out; nobody is credited with it."
    BadTarget "bad_target" Rows Quarantine "A target that is missing or cannot be read, or whose period has no day."
    NonpositiveTargets "nonpositive_targets" Rows Warn "A target of zero or less; kept, but nothing can be a share of it: its attainment is unknown."
    OrphanTargets "orphan_targets" Rows Warn "A target of an owner that neither a deal nor the users have, or of a team that the users do not have."
    UnknownKind "unknown_kind" Rows Quarantine "A survey that is none of nps, csat and ces."
    BadScore "bad_score" Rows Quarantine "A score that cannot be read or is not on its scale; a missing one is a question without an answer."
    DuplicateResponses "duplicate_responses" Rows Warn "The same response_id again; the latest row counts."
    BadContract "bad_contract" Rows Quarantine "A contract without a customer, a first day or a monthly amount of zero or more, or one that ends before it begins."
    UnattributedRows "unattributed_rows" Rows Warn "A survey without customer and deal, or a touch without customer and lead; it counts in totals only."
    OrphanRows "orphan_rows" Rows Warn "A row of surveys, touches or contracts whose customer or deal is in no history; its customer may be spelt otherwise there."
    UnpricedRows "unpriced_rows" Rows Warn "A target or contract in a currency without an exchange rate on its first day; its amount is unknown (G16)."
    BadDay "bad_day" Rows Quarantine "A row of the calendar without a day."
    DuplicateDays "duplicate_days" Rows Warn "The calendar has the day more than once; the first row counts."
}

impl Rule {
    /// Whether it is judged event by event, of which a row of stage dates stands for several.
    fn is_of_events(self) -> bool {
        matches!(
            self,
            Self::DuplicateEvents
                | Self::TiedEvents
                | Self::NoOpChanges
                | Self::BeforeCreation
                | Self::AfterDeletion
                | Self::UnknownStageEvents
                | Self::BadProbability
        )
    }

    /// What it means where it has a severity: rows that are kept by default may be kept out.
    #[must_use]
    pub fn meaning_as(self, severity: Severity) -> &'static str {
        if severity != Severity::Quarantine || self.default_severity() == Severity::Quarantine {
            return self.meaning();
        }
        match self {
            Self::BadAmount => "The amount cannot be read or is not finite; the row is kept out.",
            Self::BadFlag => "A flag is neither yes nor no; the row is kept out.",
            Self::InexactAmount => {
                "The amount is not within a millionth of a minor unit; the row is kept out."
            }
            Self::UnknownStageEvents => "The stage is not in [pipeline] (G6); the row is kept out.",
            Self::NullSpend => "A row of spend without an amount; it is kept out.",
            _ => self.meaning(),
        }
    }

    /// Whether a severity can be kept for this rule.
    ///
    /// Definition: a row that cannot be folded is kept out whatever one wishes, so only `quarantine`
    /// and `fail` are true of it; whether most others break their rule is known only after the
    /// fold, so `quarantine` would not be true of them.
    #[must_use]
    pub fn allows(self, severity: Severity) -> bool {
        match self {
            Self::RaggedRows
            | Self::BadQuotes
            | Self::UndecodableText
            | Self::NullDealId
            | Self::NullEventTime
            | Self::BadEventTime
            | Self::SentinelEventTime
            | Self::UnknownEventType
            | Self::MissingStage
            | Self::Undated
            | Self::OutcomeWithoutDate
            | Self::BadRate
            | Self::UnknownPaymentKind
            | Self::BadMerge
            | Self::BadTarget
            | Self::UnknownKind
            | Self::BadScore
            | Self::BadContract
            | Self::BadDay
            | Self::BadInterval
            | Self::TiedDeals => matches!(severity, Severity::Quarantine | Severity::Fail),
            Self::BadAmount
            | Self::BadFlag
            | Self::InexactAmount
            | Self::UnknownStageEvents
            | Self::NullSpend => true,
            _ => severity != Severity::Quarantine,
        }
    }
}

/// How often each rule was broken in one input, and what became of its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows read.
    pub rows_in: u64,
    /// Rows that went into the relations.
    pub folded: u64,
    /// Rows kept out.
    pub quarantined: u64,
    /// Rows later than `as_of`.
    pub after_as_of: u64,
    /// Deals, or look-ups, checked.
    pub deals: u64,
    /// Events that rows stand for: one a row, or one a date of a row of stage dates.
    pub events: u64,
    /// Rows of all inputs that were compared with one another, and the events that came of it; 0
    /// where none had to be.
    pub compared_rows: u64,
    /// See [`Self::compared_rows`].
    pub compared_events: u64,
    affected: BTreeMap<Rule, u64>,
}

impl Counts {
    /// Counts of deals only.
    #[must_use]
    pub fn of_deals(deals: u64) -> Self {
        Self { deals, ..Self::default() }
    }

    /// Counts `n` more breaches of a rule.
    pub fn add(&mut self, rule: Rule, n: u64) {
        if n > 0 {
            *self.affected.entry(rule).or_insert(0) += n;
        }
    }

    /// How often a rule was broken.
    #[must_use]
    pub fn of(&self, rule: Rule) -> u64 {
        self.affected.get(&rule).copied().unwrap_or(0)
    }

    /// To how many rows or events a rule about rows was applied.
    fn rows_checked(&self, rule: Rule) -> u64 {
        let is_of_rows =
            matches!(rule, Rule::DuplicateEvents | Rule::TiedEvents | Rule::OverlappingIntervals);
        match (self.compared_rows, rule.is_of_events()) {
            (0, true) => self.rows_in.max(self.events),
            (0, false) => self.rows_in,
            (rows, _) if is_of_rows => rows + self.quarantined,
            (_, true) => self.compared_events + self.quarantined,
            (_, false) => self.rows_in,
        }
    }

    /// Adds the counts of another part of the same input.
    pub fn merge(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.folded += other.folded;
        self.quarantined += other.quarantined;
        self.after_as_of += other.after_as_of;
        self.deals += other.deals;
        self.events += other.events;
        self.compared_rows += other.compared_rows;
        self.compared_events += other.compared_events;
        for (rule, n) in &other.affected {
            self.add(*rule, *n);
        }
    }
}

/// One line of the quality report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: String,
    /// The rule.
    pub rule: Rule,
    /// What happens.
    pub severity: Severity,
    /// How many rows, deals or values break it.
    pub affected: u64,
    /// How many it was applied to.
    pub checked: u64,
}

/// Values by the rule and the input that they break it in, with how often each occurs; 0 where that
/// is not known.
pub type Mentions = BTreeMap<(Rule, String), BTreeMap<String, u64>>;

/// So many values of a rule and an input are kept.
const MENTIONED_MAX: usize = 1_000;

/// Collects counts and quarantined rows from all threads.
#[derive(Debug, Default)]
pub struct Ledger {
    severity: BTreeMap<String, Severity>,
    inputs: Mutex<BTreeMap<String, Counts>>,
    quarantine: Mutex<BTreeMap<String, Vec<QuarantinedRow>>>,
    /// What the inputs look like, where that is asked for.
    profiles: Option<Mutex<BTreeMap<String, Profile>>>,
    /// Rows that were kept although they break a rule, where that is asked for.
    examples: Mutex<BTreeMap<String, Examples>>,
    /// Values of an input that break a rule, with how often each occurs where that is known.
    mentions: Mutex<Mentions>,
    /// What shape each input has.
    shapes: Mutex<BTreeMap<String, Shape>>,
    /// Of the rows in it.
    quarantine_bytes: AtomicU64,
}

impl Ledger {
    /// An empty ledger with the configured severities.
    #[must_use]
    pub fn new(severity: &BTreeMap<String, Severity>) -> Self {
        Self { severity: severity.clone(), ..Self::default() }
    }

    /// The same, but it also keeps what the inputs look like.
    #[must_use]
    pub fn profiling(self) -> Self {
        Self { profiles: Some(Mutex::default()), ..self }
    }

    /// Whether what the inputs look like is asked for.
    #[must_use]
    pub fn is_profiling(&self) -> bool {
        self.profiles.is_some()
    }

    /// Adds what a part of an input looks like.
    pub fn note(&self, input: &str, profile: &Profile) {
        if let Some(profiles) = &self.profiles {
            let mut all = profiles.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(input.to_owned()).or_default().merge(profile);
        }
    }

    /// What each input looks like; nothing where that was not asked for.
    #[must_use]
    pub fn profiles(&self) -> BTreeMap<String, Profile> {
        let all = self.profiles.as_ref();
        all.map_or_else(BTreeMap::new, |all| {
            all.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    /// Says of what shape an input is, so that only rules that it can break are listed.
    pub fn declare(&self, input: &str, shape: Shape) {
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(input.to_owned(), shape);
    }

    /// Keeps examples of rows that break a rule and were kept all the same.
    pub fn exemplify(&self, input: &str, examples: Examples) {
        if !examples.is_empty() {
            let mut all = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(input.to_owned()).or_default().merge(examples);
        }
    }

    /// Names a value of an input that breaks a rule, and how often it occurs; 0 where that is not
    /// known. Of very many the first ones in order are kept, whatever the threads.
    pub fn mention(&self, rule: Rule, input: &str, value: &str, n: u64) {
        let mut all = self.mentions.lock().unwrap_or_else(PoisonError::into_inner);
        let values = all.entry((rule, input.to_owned())).or_default();
        let is_full = values.len() >= MENTIONED_MAX;
        if is_full && values.last_key_value().is_some_and(|(last, _)| value > last.as_str()) {
            return;
        }
        *values.entry(value.to_owned()).or_insert(0) += n;
        if values.len() > MENTIONED_MAX {
            values.pop_last();
        }
    }

    /// The values of each input that break a rule, with how often each occurs.
    #[must_use]
    pub fn mentions(&self) -> Mentions {
        self.mentions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Examples of rows that break a rule, by input: of rows that were kept, and of rows that were
    /// not.
    #[must_use]
    pub fn examples(&self) -> BTreeMap<String, Examples> {
        let mut all = self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (input, rows) in self.quarantined() {
            let own = all.entry(input).or_default();
            for row in rows {
                if let Some(rule) = Rule::EVERY.iter().find(|rule| rule.name() == row.rule) {
                    own.add(*rule, row);
                }
            }
        }
        all
    }

    /// Forgets everything, for reading again.
    pub fn clear(&self) {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.mentions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(profiles) = &self.profiles {
            profiles.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.quarantine_bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes that the quarantined rows take, about.
    #[must_use]
    pub fn quarantine_bytes(&self) -> u64 {
        self.quarantine_bytes.load(Ordering::Relaxed)
    }

    /// What happens when a rule is broken in this run.
    #[must_use]
    pub fn severity(&self, rule: Rule) -> Severity {
        self.severity.get(rule.name()).copied().unwrap_or_else(|| rule.default_severity())
    }

    /// Adds the counts of a part of an input.
    pub fn record(&self, input: &str, counts: &Counts) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.entry(input.to_owned()).or_default().merge(counts);
    }

    /// Keeps rows out of an input. They are counted by [`Ledger::record`].
    pub fn quarantine(&self, input: &str, rows: Vec<QuarantinedRow>) {
        if !rows.is_empty() {
            let bytes = rows.iter().map(QuarantinedRow::bytes).sum();
            self.quarantine_bytes.fetch_add(bytes, Ordering::Relaxed);
            let mut all = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(input.to_owned()).or_default().extend(rows);
        }
    }

    /// Keeps a row out that was counted as folded when it was read.
    pub fn reject(&self, input: &str, row: QuarantinedRow) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = inputs.entry(input.to_owned()).or_default();
        counts.folded = counts.folded.saturating_sub(1);
        counts.quarantined += 1;
        drop(inputs);
        self.quarantine(input, vec![row]);
    }

    /// The counts by input.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The quarantined rows by input, in order of file and row.
    #[must_use]
    pub fn quarantined(&self) -> BTreeMap<String, Vec<QuarantinedRow>> {
        let mut all = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for rows in all.values_mut() {
            rows.sort();
        }
        all
    }

    /// Every rule that applies to each input, broken or not.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (input, counts) in self.counts() {
            let shape = shapes.get(&input).copied();
            for rule in Rule::EVERY {
                let affected = counts.of(*rule);
                if affected == 0 && shape.is_some_and(|shape| !rule.is_listed_for(shape)) {
                    continue;
                }
                let checked = match rule.subject() {
                    // A row may be left out with its deal before any event of it was applied, and may
                    // break a rule in several columns or by several events.
                    Subject::Rows => counts.rows_checked(*rule).max(affected),
                    Subject::Deals => counts.deals.max(affected),
                    Subject::Values => affected,
                };
                if affected > 0 || checked > 0 {
                    let severity = self.severity(*rule);
                    findings.push(Finding {
                        input: input.clone(),
                        rule: *rule,
                        severity,
                        affected,
                        checked,
                    });
                }
            }
        }
        findings
    }

    /// Checks that no row was lost and that no rule of severity `fail` was broken.
    ///
    /// # Errors
    /// [`Error::Bug`] if rows do not add up, [`Error::QualityFailed`] for broken rules.
    pub fn judge(&self) -> Result<(), Error> {
        for (input, c) in self.counts() {
            if c.rows_in != c.folded + c.quarantined + c.after_as_of {
                return Err(Error::Bug(format!(
                    "rows of input {input:?} are lost: {} in, {} folded, {} quarantined, {} after as_of",
                    c.rows_in, c.folded, c.quarantined, c.after_as_of
                )));
            }
        }
        let failed: Vec<String> = self
            .findings()
            .into_iter()
            .filter(|f| f.severity == Severity::Fail && f.affected > 0)
            .map(|f| format!("{} ({} in {})", f.rule.name(), f.affected, f.input))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(Error::QualityFailed(failed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_severity_is_allowed_and_none_is_always_refused() {
        for rule in Rule::EVERY {
            assert!(rule.allows(rule.default_severity()), "{}", rule.name());
            assert!(rule.allows(Severity::Fail), "{}", rule.name());
        }
    }

    #[track_caller]
    fn check(rows_in: u64, folded: u64, quarantined: u64, after_as_of: u64, exit_code: Option<u8>) {
        let ledger = Ledger::default();
        let counts = Counts { rows_in, folded, quarantined, after_as_of, ..Counts::default() };
        ledger.record("deal_events", &counts);
        assert_eq!(ledger.judge().err().map(|e| e.exit_code()), exit_code);
    }

    #[test]
    fn rows_in_quarantine_are_counted_with_their_texts_until_they_are_forgotten() {
        let ledger = Ledger::default();
        let mut row = QuarantinedRow::of_fold("a/file".into(), 1, Rule::TiedDeals);
        ledger.quarantine("deal_events", vec![row.clone()]);
        let plain = ledger.quarantine_bytes();
        assert_eq!(plain, size_of::<QuarantinedRow>() as u64 + 6);
        row.amount = Some("12.50".into());
        ledger.quarantine("deal_events", vec![row]);
        assert_eq!(ledger.quarantine_bytes(), 2 * plain + 5);
        ledger.clear();
        assert_eq!(ledger.quarantine_bytes(), 0);
    }

    #[test]
    fn of_very_many_values_the_first_in_order_are_kept_with_all_their_counts() {
        let ledger = Ledger::default();
        for n in (0..3_000).rev().chain(0..3_000) {
            ledger.mention(Rule::Orphans, "users", &format!("{n:04}"), 1);
        }
        let mentions = ledger.mentions();
        let values = mentions.get(&(Rule::Orphans, "users".to_owned())).unwrap();
        assert_eq!(values.len(), MENTIONED_MAX);
        assert_eq!(values.first_key_value(), Some((&"0000".to_owned(), &2)));
        assert_eq!(values.last_key_value(), Some((&"0999".to_owned(), &2)));
    }

    #[test]
    fn a_lost_or_doubled_row_is_a_bug() {
        check(10, 6, 3, 1, None);
        check(10, 6, 2, 1, Some(70));
        check(10, 7, 3, 1, Some(70));
    }

    #[test]
    fn counts_of_parts_add_up_and_rows_can_be_taken_back() {
        let ledger = Ledger::default();
        let mut part = Counts { rows_in: 2, folded: 2, ..Counts::default() };
        part.add(Rule::BadAmount, 1);
        ledger.record("a", &part);
        ledger.record("a", &part);
        ledger.reject("a", QuarantinedRow::of_fold("f".into(), 7, Rule::TiedDeals));
        let counts = ledger.counts();
        let a = counts.get("a").unwrap();
        assert_eq!((a.rows_in, a.folded, a.quarantined, a.of(Rule::BadAmount)), (4, 3, 1, 2));
        assert!(ledger.judge().is_ok());
    }

    #[test]
    fn a_broken_rule_of_severity_fail_is_named_with_its_count() {
        let severity = BTreeMap::from([("bad_amount".to_owned(), Severity::Fail)]);
        let ledger = Ledger::new(&severity);
        let mut counts = Counts { rows_in: 3, folded: 3, ..Counts::default() };
        ledger.record("deal_events", &counts);
        assert!(ledger.judge().is_ok());
        counts.add(Rule::BadAmount, 2);
        ledger.record("deal_events", &counts);
        let error = ledger.judge().unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("bad_amount (2 in deal_events)"), "{error}");
    }
}
