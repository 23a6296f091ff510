//! Shapes `row_history`, `intervals` and `snapshots`: a row says all that is known of its deal from an
//! instant on, and becomes one observation.
//!
//! What changed from one row to the next is found by the fold, which alone has a deal's rows
//! together and in order.

use arrow::array::ArrayRef;

use super::convert::{self, BAD_INSTANT, Seen};
use super::task::{Decoded, Rows, TaskState};
use crate::config::Shape;
use crate::contract::{EventKind, NO_STAGE, OPEN_END, StageClass};
use crate::error::Error;
use crate::quality::Rule;
use crate::time::{Instant, MICROS_PER_DAY, NO_INSTANT};

/// An interval that ends then or later has not ended: 2050 in whatever zone, 9999 and their kin.
const OPEN_FROM: Instant = 29_219 * MICROS_PER_DAY;

/// What a row says of how its deal stands, beside the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Untold,
    /// A word that the contract does not know.
    Unknown,
    Open,
    Won,
    Lost,
    Deleted,
}

impl Standing {
    /// The standing of a name, replaced already.
    pub(super) fn of(name: Option<&str>) -> Self {
        match name.map(str::to_ascii_lowercase).as_deref() {
            None => Self::Untold,
            Some("open") => Self::Open,
            Some("won") => Self::Won,
            Some("lost") => Self::Lost,
            Some("deleted") => Self::Deleted,
            Some(_) => Self::Unknown,
        }
    }

    /// What two flags say, of which either may be missing.
    pub(super) fn of_flags(is_closed: Option<bool>, is_won: Option<bool>) -> Self {
        match (is_closed, is_won) {
            (_, Some(true)) => Self::Won,
            (Some(false), _) => Self::Open,
            (Some(true), Some(false)) => Self::Lost,
            (Some(true), None) | (None, _) => Self::Untold,
        }
    }
}

/// Names already looked up.
#[derive(Default)]
pub(super) struct SeenNames {
    stage: Seen<u16>,
    standing: Seen<Standing>,
}

/// How the deals of a batch of full rows stand: columns of equal length, empty where there is none.
#[derive(Default)]
pub(super) struct Standings {
    pub(super) stage: Vec<u16>,
    standing: Vec<Standing>,
    is_closed: Vec<Option<bool>>,
    is_won: Vec<Option<bool>>,
    pub(super) is_deleted: Vec<Option<bool>>,
    pub(super) created: Vec<Instant>,
}

/// The columns of a batch beside the shared ones.
struct Columns {
    standings: Standings,
    from: Vec<Instant>,
    to: Vec<Instant>,
    is_active: Vec<Option<bool>>,
}

/// What becomes of a row that breaks no rule.
struct Kept {
    kind: EventKind,
    stage: u16,
    from: Instant,
    to: Instant,
    created: Instant,
}

/// Reads the state's unit.
pub(super) fn read_unit(state: &mut TaskState<'_>, shape: Shape) -> Result<(), Error> {
    let mut seen = SeenNames::default();
    state.each_batch(|state, arrays, first_row| {
        read_batch(state, shape, &mut seen, arrays, first_row)
    })
}

fn read_batch(
    state: &mut TaskState<'_>,
    shape: Shape,
    seen: &mut SeenNames,
    arrays: &[Option<ArrayRef>],
    first_row: u64,
) -> Result<(), Error> {
    let mut common = state.decode_common(arrays)?;
    let columns = decode(state, seen, arrays, &mut common)?;
    let rows = common.deal.len();
    let mut kept: Vec<u32> = Vec::with_capacity(rows);
    let (mut ends, mut created) = (vec![NO_INSTANT; rows], vec![NO_INSTANT; rows]);
    for row in 0..rows {
        if common.wanted_pipeline.get(row) == Some(&false) {
            continue;
        }
        state.counts.rows_in += 1;
        match judge(state, shape, &common, &columns, row) {
            Err(rule) => state.refuse(rule, arrays, row, first_row),
            Ok(None) => state.counts.after_as_of += 1,
            Ok(Some(made)) => {
                let ended = if made.to == OPEN_END { made.from } else { made.to };
                state.latest = state.latest.max(made.from).max(ended);
                kept.push(row as u32);
                state.events.time.push(made.from);
                state.events.kind.push(made.kind);
                state.events.stage.push(made.stage);
                let places = [(&mut ends, made.to), (&mut created, made.created)];
                for (column, value) in places {
                    if let Some(slot) = column.get_mut(row) {
                        *slot = value;
                    }
                }
                if shape == Shape::Snapshots {
                    state.extracts.insert(made.from);
                }
            }
        }
    }
    // See the kinds of events: that is how these two travel.
    if shape == Shape::Intervals {
        common.seq = ends;
    }
    if !columns.standings.created.is_empty() {
        common.ingested = created;
    }
    state.extend_common(&mut common, Rows::These(&kept), first_row);
    Ok(())
}

