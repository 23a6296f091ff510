//! Shape `field_history`: one row per change of a field becomes the event that the change is, and,
//! where it is asked for, a note of the value until then.
//!
//! The note is for the fold, which alone knows the first change of a field and when the deal was
//! created. Changes of fields that nobody mapped are counted and change nothing.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};

use super::convert::{self, BAD_AMOUNT, Seen};
use super::layout::Target;
use super::rows::Standing;
use super::task::{Decoded, Rows, TaskState};
use crate::config::Initial;
use crate::contract::{EventKind, Id, NO_CODE, NO_PIPELINE, NO_STAGE};
use crate::error::Error;
use crate::money::{self, NO_AMOUNT};
use crate::quality::Rule;
use crate::time::{Instant, NO_DAY, NO_INSTANT};

/// What one change, or the note of what was before it, says.
#[derive(Debug, Clone)]
struct Told {
    kind: EventKind,
    stage: u16,
    amount: i64,
    inexact: bool,
    owner: u32,
    customer: Option<Id>,
    expected_close: i32,
    pipeline: u16,
    /// The text of a dimension, and where it belongs.
    named: Option<(Target, String)>,
}

impl Told {
    fn new(kind: EventKind) -> Self {
        Self {
            kind,
            stage: NO_STAGE,
            amount: NO_AMOUNT,
            inexact: false,
            owner: NO_CODE,
            customer: None,
            expected_close: NO_DAY,
            pipeline: NO_PIPELINE,
            named: None,
        }
    }
}

impl Told {
    /// Notes the pipeline that the row tells, and the stage that the new value is there. The old
    /// value may be of another pipeline, and so may a row that tells of the pipeline itself.
    fn place(&mut self, state: &TaskState<'_>, pipeline: u16) -> Result<(), Error> {
        if self.pipeline == NO_PIPELINE && pipeline != NO_PIPELINE {
            self.pipeline = pipeline;
            if self.stage != NO_STAGE {
                self.stage = state.decoding.stages.within(self.stage, pipeline)?;
            }
        }
        Ok(())
    }
}

/// The columns of a batch beside the shared ones.
struct Columns {
    time: Vec<Instant>,
    /// What each row's field is; `None` where nobody mapped it.
    field: Vec<Option<Target>>,
    new: StringArray,
    old: Option<StringArray>,
}

/// Reads the state's unit.
pub(super) fn read_unit(state: &mut TaskState<'_>) -> Result<(), Error> {
    let mut seen = Seen::default();
    state.each_batch(|state, arrays, first_row| read_batch(state, &mut seen, arrays, first_row))
}

