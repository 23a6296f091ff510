//! Claims about comparing rows, one deal at a time. Rows and events are text: a stage or a sign, the
//! day, and for an interval the day of its end; `*` before an amount.

use super::*;
use crate::config::{CycleEnd, CycleStart, DimensionAt, Pipeline, ProbabilityUnit, Ties};
use crate::fold::{Rules, order};

const DAY: i64 = 86_400_000_000;

fn stages() -> StageTable {
    StageTable::new(&Pipeline {
        stages: ["L", "Q"].map(String::from).to_vec(),
        won: vec!["W".into()],
        lost: vec!["X".into()],
        ..Pipeline::default()
    })
}

/// `L0` a row in L from day 0 on, `L0-5` until day 5, `!3` a row marked as deleted, `-3` a row that
/// tells no stage, `b3L` the note that it was in L until day 3, `+0` an event of creation, `>3Q` an
/// event into Q, `=3*6` one of an amount, `c0Q` an open current deal in Q created on day 0, `w0-7` one won on day 7 (`w0-7Q` from Q), `g0-8`
/// one deleted on day 8, `s3` a row of day 3 that was kept out.
fn rows(text: &str, stages: &StageTable) -> EventBatch {
    let mut batch = EventBatch::default();
    for word in text.split_whitespace() {
        let (word, amount) = word.split_once('*').unwrap_or((word, ""));
        let (sign, rest) = word.split_at(1);
        let at = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (day, rest) = rest.split_at(at);
        let (rest, end) = rest.split_once('-').unwrap_or((rest, ""));
        // A stage may follow the end, too.
        let cut = end.find(|c: char| !c.is_ascii_digit()).unwrap_or(end.len());
        let (end, rest) = if cut < end.len() { (&end[..cut], &end[cut..]) } else { (end, rest) };
        let kind = match sign {
            "!" => EventKind::ObservedGone,
            "b" => EventKind::Before,
            "+" => EventKind::Created,
            ">" => EventKind::Stage,
            "=" => EventKind::Attribute,
            "c" => EventKind::CurrentOpen,
            "w" => EventKind::CurrentWon,
            "g" => EventKind::CurrentGone,
            "s" => EventKind::Seen,
            _ => EventKind::Observed,
        };
        let name = if kind == EventKind::Observed && sign != "-" { sign } else { rest };
        let end = end.parse::<i64>().ok().map(|day| day * DAY);
        batch.deal.push(Id::integer(1));
        batch.time.push(day.parse::<i64>().unwrap() * DAY);
        batch.kind.push(kind);
        batch.stage.push(if name.is_empty() { NO_STAGE } else { stages.code(name).unwrap() });
        batch.amount.push(amount.parse().unwrap_or(NO_AMOUNT));
        batch.seq.push(end.unwrap_or(OPEN_END));
        batch.ingested.push(end.unwrap_or(NO_INSTANT));
    }
    batch
}

fn told(shape: Shape, extracts: &[i64]) -> Told {
    Told {
        shape,
        quality: Quality::of(shape),
        has_amount: true,
        has_ends: true,
        is_created_told: false,
        probability_unit: ProbabilityUnit::Share,
        extracts: extracts.iter().map(|day| day * DAY).collect(),
    }
}

/// What follows from a deal's rows, all of one input, as text.
fn steps(told: Told, text: &str) -> (String, Compared) {
    steps_of(Telling { units: vec![0], inputs: vec![told], ..Telling::default() }, &[(0, 0)], text)
}

/// The same with the rows of several inputs.
fn steps_of(telling: Telling, units: &[(usize, usize)], text: &str) -> (String, Compared) {
    let stages = stages();
    let events = rows(text, &stages);
    let mut observer = Observer::new(&Settings {
        stages: &stages,
        dimensions: 0,
        rules: Rules {
            deleted: Deleted::Exclude,
            cycle_start: CycleStart::Created,
            cycle_end: CycleEnd::FirstClose,
            dimension_at: DimensionAt::Close,
        },
        ties: Ties::Forward,
        as_of: 100 * DAY,
        pricing: None,
        telling: &telling,
        asked: crate::fold::Asked::default(),
        funnels: &[],
        calendar: crate::time::Calendar::UTC,
        merges: None,
    });
    let ordered = order::order(&events, &stages, Ties::Forward);
    observer.observe(&events, units, &[], &ordered.rows);
    let (names, _) = stages.finish();
    let said = |step: &Step| {
        let Event { time, kind, stage, amount, .. } = step.event;
        let stage = names.get(usize::from(stage)).map_or("", |name| name.as_str());
        let amount = if amount == NO_AMOUNT { String::new() } else { format!("*{amount}") };
        format!("{kind:?}{stage}@{}{amount}", time / DAY).to_lowercase()
    };
    let text: Vec<String> = observer.steps.iter().map(said).collect();
    (text.join(" "), observer.compared)
}

