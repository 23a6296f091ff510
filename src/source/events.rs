//! Shape `events`: one row per change becomes one event.
//!
//! Batches in which every row is good, which is nearly all of them, are judged and appended column
//! by column; the others row by row, with the same result.

use arrow::array::ArrayRef;

use super::convert::{self, Seen};
use super::task::{Decoded, Rows, TaskState, extend};
use crate::contract::{EventKind, Id, NO_STAGE};
use crate::error::Error;
use crate::quality::Rule;
use crate::time::{Instant, NO_INSTANT};

/// What a row says of its type.
#[derive(Debug, Clone, Copy)]
enum Declared {
    /// Nothing; whether there is a stage decides.
    Absent,
    /// A type that the contract does not know.
    Unknown,
    Known(EventKind),
    /// A change of pipeline, which is one of the stage where the row names one.
    Pipeline,
}

impl Declared {
    /// What the event does, or the rule that its row breaks.
    fn settle(self, stage: u16) -> Result<EventKind, Rule> {
        match self {
            Self::Unknown => Err(Rule::UnknownEventType),
            Self::Known(EventKind::Stage) if stage == NO_STAGE => Err(Rule::MissingStage),
            Self::Known(kind) => Ok(kind),
            Self::Absent | Self::Pipeline if stage == NO_STAGE => Ok(EventKind::Attribute),
            Self::Absent | Self::Pipeline => Ok(EventKind::Stage),
        }
    }
}

/// Names of stages and types already looked up.
#[derive(Default)]
struct SeenKinds {
    stage: Seen<u16>,
    kind: Seen<Declared>,
}

/// Columns of shape `events` beside the shared ones.
struct EventColumns {
    time: Vec<Instant>,
    stage: Vec<u16>,
    /// Empty where the file has no types.
    declared: Vec<Declared>,
}

/// Reads the state's unit.
pub(super) fn read_unit(state: &mut TaskState<'_>) -> Result<(), Error> {
    let mut seen = SeenKinds::default();
    state.each_batch(|state, arrays, first_row| read_batch(state, &mut seen, arrays, first_row))
}

