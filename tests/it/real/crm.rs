//! `maven_crm`: 8,800 opportunities, one row each with an engage and a close date, read from the
//! original CSV by shape `stage_dates`, with accounts, agents and products as look-ups.
//!
//! The 500 opportunities still in prospecting have no date at all, so they are no deals here: they
//! are the `undated` rows of the quality report. `opportunities` of an answer is therefore won +
//! lost + engaging + prospecting, of which the tables hold the first three.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::answers::{Answer, Tables, answers, ints, number, rounded, same, summary, tables, text};
use crate::support::{Row, Scratch, filter, float, int, only, shared_data};

struct Run {
    folder: PathBuf,
    /// From the rows as they are.
    found: Tables,
    /// With the spelling of one product mended by a value map.
    mended: Tables,
}

static RUN: LazyLock<Option<Run>> = LazyLock::new(|| {
    let folder = shared_data("maven_crm")?;
    let found = tables(&Scratch::new(), &configuration(&folder, ""));
    let map = "values = { product = { GTXPro = \"GTX Pro\" } }";
    let mended = tables(&Scratch::new(), &configuration(&folder, map));
    Some(Run { folder, found, mended })
});

fn configuration(folder: &Path, values: &str) -> String {
    format!(
        r#"
        [run]
        as_of = "2017-12-31"
        periods = ["month", "quarter"]
        resolution = "day"

        [pipeline]
        stages = ["Engaging"]
        won = ["Won"]
        lost = ["Lost"]

        [dimensions]
        columns = ["sales_agent", "product", "sector", "regional_office", "manager", "series"]

        [dimensions.from]
        sector = "accounts.sector"
        regional_office = "teams.regional_office"
        manager = "teams.manager"
        series = "products.series"

        [inputs.deal_events]
        path = '{root}/sales_pipeline.csv'
        shape = "stage_dates"
        columns = {{ deal_id = "opportunity_id", customer_id = "account", amount = "close_value" }}
        stage_dates = {{ Engaging = "engage_date" }}
        outcome = {{ column = "deal_stage", date = "close_date", won = ["Won"], lost = ["Lost"] }}
        {values}

        [inputs.accounts]
        path = '{root}/accounts.csv'
        shape = "lookup"
        key = "customer_id"
        columns = {{ customer_id = "account" }}

        [inputs.teams]
        path = '{root}/sales_teams.csv'
        shape = "lookup"
        key = "sales_agent"

        [inputs.products]
        path = '{root}/products.csv'
        shape = "lookup"
        key = "product"
        "#,
        root = folder.display(),
    )
}

/// Every row of a `by_….csv`, in the tables by that dimension, and no group besides.
#[track_caller]
fn check_groups(tables: &Tables, folder: &Path, file: &str, column: &str, dimension: &str) {
    let expected = answers(folder, file);
    let of = |table: &str, answer: &Answer, extra: &[(&str, &str)]| {
        let mut wanted = vec![("slice", dimension), ("period", "all")];
        wanted.push((dimension, answer.name(column)));
        wanted.extend(extra);
        filter(&tables[table], &wanted)
    };
    let created = [("basis", "created")];
    for answer in &expected {
        let [row] = of("conversion", answer, &created).try_into().expect("one row a group");
        let open_n = answer.int("engaging");
        ints(&row, &[("won_n", answer.int("won")), ("lost_n", answer.int("lost"))]);
        ints(&row, &[("open_n", open_n)]);
        let dated = answer.int("opportunities") - answer.int("prospecting");
        ints(&row, &[("deals_n", dated), ("won_amount", answer.cents("revenue"))]);
        same(&row, "win_rate_closed", answer.number("win_rate"), 1e-12);
        if answer.int("won") > 0 {
            let [row] = of("revenue", answer, &[]).try_into().expect("one row a group");
            ints(&row, &[("won_n", answer.int("won")), ("net_amount", answer.cents("revenue"))]);
            let mean = answer.number("mean_won_value").map(|mean| mean * 100.0);
            rounded(&row, "deal_size_mean", mean);
        }
        let [row] = of("cycle_length", answer, &[]).try_into().expect("one row a group");
        same(&row, "won_days_mean", answer.number("mean_cycle_days_won"), 1e-12);
        same(&row, "won_days_p50", answer.number("median_cycle_days_won"), 1e-12);
        same(&row, "closed_days_mean", answer.number("mean_cycle_days_closed"), 1e-12);
        same(&row, "closed_days_p50", answer.number("median_cycle_days_closed"), 1e-12);
    }
    let slice = [("slice", dimension), ("period", "all"), ("basis", "created")];
    assert_eq!(filter(&tables["conversion"], &slice).len(), expected.len(), "groups of {file}");
}

