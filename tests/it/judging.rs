//! What `check` and `run` say of inputs that are not as they should be, and calendars of weeks.

use std::process::Command;

use crate::support::{Cell, Scratch, filter};

/// What the program writes to stdout and stderr, and its exit code.
fn dealmill(scratch: &Scratch, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .args(arguments)
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[track_caller]
fn check(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

const PIPELINE: &str = "[pipeline]\nstages = ['lead']\nwon = ['won']\nlost = ['lost']\n\
    [inputs.deal_events]\npath = 'events.csv'\n";

/// Six rows with something wrong with most.
fn dirty() -> Scratch {
    let scratch = Scratch::new();
    scratch.write(
        "events.csv",
        "deal_id,event_time,stage_id,amount,currency,customer_id,owner_id,note\n\
         1,2024-01-01T00:00:00Z,lead,12,EUR,7,ann,x\n\
         1,2024-01-02T00:00:00Z,won,\"12,x\",EUR,7,ann,x\n\
         2,2024-01-03T00:00:00Z,demo,5,CHF,8,bob,x\n\
         2,2024-01-04T00:00:00Z,trial,5,CHF,8,bob,x\n\
         2,2024-01-05T00:00:00Z,demo,5,CHF,8,bob,x\n\
         3,yesterday,lead,5,USD,9,eve,x\n",
    );
    scratch.write("rates.csv", "date,currency,rate_to_base\n2024-01-01,EUR,1.1\n");
    scratch.write("people.csv", "owner_id,team\nann,blue\n");
    scratch.write("dealmill.toml", &dirty_config());
    scratch
}

fn dirty_config() -> String {
    format!(
        "{PIPELINE}[inputs.fx_rates]\npath = 'rates.csv'\n\
         [inputs.people]\npath = 'people.csv'\nshape = 'lookup'\nkey = 'owner_id'\n\
         [money]\ncurrency = 'USD'\npolicy = 'at_close'\n\
         [dimensions]\ncolumns = ['team']\n[dimensions.from]\nteam = 'people.team'\n"
    )
}

#[test]
fn check_names_what_is_wrong_with_counts_shares_values_and_rows() {
    let scratch = dirty();
    let (report, _, code) = dealmill(&scratch, &["check"]);
    assert_eq!(code, Some(0), "{report}");
    check(
        &report,
        &[
            "2 deals of 6 rows, as of 2024-01-05T00:00:00Z\n",
            "  deal_events: 6 rows = 5 folded + 1 quarantined + 0 after as_of\n",
            "    5 events on 5 days from 2024-01-01 to 2024-01-05\n",
            "    history_quality: events\n",
            "    columns that nothing reads: note\n",
            "namely \"demo\" (2), \"trial\" (1)\n",
            "namely \"CHF\"\n",
            "events.csv row 2: deal \"1\", time \"2024-01-02T00:00:00Z\", stage \"won\", \
             amount \"12,x\"\n",
            "events.csv row 6: deal \"3\", time \"yesterday\"",
            // Of the two deals that are left, the one of Bob has no team.
            "1 of 2 deals (50.0 %)\n",
            "Tables that would come out: revenue, ",
            "Tables that would not:\n  revenue_paid: it needs payments",
            "\n  cac: it needs spend",
        ],
    );
    assert!(!report.contains("ragged_rows"), "unbroken rules are not listed\n{report}");
    assert!(!scratch.path("out").exists(), "check writes only its report");
}

#[test]
fn check_names_the_rows_and_values_of_tables_beside_the_histories() {
    let scratch = dirty();
    let config = dirty_config()
        + "[inputs.payments]\npath = 'payments.csv'\n[inputs.deal_splits]\npath = 'splits.csv'\n\
           [inputs.calendar]\npath = 'calendar.csv'\n[inputs.merges]\npath = 'merges.csv'\n";
    scratch.write("dealmill.toml", &config);
    scratch.write(
        "payments.csv",
        "payment_id,deal_id,paid_at,amount\np1,1,2024-01-03,5\np1,1,2024-01-03,6\n\
         p2,77,2024-01-03,7\n",
    );
    scratch.write("splits.csv", "deal_id,owner_id,share\n1,ann,0.5\n55,ann,1\n1,bob,0.4\n");
    scratch.write("calendar.csv", "date,is_workday\n2024-01-01,no\n2024-01-05,yes\n");
    scratch.write("merges.csv", "loser_id,winner_id\n88,1\n");
    let (report, _, code) = dealmill(&scratch, &["check"]);
    assert_eq!(code, Some(0), "{report}");
    check(
        &report,
        &[
            // The owner of the deal that is left has no team.
            "namely \"bob\" (1)\n",
            "payments.csv row 2: deal \"1\", time \"2024-01-03\", amount \"6\", text \"payment_id p1\"",
            "namely \"77\" (1)\n",
            "namely \"deal 1: 0.9\"\n",
            "namely \"55\" (1)\n",
            "namely \"88\" (1)\n",
            "calendar: 3 days between the first and the last one are not told",
        ],
    );
}

#[test]
fn merges_in_a_circle_are_refused_with_their_row() {
    let scratch = dirty();
    let config = dirty_config() + "[inputs.merges]\npath = 'merges.csv'\n";
    scratch.write("dealmill.toml", &config);
    scratch.write("merges.csv", "loser_id,winner_id\n5,6\n1,2\n2,1\n");
    let (_, said, code) = dealmill(&scratch, &["check"]);
    assert_eq!(code, Some(3), "{said}");
    check(&said, &["merges.csv, row 2, columns", "merged in a circle: 1 into 2 into 1"]);
}

#[test]
fn a_misspelt_table_is_told_what_it_is_called() {
    let scratch = dirty();
    scratch.write("dealmill.toml", &(dirty_config() + "[inputs.payment]\npath = 'payments.csv'\n"));
    let (_, said, code) = dealmill(&scratch, &["check"]);
    assert_eq!(code, Some(2), "{said}");
    check(&said, &["inputs.payment", "did you mean \"payments\"?"]);
}

#[test]
fn a_deal_that_is_not_there_is_answered_with_the_nearest() {
    let scratch = dirty();
    let (_, said, code) = dealmill(&scratch, &["explain", "deal", "12"]);
    assert_eq!(code, Some(2), "{said}");
    check(&said, &["unknown deal \"12\"", "\"1\""]);
}

#[test]
fn amounts_that_nothing_converts_are_not_told_as_if_they_were() {
    let scratch = dirty();
    let config = dirty_config().replace("policy = 'at_close'", "policy = 'none'");
    scratch.write("dealmill.toml", &config);
    let (told, _, code) = dealmill(&scratch, &["explain", "deal", "2"]);
    assert_eq!(code, Some(0), "{told}");
    check(&told, &["its currency is CHF, not USD", "a run refuses it (G16)"]);
}

#[test]
fn rules_that_an_input_cannot_break_are_not_listed_for_it() {
    let scratch = dirty();
    let config = dirty_config();
    let summary = scratch.run(&config).unwrap();
    let rows = scratch.table("data_quality");
    let has = |input, rule| !filter(&rows, &[("input", input), ("rule", rule)]).is_empty();
    assert!(has("people", "orphans") && !has("people", "ragged_rows"));
    assert!(!has("people", "bad_event_time") && !has("deal_events", "orphans"));
    assert!(has("deal_events", "bad_amount") && !has("deal_events", "bad_interval"));
    // One row is one row.
    check(
        &summary.warnings.join("\n"),
        &[
            "deal_events: 1 row of rule bad_event_time: ",
            "deal_events: 3 rows of rule unknown_stage",
        ],
    );
}

#[test]
fn a_column_under_another_spelling_is_pointed_out() {
    let scratch = Scratch::new();
    scratch.write("events.csv", "deal_id,event_time,stage_id,Amount\n1,2024-01-01,lead,5\n");
    let summary = scratch.run(PIPELINE).unwrap();
    let said = "column \"Amount\" looks like amount and is not read: map it with columns.amount = \
                \"Amount\", or say columns.amount = \"\"";
    check(&summary.warnings.join("\n"), &[said]);
    let (report, ..) = dealmill(&scratch, &["check"]);
    check(&report, &[said]);
    for columns in ["amount = 'Amount'", "amount = ''"] {
        let config = format!("{PIPELINE}columns = {{ {columns} }}\n");
        let warnings = scratch.run(&config).unwrap().warnings.join("\n");
        assert!(!warnings.contains("looks like"), "{columns}: {warnings}");
    }
}

#[test]
fn a_flag_that_is_neither_is_unknown_or_keeps_its_row_out() {
    let scratch = Scratch::new();
    scratch.write(
        "events.csv",
        "deal_id,valid_from,stage_id,is_won\n\
         1,2024-01-01,lead,no\n\
         1,2024-01-02,lead,maybe\n\
         2,2024-01-01,lead,no\n\
         2,2024-01-02,lead,yes\n",
    );
    let config = format!("{PIPELINE}shape = 'row_history'\n")
        .replace("shape", "columns = { event_time = 'valid_from' }\nshape");
    let won = |scratch: &Scratch| {
        let rows = scratch.table("conversion");
        let all = filter(&rows, &[("slice", "all"), ("period", "all")]);
        all.iter().filter_map(|row| row.get("won_n").cloned()).next()
    };
    let summary = scratch.run(&config).unwrap();
    assert_eq!(summary.rows_quarantined, 0);
    check(&summary.warnings.join("\n"), &["deal_events: 1 row of rule bad_flag: A flag"]);
    assert_eq!(won(&scratch), Some(Cell::Int(1)));
    let (report, ..) = dealmill(&scratch, &["check"]);
    check(&report, &["events.csv row 2: deal \"1\""]);
    let strict = format!("{config}[quality.severity]\nbad_flag = 'quarantine'\n");
    let summary = scratch.run(&strict).unwrap();
    assert_eq!(summary.rows_quarantined, 1);
    check(&summary.warnings.join("\n"), &["neither yes nor no; the row is kept out."]);
}

#[test]
fn unknown_stages_that_are_kept_out_are_said_to_be() {
    let scratch = dirty();
    let config = dirty_config();
    let config = format!("{config}[quality.severity]\nunknown_stage_events = 'quarantine'\n");
    let warnings = scratch.run(&config).unwrap().warnings.join("\n");
    check(
        &warnings,
        &["unknown_stage_events: The stage is not in [pipeline] (G6); the row is kept"],
    );
}

#[test]
fn a_run_without_a_deal_left_says_so() {
    let scratch = Scratch::new();
    scratch.write(
        "events.csv",
        "deal_id,event_time,event_type,stage_id\n\
         1,2024-01-01,stage,lead\n1,2024-01-02,deleted,\n",
    );
    let warnings = scratch.run(PIPELINE).unwrap().warnings.join("\n");
    check(&warnings, &["no deal is left: every one is deleted or kept out"]);
}

#[test]
fn formats_and_origins_that_cannot_be_meant_are_refused_with_their_key() {
    let scratch = dirty();
    for format in ["%q", "week %U", "%Q!"] {
        let error = scratch.run(&format!("{PIPELINE}time_format = '{format}'\n")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{format}");
        check(&error.to_string(), &["inputs.deal_events.time_format"]);
    }
    let config = dirty_config();
    let typo = config.replace("'people.team'", "'peopel.team'");
    let error = scratch.run(&typo).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    check(&error.to_string(), &["dimensions.from.team", "did you mean \"people\"?"]);
    let typo = config.replace("'people.team'", "'people.taem'");
    let error = scratch.run(&typo).unwrap_err();
    check(&format!("{error} {}", error.hint().unwrap()), &["\"taem\"", "did you mean team?"]);
}

#[test]
fn a_table_that_a_run_was_not_asked_for_is_told_from_one_that_there_is_not() {
    let scratch = dirty();
    let (_, said, code) = dealmill(&scratch, &["run", "--only", "revenue"]);
    assert_eq!(code, Some(0), "{said}");
    let (_, said, code) = dealmill(&scratch, &["show", "funnel"]);
    assert_eq!(code, Some(2));
    check(&said, &["has no table \"funnel\"", "of these tables only: revenue", "--only"]);
}

#[test]
fn of_two_rates_of_a_day_no_name_of_a_file_decides() {
    let revenue = |first: &str, second: &str| {
        let scratch = dirty();
        std::fs::remove_file(scratch.path("rates.csv")).unwrap();
        for (name, rate) in [("a.csv", first), ("b.csv", second)] {
            let text = format!("date,currency,rate_to_base\n2024-01-01,EUR,{rate}\n");
            scratch.write(&format!("rates/{name}"), &text);
        }
        let config = dirty_config();
        let summary = scratch.run(&config.replace("rates.csv", "rates")).unwrap();
        check(&summary.warnings.join("\n"), &["fx_rates: 1 row of rule duplicate_rates"]);
        let rows = scratch.table("revenue");
        filter(&rows, &[("slice", "all"), ("period", "all")])
            .first()
            .map(|r| r["net_amount"].clone())
    };
    // 12 EUR at the lower rate of 1.1 are 13.20.
    assert_eq!(revenue("1.1", "1.2"), Some(Cell::Int(1_320)));
    assert_eq!(revenue("1.2", "1.1"), Some(Cell::Int(1_320)));
}

/// Won on the last day of the retail year 2023, and on the first of 2024.
const RETAIL: &str = "deal_id,event_time,stage_id,amount\n\
    1,2024-02-03T12:00:00Z,won,1\n2,2024-02-04T12:00:00Z,won,2\n3,2024-03-03T12:00:00Z,won,4\n";

#[test]
fn fiscal_years_of_weeks_begin_as_published() {
    let scratch = Scratch::new();
    scratch.write("events.csv", RETAIL);
    let run = "[run]\nperiods = ['month', 'fiscal_month', 'fiscal_year']\n\
               as_of = '2024-03-05T00:00:00Z'\nfiscal_weeks = '4-5-4'\n\
               fiscal_year_ends = { which = 'nearest', weekday = 'saturday', month = 1 }\n";
    scratch.run(&format!("{run}{PIPELINE}")).unwrap();
    let rows = scratch.table("revenue");
    let starts = |period: &str| -> Vec<(Cell, Cell)> {
        let own = filter(&rows, &[("slice", "all"), ("period", period)]);
        own.iter().map(|r| (r["period_start"].clone(), r["net_amount"].clone())).collect()
    };
    let row = |start: &str, cents| (Cell::Text(start.into()), Cell::Int(cents));
    assert_eq!(starts("fiscal_year"), [row("2023-01-29", 100), row("2024-02-04", 600)]);
    let months = [row("2023-12-31", 100), row("2024-02-04", 200), row("2024-03-03", 400)];
    assert_eq!(starts("fiscal_month"), months);
    assert_eq!(starts("month"), [row("2024-02-01", 300), row("2024-03-01", 400)]);
    for (config, key) in [
        ("fiscal_weeks = '4-4-5'\n", "run.fiscal_weeks"),
        ("periods = ['fiscal_month']\n", "run.periods"),
    ] {
        let error = scratch.run(&format!("[run]\n{config}{PIPELINE}")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        check(&error.to_string(), &[key]);
    }
}

#[test]
fn dates_are_local_days_and_naive_times_are_of_the_declared_zone() {
    let scratch = Scratch::new();
    // The same instant twice: Shanghai is eight hours ahead; and a date, which is that day there.
    scratch.write(
        "events.csv",
        "deal_id,event_time,stage_id,amount\n\
         1,2024-02-29T16:30:00Z,won,1\n2,2024-02-29 16:30:00,won,2\n3,2024-03-01,won,4\n",
    );
    let months = |zones: &str, own: &str| -> Vec<(Cell, Cell)> {
        let run = format!("[run]\nas_of = '2024-03-05T00:00:00Z'\ntimezone = '{zones}'\n");
        scratch.run(&format!("{run}{PIPELINE}timezone = '{own}'\n")).unwrap();
        let rows = scratch.table("revenue");
        let own = filter(&rows, &[("slice", "all"), ("period", "month")]);
        own.iter().map(|r| (r["period_start"].clone(), r["net_amount"].clone())).collect()
    };
    let row = |start: &str, cents| (Cell::Text(start.into()), Cell::Int(cents));
    let (february, march) = ("2024-02-01", "2024-03-01");
    assert_eq!(months("UTC", "UTC"), [row(february, 300), row(march, 400)]);
    assert_eq!(months("Asia/Shanghai", "UTC"), [row(march, 700)]);
    assert_eq!(months("Asia/Shanghai", "Asia/Shanghai"), [row(february, 200), row(march, 500)]);
}