fn read_batch(
    state: &mut TaskState<'_>,
    seen: &mut SeenKinds,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<(), Error> {
    let mut common = state.decode_common(arrays)?;
    let columns = decode_events(state, seen, arrays, &mut common)?;
    if let Some((kinds, latest)) = judge_all(state, &common, &columns) {
        state.counts.rows_in += kinds.len() as u64;
        state.latest = state.latest.max(latest);
        append(state, &mut common, &columns, &kinds, Rows::Every(kinds.len()), first_row);
        return Ok(());
    }
    let mut kinds = Vec::with_capacity(common.deal.len());
    let mut kept = Vec::with_capacity(common.deal.len());
    for row in 0..common.deal.len() {
        kinds.push(EventKind::Attribute);
        let Some(judged) = judge_one(state, &common, &columns, row) else { continue };
        match judged {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok((kind, at)) => {
                state.latest = state.latest.max(at);
                kept.push(row as u32);
                if let Some(slot) = kinds.last_mut() {
                    *slot = kind;
                }
            }
        }
    }
    append(state, &mut common, &columns, &kinds, Rows::These(&kept), first_row);
    Ok(())
}

/// The kinds of all rows and the latest instant, if no row breaks any rule or is left out.
fn judge_all(
    state: &TaskState<'_>,
    common: &Decoded,
    columns: &EventColumns,
) -> Option<(Vec<EventKind>, Instant)> {
    let rows = common.deal.len();
    let as_of = state.decoding.as_of.unwrap_or(i64::MAX);
    let (mut latest, mut is_good) = (NO_INSTANT, columns.time.len() == rows);
    for at in &columns.time {
        latest = latest.max(*at);
        is_good &= convert::is_plausible(*at);
    }
    is_good &= latest <= as_of
        && columns.stage.len() == rows
        && !common.deal.contains(&Id::NONE)
        && !common.wanted_pipeline.contains(&false)
        && state.has_nothing_to_judge(common, &columns.stage);
    if !is_good {
        return None;
    }
    let kinds = if columns.declared.is_empty() {
        let kind = |stage: &u16| {
            if *stage == NO_STAGE { EventKind::Attribute } else { EventKind::Stage }
        };
        columns.stage.iter().map(kind).collect()
    } else {
        let pairs = columns.declared.iter().zip(&columns.stage);
        pairs.map(|(declared, stage)| declared.settle(*stage).ok()).collect::<Option<Vec<_>>>()?
    };
    Some((kinds, latest))
}

/// What a row does and when, or the rule it breaks; `None` where it is not there at all.
fn judge_one(
    state: &mut TaskState<'_>,
    common: &Decoded,
    columns: &EventColumns,
    row: usize,
) -> Option<Result<(EventKind, Instant), Rule>> {
    if common.wanted_pipeline.get(row) == Some(&false) {
        return None;
    }
    state.counts.rows_in += 1;
    let at = columns.time.get(row).copied().unwrap_or(NO_INSTANT);
    let stage = columns.stage.get(row).copied().unwrap_or(NO_STAGE);
    if let Some(rule) = TaskState::judge_time(at) {
        return Some(Err(rule));
    }
    // What is later than as_of does not exist (G1), whatever else is wrong with it.
    if state.decoding.as_of.is_some_and(|as_of| at > as_of) {
        state.counts.after_as_of += 1;
        return None;
    }
    if common.deal.get(row).is_none_or(|deal| deal.is_none()) {
        return Some(Err(Rule::NullDealId));
    }
    let declared = columns.declared.get(row).copied().unwrap_or(Declared::Absent);
    Some(declared.settle(stage).and_then(|kind| {
        state.judge_kept(common, row, stage)?;
        Ok((kind, at))
    }))
}

fn append(
    state: &mut TaskState<'_>,
    common: &mut Decoded,
    columns: &EventColumns,
    kinds: &[EventKind],
    rows: Rows<'_>,
    first_row: u64,
) {
    state.extend_common(common, rows, first_row);
    let events = &mut state.events;
    extend(&mut events.time, &columns.time, rows, Some(NO_INSTANT));
    extend(&mut events.stage, &columns.stage, rows, Some(NO_STAGE));
    extend(&mut events.kind, kinds, rows, Some(EventKind::Attribute));
}

fn decode_events(
    state: &TaskState<'_>,
    seen: &mut SeenKinds,
    arrays: &[Option<ArrayRef>],
    common: &mut Decoded,
) -> Result<EventColumns, Error> {
    let (d, layout) = (state.decoding, state.layout);
    let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
    let instants = |index: Option<usize>| match (index, get(index)) {
        (Some(index), Some(array)) => state.input.instants(&state.unit, index, array),
        _ => Ok(Vec::new()),
    };
    state.decode_identity(arrays, common)?;
    common.ingested = instants(layout.ingested_at)?;
    let stages = d.replacement("stage_id");
    let stage_code = |name: Option<&str>| {
        convert::named(name, stages).map_or(Ok(NO_STAGE), |name| d.stages.code(name))
    };
    let types = d.replacement("event_type");
    let event_kind = |name: Option<&str>| {
        let kind = |name| match EventKind::from_name(name) {
            Some(_) if name == "pipeline" && d.stages.has_pipelines() => Declared::Pipeline,
            Some(kind) => Declared::Known(kind),
            None => Declared::Unknown,
        };
        Ok(convert::named(name, types).map_or(Declared::Absent, kind))
    };
    let mut stage = match get(layout.stage_id) {
        Some(array) => convert::each_name(array, &mut seen.stage, stage_code, NO_STAGE)?,
        None => vec![NO_STAGE; common.deal.len()],
    };
    state.place_stages(common, &mut stage)?;
    Ok(EventColumns {
        time: instants(layout.event_time)?,
        stage,
        declared: match get(layout.event_type) {
            Some(array) => convert::each_name(array, &mut seen.kind, event_kind, Declared::Absent)?,
            None => Vec::new(),
        },
    })
}
