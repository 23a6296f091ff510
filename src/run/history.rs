//! From the inputs to the relations: source, fold, relations, and what is known of the inputs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant as Stopwatch;

use super::assembly::{self, AssemblyOf};
use super::focus::Focus;
use super::folding::Folded;
use super::memory::Memory;
use super::tables::Spans;
use super::{inputs, needs, pricing, rules};
use crate::config::{Config, Resolved};
use crate::contract::StageTable;
use crate::engine::Sums;
use crate::error::{Error, Fault};
use crate::fold::{self, Scattered, Telling};
use crate::metrics;
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::relations::assemble::Assembler;
use crate::relations::{Batch, Dictionaries, Relation, Relations, Wanted, findings};
use crate::source::{
    Attribute, CheckedInput, DealSource, Interner, Interners, MergeSource, Merges, Spend, Width,
};
use crate::spill::{Complete, Room};
use crate::time::{Instant, NO_INSTANT};

/// The folded history of a run.
pub struct History {
    /// The names behind the codes, and the relations where they are kept whole.
    pub relations: Relations,
    /// The relations that there are.
    pub present: BTreeSet<Relation>,
    /// The run's instant.
    pub as_of: Instant,
    /// What became of the rows of the deal history.
    pub counts: Counts,
    /// Deals that are in the relations.
    pub deals: u64,
    /// Names of the stages that are not in the configuration.
    pub unknown_stages: Vec<String>,
    /// Names of the pipelines that are not in the configuration.
    pub unknown_pipelines: Vec<String>,
    /// The pipelines and their stages.
    pub pipelines: metrics::Pipelines,
    /// Every checked input, with the compressed bytes read from it.
    pub inputs: Vec<(CheckedInput, u64)>,
    /// How good the histories of each input of deals are.
    pub qualities: Vec<(String, fold::Quality)>,
    /// The first and last day of the optional tables.
    pub spans: Spans,
}

