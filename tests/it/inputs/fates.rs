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
fn only_the_deal_that_goes_on_has_outcomes() {
    let whole = |tables: &Tables, name: &str| total(tables, "revenue_clocks", name);
    // The merged deal was lost in January; the other is won in March, which is its first close.
    let lost = "1,2024-01-01T10:00:00Z,created,lead,40\n1,2024-03-01T10:00:00Z,won,,50\n\
                2,2024-01-05T10:00:00Z,created,lead,10\n2,2024-01-20T10:00:00Z,lost,,\n\
                2,2024-01-25T10:00:00Z,reopened,,\n2,2024-01-28T10:00:00Z,stage,lost,\n";
    let merge = "2,1,2024-02-10T10:00:00Z\n";
    let tables = told(lost, merge, "union");
    assert_eq!(outcomes(&tables), [1, 1, 0, 0]);
    assert_eq!((whole(&tables, "first_close_won_n"), whole(&tables, "ever_won_n")), (1, 1));
    // It was won in January for 70, the other never: no win, but one that was booked and reversed.
    let won = "1,2024-01-01T10:00:00Z,created,lead,40\n2,2024-01-05T10:00:00Z,created,lead,10\n\
               2,2024-01-20T10:00:00Z,won,,70\n";
    let tables = told(won, merge, "union");
    assert_eq!((outcomes(&tables), whole(&tables, "ever_won_n")), ([1, 0, 0, 1], 0));
    assert_eq!(whole(&tables, "ledger_booked_amount"), 7_000);
    assert_eq!(whole(&tables, "ledger_reversed_amount"), -7_000);
    // It went on when the other was won for 50, which neither opens that nor changes its amount.
    let late = "1,2024-01-01T10:00:00Z,created,lead,40\n1,2024-01-15T10:00:00Z,won,,50\n\
                2,2024-01-05T10:00:00Z,created,lead,10\n2,2024-01-20T10:00:00Z,stage,proposal,99\n";
    let tables = told(late, merge, "union");
    assert_eq!((outcomes(&tables), total(&tables, "revenue", "net_amount")), ([1, 1, 0, 0], 5_000));
    let january = [("slice", "all"), ("period", "month"), ("period_start", "2024-01-01")];
    assert_eq!(int(&only(&tables["revenue"], &january), "won_n"), 1);
}

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
    // Taken back it is a deal of its own again, where it was.
    let restored = format!("{events}2,2024-02-20T10:00:00Z,restored,,\n");
    let header = "deal_id,event_time,event_type,stage_id,amount";
    scratch.write("events/e.csv", &format!("{header}\n{restored}"));
    let tables = tables_of(&scratch, &config);
    assert_eq!(outcomes(&tables), [2, 1, 0, 1]);
    check(&tables, "deal_events", &[("merged_deals", 0), ("deleted_deals", 0)]);
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

/// The plain configuration without dimensions, and a table of current deals beside the events.
fn with_deals(events: &str, deals: &str) -> Tables {
    let scratch = Scratch::new();
    scratch.write("events/e.csv", events);
    scratch.write("deals/d.csv", deals);
    let config = CONFIG.replace("columns = [\"region\"]", "");
    tables_of(&scratch, &format!("{config}[inputs.deals]\npath = \"deals\"\n"))
}

#[test]
fn deals_without_a_date_are_left_out_and_counted() {
    // 1 is won and nobody knows when, 2 as well but has a history, 3 has no date at all.
    let events = "deal_id,event_time,stage_id\n2,2024-01-02T10:00:00Z,lead\n";
    let deals = "deal_id,created_at,outcome,closed_at,stage_id,amount\n\
        1,2024-01-01,won,,proposal,10\n2,2024-01-01,won,,lead,20\n3,,open,,lead,30\n\
        4,2024-01-01,won,2024-01-10,,40\n";
    let tables = with_deals(events, deals);
    assert_eq!(outcomes(&tables), [2, 1, 0, 1]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 4_000);
    check(
        &tables,
        "deals",
        &[
            ("undated_outcomes", 2),
            ("undated_deals", 1),
            ("unlogged_deals", 3),
            ("history_disagrees", 1),
        ],
    );
}

