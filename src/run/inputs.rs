//! The inputs of a run: opened together, and what is known of them in the end.

use crate::config::{Config, Resolved, Shape};
use crate::contract::StageTable;
use crate::error::{Error, Fault};
use crate::quality::{Counts, Ledger};
use crate::source::{CheckedInput, DealSource, FxSource, Lookup, LookupSource, SpendSource};
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
    let lookups = kept(LookupSource::open(config, calendar), &mut faults)?;
    let spend = kept(SpendSource::open(config, calendar), &mut faults)?;
    let rates = kept(FxSource::open(config, calendar), &mut faults)?;
    match (deals, lookups, spend, rates) {
        (Some(deals), Some(lookups), Some(spend), Some(rates)) => {
            Ok(Opened { deals, lookups, spend, rates })
        }
        _ => Err(Error::Faults(faults)),
    }
}

/// Every input, opened and checked.
pub(super) struct Opened {
    pub(super) deals: DealSource,
    pub(super) lookups: LookupSource,
    pub(super) spend: SpendSource,
    pub(super) rates: FxSource,
}

/// What was opened; faults are kept, so that those of all inputs can be told together.
fn kept<T>(opened: Result<T, Error>, faults: &mut Vec<Fault>) -> Result<Option<T>, Error> {
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
    spend: Option<Vec<CheckedInput>>,
    rates: Vec<CheckedInput>,
) -> Vec<(CheckedInput, u64)> {
    let mut inputs: Vec<CheckedInput> = source.into_inputs();
    inputs.extend(lookups.into_iter().map(|l| l.checked));
    inputs.extend(spend.unwrap_or_default());
    inputs.extend(rates);
    inputs
        .into_iter()
        .map(|input| {
            let bytes = input.bytes_read();
            (input, bytes)
        })
        .collect()
}
