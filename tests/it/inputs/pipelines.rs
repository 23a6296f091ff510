//! Several pipelines in one run: stages of one id in two of them, handoffs, and pipelines that
//! nobody listed; by hand, and the same in every shape.

use super::*;
use crate::support::filter;

/// `lead` and `offer` stand in both pipelines, in another order.
const PIPELINES: &str = r#"
[pipelines.sales]
stages = ["lead", "offer"]
won = ["won"]
lost = ["lost"]
[pipelines.renewal]
stages = ["offer", "lead"]
won = ["won"]
lost = ["gone"]
"#;

const REGISTRY: &str = "[inputs.stages]\npath = \"stages.csv\"\n";

const STAGES: &str = "pipeline_id,stage_id,stage_order,class\n\
    sales,lead,1,open\nsales,offer,2,open\nsales,won,,won\nsales,lost,,lost\n\
    renewal,offer,1,open\nrenewal,lead,2,open\nrenewal,won,,won\nrenewal,gone,,lost\n";

const RUN: &str = "[run]\nas_of = \"2024-04-01T00:00:00Z\"\n";

const EVENTS: &str = "[inputs.deal_events]\npath = \"events.csv\"\ntimezone = \"UTC\"\n";

/// 1 stays in sales; 2 is handed over to a stage of the same name; 3 moves forward in the order of
/// its own pipeline; 4 is handed over to no stage; 5 is in a pipeline that nobody listed; 6 says no
/// pipeline, and only one has its stage.
const HISTORIES: &str = "deal_id,event_time,pipeline_id,stage_id\n\
    1,2024-01-01,sales,lead\n1,2024-01-05,sales,offer\n1,2024-01-09,sales,won\n\
    2,2024-01-01,sales,lead\n2,2024-01-04,renewal,lead\n2,2024-01-08,renewal,won\n\
    3,2024-01-01,renewal,offer\n3,2024-01-03,renewal,lead\n3,2024-01-06,renewal,gone\n\
    4,2024-01-02,sales,lead\n4,2024-01-05,renewal,\n\
    5,2024-01-02,misc,lead\n\
    6,2024-01-03,,gone\n";

fn run(config: &str) -> Tables {
    let scratch = Scratch::new();
    scratch.write("events.csv", HISTORIES);
    scratch.write("stages.csv", STAGES);
    tables_of(&scratch, &format!("{RUN}{config}"))
}

fn by_hand() -> &'static Tables {
    static TABLES: std::sync::OnceLock<Tables> = std::sync::OnceLock::new();
    TABLES.get_or_init(|| run(&format!("{PIPELINES}{EVENTS}")))
}

/// A column of the rows of the whole history that are so, in order.
#[track_caller]
fn counts(tables: &Tables, table: &str, at: &[(&str, &str)], column: &str) -> Vec<i64> {
    let whole = [("slice", "all"), ("period", "all")];
    let at: Vec<(&str, &str)> = whole.iter().chain(at).copied().collect();
    filter(&tables[table], &at).iter().map(|row| int(row, column)).collect()
}

#[track_caller]
fn check_move(from: [&str; 3], to: &str, moves_n: i64) {
    let [pipeline, stage, kind] = from;
    let at = [("pipeline", pipeline), ("from_stage", stage), ("to_stage", to), ("move", kind)];
    assert_eq!(counts(by_hand(), "stage_transitions", &at, "moves_n"), [moves_n], "{from:?} {to}");
}

#[test]
fn a_change_of_pipeline_is_a_handoff_and_nothing_else() {
    check_move(["sales", "START", "created"], "lead", 3);
    check_move(["sales", "lead", "advanced"], "offer", 1);
    check_move(["sales", "lead", "handoff"], "HANDOFF", 2);
    check_move(["renewal", "HANDOFF", "handoff"], "lead", 1);
    check_move(["renewal", "offer", "advanced"], "lead", 1);
    check_move(["renewal", "lead", "won"], "won", 1);
    check_move(["renewal", "START", "created"], "gone", 1);
    check_move(["misc", "START", "created"], "lead", 1);
    for kind in ["regressed", "skipped", "reopened", "unordered"] {
        assert_eq!(counts(by_hand(), "stage_transitions", &[("move", kind)], "moves_n"), [0; 0]);
    }
    let lead = [("pipeline", "sales"), ("from_stage", "lead")];
    assert_eq!(counts(by_hand(), "stage_transitions", &lead, "entries_n"), [3, 3]);
    assert_eq!(counts(by_hand(), "stage_transitions", &lead, "exits_n"), [3, 3]);
}

