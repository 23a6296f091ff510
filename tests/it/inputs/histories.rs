//! The same history in every shape: field by field, row by row, as intervals, as snapshots, and from
//! several sources together.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::support::filter;

/// What every shape gives: the tables of the plain form but the account of its inputs.
#[track_caller]
fn assert_same_but_quality(found: &Tables) {
    let without = |tables: &Tables| -> Tables {
        let others = tables.iter().filter(|(name, _)| *name != "data_quality");
        others.map(|(name, rows)| (name.clone(), rows.clone())).collect()
    };
    assert_same(&without(found), &without(plain()));
}

/// Writes a CSV file of deals' histories and runs it; `extra` belongs to `[inputs.deal_events]`.
#[track_caller]
fn run_csv(text: &str, extra: &str) -> Tables {
    let scratch = Scratch::new();
    scratch.write("events/e.csv", text);
    tables_of(&scratch, &format!("{CONFIG}{extra}"))
}

fn euros(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The next event of the same deal.
fn next(place: usize) -> Option<&'static Event> {
    HISTORY.iter().skip(place + 1).find(|event| event.0 == HISTORY[place].0)
}

const ROWS: &str = "shape = \"row_history\"\n";

#[test]
fn full_rows_give_the_tables_of_their_changes() {
    check_same_shape(&columns(HISTORY), ROWS);
}

#[track_caller]
fn check_same_shape(columns: &[(&str, ArrayRef)], extra: &str) {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", columns, 4);
    assert_same_but_quality(&tables_of(&scratch, &format!("{CONFIG}{extra}")));
}

#[test]
fn full_rows_that_say_the_same_again_change_nothing() {
    // Each row a second time an hour later: attributes and stage are those of the row before.
    let mut text = "deal_id,event_time,stage_id,amount,customer_id,owner_id,region\n".to_owned();
    for (deal, at, stage, cents, customer, owner, region) in HISTORY {
        for hours in [0, 1] {
            let at = micros(at) + hours * 3_600_000_000;
            let at = chrono::DateTime::from_timestamp_micros(at).unwrap().to_rfc3339();
            let amount = euros(*cents);
            writeln!(text, "{deal},{at},{stage},{amount},{customer},{owner},{region}").unwrap();
        }
    }
    let tables = run_csv(&text, ROWS);
    assert_same_but_quality(&tables);
    assert_eq!(affected(&tables, "deal_events", "no_op_changes"), 0);
    assert_eq!(affected(&tables, "deal_events", "duplicate_events"), 0);
}

#[test]
fn an_amount_that_a_full_row_lacks_is_unknown_from_then_on() {
    let text = "deal_id,event_time,stage_id,amount,region\n\
                1,2024-01-01,lead,50,n\n1,2024-01-02,won,,n\n\
                2,2024-01-01,lead,,n\n2,2024-01-02,won,70,n\n";
    let tables = run_csv(text, ROWS);
    assert_eq!(total(&tables, "revenue", "net_amount"), 7_000);
    assert_eq!(total(&tables, "revenue", "null_amount_n"), 1);
}

#[test]
fn an_outcome_beside_the_stage_closes_and_reopens() {
    let text = "deal_id,event_time,stage_id,status,amount,region\n\
                1,2024-01-01,lead,1,50,n\n1,2024-01-02,lead,2,50,n\n\
                2,2024-01-01,lead,1,60,n\n2,2024-01-02,lead,3,60,n\n2,2024-01-05,lead,1,60,n\n\
                3,2024-01-01,lead,1,70,n\n3,2024-01-03,lead,4,70,n\n";
    let extra = "shape = \"row_history\"\ncolumns = { outcome = \"status\" }\n\
                 values = { outcome = { 1 = \"open\", 2 = \"won\", 3 = \"lost\", 4 = \"deleted\" } }\n";
    let tables = run_csv(text, extra);
    // Deal 3 is deleted, so it counts nowhere.
    assert_eq!(outcomes(&tables), [2, 1, 0, 1]);
    assert_eq!(affected(&tables, "deal_events", "deleted_deals"), 1);
}

