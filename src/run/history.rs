//! From the inputs to the relations: source, fold, relations, and what is known of the inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant as Stopwatch;

use super::memory::Memory;
use super::orders::Orders;
use super::{inputs, needs, pricing};
use crate::config::{Config, Resolved, Shape};
use crate::contract::StageTable;
use crate::engine::Sums;
use crate::error::{Error, Fault};
use crate::fold::{self, Scattered, Telling};
use crate::metrics;
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::relations::assemble::{Assembler, Parts, Transactions};
use crate::relations::{Batch, Dictionaries, Of, Relation, Relations, Wanted, findings};
use crate::source::{
    Attribute, CheckedInput, DealSource, Interner, Interners, Lookup, Payments, Spend, Splits,
    Width, record_orphans,
};
use crate::spill::{Complete, Room};
use crate::time::{Calendar, Instant, Period};

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
    /// Every checked input, with the compressed bytes read from it.
    pub inputs: Vec<(CheckedInput, u64)>,
    /// How good the histories of each input of deals are.
    pub qualities: Vec<(String, fold::Quality)>,
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
            horizons_days: resolved.horizons_days(),
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
    let channel = channel(&resolved.config);
    let mut needed = needs::needed(&resolved.config, wanted, channel.as_deref());
    loop {
        let milling = Milling { resolved, ledger, on_step, wanted, needed: needed.as_ref() };
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
}

