//! From the inputs to the relations: source, fold, relations, and what is known of the inputs.

use std::time::Instant as Stopwatch;

use super::memory::Memory;
use crate::config::{Config, Resolved};
use crate::contract::StageTable;
use crate::error::{Error, Fault};
use crate::fold;
use crate::metrics;
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::relations::assemble::{Parts, assemble};
use crate::relations::{Relation, Relations};
use crate::source::{CheckedInput, DealSource, Interners, Lookup, LookupSource, SpendSource};
use crate::time::{Calendar, Instant, NO_INSTANT};

/// The folded history of a run.
pub struct History {
    /// The relations, `findings` among them.
    pub relations: Relations,
    /// The run's instant.
    pub as_of: Instant,
    /// What became of the rows of the deal history.
    pub counts: Counts,
    /// Deals that are in the relations.
    pub deals: u64,
    /// Names of the stages that are not in the configuration.
    pub unknown_stages: Vec<String>,
    /// Every checked input, with the compressed bytes read from it.
    pub inputs: Vec<(CheckedInput, u64)>,
}

impl History {
    /// What the finishes may know.
    #[must_use]
    pub fn settings(&self, resolved: &Resolved) -> metrics::Settings {
        metrics::Settings {
            as_of: self.as_of,
            calendar: resolved.calendar,
            resolution: resolved.config.run.resolution,
            stages: resolved.config.pipeline.stages.clone(),
            rate_floor: resolved.config.quality.rate_floor,
            quantile_floor: resolved.config.quality.quantile_floor,
            money_scale: resolved.currency.scale,
            dictionaries: self.relations.dictionaries.clone(),
        }
    }

    /// Checks that no input file was changed while it was read.
    ///
    /// # Errors
    /// The files that were.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        let mut faults: Vec<Fault> = Vec::new();
        for (input, _) in &self.inputs {
            faults.extend(input.changed_files().into_iter().map(|file| Fault {
                file,
                place: String::new(),
                problem: "was changed while it was being read".into(),
                hint: "run again when the job that writes it has ended".into(),
            }));
        }
        if faults.is_empty() { Ok(()) } else { Err(Error::Faults(faults)) }
    }
}

/// Reads and folds everything.
///
/// # Errors
/// Inputs that break their contract; see [`Error`].
pub fn read_history(
    resolved: &Resolved,
    ledger: &Ledger,
    on_step: &(dyn Fn(&str) + Sync),
    timings: &mut Vec<(String, f64)>,
) -> Result<History, Error> {
    let config = resolved.with_joined_paths();
    let stages = StageTable::new(&config.pipeline);
    on_step("check the inputs");
    let mut watch = Watch::new(timings);
    let event_dimensions = event_dimensions(&config);
    let (source, lookups, spend) = open_inputs(&config, resolved, &stages, &event_dimensions)?;
    let _memory = Memory::of(resolved, &source)?;
    watch.lap("check the inputs");
    on_step("read");
    let lookups = lookups.read(ledger)?;
    let names = Interners::new(&event_dimensions);
    let bits = fold::bucket_bits(source.rows());
    let (parts, read) = source.read(
        &names,
        &stages,
        ledger,
        &resolved.currency,
        resolved.as_of,
        &config.pipeline.only,
        |unit, batch| fold::scatter(unit, batch, bits),
    )?;
    let as_of = settle_as_of(resolved.as_of, read.latest, &source)?;
    let spend = spend.read(resolved.calendar, &resolved.currency, as_of, ledger)?;
    watch.lap("read");
    on_step("fold");
    stages.keep_used();
    let (stage_names, stage_codes) = stages.finish();
    let (owners, owner_ranks) = names.owner.freeze().ranked();
    let (event_names, dimension_ranks) =
        names.dimensions.iter().map(|d| d.freeze().ranked()).unzip::<_, _, Vec<_>, Vec<_>>();
    let periods = resolved.every_period();
    let base = Calendar::base(&periods);
    let settings = fold::Settings {
        stages: &stages,
        stage_codes: &stage_codes,
        owner_ranks: &owner_ranks,
        dimension_ranks: &dimension_ranks,
        rules: fold::rules(&config),
        ties: config.fold.ties,
        calendar: resolved.calendar,
        resolution: config.run.resolution,
        base,
        as_of,
    };
    let folded = fold::fold(&parts, bits, &settings);
    drop(parts);
    record_fold(&source, ledger, &folded.tally, &stages);
    watch.lap("fold");
    on_step("relations");
    let deals = folded.deals.deal.len() as u64;
    let mut relations = assemble(Parts {
        folded,
        stages: stage_names,
        open_stages: stages.open_n,
        dimensions: &config.dimensions.columns,
        event_dimensions: &event_dimensions,
        event_names,
        owners,
        names: &names,
        lookups: &lookups,
        spend: spend.as_ref(),
        dimension_at: config.dimensions.at,
        channel: channel(&config).as_deref(),
        cost_types: &config.acquisition.cost_types,
        calendar: resolved.calendar,
        base,
        periods: &periods,
        as_of,
        ledger,
    })?;
    let findings = crate::relations::findings::frame(ledger, &mut relations.dictionaries)?;
    relations.frames.insert(Relation::Findings, findings);
    watch.lap("relations");
    let counts = deal_counts(&source, ledger);
    let inputs = all_inputs(source, lookups, spend.map(|s| s.inputs));
    Ok(History { relations, as_of, counts, deals, unknown_stages: stages.unknown(), inputs })
}

