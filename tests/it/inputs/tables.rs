//! Targets, surveys, touches, contracts and calendars: what becomes of their rows, and what metrics
//! of a user's own make of them. Expected values by hand, over the plain history.

use super::*;
use crate::support::{Cell, filter};
use dealmill::engine::Backend;
use dealmill::run::{self, RunOptions};

/// Customers 11, 12 and 13 have deals, owners ann and bob.
const INPUTS: &str = r#"
[dimensions.from]
team = "users.team_id"
segment = "customers.segment"
[inputs.users]
path = "users.csv"
[inputs.customers]
path = "customers.csv"
[inputs.targets]
path = "targets.csv"
[inputs.surveys]
path = "surveys.csv"
[inputs.touches]
path = "touches.csv"
[inputs.contracts]
path = "contracts.csv"
[inputs.calendar]
path = "calendar.csv"
[[metrics]]
name = "goals"
relation = "targets"
sql = """SELECT starts_period AS period, target_scope, target_owner, target_team, target_metric,
         COUNT(*) AS targets_n, SUM(target_amount) AS target_amount, SUM(workdays_n) AS workdays_n,
         SUM(elapsed_workdays_n) AS elapsed_workdays_n, SUM(is_known) AS known_n
         FROM targets
         GROUP BY starts_period, target_scope, target_owner, target_team, target_metric"""
[[metrics]]
name = "voices"
relation = "surveys"
sql = """SELECT answered_period AS period, survey_kind, COUNT(*) AS asked_n,
         SUM(is_response) AS responses_n, SUM(is_promoter) AS promoters_n,
         SUM(is_detractor) AS detractors_n, SUM(is_satisfied) AS satisfied_n,
         SUM(is_latest) AS latest_n, SUM(score_thousandths) AS score_thousandths,
         SUM(has_deal) AS matched_n
         FROM surveys GROUP BY answered_period, survey_kind"""
[[metrics]]
name = "contacts"
relation = "touches"
sql = """SELECT touched_period AS period, channel AS way, touch_campaign, COUNT(*) AS touches_n,
         SUM(is_first_touch) AS first_n, SUM(has_deal) AS matched_n
         FROM touches GROUP BY touched_period, channel, touch_campaign"""
[[metrics]]
name = "recurring"
relation = "contracts"
sql = """SELECT starts_period AS period, customer, COUNT(*) AS contracts_n,
         SUM(mrr_amount) AS mrr_amount, SUM(is_running) AS running_n, SUM(has_deal) AS matched_n
         FROM contracts GROUP BY starts_period, customer"""
"#;

const USERS: &str = "owner_id,team_id,valid_from,valid_to\n\
    ann,north,,2024-02-01\nann,south,2024-02-01,\nbob,north,,\n";

const CUSTOMERS: &str = "customer_id,segment\n11,large\n12,small\n";

/// Ann in January and February, bob, a team, everybody; then one row for each fault.
const TARGETS: &str = "owner_id,team_id,period_start,period_end,metric,target\n\
    ann,,2024-01-01,2024-02-01,,1000\nann,,2024-02-01,2024-03-01,,1500.50\n\
    bob,,2024-04-01,2024-05-01,deals,7\n,south,2024-01-01,2024-02-01,,300\n\
    ,,2024-01-01,2024-02-01,,0\neve,,2024-01-01,2024-02-01,,5\n,west,2024-01-01,2024-02-01,,5\n\
    ann,,2024-01-01,2024-01-01,,5\nann,,2024-01-01,2024-02-01,,-5\n\
    ann,,2024-01-01,2024-02-01,,much\nann,,2024-01-01,2024-02-01,,\nann,,,2024-02-01,,5\n";

/// Customer 11 twice, deal 2 (of customer 12), nobody, somebody unknown, silence.
const SURVEYS: &str = "response_id,customer_id,deal_id,at,kind,score\n\
    a,11,,2024-01-10,nps,6\nb,11,,2024-02-10,nps,10\nc,,2,2024-02-11,NPS,9\n\
    d,,,2024-02-12,nps,8\ne,99,,2024-02-12,csat,4\nf,12,,2024-02-12,nps,\n\
    b,11,,2024-02-11,nps,9\n\
    g,11,,2024-02-10,nps,11\nh,11,,2024-02-10,nps,high\ni,11,,2024-02-10,stars,5\n\
    j,11,,,nps,5\nk,11,,2024-05-01,nps,5\n";

