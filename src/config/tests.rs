//! The configuration as text in, the resolved values or the complaints as text out.

use std::path::Path;

use super::load::load_text;
use super::{Config, Flags, PRESETS, Resolved, Shape, template};
use crate::error::Error;
use crate::time::{Period, instant_text};

const SMALLEST: &str = r#"
[pipeline]
stages = ["lead", "qualified"]
won = ["won"]
lost = ["lost"]

[dimensions]
columns = ["region", "source"]

[inputs.deal_events]
path = "events"
"#;

#[track_caller]
fn resolved(text: &str, flags: &Flags) -> Resolved {
    load_text(Path::new("folder/dealmill.toml"), text, flags).unwrap()
}

fn set(values: &[&str]) -> Flags {
    Flags { set: values.iter().map(|v| (*v).to_owned()).collect(), ..Flags::default() }
}

/// `text` is refused, with exactly these complaints.
#[track_caller]
fn check_refused(text: &str, flags: &Flags, expected: &[&str]) {
    match load_text(Path::new("d.toml"), text, flags) {
        Err(Error::Config(problems)) => assert_eq!(problems, expected),
        other => panic!("expected complaints, found {other:?}"),
    }
}

/// The smallest configuration with one `--set` is refused, with exactly this complaint.
#[track_caller]
fn check_set_refused(value: &str, expected: &str) {
    check_refused(SMALLEST, &set(&[value]), &[expected]);
}

#[test]
fn smallest_configuration_resolves_to_the_defaults() {
    let resolved = resolved(SMALLEST, &Flags::default());
    assert_eq!(resolved.as_of, None);
    assert_eq!(resolved.periods, [Period::Month, Period::Quarter]);
    let slices: Vec<String> = resolved.slices.iter().map(|s| s.join("+")).collect();
    assert_eq!(slices, ["", "region", "source"]);
    assert_eq!(resolved.currency.code, "USD");
    assert_eq!(resolved.output, Path::new("folder/out"));
    assert_eq!(resolved.inputs["deal_events"].path, Path::new("folder/events"));
}

#[test]
fn a_flag_goes_over_set_over_the_file_over_the_default() {
    let text = format!("{SMALLEST}\n[run]\nshards = 2\nkeep_runs = 3\nthreads = 4\n");
    let mut flags = set(&["run.shards=5", "run.threads=6"]);
    flags.threads = Some(7);
    let run = resolved(&text, &flags).config.run;
    assert_eq!((run.keep_runs, run.shards, run.threads), (3, 5, Some(7)));
    assert_eq!(run.fiscal_start_month, 1);
}

#[test]
fn set_takes_toml_or_plain_text() {
    let flags =
        set(&["run.timezone=Asia/Shanghai", "run.periods=[\"week\"]", "inputs.spend.path=1"]);
    let resolved = resolved(SMALLEST, &flags);
    assert_eq!(resolved.calendar.zone.name(), "Asia/Shanghai");
    assert_eq!(resolved.periods, [Period::Week]);
    assert_eq!(resolved.inputs["spend"].path, Path::new("folder/1"));
    // The file's other input is still there.
    assert!(resolved.inputs.contains_key("deal_events"));
}

#[test]
fn unknown_keys_and_wrong_types_are_all_named_with_their_lines() {
    let text = "[run]\ntimezon = \"UTC\"\nfiscal_start_month = \"x\"\nperiods = [\"month\", \
                \"monthy\"]\n[pipelin]\n[[metrics]]\nnam = \"x\"\n";
    let expected = [
        "d.toml:7: unknown key \"nam\" in [metrics.0], did you mean \"name\"?",
        "d.toml:5: unknown key \"pipelin\" at the top, did you mean \"pipeline\"?",
        "d.toml:3: run.fiscal_start_month: invalid type: string \"x\", expected u8",
        "d.toml:4: run.periods.1: unknown value \"monthy\", did you mean \"month\"?",
        "d.toml:2: unknown key \"timezon\" in [run], did you mean \"timezone\"?",
    ];
    check_refused(text, &Flags::default(), &expected);
}

