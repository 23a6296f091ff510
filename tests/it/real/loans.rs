//! `bpic2012_loans`: 262,200 events of 13,087 loan applications; the activities named `A_…` are the
//! pipeline, all others are listed as ignored. Read from the Parquet file as it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use dealmill::stats::Z_95;
use dealmill::stats::survival::{Curve, Scale, Step, Tally};

use super::answers::{Answer, Tables, answers, ints, number, same, summary, tables, text};
use crate::support::{Row, Scratch, filter, float, int, only, shared_data};

const MILLIS_PER_DAY: f64 = 86_400_000.0;

struct Run {
    folder: PathBuf,
    tables: Tables,
}

static RUN: LazyLock<Option<Run>> = LazyLock::new(|| {
    let folder = shared_data("bpic2012_loans")?;
    let tables = tables(&Scratch::new(), &configuration(&folder, "UTC", "[]"));
    Some(Run { folder, tables })
});

fn configuration(folder: &std::path::Path, zone: &str, only: &str) -> String {
    let activities = answers(folder, "activity_counts.csv");
    let other = activities.iter().map(|a| a.text("activity")).filter(|a| !a.starts_with("A_"));
    let ignored: Vec<&str> = other.collect();
    assert_eq!(ignored.len(), 14, "24 activities, 10 of them of the application");
    format!(
        r#"
        [run]
        timezone = "{zone}"
        periods = ["month"]
        resolution = "millisecond"
        only = {only}

        [pipeline]
        stages = ["A_SUBMITTED", "A_PARTLYSUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_FINALIZED"]
        won = ["A_APPROVED", "A_REGISTERED", "A_ACTIVATED"]
        lost = ["A_DECLINED", "A_CANCELLED"]
        ignored = {ignored:?}

        [inputs.deal_events]
        path = '{path}'

        [inputs.deal_events.columns]
        deal_id = "case_id"
        event_time = "ts"
        stage_id = "activity"
        seq = "event_index"
        amount = "amount_requested"

        [[metrics]]
        name = "cycles"
        relation = "deals"
        sql = """
        SELECT cycle, cycle_status, COUNT(*) AS deals_n FROM deals GROUP BY cycle, cycle_status
        """

        [[metrics]]
        name = "sizes"
        relation = "deals"
        sql = """
        SELECT amount, COUNT(*) AS deals_n, SUM(is_won) AS won_n, SUM(is_lost) AS lost_n,
               SUM(is_open) AS open_n
        FROM deals GROUP BY amount
        """
        "#,
        path = folder.join("derived/events.parquet").display(),
    )
}

impl Run {
    fn rows(&self, table: &str) -> &[Row] {
        &self.tables[table]
    }

    /// The moves between two stages of the whole history, of any kind.
    fn moves(&self) -> BTreeMap<(String, String), i64> {
        let mut moves = BTreeMap::new();
        for row in filter(self.rows("stage_transitions"), &[("period", "all")]) {
            let pair = (text(&row, "from_stage").to_owned(), text(&row, "to_stage").to_owned());
            *moves.entry(pair).or_insert(0) += int(&row, "moves_n");
        }
        moves
    }

    /// The curve over every duration, from the counts per duration; `any` close or a win.
    fn curve(&self, ends: &[&str]) -> Curve {
        let mut tallies: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in filter(self.rows("cycles"), &[("period", "all")]) {
            let tally = tallies.entry(int(&row, "cycle")).or_default();
            let n = int(&row, "deals_n");
            if ends.contains(&text(&row, "cycle_status")) {
                tally.0 += n;
            } else {
                tally.1 += n;
            }
        }
        let tally = |(duration, (observed, censored))| Tally { duration, observed, censored };
        Curve::fit(&tallies.into_iter().map(tally).collect::<Vec<_>>())
    }
}

#[test]
fn loans_end_as_counted() {
    let Some(run) = &*RUN else { return };
    let all = [("period", "all"), ("basis", "created")];
    let row = only(run.rows("conversion"), &all);
    ints(&row, &[("deals_n", 13_087), ("won_n", 2_246), ("lost_n", 10_442), ("open_n", 399)]);
    let rate = number(&summary(&run.folder)["outcome"], "win_rate_of_closed");
    same(&row, "win_rate_closed", rate, 1e-12);

    let moves = run.moves();
    let into = |stage: &str| -> i64 {
        moves.iter().filter(|((_, to), _)| to == stage).map(|(_, n)| n).sum()
    };
    assert_eq!((into("A_DECLINED"), into("A_CANCELLED")), (7_635, 2_807));
    for answer in answers(&run.folder, "a_last_stage.csv") {
        let still = (answer.text("last_stage").to_owned(), "STILL".to_owned());
        assert_eq!(moves.get(&still), Some(&answer.int("cases")), "{still:?}");
    }
}