const TOUCHES: &str = "customer_id,lead_id,at,channel,campaign_id\n\
    11,,2024-01-03,web,spring\n11,,2024-01-02,fair,\n,l1,2024-01-04,web,\n99,,2024-02-01,web,\n\
    ,,2024-02-02,,\n11,,2024-06-01,web,\n";

const CONTRACTS: &str = "customer_id,start,end,mrr\n\
    11,2024-01-01,2024-02-01,100\n11,2024-02-01,,120.25\n12,2024-02-15,9999-12-31,50\n\
    99,2024-01-01,2024-12-31,1\n\
    13,2024-06-01,,5\n13,2024-02-01,2024-01-01,5\n13,2024-02-01,soon,5\n,2024-02-01,,5\n\
    13,2024-02-01,,-5\n";

/// New Year's Day is off; the 6th of January, a Saturday, is worked.
const CALENDAR: &str = "date,is_workday,fiscal_period\n\
    2024-01-01,no,P1\n2024-01-06,yes,P1\n2024-01-06,no,P1\n,yes,P1\n";

fn config() -> String {
    CONFIG.replace("columns = [\"region\"]", "columns = [\"region\", \"team\", \"segment\"]")
        + INPUTS
}

fn inputs() -> Scratch {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    for (name, text) in [
        ("users", USERS),
        ("customers", CUSTOMERS),
        ("targets", TARGETS),
        ("surveys", SURVEYS),
        ("touches", TOUCHES),
        ("contracts", CONTRACTS),
        ("calendar", CALENDAR),
    ] {
        scratch.write(&format!("{name}.csv"), text);
    }
    scratch
}

/// The tables of a run over all of them.
fn all() -> &'static Tables {
    static ALL: std::sync::OnceLock<Tables> = std::sync::OnceLock::new();
    ALL.get_or_init(|| tables_of(&inputs(), &config()))
}

/// The only row of the whole history with these values, its columns as numbers.
#[track_caller]
fn check(table: &str, wanted: &[(&str, &str)], expected: &[(&str, i64)]) {
    let mut all_of = vec![("period", "all")];
    if !wanted.iter().any(|(column, _)| *column == "slice") {
        all_of.push(("slice", "all"));
    }
    all_of.extend_from_slice(wanted);
    let row = only(&all()[table], &all_of);
    let found: Vec<(&str, i64)> =
        expected.iter().map(|(name, _)| (*name, int(&row, name))).collect();
    assert_eq!(found, expected, "{table} {wanted:?}");
}

#[test]
fn targets_have_their_amounts_and_working_days() {
    // January 2024 has 23 weekdays, February 21, April 22; as of 1 April, one of April is over.
    // Ann has a second target for January, of -5, which is kept.
    let january = [("targets_n", 3), ("target_amount", 249_550), ("workdays_n", 23 + 21 + 23)];
    check("goals", &[("target_scope", "owner"), ("target_owner", "ann")], &january);
    let april = [("target_amount", 700), ("workdays_n", 22), ("elapsed_workdays_n", 1)];
    check("goals", &[("target_owner", "bob"), ("target_metric", "deals")], &april);
    let team = [("target_amount", 30_000), ("known_n", 1), ("elapsed_workdays_n", 23)];
    check("goals", &[("target_scope", "team"), ("target_team", "south")], &team);
    check("goals", &[("target_scope", "everybody")], &[("target_amount", 0), ("known_n", 1)]);
    assert_eq!(affected(all(), "targets", "bad_target"), 4);
    assert_eq!(affected(all(), "targets", "nonpositive_targets"), 2, "0 and -5");
    assert_eq!(affected(all(), "targets", "orphan_targets"), 2, "eve and the west");
}

#[test]
fn targets_are_of_the_team_that_the_owner_had_then() {
    // Ann was in the north in January and in the south in February; bob is in the north.
    let of =
        |team: &'static str| vec![("slice", "team"), ("team", team), ("target_scope", "owner")];
    let north = [of("north"), vec![("target_owner", "ann")]].concat();
    check("goals", &north, &[("target_amount", 99_500)]);
    check("goals", &of("south"), &[("target_amount", 150_050)]);
    let team = [("slice", "team"), ("team", "south"), ("target_scope", "team")];
    check("goals", &team, &[("target_amount", 30_000)]);
}