impl Milling<'_> {
    fn reads(&self, attribute: &Attribute) -> bool {
        self.needed.is_none_or(|needed| needed.contains(attribute))
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
        let stages = StageTable::new(&config.pipeline);
        on_step("check the inputs");
        let mut watch = Watch::new(timings);
        let event_dimensions = inputs::event_dimensions(&config);
        let inputs::Opened { deals: mut source, lookups, spend, rates, payments, splits } =
            inputs::open(&config, resolved, &stages, &event_dimensions)?;
        let width = self.needed.map_or(Width::Full, |needed| source.narrow(needed, ledger));
        let memory = Memory::of(resolved, &source)?;
        source.piece_rows = source.piece_rows.min(memory.rows_in_flight);
        watch.lap("check the inputs");
        on_step("read");
        let lookups = lookups.read(ledger)?;
        let names = Interners::new(&event_dimensions);
        let (events, as_of, telling) = self.events(&config, &source, &stages, &names, &memory)?;
        let rates = rates.read(ledger)?;
        let pricing = pricing::of_deals(resolved, &names, &rates, as_of);
        let spending = pricing::Spending { resolved, rates: &rates, as_of, names: &names };
        let (spend, foreign_spend) = spending.read(spend, ledger)?;
        let (payments, foreign_payments) = spending.read_payments(payments, ledger)?;
        let splits = splits.read(&names, ledger)?;
        self.check_given(&memory, names.bytes(), (payments.as_ref(), splits.as_ref()))?;
        watch.lap("read");
        on_step("fold");
        let (periods, channel) = (resolved.every_period(), channel(&config));
        stages.keep_used();
        let assembler = assembler(&AssemblyOf {
            resolved,
            config: &config,
            stages: &stages,
            event_dimensions: &event_dimensions,
            names: &names,
            lookups: &lookups,
            spend: spend.as_ref(),
            payments: payments.as_ref(),
            splits: splits.as_ref(),
            channel: channel.as_deref(),
            periods: &periods,
            as_of,
            ledger,
            wanted,
            event_counts: self.value_counts(&events, &names)?,
        })?;
        let taker = begin(&assembler.dictionaries)?.within(&memory.room());
        let settings = fold::Settings {
            stages: &stages,
            dimensions: event_dimensions.len(),
            rules: fold::rules(&config),
            ties: config.fold.ties,
            as_of,
            pricing: pricing.as_ref(),
            telling: &telling,
            booking: booking(wanted),
        };
        let Folded { tally, deals, orders, spilled_bytes } =
            self.fold_events(events, &settings, &assembler, &taker, &memory)?;
        if width == Width::Narrow && tally.equal_events > 0 {
            return Ok(None);
        }
        pricing::refuse_mixed(
            resolved,
            &names,
            (tally.foreign_deals, foreign_spend, foreign_payments),
        )?;
        pricing::record_missing(resolved, &names, &rates, ledger);
        self.record_fold(&source, &tally, &stages, assembler.lumped);
        watch.lap("fold");
        on_step("customers");
        make_customers(orders, &assembler, &taker, spilled_bytes)?;
        let present = present(&assembler, spend.as_ref(), payments.as_ref());
        let dictionaries = self.small_relations(assembler, spend.as_ref(), &taker)?;
        watch.lap("customers");
        let history = History {
            relations: Relations { dictionaries, ..Relations::default() },
            present,
            as_of,
            counts: inputs::deal_counts(&source, ledger),
            deals,
            unknown_stages: stages.unknown(),
            qualities: inputs::qualities(&source),
            inputs: inputs::all(source, lookups, spend, rates, (payments, splits), registry),
        };
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
    ) -> Result<Dictionaries, Error> {
        if let Some(spend) = spend.filter(|_| self.wanted.relation(Relation::Spend)) {
            taker.take(&assembler.spend(&spend.rows)?)?;
        }
        let mut dictionaries = assembler.into_dictionaries();
        taker.take(&findings::batch(self.ledger, &mut dictionaries, self.wanted)?)?;
        Ok(dictionaries)
    }

    /// Reads the events into their buckets; with the run's instant and what the inputs tell.
    fn events(
        &self,
        config: &Config,
        source: &DealSource,
        stages: &StageTable,
        names: &Interners,
        memory: &Memory,
    ) -> Result<(Complete<Scattered>, Instant, Telling), Error> {
        let resolved = self.resolved;
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
                events.add(fold::scatter(unit, batch, bits))
            },
        )?;
        let as_of = inputs::settle_as_of(resolved.as_of, read.latest, source)?;
        Ok((events.complete(), as_of, inputs::telling(source, read.extracts)))
    }

    /// Brings what the fold counted into the ledger, under the first input of the deal history.
    fn record_fold(
        &self,
        source: &DealSource,
        tally: &fold::Tally,
        stages: &StageTable,
        lumped: u64,
    ) {
        let ledger = self.ledger;
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
        inputs::record_current(source, &tally.compared, ledger);
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

/// What the fold leaves behind when its batches are taken.
struct Folded {
    tally: fold::Tally,
    deals: u64,
    orders: Vec<(Of, Orders)>,
    /// Of the events.
    spilled_bytes: u64,
}

impl Milling<'_> {
    /// Refuses a limit that cannot hold what is kept whole: names, payments and shares.
    fn check_given(
        &self,
        memory: &Memory,
        names: u64,
        (payments, splits): (Option<&Payments>, Option<&Splits>),
    ) -> Result<(), Error> {
        let given = payments.map_or(0, Payments::bytes) + splits.map_or(0, Splits::bytes);
        memory.check_kept(names + given, self.ledger.quarantine_bytes(), 1, 1)
    }

    fn fold_events<T: Taker>(
        &self,
        events: Complete<Scattered>,
        settings: &fold::Settings<'_>,
        assembler: &Assembler<'_>,
        taker: &T,
        memory: &Memory,
    ) -> Result<Folded, Error> {
        let won = Orders::new(memory, events.rows());
        let payments = assembler.payments();
        let paid = payments.map(|p| Orders::new(memory, events.rows().max(p.rows().len() as u64)));
        let add = |made: Transactions| {
            won.add(made.won)?;
            paid.as_ref().map_or(Ok(()), |paid| paid.add(made.paid))
        };
        let deals = AtomicU64::new(0);
        let tally = fold::fold(&events, settings, |chunk| {
            if chunk.content == fold::Content::Deals {
                deals.fetch_add(chunk.deals.len() as u64, Ordering::Relaxed);
            }
            add(assembler.chunk(chunk, |batch| taker.take(batch))?)
        })?;
        if let Some(payments) = payments {
            let (rest, orphans) = assembler.rest_of_payments(|batch| taker.take(batch))?;
            add(Transactions { paid: rest, ..Transactions::default() })?;
            record_orphans(payments, orphans, self.ledger);
        }
        let (deals, spilled_bytes) = (deals.into_inner(), events.spilled_bytes());
        let mut orders = vec![(Of::Won, won)];
        orders.extend(paid.map(|paid| (Of::Paid, paid)));
        Ok(Folded { tally, deals, orders, spilled_bytes })
    }
}