#[test]
fn loans_move_between_stages_as_counted() {
    let Some(run) = &*RUN else { return };
    let mut moves = run.moves();
    moves.retain(|(from, to), _| from != "START" && to != "STILL");
    let expected: BTreeMap<(String, String), i64> = answers(&run.folder, "a_stage_transitions.csv")
        .iter()
        .map(|a| ((a.text("from_stage").into(), a.text("to_stage").into()), a.int("n")))
        .collect();
    assert_eq!(moves, expected);
}

/// The answer's times are between the first touches of two stages. For the stages before the
/// decision these are neighbours, so they are the dwell before the move; the time from the last of
/// them to `A_APPROVED` is not compared, because `A_REGISTERED` or `A_ACTIVATED` may come first.
#[test]
fn loans_pass_the_funnel_as_counted() {
    let Some(run) = &*RUN else { return };
    let expected = answers(&run.folder, "application_funnel.csv");
    for variant in ["touched", "fall_through", "ordered", "strict"] {
        let wanted = [("period", "all"), ("variant", variant), ("population", "created")];
        let rows = filter(run.rows("funnel"), &wanted);
        assert_eq!(rows.len(), expected.len());
        for (row, answer) in rows.iter().zip(&expected) {
            // Three stages are one won class; every won application has touched A_APPROVED.
            let stage = answer.text("stage");
            let stage = if stage == "A_APPROVED" { "won" } else { stage };
            assert_eq!(text(row, "stage"), stage);
            ints(row, &[("population_n", 13_087), ("entered_n", answer.int("cases_reached"))]);
            same(row, "step_rate", answer.number("conversion"), 1e-12);
        }
    }
    let transitions = run.rows("stage_transitions");
    for answer in
        expected.iter().filter(|a| !matches!(a.text("stage"), "A_SUBMITTED" | "A_APPROVED"))
    {
        let (from, to) = (answer.text("from_stage"), answer.text("stage"));
        let pair = [("period", "all"), ("from_stage", from), ("to_stage", to)];
        let row = only(transitions, &pair);
        ints(&row, &[("moves_n", answer.int("both")), ("deals_n", answer.int("both"))]);
        let days = |column: &str| answer.number(column).map(|seconds| seconds / 86_400.0);
        same(&row, "dwell_days_mean", days("mean_s"), 1e-11);
        same(&row, "dwell_days_p50", days("median_s"), 1e-11);
    }
}

#[test]
fn loans_by_month_of_submission_end_as_counted() {
    let Some(run) = &*RUN else { return };
    let cohorts = answers(&run.folder, "submission_month_cohorts.csv");
    let months = [("period", "month"), ("basis", "created")];
    assert_eq!(filter(run.rows("conversion"), &months).len(), cohorts.len());
    for answer in cohorts {
        let start = format!("{}-01", answer.text("month"));
        let wanted = [("period", "month"), ("basis", "created"), ("period_start", &start)];
        let row = only(run.rows("conversion"), &wanted);
        ints(&row, &[("deals_n", answer.int("cases")), ("won_n", answer.int("won"))]);
        ints(&row, &[("lost_n", answer.int("lost")), ("open_n", answer.int("open"))]);
        ints(&row, &[("deals_amount", answer.cents("amount"))]);
        ints(&row, &[("won_amount", answer.cents("won_amount"))]);
        same(&row, "win_rate_closed", answer.number("win_rate_of_closed"), 1e-12);
    }
}

