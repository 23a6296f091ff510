//! What becomes of deals that were merged into others (G17): left out, or their histories folded
//! with that of the deal that goes on.
//!
//! Where histories are united, the losers' rows lie in the winner's bucket under its identifier, and
//! a column beside them keeps the deal that each row was of. What would end the loser does not end
//! the winner, and what a loser's rows say after its merge is left out. A run without merges pays
//! nothing for any of this.

use super::columns::Tally;
use crate::config::Merged;
use crate::contract::{EventBatch, EventKind, Id};
use crate::source::Merges;
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
        let (kind, time) = (events.kind.get(at), events.time.get(at).copied());
        let kind = kind.copied().unwrap_or_default();
        let ends = matches!(
            kind,
            EventKind::Deleted
                | EventKind::Merged
                | EventKind::Restored
                | EventKind::ObservedGone
                | EventKind::CurrentGone
        );
        let is_late = merge.at != NO_INSTANT && time > Some(merge.at) && !kind.is_current();
        tally.after_deletion += u64::from(is_late && !ends);
        !ends && !is_late
    });
}
