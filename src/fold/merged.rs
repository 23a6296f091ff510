//! What becomes of deals that were merged into others (G17): left out, or their histories folded
//! with that of the deal that goes on.
//!
//! Where histories are united, the losers' rows lie in the winner's bucket under its identifier, and
//! a column beside them keeps the deal that each row was of. What would end the loser does not end
//! the winner, its wins and losses are none of the winner's, and what a loser's rows say after its
//! merge is left out. A run without merges pays nothing for any of this.

use super::columns::Tally;
use super::deal::{Event, Outcome};
use super::machine::Machine;
use crate::config::Merged;
use crate::contract::{EventBatch, EventKind, Id, NO_PIPELINE, NO_STAGE, StageClass};
use crate::money::NO_AMOUNT;
use crate::source::{Merge, Merges};
use crate::time::NO_INSTANT;

/// Gives the rows of losers to their winners; `own` gets the deal that each row was of, and is empty
/// where none is united.
pub fn unite(merges: &Merges, events: &mut EventBatch, own: &mut Vec<Id>) {
    own.clear();
    if merges.policy() == Merged::Drop {
        return;
    }
    own.extend_from_slice(&events.deal);
    for deal in &mut events.deal {
        *deal = merges.folded_as(*deal);
    }
}

/// Whether a row was of a deal that was merged into the one that it counts for now.
#[must_use]
pub fn is_losers(events: &EventBatch, own: &[Id], row: usize) -> bool {
    own.get(row).is_some_and(|own| events.deal.get(row) != Some(own))
}

/// Leaves of a deal's rows those that count, and notes which deals were merged. None are left of a
/// deal that counts nowhere.
pub fn keep(
    merges: &Merges,
    events: &EventBatch,
    own: &[Id],
    rows: &mut Vec<u32>,
    tally: &mut Tally,
) {
    let Some(deal) = rows.first().and_then(|row| events.deal.get(*row as usize)).copied() else {
        return;
    };
    if merges.policy() == Merged::Drop && merges.of(deal).is_some() {
        tally.losers.push(deal);
        rows.clear();
        return;
    }
    if merges.is_winner(deal) && rows.iter().any(|row| !is_losers(events, own, *row as usize)) {
        tally.winners.push(deal);
    }
    if own.is_empty() {
        return;
    }
    let before = tally.losers.len();
    rows.retain(|row| {
        let at = *row as usize;
        let merge = own.get(at).and_then(|own| Some((*own, merges.of(*own)?)));
        let Some((loser, merge)) = merge else { return true };
        if !tally.losers.iter().skip(before).any(|known| *known == loser) {
            tally.losers.push(loser);
        }
        let (ends, is_late) = (ends_loser(events, at), is_late(events, at, merge));
        tally.after_deletion += u64::from(is_late && !ends);
        !ends && !is_late
    });
}

/// Whether a row ends its own deal only, where that was merged into another.
pub(super) fn ends_loser(events: &EventBatch, row: usize) -> bool {
    matches!(
        events.kind.get(row),
        Some(
            EventKind::Deleted
                | EventKind::Merged
                | EventKind::Restored
                | EventKind::ObservedGone
                | EventKind::CurrentGone
        )
    )
}

/// Whether a row is later than the merge of its deal.
pub(super) fn is_late(events: &EventBatch, row: usize, merge: Merge) -> bool {
    let is_current = events.kind.get(row).is_some_and(|kind| kind.is_current());
    merge.at != NO_INSTANT && events.time.get(row).copied() > Some(merge.at) && !is_current
}

/// What an event of a deal that was merged into this one does to it: it is history, and only the
/// deal that goes on has an outcome. So it moves the deal as long as that is open, and to no won or
/// lost stage; of a deal that is closed it changes neither stage nor amount.
#[must_use]
pub fn as_history(machine: &Machine<'_>, event: Event) -> Event {
    let is_closed = machine.deal.outcome != Outcome::Open;
    let told = event.pipeline != NO_PIPELINE;
    let pipeline = if told { event.pipeline } else { machine.deal.pipeline };
    let stage = machine.stages.settle(event.stage, pipeline);
    let ends = match event.kind {
        EventKind::Won | EventKind::Lost => true,
        EventKind::Created | EventKind::Stage | EventKind::Reopened => {
            let class = machine.stages.stage_at(stage, event.time).class;
            stage != NO_STAGE && matches!(class, StageClass::Won | StageClass::Lost)
        }
        _ => false,
    };
    if !ends && !is_closed {
        let is_moved = event.kind == EventKind::Reopened && stage != NO_STAGE;
        let kind = match event.kind {
            EventKind::Reopened if is_moved => EventKind::Stage,
            EventKind::Reopened => EventKind::Attribute,
            kind => kind,
        };
        return Event { kind, ..event };
    }
    let is_created = event.kind == EventKind::Created;
    Event {
        kind: if is_created { EventKind::Created } else { EventKind::Attribute },
        stage: NO_STAGE,
        pipeline: NO_PIPELINE,
        amount: if is_closed { NO_AMOUNT } else { event.amount },
        ..event
    }
}