#[track_caller]
fn check(shape: Shape, text: &str, expected: &str) {
    assert_eq!(steps(told(shape, &[]), text).0, expected);
}

#[test]
fn only_what_differs_from_the_row_before_is_an_event() {
    check(
        Shape::RowHistory,
        "L0*5 L1*5 L2*7 Q3*7 Q4*7 W5*7",
        "stagel@0*5 attribute@2*7 stageq@3 stagew@5",
    );
}

#[test]
fn an_amount_that_is_gone_is_cleared_and_a_stage_that_is_not_told_stays() {
    check(Shape::RowHistory, "L0*5 L1 -2*6 L3*6", "stagel@0*5 cleared@1 attribute@2*6");
}

#[test]
fn a_row_marked_as_deleted_deletes_once_and_another_restores() {
    check(Shape::RowHistory, "L0 !2 !3 Q5 Q6", "stagel@0 deleted@2 restoredq@5");
}

#[test]
fn intervals_that_meet_are_one_and_a_gap_is_a_deletion() {
    check(Shape::Intervals, "L0-2 Q2-4 Q4", "stagel@0 stageq@2");
    check(Shape::Intervals, "L0-2 Q5", "stagel@0 deleted@2 restoredq@5");
    check(Shape::Intervals, "L0-2 Q2-4", "stagel@0 stageq@2 deleted@4");
}

#[test]
fn of_overlapping_intervals_the_later_holds_and_none_ends_what_another_keeps() {
    let (said, compared) = steps(told(Shape::Intervals, &[]), "L0-9 Q3-5 W9");
    assert_eq!(said, "stagel@0 stageq@3 stagew@9");
    assert_eq!(compared.overlapping_intervals, 1);
    // The other one lasts until day 9, so the deal is not gone on day 5.
    check(Shape::Intervals, "L0-9 Q3-5", "stagel@0 stageq@3 deleted@9");
}

#[test]
fn intervals_without_length_are_passed_through() {
    check(Shape::Intervals, "L0-0 Q0", "stagel@0 stageq@0");
}

#[test]
fn a_deal_that_an_extract_lacks_is_deleted_there() {
    let (said, compared) = steps(told(Shape::Snapshots, &[0, 1, 2, 3, 4]), "L0 L1 Q3");
    assert_eq!(said, "stagel@0 deleted@2 restoredq@3 deleted@4");
    assert_eq!((compared.vanished_deals, compared.closed_when_first_seen), (1, 0));
    let (_, compared) = steps(told(Shape::Snapshots, &[0, 1]), "W0 W1");
    assert_eq!((compared.vanished_deals, compared.closed_when_first_seen), (0, 1));
}

#[test]
fn a_deal_whose_row_is_kept_out_has_not_vanished() {
    let extracts = told(Shape::Snapshots, &[0, 1, 2, 3]);
    let (said, compared) = steps(extracts.clone(), "L0 s1 Q2 s3");
    assert_eq!((said.as_str(), compared.vanished_deals), ("stagel@0 stageq@2", 0));
    // It is there again on day 2, however it stands.
    let (said, compared) = steps(extracts.clone(), "L0 s2 L3");
    assert_eq!(said, "stagel@0 deleted@1 restored@2");
    assert_eq!(compared.vanished_deals, 1);
    // Nor has one that an interval shows which is kept out; after the last one it is gone.
    check(Shape::Intervals, "L0-2 s2-4 Q4", "stagel@0 stageq@4");
    check(Shape::Intervals, "L0-2 s2-4", "stagel@0 deleted@4");
    check(Shape::Intervals, "L0-2 s3-4 Q4", "stagel@0 deleted@2 restored@3 stageq@4");
    // What was never told before says nothing.
    assert_eq!(steps(extracts, "s0 s1 L2 L3").0, "stagel@2");
}

