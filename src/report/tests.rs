//! What a person sees of a small published run.

use crate::config::Format;
use crate::error::Error;
use crate::sink::{Account, FinishedRun, Output, RunIdentity, Stamp, open_latest};
use crate::table::{ColumnSpec, Table, TableBuilder, Value};

use super::*;

/// Publishes tables into a fresh folder and opens them again.
pub(super) fn published(tables: &[Table], format: Format) -> (tempfile::TempDir, FinishedRun) {
    // Characters that a scan would take for a pattern.
    let out = tempfile::Builder::new().prefix("out [a*] {b} ").tempdir().unwrap();
    let identity = RunIdentity {
        as_of: 1_735_689_600_000_000,
        config_hash: "c".into(),
        inputs: Vec::new(),
        version: "0.1.0".into(),
        selection: Vec::new(),
    };
    let stamp = Stamp { run_id: identity.run_id(), as_of: identity.as_of, config_hash: "c".into() };
    let output = Output::claim(out.path(), "now").unwrap();
    let mut staging = output.stage(stamp).unwrap();
    for table in tables {
        staging.write_table(table, format).unwrap();
    }
    staging.publish(Account::default(), 3).unwrap();
    let run = open_latest(out.path()).unwrap();
    (out, run)
}

fn revenue() -> Table {
    let specs = vec![
        ColumnSpec::text("region", "Region.").key().nullable(),
        ColumnSpec::date("period_start", "Start.").key(),
        ColumnSpec::count("won_n", "deals", "Won."),
        ColumnSpec::money("net_amount", "Net.").nullable(),
        ColumnSpec::rate("win_rate", "Rate."),
        ColumnSpec::flag("low_n", "Few."),
        ColumnSpec::instant("entered_at", "Entry."),
    ];
    let mut builder = TableBuilder::new("revenue", specs, 2);
    // Day 19,723 is 2024-01-01, day 19,754 is 2024-02-01.
    let rows = [
        (Some("北京"), 19_723, 12, Some(123_456), Some(2.0 / 3.0)),
        (Some("Oslo\u{1b}[31m"), 19_723, 7, Some(-50), None),
        (None, 19_754, 3, None, Some(0.5)),
    ];
    for (region, day, won, net, rate) in rows {
        builder
            .push(&[
                ("region", region.map_or(Value::Null, Value::Text)),
                ("period_start", Value::Date(day)),
                ("won_n", Value::Int(won)),
                ("net_amount", Value::money(net)),
                ("win_rate", Value::float(rate)),
                ("low_n", Value::Bool(won < 10)),
                ("entered_at", Value::Instant(1_735_689_600_000_000)),
            ])
            .unwrap();
    }
    builder.finish().unwrap()
}

const HEAD: &str =
    " region     period_start   won_n   net_amount   win_rate   low_n   entered_at\n";

#[test]
fn table_shows_every_value_aligned_in_each_format() {
    for format in [Format::Parquet, Format::Csv, Format::Json] {
        let (_out, run) = published(&[revenue()], format);
        let text = show(&run, "revenue", None, 20, None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], HEAD.trim_end(), "{format:?}\n{text}");
        let end = "2025-01-01T00:00:00Z";
        let expected = [
            " –          2024-02-01         3            –        0.5   true    ",
            " Oslo[31m   2024-01-01         7        -0.50          –   true    ",
            " 北京       2024-01-01        12      1234.56   0.666667   false   ",
        ]
        .map(|row| format!("{row}{end}"));
        assert_eq!(lines[2..5], expected, "{format:?}\n{text}");
        assert_eq!(lines[6], "3 rows", "{format:?}");
    }
}

#[track_caller]
fn check(condition: &str, regions: &[&str]) {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", Some(condition), 20, None).unwrap();
    let found: Vec<&str> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(found, regions, "{condition}");
}

#[test]
fn conditions_select_rows_in_the_order_of_the_table() {
    check("won_n >= 7", &["Oslo[31m", "北京"]);
    check("region IS NULL", &["–"]);
    check("region = '北京' AND NOT low_n", &["北京"]);
    check("net_amount > 0", &["北京"]);
    check("net_amount <= -0.5", &["Oslo[31m"]);
    check("period_start = '2024-02-01'", &["–"]);
    check("period_start < DATE '2024-02-01'", &["Oslo[31m", "北京"]);
    check("win_rate BETWEEN 0.4 AND 0.6 OR won_n IN (7)", &["–", "Oslo[31m"]);
    check("region LIKE 'Os%'", &["Oslo[31m"]);
    check("won_n > 1000", &[]);
}