#[test]
fn opportunities_end_as_counted() {
    let Some(run) = &*RUN else { return };
    let summary = summary(&run.folder);
    let stages = &summary["stage_counts"];
    let all = [("slice", "all"), ("period", "all")];
    let row = only(&run.found["conversion"], &[all[0], all[1], ("basis", "closed")]);
    ints(&row, &[("won_n", stages["Won"].as_i64().unwrap())]);
    ints(&row, &[("lost_n", stages["Lost"].as_i64().unwrap())]);
    same(&row, "win_rate_closed", number(&summary, "win_rate_won_over_won_plus_lost"), 1e-12);
    let row = only(&run.found["revenue"], &all);
    ints(&row, &[("net_amount", summary["won_revenue"].as_i64().unwrap() * 100)]);
    let cents = |key: &str| number(&summary, key).map(|amount| amount * 100.0);
    rounded(&row, "deal_size_mean", cents("won_mean_value"));
    rounded(&row, "deal_size_p50", cents("won_median_value"));
}

#[test]
fn every_agent_product_sector_and_region_is_as_counted() {
    let Some(Run { folder, found, .. }) = &*RUN else { return };
    check_groups(found, folder, "by_sales_agent.csv", "sales_agent", "sales_agent");
    check_groups(found, folder, "by_product.csv", "product", "product");
    check_groups(found, folder, "by_sector.csv", "sector", "sector");
    check_groups(found, folder, "by_regional_office.csv", "regional_office", "regional_office");
    check_groups(found, folder, "by_manager.csv", "manager", "manager");
}

#[test]
fn dirt_is_counted_and_a_value_map_mends_it() {
    let Some(Run { folder, found, mended }) = &*RUN else { return };
    let quality = &found["data_quality"];
    let affected = |rows: &[Row], input: &str, rule: &str| {
        int(&only(rows, &[("input", input), ("rule", rule)]), "affected_n")
    };
    let prospecting = [
        ("affected_n", 500),
        ("checked_n", 8_800),
        ("quarantined_n", 500),
        ("rows_in_n", 8_800),
        ("folded_n", 8_300),
    ];
    ints(&only(quality, &[("input", "deal_events"), ("rule", "undated")]), &prospecting);
    // Of the 1,480 rows with the other spelling, 80 are undated; no other look-up has orphans.
    assert_eq!(affected(quality, "products", "orphans"), 1_400);
    assert_eq!(affected(quality, "accounts", "orphans"), 0);
    assert_eq!(affected(quality, "teams", "orphans"), 0);
    // Of the 1,425 rows without an account, 337 are undated.
    assert_eq!(affected(quality, "accounts", "null_keys"), 1_088);
    assert_eq!(affected(quality, "deal_events", "no_customer"), 1_088);

    // Orphans have no series, and are not dropped.
    let gtx_pro = |tables: &Tables, series: &str| -> i64 {
        let wanted = [("slice", "series"), ("period", "all"), ("series", series)];
        let rows = filter(&tables["revenue"], &wanted);
        rows.iter().map(|row| int(row, "won_n")).sum()
    };
    assert_eq!(gtx_pro(found, "null"), 729);
    assert_eq!(gtx_pro(mended, "null"), 0);
    assert_eq!(affected(&mended["data_quality"], "products", "orphans"), 0);
    check_groups(mended, folder, "by_product_fixed.csv", "product_fixed", "product");
    check_groups(mended, folder, "by_series.csv", "series", "series");
}

#[test]
fn periods_of_close_and_of_engagement_are_as_counted() {
    let Some(run) = &*RUN else { return };
    let (conversion, revenue) = (&run.found["conversion"], &run.found["revenue"]);
    let quarter = |text: &str| match text.split_once("-Q") {
        Some((year, n)) => format!("{year}-{:02}-01", n.parse::<i32>().unwrap() * 3 - 2),
        None => format!("{text}-01"),
    };
    for (file, column) in [("by_close_month.csv", "month"), ("by_close_quarter.csv", "quarter")] {
        for answer in answers(&run.folder, file) {
            let start = quarter(answer.text(column));
            let of = [("slice", "all"), ("period", column), ("period_start", start.as_str())];
            let row = only(conversion, &[of[0], of[1], of[2], ("basis", "closed")]);
            ints(&row, &[("won_n", answer.int("won")), ("deals_n", answer.int("closed"))]);
            same(&row, "win_rate_closed", answer.number("win_rate"), 1e-12);
            let row = only(revenue, &of);
            ints(&row, &[("won_n", answer.int("won")), ("net_amount", answer.cents("revenue"))]);
        }
    }
    for answer in answers(&run.folder, "by_engage_month_cohort.csv") {
        let start = quarter(answer.text("month"));
        let of = [("slice", "all"), ("period", "month"), ("period_start", start.as_str())];
        let row = only(conversion, &[of[0], of[1], of[2], ("basis", "created")]);
        ints(&row, &[("deals_n", answer.int("engaged")), ("won_n", answer.int("won"))]);
        ints(&row, &[("lost_n", answer.int("lost")), ("open_n", answer.int("still_open"))]);
        ints(&row, &[("won_amount", answer.cents("revenue"))]);
    }
}

