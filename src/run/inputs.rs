//! The inputs of a run: opened together, and what is known of them in the end.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::tables::{Given, GivenSource};
use crate::config::{Config, ProbabilityUnit, Resolved, Shape};
use crate::contract::{Id, StageTable};
use crate::error::{Error, Fault};
use crate::fold::observe::Compared;
use crate::fold::{Quality, Ranks, Tally, Telling, Told};
use crate::quality::{Counts, Ledger, Rule};
use crate::relations::deals::STAGES_MAX;
use crate::source::{
    CheckedInput, DealSource, FxSource, InputFacts, Interner, Interners, Lookup, LookupSource,
    MergeSource, Merges, PaymentSource, Read, Registry, SpendSource, SplitSource, TablesSource,
    record_unknown, unit_hint,
};
use crate::time::{Instant, NO_INSTANT};

/// Opens every input and says all that is wrong with any of them.
pub(super) fn open(
    config: &Config,
    resolved: &Resolved,
    stages: &StageTable,
    event_dimensions: &[String],
) -> Result<Opened, Error> {
    let calendar = resolved.calendar;
    let mut faults = Vec::new();
    let deals = kept(DealSource::open(config, calendar, stages, event_dimensions), &mut faults)?;
    let merges = kept(MergeSource::open(config, calendar), &mut faults)?;
    let lookups = kept(LookupSource::open(config, calendar), &mut faults)?;
    let spend = kept(SpendSource::open(config, calendar), &mut faults)?;
    let rates = kept(FxSource::open(config, calendar), &mut faults)?;
    let payments = kept(PaymentSource::open(config, calendar), &mut faults)?;
    let splits = kept(SplitSource::open(config, calendar), &mut faults)?;
    let tables = kept(TablesSource::open(config, calendar), &mut faults)?;
    let given = || {
        let (rates, spend, tables) = (rates?, spend?, tables?);
        Some(GivenSource { rates, spend, payments: payments?, splits: splits?, tables })
    };
    match (deals, lookups, merges, given()) {
        (Some(deals), Some(lookups), Some(merges), Some(given)) => {
            Ok(Opened { deals, lookups, merges, given })
        }
        _ => Err(Error::Faults(faults)),
    }
}

/// Every input, opened and checked.
pub(super) struct Opened {
    pub(super) deals: DealSource,
    pub(super) lookups: LookupSource,
    pub(super) merges: MergeSource,
    pub(super) given: GivenSource,
}