/// The plain history as intervals. `gap` is taken from each end, in microseconds; `open` is the end
/// of what still holds.
fn intervals(gap: i64, open: &str) -> String {
    let mut text = "deal_id,start,stop,stage_id,amount,customer_id,owner_id,region\n".to_owned();
    for (place, (deal, at, stage, cents, customer, owner, region)) in HISTORY.iter().enumerate() {
        let stop = next(place).map_or(open.to_owned(), |event| {
            let stop = chrono::DateTime::from_timestamp_micros(micros(event.1) - gap).unwrap();
            stop.to_rfc3339()
        });
        let amount = euros(*cents);
        writeln!(text, "{deal},{at},{stop},{stage},{amount},{customer},{owner},{region}").unwrap();
    }
    text
}

const INTERVALS: &str =
    "shape = \"intervals\"\ncolumns = { valid_from = \"start\", valid_to = \"stop\" }\n";

#[test]
fn intervals_give_the_tables_of_their_beginnings() {
    for open in ["9999-12-31T00:00:00Z", "2050-01-01T00:00:00Z", "0000-00-00", ""] {
        for gap in [0, 1_000, 1_000_000] {
            assert_same_but_quality(&run_csv(&intervals(gap, open), INTERVALS));
        }
    }
}

#[test]
fn a_gap_between_intervals_is_a_deletion_and_a_restoration() {
    let text = "deal_id,start,stop,stage_id,amount,region\n\
                1,2024-01-01,2024-01-05,lead,10,n\n\
                1,2024-01-08,,lead,10,n\n\
                2,2024-01-01,2024-01-05,lead,20,n\n\
                3,2024-01-01,2024-01-05,lead,30,n\n3,2024-01-05,,won,30,n\n";
    let tables = run_csv(text, INTERVALS);
    // Deal 2 ended without a successor.
    assert_eq!(outcomes(&tables), [2, 1, 0, 1]);
    assert_eq!(affected(&tables, "deal_events", "deleted_deals"), 1);
    let lead =
        only(&tables["stage_time"], &[("slice", "all"), ("period", "all"), ("stage", "lead")]);
    // Deal 1 twice, deal 3 once.
    assert_eq!(int(&lead, "visits_n"), 3);
    // The first visit of deal 1 ended by deletion: only that of deal 3 is completed.
    crate::support::close(&lead, "dwell_days_mean_completed", 4.0, 1e-9);
}

#[test]
fn overlapping_and_impossible_intervals_are_counted() {
    let text = "deal_id,start,stop,active,stage_id,amount,region\n\
                1,2024-01-01,2024-01-10,false,lead,10,n\n\
                1,2024-01-05,,true,proposal,10,n\n\
                2,2024-01-05,2024-01-02,false,lead,10,n\n\
                3,2024-01-05,,false,lead,10,n\n\
                4,2024-01-05,soon,false,lead,10,n\n\
                5,2024-01-05,9999-12-31,true,lead,10,n\n";
    let extra = "shape = \"intervals\"\n\
                 columns = { valid_from = \"start\", valid_to = \"stop\", is_active = \"active\" }\n";
    let tables = run_csv(text, extra);
    assert_eq!(affected(&tables, "deal_events", "overlapping_intervals"), 1);
    assert_eq!(affected(&tables, "deal_events", "bad_interval"), 3);
    assert_eq!(outcomes(&tables), [2, 0, 0, 2]);
}

#[test]
fn snapshots_at_every_change_give_the_tables_of_the_changes() {
    let instants: BTreeSet<&str> = HISTORY.iter().map(|event| event.1).collect();
    let deals: BTreeSet<i64> = HISTORY.iter().map(|event| event.0).collect();
    let scratch = Scratch::new();
    for (number, at) in instants.iter().enumerate() {
        let state = |deal: &i64| {
            let known = HISTORY.iter().filter(|e| e.0 == *deal && micros(e.1) <= micros(at));
            known.copied().reduce(|_, later| later)
        };
        let rows: Vec<Event> = deals.iter().filter_map(state).collect();
        let mut columns = columns(&rows);
        columns.retain(|(name, _)| *name != "event_time");
        scratch.parquet(&format!("events/at={at}/{number}.parquet"), &columns, 2);
    }
    let extra = "shape = \"snapshots\"\ncolumns = { snapshot_at = \"at\" }\n";
    let tables = tables_of(&scratch, &format!("{CONFIG}{extra}"));
    assert_same_but_quality(&tables);
}

