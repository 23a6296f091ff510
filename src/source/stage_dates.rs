//! Shape `stage_dates`: one row per deal, with the date it entered each stage and an outcome,
//! becomes one event per date.
//!
//! It cannot tell regressions or second visits: the history of such a deal is its first (or last)
//! visits only.

use arrow::array::ArrayRef;

use super::convert::{self, Seen};
use super::task::{Decoded, Rows, TaskState};
use crate::contract::{EventKind, NO_PIPELINE, NO_STAGE};
use crate::error::Error;
use crate::quality::Rule;
use crate::time::{Instant, NO_INSTANT};

/// What a row says of its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    /// Won or lost.
    Ended(EventKind),
    /// A value that is neither, such as the name of an open stage.
    Other,
}

/// The dates of a batch of rows.
struct Dates {
    /// Event kind, stage, and one instant a row, in the order of the configuration.
    columns: Vec<(EventKind, u16, Vec<Instant>)>,
    /// Won, lost or neither, a row.
    outcome: Vec<Given>,
    closed: Vec<Instant>,
}

/// Reads the state's unit.
pub(super) fn read_unit(state: &mut TaskState<'_>) -> Result<(), Error> {
    state.each_batch(read_batch)
}

fn read_batch(
    state: &mut TaskState<'_>,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<(), Error> {
    let mut common = state.decode_common(arrays)?;
    let dates = decode_dates(state, arrays)?;
    let mut events: Vec<(EventKind, u16, Instant)> = Vec::new();
    let mut kept: Vec<u32> = Vec::new();
    for row in 0..common.deal.len() {
        if common.wanted_pipeline.get(row) == Some(&false) {
            continue;
        }
        state.counts.rows_in += 1;
        events.clear();
        let as_of = state.decoding.as_of.unwrap_or(i64::MAX);
        let mut judged = row_events(&common, &dates, row, &mut events);
        if judged.is_ok() {
            events.retain(|(_, _, at)| *at <= as_of);
            if events.is_empty() {
                state.counts.after_as_of += 1;
                continue;
            }
            judged = state.judge_kept(&common, row, NO_STAGE);
        }
        let closed = dates.closed.get(row).copied().unwrap_or(NO_INSTANT);
        let unknown = dates.outcome.get(row) == Some(&Given::Other)
            && TaskState::judge_time(closed).is_none();
        state.counts.add(Rule::UnknownOutcome, u64::from(unknown));
        match judged {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok(()) => {
                let pipeline = common.pipeline.get(row).copied().unwrap_or(NO_PIPELINE);
                for (kind, stage, at) in &events {
                    let stage = state.decoding.stages.within(*stage, pipeline)?;
                    state.latest = state.latest.max(*at);
                    kept.push(row as u32);
                    state.events.time.push(*at);
                    state.events.kind.push(*kind);
                    state.events.stage.push(stage);
                }
            }
        }
    }
    state.extend_common(&mut common, Rows::These(&kept), first_row);
    Ok(())
}

/// The events that a row stands for, or the rule it breaks.
fn row_events(
    common: &Decoded,
    dates: &Dates,
    row: usize,
    events: &mut Vec<(EventKind, u16, Instant)>,
) -> Result<(), Rule> {
    if common.deal.get(row).is_none_or(|deal| deal.is_none()) {
        return Err(Rule::NullDealId);
    }
    for (kind, stage, column) in &dates.columns {
        let at = column.get(row).copied().unwrap_or(NO_INSTANT);
        match TaskState::judge_time(at) {
            None => events.push((*kind, *stage, at)),
            // No date, or a stand-in for none, means that the stage was not reached.
            Some(Rule::NullEventTime | Rule::SentinelEventTime) => {}
            Some(rule) => return Err(rule),
        }
    }
    if let Some(Given::Ended(kind)) = dates.outcome.get(row) {
        let at = dates.closed.get(row).copied().unwrap_or(NO_INSTANT);
        match TaskState::judge_time(at) {
            None => events.push((*kind, NO_STAGE, at)),
            Some(Rule::NullEventTime | Rule::SentinelEventTime) => {
                return Err(Rule::OutcomeWithoutDate);
            }
            Some(rule) => return Err(rule),
        }
    }
    if events.is_empty() { Err(Rule::Undated) } else { Ok(()) }
}

fn decode_dates(state: &TaskState<'_>, arrays: &[Option<ArrayRef>]) -> Result<Dates, Error> {
    let layout = state.layout;
    let instants = |index: usize, array| state.input.instants(&state.unit, index, array);
    let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
    let mut columns = Vec::new();
    if let (Some(index), Some(array)) = (layout.created_at, get(layout.created_at)) {
        columns.push((EventKind::Created, NO_STAGE, instants(index, array)?));
    }
    for (stage, index) in &layout.stage_dates {
        if let Some(array) = get(Some(*index)) {
            columns.push((EventKind::Stage, *stage, instants(*index, array)?));
        }
    }
    let mut dates = Dates { columns, outcome: Vec::new(), closed: Vec::new() };
    if let (Some(outcome), Some(array)) = (&layout.outcome, get(layout.outcome_column)) {
        let kind = |name: Option<&str>| {
            let Some(name) = convert::named(name, None) else { return Ok(Given::Nothing) };
            let is = |names: &[String]| names.iter().any(|x| x == name);
            Ok(if is(&outcome.won) {
                Given::Ended(EventKind::Won)
            } else if is(&outcome.lost) {
                Given::Ended(EventKind::Lost)
            } else {
                Given::Other
            })
        };
        dates.outcome = convert::each_name(array, &mut Seen::default(), kind, Given::Nothing)?;
    }
    if let (Some(index), Some(array)) = (layout.outcome_date, get(layout.outcome_date)) {
        dates.closed = instants(index, array)?;
    }
    Ok(dates)
}
