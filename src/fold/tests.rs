//! The eight hand-worked deals of definitions.md sections 4 to 6, and one claim per rule of the
//! fold. Histories are text: stage and day, such as `L0 Q2 P5 W9`; `*` before an amount.

use super::levels::{Leveller, Levels};
use super::machine::{Machine, Move, Outcome, Rules};
use super::order::{deduplicate, order};
use super::*;
use crate::config::{CycleEnd, CycleStart, Deleted, DimensionAt, Pipeline};
use crate::contract::EventKind;

const DAY: i64 = 86_400_000_000;

fn stages() -> StageTable {
    StageTable::new(&Pipeline {
        stages: ["L", "Q", "P"].map(String::from).to_vec(),
        won: vec!["W".into()],
        lost: vec!["X".into()],
        ignored: vec!["I".into()],
        ..Pipeline::default()
    })
}

fn rules(deleted: Deleted) -> Rules {
    Rules {
        deleted,
        cycle_start: CycleStart::Created,
        cycle_end: CycleEnd::FirstClose,
        dimension_at: DimensionAt::Close,
    }
}

/// `L0` enters L on day 0, `=3*250` sets the amount on day 3, `D7` deletes, `R8` restores, `O9`
/// re-opens, `C1` creates.
fn history(text: &str, stages: &StageTable) -> EventBatch {
    let mut batch = EventBatch::default();
    for (row, word) in text.split_whitespace().enumerate() {
        let (name, rest) = word.split_at(1);
        let (day, amount) = rest.split_once('*').unwrap_or((rest, ""));
        let kind = match name {
            "=" => EventKind::Attribute,
            "D" => EventKind::Deleted,
            "R" => EventKind::Restored,
            "O" => EventKind::Reopened,
            "C" => EventKind::Created,
            _ => EventKind::Stage,
        };
        let stage = if kind == EventKind::Stage { stages.code(name).unwrap() } else { NO_STAGE };
        batch.deal.push(Id::integer(1));
        batch.time.push(day.parse::<i64>().unwrap() * DAY);
        batch.kind.push(kind);
        batch.stage.push(stage);
        batch.row.push(row as u32);
        batch.amount.push(amount.parse().unwrap_or(NO_AMOUNT));
    }
    batch
}

fn folded<'a>(text: &str, stages: &'a StageTable, deleted: Deleted) -> (Machine<'a>, bool) {
    let events = history(text, stages);
    let mut rows = order(&events, stages, Ties::Forward).rows;
    deduplicate(&events, &mut rows, |_| 0);
    let mut machine = Machine::new(stages, rules(deleted), 0);
    machine.begin();
    for row in rows {
        machine.apply(&event(&events, row as usize), |_| NO_CODE);
    }
    let kept = machine.finish();
    (machine, kept)
}

#[track_caller]
fn check_moves(text: &str, expected: &[(&str, Move)]) {
    let stages = stages();
    let (machine, _) = folded(text, &stages, Deleted::Exclude);
    let (names, finals) = stages.finish();
    let got: Vec<(&str, Move)> = machine
        .visits
        .iter()
        .map(|v| (names[finals[v.stage as usize] as usize].as_str(), v.ended))
        .collect();
    assert_eq!(got, expected, "{text}");
}

#[track_caller]
fn check_levels(text: &str, expected: [i16; 5]) {
    let stages = stages();
    let (machine, _) = folded(text, &stages, Deleted::Exclude);
    let levels: Levels = Leveller::new(&stages).levels(&machine.visits, &machine.deal);
    let got =
        [levels.reached, levels.fall_through, levels.ordered, levels.strict, levels.furthest_final];
    assert_eq!(got, expected, "reached, fall_through, ordered, strict, furthest_final of {text}");
}

#[test]
fn fixture_moves() {
    check_moves(
        "L0 Q2 P5 W9",
        &[("L", Move::Advanced), ("Q", Move::Advanced), ("P", Move::Won), ("W", Move::Still)],
    );
    check_moves("L0 P3 W4", &[("L", Move::Skipped), ("P", Move::Won), ("W", Move::Still)]);
    check_moves(
        "L0 Q1 P4 Q6 P8 X10",
        &[
            ("L", Move::Advanced),
            ("Q", Move::Advanced),
            ("P", Move::Regressed),
            ("Q", Move::Advanced),
            ("P", Move::Lost),
            ("X", Move::Still),
        ],
    );
    check_moves(
        "Q0 P1 W3 P5 X12",
        &[
            ("Q", Move::Advanced),
            ("P", Move::Won),
            ("W", Move::Reopened),
            ("P", Move::Lost),
            ("X", Move::Still),
        ],
    );
}