fn read_batch(
    state: &mut TaskState<'_>,
    seen: &mut Seen<Option<Target>>,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<(), Error> {
    let mut common = state.decode_common(arrays)?;
    let columns = decode(state, seen, arrays, &mut common)?;
    let mut made = Made::default();
    for row in 0..common.deal.len() {
        if common.wanted_pipeline.get(row) == Some(&false) {
            continue;
        }
        state.counts.rows_in += 1;
        let at = columns.time.get(row).copied().unwrap_or(NO_INSTANT);
        if let Some(rule) = TaskState::judge_time(at) {
            state.refuse(rule, arrays, row, first_row);
            continue;
        }
        if state.decoding.as_of.is_some_and(|as_of| at > as_of) {
            state.counts.after_as_of += 1;
            continue;
        }
        if common.deal.get(row).is_none_or(|deal| deal.is_none()) {
            state.refuse(Rule::NullDealId, arrays, row, first_row);
            continue;
        }
        let Some(target) = columns.field.get(row).copied().flatten() else {
            state.counts.add(Rule::UnmappedFields, 1);
            continue;
        };
        let new = text(&columns.new, row);
        match change(state, target, new)? {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok(mut told) => {
                let pipeline = common.pipeline.get(row).copied().unwrap_or(NO_PIPELINE);
                told.place(state, pipeline)?;
                let old = columns.old.as_ref().and_then(|old| text(old, row));
                if let Some(before) = before(state, target, old)? {
                    made.push(row, at, before);
                }
                state.latest = state.latest.max(at);
                made.push(row, at, told);
            }
        }
    }
    append(state, &common, made, first_row)
}

fn text(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

/// What a change says, or the rule that it breaks.
fn change(
    state: &mut TaskState<'_>,
    target: Target,
    new: Option<&str>,
) -> Result<Result<Told, Rule>, Error> {
    let mut told = Told::new(EventKind::Attribute);
    let d = state.decoding;
    match target {
        Target::Created => told.kind = EventKind::Created,
        Target::Outcome => {
            told.kind = match Standing::of(convert::named(new, d.replacement("outcome"))) {
                Standing::Open => EventKind::Reopened,
                Standing::Won => EventKind::Won,
                Standing::Lost => EventKind::Lost,
                Standing::Deleted => EventKind::Deleted,
                Standing::Untold => EventKind::Attribute,
                Standing::Unknown => return Ok(Err(Rule::UnknownEventType)),
            };
        }
        Target::IsDeleted => {
            told.kind = match new.and_then(convert::flag) {
                Some(true) => EventKind::Deleted,
                Some(false) => EventKind::Restored,
                None => EventKind::Attribute,
            };
        }
        _ => {
            value(state, target, new, &mut told)?;
            match target {
                Target::Stage if told.stage == NO_STAGE => return Ok(Err(Rule::MissingStage)),
                Target::Stage => told.kind = EventKind::Stage,
                Target::Amount if told.amount == NO_AMOUNT => told.kind = EventKind::Cleared,
                _ => {}
            }
        }
    }
    Ok(judge(state, &mut told).map(|()| told))
}

/// Judges what need not keep the row out, as in the other shapes.
fn judge(state: &mut TaskState<'_>, told: &mut Told) -> Result<(), Rule> {
    let judged = Decoded {
        amount: vec![told.amount],
        inexact: if told.inexact { vec![0] } else { Vec::new() },
        ..Decoded::default()
    };
    state.judge_kept(&judged, 0, told.stage)?;
    if told.amount == BAD_AMOUNT {
        told.amount = NO_AMOUNT;
    }
    Ok(())
}

/// The note of a field's value until its change, if it had one that can be read.
fn before(state: &TaskState<'_>, target: Target, old: Option<&str>) -> Result<Option<Told>, Error> {
    let is_state = !matches!(target, Target::Created | Target::Outcome | Target::IsDeleted);
    if state.layout.initial == Initial::Unknown || !is_state {
        return Ok(None);
    }
    let mut told = Told::new(EventKind::Before);
    value(state, target, old, &mut told)?;
    if told.amount == BAD_AMOUNT {
        told.amount = NO_AMOUNT;
    }
    let says = told.stage != NO_STAGE
        || told.amount != NO_AMOUNT
        || told.owner != NO_CODE
        || told.customer.is_some()
        || told.expected_close != NO_DAY
        || told.pipeline != NO_PIPELINE
        || told.named.is_some();
    Ok(says.then_some(told))
}

/// Reads a field's value from its text.
fn value(
    state: &TaskState<'_>,
    target: Target,
    text: Option<&str>,
    told: &mut Told,
) -> Result<(), Error> {
    let d = state.decoding;
    let named = |column: &str| convert::named(text, d.replacement(column));
    match target {
        Target::Stage => {
            told.stage = named("stage_id").map_or(Ok(NO_STAGE), |name| d.stages.code(name))?;
        }
        Target::Amount => {
            let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
                return Ok(());
            };
            (told.amount, told.inexact) =
                match money::from_text(text, d.currency.scale, state.input.decimal) {
                    Some((minor, is_exact)) => (minor, !is_exact),
                    None => (BAD_AMOUNT, false),
                };
        }
        Target::Owner => {
            let Some(name) = named("owner_id") else { return Ok(()) };
            told.owner = d.names.owner.intern(name)?.0;
            told.named = Some((target, name.to_owned()));
        }
        Target::Customer => {
            let Some(name) = named("customer_id") else { return Ok(()) };
            told.customer = Some(d.settle_id(d.names.customer.id(name)?));
            told.named = Some((target, name.to_owned()));
        }
        Target::ExpectedClose => {
            told.expected_close =
                text.map_or(NO_DAY, |text| convert::day(text, &state.input.clock));
        }
        Target::Pipeline => {
            let Some(name) = named("pipeline_id") else { return Ok(()) };
            if d.present.pipeline {
                told.pipeline = d.stages.pipeline(name)?;
            }
            told.named = Some((target, name.to_owned()));
        }
        Target::Dimension(place) => {
            let column = state.layout.dimensions.get(place).map_or("", |(name, _)| name.as_str());
            told.named = named(column).map(|name| (target, name.to_owned()));
        }
        Target::Created | Target::Outcome | Target::IsDeleted => {}
    }
    Ok(())
}

/// The events of a batch, and the row that each was made of.
#[derive(Default)]
struct Made {
    rows: Vec<u32>,
    events: Vec<(Instant, Told)>,
}

impl Made {
    fn push(&mut self, row: usize, at: Instant, told: Told) {
        self.rows.push(row as u32);
        self.events.push((at, told));
    }
}

fn append(
    state: &mut TaskState<'_>,
    common: &Decoded,
    made: Made,
    first_row: u64,
) -> Result<(), Error> {
    let mut picked = common.pick(&made.rows);
    let told = || made.events.iter().map(|(_, told)| told);
    picked.amount = told().map(|t| t.amount).collect();
    picked.owner = told().map(|t| t.owner).collect();
    picked.expected_close = told().map(|t| t.expected_close).collect();
    picked.pipeline = told().map(|t| t.pipeline).collect();
    picked.customer.resize(made.rows.len(), Id::NONE);
    for (customer, told) in picked.customer.iter_mut().zip(told()) {
        *customer = told.customer.unwrap_or(*customer);
    }
    // The note has the identifier of its change, of which there may be only one.
    for (id, told) in picked.event_id.iter_mut().zip(told()) {
        *id = if told.kind == EventKind::Before { Id::NONE } else { *id };
    }
    let names = state.layout.dimensions.iter().zip(&state.decoding.names.dimensions);
    for (place, ((name, _), interner)) in names.enumerate() {
        let Some(column) = picked.dimensions.get_mut(place) else { continue };
        column.resize(made.rows.len(), NO_CODE);
        for (code, told) in column.iter_mut().zip(told()) {
            if let Some((target, text)) = &told.named
                && target.gives(place, name)
            {
                *code = interner.intern(text)?.0;
            }
        }
    }
    let present = state.decoding.present;
    drop_absent(&mut picked, present);
    let events = &mut state.events;
    events.time.extend(made.events.iter().map(|(at, _)| *at));
    events.kind.extend(made.events.iter().map(|(_, told)| told.kind));
    events.stage.extend(made.events.iter().map(|(_, told)| told.stage));
    state.extend_common(&mut picked, Rows::Made(&made.rows), first_row);
    Ok(())
}

/// Leaves out the columns that the run does not have, all of whose values say nothing.
fn drop_absent(picked: &mut Decoded, present: super::Present) {
    if !present.amount {
        picked.amount.clear();
    }
    if !present.owner {
        picked.owner.clear();
    }
    if !present.customer {
        picked.customer.clear();
    }
    if !present.expected_close {
        picked.expected_close.clear();
    }
    if !present.pipeline {
        picked.pipeline.clear();
    }
}

fn decode(
    state: &TaskState<'_>,
    seen: &mut Seen<Option<Target>>,
    arrays: &[Option<ArrayRef>],
    common: &mut Decoded,
) -> Result<Columns, Error> {
    let (d, layout) = (state.decoding, state.layout);
    let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
    state.decode_identity(arrays, common)?;
    common.ingested = state.instants(layout.ingested_at, arrays)?;
    let texts = |array: &ArrayRef| -> Result<StringArray, Error> {
        Ok(convert::as_text(array)?.as_string::<i32>().clone())
    };
    let replace = d.replacement("field");
    let target = |name: Option<&str>| {
        Ok(convert::named(name, replace).and_then(|name| layout.fields.get(name).copied()))
    };
    let (Some(field), Some(new)) = (get(layout.field), get(layout.new_value)) else {
        return Err(Error::Bug("required columns of a field history are missing".into()));
    };
    Ok(Columns {
        time: state.instants(layout.event_time, arrays)?,
        field: convert::each_name(field, seen, target, None)?,
        new: texts(new)?,
        old: get(layout.old_value).map(texts).transpose()?,
    })
}