#[test]
fn a_section_of_the_wrong_type_is_named() {
    let text = format!("run = 5\n{SMALLEST}");
    let expected = "d.toml:1: run: invalid type: integer `5`, expected struct Run";
    check_refused(&text, &Flags::default(), &[expected]);
}

#[test]
fn a_wrong_set_is_named_as_typed() {
    check_set_refused(
        "run.shard=2",
        "--set run.shard: unknown key \"shard\" in [run], did you mean \"shards\"?",
    );
    check_set_refused("run.shards", "--set run.shards: expected key=value, such as run.shards=4");
    check_set_refused("run..x=1", "--set run..x: not a dotted key, such as run.timezone");
    check_set_refused(
        "run.shards=many",
        "--set run.shards: invalid type: string \"many\", expected usize",
    );
}

#[test]
fn broken_toml_is_a_syntax_error_with_its_line() {
    let error = load_text(Path::new("d.toml"), "[run\n", &Flags::default()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("line 1"), "{source}");
}

#[test]
fn every_violation_is_reported_at_once() {
    let text = r#"[run]
timezone = "Asia/Shangai"
fiscal_start_month = 13
only = ["no_such_table"]
[pipeline]
stages = ["a", "b", "a"]
won = ["b"]
aliases = { x = "c" }
[dimensions]
columns = ["region"]
slices = [["regoin"]]
[money]
currency = "usd"
"#;
    let expected = [
        "d.toml:6: pipeline.stages: stage \"a\" is listed twice",
        "d.toml:7: pipeline.won: stage \"b\" is also in pipeline.stages",
        "d.toml:8: pipeline.aliases.x: unknown stage \"c\", did you mean \"a\"?",
        "d.toml:11: dimensions.slices: \"regoin\" is not in dimensions.columns, did you mean \
         \"region\"?",
        "d.toml:4: run.only: unknown table \"no_such_table\"",
        "inputs.deal_events: the deal histories are missing",
        "d.toml:2: run.timezone: unknown zone \"Asia/Shangai\", did you mean \"Asia/Shanghai\"?",
        "d.toml:3: run.fiscal_start_month: expected 1 to 12, found 13",
        "d.toml:13: money.currency: unknown currency \"usd\", did you mean \"USD\"?; expected an \
         ISO 4217 code",
    ];
    let Err(Error::Config(mut problems)) = load_text(Path::new("d.toml"), text, &Flags::default())
    else {
        panic!("not refused");
    };
    // The registry of tables grows; whether one is near to the name is not this test's question.
    problems.iter_mut().filter(|p| p.contains("run.only")).for_each(|p| {
        p.truncate(p.find(", did you").unwrap_or(p.len()));
    });
    assert_eq!(problems, expected);
}

#[test]
fn a_pipeline_has_a_bit_for_each_open_stage_and_no_more() {
    let stages = |n: usize| (1..=n).map(|k| format!("\"s{k}\"")).collect::<Vec<_>>().join(", ");
    let flags = |n| set(&[&format!("pipeline.stages=[{}]", stages(n))]);
    assert_eq!(resolved(SMALLEST, &flags(62)).config.pipeline.stages.len(), 62);
    let expected = "--set pipeline.stages: 63 open stages, of at most 62; join some of them under \
                    [pipeline] aliases";
    check_refused(SMALLEST, &flags(63), &[expected]);
}

#[test]
fn more_threads_than_any_machine_has_are_refused() {
    let expected = "--set run.threads: expected 1 to 1024, found 100000";
    check_refused(SMALLEST, &set(&["run.threads=100000"]), &[expected]);
}

#[test]
fn a_pipeline_without_stages_is_refused() {
    let text = "[inputs.deal_events]\npath = \"x\"\n";
    let expected = "pipeline.stages: list the ids of the open stages, in order";
    check_refused(text, &Flags::default(), &[expected]);
}