#[test]
fn cycle_is_as_estimated_with_open_deals_censored() {
    let Some(run) = &*RUN else { return };
    let summary = summary(&run.folder);
    let all = [("slice", "all"), ("period", "all")];
    let row = only(&run.found["cycle_length"], &all);
    ints(&row, &[("at_risk_n", 8_300), ("observed_n", 6_711), ("censored_n", 1_589)]);
    let days = &summary["cycle_days"];
    same(&row, "won_days_mean", number(&days["won"], "mean"), 1e-12);
    for (column, key) in [("p25", "q25"), ("p50", "q50"), ("p75", "q75"), ("p90", "q90")] {
        let key = format!("{key}_linear_type7");
        same(&row, &format!("won_days_{column}"), number(&days["won"], &key), 1e-12);
    }
    same(&row, "closed_days_p50", Some(45.0), 0.0);
    same(&row, "close_days_km_p50", Some(69.0), 0.0);
    same(&row, "win_days_km_p50", Some(93.0), 0.0);
    let printed = [
        ("close_days_km", "km_closed_open_censored"),
        ("win_days_km", "km_won_lost_and_open_censored"),
    ];
    for (columns, key) in printed {
        let printed = &summary[key];
        for (column, key) in [("p25", "25pct"), ("p50", "50pct"), ("p75", "75pct")] {
            let expected = number(printed, &format!("km_time_to_{key}_events"));
            same(&row, &format!("{columns}_{column}"), expected, 1e-12);
        }
        let (low, high) = ("median_ci95_low_loglog", "median_ci95_high_loglog");
        same(&row, &format!("{columns}_p50_low"), number(printed, low), 1e-12);
        same(&row, &format!("{columns}_p50_high"), number(printed, high), 1e-12);
    }
}

#[test]
fn curve_is_as_estimated_at_every_day() {
    let Some(run) = &*RUN else { return };
    for (endpoint, file) in [("any", "km_closed.csv"), ("won", "km_won.csv")] {
        let wanted = [("slice", "all"), ("endpoint", endpoint)];
        let rows = filter(&run.found["cycle_curve"], &wanted);
        let points = answers(&run.folder, file);
        assert_eq!(rows.len(), points.len(), "{file}");
        let (mut observed, mut censored) = (0, 0);
        for (row, point) in rows.iter().zip(&points) {
            observed += point.int("events");
            censored += point.int("censored");
            assert!(
                (float(row, "duration_days").unwrap() - point.number("t").unwrap()).abs() < 1e-9
            );
            ints(row, &[("at_risk_n", point.int("at_risk")), ("observed_n", observed)]);
            ints(row, &[("censored_n", censored), ("subjects_n", 8_300)]);
            same(row, "survival_rate", point.number("survival"), 1e-9);
            same(row, "survival_rate_low", point.number("ci95_low_loglog"), 1e-9);
            same(row, "survival_rate_high", point.number("ci95_high_loglog"), 1e-9);
        }
    }
}

#[test]
fn quartiles_of_the_cycle_by_group_are_as_estimated() {
    let Some(run) = &*RUN else { return };
    for answer in answers(&run.folder, "km_quantiles_by_group.csv") {
        let by = answer.text("by");
        let (tables, dimension) =
            if by == "product_fixed" { (&run.mended, "product") } else { (&run.found, by) };
        let group = answer.name("group");
        let wanted = [("slice", dimension), ("period", "all"), (dimension, group)];
        let row = only(&tables["cycle_length"], &wanted);
        ints(&row, &[("at_risk_n", answer.int("engaged")), ("won_n", answer.int("won"))]);
        ints(&row, &[("observed_n", answer.int("closed")), ("censored_n", answer.int("open"))]);
        for (column, key) in [("p25", "25"), ("p50", "50"), ("p75", "75")] {
            let (closed, won) = (format!("closed_{key}"), format!("won_{key}"));
            same(&row, &format!("close_days_km_{column}"), answer.number(&closed), 1e-12);
            same(&row, &format!("win_days_km_{column}"), answer.number(&won), 1e-12);
        }
    }
}

#[test]
fn accounts_buy_again_as_counted() {
    let Some(run) = &*RUN else { return };
    let cells = answers(&run.folder, "account_cohort_revenue.csv");
    for answer in &cells {
        let start = format!("{}-01", answer.text("cohort"));
        let wanted = [
            ("slice", "all"),
            ("period", "month"),
            ("period_start", start.as_str()),
            ("age", answer.text("months_since")),
        ];
        let row = only(&run.found["clv_cohorts"], &wanted);
        if row["is_mature"] == crate::support::Cell::Bool(false) {
            assert_eq!(text(&row, "cell_start"), "2017-12-01", "only the last month may be open");
            continue;
        }
        ints(&row, &[("orders_n", answer.int("orders")), ("active_n", answer.int("accounts"))]);
        ints(&row, &[("amount", answer.cents("revenue"))]);
    }
}
