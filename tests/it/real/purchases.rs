//! `cdnow`: purchases of customers who came in the first quarter of 1997, the master file and the
//! 1/10 sample; every row of them is a won deal of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::answers::{Tables, answers, ints, tables, text};
use crate::support::{Row, Scratch, filter, float, int, only, shared_data};

/// A printed cohort of the sample: cohort, customers, active in months 0 to 6, 12 and 15, revenue
/// in cents of months 0 to 6, and cumulative revenue per customer over all months.
type Printed = (&'static str, i64, [i64; 7], i64, i64, [i64; 7], f64);

const SAMPLE: [Printed; 3] = [
    (
        "1997-01-01",
        781,
        [781, 124, 95, 70, 65, 77, 65],
        45,
        37,
        [2_859_270, 700_373, 424_164, 375_536, 383_325, 354_750, 317_231],
        100.9511,
    ),
    (
        "1997-02-01",
        857,
        [857, 134, 110, 75, 77, 75, 61],
        59,
        59,
        [3_343_008, 641_837, 498_366, 359_041, 319_616, 459_560, 353_436],
        105.8113,
    ),
    (
        "1997-03-01",
        719,
        [719, 87, 84, 78, 63, 64, 55],
        78,
        45,
        [3_281_209, 410_303, 345_667, 316_359, 309_832, 291_492, 210_244],
        103.7119,
    ),
];

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| shared_data("cdnow"));
static MASTER: LazyLock<Option<Tables>> =
    LazyLock::new(|| Some(run(FOLDER.as_ref()?, "CDNOW_master.txt", "1998-06-30")));

/// The rows as events, one deal a row, so that equal rows stay distinct; ids and dates are the last
/// four columns' first two (the sample has one more column before).
fn run(folder: &Path, file: &str, as_of: &str) -> Tables {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let mut events = String::from("deal_id,event_time,event_type,customer_id,amount\n");
    for (row, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., customer, day, _, amount] = words[..] else { panic!("{file}: {line}") };
        if day == "date" {
            continue;
        }
        let (year, month, day) = (&day[..4], &day[4..6], &day[6..]);
        events += &format!("{row},{year}-{month}-{day},won,C{customer},{amount}\n");
    }
    let scratch = Scratch::new();
    scratch.write("events.csv", &events);
    let toml = format!(
        r#"
        [run]
        as_of = "{as_of}"
        periods = ["month"]
        resolution = "day"
        only = ["revenue", "clv_cohorts", "customer_growth", "data_quality", "shapes",
            "clv_models", "clv_holdout", "customer_value", "repurchase", "cohort_retention", "churn",
            "customer_tiers"]
        [clv]
        holdout_days = 273
        [pipeline]
        stages = ["cart"]
        won = ["won"]
        [inputs.deal_events]
        path = "events.csv"
        [[metrics]]
        name = "shapes"
        relation = "customers"
        sql = """
        SELECT orders_n, purchase_days_n, recency_days, age_days, COUNT(*) AS customers_n
        FROM customers GROUP BY orders_n, purchase_days_n, recency_days, age_days
        """
        "#
    );
    tables(&scratch, &toml)
}

/// Customers by their counts, over all.
fn shapes(tables: &Tables) -> Vec<Row> {
    filter(&tables["shapes"], &[("period", "all")])
}

fn customers(shapes: &[Row], holds: impl Fn(&Row) -> bool) -> i64 {
    shapes.iter().filter(|row| holds(row)).map(|row| int(row, "customers_n")).sum()
}

fn cohort_cell(tables: &Tables, cohort: &str, age: usize) -> Row {
    let age = age.to_string();
    let wanted = [("period", "month"), ("period_start", cohort), ("age", age.as_str())];
    only(&tables["clv_cohorts"], &wanted)
}

/// Repurchase: by distinct purchase day as in `customer_growth`, and by transaction.
#[track_caller]
fn check_repurchase(tables: &Tables, buyers: i64, by_day: i64, by_transaction: i64) {
    let months = filter(&tables["customer_growth"], &[("period", "month")]);
    let sum = |column: &str| months.iter().map(|row| int(row, column)).sum::<i64>();
    assert_eq!((sum("buyers_n"), sum("repeat_buyers_n")), (buyers, by_day));
    let any = filter(&tables["repurchase"], &[("period", "all")]).remove(0);
    ints(&any, &[("buyers_n", buyers), ("repurchased_n", by_day)]);
    let shapes = shapes(tables);
    assert_eq!(customers(&shapes, |row| int(row, "orders_n") > 1), by_transaction);
    assert_eq!(customers(&shapes, |row| int(row, "purchase_days_n") > 1), by_day);
}