#[test]
fn limit_says_how_many_rows_there_are() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", Some("won_n >= 7"), 1, None).unwrap();
    assert!(text.ends_with("\n1 of 2 rows\n"), "{text}");
    let text = show(&run, "revenue", Some("won_n > 1000"), 1, None).unwrap();
    assert!(text.ends_with("\nno row meets the condition\n"), "{text}");
}

#[track_caller]
fn check_refused(condition: &str, reason: &str, hint: &str) {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let error = show(&run, "revenue", Some(condition), 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(matches!(error, Error::Sql { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.hint().unwrap().contains(hint), "{error:?}");
}

#[test]
fn bad_conditions_are_refused_with_a_hint() {
    check_refused("won_m > 7", "won_m", "did you mean the column won_n?");
    check_refused("won_n >", "is not acceptable", "its columns are region, period_start");
    check_refused("won_n > 1; DROP TABLE revenue", "it goes on after", "its columns are");
    check_refused("won_n > 1 ORDER BY won_n", "it goes on after", "its columns are");
    check_refused("", "is not acceptable", "its columns are");
}

#[test]
fn narrow_terminal_is_never_exceeded() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let text = show(&run, "revenue", None, 20, Some(50)).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 50, "{text}");
    for name in ["region", "net_amount", "win_rate", "entered_at", "1234.56"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn damaged_table_names_its_file() {
    let (_out, run) = published(&[revenue()], Format::Parquet);
    let path = run.path(run.table("revenue").unwrap()).unwrap();
    std::fs::write(&path, "PAR1 nothing PAR1").unwrap();
    let error = show(&run, "revenue", Some("won_n > 1"), 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("revenue.parquet"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = show(&run, "revenue", None, 20, None).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("revenue.parquet"), "{error}");
}

/// A table of one slice with the given period column and further columns.
fn small(name: &str, specs: Vec<ColumnSpec>, rows: &[Vec<(&str, Value<'_>)>]) -> Table {
    let mut columns = vec![ColumnSpec::text("slice", "Slice.").key()];
    columns.push(ColumnSpec::text("period", "Period.").key());
    columns.extend(specs);
    let mut builder = TableBuilder::new(name, columns, 2);
    for row in rows {
        let mut values = vec![("slice", Value::Text("all"))];
        values.extend_from_slice(row);
        builder.push(&values).unwrap();
    }
    builder.finish().unwrap()
}

fn funnel_table() -> Table {
    let specs = vec![
        ColumnSpec::text("variant", "Variant.").key(),
        ColumnSpec::text("population", "Population.").key(),
        ColumnSpec::count("stage_order", "place", "Order.").key(),
        ColumnSpec::text("stage", "Stage.").key(),
        ColumnSpec::count("entered_n", "deals", "Entered."),
        ColumnSpec::rate("step_rate", "Step."),
        ColumnSpec::rate("overall_rate", "Overall."),
    ];
    let row = |variant, order, stage, n, step, overall| {
        vec![
            ("period", Value::Text("all")),
            ("variant", Value::Text(variant)),
            ("population", Value::Text("created")),
            ("stage_order", Value::Int(order)),
            ("stage", Value::Text(stage)),
            ("entered_n", Value::Int(n)),
            ("step_rate", Value::float(step)),
            ("overall_rate", Value::float(overall)),
        ]
    };
    small(
        "funnel",
        specs,
        &[
            row("touched", 1, "lead", 9, None, Some(1.0)),
            row("reached", 1, "lead", 2_000, None, Some(1.0)),
            row("reached", 2, "提案", 1_000, Some(0.5), Some(0.5)),
            row("reached", 3, "won", 250, Some(0.25), Some(0.125)),
        ],
    )
}

/// The funnel with another pipeline behind it.
fn two_funnels() -> Table {
    let specs = vec![
        ColumnSpec::text("pipeline", "Pipeline.").key(),
        ColumnSpec::text("variant", "Variant.").key(),
        ColumnSpec::text("population", "Population.").key(),
        ColumnSpec::text("stage", "Stage.").key(),
        ColumnSpec::count("entered_n", "deals", "Entered."),
        ColumnSpec::rate("step_rate", "Step."),
        ColumnSpec::rate("overall_rate", "Overall."),
    ];
    let row = |pipeline, stage, n, step, overall| {
        vec![
            ("period", Value::Text("all")),
            ("pipeline", Value::Text(pipeline)),
            ("variant", Value::Text("reached")),
            ("population", Value::Text("created")),
            ("stage", Value::Text(stage)),
            ("entered_n", Value::Int(n)),
            ("step_rate", Value::float(step)),
            ("overall_rate", Value::float(overall)),
        ]
    };
    let rows = [row("a", "lead", 8, None, Some(1.0)), row("b", "won", 2, None, Some(1.0))];
    small("funnel", specs, &rows)
}

fn cycle_table(win: Option<f64>) -> Table {
    let days = |name| ColumnSpec::days(name, "Days.");
    let specs = vec![
        ColumnSpec::count("at_risk_n", "deals", "At risk."),
        ColumnSpec::count("censored_n", "deals", "Open."),
        days("won_days_p50"),
        days("win_days_km_p50"),
        days("win_days_km_p50_low"),
        days("win_days_km_p50_high"),
        days("close_days_km_p50"),
        days("close_days_km_p50_low"),
        days("close_days_km_p50_high"),
    ];
    let row = vec![
        ("period", Value::Text("all")),
        ("at_risk_n", Value::Int(8_800)),
        ("censored_n", Value::Int(2_089)),
        ("won_days_p50", Value::Float(57.0)),
        ("win_days_km_p50", Value::float(win)),
        ("win_days_km_p50_low", Value::Float(92.0)),
        ("win_days_km_p50_high", Value::Null),
        ("close_days_km_p50", Value::Float(69.0)),
        ("close_days_km_p50_low", Value::Float(68.0)),
        ("close_days_km_p50_high", Value::Float(71.0)),
    ];
    small("cycle_length", specs, &[row])
}

fn cohort_table() -> Table {
    let specs = vec![
        ColumnSpec::date("period_start", "Cohort.").key(),
        ColumnSpec::count("age", "periods", "Age.").key(),
        ColumnSpec::count("cohort_size_n", "customers", "Size."),
        ColumnSpec::rate("retention_rate", "Rate."),
    ];
    let row = |day, age, size, rate| {
        vec![
            ("period", Value::Text("month")),
            ("period_start", Value::Date(day)),
            ("age", Value::Int(age)),
            ("cohort_size_n", Value::Int(size)),
            ("retention_rate", Value::float(rate)),
        ]
    };
    small(
        "clv_cohorts",
        specs,
        &[
            row(19_723, 0, 1_200, Some(1.0)),
            row(19_723, 1, 1_200, Some(0.4167)),
            row(19_723, 6, 1_200, Some(0.99)), // beyond the triangle
            row(19_754, 0, 7, Some(1.0)),
            row(19_754, 1, 7, None), // immature
        ],
    )
}

fn revenue_months() -> Table {
    let specs = vec![
        ColumnSpec::date("period_start", "Month.").key(),
        ColumnSpec::money("net_amount", "Net.").nullable(),
        ColumnSpec::flag("is_complete_period", "Ended."),
    ];
    let row = |day, net, is_complete| {
        vec![
            ("period", Value::Text("month")),
            ("period_start", Value::Date(day)),
            ("net_amount", Value::money(net)),
            ("is_complete_period", Value::Bool(is_complete)),
        ]
    };
    // Days 19,723, 19,754 and 19,783 begin January, February and March 2024.
    small(
        "revenue",
        specs,
        &[
            row(19_723, Some(350_000), true),
            row(19_754, Some(700_000), true),
            row(19_783, Some(100), false),
        ],
    )
}

fn conversion_table() -> Table {
    let specs = vec![
        ColumnSpec::text("basis", "Basis.").key(),
        ColumnSpec::count("won_n", "deals", "Won."),
        ColumnSpec::count("lost_n", "deals", "Lost."),
        ColumnSpec::rate("win_rate_closed", "Rate."),
        ColumnSpec::rate("win_rate_closed_low", "Low."),
        ColumnSpec::rate("win_rate_closed_high", "High."),
    ];
    let row = vec![
        ("period", Value::Text("all")),
        ("basis", Value::Text("closed")),
        ("won_n", Value::Int(8)),
        ("lost_n", Value::Int(2)),
        ("win_rate_closed", Value::Float(0.8)),
        ("win_rate_closed_low", Value::Float(0.490_162)),
        ("win_rate_closed_high", Value::Float(0.943_318)),
    ];
    small("conversion", specs, &[row])
}

#[track_caller]
fn check_page(tables: &[Table], expected: &[&str]) {
    let (_out, run) = published(tables, Format::Parquet);
    let page = highlights(&run, Colour::Plain).unwrap();
    let places = page.find("Where it lies").unwrap();
    let quality = page.find("Data quality").unwrap();
    assert_eq!(page[..quality], expected.concat(), "\n{page}");
    assert!(page[places..].contains(&run.folder.display().to_string()), "{page}");
}

#[test]
fn funnel_has_a_bar_for_every_stage() {
    check_page(
        &[funnel_table()],
        &[
            "Funnel\n",
            "  deals that came as far as each stage; % of the first stage; ",
            "% of the stage before\n\n",
            "  lead   ██████████████████████████████   2,000   100.0 %        –\n",
            "  提案   ███████████████                  1,000    50.0 %   50.0 %\n",
            "  won    ███▊                               250    12.5 %   25.0 %\n\n",
        ],
    );
}

#[test]
fn each_pipeline_has_a_funnel_under_its_name() {
    check_page(
        &[two_funnels()],
        &[
            "Funnel\n",
            "  deals that came as far as each stage; % of the first stage; ",
            "% of the stage before\n\n",
            "  a\n",
            "  lead   ██████████████████████████████   8   100.0 %   –\n\n",
            "  b\n",
            "  won   ██████████████████████████████   2   100.0 %   –\n\n",
        ],
    );
}

#[test]
fn win_rate_stands_with_its_limits() {
    check_page(
        &[conversion_table()],
        &[
            "Win rate\n  won of won and lost; open deals are in neither\n\n",
            "  80.0 % (95 % limits 49.0 % to 94.3 %): 8 of 10 closed deals.\n\n",
        ],
    );
}

#[test]
fn cycle_says_what_censoring_changes() {
    let head = "Sales cycle\n  median, of won deals only and with open deals counted as still \
                running\n\n  to a win, won deals only   57.0 days\n";
    check_page(
        &[cycle_table(Some(93.0))],
        &[
            head,
            "  to a win, all deals        93.0 days   95 % limits 92.0 to not reached\n",
            "  to any close, all deals    69.0 days   95 % limits 68.0 to 71.0\n\n",
            "  2,089 of 8,800 deals are still open. Won deals alone look 36.0 days faster:\n",
            "  deals still open, or lost before they could be won, are missing there.\n\n",
        ],
    );
    let (_out, run) = published(&[cycle_table(None)], Format::Parquet);
    let page = highlights(&run, Colour::Plain).unwrap();
    assert!(page.contains("Too few deals are won for half of all to be won"), "{page}");
    assert!(page.contains("to a win, all deals        not reached"), "{page}");
}

#[test]
fn retention_triangle_leaves_immature_cells_empty() {
    check_page(
        &[cohort_table()],
        &[
            "Retention\n",
            "  customers by the month of their first order; ",
            "% that ordered so many months later\n\n",
            "  month                             +0     +1   +2   +3   +4   +5\n",
            "  2024-01-01   1,200 customers   100 %   42 %\n",
            "  2024-02-01       7 customers   100 %\n\n",
        ],
    );
}

#[test]
fn revenue_line_marks_the_month_that_has_not_ended() {
    check_page(
        &[revenue_months()],
        &[
            "Revenue\n  net amount by month of the win\n\n",
            "  ▅█▁\n",
            "  2024-01: 3,500.00 … 2024-03: 1.00 (the month has not ended); ",
            "best 2024-02: 7,000.00\n\n",
        ],
    );
}

#[test]
fn page_of_a_run_without_known_tables_still_says_where_it_lies() {
    check_page(&[small("mine", vec![], &[vec![("period", Value::Text("all"))]])], &[]);
}

#[test]
fn colours_come_only_when_asked_for() {
    let (_out, run) = published(&[funnel_table()], Format::Parquet);
    assert!(!highlights(&run, Colour::Plain).unwrap().contains('\u{1b}'));
    assert!(highlights(&run, Colour::Ansi).unwrap().contains("\u{1b}[36m███▊\u{1b}[0m"));
}

/// The page reads columns by name, and these tables repeat the names; where a metric renames one,
/// this is what tells.
#[test]
fn tables_above_have_the_columns_that_the_metrics_declare() {
    let tables =
        [funnel_table(), conversion_table(), cycle_table(None), cohort_table(), revenue_months()];
    let common = ["slice", "period", "period_start"];
    let mut checked = 0;
    for table in &tables {
        let metrics = crate::metrics::REGISTRY;
        let Some(metric) = metrics.iter().find(|m| m.name == table.name) else { continue };
        for spec in table.specs.iter().filter(|s| !common.contains(&s.name.as_ref())) {
            let declared = metric.output.iter().find(|c| c.name == spec.name);
            let found = declared.map(|c| (c.dtype, c.role));
            assert_eq!(found, Some((spec.dtype, spec.role)), "{}.{}", table.name, spec.name);
            checked += 1;
        }
    }
    assert!(checked > 0);
}