/// All 24 activities as stages: what follows what, event by event, as pm4py and DuckDB count it.
#[test]
fn activities_follow_one_another_as_counted() {
    let Some(folder) = shared_data("bpic2012_loans") else { return };
    let activities = answers(&folder, "activity_counts.csv");
    let stages: Vec<&str> = activities.iter().map(|a| a.text("activity")).collect();
    let toml = format!(
        r#"
        [run]
        resolution = "millisecond"
        periods = []
        only = ["directly_follows", "process_variants", "rework"]
        [pipeline]
        stages = {stages:?}
        [inputs.deal_events]
        path = '{path}'
        [inputs.deal_events.columns]
        deal_id = "case_id"
        event_time = "ts"
        stage_id = "activity"
        seq = "event_index"
        "#,
        path = folder.join("derived/events.parquet").display(),
    );
    let tables = tables(&Scratch::new(), &toml);
    let pairs = &tables["directly_follows"];
    let expected = answers(&folder, "dfg.csv");
    let is_pair =
        |row: &&Row| text(row, "from_stage") != "START" && text(row, "to_stage") != "STILL";
    assert_eq!(pairs.iter().filter(is_pair).count(), expected.len());
    for answer in &expected {
        let pair = [
            ("from_stage", answer.text("from_activity")),
            ("to_stage", answer.text("to_activity")),
        ];
        let row = only(pairs, &pair);
        ints(&row, &[("follows_n", answer.int("n")), ("deals_n", answer.int("cases"))]);
        for (column, name) in
            [("mean", "mean_s"), ("p50", "median_s"), ("min", "min_s"), ("max", "max_s")]
        {
            let seconds = float(&row, &format!("gap_days_{column}")).unwrap() * 86_400.0;
            let expected = answer.number(name).unwrap();
            assert!((seconds - expected).abs() <= 1e-6 + 1e-9 * expected, "{pair:?} {column}");
        }
    }
    for (file, at, name) in [
        ("start_activities.csv", ("from_stage", "START"), "to_stage"),
        ("end_activities.csv", ("to_stage", "STILL"), "from_stage"),
    ] {
        let ends = answers(&folder, file);
        assert_eq!(filter(pairs, &[at]).len(), ends.len());
        for answer in &ends {
            let row = only(pairs, &[at, (name, answer.text("activity"))]);
            ints(&row, &[("follows_n", answer.int("cases"))]);
        }
    }
    // The most frequent variant has no repeats, so it is the same event by event and stay by stay.
    let first = &tables["process_variants"][0];
    let top = &answers(&folder, "variants_top.csv")[0];
    assert_eq!(text(first, "variant"), top.text("variant"));
    ints(first, &[("deals_n", top.int("cases"))]);
    let deals: i64 = tables["process_variants"].iter().map(|row| int(row, "deals_n")).sum();
    assert_eq!(deals, 13_087);
}

/// The log begins on 1 October in the bank's own zone, which is still September in UTC.
#[test]
fn months_are_those_of_the_reporting_zone() {
    let Some(folder) = shared_data("bpic2012_loans") else { return };
    let only_conversion = "[\"conversion\"]";
    let toml = configuration(&folder, "Europe/Amsterdam", only_conversion);
    let tables = tables(&Scratch::new(), &toml);
    let months = filter(&tables["conversion"], &[("period", "month"), ("basis", "created")]);
    let first = &months[0];
    assert_eq!(text(first, "period_start"), "2011-10-01");
    assert_eq!(months.iter().map(|row| int(row, "deals_n")).sum::<i64>(), 13_087);
}

#[test]
fn loans_by_amount_end_as_counted() {
    let Some(run) = &*RUN else { return };
    let sizes = filter(run.rows("sizes"), &[("period", "all")]);
    for band in answers(&run.folder, "outcome_by_amount_band.csv") {
        let (from, below) = (band.number("amount_from"), band.number("amount_below"));
        let (from, below) = (from.unwrap() * 100.0, below.unwrap_or(f64::INFINITY) * 100.0);
        let holds = |row: &&Row| (from..below).contains(&(int(row, "amount") as f64));
        let rows: Vec<&Row> = sizes.iter().filter(holds).collect();
        let sum = |column: &str| rows.iter().map(|row| int(row, column)).sum::<i64>();
        let got = (sum("deals_n"), sum("won_n"), sum("lost_n"), sum("open_n"));
        let expected = (band.int("cases"), band.int("won"), band.int("lost"), band.int("open"));
        assert_eq!(got, expected, "{band:?}");
        let amount = |n: &str| rows.iter().map(|row| int(row, "amount") * int(row, n)).sum::<i64>();
        assert_eq!(amount("deals_n"), band.cents("amount_sum"), "{band:?}");
        assert_eq!(amount("won_n"), band.cents("won_amount_sum"), "{band:?}");
    }
}

#[test]
fn loans_survive_as_estimated() {
    let Some(run) = &*RUN else { return };
    let outcome = &summary(&run.folder)["outcome"];
    let row = only(run.rows("cycle_length"), &[("period", "all")]);
    let endpoints = [
        ("any", &["won", "lost"][..], "outcome_km_any.csv", "km_any_outcome", "close_days_km"),
        ("won", &["won"][..], "outcome_km_win.csv", "km_win_others_censored", "win_days_km"),
    ];
    for (endpoint, ends, file, key, columns) in endpoints {
        let points = answers(&run.folder, file);
        check_curve(&run.curve(ends), &points);
        check_published(run, endpoint, &run.curve(ends), &points);
        let printed = &outcome[key];
        for (quantile, name) in [("p25", "25pct"), ("p50", "50pct"), ("p75", "75pct")] {
            let expected = number(printed, &format!("km_time_to_{name}_events"));
            same(&row, &format!("{columns}_{quantile}"), expected, 1e-9);
        }
        let limits = ["median_ci95_low_loglog", "median_ci95_high_loglog"];
        for (limit, column) in limits.into_iter().zip(["p50_low", "p50_high"]) {
            same(&row, &format!("{columns}_{column}"), number(printed, limit), 1e-9);
        }
    }
    for (column, key) in
        [("won_days", "won_only_naive_stats"), ("closed_days", "closed_only_naive_stats")]
    {
        same(&row, &format!("{column}_mean"), number(&outcome[key], "mean"), 1e-9);
        let median = number(&outcome[key], "q50_linear_type7");
        same(&row, &format!("{column}_p50"), median, 1e-9);
    }
}