#[test]
fn fixture_levels() {
    // Ordered levels as printed; the others by the definitions, by hand.
    check_levels("L0 Q2 P5 W9", [4, 4, 4, 4, 4]);
    check_levels("L0 P3 W4", [4, 1, 1, 1, 4]);
    check_levels("L0 Q1 P4 Q6 P8 X10", [3, 3, 3, 3, 3]);
    check_levels("L0 Q3", [2, 2, 2, 2, 2]);
    check_levels("L0 X7", [1, 1, 1, 1, 1]);
    check_levels("Q0 P1 W3 P5 X12", [4, 0, 0, 0, 3]);
    check_levels("L0", [1, 1, 1, 1, 1]);
    check_levels("L2 Q2 P2 W2", [4, 4, 4, 4, 4]);
}

#[test]
fn ordered_takes_the_earliest_possible_visits_in_any_file_order() {
    check_levels("Q1 L2 Q3 P4 W5", [4, 4, 4, 4, 4]);
    check_levels("Q1 L2 P4 W5", [4, 4, 1, 1, 4]);
}

#[test]
fn strict_fails_on_a_detour() {
    check_levels("L0 Q1 U2 P3", [3, 3, 3, 2, 3]);
}

#[test]
fn same_stage_again_is_no_visit() {
    let stages = stages();
    let (machine, _) = folded("L0 L1*5 Q2 Q3", &stages, Deleted::Exclude);
    assert_eq!(machine.visits.len(), 2);
    assert_eq!(machine.deal.no_ops, 2);
    assert_eq!(machine.deal.amount, 5);
}

#[test]
fn reopened_deal_is_open_and_its_first_close_stays() {
    let stages = stages();
    let (machine, _) = folded("L0 W3 O5", &stages, Deleted::Exclude);
    assert_eq!(machine.deal.outcome, Outcome::Open);
    assert_eq!(machine.deal.first_closed, 3 * DAY);
    assert_eq!(machine.deal.closed, NO_INSTANT);
    assert!(machine.deal.ever_won);
    assert_eq!(machine.deal.reopens, 1);
    assert_eq!(machine.visits.last().unwrap().stage, stages.code("L").unwrap());
}

#[test]
fn second_won_stage_keeps_the_first_close() {
    let stages = StageTable::new(&Pipeline {
        stages: vec!["L".into()],
        won: vec!["W".into(), "V".into()],
        ..Pipeline::default()
    });
    let (machine, _) = folded("L0 W3 V5", &stages, Deleted::Exclude);
    assert_eq!(machine.deal.closed, 3 * DAY);
    assert_eq!(machine.visits.len(), 3);
}

#[test]
fn amount_given_with_the_close_counts_at_the_close() {
    let stages = stages();
    let (machine, _) = folded("L0*100 W3 =3*250 =9*300", &stages, Deleted::Exclude);
    assert_eq!(machine.deal.created_amount, 100);
    assert_eq!(machine.deal.closed_amount, 250);
    assert_eq!(machine.deal.amount, 300);
}

#[test]
fn deleted_deals_follow_the_policy() {
    let stages = stages();
    assert!(!folded("L0 D3", &stages, Deleted::Exclude).1);
    let (machine, kept) = folded("L0 D3", &stages, Deleted::KeepUntilDeleted);
    assert!(kept);
    assert_eq!(machine.deal.outcome, Outcome::Deleted);
    assert_eq!(machine.cycle_end(20 * DAY), (3 * DAY, Outcome::Deleted));
    let (machine, _) = folded("L0 D3", &stages, Deleted::AsLost);
    assert_eq!(machine.deal.outcome, Outcome::Lost);
    let (machine, _) = folded("L0 D3 R5", &stages, Deleted::AsLost);
    assert_eq!(machine.deal.outcome, Outcome::Open, "restored from what counted as a loss");
    let (machine, kept) = folded("L0 D3 R5", &stages, Deleted::Exclude);
    assert!(kept, "a restored deal counts");
    assert_eq!(machine.visits.len(), 2);
}

#[test]
fn no_close_holds_for_a_deleted_deal() {
    // It kept the day and amount of a win that no longer counted.
    let stages = stages();
    let (machine, _) = folded("L0 W5*70 D7", &stages, Deleted::KeepUntilDeleted);
    assert_eq!(machine.deal.first_closed, 5 * DAY);
    assert_eq!((machine.deal.closed, machine.deal.closed_amount), (NO_INSTANT, NO_AMOUNT));
}

/// What a restoring or re-opening event that names the ignored stage leads to.
#[track_caller]
fn check_ignored_name(text: &str, expected: &str) {
    let stages = stages();
    let mut events = history(text, &stages);
    *events.stage.last_mut().unwrap() = stages.code("I").unwrap();
    let mut machine = Machine::new(&stages, rules(Deleted::Exclude), 0);
    machine.begin();
    for row in 0..events.len() {
        machine.apply(&event(&events, row), |_| NO_CODE);
    }
    assert_eq!(machine.visits.last().unwrap().stage, stages.code(expected).unwrap(), "{text}");
}