/// Three daily extracts: deal 1 moves and is won, deal 2 vanishes, deal 3 vanishes and comes back,
/// deal 4 was won before there were extracts.
const EXTRACTS: &str = "deal_id,day,stage_id,amount,region,created\n\
    1,2024-01-01,lead,10,n,2023-12-20\n2,2024-01-01,lead,20,n,\n\
    3,2024-01-01,lead,30,n,\n4,2024-01-01,won,40,n,\n\
    1,2024-01-03,proposal,10,n,2023-12-20\n4,2024-01-03,won,40,n,\n\
    1,2024-01-07,won,10,n,2023-12-20\n3,2024-01-07,lead,30,n,\n4,2024-01-07,won,40,n,\n";
const SNAPSHOTS: &str = "shape = \"snapshots\"\n\
    columns = { snapshot_at = \"day\", created_at = \"created\" }\n";

#[test]
fn snapshots_tell_by_first_sighting_and_mark_what_they_cannot_know() {
    let own = r#"
        [[metrics]]
        name = "mine"
        relation = "deals"
        sql = """SELECT history_quality AS quality, SUM(close_uncertainty_seconds) AS seconds_n,
            SUM(is_won) AS won_n, COUNT(*) AS deals_n FROM deals GROUP BY history_quality"""
        "#;
    let tables = run_csv(EXTRACTS, &format!("{SNAPSHOTS}{own}"));
    // Deal 2 is gone for good.
    assert_eq!(outcomes(&tables), [3, 2, 0, 1]);
    for (rule, n) in [("vanished_deals", 2), ("closed_when_first_seen", 1), ("deleted_deals", 1)] {
        assert_eq!(affected(&tables, "deal_events", rule), n, "{rule}");
    }
    // Created as the rows say, in December; the others when they were first seen.
    assert_eq!((created(&tables, "2023-12-01"), created(&tables, "2024-01-01")), (1, 2));
    let mine = only(&tables["mine"], &[("slice", "all"), ("quality", "snapshot")]);
    // Deal 1 was won between the 3rd and the 7th: two days to either side of the 5th.
    let counts = ["deals_n", "won_n", "seconds_n"].map(|column| int(&mine, column));
    assert_eq!(counts, [3, 2, 2 * 86_400]);
}

#[test]
fn a_run_over_snapshots_says_so() {
    let scratch = Scratch::new();
    scratch.write("events/e.csv", EXTRACTS);
    let summary = scratch.run(&format!("{CONFIG}{SNAPSHOTS}")).unwrap();
    let says = |words: &str| summary.warnings.iter().any(|warning| warning.contains(words));
    assert!(says("deal_events: history_quality = snapshot: "), "{:?}", summary.warnings);
}

/// The plain history as changes of fields. What never changes stands in the table of deals only, and
/// first values are told by the changes that end them.
fn fields() -> (String, String) {
    let mut changes = "id,at,field,old,new\n".to_owned();
    let mut deals = "id,opened,stage,closed,value,account,owner,region\n".to_owned();
    for (place, (deal, at, stage, cents, customer, owner, region)) in HISTORY.iter().enumerate() {
        let before = HISTORY[..place].iter().rev().find(|event| event.0 == *deal);
        match before {
            None => writeln!(changes, "{deal},{at},created,,").unwrap(),
            Some(before) => {
                writeln!(changes, "{deal},{at},StageName,{},{stage}", before.2).unwrap();
                if before.3 != *cents {
                    let (old, new) = (euros(before.3), euros(*cents));
                    writeln!(changes, "{deal},{at},Amount,{old},{new}").unwrap();
                }
                if before.5 != *owner {
                    writeln!(changes, "{deal},{at},Owner,{},{owner}", before.5).unwrap();
                }
            }
        }
        writeln!(changes, "{deal},{at},Description,,words").unwrap();
        if next(place).is_none() {
            let first = HISTORY.iter().find(|event| event.0 == *deal).unwrap().1;
            let closed = if ["won", "lost"].contains(stage) { at } else { "" };
            let amount = euros(*cents);
            writeln!(deals, "{deal},{first},{stage},{closed},{amount},{customer},{owner},{region}")
                .unwrap();
        }
    }
    (changes, deals)
}