/// Makes the relations about customers; so many bytes of scratch data there were before.
fn make_customers<T: Taker>(
    orders: Vec<(Of, Orders)>,
    assembler: &Assembler<'_>,
    taker: &T,
    mut spilled_bytes: u64,
) -> Result<(), Error> {
    for (of, orders) in orders {
        let orders = orders.complete()?;
        orders.customers(assembler, of, |batch| taker.take(batch))?;
        spilled_bytes += orders.spilled_bytes();
    }
    tracing::debug!(bytes = spilled_bytes, "scratch");
    Ok(())
}

/// Whether anybody asks what deals book.
fn booking(wanted: &Wanted) -> fold::Booking {
    if wanted.relation(Relation::Bookings) { fold::Booking::Read } else { fold::Booking::Unread }
}

/// The relations that can be made of these inputs.
fn present(
    assembler: &Assembler<'_>,
    spend: Option<&Spend>,
    payments: Option<&Payments>,
) -> BTreeSet<Relation> {
    let mut present =
        BTreeSet::from([Relation::Visits, Relation::Deals, Relation::Bookings, Relation::Findings]);
    present.insert(Relation::Credits);
    if assembler.has_customers() {
        present.insert(Relation::Orders);
    }
    if assembler.has_payers() {
        present.extend([Relation::Customers, Relation::CustomerPeriods]);
    }
    present.extend(payments.map(|_| Relation::Payments));
    present.extend(spend.map(|_| Relation::Spend));
    present
}

/// What the assembler is made of.
struct AssemblyOf<'a> {
    resolved: &'a Resolved,
    config: &'a Config,
    stages: &'a StageTable,
    event_dimensions: &'a [String],
    names: &'a Interners,
    lookups: &'a [Lookup],
    spend: Option<&'a Spend>,
    payments: Option<&'a Payments>,
    splits: Option<&'a Splits>,
    channel: Option<&'a str>,
    periods: &'a [Period],
    as_of: Instant,
    ledger: &'a Ledger,
    wanted: &'a Wanted,
    event_counts: Vec<Vec<u64>>,
}

fn assembler<'a>(of: &AssemblyOf<'a>) -> Result<Assembler<'a>, Error> {
    let (stage_names, stage_codes) = of.stages.finish();
    let (owners, owner_ranks) = of.names.owner.freeze().ranked();
    let dimensions = of.names.dimensions.iter().map(|d| d.freeze().ranked());
    let (event_names, event_ranks) = dimensions.unzip::<_, _, Vec<_>, Vec<_>>();
    Assembler::new(Parts {
        stages: of.stages,
        stage_names,
        stage_codes,
        dimensions: &of.config.dimensions.columns,
        event_dimensions: of.event_dimensions,
        event_names,
        event_ranks,
        event_counts: of.event_counts.clone(),
        values_max: of.config.dimensions.values_max,
        owners,
        owner_ranks,
        names: of.names,
        lookups: of.lookups,
        spend: of.spend,
        payments: of.payments,
        splits: of.splits,
        dimension_at: of.config.dimensions.at,
        channel: of.channel,
        cost_types: &of.config.acquisition.cost_types,
        calendar: of.resolved.calendar,
        resolution: of.config.run.resolution,
        base: Calendar::base(of.periods),
        periods: of.periods,
        as_of: of.as_of,
        ledger: of.ledger,
        wanted: of.wanted,
    })
}

/// The relations that a run can have by its configuration, with the dimensions that each carries.
#[must_use]
pub fn carried(resolved: &Resolved) -> BTreeMap<Relation, Vec<String>> {
    let config = &resolved.config;
    let all = &config.dimensions.columns;
    let of = |relation: Relation| match relation {
        Relation::Findings => Some(Vec::new()),
        Relation::Payments => {
            let given = resolved.inputs.values().any(|i| i.declared.shape == Shape::Payments);
            given.then(|| all.clone())
        }
        Relation::Spend => {
            // As resolved: an input named `spend` need not say its shape.
            let given = resolved.inputs.values().any(|i| i.declared.shape == Shape::Spend);
            let channel = channel(config).into_iter().filter(|c| all.contains(c));
            given.then(|| channel.collect())
        }
        _ => Some(all.clone()),
    };
    Relation::EVERY.into_iter().filter_map(|r| Some((r, of(r)?))).collect()
}

/// The dimension that is the acquisition channel: as configured, or `source` where there is one.
fn channel(config: &Config) -> Option<String> {
    let source = config.dimensions.columns.iter().find(|d| *d == "source");
    config.acquisition.channel.clone().or_else(|| source.cloned())
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