#[test]
fn answers_are_counted_once_and_silence_is_no_answer() {
    // 6 by 11, then 9 by 11 (which replaces 10), 9 about deal 2, 8 by nobody, and silence.
    check(
        "voices",
        &[("survey_kind", "nps")],
        &[
            ("asked_n", 5),
            ("responses_n", 4),
            ("promoters_n", 2),
            ("detractors_n", 1),
            ("score_thousandths", 32_000),
            ("latest_n", 3),
            ("matched_n", 4),
        ],
    );
    check("voices", &[("survey_kind", "csat")], &[("satisfied_n", 1), ("matched_n", 0)]);
    let rules = [
        ("duplicate_responses", 1),
        ("bad_score", 2),
        ("unknown_kind", 1),
        ("null_event_time", 1),
        ("unattributed_rows", 1),
        ("orphan_rows", 1),
    ];
    for (rule, n) in rules {
        assert_eq!(affected(all(), "surveys", rule), n, "{rule}");
    }
    let row = only(&all()["data_quality"], &[("input", "surveys"), ("rule", "bad_score")]);
    let rows = ["rows_in_n", "folded_n", "quarantined_n", "after_as_of_n"].map(|c| int(&row, c));
    assert_eq!(rows, [12, 7, 4, 1]);
}

#[test]
fn answers_are_of_the_segment_of_their_customer() {
    // The answer about deal 2 is customer 12's.
    let of = |segment: &'static str| [("slice", "segment"), ("segment", segment)];
    check("voices", &of("large"), &[("asked_n", 2), ("promoters_n", 1)]);
    check("voices", &of("small"), &[("asked_n", 2), ("promoters_n", 1), ("responses_n", 1)]);
}

#[test]
fn contacts_know_the_first_of_each_customer_and_lead() {
    let spring = [("way", "web"), ("touch_campaign", "spring")];
    check("contacts", &spring, &[("touches_n", 1), ("first_n", 0), ("matched_n", 1)]);
    check("contacts", &[("way", "fair")], &[("touches_n", 1), ("first_n", 1)]);
    let rows = filter(&all()["contacts"], &[("slice", "all"), ("period", "all"), ("way", "web")]);
    assert_eq!(rows.iter().map(|row| int(row, "first_n")).sum::<i64>(), 2, "the lead and 99");
    assert_eq!(affected(all(), "touches", "unattributed_rows"), 1);
    assert_eq!(affected(all(), "touches", "orphan_rows"), 1, "99; a lead is no orphan");
}