#[test]
fn each_pipeline_has_a_funnel_of_the_deals_that_are_in_it_now() {
    let reached = |pipeline, column| {
        let at = [("pipeline", pipeline), ("variant", "reached"), ("population", "created")];
        counts(by_hand(), "funnel", &at, column)
    };
    assert_eq!(reached("sales", "entered_n"), [1, 1, 1]);
    // 2 came to lead, the second stage, and was won; 3 came to lead; 4 and 6 to none.
    assert_eq!(reached("renewal", "entered_n"), [2, 2, 1]);
    assert_eq!(reached("renewal", "population_n"), [4, 4, 4]);
    assert_eq!(reached("misc", "entered_n"), [0]);
    assert_eq!(outcomes(by_hand()), [6, 2, 2, 2]);
    let at = [("pipeline", "sales")];
    assert_eq!(counts(by_hand(), "stage_time", &at, "visits_n"), [3, 1]);
    assert_eq!(counts(by_hand(), "stage_time", &at, "bottleneck_rank"), [1, 2]);
}

#[test]
fn pipelines_that_nobody_listed_are_counted_and_named() {
    assert_eq!(affected(by_hand(), "deal_events", "unknown_pipeline"), 1);
    assert_eq!(affected(by_hand(), "deal_events", "unknown_stages"), 1);
    assert_eq!(affected(by_hand(), "deal_events", "unknown_stage_events"), 1);
    let scratch = Scratch::new();
    scratch.write("events.csv", HISTORIES);
    let warnings = scratch.run(&format!("{RUN}{PIPELINES}{EVENTS}")).unwrap().warnings.join("\n");
    assert!(warnings.contains("not in [pipelines]: misc"), "{warnings}");
    assert!(warnings.contains("not in the pipeline: lead (misc)"), "{warnings}");
}

#[test]
fn one_pipeline_may_be_for_all_deals_of_no_other() {
    let rest = "[pipeline]\nstages = [\"lead\"]\n";
    let tables = run(&format!("{rest}{PIPELINES}{EVENTS}"));
    assert_eq!(filter(&tables["data_quality"], &[("rule", "unknown_pipeline")]).len(), 1);
    assert_eq!(affected(&tables, "deal_events", "unknown_pipeline"), 0);
    let at = [("pipeline", "default"), ("variant", "reached"), ("population", "created")];
    assert_eq!(counts(&tables, "funnel", &at, "entered_n"), [1, 0]);
}

#[test]
fn a_registry_gives_the_same_pipelines_by_itself() {
    let tables = run(&format!("{REGISTRY}{EVENTS}"));
    for (name, rows) in by_hand().iter().filter(|(name, _)| *name != "data_quality") {
        assert_eq!(&tables[name], rows, "{name}");
    }
    let only = run(&format!("[pipeline]\nonly = [\"sales\"]\n{REGISTRY}{EVENTS}"));
    // Deals 1, 2 and 4, as far as they are in sales.
    assert_eq!(outcomes(&only), [3, 1, 0, 2]);
    let at = [("from_stage", "lead"), ("to_stage", "STILL")];
    assert_eq!(counts(&only, "stage_transitions", &at, "moves_n"), [2]);
}

