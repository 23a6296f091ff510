//! Shape `events`: one row per change becomes one event.

use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::ArrayRef;

use super::convert::{self, BAD_AMOUNT, BAD_INSTANT};
use super::read::{CheckedInput, Unit};
use super::{Decoding, Layout, Present};
use crate::config::Severity;
use crate::contract::{EventBatch, EventKind, NO_CODE, NO_ID, NO_STAGE, StageClass};
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, QuarantinedRow, Rule};
use crate::time::{Instant, NO_DAY, NO_INSTANT};

/// One decoded batch: canonical columns of equal length; empty where the input has none.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) deal: Vec<i64>,
    pub(super) deal_hash: Vec<u64>,
    pub(super) amount: Vec<i64>,
    /// Rows whose amount was rounded, ascending.
    pub(super) inexact: Vec<usize>,
    pub(super) owner: Vec<u32>,
    pub(super) customer: Vec<i64>,
    pub(super) expected_close: Vec<i32>,
    pub(super) dimensions: Vec<Vec<u32>>,
    /// Codes of the pipeline; whether each is asked for.
    pub(super) wanted_pipeline: Vec<bool>,
}

/// What is known about the unit while its batches are read.
pub(super) struct UnitState<'a> {
    pub(super) decoding: &'a Decoding<'a>,
    pub(super) input: &'a CheckedInput,
    pub(super) unit: &'a Unit,
    pub(super) layout: &'a Layout,
    pub(super) batch: EventBatch,
    pub(super) counts: Counts,
    pub(super) quarantine: Vec<QuarantinedRow>,
    /// Rules that are counted by default and whose rows this run keeps out.
    strict: Vec<Rule>,
}

impl<'a> UnitState<'a> {
    pub(super) fn new(
        decoding: &'a Decoding<'a>,
        input: &'a CheckedInput,
        unit: &'a Unit,
        layout: &'a Layout,
    ) -> Self {
        let mut batch = EventBatch::default();
        batch.dimensions.resize_with(layout.dimensions.len(), Vec::new);
        let strict = [Rule::BadAmount, Rule::InexactAmount, Rule::UnknownStageEvents]
            .into_iter()
            .filter(|rule| decoding.ledger.severity(*rule) == Severity::Quarantine)
            .collect();
        Self {
            decoding,
            input,
            unit,
            layout,
            batch,
            counts: Counts::default(),
            quarantine: Vec::new(),
            strict,
        }
    }

    /// Records what became of the rows and hands the events over.
    pub(super) fn finish(mut self) -> EventBatch {
        self.counts.quarantined = self.quarantine.len() as u64;
        self.counts.events = self.batch.len() as u64 + self.counts.quarantined;
        self.counts.folded =
            self.counts.rows_in - self.counts.quarantined - self.counts.after_as_of;
        let ledger = self.decoding.ledger;
        ledger.record(&self.input.name, &self.counts);
        ledger.quarantine(&self.input.name, self.quarantine);
        self.decoding.stages.mark_used(&self.batch.stage);
        self.batch
    }

    /// The columns that all shapes share.
    pub(super) fn decode_common(&mut self, arrays: &[Option<ArrayRef>]) -> Result<Decoded, Error> {
        let d = self.decoding;
        let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
        let mut decoded = Decoded::default();
        if let Some(array) = get(self.layout.deal_id) {
            (decoded.deal, decoded.deal_hash) =
                convert::ids(array, &d.names.deal, d.replacement("deal_id"))?;
        }
        if let Some(array) = get(self.layout.amount) {
            (decoded.amount, decoded.inexact) = convert::money(array, d.currency)?;
        }
        if let Some(array) = get(self.layout.owner_id) {
            decoded.owner = convert::codes(array, &d.names.owner, d.replacement("owner_id"))?;
        }
        if let Some(array) = get(self.layout.customer_id) {
            let replace = d.replacement("customer_id");
            decoded.customer = convert::ids(array, &d.names.customer, replace)?.0;
        }
        if let (Some(index), Some(array)) =
            (self.layout.expected_close, get(self.layout.expected_close))
        {
            decoded.expected_close = self.input.days(self.unit, index, array)?;
        }
        if !d.pipelines.is_empty() {
            let asked = |name: Option<&str>| Ok(d.is_wanted_pipeline(name));
            decoded.wanted_pipeline = match get(self.layout.pipeline_id) {
                Some(array) => convert::each_name(array, asked, false)?,
                // A file without the column says of no row that its pipeline is asked for.
                None => vec![false; decoded.deal.len()],
            };
        }
        let dimensions = self.layout.dimensions.iter().zip(&d.names.dimensions);
        for ((name, index), interner) in dimensions {
            decoded.dimensions.push(match get(*index) {
                Some(array) => convert::codes(array, interner, d.replacement(name))?,
                None => Vec::new(),
            });
        }
        Ok(decoded)
    }

