//! Bytes to canonical columns: discovery of files and partitions, Parquet and CSV, one file per
//! input shape.
//!
//! It judges rows one by one and counts what it keeps out; it knows nothing of the order of events.

mod alike;
mod calendar;
mod chunks;
mod contracts;
mod convert;
mod current;
mod csv;
mod decoded;
mod deltas;
mod discover;
mod events;
mod field_history;
mod footprint;
mod fx_rates;
mod guard;
mod intern;
mod layout;
mod lookup;
mod merges;
mod needs;
mod pages;
mod partitions;
mod payments;
mod preflight;
mod probability;
mod read;
mod registry;
mod rows;
mod sheet;
mod spend;
mod splits;
mod stage_dates;
mod surveys;
mod tables;
mod targets;
mod task;
mod tasks;
mod touches;
#[cfg(test)]
mod tests;
pub mod synthetic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::ArrayRef;
use rayon::prelude::*;

pub use calendar::Workdays;
pub use contracts::ContractRow;
pub use convert::can_be_read;
pub use discover::{FileFormat, FoundFile, Listing, discover};
pub use footprint::Footprint;
pub use fx_rates::{FxRates, FxSource};
pub use guard::is_guarded;
pub use intern::{Interner, Names};
pub use lookup::{Held, Lookup, LookupKey, LookupSource};
pub use merges::{Merge, MergeSource, Merges};
pub use needs::{Attribute, Width};
pub use payments::{Payment, PaymentSource, Payments, record_orphans};
pub use probability::{in_millionths, unit_hint};
pub use read::{CheckedInput, check_dialect};
pub use registry::Registry;
pub use spend::{Spend, SpendRow, SpendSource, SpentIn};
pub use splits::{Share, SplitSource, Splits, record_unknown};
pub use surveys::{SCORE_SCALE, SurveyKind, SurveyRow};
pub use tables::{TableSettings, Tables, TablesSource};
pub use targets::{NET_WON_AMOUNT, TargetRow};
pub use touches::TouchRow;

use crate::config::{Config, Input, Shape, Ties};
use crate::contract::{CanonicalColumn, EventBatch, Id, StageTable};
use crate::error::Error;
use crate::money::Currency;
use crate::quality::Ledger;
use crate::time::{Calendar, Instant, NO_INSTANT};
use convert::Clock;
pub use layout::InputFacts;
use layout::{DealInput, Layout};
use preflight::Wanted;
use probability::Span;
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
    /// Currencies of amounts.
    pub currency: Interner,
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
        let own = [&self.deal, &self.customer, &*self.owner, &self.event, &self.currency];
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
    pub(crate) sources: Sources,
}

/// How many inputs name the same deals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sources {
    /// One.
    One,
    /// Several, of which one may hold as a number what another holds as text.
    Several,
}

impl Decoding<'_> {
    /// As [`Self::settle_ids`], of one that was text.
    fn settle_id(&self, id: Id) -> Id {
        if self.sources == Sources::Several { id.as_number() } else { id }
    }

    /// Where several inputs tell of the same deals, `7` is 7.
    fn settle_ids(&self, array: &ArrayRef, ids: &mut [Id]) {
        if self.sources == Sources::Several && !array.data_type().is_integer() {
            ids.iter_mut().for_each(|id| *id = id.as_number());
        }
    }

    fn replacement(&self, column: &str) -> Option<&BTreeMap<String, String>> {
        self.values.get(column)
    }

    /// Whether the run asks for a pipeline of this name, as found in a file.
    fn is_wanted_pipeline(&self, name: Option<&str>) -> bool {
        let name = convert::named(name, self.replacement("pipeline_id"));
        name.is_some_and(|name| self.pipelines.iter().any(|p| p == name))
    }
}

/// Which optional columns any input of the run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present {
    /// The amount of a deal.
    pub amount: bool,
    /// Its currency.
    pub currency: bool,
    /// The owner.
    pub owner: bool,
    /// The customer.
    pub customer: bool,
    /// The expected close date.
    pub expected_close: bool,
    /// The pipeline, where there are several.
    pub pipeline: bool,
    /// The chance of winning.
    pub probability: bool,
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

/// The checked inputs that tell the deals' histories.
pub struct DealSource {
    inputs: Vec<DealInput>,
    /// Names of the dimensions that come with the events.
    pub dimensions: Vec<String>,
    /// Which optional columns there are.
    pub present: Present,
    /// Whether the run has several pipelines.
    has_pipelines: bool,
    /// Whether events carry row numbers: by default where deals may be rejected for their ties.
    pub row_numbers: RowNumbers,
    /// How many events a thread holds before it hands them over as a piece.
    pub piece_rows: usize,
    /// Whether other tables name the same deals, too.
    sources: Sources,
}

/// Large enough that a bucket's share of a piece is worth a look; small enough that a scattered
/// column of codes or distances stays in the second-level cache.
const PIECE_ROWS: usize = 1 << 18;