#[test]
fn names_that_every_table_has_are_no_dimensions() {
    let advice = "give it another name and map it in [inputs.deal_events.columns]";
    let expected = format!(
        "--set dimensions.columns: the name \"period\" is taken by every \
         table; {advice}"
    );
    check_set_refused("dimensions.columns=[\"period\"]", &expected);
}

#[test]
fn inputs_need_a_shape_that_suits_them() {
    check_set_refused(
        "inputs.teams.path=u",
        // The section as a whole stands at the line of the file's own input.
        "d.toml:10: inputs.teams.shape: inputs.teams needs the shape \"lookup\" (deal histories \
         are inputs.deal_events and inputs.deal_events_…, current deals inputs.deals, stages \
         inputs.stages, spend inputs.spend)",
    );
    check_set_refused(
        "inputs.deal_events.shape=spend",
        "--set inputs.deal_events.shape: inputs.deal_events needs the shape \"events\", \
         \"stage_dates\", \"field_history\", \"row_history\", \"intervals\" or \"snapshots\"",
    );
    let flags = set(&["inputs.deals.path=d", "inputs.deals.shape=lookup"]);
    let expected = "--set inputs.deals.shape: inputs.deals needs the shape \"deals\"";
    check_refused(SMALLEST, &flags, &[expected]);
}

#[test]
fn further_histories_and_tables_go_by_their_names() {
    let flags = set(&[
        "inputs.deal_events_old.path=old",
        "inputs.deal_events_old.shape=intervals",
        "inputs.deals.path=deals",
        "inputs.stages.path=stages",
    ]);
    let shapes = |name: &str| resolved(SMALLEST, &flags).inputs[name].declared.shape;
    let names = ["deal_events_old", "deals", "stages"];
    assert_eq!(names.map(shapes), [Shape::Intervals, Shape::Deals, Shape::Stages]);
}

#[test]
fn a_field_history_says_what_its_fields_are() {
    let shape = "inputs.deal_events.shape=field_history";
    let expected = "d.toml:10: inputs.deal_events.fields: say what the fields are: \
                    \"field in the source\" = \"stage_id\", …";
    check_refused(SMALLEST, &set(&[shape]), &[expected]);
    let flags = set(&[shape, "inputs.deal_events.fields.StageName=stage"]);
    let expected = "--set inputs.deal_events.fields.StageName: \"stage\" is not one of created, \
                    stage_id, outcome, amount, owner_id, customer_id, expected_close, is_deleted, \
                    pipeline_id, probability, nor a dimension, did you mean \"stage_id\"?";
    check_refused(SMALLEST, &flags, &[expected]);
    resolved(SMALLEST, &set(&[shape, "inputs.deal_events.fields.StageName=stage_id"]));
    check_set_refused(
        "inputs.deal_events.fields.StageName=stage_id",
        "d.toml:10: inputs.deal_events.fields: only shape = \"field_history\" has fields",
    );
}

#[test]
fn the_shape_of_one_row_a_deal_needs_its_dates_and_its_outcome() {
    let expected = [
        "d.toml:10: inputs.deal_events.stage_dates: say which column holds the date of which stage",
        "d.toml:10: inputs.deal_events.outcome: say which column holds the outcome and its date",
    ];
    check_refused(SMALLEST, &set(&["inputs.deal_events.shape=stage_dates"]), &expected);
    check_set_refused(
        "inputs.deal_events.stage_dates.lead=lead_on",
        "d.toml:10: inputs.deal_events.shape: stage_dates and outcome need shape = \
         \"stage_dates\"",
    );
}

#[test]
fn mapped_columns_are_canonical_ones_or_dimensions() {
    resolved(SMALLEST, &set(&["inputs.deal_events.columns.region=Area"]));
    check_set_refused(
        "inputs.deal_events.columns.deal=id",
        "--set inputs.deal_events.columns.deal: is neither a \
         column of this shape nor a dimension, did you mean \"deal_id\"?",
    );
}