#[test]
fn sample_cohorts_are_as_printed() {
    let Some(folder) = &*FOLDER else { return };
    let tables = run(folder, "CDNOW_sample.txt", "1998-06-30");
    ints(
        &only(&tables["revenue"], &[("period", "all")]),
        &[("won_n", 6_919), ("net_amount", 24_409_194)],
    );
    for (index, (cohort, size, active, month_12, month_15, revenue, per_customer)) in
        SAMPLE.into_iter().enumerate()
    {
        for (age, (active, revenue)) in active.into_iter().zip(revenue).enumerate() {
            let row = cohort_cell(&tables, cohort, age);
            ints(&row, &[("cohort_size_n", size), ("active_n", active), ("amount", revenue)]);
        }
        ints(&cohort_cell(&tables, cohort, 12), &[("active_n", month_12)]);
        ints(&cohort_cell(&tables, cohort, 15), &[("active_n", month_15)]);
        // The history ends with June 1998, 17 months after the first cohort's month.
        let last = cohort_cell(&tables, cohort, 17 - index);
        let cumulative = int(&last, "cumulative_amount") as f64 / 100.0 / size as f64;
        assert!((cumulative - per_customer).abs() <= 5e-5, "{cohort}: {cumulative}");
    }
    check_repurchase(&tables, 2_357, 1_139, 1_152);
}

#[test]
fn master_totals_keep_equal_rows_apart() {
    let Some(tables) = &*MASTER else { return };
    let all = only(&tables["revenue"], &[("period", "all")]);
    let totals = [("won_n", 69_659), ("net_amount", 250_031_563), ("zero_amount_n", 80)];
    ints(&all, &totals);
    ints(&all, &[("new_business_n", 23_570), ("existing_business_n", 69_659 - 23_570)]);
    let quality = &tables["data_quality"];
    let duplicates = only(quality, &[("rule", "duplicate_events")]);
    ints(&duplicates, &[("affected_n", 0), ("folded_n", 69_659)]);
    ints(&only(quality, &[("rule", "zero_amount_won")]), &[("affected_n", 80)]);
    let days: i64 =
        shapes(tables).iter().map(|r| int(r, "purchase_days_n") * int(r, "customers_n")).sum();
    assert_eq!(days, 67_591);
    check_repurchase(tables, 23_570, 11_516, 11_662);
}

#[test]
fn master_cohorts_are_as_counted() {
    let (Some(folder), Some(tables)) = (&*FOLDER, &*MASTER) else { return };
    let cells = answers(folder, "master_cohort_by_month.csv");
    let mut cumulative: BTreeMap<String, i64> = BTreeMap::new();
    for answer in &cells {
        let cohort = format!("{}-01", answer.text("cohort"));
        let row = cohort_cell(tables, &cohort, answer.int("months_since") as usize);
        let so_far = cumulative.entry(cohort).or_default();
        *so_far += answer.cents("revenue");
        ints(&row, &[("orders_n", answer.int("rows")), ("amount", answer.cents("revenue"))]);
        ints(&row, &[("active_n", answer.int("active_customers")), ("cumulative_amount", *so_far)]);
    }
    let months = filter(&tables["clv_cohorts"], &[("period", "month")]);
    assert_eq!(months.len(), cells.len(), "cells");
    for answer in answers(folder, "master_cohort_sizes.csv") {
        let cohort = format!("{}-01", answer.text("cohort"));
        let last = months.iter().rfind(|row| text(row, "period_start") == cohort).unwrap();
        ints(last, &[("cohort_size_n", answer.int("customers"))]);
        ints(last, &[("cumulative_amount", answer.cents("revenue_to_1998-06-30"))]);
        let mean = (answer.number("revenue_per_customer").unwrap() * 100.0).round() as i64;
        ints(last, &[("cumulative_amount_per_customer", mean)]);
    }
}

