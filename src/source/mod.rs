//! Bytes to canonical columns: discovery of files and partitions, Parquet and CSV, one file per
//! input shape.
//!
//! It judges rows one by one and counts what it keeps out; it knows nothing of the order of events.

mod chunks;
mod convert;
mod discover;
mod events;
mod footprint;
mod guard;
mod intern;
mod lookup;
mod needs;
mod partitions;
mod preflight;
mod read;
mod spend;
mod stage_dates;
mod task;
mod tasks;
#[cfg(test)]
mod tests;
pub mod synthetic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

pub use discover::{FileFormat, FoundFile, Listing, discover};
pub use footprint::Footprint;
pub use guard::is_guarded;
pub use intern::{Interner, Names};
pub use lookup::{Lookup, LookupKey, LookupSource};
pub use needs::{Attribute, Width};
pub use read::CheckedInput;
pub use spend::{Spend, SpendRow, SpendSource};

use crate::config::{Config, Input, Outcome, Shape, Ties};
use crate::contract::{CanonicalColumn, ColumnType};
use crate::contract::{DEAL_EVENTS, EventBatch, Need, STAGE_DATES, StageTable};
use crate::error::Error;
use crate::money::Currency;
use crate::quality::Ledger;
use crate::time::{Calendar, Instant, NO_INSTANT};
use convert::Clock;
use preflight::{Origin, Wanted};
use task::TaskState;
use tasks::Task;

/// The names of a run, shared by all decoding threads.
#[derive(Debug, Default)]
pub struct Interners {
    /// Deals with textual identifiers.
    pub deal: Interner,
    /// Customers with textual identifiers.
    pub customer: Interner,
    /// Owners.
    pub owner: Arc<Interner>,
    /// Events with textual identifiers.
    pub event: Interner,
    /// Each dimension that comes with the events, in the order of [`DealSource::dimensions`].
    pub dimensions: Vec<Arc<Interner>>,
}

impl Interners {
    /// Empty sets of names for these dimensions. A dimension `owner` shares the owners' names.
    #[must_use]
    pub fn new(dimensions: &[String]) -> Self {
        let owner = Arc::new(Interner::default());
        let of = |d: &String| if d == "owner" { owner.clone() } else { Arc::default() };
        let dimensions = dimensions.iter().map(of).collect();
        Self { owner, dimensions, ..Self::default() }
    }

    /// Bytes that all names take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let own = [&self.deal, &self.customer, &*self.owner, &self.event];
        let dimensions = self.dimensions.iter().map(|names| names.bytes());
        own.into_iter().map(Interner::bytes).chain(dimensions).sum()
    }
}

/// What decoding needs to know beside the bytes.
pub(crate) struct Decoding<'a> {
    pub(crate) names: &'a Interners,
    pub(crate) stages: &'a StageTable,
    pub(crate) ledger: &'a Ledger,
    pub(crate) currency: &'a Currency,
    pub(crate) as_of: Option<Instant>,
    pub(crate) pipelines: &'a [String],
    pub(crate) values: &'a BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) present: Present,
    pub(crate) row_numbers: RowNumbers,
    /// So many events are handed over as one piece, and at most a batch more.
    pub(crate) piece_rows: usize,
}

impl Decoding<'_> {
    fn replacement(&self, column: &str) -> Option<&BTreeMap<String, String>> {
        self.values.get(column)
    }

    /// Whether the run asks for a pipeline of this name, as found in a file.
    fn is_wanted_pipeline(&self, name: Option<&str>) -> bool {
        let name = convert::named(name, self.replacement("pipeline_id"));
        name.is_some_and(|name| self.pipelines.iter().any(|p| p == name))
    }
}

/// Positions of the canonical columns among the wanted ones; `None` where no file has the column.
#[derive(Debug, Default, Clone)]
pub(crate) struct Layout {
    deal_id: Option<usize>,
    event_time: Option<usize>,
    event_type: Option<usize>,
    stage_id: Option<usize>,
    pipeline_id: Option<usize>,
    amount: Option<usize>,
    owner_id: Option<usize>,
    customer_id: Option<usize>,
    expected_close: Option<usize>,
    seq: Option<usize>,
    event_id: Option<usize>,
    ingested_at: Option<usize>,
    created_at: Option<usize>,
    dimensions: Vec<(String, Option<usize>)>,
    stage_dates: Vec<(u16, usize)>,
    outcome: Option<Outcome>,
    outcome_column: Option<usize>,
    outcome_date: Option<usize>,
}