#[test]
fn the_class_of_a_stage_is_that_of_the_time_and_its_place_the_latest() {
    let scratch = Scratch::new();
    // Parked was lost until February, and is an open stage since.
    let stages = "stage_id,stage_name,stage_order,class,valid_from,valid_to\n\
                  lead,,1,open,,\nparked,Asleep,9,lost,,2024-02-01\n\
                  parked,Parked,2,open,2024-02-01,\nwon,,,won,,\nlost,,,lost,,\n\
                  bad,,3,open,2024-02-01,2024-01-01\n";
    scratch.write("stages.csv", stages);
    let events = "deal_id,event_time,stage_id\n\
                  1,2024-01-01,lead\n1,2024-01-10,parked\n1,2024-02-10,lead\n\
                  2,2024-02-01,lead\n2,2024-02-03,Asleep\n";
    scratch.write("events.csv", events);
    let tables = tables_of(&scratch, &format!("{RUN}{REGISTRY}timezone = \"UTC\"\n{EVENTS}"));
    let moves = |from, to, kind| {
        let at = [("from_stage", from), ("to_stage", to), ("move", kind)];
        counts(&tables, "stage_transitions", &at, "moves_n")
    };
    assert_eq!(moves("lead", "parked", "lost"), [1]);
    assert_eq!(moves("parked", "lead", "reopened"), [1]);
    assert_eq!(moves("lead", "parked", "advanced"), [1]);
    let reached = [("variant", "reached"), ("population", "created")];
    assert_eq!(counts(&tables, "funnel", &reached, "entered_n"), [2, 1, 0]);
    assert_eq!(affected(&tables, "stages", "bad_validity"), 1);
    assert_eq!(outcomes(&tables), [2, 0, 0, 2]);
}

/// The chance of winning by the day of creation, in millionths.
const OWN: &str = "[[metrics]]\nname = \"mine\"\nquestion = \"?\"\nrelation = \"deals\"\n\
    sql = \"SELECT created_on, SUM(probability_ppm) AS ppm, SUM(has_probability) AS known \
    FROM deals GROUP BY created_on\"\n";

/// Deals with their chance of winning in millionths.
#[track_caller]
fn chances(extra: &str, events: &str, more: &str) -> Vec<i64> {
    let scratch = Scratch::new();
    scratch.write("events.csv", events);
    scratch.write(
        "stages.csv",
        "stage_id,class,chance\nlead,open,10\noffer,open,60\nwon,won,100\nlost,lost,0\n",
    );
    let config = format!(
        "{RUN}[pipeline]\nstages = [\"lead\", \"offer\"]\nwon = [\"won\"]\nlost = [\"lost\"]\n\
         {OWN}{EVENTS}columns = {{ probability = \"chance\" }}\n{extra}{more}"
    );
    counts(&tables_of(&scratch, &config), "mine", &[], "ppm")
}

#[test]
fn the_latest_probability_counts_or_else_that_of_the_stage() {
    let events = "deal_id,event_time,stage_id,chance\n\
                  1,2024-01-01,lead,20\n1,2024-01-05,offer,35.5\n\
                  2,2024-01-02,lead,\n3,2024-01-03,offer,250\n";
    let stages = "[inputs.stages]\npath = \"stages.csv\"\ncolumns = { probability = \"chance\" }\n";
    // By the stage where there is none, or none that can be.
    assert_eq!(chances("", events, stages), [355_000, 100_000, 600_000]);
    assert_eq!(chances("", events, ""), [355_000, 0, 0]);
    let shares = events.replace("20\n", "0.2\n").replace("35.5", "0.355");
    assert_eq!(chances("", &shares, ""), [355_000, 0, 0]);
}

#[test]
fn a_probability_of_either_unit_is_refused_until_it_is_declared() {
    let events = "deal_id,event_time,stage_id,chance\n\
                  1,2024-01-01,lead,0.5\n2,2024-01-02,offer,80\n";
    assert_eq!(chances("probability_unit = \"percent\"\n", events, ""), [5_000, 800_000]);
    assert_eq!(chances("probability_unit = \"share\"\n", events, ""), [500_000, 0]);
    let scratch = Scratch::new();
    scratch.write("events.csv", events);
    let config = format!(
        "{RUN}[pipeline]\nstages = [\"lead\", \"offer\"]\n{EVENTS}columns = {{ probability = \
         \"chance\" }}\n"
    );
    let error = scratch.run(&config).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    for words in ["in percent, the latter is 0.5 %", "as shares of 1, it is 50 %"] {
        assert!(text.contains(words), "{text}");
    }
    // What nobody mapped is not read.
    scratch.run(&config.replace("columns = { probability = \"chance\" }", "")).unwrap();
}