#[test]
fn an_outcome_without_a_date_is_neither_open_nor_in_any_period() {
    let (said, compared) = steps(told(Shape::FieldHistory, &[]), "w0*5");
    assert_eq!((said.as_str(), compared.undated_outcomes, compared.undated_deals), ("", 1, 0));
    // The history counts, and disagrees.
    let (said, compared) = steps(told(Shape::FieldHistory, &[]), "w0 >2L");
    assert_eq!(said, "attribute@0 created@0 stagel@2");
    assert_eq!((compared.undated_outcomes, compared.history_disagrees), (1, 1));
    // What the history tells needs no date.
    let compared = steps(told(Shape::FieldHistory, &[]), "w0 >2L >4W").1;
    assert_eq!((compared.undated_outcomes, compared.history_disagrees), (0, 0));
    // A deletion is the end, whatever else is not known.
    let (said, compared) = steps(told(Shape::FieldHistory, &[]), "w0 g0-8");
    assert_eq!((said.as_str(), compared.undated_outcomes), ("attribute@0 created@0 deleted@8", 0));
}

#[test]
fn the_first_old_value_holds_from_the_creation_on() {
    check(Shape::FieldHistory, "+0 b3L >3Q b5Q >5W", "created@0 stagel@0 stageq@3 stagew@5");
    // From when on is not known.
    check(Shape::FieldHistory, "b3L >3Q", "stageq@3");
    // An amount is known until its change all the same.
    check(Shape::FieldHistory, ">1L b3*5 =3*6", "attribute@1*5 stagel@1 attribute@3*6");
}

#[test]
fn a_table_of_current_deals_fills_what_is_missing() {
    let first = "created@0 stageq@0";
    check(Shape::FieldHistory, "c0Q", &format!("attribute@0 {first}"));
    check(Shape::FieldHistory, "c0Q >2L >4Q", "attribute@0 created@0 stagel@2 stageq@4");
    check(Shape::FieldHistory, "w0-7 >2L", "attribute@0 created@0 stagel@2 won@7");
    check(Shape::FieldHistory, "g0-8 c0L", "attribute@0 created@0 stagel@0 deleted@8");
}

#[test]
fn a_table_of_current_deals_never_overrules_a_history() {
    let compared = |text: &str| steps(told(Shape::FieldHistory, &[]), text).1;
    assert_eq!(compared("c0Q >2L >4Q").history_disagrees, 0);
    assert_eq!(compared("c0L >2L >4Q").history_disagrees, 1);
    assert_eq!(compared("c0Q >2Q >4W").history_disagrees, 1);
    assert_eq!(compared("w0-4 >2Q >4W").history_disagrees, 0);
    // Moved long after the close that the table gives.
    assert_eq!(compared("w0-4 >2Q >9L").history_disagrees, 1);
    let (said, _) = steps(told(Shape::FieldHistory, &[]), "w0-4 >2Q >9X");
    assert_eq!(said, "attribute@0 created@0 stageq@2 stagex@9");
}

#[test]
fn a_second_input_does_not_take_back_what_was_noticed_of_the_first() {
    let inputs = vec![told(Shape::Snapshots, &[0, 9]), told(Shape::Snapshots, &[1, 9])];
    let telling = Telling { units: vec![0, 1], inputs, ..Telling::default() };
    let (_, compared) = steps_of(telling, &[(0, 0), (2, 1)], "W0 W9 L1 W9");
    assert_eq!(compared.closed_when_first_seen, 1);
}

#[test]
fn a_close_before_the_creation_that_only_current_deals_tell_stays_as_given() {
    check(Shape::FieldHistory, "w9-2Q", "attribute@2 won@2 created@9");
    check(Shape::FieldHistory, "w3-9Q", "attribute@3 created@3 stageq@3 won@9");
}

#[test]
fn of_a_repeated_current_deal_the_later_row_counts_wherever_it_stands() {
    let expected = "attribute@0*6 created@0 won@8";
    check(Shape::FieldHistory, "w0-7*5 w0-8*6", expected);
    check(Shape::FieldHistory, "w0-8*6 w0-7*5", expected);
}