/// Cumulative incidence of approval and of refusal, at every printed point that is published too.
#[test]
fn loans_race_between_approval_and_refusal_as_estimated() {
    let Some(run) = &*RUN else { return };
    let points: BTreeMap<i64, Answer> = answers(&run.folder, "outcome_cif.csv")
        .into_iter()
        .map(|point| (millis(&point), point))
        .collect();
    let mut in_both = 0;
    for row in filter(run.rows("outcome_curve"), &[("period", "all")]) {
        let duration = (float(&row, "duration_days").unwrap() * MILLIS_PER_DAY).round() as i64;
        let Some(point) = points.get(&duration) else { continue };
        in_both += 1;
        ints(&row, &[("at_risk_n", point.int("at_risk"))]);
        same(&row, "win_share", point.number("cif_1"), 1e-9);
        same(&row, "loss_share", point.number("cif_2"), 1e-9);
        same(&row, "open_share", point.number("survival"), 1e-9);
    }
    assert!(in_both > 20, "{in_both} points");
    let last = points.last_key_value().expect("points").1;
    let row = only(run.rows("cycle_outcomes"), &[("period", "all")]);
    same(&row, "win_share_eventual", last.number("cif_1"), 1e-9);
    same(&row, "loss_share_eventual", last.number("cif_2"), 1e-9);
}

/// Every point of the answer, which prints a part of the distinct times, is a step of the curve.
#[track_caller]
fn check_curve(curve: &Curve, points: &[Answer]) {
    assert_eq!(curve.subjects(), 13_087);
    let steps: BTreeMap<i64, &Step> = curve.steps.iter().map(|s| (s.duration, s)).collect();
    for point in points {
        let step = steps.get(&millis(point)).unwrap_or_else(|| panic!("no step at {point:?}"));
        let got = (step.at_risk, step.observed, step.censored);
        assert_eq!(got, (point.int("at_risk"), point.int("events"), point.int("censored")));
        close(step.survival, point.number("survival").unwrap(), point);
        close(step.variance(), point.number("greenwood_var").unwrap_or(0.0), point);
        if let Some((low, high)) = step.limits(Scale::LogLog, Z_95) {
            close(low, point.number("ci95_low_loglog").unwrap(), point);
            close(high, point.number("ci95_high_loglog").unwrap(), point);
        }
    }
}

/// The published points are steps of the same curve, and those the answer has too are equal to it.
#[track_caller]
fn check_published(run: &Run, endpoint: &str, curve: &Curve, points: &[Answer]) {
    let wanted = [("endpoint", endpoint), ("period", "all")];
    let published = filter(run.rows("cycle_curve"), &wanted);
    let steps: BTreeMap<i64, &Step> = curve.steps.iter().map(|s| (s.duration, s)).collect();
    let points: BTreeMap<i64, &Answer> = points.iter().map(|p| (millis(p), p)).collect();
    let mut in_both = 0;
    for row in &published {
        let duration = (float(row, "duration_days").unwrap() * MILLIS_PER_DAY).round() as i64;
        let step = steps[&duration];
        ints(row, &[("subjects_n", 13_087), ("at_risk_n", step.at_risk)]);
        same(row, "survival_rate", Some(step.survival), 1e-12);
        let Some(point) = points.get(&duration) else { continue };
        in_both += 1;
        ints(row, &[("at_risk_n", point.int("at_risk"))]);
        same(row, "survival_rate", point.number("survival"), 1e-9);
        if point.number("survival") > Some(0.0) {
            same(row, "survival_rate_low", point.number("ci95_low_loglog"), 1e-9);
            same(row, "survival_rate_high", point.number("ci95_high_loglog"), 1e-9);
        }
    }
    assert!(published.len() > 400 && in_both > 20, "{in_both} of {}", published.len());
}

fn millis(point: &Answer) -> i64 {
    (point.number("t").unwrap() * MILLIS_PER_DAY).round() as i64
}

#[track_caller]
fn close(got: f64, expected: f64, point: &Answer) {
    assert!((got - expected).abs() <= 1e-9, "{got}, expected {expected} at {point:?}");
}