#[test]
fn severities_are_of_rules_that_exist() {
    check_set_refused(
        "quality.severity.unknown_stag=fail",
        "--set quality.severity.unknown_stag: there is no such \
         rule, did you mean \"unknown_stages\"?",
    );
}

#[test]
fn remote_paths_come_later() {
    let flags = set(&["inputs.deal_events.path=s3://bucket/x"]);
    let error = load_text(Path::new("d.toml"), SMALLEST, &flags).expect_err("refused");
    assert!(matches!(error, Error::NotYet { .. }), "{error:?}");
    assert!(error.hint().is_some());
}

#[test]
fn spend_needs_no_shape() {
    let resolved = resolved(SMALLEST, &set(&["inputs.spend.path=spend"]));
    assert_eq!(resolved.inputs["spend"].declared.shape, Shape::Spend);
}

#[test]
fn custom_metrics_have_new_snake_case_names_and_known_relations() {
    let text = format!(
        "{SMALLEST}\n[[metrics]]\nname = \"Pushed\"\nrelation = \"deal\"\nsql = \"SELECT 1\"\n"
    );
    let known = crate::relations::Relation::EVERY.map(|relation| relation.name()).join(", ");
    let relation = format!(
        "d.toml:15: metrics.0.relation: unknown relation \"deal\", did you mean \"deals\"? (known: \
         {known})"
    );
    let name = "d.toml:14: metrics.0.name: expected a name in snake_case, found \"Pushed\"";
    check_refused(&text, &Flags::default(), &[name, relation.as_str()]);
}

#[track_caller]
fn check_as_of(as_of: &str, zone: &str, expected: &str) {
    let flags = Flags { as_of: Some(as_of.to_owned()), ..set(&[&format!("run.timezone={zone}")]) };
    let at = resolved(SMALLEST, &flags).as_of.unwrap();
    assert_eq!(instant_text(at), expected);
}

#[test]
fn a_date_is_the_end_of_that_local_day() {
    check_as_of("2024-12-31", "UTC", "2024-12-31T23:59:59.999999Z");
    // Shanghai is eight hours ahead.
    check_as_of("2024-12-31", "Asia/Shanghai", "2024-12-31T15:59:59.999999Z");
    // New York leaves UTC-5 for UTC-4 on this day.
    check_as_of("2024-03-10", "America/New_York", "2024-03-11T03:59:59.999999Z");
}

#[test]
fn an_instant_keeps_its_offset() {
    check_as_of("2025-01-01T08:00:00+08:00", "UTC", "2025-01-01T00:00:00Z");
}

#[test]
fn toml_dates_need_no_quotes() {
    let text = format!("{SMALLEST}\n[run]\nas_of = 2025-01-01T00:00:00Z\n");
    let at = resolved(&text, &Flags::default()).as_of.unwrap();
    assert_eq!(instant_text(at), "2025-01-01T00:00:00Z");
}

#[test]
fn a_time_without_an_offset_is_refused() {
    check_set_refused(
        "run.as_of=\"2025-01-01T00:00:00\"",
        "--set run.as_of: expected a date such as 2024-12-31 or an instant with its \
         offset such as 2025-01-01T00:00:00Z, found \"2025-01-01T00:00:00\"",
    );
}

#[test]
fn slices_are_sets_in_the_order_of_the_dimensions() {
    let flags =
        set(&["dimensions.slices=[[\"source\", \"region\"], [], [\"region\", \"source\"], []]"]);
    assert_eq!(resolved(SMALLEST, &flags).slices, [vec!["region", "source"], vec![]]);
}