#[test]
fn master_customers_come_back_as_counted() {
    let (Some(folder), Some(tables)) = (&*FOLDER, &*MASTER) else { return };
    let mut last: BTreeMap<String, BTreeMap<i64, i64>> = BTreeMap::new();
    for answer in answers(folder, "master_cohort_by_month.csv") {
        let cohort = format!("{}-01", answer.text("cohort"));
        let (age, active) = (answer.int("months_since"), answer.int("active_customers"));
        last.entry(cohort.clone()).or_default().insert(age, active);
        let cell = |method| {
            let wanted = [("method", method), ("period", "month"), ("period_start", &cohort)];
            filter(&tables["cohort_retention"], &wanted).into_iter().find(|r| int(r, "age") == age)
        };
        ints(&cell("classic").unwrap(), &[("retained_n", active)]);
        // Who is there at an age or later is at least who is there at it.
        assert!(int(&cell("rolling").unwrap(), "retained_n") >= active);
    }
    for (cohort, ages) in last {
        // At the last age nobody can come later.
        let (age, active) = ages.last_key_value().unwrap();
        let wanted = [("method", "rolling"), ("period_start", cohort.as_str())];
        let rolling = filter(&tables["cohort_retention"], &wanted);
        let found = rolling.iter().find(|row| int(row, "age") == *age).unwrap();
        ints(found, &[("retained_n", *active)]);
    }
    let churn = only(&tables["churn"], &[("period", "all")]);
    ints(&churn, &[("customers_n", 23_570), ("gaps_n", 67_591 - 23_570)]);
    let tiers: i64 = tables["customer_tiers"].iter().map(|row| int(row, "customers_n")).sum();
    assert_eq!(tiers, 23_570);
}

#[test]
fn master_months_are_as_counted() {
    let (Some(folder), Some(tables)) = (&*FOLDER, &*MASTER) else { return };
    for answer in answers(folder, "master_by_month.csv") {
        let start = format!("{}-01", answer.text("month"));
        let wanted = [("period", "month"), ("period_start", start.as_str())];
        let row = only(&tables["customer_growth"], &wanted);
        ints(&row, &[("active_n", answer.int("customers")), ("orders_n", answer.int("rows"))]);
        ints(&row, &[("amount", answer.cents("revenue"))]);
        let row = only(&tables["revenue"], &wanted);
        ints(&row, &[("won_n", answer.int("rows")), ("net_amount", answer.cents("revenue"))]);
    }
}

/// Frequency, recency and age at the end of the calibration half are those that every model of this
/// data is fitted to, as counts of customers with equal values.
#[test]
fn calibration_frequency_recency_and_age_are_as_published() {
    let Some(folder) = &*FOLDER else { return };
    let shapes = shapes(&run(folder, "CDNOW_sample.txt", "1997-09-30"));
    let mut got: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
    for row in &shapes {
        let key = (int(row, "purchase_days_n") - 1, int(row, "recency_days"), int(row, "age_days"));
        *got.entry(key).or_default() += int(row, "customers_n");
    }
    let mut expected: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
    for answer in answers(folder, "sample_rfm_calibration_to_1997-09-30.csv") {
        let days = |column: &str| (answer.number(column).unwrap() * 7.0).round() as i64;
        *expected.entry((answer.int("x"), days("t_x"), days("T"))).or_default() += 1;
    }
    assert_eq!(got, expected);
    let repeats: i64 = got.iter().map(|((x, _, _), n)| x * n).sum();
    assert_eq!(repeats, 2_457);
    assert_eq!(customers(&shapes, |row| int(row, "purchase_days_n") == 1), 1_411);
}

/// The models' fits at the end of the calibration half, end to end, and one customer by its own
/// identifier.
#[test]
fn sample_models_and_first_customer_are_as_published() {
    let Some(folder) = &*FOLDER else { return };
    let tables = run(folder, "CDNOW_sample.txt", "1997-09-30");
    for (model, log_likelihood) in [
        ("bg_nbd", -9582.4292),
        ("mbg_nbd", -9582.1357),
        ("pareto_nbd", -9594.9762),
        ("gamma_gamma", -4055.9177),
    ] {
        for row in filter(&tables["clv_models"], &[("clv_model", model)]) {
            assert_eq!(text(&row, "fit_status"), "converged", "{model}");
            let found = float(&row, "log_likelihood").unwrap();
            assert!((found - log_likelihood).abs() < 5e-4, "{model}: {found}");
        }
    }
    assert_eq!(tables["customer_value"].len(), 2_357);
    let first = only(&tables["customer_value"], &[("customer_id", "C0001")]);
    ints(&first, &[("repeats_n", 2), ("recency_days", 213), ("age_days", 272)]);
    // The mean is 22.345, half to even; the spend is printed by the authors of the model.
    ints(&first, &[("repeat_amount_mean", 2_234), ("expected_spend", 2_465)]);
}

/// The purchases that came after the calibration half, of those who had come before.
#[test]
fn master_hold_out_is_as_counted() {
    let Some(tables) = &*MASTER else { return };
    for model in ["bg_nbd", "mbg_nbd", "pareto_nbd"] {
        let rows = filter(&tables["clv_holdout"], &[("clv_model", model)]);
        let total = rows.first().unwrap();
        ints(total, &[("customers_n", 23_570), ("purchases_n", 19_684)]);
        let repeats: i64 = rows.iter().skip(1).map(|row| int(row, "purchases_n")).sum();
        assert_eq!(repeats, 19_684);
    }
}