fn open_inputs(
    config: &Config,
    resolved: &Resolved,
    stages: &StageTable,
    event_dimensions: &[String],
) -> Result<(DealSource, LookupSource, SpendSource), Error> {
    together(
        DealSource::open(config, resolved.calendar, stages, event_dimensions),
        LookupSource::open(config, resolved.calendar),
        SpendSource::open(config, resolved.calendar),
    )
}

/// All three, or the faults of all of them in one error.
fn together<A, B, C>(
    a: Result<A, Error>,
    b: Result<B, Error>,
    c: Result<C, Error>,
) -> Result<(A, B, C), Error> {
    let mut all = Vec::new();
    let mut keep = |error: Error| match error {
        Error::Faults(faults) => {
            all.extend(faults);
            Ok(())
        }
        other => Err(other),
    };
    match (a, b, c) {
        (Ok(a), Ok(b), Ok(c)) => Ok((a, b, c)),
        (a, b, c) => {
            a.map_or_else(&mut keep, |_| Ok(()))?;
            b.map_or_else(&mut keep, |_| Ok(()))?;
            c.map_or_else(&mut keep, |_| Ok(()))?;
            Err(Error::Faults(all))
        }
    }
}

/// The dimensions that are columns of the events, and the keys of look-ups that are.
pub(super) fn event_dimensions(config: &Config) -> Vec<String> {
    let looked_up = |d: &&String| config.dimensions.from.contains_key(*d);
    let mut dimensions: Vec<String> =
        config.dimensions.columns.iter().filter(|d| !looked_up(d)).cloned().collect();
    for input in config.inputs.values() {
        if input.shape == crate::config::Shape::Lookup
            && let Some(key) = &input.key
            && key != "customer_id"
            && key != "owner_id"
            && !dimensions.contains(key)
        {
            dimensions.push(key.clone());
        }
    }
    dimensions
}

/// The dimension that is the acquisition channel: as configured, or `source` where there is one.
fn channel(config: &Config) -> Option<String> {
    let source = config.dimensions.columns.iter().find(|d| *d == "source");
    config.acquisition.channel.clone().or_else(|| source.cloned())
}

fn settle_as_of(
    asked: Option<Instant>,
    latest: Instant,
    source: &DealSource,
) -> Result<Instant, Error> {
    if let Some(as_of) = asked {
        return Ok(as_of);
    }
    if latest != NO_INSTANT {
        return Ok(latest);
    }
    let (name, path) = source
        .inputs()
        .next()
        .map(|i| (i.name.clone(), i.root().to_path_buf()))
        .unwrap_or_default();
    Err(Error::InputMissing {
        input: name,
        path,
        problem: "no event with a usable time".into(),
        hint: "check which column is mapped to event_time, and [pipeline] only".into(),
    })
}

/// Brings what the fold counted into the ledger, under the first input of the deal history.
fn record_fold(source: &DealSource, ledger: &Ledger, tally: &fold::Tally, stages: &StageTable) {
    let Some(first) = source.inputs().next().map(|i| i.name.clone()) else { return };
    let mut counts = Counts::of_deals(tally.deals);
    for (rule, n) in [
        (Rule::DuplicateEvents, tally.duplicate_events),
        (Rule::TiedEvents, tally.tied_events),
        (Rule::NoOpChanges, tally.no_op_changes),
        (Rule::BeforeCreation, tally.before_creation),
        (Rule::AfterDeletion, tally.after_deletion),
        (Rule::UnknownStageEvents, tally.unknown_stage_events),
        (Rule::UnknownStages, stages.unknown().len() as u64),
        (Rule::NoCustomer, tally.no_customer),
        (Rule::NoStage, tally.no_stage),
        (Rule::NullAmountWon, tally.null_amount_won),
        (Rule::ZeroAmountWon, tally.zero_amount_won),
        (Rule::NegativeAmountWon, tally.negative_amount_won),
        (Rule::NegativeCycle, tally.negative_cycle),
        (Rule::DeletedDeals, tally.deleted_deals),
        (Rule::TiedDeals, tally.tied_deals),
    ] {
        counts.add(rule, n);
    }
    ledger.record(&first, &counts);
    // Rows of deals kept out were counted as folded when they were read.
    let mut rejected = source.locate(&tally.rejected);
    // A row that stands for several events is one row.
    rejected.sort();
    rejected.dedup();
    for (input, file, row) in rejected {
        ledger.reject(&input, QuarantinedRow::of_fold(file, row, Rule::TiedDeals));
    }
}

fn deal_counts(source: &DealSource, ledger: &Ledger) -> Counts {
    let all = ledger.counts();
    let mut counts = Counts::default();
    for input in source.inputs() {
        if let Some(own) = all.get(&input.name) {
            counts.merge(own);
        }
    }
    counts
}

fn all_inputs(
    source: DealSource,
    lookups: Vec<Lookup>,
    spend: Option<Vec<CheckedInput>>,
) -> Vec<(CheckedInput, u64)> {
    let mut inputs: Vec<CheckedInput> = source.into_inputs();
    inputs.extend(lookups.into_iter().map(|l| l.checked));
    inputs.extend(spend.unwrap_or_default());
    inputs
        .into_iter()
        .map(|input| {
            let bytes = input.bytes_read();
            (input, bytes)
        })
        .collect()
}

/// Laps of a stopwatch.
struct Watch<'a> {
    since: Stopwatch,
    timings: &'a mut Vec<(String, f64)>,
}

impl<'a> Watch<'a> {
    fn new(timings: &'a mut Vec<(String, f64)>) -> Self {
        Self { since: Stopwatch::now(), timings }
    }

    fn lap(&mut self, step: &str) {
        self.timings.push((step.to_owned(), self.since.elapsed().as_secs_f64()));
        self.since = Stopwatch::now();
    }
}
