//! What all shapes of deal histories share while a few neighbouring units are read: the columns
//! decoded, the rows judged and kept, the account of what became of them.
//!
//! Events are handed over in pieces, so that a row group of any size is held a piece at a time.

use std::collections::BTreeSet;

use arrow::array::ArrayRef;

use super::convert::{self, BAD_AMOUNT, BAD_INSTANT, Seen};
use super::read::{CheckedInput, Unit};
use super::{Decoding, Layout, RowNumbers};
use crate::config::Severity;
use crate::contract::{EventBatch, Id, NO_CODE, NO_PIPELINE, NO_STAGE, StageClass};
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::quality::{Counts, Profile, QuarantinedRow, Rule};
use crate::time::{Instant, NO_DAY, NO_INSTANT};

/// One decoded batch: canonical columns of equal length; empty where the input has none.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) deal: Vec<Id>,
    pub(super) amount: Vec<i64>,
    /// Rows whose amount was rounded, ascending.
    pub(super) inexact: Vec<usize>,
    pub(super) currency: Vec<u32>,
    pub(super) owner: Vec<u32>,
    pub(super) customer: Vec<Id>,
    pub(super) expected_close: Vec<i32>,
    pub(super) seq: Vec<i64>,
    pub(super) event_id: Vec<Id>,
    pub(super) ingested: Vec<Instant>,
    pub(super) dimensions: Vec<Vec<u32>>,
    /// Whether each row's pipeline is asked for; empty where all are.
    pub(super) wanted_pipeline: Vec<bool>,
    /// The pipelines, where the run has several.
    pub(super) pipeline: Vec<u16>,
}

impl Decoded {
    /// These rows, in this order; columns that are not there stay so.
    pub(super) fn pick(&self, rows: &[u32]) -> Self {
        fn pick<T: Copy>(column: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().filter_map(|row| column.get(*row as usize).copied()).collect()
        }
        Self {
            deal: pick(&self.deal, rows),
            amount: pick(&self.amount, rows),
            inexact: Vec::new(),
            currency: pick(&self.currency, rows),
            owner: pick(&self.owner, rows),
            customer: pick(&self.customer, rows),
            expected_close: pick(&self.expected_close, rows),
            seq: pick(&self.seq, rows),
            event_id: pick(&self.event_id, rows),
            ingested: pick(&self.ingested, rows),
            dimensions: self.dimensions.iter().map(|d| pick(d, rows)).collect(),
            wanted_pipeline: Vec::new(),
            pipeline: pick(&self.pipeline, rows),
        }
    }
}

/// Names already looked up, a column.
#[derive(Default)]
struct SeenNames {
    currency: Seen<u32>,
    owner: Seen<u32>,
    wanted_pipeline: Seen<bool>,
    pipeline: Seen<u16>,
    dimensions: Vec<Seen<u32>>,
}

/// Which rows of a batch become events; a row may become several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    /// All of so many.
    Every(usize),
    /// These.
    These(&'a [u32]),
    /// The columns are of events already, made of these rows.
    Made(&'a [u32]),
}

/// What is known about a task's units while their batches are read.
pub(super) struct TaskState<'a> {
    pub(super) decoding: &'a Decoding<'a>,
    pub(super) input: &'a CheckedInput,
    pub(super) layout: &'a Layout,
    /// The unit being read.
    pub(super) unit: Unit,
    /// Rows of the task's earlier units.
    rows_before: u64,
    /// Events not yet handed over.
    pub(super) events: EventBatch,
    take: &'a mut dyn FnMut(&EventBatch),
    pub(super) counts: Counts,
    quarantine: Vec<QuarantinedRow>,
    /// The latest instant of an event.
    pub(super) latest: Instant,
    /// When the extracts were made whose rows were kept; of snapshots only.
    pub(super) extracts: BTreeSet<Instant>,
    /// Rules that are counted by default and whose rows this run keeps out.
    strict: Vec<Rule>,
    seen: SeenNames,
}