impl History {
    /// What the finishes may know.
    #[must_use]
    pub fn settings(&self, resolved: &Resolved) -> metrics::Settings {
        metrics::Settings {
            as_of: self.as_of,
            calendar: resolved.calendar,
            resolution: resolved.config.run.resolution,
            pipelines: self.pipelines.clone(),
            rate_floor: resolved.config.quality.rate_floor,
            quantile_floor: resolved.config.quality.quantile_floor,
            horizons_days: resolved.horizons_days(),
            variants_max: resolved.config.process.variants_max,
            funnels: super::funnels::names(&resolved.config),
            money_scale: resolved.currency.scale,
            clv: rules::valuation(&resolved.config.clv),
            forecast: super::outlooks::forecasting(&resolved.config.forecast),
            triggers: super::outlooks::thresholds(&resolved.config.triggers),
            customers: rules::customers(&resolved.config, resolved.currency.scale),
            commission: super::goals::plan(&resolved.config.commission),
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

/// Where batches of relations go: to the sums of a run, or whole into memory.
pub trait Taker: Sync + Sized {
    /// The same, but it is to write what exceeds the room to its scratch file if it can.
    #[must_use]
    fn within(self, _room: &Arc<Room>) -> Self {
        self
    }

    /// Takes a batch in, from any thread.
    ///
    /// # Errors
    /// Whatever becomes of its rows.
    fn take(&self, batch: &Batch) -> Result<(), Error>;
}

impl Taker for Sums {
    fn within(self, room: &Arc<Room>) -> Self {
        Self::within(self, room)
    }

    fn take(&self, batch: &Batch) -> Result<(), Error> {
        Self::take(self, batch)
    }
}

/// Keeps whole relations.
#[derive(Default)]
struct Whole(Mutex<Relations>);

impl Taker for Whole {
    fn take(&self, batch: &Batch) -> Result<(), Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch.clone())
    }
}

/// Reads and folds everything and keeps the relations whole, in memory: for Polars, for exports, and
/// for tests. A run uses [`mill`].
///
/// # Errors
/// Inputs that break their contract; see [`Error`].
pub fn read_history(
    resolved: &Resolved,
    ledger: &Ledger,
    on_step: &(dyn Fn(&str) + Sync),
    timings: &mut Vec<(String, f64)>,
) -> Result<History, Error> {
    let resolved = &*inputs::with_registry(resolved)?;
    let begin = |_: &Dictionaries| Ok(Whole::default());
    let (mut history, whole) = mill(resolved, ledger, on_step, timings, &Wanted::All, begin)?;
    let whole = whole.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    history.relations.batches = whole.batches;
    // A relation without rows is one all the same; one that cannot be is not.
    let mut empty = Relations::empty(&resolved.config.dimensions.columns)?;
    for relation in &history.present {
        if let Some(none) = empty.batches.remove(relation) {
            history.relations.batches.entry(*relation).or_insert(none);
        }
    }
    history.relations.batches.retain(|relation, _| history.present.contains(relation));
    Ok(history)
}

/// Reads and folds everything and hands the relations over batch by batch.
///
/// Only the columns that somebody wants are read. Should rows turn out to be equal in these, which
/// makes them one event only if they are equal in all, everything is read again.
///
/// # Errors
/// Inputs that break their contract, and what the taker refuses; see [`Error`].
pub fn mill<T: Taker>(
    resolved: &Resolved,
    ledger: &Ledger,
    on_step: &(dyn Fn(&str) + Sync),
    timings: &mut Vec<(String, f64)>,
    wanted: &Wanted,
    begin: impl Fn(&Dictionaries) -> Result<T, Error>,
) -> Result<(History, T), Error> {
    mill_focused(resolved, ledger, on_step, timings, (wanted, None), begin)
}

/// As [`mill`]; but with a focus, only what is about one deal is handed over.
pub(super) fn mill_focused<T: Taker>(
    resolved: &Resolved,
    ledger: &Ledger,
    on_step: &(dyn Fn(&str) + Sync),
    timings: &mut Vec<(String, f64)>,
    (wanted, focus): (&Wanted, Option<Focus>),
    begin: impl Fn(&Dictionaries) -> Result<T, Error>,
) -> Result<(History, T), Error> {
    for (name, input) in &resolved.inputs {
        ledger.declare(name, input.declared.shape);
    }
    let channel = assembly::channel(&resolved.config);
    let mut needed = needs::needed(&resolved.with_joined_paths(), wanted, channel.as_deref());
    loop {
        let needed_now = needed.as_ref();
        let milling = Milling { resolved, ledger, on_step, wanted, needed: needed_now, focus };
        match milling.mill(timings, &begin)? {
            Some(milled) => return Ok(milled),
            None => {
                needed = None;
                ledger.clear();
            }
        }
    }
}

/// One pass over the inputs.
struct Milling<'a> {
    resolved: &'a Resolved,
    ledger: &'a Ledger,
    on_step: &'a (dyn Fn(&str) + Sync),
    wanted: &'a Wanted,
    /// The attributes that are read; all where there is no such list.
    needed: Option<&'a BTreeSet<Attribute>>,
    /// The only deal that is asked about.
    focus: Option<Focus>,
}