/// Which optional columns any input of the run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present {
    /// The amount of a deal.
    pub amount: bool,
    /// The owner.
    pub owner: bool,
    /// The customer.
    pub customer: bool,
    /// The expected close date.
    pub expected_close: bool,
    /// The order within one instant.
    pub seq: bool,
    /// Identifiers of events.
    pub event_id: bool,
    /// When rows arrived.
    pub ingested: bool,
}

/// Whether events carry the number of their row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowNumbers {
    /// They do: their rows will be asked for.
    Kept,
    /// They do not.
    Dropped,
}

struct DealInput {
    checked: CheckedInput,
    shape: Shape,
    /// Positions of what is read.
    layout: Layout,
    /// Positions of everything the files have.
    full_layout: Layout,
    values: BTreeMap<String, BTreeMap<String, String>>,
}

/// The checked inputs that tell the deals' histories.
pub struct DealSource {
    inputs: Vec<DealInput>,
    /// Names of the dimensions that come with the events.
    pub dimensions: Vec<String>,
    /// Which optional columns there are.
    pub present: Present,
    /// Whether events carry row numbers: by default where deals may be rejected for their ties.
    pub row_numbers: RowNumbers,
    /// How many events a thread holds before it hands them over as a piece.
    pub piece_rows: usize,
}

/// Large enough that a bucket's share of a piece is worth a look; small enough that a scattered
/// column of codes or distances stays in the second-level cache.
const PIECE_ROWS: usize = 1 << 18;

/// What reading the events gave beside the events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Read {
    /// The latest instant at or before `as_of`; [`NO_INSTANT`] if there is no event.
    pub latest: Instant,
}

/// The zone and format by which an input's times are read.
///
/// # Errors
/// [`Error::Config`] for an unknown zone.
pub(crate) fn clock(name: &str, input: &Input, reporting: Calendar) -> Result<Clock, Error> {
    let naive = match &input.timezone {
        None => None,
        Some(zone) => {
            let unknown = |_| {
                Error::Config(vec![format!("inputs.{name}.timezone: {zone:?} is not an IANA zone")])
            };
            Some(Calendar { zone: zone.parse().map_err(unknown)?, ..reporting })
        }
    };
    Ok(Clock { reporting, naive, format: input.time_format.clone() })
}

/// The name in the files of a canonical column.
pub(crate) fn source_name(input: &Input, canonical: &str) -> String {
    input.columns.get(canonical).cloned().unwrap_or_else(|| canonical.to_owned())
}

pub(crate) fn wanted_columns(input: &Input, contract: &[CanonicalColumn]) -> Vec<Wanted> {
    contract
        .iter()
        .map(|column| Wanted {
            canonical: column.name.to_owned(),
            source: source_name(input, column.name),
            holds: column.holds,
            need: column.need,
        })
        .collect()
}