#[test]
fn a_close_that_is_moved_to_the_last_move_of_its_day_is_counted() {
    // 1 moved in the afternoon of the day of its close, 2 was created two hours after its close by
    // the table alone, 3 closed after its move.
    let events = "deal_id,event_time,stage_id\n1,2024-01-05T15:00:00Z,lead\n\
        3,2024-01-05T15:00:00Z,lead\n";
    let deals = "deal_id,created_at,outcome,closed_at,stage_id,amount\n\
        1,2024-01-01,won,2024-01-05,lead,10\n\
        2,2024-02-01T10:00:00Z,won,2024-02-01T08:00:00Z,proposal,20\n\
        3,2024-01-01,won,2024-01-06,lead,30\n";
    let tables = with_deals(events, deals);
    assert_eq!(outcomes(&tables), [3, 3, 0, 0]);
    check(&tables, "deals", &[("early_closes", 2), ("unlogged_outcomes", 3)]);
}

#[test]
fn a_deal_that_an_unlisted_stage_reopens_is_counted() {
    let events = "deal_id,event_time,stage_id\n1,2024-01-02T10:00:00Z,lead\n\
        1,2024-01-03T10:00:00Z,won\n1,2024-01-04T10:00:00Z,invoiced\n\
        2,2024-01-02T10:00:00Z,odd\n2,2024-01-03T10:00:00Z,lost\n2,2024-01-04T10:00:00Z,lead\n";
    let scratch = Scratch::new();
    scratch.write("events/e.csv", events);
    let config = CONFIG.replace("columns = [\"region\"]", "");
    let tables = tables_of(&scratch, &config);
    assert_eq!(outcomes(&tables), [2, 0, 0, 2]);
    check(&tables, "deal_events", &[("reopened_by_unknown_stage", 1), ("unknown_stage_events", 2)]);
    // Listed as ignored it changes nothing.
    let listed = config.replace("lost = [\"lost\"]", "lost = [\"lost\"]\nignored = [\"invoiced\"]");
    let tables = tables_of(&scratch, &listed);
    assert_eq!(outcomes(&tables), [2, 1, 0, 1]);
    check(&tables, "deal_events", &[("reopened_by_unknown_stage", 0)]);
}

#[test]
fn a_deal_of_an_extract_that_keeps_its_row_out_has_not_vanished() {
    // 1 is in another pipeline on the 11th, the row of 2 is kept out then, 3 is missing, 4 was never
    // in the pipeline.
    let header = "deal_id,snapshot_at,stage_id,amount\n";
    let own = "1,2024-01-10,lead,10\n1,2024-01-12,proposal,10\n2,2024-01-10,lead,20\n\
        2,2024-01-11,lead,much\n2,2024-01-12,lead,20\n3,2024-01-10,lead,30\n3,2024-01-12,lead,30\n";
    let other =
        "1,2024-01-11,lead,10\n4,2024-01-10,lead,1\n4,2024-01-11,lead,1\n4,2024-01-12,lead,1\n";
    let scratch = Scratch::new();
    scratch.write("events/pipeline_id=a/e.csv", &format!("{header}{own}"));
    scratch.write("events/pipeline_id=b/e.csv", &format!("{header}{other}"));
    let config = CONFIG
        .replace("columns = [\"region\"]", "")
        .replace("lost = [\"lost\"]", "lost = [\"lost\"]\nonly = [\"a\"]");
    let severity = "[quality.severity]\nbad_amount = \"quarantine\"\n";
    let tables = tables_of(&scratch, &format!("{config}shape = \"snapshots\"\n{severity}"));
    assert_eq!(outcomes(&tables), [3, 0, 0, 3]);
    let rules = [("vanished_deals", 1), ("bad_amount", 1), ("after_deletion", 0)];
    check(&tables, "deal_events", &rules);
    let quality =
        only(&tables["data_quality"], &[("input", "deal_events"), ("rule", "vanished_deals")]);
    // Of rows of the pipeline only, and of its three deals.
    let counts = ["rows_in_n", "folded_n", "quarantined_n", "checked_n"];
    assert_eq!(counts.map(|column| int(&quality, column)), [7, 6, 1, 3]);
    // Deal 1 has been in the first stage for two days, not for one and one after.
    let lead = [("slice", "all"), ("period", "all"), ("stage", "lead")];
    assert_eq!(int(&only(&tables["stage_time"], &lead), "visits_n"), 4);
}