/// More instants than an hourly extract has in two years: then they are those of rows.
const EXTRACTS_MAX: usize = 20_000;

/// What reading the events gave beside the events.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// The latest instant at or before `as_of`; [`NO_INSTANT`] if there is no event.
    pub latest: Instant,
    /// When the extracts of each input of snapshots were made, by its name.
    pub extracts: BTreeMap<String, BTreeSet<Instant>>,
    /// What the probabilities of each input look like, by its name.
    pub probabilities: BTreeMap<String, Span>,
}

impl Read {
    /// Adds what a task of an input gave.
    fn add(
        &mut self,
        input: &DealInput,
        latest: Instant,
        dates: BTreeSet<Instant>,
        span: &Span,
    ) -> Result<(), Error> {
        self.latest = self.latest.max(latest);
        let name = &input.checked.name;
        self.probabilities.entry(name.clone()).or_default().merge(span);
        if !dates.is_empty() {
            let own = self.extracts.entry(name.clone()).or_default();
            own.extend(dates);
            if own.len() > EXTRACTS_MAX {
                return Err(input.too_many_extracts(EXTRACTS_MAX));
            }
        }
        Ok(())
    }
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

/// Reads the state's unit, as its shape tells.
fn read_unit(shape: Shape, state: &mut TaskState<'_>) -> Result<(), Error> {
    match shape {
        Shape::StageDates => stage_dates::read_unit(state),
        Shape::FieldHistory => field_history::read_unit(state),
        Shape::RowHistory | Shape::Intervals | Shape::Snapshots => rows::read_unit(state, shape),
        Shape::Deals => current::read_unit(state),
        _ => events::read_unit(state),
    }
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
        let tells = |input: &&Input| input.shape.tells_of_deals();
        let several = config.inputs.values().filter(tells).count() > 1;
        let sources = if several { Sources::Several } else { Sources::One };
        for (name, input) in &config.inputs {
            if !input.shape.tells_of_deals() {
                continue;
            }
            let mut input = input.clone();
            if !config.pipeline.only.is_empty() {
                // A filter on a column that no file has would keep everything in silence.
                let source = source_name(&input, "pipeline_id");
                input.columns.insert("pipeline_id".into(), source);
            }
            probability::hide_unsaid(&mut input);
            match layout::open_input(name, &input, calendar, stages, event_dimensions, sources) {
                Ok(opened) => inputs.push(opened),
                Err(Error::Faults(more)) => faults.extend(more),
                Err(other) => return Err(other),
            }
        }
        if faults.is_empty() {
            faults.extend(layout::untold_dimensions(&inputs, event_dimensions));
        }
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let row_numbers = match config.fold.ties {
            Ties::Reject => RowNumbers::Kept,
            Ties::Forward | Ties::SourceOrder => RowNumbers::Dropped,
        };
        let (dimensions, present) = (event_dimensions.to_vec(), Present::default());
        let merges = config.inputs.values().any(|input| input.shape == Shape::Merges);
        let sources = if merges { Sources::Several } else { sources };
        let (has_pipelines, piece_rows) = (stages.has_pipelines(), PIECE_ROWS);
        let mut source =
            Self { inputs, dimensions, present, has_pipelines, row_numbers, piece_rows, sources };
        source.note_present();
        Ok(source)
    }

    fn note_present(&mut self) {
        self.present = Present::default();
        for input in &self.inputs {
            self.present.note(input);
        }
        self.present.pipeline &= self.has_pipelines;
    }

    /// The position of each unit's input among [`Self::inputs`].
    #[must_use]
    pub fn inputs_of_units(&self) -> Vec<u16> {
        let place = |task: &Task<'_>| {
            let own = self.inputs.iter().position(|input| std::ptr::eq(input, task.input));
            own.unwrap_or_default() as u16
        };
        self.tasks().iter().map(place).collect()
    }

    /// What each input can tell, in the order of [`Self::inputs`].
    pub fn facts(&self) -> impl Iterator<Item = InputFacts<'_>> {
        self.inputs.iter().map(DealInput::facts)
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
        let read: Mutex<Read> = Mutex::new(Read { latest: NO_INSTANT, ..Read::default() });
        // Room that tasks leave to the next ones, so that pages are asked for once a thread.
        let rooms: Mutex<Vec<EventBatch>> = Mutex::default();
        let rooms = || rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for input in &self.inputs {
            ledger.record(&input.checked.name, &crate::quality::Counts::default());
            input.checked.forget_refused();
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
                sources: self.sources,
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
                if failed.get().is_some() || state.skips_unit(input.shape) {
                    continue;
                }
                read_unit(input.shape, &mut state)?;
            }
            let (room, last, dates, span) = state.finish();
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read.add(input, last, dates, &span)?;
            drop(read);
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
        for input in &self.inputs {
            input.checked.settle_refused(ledger);
        }
        Ok((all, read.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }
}