impl DealSource {
    /// Lists and checks every input that tells deals' histories. `event_dimensions` are the
    /// dimensions that are columns of the events.
    ///
    /// # Errors
    /// Everything that is wrong with the files, collected.
    pub fn open(
        config: &Config,
        calendar: Calendar,
        stages: &StageTable,
        event_dimensions: &[String],
    ) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        let mut faults = Vec::new();
        for (name, input) in &config.inputs {
            if !matches!(input.shape, Shape::Events | Shape::StageDates) {
                continue;
            }
            let mut input = input.clone();
            if !config.pipeline.only.is_empty() {
                // A filter on a column that no file has would keep everything in silence.
                let source = source_name(&input, "pipeline_id");
                input.columns.insert("pipeline_id".into(), source);
            }
            match open_input(name, &input, calendar, stages, event_dimensions) {
                Ok(opened) => inputs.push(opened),
                Err(Error::Faults(more)) => faults.extend(more),
                Err(other) => return Err(other),
            }
        }
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let row_numbers = match config.fold.ties {
            Ties::Reject => RowNumbers::Kept,
            Ties::Forward | Ties::SourceOrder => RowNumbers::Dropped,
        };
        let (dimensions, present) = (event_dimensions.to_vec(), Present::default());
        let mut source = Self { inputs, dimensions, present, row_numbers, piece_rows: PIECE_ROWS };
        source.note_present();
        Ok(source)
    }

    fn note_present(&mut self) {
        let inputs = &self.inputs;
        let has = |f: fn(&Layout) -> Option<usize>| inputs.iter().any(|i| f(&i.layout).is_some());
        self.present = Present {
            amount: has(|l| l.amount),
            owner: has(|l| l.owner_id),
            customer: has(|l| l.customer_id),
            expected_close: has(|l| l.expected_close),
            seq: has(|l| l.seq),
            event_id: has(|l| l.event_id),
            ingested: has(|l| l.ingested_at),
        };
    }

    /// The checked inputs, for the manifest.
    pub fn inputs(&self) -> impl Iterator<Item = &CheckedInput> {
        self.inputs.iter().map(|i| &i.checked)
    }

    /// The checked inputs themselves, when reading is over.
    #[must_use]
    pub fn into_inputs(self) -> Vec<CheckedInput> {
        self.inputs.into_iter().map(|i| i.checked).collect()
    }

    /// How many rows there are by the footers, for sizing.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inputs.iter().flat_map(|i| i.checked.units()).map(|u| u.rows).sum()
    }

    /// Reads everything in parallel, as many units at a time as there are threads, of each at most a
    /// piece. `take` gets every piece's events with the number of its unit; what it gives comes back
    /// in the order of inputs, files and rows.
    ///
    /// # Errors
    /// The first file that cannot be decoded, in the order of files, whatever the threads; before
    /// that what `take` fails with, which ends the reading of all threads.
    #[expect(clippy::too_many_arguments, reason = "no hidden inputs: each is what decoding needs")]
    pub fn read<T: Send>(
        &self,
        names: &Interners,
        stages: &StageTable,
        ledger: &Ledger,
        currency: &Currency,
        as_of: Option<Instant>,
        pipelines: &[String],
        take: impl Fn(usize, &EventBatch) -> Result<T, Error> + Sync,
    ) -> Result<(Vec<T>, Read), Error> {
        // What could not be taken; then nothing more need be read.
        let failed: OnceLock<Error> = OnceLock::new();
        let latest = AtomicI64::new(NO_INSTANT);
        // Room that tasks leave to the next ones, so that pages are asked for once a thread.
        let rooms: Mutex<Vec<EventBatch>> = Mutex::default();
        let rooms = || rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for input in &self.inputs {
            ledger.record(&input.checked.name, &crate::quality::Counts::default());
        }
        let read_one = |(number, task): (usize, &Task<'_>)| {
            let input = task.input;
            let decoding = Decoding {
                names,
                stages,
                ledger,
                currency,
                as_of,
                pipelines,
                values: &input.values,
                present: self.present,
                row_numbers: self.row_numbers,
                piece_rows: self.piece_rows,
            };
            let mut taken = Vec::new();
            let mut keep = |events: &EventBatch| {
                if failed.get().is_some() {
                    return;
                }
                match take(number, events) {
                    Ok(one) => taken.push(one),
                    // Of several errors one is enough.
                    Err(error) => drop(failed.set(error)),
                }
            };
            let room = rooms().pop().unwrap_or_default();
            let (checked, layout) = (&input.checked, &input.layout);
            let mut state = TaskState::new(&decoding, checked, layout, room, &mut keep);
            for unit in &task.units {
                state.begin(*unit);
                if failed.get().is_some() || state.skips_unit() {
                    continue;
                }
                match input.shape {
                    Shape::StageDates => stage_dates::read_unit(&mut state)?,
                    _ => events::read_unit(&mut state)?,
                }
            }
            let (room, last) = state.finish();
            latest.fetch_max(last, Ordering::Relaxed);
            rooms().push(room);
            Ok(taken)
        };
        let tasks = self.tasks();
        let results: Vec<Result<Vec<T>, Error>> =
            tasks.par_iter().enumerate().map(read_one).collect();
        if let Some(error) = failed.into_inner() {
            return Err(error);
        }
        let mut all = Vec::new();
        for taken in results {
            all.append(&mut taken?);
        }
        Ok((all, Read { latest: latest.load(Ordering::Relaxed) }))
    }
}