#[test]
fn of_two_current_rows_that_differ_in_names_only_one_counts_in_any_order() {
    let header = "deal_id,created_at,outcome,closed_at,owner_id,amount,region,customer_id\n";
    let (one, two) = (
        "1,2024-01-01,won,2024-01-09,zed,10,north,4\n",
        "1,2024-01-01,won,2024-01-09,ann,10,south,3\n",
    );
    let first = "9,2024-01-01,open,,zed,1,south,3\n8,2024-01-01,open,,ann,1,north,4\n";
    let run = |files: [&str; 3]| {
        let scratch = Scratch::new();
        scratch.write("events/e.csv", "deal_id,event_time,stage_id\n5,2024-01-02,lead\n");
        for (place, text) in files.into_iter().enumerate() {
            scratch.write(&format!("deals/{place}.csv"), &format!("{header}{text}"));
        }
        let own = "[dimensions]\ncolumns = [\"region\", \"owner_id\"]";
        let config = CONFIG.replace("[dimensions]\ncolumns = [\"region\"]", own);
        tables_of(&scratch, &format!("{config}[inputs.deals]\npath = \"deals\"\n"))
    };
    let expected = run([one, two, first]);
    check(&expected, "deals", &[("repeated_deals", 1)]);
    for files in [[two, one, first], [first, two, one], [first, one, two], [two, first, one]] {
        super::assert_same(&run(files), &expected);
    }
}

#[test]
fn rules_of_compared_rows_say_of_how_many() {
    // Three rows, of which one says something new; the second input adds one row, equal to another.
    let scratch = Scratch::new();
    let header = "deal_id,event_time,stage_id,amount";
    let rows = "1,2024-01-02,lead,5\n1,2024-01-03,lead,5\n1,2024-01-04,lead,5\n";
    scratch.write("events/e.csv", &format!("{header}\n{rows}"));
    scratch.write("more/e.csv", &format!("{header}\n1,2024-01-05,won,6\n1,2024-01-05,won,6\n"));
    let config = CONFIG.replace("columns = [\"region\"]", "");
    let more = "[inputs.deal_events_more]\npath = \"more\"\n";
    let tables = tables_of(&scratch, &format!("{config}shape = \"row_history\"\n{more}"));
    let checked = |rule: &str| {
        let row = only(&tables["data_quality"], &[("input", "deal_events"), ("rule", rule)]);
        [int(&row, "affected_n"), int(&row, "checked_n")]
    };
    assert_eq!(checked("duplicate_events"), [1, 5]);
    assert_eq!(checked("no_op_changes"), [0, 2]);
    assert_eq!(checked("bad_amount"), [0, 3]);
}

/// 1 is deleted, restored and won, 2 deleted for good, 3 deleted after 1 April, 4 won and deleted.
const DELETED: &str = "deal_id,event_time,event_type,stage_id,amount\n\
    1,2024-01-05T10:00:00Z,stage,lead,10\n1,2024-02-01T10:00:00Z,deleted,,\n\
    1,2024-03-01T10:00:00Z,restored,,\n1,2024-03-10T10:00:00Z,won,,\n\
    2,2024-01-05T10:00:00Z,stage,lead,20\n2,2024-03-10T10:00:00Z,deleted,,\n\
    3,2024-01-05T10:00:00Z,stage,lead,30\n3,2024-04-02T10:00:00Z,deleted,,\n\
    4,2024-01-05T10:00:00Z,stage,lead,40\n4,2024-02-01T10:00:00Z,won,,\n\
    4,2024-03-01T10:00:00Z,deleted,,\n";

