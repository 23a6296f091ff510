//! What becomes of deals that were merged, deleted, or seen no more.
//!
//! Of the plain form deals 1 and 3 are won for 125.50 and 80.25, 2 is lost, 4 is open.

use super::super::support::{Scratch, filter, int, only};
use super::{CONFIG, HISTORY, Tables, affected, columns, created, outcomes, tables_of, total};

const MERGES: &str = "[inputs.merges]\npath = \"merges\"\n";

/// The plain form and a table of merges.
fn merged(merges: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    scratch.write("merges/m.csv", merges);
    scratch
}

/// Events as lines `deal,time,type,stage,amount`, and a table of merges, with `[fold] merged` so.
fn told(events: &str, merges: &str, policy: &str) -> Tables {
    let scratch = Scratch::new();
    scratch
        .write("events/e.csv", &format!("deal_id,event_time,event_type,stage_id,amount\n{events}"));
    scratch.write("merges/m.csv", &format!("loser_id,winner_id,at\n{merges}"));
    let config = CONFIG.replace("columns = [\"region\"]", "");
    tables_of(&scratch, &format!("{config}{MERGES}[fold]\nmerged = \"{policy}\"\n"))
}

#[track_caller]
fn check(tables: &Tables, input: &str, rules: &[(&str, i64)]) {
    for (rule, n) in rules {
        assert_eq!(affected(tables, input, rule), *n, "{rule}");
    }
}

#[test]
fn a_merged_deal_counts_no_more_and_chains_end_in_their_last_deal() {
    // 4 went into 3, 3 into 1; 9 is in no history; the last merge is later than the run.
    let scratch = merged(
        "loser_id,winner_id,at\n4,3,2024-03-05\n3,1,2024-03-06\n9,1,2024-03-06\n2,1,2024-04-02\n",
    );
    let tables = tables_of(&scratch, &format!("{CONFIG}{MERGES}"));
    assert_eq!(outcomes(&tables), [2, 1, 1, 0]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 12_550);
    check(&tables, "merges", &[("merged_deals", 2), ("orphan_merges", 1), ("bad_merge", 0)]);
    check(&tables, "deal_events", &[("deleted_deals", 0)]);
}

#[test]
fn of_two_merges_of_a_deal_the_later_counts_and_bad_rows_are_kept_out() {
    // 3 went into 7 at last, which no history has, so it is lost.
    let rows = "loser_id,winner_id,at\n3,7,2024-03-06\n3,1,2024-03-05\n2,2,\n4,,\n,1,\n4,1,soon\n";
    let scratch = merged(rows);
    let tables = tables_of(&scratch, &format!("{CONFIG}{MERGES}"));
    assert_eq!(outcomes(&tables), [3, 1, 1, 1]);
    check(
        &tables,
        "merges",
        &[
            ("repeated_merges", 1),
            ("unknown_winners", 1),
            ("merged_deals", 1),
            ("orphan_merges", 0),
            ("bad_merge", 4),
        ],
    );
    // United it goes on as 7.
    let union = format!("{CONFIG}{MERGES}[fold]\nmerged = \"union\"\n");
    assert_eq!(outcomes(&tables_of(&scratch, &union)), [4, 2, 1, 1]);
}

#[test]
fn deals_merged_in_a_circle_are_refused_by_name() {
    let scratch = merged("loser_id,winner_id,at\n3,1,\n1,4,\n4,3,\n2,4,\n");
    for policy in ["drop", "union"] {
        let config = format!("{CONFIG}{MERGES}[fold]\nmerged = \"{policy}\"\n");
        let error = scratch.run(&config).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("in a circle: 1 into 4 into 3 into 1"), "{text}");
        assert!(text.contains("merges"), "{text}");
    }
}

#[test]
fn a_union_without_merges_is_refused() {
    let scratch = merged("");
    let error = scratch.run(&format!("{CONFIG}[fold]\nmerged = \"union\"\n")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("add [inputs.merges]"), "{error}");
}

/// Winner 1 begins in February and is won in March for 50; loser 2 began in January, was in proposal
/// from the 20th, and is deleted by its merge on 10 February, with a stray event after it.
const TWO: &str = "1,2024-02-01T10:00:00Z,created,,40\n\
    1,2024-03-01T10:00:00Z,won,,50\n\
    2,2024-01-05T10:00:00Z,created,lead,10\n\
    2,2024-01-20T10:00:00Z,stage,proposal,\n\
    2,2024-02-10T10:00:00Z,deleted,,\n\
    2,2024-02-12T10:00:00Z,stage,lost,99\n";