fn open_input(
    name: &str,
    input: &Input,
    calendar: Calendar,
    stages: &StageTable,
    event_dimensions: &[String],
) -> Result<DealInput, Error> {
    let contract = if input.shape == Shape::StageDates { STAGE_DATES } else { DEAL_EVENTS };
    let mut wanted = wanted_columns(input, contract);
    let mut explicit = input.columns.clone();
    let optional = |canonical: &str, source: String, holds| Wanted {
        canonical: canonical.to_owned(),
        source,
        holds,
        need: Need::Optional,
    };
    let dimensions_at = wanted.len();
    for dimension in event_dimensions {
        let source = dimension_source(input, contract, dimension);
        explicit.insert(dimension.clone(), source.clone());
        wanted.push(optional(dimension, source, ColumnType::Text));
    }
    let dates_at = wanted.len();
    let mut dated = Vec::new();
    for (stage, column) in &input.stage_dates {
        dated.push(stages.code(stage)?);
        explicit.insert(stage.clone(), column.clone());
        wanted.push(optional(stage, column.clone(), ColumnType::Instant));
    }
    let outcome_at = wanted.len();
    if let Some(outcome) = &input.outcome {
        explicit.insert("outcome".into(), outcome.column.clone());
        explicit.insert("outcome date".into(), outcome.date.clone());
        wanted.push(optional("outcome", outcome.column.clone(), ColumnType::Text));
        wanted.push(optional("outcome date", outcome.date.clone(), ColumnType::Instant));
    }
    let strict = Input { columns: explicit, ..input.clone() };
    let checked = CheckedInput::open(name, &strict, &wanted, clock(name, input, calendar)?)?;
    let in_some_file = |index: usize| {
        let has = |f: &preflight::CheckedFile| f.origins.get(index) != Some(&Origin::Missing);
        checked.files.iter().any(has).then_some(index)
    };
    let position =
        |column: &str| contract.iter().position(|c| c.name == column).and_then(in_some_file);
    let layout = Layout {
        deal_id: position("deal_id"),
        event_time: position("event_time"),
        event_type: position("event_type"),
        stage_id: position("stage_id"),
        pipeline_id: position("pipeline_id"),
        amount: position("amount"),
        owner_id: position("owner_id"),
        customer_id: position("customer_id"),
        expected_close: position("expected_close"),
        seq: position("seq"),
        event_id: position("event_id"),
        ingested_at: position("ingested_at"),
        created_at: position("created_at"),
        dimensions: event_dimensions
            .iter()
            .enumerate()
            .map(|(i, d)| (d.clone(), in_some_file(dimensions_at + i)))
            .collect(),
        stage_dates: dated
            .into_iter()
            .enumerate()
            .map(|(i, stage)| (stage, dates_at + i))
            .collect(),
        outcome: input.outcome.clone(),
        outcome_column: input.outcome.as_ref().map(|_| outcome_at),
        outcome_date: input.outcome.as_ref().map(|_| outcome_at + 1),
    };
    let (shape, values) = (input.shape, input.values.clone());
    Ok(DealInput { checked, shape, full_layout: layout.clone(), layout, values })
}

/// Where a dimension is read from: its mapped column, a canonical column of its name, or of its
/// name with `_id` (`owner` is `owner_id`), or a column of its own name.
fn dimension_source(input: &Input, contract: &[CanonicalColumn], dimension: &str) -> String {
    if let Some(column) = input.columns.get(dimension) {
        return column.clone();
    }
    let with_id = format!("{dimension}_id");
    if contract.iter().any(|c| c.name == with_id) {
        return source_name(input, &with_id);
    }
    source_name(input, dimension)
}