    /// Copies the shared columns of one row; absent columns stay empty, or are filled up where an
    /// earlier file had them.
    pub(super) fn push_common(&mut self, decoded: &Decoded, row: usize) {
        let batch = &mut self.batch;
        batch.deal.push(decoded.deal.get(row).copied().unwrap_or(NO_ID));
        batch.deal_hash.push(decoded.deal_hash.get(row).copied().unwrap_or(0));
        if let Some(amount) = decoded.amount.get(row) {
            batch.amount.push(if *amount == BAD_AMOUNT { NO_AMOUNT } else { *amount });
        }
        if let Some(owner) = decoded.owner.get(row) {
            batch.owner.push(*owner);
        }
        if let Some(customer) = decoded.customer.get(row) {
            batch.customer.push(*customer);
        }
        if let Some(day) = decoded.expected_close.get(row) {
            batch.expected_close.push(*day);
        }
        for (column, values) in batch.dimensions.iter_mut().zip(&decoded.dimensions) {
            if let Some(code) = values.get(row) {
                column.push(*code);
            }
        }
    }

    /// Judges what of a row that is to be kept has a rule but need not keep the row out: counts the
    /// breach, or gives the rule where the configuration keeps such rows out.
    pub(super) fn judge_kept(
        &mut self,
        decoded: &Decoded,
        row: usize,
        stage: u16,
    ) -> Result<(), Rule> {
        if self.strict.contains(&Rule::UnknownStageEvents)
            && stage != NO_STAGE
            && self.decoding.stages.stage(stage).class == StageClass::Unknown
        {
            return Err(Rule::UnknownStageEvents);
        }
        let rule = if decoded.amount.get(row) == Some(&BAD_AMOUNT) {
            Rule::BadAmount
        } else if !decoded.inexact.is_empty() && decoded.inexact.binary_search(&row).is_ok() {
            Rule::InexactAmount
        } else {
            return Ok(());
        };
        if self.strict.contains(&rule) {
            return Err(rule);
        }
        self.counts.add(rule, 1);
        Ok(())
    }

    /// The instant's rule, if it breaks one.
    pub(super) fn judge_time(at: Instant) -> Option<Rule> {
        match at {
            NO_INSTANT => Some(Rule::NullEventTime),
            BAD_INSTANT => Some(Rule::BadEventTime),
            at if !convert::is_plausible(at) => Some(Rule::SentinelEventTime),
            _ => None,
        }
    }

    /// Keeps a row out.
    pub(super) fn refuse(
        &mut self,
        rule: Rule,
        arrays: &[Option<ArrayRef>],
        row: usize,
        first_row: u64,
    ) {
        let text = |index: Option<usize>| {
            convert::display(index.and_then(|i| arrays.get(i)?.as_ref()), row)
        };
        self.counts.add(rule, 1);
        self.quarantine.push(QuarantinedRow {
            file: self.input.path(self.unit).to_path_buf(),
            row: first_row + row as u64,
            rule: rule.name(),
            deal_id: text(self.layout.deal_id),
            event_time: text(self.layout.event_time),
            event_type: text(self.layout.event_type),
            stage_id: text(self.layout.stage_id),
            amount: text(self.layout.amount),
        });
    }
}