/// Deals, won, lost, open and deleted ones, and the net revenue, as of a day.
#[track_caller]
fn check_deleted(policy: &str, as_of: &str, expected: [i64; 5], net: i64) {
    let scratch = Scratch::new();
    scratch.write("events/e.csv", DELETED);
    let config = CONFIG.replace("columns = [\"region\"]", "").replace("2024-04-01T00", as_of);
    let tables = tables_of(&scratch, &format!("{config}[fold]\ndeleted = \"{policy}\"\n"));
    let wanted = [("slice", "all"), ("period", "all"), ("basis", "created")];
    let row = only(&tables["conversion"], &wanted);
    let found = ["deals_n", "won_n", "lost_n", "open_n", "deleted_n"].map(|name| int(&row, name));
    assert_eq!(
        (found, total(&tables, "revenue", "net_amount")),
        (expected, net),
        "{policy} {as_of}"
    );
}

#[test]
fn deletions_follow_the_policy_before_and_after_they_are_taken_back() {
    let (april, february) = ("2024-04-01T00", "2024-02-15T00");
    check_deleted("exclude", april, [2, 1, 0, 1, 0], 1_000);
    check_deleted("as_lost", april, [4, 1, 2, 1, 0], 1_000);
    check_deleted("keep_until_deleted", april, [4, 1, 0, 1, 2], 1_000);
    // Then 1 is deleted, 2 and 3 are open, 4 is won: what comes later does not exist (G1).
    check_deleted("exclude", february, [3, 1, 0, 2, 0], 4_000);
    check_deleted("as_lost", february, [4, 1, 1, 2, 0], 4_000);
    check_deleted("keep_until_deleted", february, [4, 1, 0, 2, 1], 4_000);
}

#[test]
fn late_and_corrected_rows_count_by_their_time_and_their_last_word() {
    // Backwards, the proposal six weeks late, the close corrected a day after.
    let scratch = Scratch::new();
    let rows = "deal_id,event_time,event_id,ingested_at,stage_id,amount\n\
        1,2024-02-03T09:00:00Z,e3,2024-02-04T00:00:00Z,won,12.50\n\
        1,2024-02-03T09:00:00Z,e3,2024-02-03T10:00:00Z,won,99\n\
        1,2024-01-20T12:00:00Z,e2,2024-03-01T00:00:00Z,proposal,\n\
        1,2024-01-05T10:00:00Z,e1,2024-01-05T10:00:00Z,lead,10\n";
    scratch.write("events/e.csv", rows);
    let tables = tables_of(&scratch, &CONFIG.replace("columns = [\"region\"]", ""));
    assert_eq!((outcomes(&tables), total(&tables, "revenue", "net_amount")), ([1, 1, 0, 0], 1_250));
    let moves = filter(
        &tables["stage_transitions"],
        &[("slice", "all"), ("period", "all"), ("move", "advanced")],
    );
    assert_eq!(moves.len(), 1);
    check(&tables, "deal_events", &[("duplicate_events", 1), ("tied_events", 0)]);
}

#[test]
fn stand_ins_for_no_date_are_none_wherever_a_date_may_be_missing() {
    let events = "deal_id,event_time,stage_id,expected_close\n\
        1,2024-01-02T10:00:00Z,lead,9999-12-31\n1,2024-01-03T10:00:00Z,,0000-00-00\n\
        2,2024-01-02T10:00:00Z,lead,\n";
    // 1 was not closed in 9999 nor deleted in 1970, and 2 was won nobody knows when.
    let deals = "deal_id,created_at,outcome,closed_at,is_deleted,deleted_at\n\
        1,0000-00-00,open,9999-12-31,false,1970-01-01\n\
        2,1970-01-01T00:00:00Z,won,0000-00-00,false,\n";
    let tables = with_deals(events, deals);
    assert_eq!((outcomes(&tables), created(&tables, "2024-01-01")), ([2, 0, 0, 2], 2));
    check(
        &tables,
        "deals",
        &[("undated_outcomes", 1), ("undated_deals", 0), ("bad_event_time", 0)],
    );
}