#[test]
fn full_rows_and_fields_tell_probabilities_too() {
    let rows = "deal_id,event_time,stage_id,chance\n\
                1,2024-01-01,lead,20\n1,2024-01-05,offer,35\n\
                2,2024-01-02,lead,60\n2,2024-01-09,lead,60\n";
    assert_eq!(chances("shape = \"row_history\"\n", rows, ""), [350_000, 600_000]);
    let scratch = Scratch::new();
    let changes = "deal_id,event_time,field,old_value,new_value\n\
                   1,2024-01-01,stage,,lead\n1,2024-01-05,chance,20,35\n1,2024-01-06,chance,35,x\n\
                   2,2024-01-02,stage,,lead\n2,2024-01-02,chance,,60\n";
    scratch.write("events.csv", changes);
    let config = format!(
        "{RUN}[pipeline]\nstages = [\"lead\"]\n{OWN}{EVENTS}shape = \"field_history\"\n\
         fields = {{ stage = \"stage_id\", chance = \"probability\" }}\n"
    );
    let tables = tables_of(&scratch, &config);
    assert_eq!(counts(&tables, "mine", &[], "ppm"), [350_000, 600_000]);
    assert_eq!(affected(&tables, "deal_events", "bad_probability"), 1);
}

#[test]
fn full_rows_and_changes_of_fields_give_the_same_tables() {
    let rows = run(&format!("{PIPELINES}{EVENTS}shape = \"row_history\"\n"));
    let scratch = Scratch::new();
    let mut changes = String::from("deal_id,event_time,field,new_value\n");
    for line in HISTORIES.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        for (field, value) in [("stage", cells[3]), ("pipeline", cells[2])] {
            if !value.is_empty() {
                changes.push_str(&format!("{},{},{field},{value}\n", cells[0], cells[1]));
            }
        }
    }
    scratch.write("events.csv", &changes);
    let fields = "shape = \"field_history\"\n\
                  fields = { stage = \"stage_id\", pipeline = \"pipeline_id\" }\n";
    let fields = tables_of(&scratch, &format!("{RUN}{PIPELINES}{EVENTS}{fields}"));
    for (name, expected) in by_hand().iter().filter(|(name, _)| *name != "data_quality") {
        assert_eq!(&rows[name], expected, "{name} of full rows");
        assert_eq!(&fields[name], expected, "{name} of changes of fields");
    }
}