#[test]
fn ignored_stage_is_not_restored_or_reopened_to() {
    check_ignored_name("L0 Q1 D3 R4", "Q");
    check_ignored_name("L0 Q1 X3 O4", "Q");
}

#[test]
fn close_before_creation_is_a_negative_span() {
    let stages = stages();
    let (machine, _) = folded("L0 W1 C2", &stages, Deleted::Exclude);
    let (end, ended) = machine.cycle_end(9 * DAY);
    assert!(machine.closed_before_creation(end, ended), "G12: not clipped to zero");
    let (machine, _) = folded("L0 C2 W3", &stages, Deleted::Exclude);
    let (end, ended) = machine.cycle_end(9 * DAY);
    assert!(!machine.closed_before_creation(end, ended));
}

#[test]
fn creation_without_a_stage_ties_with_nothing() {
    let stages = stages();
    let events = history("C0 L0", &stages);
    let mut rows = order(&events, &stages, Ties::Forward).rows;
    assert_eq!(deduplicate(&events, &mut rows, |_| 0).ties, 0);
}

#[test]
fn ignored_stages_change_nothing_and_unknown_ones_are_visited() {
    check_moves(
        "L0 I1 U2 Q3",
        &[("L", Move::Unordered), ("U", Move::Unordered), ("Q", Move::Still)],
    );
}

#[test]
fn events_before_creation_are_kept_and_the_start_is_the_earlier() {
    let stages = stages();
    let (machine, _) = folded("L0 C2 Q3", &stages, Deleted::Exclude);
    assert_eq!(machine.deal.before_creation, 1);
    assert_eq!(machine.created(), 0);
}

#[test]
fn equal_rows_are_one_event_and_ties_are_counted() {
    let stages = stages();
    let events = history("L0 Q1 Q1 P1", &stages);
    let mut rows = order(&events, &stages, Ties::Forward).rows;
    let noticed = deduplicate(&events, &mut rows, |_| 0);
    assert_eq!((noticed.duplicates, noticed.ties, rows.len()), (1, 2, 3));
}

#[test]
fn equal_rows_are_found_past_one_that_differs_in_a_dimension() {
    let stages = stages();
    let mut events = history("Q1 Q1 Q1", &stages);
    events.dimensions = vec![vec![7, 8, 7]];
    let mut rows = order(&events, &stages, Ties::Forward).rows;
    assert_eq!(deduplicate(&events, &mut rows, |_| 0).duplicates, 1);
    assert_eq!(rows, [0, 1]);
}

#[test]
fn row_with_an_id_is_no_duplicate_of_one_without() {
    // It was one when it came first in the file, and none when it came second.
    let stages = stages();
    for ids in [[Id::integer(5), Id::NONE], [Id::NONE, Id::integer(5)]] {
        let mut events = history("Q1 Q1", &stages);
        events.event_id = ids.to_vec();
        let mut rows = order(&events, &stages, Ties::Forward).rows;
        assert_eq!(deduplicate(&events, &mut rows, |_| 0).duplicates, 0, "{ids:?}");
    }
}

#[test]
fn inputs_number_their_events_by_themselves() {
    let stages = stages();
    let mut events = history("L0 Q1 P2 W3", &stages);
    events.event_id = [1, 2, 1, 2].map(Id::integer).to_vec();
    let mut rows = order(&events, &stages, Ties::Forward).rows;
    let noticed = deduplicate(&events, &mut rows, |row| usize::from(row >= 2));
    assert_eq!((rows, noticed.duplicates), (vec![0, 1, 2, 3], 0));
}

#[test]
fn of_rows_with_one_event_id_the_last_ingested_stays() {
    let stages = stages();
    let mut events = history("L0 Q1 Q2", &stages);
    events.event_id = [1, 2, 2].map(Id::integer).to_vec();
    events.ingested = vec![0, 9, 5];
    let mut rows = order(&events, &stages, Ties::Forward).rows;
    deduplicate(&events, &mut rows, |_| 0);
    assert_eq!(rows, [0, 1], "the row ingested at 9 stays");
}

#[test]
fn seq_decides_before_the_stage_order() {
    let stages = stages();
    let mut events = history("L0 P1 Q1", &stages);
    events.seq = vec![0, 1, 2];
    assert_eq!(order(&events, &stages, Ties::Forward).rows, [0, 1, 2]);
    events.seq.clear();
    assert_eq!(order(&events, &stages, Ties::Forward).rows, [0, 2, 1]);
}

#[test]
fn two_deals_with_one_hash_stay_apart() {
    let stages = stages();
    let mut events = history("L0 L1 Q2 Q3", &stages);
    events.deal = [1, 2, 1, 2].map(|code| Id::interned(code, 7)).to_vec();
    let ordered = order(&events, &stages, Ties::Forward);
    assert_eq!(ordered.rows, [0, 2, 1, 3]);
    assert_eq!(ordered.ends, [2, 4]);
}