/// What was opened; faults are kept, so that those of all inputs can be told together.
pub(super) fn kept<T>(
    opened: Result<T, Error>,
    faults: &mut Vec<Fault>,
) -> Result<Option<T>, Error> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(Error::Faults(more)) => {
            faults.extend(more);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// The dimensions that are columns of the events, and the keys of look-ups that are.
pub(super) fn event_dimensions(config: &Config) -> Vec<String> {
    let looked_up = |d: &&String| config.dimensions.from.contains_key(*d);
    let mut dimensions: Vec<String> =
        config.dimensions.columns.iter().filter(|d| !looked_up(d)).cloned().collect();
    for input in config.inputs.values() {
        if input.shape == Shape::Lookup
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

/// As of when the run is: as asked, or else of the latest event.
pub(super) fn settle_as_of(
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

/// What the inputs of deals can tell, now that they are read.
pub(super) fn telling(source: &DealSource, mut read: Read) -> Result<Telling, Error> {
    let unit = |facts: &InputFacts<'_>| {
        let span = read.probabilities.get(facts.name).copied().unwrap_or_default();
        span.unit(facts.probability_unit).map_err(|problem| {
            let (file, place) = (facts.root.to_path_buf(), "column \"probability\"".to_owned());
            Error::Faults(vec![Fault { file, place, problem, hint: unit_hint(facts.name) }])
        })
    };
    let units = source.facts().map(|facts| unit(&facts)).collect::<Result<Vec<_>, Error>>()?;
    let told = |(facts, probability_unit): (InputFacts<'_>, ProbabilityUnit)| Told {
        shape: facts.shape,
        quality: Quality::of(facts.shape),
        has_amount: facts.has_amount,
        has_ends: facts.has_ends,
        is_created_told: facts.has_created,
        probability_unit,
        extracts: read.extracts.remove(facts.name).unwrap_or_default().into_iter().collect(),
    };
    let inputs = source.facts().zip(units).map(told).collect();
    Ok(Telling { units: source.inputs_of_units(), inputs, ranks: Ranks::default() })
}

/// The order of all names, where a table of current deals may have several rows of one deal.
pub(super) fn ranks(source: &DealSource, stages: &StageTable, names: &Interners) -> Ranks {
    if !source.facts().any(|facts| facts.shape == Shape::Deals) {
        return Ranks::default();
    }
    let of = |names: &Interner| names.freeze().ranked().1;
    Ranks {
        stage: stages.finish().1,
        owner: of(&names.owner),
        currency: of(&names.currency),
        dimensions: names.dimensions.iter().map(|names| of(names)).collect(),
    }
}

/// What comparing rows showed, by rule of the history.
pub(super) fn compared_rules(compared: &Compared) -> [(Rule, u64); 3] {
    [
        (Rule::OverlappingIntervals, compared.overlapping_intervals),
        (Rule::VanishedDeals, compared.vanished_deals),
        (Rule::ClosedWhenFirstSeen, compared.closed_when_first_seen),
    ]
}

/// Brings into the ledger how the histories compare with the table of current deals; the deals
/// checked are those that are in both.
pub(super) fn record_current(source: &DealSource, compared: &Compared, ledger: &Ledger) {
    let mut tables = source.facts().filter(|facts| facts.shape == Shape::Deals);
    let Some(name) = tables.next().map(|facts| facts.name) else { return };
    let mut counts = Counts::of_deals(compared.compared + compared.unlogged_deals);
    counts.add(Rule::HistoryDisagrees, compared.history_disagrees);
    counts.add(Rule::UnloggedOutcomes, compared.unlogged_outcomes);
    counts.add(Rule::UnloggedDeals, compared.unlogged_deals);
    counts.add(Rule::UndatedOutcomes, compared.undated_outcomes);
    counts.add(Rule::UndatedDeals, compared.undated_deals);
    counts.add(Rule::EarlyCloses, compared.early_closes);
    counts.add(Rule::RepeatedDeals, compared.repeated_deals);
    ledger.record(name, &counts);
}

/// Names the stages that are not in the pipeline, with their events, where that is asked for; of
/// several pipelines without, for an event's stage is settled in its pipeline after it was counted.
pub(super) fn mention_stages(stages: &StageTable, first: &str, ledger: &Ledger) {
    if stages.has_pipelines() && ledger.is_profiling() {
        let unknown = stages.unknown();
        unknown.iter().for_each(|name| ledger.mention(Rule::UnknownStages, first, name, 0));
        return;
    }
    let (names, finals) = stages.finish();
    for profile in ledger.profiles().values() {
        for (code, n) in &profile.unknown_stages {
            let place = finals.get(usize::from(*code));
            if let Some(name) = place.and_then(|place| names.get(usize::from(*place))) {
                ledger.mention(Rule::UnknownStages, first, name, *n);
            }
        }
    }
}

/// How good the histories of each input are, by its name.
pub(super) fn qualities(source: &DealSource) -> Vec<(String, Quality)> {
    source.facts().map(|facts| (facts.name.to_owned(), Quality::of(facts.shape))).collect()
}

/// The registry of stages; what is wrong with its rows is counted, for the pipeline is settled
/// already.
pub(super) fn judge_registry(
    config: &Config,
    resolved: &Resolved,
    ledger: &Ledger,
) -> Result<Option<Registry>, Error> {
    let registry = Registry::open(config, resolved.calendar)?;
    if let Some(registry) = &registry {
        registry.complete(&mut config.clone(), resolved.as_of, ledger)?;
    }
    Ok(registry)
}

/// The configuration with the pipeline that its registry of stages, if there is one, completes.
///
/// # Errors
/// What is wrong with the registry's files.
pub(super) fn with_registry(resolved: &Resolved) -> Result<Cow<'_, Resolved>, Error> {
    let config = resolved.with_joined_paths();
    let Some(registry) = Registry::open(&config, resolved.calendar)? else {
        return Ok(Cow::Borrowed(resolved));
    };
    let ledger = Ledger::new(&config.quality.severity);
    let mut settled = resolved.clone();
    registry.complete(&mut settled.config, resolved.as_of, &ledger)?;
    let all = settled.config.pipelines.values().chain([&settled.config.pipeline]);
    let stages = all.map(|pipeline| pipeline.stages.len()).max().unwrap_or(0);
    if stages > STAGES_MAX {
        let problem = format!(
            "inputs.stages: {stages} open stages of one pipeline, of at most {STAGES_MAX}; map \
             pipeline_id, choose pipelines in [pipeline] only, or list the stages in [pipeline]"
        );
        return Err(Error::Config(vec![problem]));
    }
    Ok(Cow::Owned(settled))
}

/// What became of the rows of the deal history.
pub(super) fn deal_counts(source: &DealSource, ledger: &Ledger) -> Counts {
    let all = ledger.counts();
    let mut counts = Counts::default();
    for input in source.inputs() {
        if let Some(own) = all.get(&input.name) {
            counts.merge(own);
        }
    }
    counts
}

/// Every input, with the compressed bytes read from it.
pub(super) fn all(
    source: DealSource,
    lookups: Vec<Lookup>,
    merges: Merges,
    given: Given,
    registry: Option<Registry>,
) -> Vec<(CheckedInput, u64)> {
    let mut inputs: Vec<CheckedInput> = source.into_inputs();
    inputs.extend(lookups.into_iter().map(|l| l.checked));
    inputs.extend(given.spend.map(|s| s.inputs).unwrap_or_default());
    inputs.extend(given.rates.inputs);
    inputs.extend(given.payments.map(|p| p.inputs).unwrap_or_default());
    inputs.extend(given.splits.map(|s| s.inputs).unwrap_or_default());
    inputs.extend(merges.inputs);
    inputs.extend(given.tables.inputs);
    inputs.extend(registry.map(|r| r.checked));
    inputs
        .into_iter()
        .map(|input| {
            let bytes = input.bytes_read();
            (input, bytes)
        })
        .collect()
}

/// Brings into the ledger what became of merges: those of deals that a history has, and of others.
pub(super) fn record_merges(merges: &Merges, tally: &Tally, ledger: &Ledger) {
    let Some(input) = merges.inputs.first() else { return };
    let mut counts = Counts::of_deals(merges.count() as u64);
    let known: BTreeSet<Id> = tally.winners.iter().copied().collect();
    let merged = tally.losers.len() as u64;
    counts.add(Rule::MergedDeals, merged);
    ledger.record(&input.name, &counts);
    let losers: BTreeSet<Id> = tally.losers.iter().copied().collect();
    let orphans = merges.iter().map(|(loser, _)| loser).filter(|loser| !losers.contains(loser));
    record_unknown(Rule::OrphanMerges, &input.name, orphans, ledger);
    let winners = tally.losers.iter().filter_map(|loser| Some(merges.of(*loser)?.winner));
    let lost = winners.filter(|winner| !known.contains(winner));
    record_unknown(Rule::UnknownWinners, &input.name, lost, ledger);
}
