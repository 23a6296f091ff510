//! The command line as a user meets it: exit codes, hints, streams.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const VERBS: &[&str] = &[
    "demo",
    "run",
    "check",
    "generate",
    "tables",
    "show",
    "explain",
    "sql",
    "report",
    "init",
    "completions",
    "schema",
];

fn dealmill(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .env_remove("DEALMILL_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs in an empty folder: exit code and what stderr must say. Nothing but data is on stdout.
#[track_caller]
fn check_fails(arguments: &[&str], exit_code: i32, said: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    check_fails_in(folder.path(), arguments, exit_code, said);
}

#[track_caller]
fn check_fails_in(folder: &Path, arguments: &[&str], exit_code: i32, said: &[&str]) {
    let output = dealmill(folder, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    for part in said {
        assert!(stderr.contains(part), "{arguments:?}: no {part:?} in {stderr}");
    }
}

/// Runs in an empty folder and gives what is on stdout.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = dealmill(folder.path(), arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn help_lists_every_verb_and_exit_code() {
    let help = succeeds(&["--help"]);
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
    }
    for code in ["0 ", "2 ", "3 ", "4 ", "5 ", "6 ", "70 "] {
        assert!(help.contains(&format!("\n  {code}")), "{code}: {help}");
    }
}

#[test]
fn help_of_every_verb_has_an_example() {
    for verb in VERBS {
        let help = succeeds(&[verb, "--help"]);
        assert!(help.contains(&format!("\n  dealmill {verb}")), "{verb}: {help}");
    }
}

#[test]
fn what_comes_later_says_so_and_what_to_do_instead() {
    let later = ["is not available in this version", "\nhint: "];
    check_fails(&["report"], 2, &later);
    check_fails(&["run", "--engine", "spark"], 2, &later);
}

#[test]
fn help_of_init_lists_every_preset() {
    let help = succeeds(&["init", "--help"]);
    for preset in dealmill::config::PRESETS {
        assert!(help.contains(&format!("\n  {} ", preset.name)), "{}: {help}", preset.name);
    }
    let printed = succeeds(&["init", "--preset", "jiandaoyun"]);
    assert!(printed.contains("\n\"成交\" = \"赢单\"\n"), "{printed}");
}

#[test]
fn usage_errors_exit_with_2() {
    check_fails(&[], 2, &["Usage: dealmill"]);
    check_fails(&["rum"], 2, &["'run'"]);
    check_fails(&["run", "--onli", "revenue"], 2, &["--only"]);
    check_fails(&["generate", "--deals", "0", "--out", "x"], 2, &["deals: expected at least 1"]);
}

#[test]
fn a_missing_configuration_says_how_to_get_one() {
    let said = ["cannot read the configuration file dealmill.toml", "hint: write one with"];
    check_fails(&["run"], 2, &said);
    check_fails(&["check"], 2, &said);
    check_fails(&["explain", "deal", "1"], 2, &said);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    check_fails(&["init", "--preset", "pipedrve"], 2, &["did you mean \"pipedrive\"?"]);
    let family = "did you mean \"salesforce_history\" or \"salesforce_field_history\" or";
    let all = "the presets are salesforce_history, ";
    check_fails(&["init", "--preset", "salesforce"], 2, &[family, all, "dbt_snapshot"]);
    check_fails(&["tables", "no_such_table"], 2, &["unknown table", "`dealmill tables`"]);
    check_fails(&["sql", "no_such_metric"], 2, &["unknown metric"]);
}

#[test]
fn unknown_keys_are_answered_with_file_line_and_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d.toml"), "[run]\ntimezon = \"UTC\"\n").unwrap();
    check_fails_in(
        folder.path(),
        &["run", "-c", "d.toml"],
        2,
        &["d.toml:2: unknown key \"timezon\" in [run], did you mean \"timezone\"?", "\nhint: "],
    );
}

#[test]
fn there_is_no_run_to_show() {
    check_fails(&["show", "revenue", "--from", "nowhere"], 5, &["nowhere", "dealmill run"]);
}

#[test]
fn errors_are_json_lines_where_the_log_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let output = dealmill(folder.path(), &["run", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    let lines: Vec<serde_json::Value> =
        stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["exit_code"], 2);
    assert!(last["hint"].as_str().unwrap().contains("dealmill init"), "{last}");
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeeds(&["completions", shell]);
        assert!(script.contains("memory-limit"), "{shell}");
    }
}

#[test]
fn the_schema_is_json_and_gives_every_key_a_meaning() {
    let schema: serde_json::Value = serde_json::from_str(&succeeds(&["schema"])).unwrap();
    assert!(schema["properties"]["pipeline"].is_object());
    let run = &schema["$defs"]["Run"]["properties"];
    for (key, property) in run.as_object().unwrap() {
        let meaning = property["description"].as_str();
        assert!(meaning.is_some_and(|text| !text.is_empty()), "{key} has no meaning");
    }
}

#[test]
fn init_prints_a_configuration_that_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dealmill.toml"), succeeds(&["init"])).unwrap();
    // It is understood; only the data it speaks of is not in this folder.
    let output = dealmill(folder.path(), &["check"]);
    let stderr = text(&output.stderr);
    assert_ne!(output.status.code(), Some(2), "{stderr}");
}