#[test]
fn the_story_of_a_deal_says_what_it_was_merged_into() {
    let scratch = Scratch::new();
    let header = "deal_id,event_time,event_type,stage_id,amount";
    scratch.write("events/e.csv", &format!("{header}\n{TWO}"));
    scratch.write("merges/m.csv", "loser_id,winner_id,at\n2,1,2024-02-10T10:00:00Z\n");
    let config = CONFIG.replace("columns = [\"region\"]", "");
    let story = |policy: &str, deal: &str| {
        let config = format!("{config}{MERGES}[fold]\nmerged = \"{policy}\"\n");
        let resolved = scratch.resolve(&config).unwrap();
        let backend = dealmill::engine::Backend::Kernel;
        let options = dealmill::run::RunOptions { on_step: &|_| (), backend };
        let by = dealmill::run::ExplainBy::Total;
        dealmill::run::explain_deal(&resolved, deal, by, &options).unwrap()
    };
    let merged = "deal 2 was merged into deal 1 at 2024-02-10T10:00:00Z";
    let (one, two) = (story("drop", "1"), story("drop", "2"));
    assert!(one.contains(merged) && one.contains("outcome: won"), "{one}");
    assert!(two.contains(merged) && two.contains("left out of every table"), "{two}");
    for deal in ["1", "2"] {
        let story = story("union", deal);
        assert!(story.contains("advances to proposal"), "{story}");
        assert!(story.contains("outcome: won"), "{story}");
        assert!(story.contains("does not count (G17)"), "{story}");
    }
}

/// The row as one of the deal that goes on: of another deal it ends nothing, and once the deal is
/// closed it neither moves it nor changes its amount.
fn as_one_of(winner: i64, event: &super::Event) -> super::Event {
    let (deal, time, stage, amount, customer, owner, region) = *event;
    if deal == winner {
        return *event;
    }
    let ends = |stage: &str| ["won", "lost"].contains(&stage);
    let close = HISTORY.iter().find(|e| e.0 == winner && ends(e.2)).filter(|e| e.1 <= time);
    let stage = if ends(stage) || close.is_some() { "" } else { stage };
    (winner, time, stage, close.map_or(amount, |e| e.3), customer, owner, region)
}

#[test]
fn united_histories_are_those_of_the_same_rows_under_one_name_but_for_outcomes() {
    // By a table of merges, or renamed in the file.
    for pairs in [&[(4, 3)][..], &[(3, 1)], &[(1, 2)], &[(1, 4), (2, 4)], &[(1, 3), (3, 4)]] {
        let winner = |mut deal: i64| {
            while let Some((_, next)) = pairs.iter().find(|(loser, _)| *loser == deal) {
                deal = *next;
            }
            deal
        };
        let renamed: Vec<super::Event> =
            HISTORY.iter().map(|e| as_one_of(winner(e.0), e)).collect();
        let plain = Scratch::new();
        plain.parquet("events/a.parquet", &columns(&renamed), 100);
        let mut expected = tables_of(&plain, CONFIG);
        let lines: String = pairs.iter().map(|(a, b)| format!("{a},{b}\n")).collect();
        let scratch = merged(&format!("loser_id,winner_id\n{lines}"));
        let union = format!("{CONFIG}{MERGES}[fold]\nmerged = \"union\"\n");
        let mut found = tables_of(&scratch, &union);
        for tables in [&mut expected, &mut found] {
            tables.insert("data_quality".into(), Vec::new());
            if winner(1) == 4 {
                // Until 4 has rows of its own the ledger has it as 1, which was won.
                tables.insert("revenue_clocks".into(), Vec::new());
                // Its rates of re-opening are the ledger's.
                for name in ["forecast", "forecast_backtest"] {
                    tables.insert(name.into(), Vec::new());
                }
            }
        }
        super::assert_same(&found, &expected);
    }
}