#[test]
fn contracts_run_until_they_end() {
    // Customers are numbered in the order of their identifiers, those of all tables: 11, 12, 99.
    let first = [("contracts_n", 2), ("mrr_amount", 22_025), ("running_n", 1), ("matched_n", 2)];
    check("recurring", &[("slice", "segment"), ("segment", "large")], &first);
    let rows = filter(&all()["recurring"], &[("slice", "all"), ("period", "all")]);
    let found: Vec<(i64, i64)> =
        rows.iter().map(|r| (int(r, "customer"), int(r, "running_n"))).collect();
    assert_eq!(found, [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(affected(all(), "contracts", "bad_contract"), 4);
    assert_eq!(affected(all(), "contracts", "orphan_rows"), 1);
    let row = only(&all()["data_quality"], &[("input", "contracts"), ("rule", "bad_contract")]);
    assert_eq!(int(&row, "after_as_of_n"), 1);
}

#[test]
fn a_day_that_is_told_twice_counts_as_told_first() {
    // New Year's Day off and a Saturday worked: January keeps its 23 days.
    assert_eq!(affected(all(), "calendar", "duplicate_days"), 1);
    assert_eq!(affected(all(), "calendar", "bad_day"), 1);
}

#[test]
fn customers_written_as_text_and_as_numbers_are_the_same() {
    let scratch = inputs();
    let mut own = columns(HISTORY);
    let customers = HISTORY.iter().map(|e| e.4.to_string()).collect::<Vec<_>>();
    own = replaced(own, "customer_id", texts(customers.iter().map(String::as_str)));
    scratch.parquet("events/a.parquet", &own, 100);
    assert_same(&tables_of(&scratch, &config()), all());
}

#[test]
fn one_table_alone_is_that_of_a_full_run() {
    let scratch = inputs();
    for name in ["goals", "voices", "contacts", "recurring", "revenue"] {
        let only = format!("[run]\nonly = [\"{name}\"]");
        scratch.run(&config().replace("[run]", &only)).unwrap();
        assert_eq!(scratch.table(name), all()[name], "{name}");
    }
}

#[test]
fn shards_change_nothing() {
    let scratch = inputs();
    let config = config().replace("[run]", "[run]\nshards = 5\nthreads = 3");
    assert_same(&tables_of(&scratch, &config), all());
}

#[test]
fn amounts_in_other_currencies_are_converted_or_refused() {
    let scratch = inputs();
    let targets = "owner_id,period_start,period_end,target,currency\n\
        ann,2024-01-01,2024-02-01,100,EUR\nann,2024-01-01,2024-02-01,7,GBP\n";
    scratch.write("targets.csv", targets);
    let contracts = "customer_id,start,mrr,currency\n11,2024-01-05,10,eur\n12,2024-01-05,3,\n";
    scratch.write("contracts.csv", contracts);
    scratch.write("rates.csv", "date,currency,rate_to_base\n2024-01-01,EUR,1.25\n");
    let refused = scratch.run(&config()).unwrap_err();
    assert!(refused.to_string().contains("targets and contracts"), "{refused}");
    let money = "[money]\npolicy = \"at_close\"\n[inputs.fx_rates]\npath = \"rates.csv\"\n";
    let found = tables_of(&scratch, &(config() + money));
    let whole = [("slice", "all"), ("period", "all")];
    assert_eq!(int(&only(&found["goals"], &whole), "target_amount"), 12_500);
    let mrr = filter(&found["recurring"], &whole);
    assert_eq!(mrr.iter().map(|row| int(row, "mrr_amount")).collect::<Vec<_>>(), [1_250, 300]);
    assert_eq!(affected(&found, "targets", "unpriced_rows"), 1);
}

#[test]
fn a_metric_without_its_table_is_left_out_with_the_reason() {
    let scratch = inputs();
    let without = config().replace("[inputs.surveys]\npath = \"surveys.csv\"\n", "");
    let summary = scratch.run(&without).unwrap();
    let why = &summary.skipped.iter().find(|(name, _)| name == "voices").unwrap().1;
    assert!(why.contains("[inputs.surveys]"), "{why}");
    assert!(!scratch.path("out/latest/voices.parquet").exists());
}

#[test]
fn check_says_which_optional_inputs_there_are() {
    let scratch = inputs();
    let without = config().replace("[inputs.surveys]\npath = \"surveys.csv\"\n", "");
    let options = RunOptions { on_step: &|_| (), backend: Backend::Kernel };
    let judged = run::check(&scratch.resolve(&without).unwrap(), &options).unwrap();
    let of = |name: &str| judged.optional.iter().find(|input| input.name == name).unwrap();
    assert_eq!(of("surveys").rows, None);
    let targets = of("targets");
    let span = targets.span.map(|(a, b)| [a, b].map(dealmill::time::day_text));
    assert_eq!(targets.rows, Some(12));
    assert_eq!(span, Some(["2024-01-01".into(), "2024-04-30".into()]));
    assert_eq!((of("users").rows, of("users").span), (Some(3), None));
    let skipped = judged.summary.skipped.iter().any(|(name, _)| name == "voices");
    assert!(skipped, "check leaves out what a run does");
}

#[test]
fn the_manifest_lists_the_tables() {
    let scratch = inputs();
    scratch.run(&config()).unwrap();
    let manifest = manifest(&scratch);
    let inputs = manifest["inputs"].as_array().unwrap();
    for (name, rows) in [("targets", 12), ("surveys", 12), ("calendar", 4), ("customers", 2)] {
        let input = inputs.iter().find(|i| i["name"] == name).unwrap();
        assert_eq!(input["rows"], rows, "{name}");
    }
    let quarantined = rows_of(&scratch.path("out/latest/quarantine/targets.parquet"));
    assert_eq!(quarantined.len(), 4);
    assert!(quarantined.iter().all(|row| row["rule"] == Cell::Text("bad_target".into())));
}