/// What a row says of its type.
#[derive(Debug, Clone, Copy)]
enum Declared {
    /// Nothing; whether there is a stage decides.
    Absent,
    /// A type that the contract does not know.
    Unknown,
    Known(EventKind),
}

/// Columns of shape `events` beside the shared ones.
struct EventColumns {
    time: Vec<Instant>,
    stage: Vec<u16>,
    kind: Vec<Declared>,
    seq: Vec<i64>,
    event_id: Vec<i64>,
    ingested: Vec<Instant>,
}

/// Reads one unit of an input of shape `events`. `latest` is raised to the latest instant seen.
pub(super) fn read_unit(
    decoding: &Decoding<'_>,
    input: &CheckedInput,
    unit: &Unit,
    layout: &Layout,
    latest: &AtomicI64,
) -> Result<EventBatch, Error> {
    let mut state = UnitState::new(decoding, input, unit, layout);
    if let Some(skipped) = skip_unit(&mut state) {
        return Ok(skipped);
    }
    let mut max = NO_INSTANT;
    input.read(unit, |arrays, first_row| {
        max = max.max(read_batch(&mut state, arrays, first_row)?);
        Ok(())
    })?;
    latest.fetch_max(max, Ordering::Relaxed);
    Ok(state.finish())
}

/// Whether the statistics show that no row of the unit can be needed. What is then counted is what
/// reading the rows would count, so that the layout of the files changes no number.
fn skip_unit(state: &mut UnitState<'_>) -> Option<EventBatch> {
    let (input, unit, layout) = (state.input, state.unit, state.layout);
    let decoding = state.decoding;
    if !decoding.pipelines.is_empty() {
        let only = input.constant(unit, layout.pipeline_id?)?;
        if !decoding.is_wanted_pipeline(Some(&only)) {
            input.skip(unit);
            return Some(EventBatch::default());
        }
    }
    let as_of = decoding.as_of?;
    let (min, _) = input.time_range(unit, layout.event_time?)?;
    if min <= as_of {
        return None;
    }
    input.skip(unit);
    state.counts.rows_in = unit.rows;
    state.counts.after_as_of = unit.rows;
    decoding.ledger.record(&input.name, &state.counts);
    Some(EventBatch::default())
}

fn read_batch(
    state: &mut UnitState<'_>,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<Instant, Error> {
    let common = state.decode_common(arrays)?;
    let columns = decode_events(state, arrays, common.deal.len())?;
    let as_of = state.decoding.as_of.unwrap_or(i64::MAX);
    let mut max = NO_INSTANT;
    for row in 0..common.deal.len() {
        if common.wanted_pipeline.get(row) == Some(&false) {
            continue;
        }
        state.counts.rows_in += 1;
        let at = columns.time.get(row).copied().unwrap_or(NO_INSTANT);
        let stage = columns.stage.get(row).copied().unwrap_or(NO_STAGE);
        let kind = match columns.kind.get(row).copied().unwrap_or(Declared::Absent) {
            Declared::Known(kind) => Some(kind),
            Declared::Unknown => None,
            Declared::Absent if stage == NO_STAGE => Some(EventKind::Attribute),
            Declared::Absent => Some(EventKind::Stage),
        };
        let judged = match UnitState::judge_time(at) {
            Some(rule) => Err(rule),
            // What is later than as_of does not exist (G1), whatever else is wrong with it.
            None if at > as_of => {
                state.counts.after_as_of += 1;
                continue;
            }
            None => judge_row(common.deal.get(row), kind, stage),
        };
        let judged = judged.and_then(|kind| {
            state.judge_kept(&common, row, stage)?;
            Ok(kind)
        });
        match judged {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok(kind) => {
                max = max.max(at);
                state.push_common(&common, row);
                state.push_event(&columns, row, at, kind, stage, first_row);
            }
        }
    }
    Ok(max)
}