#[test]
fn one_table_can_have_its_own_slices_and_periods() {
    let text = format!("{SMALLEST}\n[tables.funnel]\nperiods = [\"week\", \"all\", \"week\"]\n");
    let flags = set(&[
        "tables.funnel.slices=[[\"source\", \"region\"], [\"region\", \"source\"]]",
        "tables.revenue.slices=[]",
    ]);
    let resolved = resolved(&text, &flags);
    let funnel = &resolved.tables["funnel"];
    assert_eq!(funnel.slices, Some(vec![vec!["region".into(), "source".into()]]));
    assert_eq!(funnel.periods, Some(vec![Period::Week]));
    assert_eq!(resolved.tables["revenue"].slices, Some(vec![]));
    assert_eq!(resolved.tables["revenue"].periods, None);
    assert_eq!(resolved.periods, [Period::Month, Period::Quarter]);
    assert_eq!(resolved.every_period(), [Period::Month, Period::Quarter, Period::Week]);
}

#[test]
fn tables_with_own_slices_exist_and_their_dimensions_are_known() {
    check_set_refused(
        "tables.funel.periods=[\"month\"]",
        "--set tables.funel.periods: unknown table \"funel\", did you mean \"funnel\"?",
    );
    check_set_refused(
        "tables.funnel.slices=[[\"sourse\"]]",
        "--set tables.funnel.slices: \"sourse\" is not in dimensions.columns, did you mean \
         \"source\"?",
    );
    check_set_refused(
        "tables.funnel.period=[]",
        "--set tables.funnel.period: unknown key \"period\" in [tables.funnel], did you mean \
         \"periods\"?",
    );
}

#[test]
fn metrics_of_the_user_can_have_their_own_slices() {
    let text = format!(
        "{SMALLEST}\n[[metrics]]\nname = \"mine\"\nrelation = \"deals\"\nsql = \"SELECT 1\"\n\
         [tables.mine]\nslices = [[]]\n"
    );
    assert_eq!(resolved(&text, &Flags::default()).tables["mine"].slices, Some(vec![vec![]]));
}

#[test]
fn the_hash_knows_what_changes_a_number_and_nothing_else() {
    let hash = |values: &[&str]| resolved(SMALLEST, &set(values)).hash;
    let plain = hash(&[]);
    let same = [
        "run.threads=3",
        "run.shards=4",
        "run.output=x",
        "run.keep_runs=2",
        "run.memory_limit=2GiB",
        "run.scratch=elsewhere",
    ];
    for value in same {
        assert_eq!(hash(&[value]), plain, "{value}");
    }
    let explicit = "dimensions.slices=[[], [\"region\"], [\"source\"]]";
    assert_eq!(hash(&[explicit]), plain, "the default spelt out");
    assert_eq!(hash(&["tables.funnel={}"]), plain, "nothing said of a table");
    let differ = [
        "run.timezone=Asia/Tokyo",
        "run.as_of=2024-01-01",
        "fold.ties=reject",
        "pipeline.lost=[]",
        "tables.funnel.slices=[]",
        "tables.funnel.periods=[]",
    ];
    for value in differ {
        assert_ne!(hash(&[value]), plain, "{value}");
    }
}