impl<'a> TaskState<'a> {
    /// A state that collects events in the room of `events` and hands them to `take`.
    pub(super) fn new(
        decoding: &'a Decoding<'a>,
        input: &'a CheckedInput,
        layout: &'a Layout,
        mut events: EventBatch,
        take: &'a mut dyn FnMut(&EventBatch),
    ) -> Self {
        events.clear();
        events.dimensions.resize_with(layout.dimensions.len(), Vec::new);
        let strict = [Rule::BadAmount, Rule::InexactAmount, Rule::UnknownStageEvents]
            .into_iter()
            .filter(|rule| decoding.ledger.severity(*rule) == Severity::Quarantine)
            .collect();
        let mut seen = SeenNames::default();
        seen.dimensions.resize_with(layout.dimensions.len(), Seen::default);
        Self {
            decoding,
            input,
            layout,
            unit: Unit { file: 0, row_group: None, first_row: 0, rows: 0, bytes: 0 },
            rows_before: 0,
            events,
            take,
            counts: Counts::default(),
            quarantine: Vec::new(),
            latest: NO_INSTANT,
            extracts: BTreeSet::new(),
            strict,
            seen,
        }
    }

    /// Begins the task's next unit.
    pub(super) fn begin(&mut self, unit: Unit) {
        self.rows_before += self.unit.rows;
        self.unit = unit;
    }