#[test]
fn tables_lists_every_table_in_three_forms() {
    let listing: serde_json::Value =
        serde_json::from_str(&succeeds(&["tables", "--format", "json"])).unwrap();
    let plain = succeeds(&["tables"]);
    let markdown = succeeds(&["tables", "--format", "markdown"]);
    let tables = listing.as_array().unwrap();
    assert_eq!(plain.lines().count(), tables.len());
    for table in tables {
        let name = table["name"].as_str().unwrap();
        assert!(plain.contains(name) && markdown.contains(&format!("## {name}\n")), "{name}");
        let first: Vec<&str> = table["columns"]
            .as_array()
            .unwrap()
            .iter()
            .take(4)
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(first, ["slice", "<dimension>", "period", "period_start"], "{name}");
        let one = succeeds(&["tables", name]);
        assert!(one.contains(table["question"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .arg("schema")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_full_standard_output_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full here");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .arg("schema")
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("standard output"));
}

#[test]
fn generate_makes_a_history_and_a_configuration_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "--deals", "50", "--months", "2", "--out", "small"];
    let output = dealmill(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("50 deals"));
    assert!(folder.path().join("small/deal_events").is_dir());
    assert!(folder.path().join("small/dealmill.toml").is_file());
}

#[test]
fn quiet_says_nothing_on_success() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "--deals", "9", "--months", "1", "--out", "x", "--quiet"];
    let output = dealmill(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

/// Every verb that needs data, one after the other, as the README says.
#[test]
fn a_generated_history_is_judged_run_shown_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let done = |arguments: &[&str]| {
        let output = dealmill(at, arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        (text(&output.stdout), stderr)
    };
    done(&["generate", "--deals", "300", "--months", "6", "--out", "small"]);
    let config = "small/dealmill.toml";

    let (judged, _) = done(&["check", "-c", config]);
    assert!(judged.contains("deal_events: "), "{judged}");
    assert!(judged.contains("Tables that would come out: "), "{judged}");
    assert!(!at.join("small/out").exists(), "check wrote something");

    let (data, summary) = done(&["run", "-c", config, "--only", "revenue,funnel"]);
    assert_eq!(data, "");
    for part in ["deals    300", "tables   2", "look in  small/out/latest"] {
        assert!(summary.contains(part), "no {part:?} in {summary}");
    }
    let run = at.join("small/out/latest");
    assert!(run.join("revenue.parquet").is_file() && run.join("manifest.json").is_file());
    assert!(!run.join("cac.parquet").exists());

    let where_all = ["--where", "slice = 'all' AND period = 'all'"];
    let (shown, _) = done(&[&["show", "revenue", "--from", "small/out"][..], &where_all].concat());
    assert!(shown.contains("net_amount") && shown.contains("1 row"), "{shown}");
    check_fails_in(at, &["show", "revenu", "--from", "small/out"], 2, &["revenue"]);

    let (story, _) = done(&["explain", "deal", "1", "-c", config]);
    assert!(story.contains("lead"), "{story}");

    // Without --only the command line falls back to the file; a flag's folder is the current one.
    let (_, summary) = done(&["run", "-c", config, "--out", "elsewhere", "--format", "csv"]);
    assert!(summary.contains("look in  elsewhere/latest"), "{summary}");
    assert!(at.join("elsewhere/latest/cac.csv").is_file());

    let missing = ["check", "-c", config, "--set", "inputs.deal_events.path=nowhere"];
    check_fails_in(at, &missing, 3, &["small/nowhere", "\nhint: "]);
}

#[test]
fn the_sql_of_every_table_groups_one_relation() {
    let listing = succeeds(&["tables", "--format", "json"]);
    let tables: serde_json::Value = serde_json::from_str(&listing).unwrap();
    for table in tables.as_array().unwrap() {
        let name = table["name"].as_str().unwrap();
        let sql = succeeds(&["sql", name]);
        let states = table["states"].as_array().unwrap().len();
        assert_eq!(sql.matches("\nGROUP BY ").count(), states, "{name}: {sql}");
        assert_eq!(sql.matches("\nFROM ").count(), states, "{name}: {sql}");
    }
}

#[test]
fn the_sql_of_a_metric_of_ones_own_is_that_of_the_configuration() {
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("own.toml");
    let text = "[pipeline]\nstages = [\"lead\"]\n[dimensions]\ncolumns = [\"region\"]\n\
        [inputs.deal_events]\npath = \"events\"\n[[metrics]]\nname = \"deals_of_mine\"\n\
        relation = \"deals\"\nquestion = \"How many?\"\n\
        sql = \"SELECT is_won, COUNT(*) AS n FROM deals GROUP BY is_won\"\n";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let sql = succeeds(&["sql", "deals_of_mine", "-c", config, "--slice", "region"]);
    assert!(sql.contains("GROUP BY region, is_won"), "{sql}");
}

#[test]
fn a_memory_limit_that_cannot_hold_is_refused_with_one_that_can() {
    let scratch = tempfile::tempdir().unwrap();
    let made = scratch.path().join("made");
    let folder = made.to_str().unwrap();
    succeeds(&["generate", "--deals", "300", "--months", "6", "--out", folder, "--quiet"]);
    let config = made.join("dealmill.toml");
    let config = config.to_str().unwrap();
    let out = scratch.path().join("out");
    let run = ["run", "-c", config, "--out", out.to_str().unwrap(), "--threads", "2"];
    let with = |limit| [run.as_slice(), &["--memory-limit", limit]].concat();
    check_fails(&with("plenty"), 2, &["--memory-limit", "\"plenty\"", "512MiB"]);
    check_fails(&with("1MiB"), 2, &["1MiB cannot hold", "\nhint: ", "--memory-limit "]);
    let refusal = text(&dealmill(scratch.path(), &with("1MiB")).stderr);
    let named = refusal.split("--memory-limit ").nth(1).unwrap().split_whitespace().next().unwrap();
    succeeds(&with(named));
}