#[test]
fn tiers_ascend_and_kpis_are_about_numbers_of_tables() {
    let tiers = |text: &str| format!("{SMALLEST}[commission]\n{text}\n");
    let load = |text: &str| load_text(Path::new("d.toml"), text, &Flags::default());
    let refused = |text: &str, part: &str| match load(text) {
        Err(Error::Config(problems)) => assert!(problems.join(" ").contains(part), "{problems:?}"),
        other => panic!("{text}: {other:?}"),
    };
    let whole = "method = 'whole'\ntiers = [{from = 0.0, rate = 0.1}, {from = 1.0, rate = 0.05}]";
    for (text, part) in [
        ("tiers = [{from = 0.5, rate = 0.1}]", "the first tier has from = 0"),
        ("tiers = [{from = 0.0, rate = 1.5}]", "a rate from 0 to 1"),
        ("tiers = [{from = 0.0, rate = 0.1}, {from = 0.0, rate = 0.2}]", "ascending"),
        ("period = 'week'", "expected a month"),
        (whole, "no rate may fall"),
    ] {
        refused(&tiers(text), part);
    }
    let kpi = |table: &str, column: &str, rows: &str| {
        let rows = format!("where = {{{rows}}}\ntarget = 1.0");
        format!("{SMALLEST}[kpi.mine]\ntable = '{table}'\ncolumn = '{column}'\n{rows}\n")
    };
    refused(&kpi("revenu", "net_amount", ""), "did you mean \"revenue\"?");
    refused(&kpi("revenue", "net_amuont", ""), "did you mean \"net_amount\"?");
    refused(&kpi("revenue", "net_amount", "periode = 'all'"), "did you mean \"period\"?");
    assert!(load(&kpi("revenue", "net_amount", "period = 'month'")).is_ok());
}

#[test]
fn a_memory_limit_is_a_size_or_a_number_of_bytes() {
    let limit = |values: &[&str]| resolved(SMALLEST, &set(values)).memory_limit;
    assert_eq!(limit(&[]), None);
    assert_eq!(limit(&["run.memory_limit=1GiB"]), Some(1 << 30));
    assert_eq!(limit(&["run.memory_limit=300000000"]), Some(300_000_000));
    let flag = Flags { memory_limit: Some("2MiB".into()), ..set(&["run.memory_limit=1GiB"]) };
    assert_eq!(resolved(SMALLEST, &flag).memory_limit, Some(2 << 20));
    check_set_refused(
        "run.memory_limit=plenty",
        "--set run.memory_limit: expected a size such as 512MiB, 1.5GiB or 2GB, or a number of \
         bytes, found \"plenty\"",
    );
    check_set_refused(
        "run.memory_limit=-1",
        "--set run.memory_limit: expected a size such as 512MiB, 1.5GiB or 2GB, or a number of \
         bytes, found \"-1\"",
    );
}

#[test]
fn scratch_lies_where_the_file_says() {
    let scratch = |values: &[&str]| resolved(SMALLEST, &set(values)).scratch;
    assert_eq!(scratch(&[]), None);
    assert_eq!(scratch(&["run.scratch=quick"]), Some("folder/quick".into()));
    check_set_refused("run.scratch=''", "--set run.scratch: the path is empty");
}

#[test]
fn every_preset_resolves_as_it_stands_and_no_other_is_known() {
    for preset in PRESETS {
        resolved(template(preset.name).unwrap(), &Flags::default());
    }
    let nearest = |name: &str| match template(name) {
        Err(Error::UnknownPreset { nearest, known, .. }) => (nearest, known),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(nearest("pipedrve").0, ["pipedrive"]);
    let salesforce = ["salesforce_history", "salesforce_field_history", "salesforce_fivetran"];
    assert_eq!(nearest("salesforce").0, salesforce);
    let known = nearest("hubspot").1;
    assert!(known.starts_with("hubspot_fivetran, hubspot_export, generic, "), "{known}");
    assert_eq!(known.split(", ").count(), PRESETS.len());
}

#[test]
fn the_generic_preset_names_every_key_and_runs() {
    let text = template("generic").unwrap();
    resolved(text, &Flags::default());
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let sections = schema["$defs"].as_object().unwrap();
    let roots = [&schema];
    for (section, properties) in sections
        .values()
        .chain(roots)
        .filter_map(|s| Some((s["description"].to_string(), s["properties"].as_object()?)))
    {
        for key in properties.keys() {
            let named = text.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                let is_key = |part: &str| part.trim_start().starts_with(&format!("{key} ="));
                line.split(['{', ',']).any(is_key)
                    || (line.starts_with('[')
                        && line.split(['[', ']', '.']).any(|part| part == key))
            });
            assert!(named, "{section}: the preset does not name {key:?}");
        }
    }
}