const FIELDS: &str = r#"
shape = "field_history"
[inputs.deal_events.columns]
deal_id = "id"
event_time = "at"
old_value = "old"
new_value = "new"
[inputs.deal_events.fields]
created = "created"
StageName = "stage_id"
Amount = "amount"
Owner = "owner_id"
"#;

const DEALS: &str = r#"
[inputs.deals]
path = "deals"
[inputs.deals.columns]
deal_id = "id"
created_at = "opened"
stage_id = "stage"
closed_at = "closed"
amount = "value"
customer_id = "account"
owner_id = "owner"
"#;

#[test]
fn changes_of_fields_and_the_current_deals_give_the_whole_history() {
    let (changes, deals) = fields();
    let scratch = Scratch::new();
    scratch.write("events/e.csv", &changes);
    scratch.write("deals/d.csv", &deals);
    let tables = tables_of(&scratch, &format!("{CONFIG}{FIELDS}{DEALS}"));
    assert_same_but_quality(&tables);
    assert_eq!(affected(&tables, "deal_events", "unmapped_fields"), HISTORY.len() as i64);
    assert_eq!(affected(&tables, "deals", "history_disagrees"), 0);
    let row = only(&tables["data_quality"], &[("input", "deals"), ("rule", "history_disagrees")]);
    assert_eq!(int(&row, "checked_n"), 4);
}

#[test]
fn identifiers_are_the_same_as_numbers_and_as_text() {
    let (changes, _) = fields();
    let scratch = Scratch::new();
    scratch.write("events/e.csv", &changes);
    let last: Vec<Event> = (0..HISTORY.len())
        .filter(|place| next(*place).is_none())
        .map(|place| HISTORY[place])
        .collect();
    scratch.parquet("deals/d.parquet", &columns(&last), 100);
    let deals = "[inputs.deals]\npath = \"deals\"\n";
    assert_same_but_quality(&tables_of(&scratch, &format!("{CONFIG}{FIELDS}{deals}")));
}

#[test]
fn first_values_that_nobody_logged_can_stay_unknown() {
    let (changes, _) = fields();
    let scratch = Scratch::new();
    scratch.write("events/e.csv", &changes);
    let config = CONFIG.replace("columns = [\"region\"]", "columns = []");
    let known = tables_of(&scratch, &format!("{config}{FIELDS}"));
    let fields = FIELDS.replace("\"field_history\"", "\"field_history\"\ninitial = \"unknown\"");
    let unknown = tables_of(&scratch, &format!("{config}{fields}"));
    let leads = |tables: &Tables| {
        let wanted = [("slice", "all"), ("period", "all"), ("stage", "lead")];
        filter(&tables["stage_time"], &wanted).first().map_or(0, |row| int(row, "visits_n"))
    };
    // Deal 4 never changed, so that nothing tells its stage.
    assert_eq!((leads(&known), leads(&unknown)), (3, 0));
}