    /// Reads the unit batch by batch; `read` gets the columns and the position of the first row.
    pub(super) fn each_batch(
        &mut self,
        mut read: impl FnMut(&mut Self, &[Option<ArrayRef>], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (input, unit) = (self.input, self.unit);
        input.read(&unit, |arrays, first_row| {
            read(self, arrays, first_row)?;
            self.hand_over_if_many();
            Ok(())
        })
    }

    /// Hands the events over if they are many.
    fn hand_over_if_many(&mut self) {
        if self.events.len() >= self.decoding.piece_rows {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.counts.events += self.events.len() as u64;
        self.decoding.stages.mark_used(&self.events.stage, &self.events.pipeline);
        if self.decoding.ledger.is_profiling() {
            let dimensions = self.layout.dimensions.iter().map(|(name, _)| name.as_str());
            let mut profile = Profile::default();
            profile.add(&self.events, &self.input.clock.reporting, dimensions);
            self.decoding.ledger.note(&self.input.name, &profile);
        }
        (self.take)(&self.events);
        self.events.clear();
    }

    /// Hands the last events over and records what became of the rows; gives back the room, the
    /// latest instant and the extracts.
    pub(super) fn finish(mut self) -> (EventBatch, Instant, BTreeSet<Instant>) {
        if !self.events.is_empty() {
            self.hand_over();
        }
        self.counts.quarantined = self.quarantine.len() as u64;
        self.counts.events += self.counts.quarantined;
        self.counts.folded =
            self.counts.rows_in - self.counts.quarantined - self.counts.after_as_of;
        let ledger = self.decoding.ledger;
        ledger.record(&self.input.name, &self.counts);
        ledger.quarantine(&self.input.name, self.quarantine);
        (self.events, self.latest, self.extracts)
    }

    /// Whether the statistics show that no row of the unit can be needed. What is then counted is
    /// what reading the rows would count, so that the layout of the files changes no number.
    pub(super) fn skips_unit(&mut self) -> bool {
        let (input, unit, decoding) = (self.input, self.unit, self.decoding);
        if !decoding.pipelines.is_empty() {
            let only = self.layout.pipeline_id.and_then(|index| input.constant(&unit, index));
            match only {
                None => return false,
                Some(only) if decoding.is_wanted_pipeline(Some(&only)) => {}
                Some(_) => {
                    input.skip(&unit);
                    return true;
                }
            }
        }
        let (Some(as_of), Some(index)) = (decoding.as_of, self.layout.event_time) else {
            return false;
        };
        let is_later = input.time_range(&unit, index).is_some_and(|(min, _)| min > as_of);
        if is_later {
            input.skip(&unit);
            self.counts.rows_in += unit.rows;
            self.counts.after_as_of += unit.rows;
        }
        is_later
    }

    /// The columns that all shapes share.
    pub(super) fn decode_common(&mut self, arrays: &[Option<ArrayRef>]) -> Result<Decoded, Error> {
        let d = self.decoding;
        let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
        let mut decoded = Decoded::default();
        if let Some(array) = get(self.layout.deal_id) {
            decoded.deal = convert::ids(array, &d.names.deal, d.replacement("deal_id"))?;
            d.settle_ids(array, &mut decoded.deal);
        }
        if let Some(array) = get(self.layout.amount) {
            (decoded.amount, decoded.inexact) = self.input.money(array, d.currency)?;
        }
        if let Some(array) = get(self.layout.currency) {
            let (seen, replace) = (&mut self.seen.currency, d.replacement("currency"));
            decoded.currency = convert::codes(array, seen, &d.names.currency, replace)?;
        }
        if let Some(array) = get(self.layout.owner_id) {
            let (seen, replace) = (&mut self.seen.owner, d.replacement("owner_id"));
            decoded.owner = convert::codes(array, seen, &d.names.owner, replace)?;
        }
        if let Some(array) = get(self.layout.customer_id) {
            let replace = d.replacement("customer_id");
            decoded.customer = convert::ids(array, &d.names.customer, replace)?;
            d.settle_ids(array, &mut decoded.customer);
        }
        if let (Some(index), Some(array)) =
            (self.layout.expected_close, get(self.layout.expected_close))
        {
            decoded.expected_close = self.input.days(&self.unit, index, array)?;
        }
        if !d.pipelines.is_empty() {
            let asked = |name: Option<&str>| Ok(d.is_wanted_pipeline(name));
            decoded.wanted_pipeline = match get(self.layout.pipeline_id) {
                Some(array) => {
                    convert::each_name(array, &mut self.seen.wanted_pipeline, asked, false)?
                }
                // A file without the column says of no row that its pipeline is asked for.
                None => vec![false; decoded.deal.len()],
            };
        }
        if let Some(array) = get(self.layout.pipeline_id).filter(|_| d.present.pipeline) {
            let replace = d.replacement("pipeline_id");
            let code = |name: Option<&str>| {
                convert::named(name, replace)
                    .map_or(Ok(NO_PIPELINE), |name| d.stages.pipeline(name))
            };
            let seen = &mut self.seen.pipeline;
            decoded.pipeline = convert::each_name(array, seen, code, NO_PIPELINE)?;
        }
        let dimensions = self.layout.dimensions.iter().zip(&d.names.dimensions);
        for (((name, index), interner), seen) in dimensions.zip(&mut self.seen.dimensions) {
            decoded.dimensions.push(match get(*index) {
                Some(array) => convert::codes(array, seen, interner, d.replacement(name))?,
                None => Vec::new(),
            });
        }
        Ok(decoded)
    }

    /// The columns that say which row is which, in shapes that have them.
    pub(super) fn decode_identity(
        &self,
        arrays: &[Option<ArrayRef>],
        decoded: &mut Decoded,
    ) -> Result<(), Error> {
        let (d, layout) = (self.decoding, self.layout);
        let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
        if let Some(array) = get(layout.seq) {
            decoded.seq = convert::integers(array)?;
        }
        if let Some(array) = get(layout.event_id) {
            decoded.event_id = convert::ids(array, &d.names.event, d.replacement("event_id"))?;
        }
        Ok(())
    }

    /// Appends the shared columns of some rows. Where this file lacks a column that another one of
    /// the run has, no value is appended, so that all columns of a run stay equally long.
    pub(super) fn extend_common(&mut self, decoded: &mut Decoded, rows: Rows<'_>, first_row: u64) {
        let present = self.decoding.present;
        for amount in &mut decoded.amount {
            *amount = if *amount == BAD_AMOUNT { NO_AMOUNT } else { *amount };
        }
        let events = &mut self.events;
        extend(&mut events.deal, &decoded.deal, rows, Some(Id::NONE));
        let none = present.amount.then_some(NO_AMOUNT);
        extend(&mut events.amount, &decoded.amount, rows, none);
        let none = present.currency.then_some(NO_CODE);
        extend(&mut events.currency, &decoded.currency, rows, none);
        let none = present.owner.then_some(NO_CODE);
        extend(&mut events.owner, &decoded.owner, rows, none);
        let none = present.customer.then_some(Id::NONE);
        extend(&mut events.customer, &decoded.customer, rows, none);
        let none = present.expected_close.then_some(NO_DAY);
        extend(&mut events.expected_close, &decoded.expected_close, rows, none);
        let none = present.pipeline.then_some(NO_PIPELINE);
        extend(&mut events.pipeline, &decoded.pipeline, rows, none);
        extend(&mut events.seq, &decoded.seq, rows, present.seq.then_some(i64::MIN));
        let none = present.event_id.then_some(Id::NONE);
        extend(&mut events.event_id, &decoded.event_id, rows, none);
        let none = present.ingested.then_some(NO_INSTANT);
        extend(&mut events.ingested, &decoded.ingested, rows, none);
        for (column, values) in events.dimensions.iter_mut().zip(&decoded.dimensions) {
            extend(column, values, rows, Some(NO_CODE));
        }
        if self.decoding.row_numbers == RowNumbers::Kept {
            let first = (self.rows_before + first_row - self.unit.first_row) as u32;
            match rows {
                Rows::Every(n) => events.row.extend(first..first + n as u32),
                Rows::These(rows) | Rows::Made(rows) => {
                    events.row.extend(rows.iter().map(|row| first + row));
                }
            }
        }
    }

    /// Whether [`TaskState::judge_kept`] finds nothing in any row.
    pub(super) fn has_nothing_to_judge(&self, decoded: &Decoded, stages: &[u16]) -> bool {
        let is_unknown = |stage: &u16| {
            *stage != NO_STAGE && self.decoding.stages.stage(*stage).class == StageClass::Unknown
        };
        let strict = self.strict.contains(&Rule::UnknownStageEvents);
        decoded.inexact.is_empty()
            && !decoded.amount.contains(&BAD_AMOUNT)
            && !(strict && stages.iter().any(is_unknown))
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

    /// Finds the stages that the rows mean in the pipelines that they tell.
    pub(super) fn place_stages(&self, decoded: &Decoded, stages: &mut [u16]) -> Result<(), Error> {
        // Neighbours are mostly alike.
        let mut last = ((NO_STAGE, NO_PIPELINE), NO_STAGE);
        for (stage, pipeline) in stages.iter_mut().zip(&decoded.pipeline) {
            if *stage != NO_STAGE {
                let asked = (*stage, *pipeline);
                if last.0 != asked {
                    last = (asked, self.decoding.stages.within(*stage, *pipeline)?);
                }
                *stage = last.1;
            }
        }
        Ok(())
    }

    /// The instants of a column, one a row; none where there is no such column.
    pub(super) fn instants(
        &self,
        index: Option<usize>,
        arrays: &[Option<ArrayRef>],
    ) -> Result<Vec<Instant>, Error> {
        match index.and_then(|index| Some((index, arrays.get(index)?.as_ref()?))) {
            Some((index, array)) => self.input.instants(&self.unit, index, array),
            None => Ok(Vec::new()),
        }
    }

    /// An instant that stands for none where there is none, or the rule that it breaks.
    pub(super) fn judge_optional(at: Instant) -> Result<Option<Instant>, Rule> {
        match Self::judge_time(at) {
            None => Ok(Some(at)),
            Some(Rule::NullEventTime | Rule::SentinelEventTime) => Ok(None),
            Some(rule) => Err(rule),
        }
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
            file: self.input.path(&self.unit).to_path_buf(),
            row: first_row + row as u64,
            rule: rule.name(),
            deal_id: text(self.layout.deal_id),
            event_time: text(self.layout.event_time),
            event_type: text(self.layout.event_type),
            stage_id: text(self.layout.stage_id),
            amount: text(self.layout.amount),
            line: None,
            text: None,
        });
    }
}

/// Appends the values of some rows; where there are none, `none` for each row if it is given.
pub(super) fn extend<T: Copy>(to: &mut Vec<T>, from: &[T], rows: Rows<'_>, none: Option<T>) {
    match (rows, none) {
        (Rows::Every(n), Some(none)) if from.is_empty() => to.resize(to.len() + n, none),
        (Rows::These(rows) | Rows::Made(rows), Some(none)) if from.is_empty() => {
            to.resize(to.len() + rows.len(), none)
        }
        (Rows::Every(_) | Rows::Made(_), _) => to.extend_from_slice(from),
        (Rows::These(rows), _) => {
            to.extend(rows.iter().filter_map(|row| from.get(*row as usize).copied()));
        }
    }
}
