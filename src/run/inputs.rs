//! The inputs of a run: opened together, and what is known of them in the end.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::beside::{Beside, Sources};
use crate::config::{Config, Resolved, Shape};
use crate::contract::{Id, StageTable};
use crate::error::{Error, Fault};
use crate::fold::observe::Compared;
use crate::fold::{Quality, Tally, Telling, Told};
use crate::quality::{Counts, Ledger, Rule};
use crate::relations::deals::STAGES_MAX;
use crate::source::{CheckedInput, DealSource, InputFacts, MergeSource, Merges, Registry};
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
    let beside = Sources::open(config, calendar, &mut faults)?;
    match (deals, merges, beside) {
        (Some(deals), Some(merges), Some(beside)) => Ok(Opened { deals, merges, beside }),
        _ => Err(Error::Faults(faults)),
    }
}

/// Every input, opened and checked.
pub(super) struct Opened {
    pub(super) deals: DealSource,
    pub(super) merges: MergeSource,
    pub(super) beside: Sources,
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

/// What the inputs of deals can tell, now that their extracts are known.
pub(super) fn telling(
    source: &DealSource,
    mut extracts: BTreeMap<String, BTreeSet<Instant>>,
) -> Telling {
    let told = |facts: InputFacts<'_>| Told {
        shape: facts.shape,
        quality: Quality::of(facts.shape),
        has_amount: facts.has_amount,
        has_ends: facts.has_ends,
        is_created_told: facts.has_created,
        extracts: extracts.remove(facts.name).unwrap_or_default().into_iter().collect(),
    };
    let inputs = source.facts().map(told).collect();
    Telling { units: source.inputs_of_units(), inputs }
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
    counts.add(Rule::RepeatedDeals, compared.repeated_deals);
    ledger.record(name, &counts);
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
    beside: Beside,
    merges: Merges,
    registry: Option<Registry>,
) -> Vec<(CheckedInput, u64)> {
    let mut inputs: Vec<CheckedInput> = source.into_inputs();
    inputs.extend(beside.into_inputs());
    inputs.extend(merges.inputs);
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
    counts.add(Rule::OrphanMerges, (merges.count() as u64).saturating_sub(merged));
    let winner = |loser: &Id| merges.of(*loser).is_some_and(|merge| !known.contains(&merge.winner));
    let lost = tally.losers.iter().filter(|loser| winner(loser)).count();
    counts.add(Rule::UnknownWinners, lost as u64);
    ledger.record(&input.name, &counts);
}