#[test]
fn fields_of_every_kind_are_read_from_their_text() {
    let text = "deal,at,field,new\n\
                1,2024-01-01 08:00:00,dealstage,lead\n\
                1,2024-01-02 08:00:00,amount,\"1,250.50\"\n\
                1,2024-01-02 09:00:00,closedate,1704067200000\n\
                1,2024-01-02 10:00:00,closedate,2024-03-01\n\
                1,2024-01-03 08:00:00,area,south\n\
                1,2024-01-05 08:00:00,status,closedwon\n\
                2,2024-01-01 08:00:00,dealstage,lead\n\
                2,2024-01-02 08:00:00,amount,77\n\
                2,2024-01-03 08:00:00,amount,\n\
                2,2024-01-04 08:00:00,status,closedwon\n\
                3,2024-01-01 08:00:00,dealstage,\n\
                3,2024-01-01 08:00:00,status,maybe\n\
                3,2024-01-01 08:00:00,amount,dear\n\
                4,2024-01-01 08:00:00,dealstage,lead\n\
                4,2024-01-02 08:00:00,gone,true\n";
    let extra = r#"
        shape = "field_history"
        timezone = "UTC"
        columns = { deal_id = "deal", event_time = "at", new_value = "new" }
        fields = { dealstage = "stage_id", amount = "amount", closedate = "expected_close", area = "region", status = "outcome", gone = "is_deleted" }
        values = { outcome = { closedwon = "won" } }
        "#;
    let tables = run_csv(text, extra);
    assert_eq!(total(&tables, "revenue", "net_amount"), 125_050);
    assert_eq!(total(&tables, "revenue", "null_amount_n"), 1);
    let south = [("slice", "region"), ("region", "south"), ("period", "all")];
    assert_eq!(int(&only(&tables["revenue"], &south), "net_amount"), 125_050);
    for (rule, n) in [("missing_stage", 1), ("unknown_event_type", 1), ("bad_amount", 1)] {
        assert_eq!(affected(&tables, "deal_events", rule), n, "{rule}");
    }
    assert_eq!(affected(&tables, "deal_events", "deleted_deals"), 1);
}

#[test]
fn current_deals_fill_what_a_history_lacks_and_never_overrule_it() {
    // The history knows stages only. Deal 1 was won by the table, 2 is lost in both, 3 is open in
    // the history's last stage, 4 in another one, 5 was lost by the history and won by the table, 6
    // is not in the history, 7 is deleted, 8 has been in its stage since it was created, 9 has no
    // date at all.
    let events = "deal_id,event_time,stage_id,region\n\
        1,2024-01-02T10:00:00Z,lead,n\n1,2024-01-05T15:00:00Z,proposal,n\n\
        2,2024-01-02T10:00:00Z,lead,n\n2,2024-01-09T10:00:00Z,lost,n\n\
        3,2024-01-02T10:00:00Z,lead,n\n\
        4,2024-01-02T10:00:00Z,lead,n\n\
        5,2024-01-02T10:00:00Z,lead,n\n5,2024-01-03T10:00:00Z,lost,n\n\
        7,2024-01-02T10:00:00Z,lead,n\n";
    let deals = "deal_id,created_at,stage_id,outcome,closed_at,amount,is_deleted\n\
        1,2024-01-01,proposal,won,2024-01-05,10,false\n\
        2,2024-01-01,lost,,2024-01-09,20,false\n\
        3,2024-01-01,lead,open,,30,false\n\
        4,2024-01-01,proposal,open,,40,false\n\
        5,2024-01-01,lead,won,2024-01-04,50,false\n\
        6,2024-01-01,proposal,won,2024-01-20,60,false\n\
        7,2024-01-01,lead,open,,70,true\n\
        8,2024-01-01,lead,open,,80,false\n\
        8,2024-01-01,lead,open,,88,false\n\
        9,,lead,open,,90,false\n";
    let scratch = Scratch::new();
    scratch.write("events/e.csv", events);
    scratch.write("deals/d.csv", deals);
    let own = "[inputs.deals]\npath = \"deals\"\n[[metrics]]\nname = \"mine\"\n\
               relation = \"deals\"\nsql = \"SELECT history_quality AS quality, COUNT(*) AS \
               deals_n FROM deals GROUP BY history_quality\"\n";
    let tables = tables_of(&scratch, &format!("{CONFIG}{own}"));
    // Of 1 to 6 and 8: 1 and 6 are won, 2 and 5 lost.
    assert_eq!(outcomes(&tables), [7, 2, 2, 3]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 7_000);
    let expected = [
        ("history_disagrees", 2),
        // 1 and 6 are won by the table only, 7 is deleted by it only.
        ("unlogged_outcomes", 3),
        ("unlogged_deals", 3),
        ("repeated_deals", 1),
    ];
    for (rule, n) in expected {
        assert_eq!(affected(&tables, "deals", rule), n, "{rule}");
    }
    let quality =
        |name: &str| int(&only(&tables["mine"], &[("slice", "all"), ("quality", name)]), "deals_n");
    assert_eq!((quality("events"), quality("current")), (5, 2));
    // All of them were created on the first, by the table.
    let lead =
        only(&tables["stage_time"], &[("slice", "all"), ("period", "all"), ("stage", "lead")]);
    // 1, 2, 3, 4, 5 by the history, 8 by the table.
    assert_eq!(int(&lead, "visits_n"), 6);
}

