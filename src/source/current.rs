//! Shape `deals`: the current state of every deal, one row each.
//!
//! It is no history: the fold takes from it what the history of a deal lacks, and compares the two.

use arrow::array::ArrayRef;

use super::rows::{SeenNames, Standing, Standings};
use super::task::{Decoded, Rows, TaskState};
use crate::contract::{EventKind, NO_CREATION, NO_STAGE, StageClass};
use crate::error::Error;
use crate::quality::Rule;
use crate::time::{Instant, NO_INSTANT};

/// The instants of a batch beside the creation, one a row; empty where there is no such column.
struct Ends {
    closed: Vec<Instant>,
    won: Vec<Instant>,
    lost: Vec<Instant>,
    deleted: Vec<Instant>,
}

/// What a row says.
struct Kept {
    created: Option<Instant>,
    kind: EventKind,
    stage: u16,
    closed: Option<Instant>,
    /// Whether the deal is deleted, and when.
    gone: Option<Option<Instant>>,
}

/// Reads the state's unit.
pub(super) fn read_unit(state: &mut TaskState<'_>) -> Result<(), Error> {
    let mut seen = SeenNames::default();
    state.each_batch(|state, arrays, first_row| read_batch(state, &mut seen, arrays, first_row))
}

fn read_batch(
    state: &mut TaskState<'_>,
    seen: &mut SeenNames,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<(), Error> {
    let common = state.decode_common(arrays)?;
    let standings = Standings::decode(state, seen, arrays, &common)?;
    let layout = state.layout;
    let ends = Ends {
        closed: state.instants(layout.closed_at, arrays)?,
        won: state.instants(layout.won_at, arrays)?,
        lost: state.instants(layout.lost_at, arrays)?,
        deleted: state.instants(layout.deleted_at, arrays)?,
    };
    let mut made: Vec<(u32, Instant)> = Vec::new();
    for row in 0..common.deal.len() {
        if common.wanted_pipeline.get(row) == Some(&false) {
            continue;
        }
        state.counts.rows_in += 1;
        match judge(state, &common, &standings, &ends, row) {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok(None) => state.counts.after_as_of += 1,
            Ok(Some(kept)) => {
                let at = kept.created.unwrap_or(NO_CREATION);
                for told in [kept.created, kept.closed, kept.gone.flatten()].into_iter().flatten() {
                    state.latest = state.latest.max(told);
                }
                let gone = kept.gone.map(|at| (EventKind::CurrentGone, at));
                for (kind, when) in [(kept.kind, kept.closed)].into_iter().chain(gone) {
                    made.push((row as u32, when.unwrap_or(NO_INSTANT)));
                    state.events.time.push(at);
                    state.events.kind.push(kind);
                    state.events.stage.push(kept.stage);
                }
            }
        }
    }
    let rows: Vec<u32> = made.iter().map(|(row, _)| *row).collect();
    let mut picked = common.pick(&rows);
    picked.ingested = made.iter().map(|(_, when)| *when).collect();
    state.extend_common(&mut picked, Rows::Made(&rows), first_row);
    Ok(())
}

/// What a row says, the rule that it breaks, or `None` where its deal is created after `as_of`.
fn judge(
    state: &mut TaskState<'_>,
    common: &Decoded,
    standings: &Standings,
    ends: &Ends,
    row: usize,
) -> Result<Option<Kept>, Rule> {
    let told = |column: &[Instant]| {
        TaskState::judge_optional(column.get(row).copied().unwrap_or(NO_INSTANT))
    };
    let as_of = state.decoding.as_of.unwrap_or(Instant::MAX);
    let created = told(&standings.created)?;
    if created.is_some_and(|at| at > as_of) {
        return Ok(None);
    }
    if common.deal.get(row).is_none_or(|deal| deal.is_none()) {
        return Err(Rule::NullDealId);
    }
    let mut stage = standings.stage.get(row).copied().unwrap_or(NO_STAGE);
    state.judge_kept(common, row, stage)?;
    let mut standing = standings.standing(row);
    if standing == Standing::Unknown {
        state.counts.add(Rule::UnknownOutcome, 1);
        standing = Standing::Untold;
    }
    let is_deleted = standing == Standing::Deleted
        || standings.is_deleted.get(row).copied().flatten() == Some(true);
    if matches!(standing, Standing::Untold | Standing::Deleted) && stage != NO_STAGE {
        standing = match state.decoding.stages.stage(stage).class {
            StageClass::Open => Standing::Open,
            StageClass::Won => Standing::Won,
            StageClass::Lost => Standing::Lost,
            StageClass::Ignored | StageClass::Unknown => Standing::Untold,
        };
    }
    let (mut kind, own) = match standing {
        Standing::Open => (EventKind::CurrentOpen, None),
        Standing::Won => (EventKind::CurrentWon, told(&ends.won)?),
        Standing::Lost => (EventKind::CurrentLost, told(&ends.lost)?),
        _ => (EventKind::Current, None),
    };
    let is_closed = matches!(kind, EventKind::CurrentWon | EventKind::CurrentLost);
    let mut closed = if is_closed { own.or(told(&ends.closed)?) } else { None };
    if closed.is_some_and(|at| at > as_of) {
        // How the deal stood before that is not in the table.
        (kind, stage, closed) = (EventKind::Current, NO_STAGE, None);
    }
    let deleted = told(&ends.deleted)?;
    let gone = (is_deleted && deleted.is_none_or(|at| at <= as_of)).then_some(deleted);
    Ok(Some(Kept { created, kind, stage, closed, gone }))
}