fn judge_row(deal: Option<&i64>, kind: Option<EventKind>, stage: u16) -> Result<EventKind, Rule> {
    if deal.is_none_or(|d| *d == NO_ID) {
        return Err(Rule::NullDealId);
    }
    match kind {
        None => Err(Rule::UnknownEventType),
        Some(EventKind::Stage) if stage == NO_STAGE => Err(Rule::MissingStage),
        Some(kind) => Ok(kind),
    }
}

fn decode_events(
    state: &UnitState<'_>,
    arrays: &[Option<ArrayRef>],
    rows: usize,
) -> Result<EventColumns, Error> {
    let (d, layout) = (state.decoding, state.layout);
    let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
    let instants = |index: Option<usize>| match (index, get(index)) {
        (Some(index), Some(array)) => state.input.instants(state.unit, index, array),
        _ => Ok(Vec::new()),
    };
    let stages = d.replacement("stage_id");
    let stage_code = |name: Option<&str>| {
        convert::named(name, stages).map_or(Ok(NO_STAGE), |name| d.stages.code(name))
    };
    let types = d.replacement("event_type");
    let event_kind = |name: Option<&str>| {
        let kind = |name| EventKind::from_name(name).map_or(Declared::Unknown, Declared::Known);
        Ok(convert::named(name, types).map_or(Declared::Absent, kind))
    };
    let mut kind: Vec<Declared> = match get(layout.event_type) {
        Some(array) => convert::each_name(array, event_kind, Declared::Absent)?,
        None => Vec::new(),
    };
    kind.truncate(rows);
    Ok(EventColumns {
        time: instants(layout.event_time)?,
        stage: match get(layout.stage_id) {
            Some(array) => convert::each_name(array, stage_code, NO_STAGE)?,
            None => Vec::new(),
        },
        kind,
        seq: get(layout.seq).map(convert::integers).transpose()?.unwrap_or_default(),
        event_id: match get(layout.event_id) {
            Some(array) => convert::ids(array, &d.names.event, d.replacement("event_id"))?.0,
            None => Vec::new(),
        },
        ingested: instants(layout.ingested_at)?,
    })
}

impl UnitState<'_> {
    fn push_event(
        &mut self,
        columns: &EventColumns,
        row: usize,
        at: Instant,
        kind: EventKind,
        stage: u16,
        first_row: u64,
    ) {
        let batch = &mut self.batch;
        batch.time.push(at);
        batch.kind.push(kind);
        batch.stage.push(stage);
        batch.row.push((first_row - self.unit.first_row) as u32 + row as u32);
        if let Some(seq) = columns.seq.get(row) {
            batch.seq.push(*seq);
        }
        if let Some(id) = columns.event_id.get(row) {
            batch.event_id.push(*id);
        }
        if let Some(at) = columns.ingested.get(row) {
            batch.ingested.push(*at);
        }
    }
}

/// Fills columns that this unit's file lacks but another file of the run has, so that all batches
/// of a run have the same columns.
pub(super) fn fill_missing(batch: &mut EventBatch, present: Present, dimensions: usize) {
    fn fill<T: Clone>(column: &mut Vec<T>, asked: bool, rows: usize, none: T) {
        if asked && column.len() < rows {
            column.resize(rows, none);
        }
    }
    let rows = batch.len();
    fill(&mut batch.amount, present.amount, rows, NO_AMOUNT);
    fill(&mut batch.owner, present.owner, rows, NO_CODE);
    fill(&mut batch.customer, present.customer, rows, NO_ID);
    fill(&mut batch.expected_close, present.expected_close, rows, NO_DAY);
    fill(&mut batch.seq, present.seq, rows, i64::MIN);
    fill(&mut batch.event_id, present.event_id, rows, NO_ID);
    fill(&mut batch.ingested, present.ingested, rows, NO_INSTANT);
    batch.dimensions.resize_with(dimensions, Vec::new);
    for column in &mut batch.dimensions {
        column.resize(rows, NO_CODE);
    }
}