impl Milling<'_> {
    fn reads(&self, attribute: &Attribute) -> bool {
        self.needed.is_none_or(|needed| needed.contains(attribute))
    }

    /// One step has ended and the next begins.
    fn step(&self, watch: &mut Watch<'_>, ended: &str, begun: &str) {
        watch.lap(ended);
        (self.on_step)(begun);
    }

    /// `None` if too little was read.
    fn mill<T: Taker>(
        &self,
        timings: &mut Vec<(String, f64)>,
        begin: impl Fn(&Dictionaries) -> Result<T, Error>,
    ) -> Result<Option<(History, T)>, Error> {
        let Milling { resolved, ledger, on_step, wanted, .. } = *self;
        let config = resolved.with_joined_paths();
        let registry = inputs::judge_registry(&config, resolved, ledger)?;
        let stages = StageTable::of(&config);
        let event_dimensions = inputs::event_dimensions(&config);
        on_step("check the inputs");
        let mut watch = Watch::new(timings);
        let inputs::Opened { deals: mut source, lookups, merges, given } =
            inputs::open(&config, resolved, &stages, &event_dimensions)?;
        let width = self.needed.map_or(Width::Full, |needed| source.narrow(needed, ledger));
        let memory = Memory::of(resolved, &source)?;
        source.piece_rows = source.piece_rows.min(memory.rows_in_flight);
        self.step(&mut watch, "check the inputs", "read");
        let lookups = lookups.read(ledger)?;
        let names = Interners::new(&event_dimensions);
        let Gathered { events, as_of, telling, merges } =
            self.events(&config, (&source, merges), &stages, &names, &memory)?;
        let given = given.read(resolved, (&names, &merges), as_of, ledger, &memory)?;
        let pricing = pricing::of_deals(resolved, &names, &given.rates, as_of);
        self.step(&mut watch, "read", "fold");
        let (periods, channel) = (resolved.every_period(), assembly::channel(&config));
        let assembler = assembly::assembler(&AssemblyOf {
            resolved,
            config: &config,
            stages: &stages,
            event_dimensions: &event_dimensions,
            names: &names,
            lookups: &lookups,
            given: &given,
            reads_all: self.needed.is_none(),
            channel: channel.as_deref(),
            periods: &periods,
            as_of,
            ledger,
            wanted,
            event_counts: self.value_counts(&events, &names)?,
            focus: self.focus,
        })?;
        let taker = begin(&assembler.dictionaries)?.within(&memory.room());
        let funnels = super::funnels::of(&config, &stages, wanted)?;
        let settings = fold::Settings {
            stages: &stages,
            dimensions: event_dimensions.len(),
            rules: fold::rules(&config),
            ties: config.fold.ties,
            as_of,
            pricing: pricing.as_ref(),
            telling: &telling,
            asked: assembly::asked(wanted, &lookups),
            funnels: &funnels,
            calendar: resolved.calendar,
            merges: merges.if_any(),
        };
        let to = (&taker, self.focus);
        let folded = Folded::new(events, &settings, &assembler, to, (&memory, ledger))?;
        let (tally, deals) = (&folded.tally, folded.deals);
        if width == Width::Narrow && tally.equal_events > 0 {
            return Ok(None);
        }
        pricing::judge(resolved, &names, tally.foreign_deals, &given, ledger)?;
        self.record_fold((&source, &merges), tally, &stages, assembler.lumped);
        self.step(&mut watch, "fold", "customers");
        folded.customers(&assembler, &taker)?;
        let present = assembly::present(&config, &assembler, &given);
        let history = History {
            present,
            relations: self.small_relations(assembler, given.spend.as_ref(), &taker)?,
            as_of,
            counts: inputs::deal_counts(&source, ledger),
            deals,
            unknown_stages: stages.unknown(),
            unknown_pipelines: stages.unknown_pipelines(),
            pipelines: pipelines(&stages),
            qualities: inputs::qualities(&source),
            spans: given.spans(&resolved.calendar),
            inputs: inputs::all(source, lookups, merges, given, registry),
        };
        watch.lap("customers");
        Ok(Some((history, taker)))
    }

    /// How often each value of the dimensions occurs that have more values than are to be named.
    fn value_counts(
        &self,
        events: &Complete<Scattered>,
        names: &Interners,
    ) -> Result<Vec<Vec<u64>>, Error> {
        let most = self.resolved.config.dimensions.values_max;
        let count = |(dimension, names): (usize, &Arc<Interner>)| {
            let n = names.count();
            if n > most { fold::scatter::count_codes(events, dimension, n) } else { Ok(Vec::new()) }
        };
        names.dimensions.iter().enumerate().map(count).collect()
    }

    /// Hands over the relations that are given, not folded; with the names behind all codes.
    fn small_relations<T: Taker>(
        &self,
        assembler: Assembler<'_>,
        spend: Option<&Spend>,
        taker: &T,
    ) -> Result<Relations, Error> {
        if let Some(spend) = spend.filter(|_| self.wanted.relation(Relation::Spend)) {
            taker.take(&assembler.spend(&spend.rows)?)?;
        }
        assembler.optional(|batch| taker.take(batch))?;
        let mut dictionaries = assembler.into_dictionaries();
        taker.take(&findings::batch(self.ledger, &mut dictionaries, self.wanted)?)?;
        Ok(Relations { dictionaries, ..Relations::default() })
    }

    /// Reads the events into their buckets; with the run's instant and what the inputs tell.
    fn events(
        &self,
        config: &Config,
        (source, merges): (&DealSource, MergeSource),
        stages: &StageTable,
        names: &Interners,
        memory: &Memory,
    ) -> Result<Gathered, Error> {
        let resolved = self.resolved;
        let policy = config.fold.merged;
        let merges = merges.read(policy, &names.deal, resolved.as_of, self.ledger)?;
        let all_rows = source.rows();
        let bits = fold::bucket_bits(all_rows);
        let events = memory.events(bits, all_rows);
        let rows = AtomicU64::new(0);
        let (_, read) = source.read(
            names,
            stages,
            self.ledger,
            &resolved.native,
            resolved.as_of,
            &config.pipeline.only,
            |unit, batch| {
                let own = batch.len() as u64;
                let so_far = rows.fetch_add(own, Ordering::Relaxed) + own;
                let refused: u64 = source.inputs().map(CheckedInput::refused_bytes).sum();
                let broken = self.ledger.quarantine_bytes() + refused;
                memory.check_kept(names.bytes(), broken, so_far, all_rows)?;
                events.add(match merges.if_any() {
                    None => fold::scatter(unit, batch, bits),
                    Some(merges) => {
                        fold::scatter_as(unit, batch, bits, |deal| merges.folded_as(deal))
                    }
                })
            },
        )?;
        stages.keep_used()?;
        // A merge is something that happened to a deal, as its deletion is.
        let is_dated = read.latest != NO_INSTANT;
        let latest = if is_dated { read.latest.max(merges.latest) } else { NO_INSTANT };
        let as_of = inputs::settle_as_of(resolved.as_of, latest, source)?;
        let mut telling = inputs::telling(source, read)?;
        telling.ranks = inputs::ranks(source, stages, names);
        Ok(Gathered { events: events.complete(), as_of, telling, merges })
    }

    /// Brings what the fold counted into the ledger, under the first input of the deal history.
    fn record_fold(
        &self,
        (source, merges): (&DealSource, &Merges),
        tally: &fold::Tally,
        stages: &StageTable,
        lumped: u64,
    ) {
        let ledger = self.ledger;
        let Some(first) = source.inputs().next().map(|i| i.name.clone()) else { return };
        let mut counts = Counts::of_deals(tally.deals);
        counts.compared_rows = tally.compared_rows;
        counts.compared_events = tally.compared_events;
        for (rule, n) in [
            (Rule::DuplicateEvents, tally.duplicate_events),
            (Rule::TiedEvents, tally.tied_events),
            (Rule::NoOpChanges, tally.no_op_changes),
            (Rule::BeforeCreation, tally.before_creation),
            (Rule::AfterDeletion, tally.after_deletion),
            (Rule::UnknownStageEvents, tally.unknown_stage_events),
            (Rule::ReopenedByUnknownStage, tally.reopened_by_unknown_stage),
            (Rule::UnknownStages, stages.unknown().len() as u64),
            (Rule::UnknownPipeline, tally.unknown_pipeline),
            (Rule::BadProbability, tally.bad_probability),
            (Rule::OtherValues, lumped),
            (Rule::NoCustomer, tally.no_customer),
            (Rule::NoStage, tally.no_stage),
            (Rule::NullAmountWon, tally.null_amount_won),
            (Rule::ZeroAmountWon, tally.zero_amount_won),
            (Rule::NegativeAmountWon, tally.negative_amount_won),
            (Rule::UnpricedDeals, tally.unpriced_deals),
            (Rule::InexactAmount, tally.inexact_amounts),
            (Rule::NegativeCycle, tally.negative_cycle),
            (Rule::DeletedDeals, tally.deleted_deals),
            (Rule::MergedDeals, tally.merged_deals),
            (Rule::TiedDeals, tally.tied_deals),
        ] {
            let read = match rule {
                Rule::NoCustomer => self.reads(&Attribute::Customer),
                Rule::NullAmountWon | Rule::ZeroAmountWon | Rule::NegativeAmountWon => {
                    self.reads(&Attribute::Amount)
                }
                _ => true,
            };
            if read {
                counts.add(rule, n);
            }
        }
        for (rule, n) in inputs::compared_rules(&tally.compared) {
            counts.add(rule, n);
        }
        ledger.record(&first, &counts);
        inputs::mention_stages(stages, &first, ledger);
        inputs::record_current(source, &tally.compared, ledger);
        inputs::record_merges(merges, tally, ledger);
        // Rows of deals kept out were counted as folded when they were read.
        let mut rejected = source.locate(&tally.rejected);
        // A row that stands for several events is one row.
        rejected.sort();
        rejected.dedup();
        for (input, file, row) in rejected {
            ledger.reject(&input, QuarantinedRow::of_fold(file, row, Rule::TiedDeals));
        }
    }
}

/// What was read of the deals' histories.
struct Gathered {
    events: Complete<Scattered>,
    as_of: Instant,
    telling: Telling,
    merges: Merges,
}

/// The pipelines and their stages, for the finishes.
fn pipelines(stages: &StageTable) -> metrics::Pipelines {
    let of = stages.stages_of_pipelines().into_iter().map(|stage| (stage.pipeline, stage.name));
    metrics::Pipelines { open: stages.open_stages(), stages: of.collect() }
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