#[test]
fn a_registry_of_stages_stands_in_for_the_pipeline() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let rows = "id,label,place,kind\nw,won,9,closed won\nproposal,Quote,2,\n\
                lead,Lead,1,\nl,lost,9,closed lost\n";
    scratch.write("stages/s.csv", rows);
    let config = CONFIG
        .replace("stages = [\"lead\", \"proposal\"]\nwon = [\"won\"]\nlost = [\"lost\"]\n", "");
    let stages = r#"
        [inputs.stages]
        path = "stages"
        columns = { stage_id = "id", stage_name = "label", stage_order = "place", class = "kind" }
        values = { class = { "closed won" = "won", "closed lost" = "lost" } }
        "#;
    let tables = tables_of(&scratch, &format!("{config}{stages}"));
    assert_eq!(outcomes(&tables), [4, 2, 1, 1]);
    assert_eq!(tables["funnel"].len(), plain()["funnel"].len());
    assert_eq!(filter(&tables["data_quality"], &[("rule", "unknown_stages")]), []);
    let moves = [("slice", "all"), ("period", "all"), ("to_stage", "w")];
    assert_eq!(filter(&tables["stage_transitions"], &moves).len(), 1);
}

#[test]
fn two_histories_tell_of_one_deal() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(&HISTORY[..5]), 100);
    // The rest as full rows, and the stages of deal 3 in another file than its end.
    scratch.parquet("more/b.parquet", &columns(&HISTORY[5..]), 100);
    let more = "[inputs.deal_events_more]\npath = \"more\"\nshape = \"row_history\"\n";
    assert_same_but_quality(&tables_of(&scratch, &format!("{CONFIG}{more}")));
}

/// A configuration that is refused with these words.
#[track_caller]
fn check_refused(text: &str, extra: &str, words: &[&str]) {
    let scratch = Scratch::new();
    scratch.write("events/e.csv", text);
    let error = scratch.run(&format!("{CONFIG}{extra}")).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_a_shape_needs_is_asked_for_by_file_and_column() {
    let fields = "shape = \"field_history\"\nfields = { Stage = \"stage_id\" }\n";
    check_refused(
        "deal_id,event_time,Field\n1,2024-01-01,Stage\n",
        fields,
        &["e.csv, column \"field\"", "column \"new_value\""],
    );
    check_refused(
        "deal_id,stage_id,region\n1,lead,n\n",
        "shape = \"intervals\"\n",
        &["column \"valid_from\""],
    );
    check_refused(
        "deal_id,stage_id,region\n1,lead,n\n",
        "shape = \"snapshots\"\n",
        &["column \"snapshot_at\""],
    );
    check_refused(
        "deal_id,event_time,field,new_value\n1,2024-01-01,s,lead\n",
        fields,
        &["dimension \"region\"", "a column of no input of deals"],
    );
}

#[test]
fn words_for_yes_are_known_and_others_are_counted() {
    let run = |flag: &str| {
        let scratch = Scratch::new();
        let rows = format!(
            "deal_id,event_time,stage_id,amount,is_deleted\n\
             1,2024-01-05T10:00:00Z,won,1,no\n2,2024-01-06T10:00:00Z,won,7,{flag}\n"
        );
        scratch.write("events/e.csv", &rows);
        let config = CONFIG.replace("columns = [\"region\"]", "");
        scratch.run(&format!("{config}{ROWS}")).map(|_| scratch.table("revenue"))
    };
    for yes in ["WAHR", "Ja", "oui", "1.0", "TRUE ", "是"] {
        let whole = only(&run(yes).unwrap(), &[("slice", "all"), ("period", "all")]);
        assert_eq!(int(&whole, "net_amount"), 100, "{yes} deletes the second deal");
    }
    let whole = only(&run("maybe").unwrap(), &[("slice", "all"), ("period", "all")]);
    assert_eq!(int(&whole, "net_amount"), 800, "what is neither deletes nothing");
}