#[test]
fn united_histories_are_one_deal_from_its_earliest_creation_on() {
    let tables = told(TWO, "2,1,2024-02-10T10:00:00Z\n", "union");
    assert_eq!(outcomes(&tables), [1, 1, 0, 0]);
    assert_eq!(
        (created(&tables, "2024-01-01"), total(&tables, "revenue", "net_amount")),
        (1, 5_000)
    );
    check(&tables, "merges", &[("merged_deals", 1), ("orphan_merges", 0), ("unknown_winners", 0)]);
    // The stray event, and no deletion.
    check(&tables, "deal_events", &[("after_deletion", 1), ("deleted_deals", 0)]);
    // In proposal from 20 January to 1 March.
    let visit = [("slice", "all"), ("period", "all"), ("stage", "proposal")];
    let row = only(&tables["stage_time"], &visit);
    assert_eq!((int(&row, "visits_n"), int(&row, "completed_n")), (1, 1));
    // Without the union the winner was never in a stage but the last.
    let tables = told(TWO, "2,1,2024-02-10T10:00:00Z\n", "drop");
    assert_eq!((outcomes(&tables), created(&tables, "2024-02-01")), ([1, 1, 0, 0], 1));
    assert_eq!(filter(&tables["stage_time"], &visit), []);
}

#[test]
fn a_merge_that_is_not_yet_is_none() {
    // Of 2024-04-01; before the merge deal 2 was deleted.
    for policy in ["drop", "union"] {
        let tables = told(TWO, "2,1,2024-04-02\n", policy);
        assert_eq!(outcomes(&tables), [1, 1, 0, 0]);
        assert_eq!(created(&tables, "2024-02-01"), 1);
        check(&tables, "deal_events", &[("deleted_deals", 1), ("after_deletion", 1)]);
    }
}

#[test]
fn an_event_of_type_merged_leaves_its_deal_out_without_a_table_of_merges() {
    let events = TWO.replace(",deleted,", ",merged,");
    let scratch = Scratch::new();
    scratch
        .write("events/e.csv", &format!("deal_id,event_time,event_type,stage_id,amount\n{events}"));
    let config = CONFIG.replace("columns = [\"region\"]", "");
    for policy in ["exclude", "as_lost", "keep_until_deleted"] {
        let tables = tables_of(&scratch, &format!("{config}[fold]\ndeleted = \"{policy}\"\n"));
        assert_eq!(outcomes(&tables), [1, 1, 0, 0], "{policy}");
        check(&tables, "deal_events", &[("merged_deals", 1), ("deleted_deals", 0)]);
    }
}

#[test]
fn a_merged_deal_that_extracts_lack_does_not_end_the_one_that_goes_on() {
    // 2 is gone from the third extract on because it was merged into 1.
    let rows = "deal_id,snapshot_at,stage_id,amount,created_at\n\
        1,2024-01-10,lead,10,2024-01-09\n2,2024-01-10,proposal,20,2024-01-02\n\
        1,2024-01-11,lead,10,2024-01-09\n2,2024-01-11,proposal,20,2024-01-02\n\
        1,2024-01-12,lead,10,2024-01-09\n1,2024-01-13,won,30,2024-01-09\n";
    let scratch = Scratch::new();
    scratch.write("events/e.csv", rows);
    scratch.write("merges/m.csv", "loser_id,winner_id\n2,1\n");
    let config = CONFIG.replace("columns = [\"region\"]", "");
    let config = format!("{config}shape = \"snapshots\"\n{MERGES}[fold]\nmerged = ");
    let tables = tables_of(&scratch, &format!("{config}\"union\"\n"));
    assert_eq!(outcomes(&tables), [1, 1, 0, 0]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 3_000);
    check(&tables, "deal_events", &[("vanished_deals", 0), ("deleted_deals", 0)]);
    // In each stage once: neither row takes back what the other says.
    let stage = [("slice", "all"), ("period", "all"), ("stage", "proposal")];
    assert_eq!(int(&only(&tables["stage_time"], &stage), "visits_n"), 1);
    let tables = tables_of(&scratch, &format!("{config}\"drop\"\n"));
    assert_eq!(outcomes(&tables), [1, 1, 0, 0]);
    assert_eq!(filter(&tables["stage_time"], &stage), []);
}

#[test]
fn united_histories_do_not_depend_on_names_files_or_threads() {
    // Names too long to be packed, in files of one event each, against numbers in one file.
    let long = |text: &str| {
        let named = |deal: &str| format!("opportunity number {deal} of the northern branch office");
        let cut = |line: &str| {
            let (deal, rest) = line.split_once(',').unwrap();
            format!("{},{rest}", named(deal))
        };
        text.lines().map(cut).collect::<Vec<String>>()
    };
    let scratch = Scratch::new();
    let header = "deal_id,event_time,event_type,stage_id,amount";
    for (place, line) in long(TWO).into_iter().rev().enumerate() {
        scratch.write(&format!("events/{place}.csv"), &format!("{header}\n{line}\n"));
    }
    let named = long("2,\n1,");
    let pair: Vec<&str> = named.iter().map(|name| name.trim_end_matches(',')).collect();
    let merge = format!("loser_id,winner_id,at\n{},2024-02-10T10:00:00Z\n", pair.join(","));
    scratch.write("merges/m.csv", &merge);
    let config = CONFIG.replace("columns = [\"region\"]", "");
    let union = format!("{config}{MERGES}[fold]\nmerged = \"union\"\n");
    let found = tables_of(&scratch, &union);
    let expected = told(TWO, "2,1,2024-02-10T10:00:00Z\n", "union");
    super::assert_same(&found, &expected);
}