/// What a row says, the rule that it breaks, or `None` where it is later than `as_of`.
fn judge(
    state: &mut TaskState<'_>,
    shape: Shape,
    common: &Decoded,
    columns: &Columns,
    row: usize,
) -> Result<Option<Kept>, Rule> {
    let from = columns.from.get(row).copied().unwrap_or(NO_INSTANT);
    if let Some(rule) = TaskState::judge_time(from) {
        return Err(rule);
    }
    let as_of = state.decoding.as_of.unwrap_or(Instant::MAX);
    if from > as_of {
        return Ok(None);
    }
    if common.deal.get(row).is_none_or(|deal| deal.is_none()) {
        return Err(Rule::NullDealId);
    }
    let to = if shape == Shape::Intervals {
        let to = columns.to.get(row).copied().unwrap_or(NO_INSTANT);
        end(from, to, columns.is_active.get(row).copied().flatten(), as_of)?
    } else {
        OPEN_END
    };
    let standings = &columns.standings;
    let (stage, is_gone) = standings.settle(state, row)?;
    state.judge_kept(common, row, stage)?;
    let created = standings.created.get(row).copied().unwrap_or(NO_INSTANT);
    let created = TaskState::judge_optional(created)?.filter(|at| *at <= as_of);
    Ok(Some(Kept {
        kind: if is_gone { EventKind::ObservedGone } else { EventKind::Observed },
        stage,
        from,
        to,
        created: created.unwrap_or(NO_INSTANT),
    }))
}

/// The end of an interval; [`OPEN_END`] where it has not ended by `as_of`.
fn end(
    from: Instant,
    to: Instant,
    is_active: Option<bool>,
    as_of: Instant,
) -> Result<Instant, Rule> {
    let is_open = to >= OPEN_FROM || to == NO_INSTANT || to == 0;
    if to == BAD_INSTANT || (is_open && is_active == Some(false)) {
        return Err(Rule::BadInterval);
    }
    if is_open || to > as_of {
        return Ok(OPEN_END);
    }
    if to < from { Err(Rule::BadInterval) } else { Ok(to) }
}

impl Standings {
    /// Decodes what full rows say of how their deals stand.
    pub(super) fn decode(
        state: &TaskState<'_>,
        seen: &mut SeenNames,
        arrays: &[Option<ArrayRef>],
        common: &Decoded,
    ) -> Result<Self, Error> {
        let (d, layout) = (state.decoding, state.layout);
        let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
        let mut standings =
            Self { created: state.instants(layout.created_at, arrays)?, ..Self::default() };
        if let Some(array) = get(layout.stage_id) {
            let replace = d.replacement("stage_id");
            let code = |name: Option<&str>| {
                convert::named(name, replace).map_or(Ok(NO_STAGE), |name| d.stages.code(name))
            };
            standings.stage = convert::each_name(array, &mut seen.stage, code, NO_STAGE)?;
            state.place_stages(common, &mut standings.stage)?;
        }
        if let Some(array) = get(layout.outcome_name) {
            let replace = d.replacement("outcome");
            let of = |name: Option<&str>| Ok(Standing::of(convert::named(name, replace)));
            standings.standing =
                convert::each_name(array, &mut seen.standing, of, Standing::Untold)?;
        }
        for (index, flags) in [
            (layout.is_closed, &mut standings.is_closed),
            (layout.is_won, &mut standings.is_won),
            (layout.is_deleted, &mut standings.is_deleted),
        ] {
            if let (Some(index), Some(array)) = (index, get(index)) {
                *flags = state.input.flags(&state.unit, index, array)?;
            }
        }
        Ok(standings)
    }

    /// How a row's deal stands: by its outcome, or else by its flags.
    pub(super) fn standing(&self, row: usize) -> Standing {
        let flag = |flags: &[Option<bool>]| flags.get(row).copied().flatten();
        match self.standing.get(row).copied().unwrap_or(Standing::Untold) {
            Standing::Untold => Standing::of_flags(flag(&self.is_closed), flag(&self.is_won)),
            told => told,
        }
    }

    /// The stage that a row's deal is in, closed ones included, and whether the deal is deleted.
    fn settle(&self, state: &mut TaskState<'_>, row: usize) -> Result<(u16, bool), Rule> {
        let stages = state.decoding.stages;
        let stage = self.stage.get(row).copied().unwrap_or(NO_STAGE);
        let is_gone = self.is_deleted.get(row).copied().flatten() == Some(true);
        Ok(match self.standing(row) {
            Standing::Untold | Standing::Open => (stage, is_gone),
            Standing::Won => (stages.end_or(stage, StageClass::Won), is_gone),
            Standing::Lost => (stages.end_or(stage, StageClass::Lost), is_gone),
            Standing::Deleted => (stage, true),
            Standing::Unknown => {
                state.counts.add(Rule::UnknownOutcome, 1);
                (stage, is_gone)
            }
        })
    }
}

fn decode(
    state: &TaskState<'_>,
    seen: &mut SeenNames,
    arrays: &[Option<ArrayRef>],
    common: &mut Decoded,
) -> Result<Columns, Error> {
    let layout = state.layout;
    let get = |index: Option<usize>| index.and_then(|i| arrays.get(i)?.as_ref());
    state.decode_identity(arrays, common)?;
    Ok(Columns {
        standings: Standings::decode(state, seen, arrays, common)?,
        from: state.instants(layout.event_time, arrays)?,
        to: state.instants(layout.valid_to, arrays)?,
        is_active: match (layout.is_active, get(layout.is_active)) {
            (Some(index), Some(array)) => state.input.flags(&state.unit, index, array)?,
            _ => Vec::new(),
        },
    })
}