/// Every move of the whole history but those that begin or have not ended a visit.
fn moves(tables: &Tables) -> Vec<String> {
    let rows = filter(&tables["stage_transitions"], &[("slice", "all"), ("period", "all")]);
    let text = |row: &crate::support::Row, name: &str| match &row[name] {
        crate::support::Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let line = |row| {
        let [pipeline, from, to, kind] =
            ["pipeline", "from_stage", "to_stage", "move"].map(|name| text(row, name));
        let is_told = !["START", "HANDOFF"].contains(&from.as_str()) && to != "STILL";
        is_told.then(|| format!("{pipeline}: {from} {kind} {to} {}", int(row, "moves_n")))
    };
    rows.iter().filter_map(line).collect()
}

#[test]
fn a_history_without_pipelines_takes_them_from_its_stages_and_the_deals_now() {
    let scratch = Scratch::new();
    // No pipeline in the log: `review` is in renewal only, `lead` in both.
    let events = "deal_id,event_time,event_type,stage_id\n\
                  1,2024-01-01,stage,lead\n1,2024-01-05,stage,review\n1,2024-01-09,won,\n\
                  2,2024-01-02,stage,lead\n2,2024-01-08,stage,offer\n2,2024-01-09,lost,\n\
                  2,2024-01-10,reopened,\n3,2024-01-03,stage,lead\n";
    scratch.write("events.csv", events);
    let deals = "deal_id,pipeline_id,stage_id,outcome\n\
                 1,renewal,review,won\n2,sales,offer,open\n3,renewal,offer,open\n";
    scratch.write("deals.csv", deals);
    let config = PIPELINES.replace("[\"offer\", \"lead\"]", "[\"lead\", \"review\"]");
    let now = "[inputs.deals]\npath = \"deals.csv\"\ntimezone = \"UTC\"\n";
    let tables = tables_of(&scratch, &format!("{RUN}{config}{EVENTS}{now}"));
    let expected = [
        "renewal: lead advanced review 1",
        "renewal: review won won 1",
        "sales: lead advanced offer 1",
        "sales: offer lost lost 1",
        "sales: lost reopened offer 1",
    ];
    assert_eq!(moves(&tables), expected);
    // By the table deal 3 is in offer, which its pipeline has not.
    assert_eq!(affected(&tables, "deals", "history_disagrees"), 1);
    // Without the table the same follows, because review is in renewal only, and offer in sales.
    let tables = tables_of(&scratch, &format!("{RUN}{config}{EVENTS}"));
    assert_eq!(moves(&tables), expected);
    assert_eq!(affected(&tables, "deal_events", "unknown_pipeline"), 1);
}

#[test]
fn a_deal_is_told_with_its_handoff() {
    let scratch = Scratch::new();
    scratch.write("events.csv", HISTORIES);
    let resolved = scratch.resolve(&format!("{RUN}{PIPELINES}{EVENTS}")).unwrap();
    let options =
        dealmill::run::RunOptions { on_step: &|_| (), backend: dealmill::engine::Backend::Kernel };
    let by = dealmill::run::ExplainBy::Total;
    let tell = |deal| dealmill::run::explain_deal(&resolved, deal, by, &options).unwrap();
    let story = tell("2");
    assert!(story.contains("comes from another pipeline to lead (renewal), visit 1"), "{story}");
    assert!(story.contains("lead (sales) from") && story.contains("handoff (HANDOFF)"), "{story}");
    assert!(tell("4").contains("goes to another pipeline (G6)"));
}

#[test]
fn the_pipeline_can_be_a_dimension_and_a_column_of_own_metrics() {
    let own = "[dimensions]\ncolumns = [\"pipeline_id\"]\n[[metrics]]\nname = \"mine\"\n\
               question = \"?\"\nrelation = \"visits\"\n\
               sql = \"SELECT pipeline, stage, COUNT(*) AS visits_n FROM visits \
               WHERE pipeline = 'renewal' GROUP BY pipeline, stage\"\n";
    let tables = run(&format!("{own}{PIPELINES}{EVENTS}"));
    let at = [("slice", "pipeline_id"), ("pipeline_id", "renewal"), ("period", "all")];
    let row = only(&tables["conversion"], &[&at[..], &[("basis", "created")]].concat());
    assert_eq!(int(&row, "deals_n"), 3);
    let visits = |stage| counts(&tables, "mine", &[("stage", stage)], "visits_n");
    assert_eq!((visits("lead (renewal)"), visits("gone")), (vec![2], vec![2]));
}

#[test]
fn an_open_deal_is_in_the_pipeline_that_it_was_handed_to() {
    let open = |more: &[(&str, &str)]| -> Vec<i64> {
        let month = [("slice", "all"), ("period", "month"), ("period_start", "2024-01-01")];
        let at: Vec<(&str, &str)> = month.iter().chain(more).copied().collect();
        filter(&by_hand()["pipeline_snapshot"], &at).iter().map(|row| int(row, "open_n")).collect()
    };
    // 4 is in no stage of renewal, 5 in a stage that nobody listed; all others are closed.
    assert_eq!(open(&[]), [1, 1]);
    assert_eq!(open(&[("pipeline", "renewal"), ("stage", "START")]), [1]);
    assert_eq!(open(&[("pipeline", "misc"), ("stage", "lead")]), [1]);
    assert_eq!(open(&[("pipeline", "sales")]), [0; 0]);
}
