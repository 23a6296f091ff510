//! Printed curves, medians and limits, each from outside this project.

use super::*;
use crate::stats::Z_95;
use crate::stats::testdata::{close, csv, shared};

/// Tallies of single subjects: duration and whether the event was seen.
fn tallies(subjects: impl IntoIterator<Item = (i64, bool)>) -> Vec<Tally> {
    let mut counted = std::collections::BTreeMap::<i64, (i64, i64)>::new();
    for (duration, is_observed) in subjects {
        let entry = counted.entry(duration).or_default();
        if is_observed { entry.0 += 1 } else { entry.1 += 1 }
    }
    counted
        .into_iter()
        .map(|(duration, (observed, censored))| Tally { duration, observed, censored })
        .collect()
}

/// (duration, observed, group) of one of the data sets.
fn subjects(set: &str) -> Option<Vec<(i64, bool, String)>> {
    let number = |text: &str| text.parse::<f64>().expect("a number") as i64;
    let pick = |rows: Vec<Vec<&str>>, t: usize, e: usize, g: usize| {
        rows.iter().map(|r| (number(r[t]), r[e] == "1", r[g].to_owned())).collect()
    };
    Some(match set {
        "lung" => pick(csv(&shared("survival/lung.csv")?), 1, 2, 4),
        "rossi" => pick(csv(&shared("survival/rossi.csv")?), 0, 1, 2),
        "waltons" => pick(csv(&shared("survival/waltons_dataset.csv")?), 0, 1, 2),
        _ => shared("survival/gehan.dat")?
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let group = if fields.next()? == "1" { "control" } else { "6-MP" };
                Some((number(fields.next()?), fields.next()? == "1", group.to_owned()))
            })
            .collect(),
    })
}

fn fit(set: &str, group: &str) -> Option<Curve> {
    let all = subjects(set)?;
    let kept = all.into_iter().filter(|(_, _, g)| group == "all" || g == group);
    Some(Curve::fit(&tallies(kept.map(|(duration, is_observed, _)| (duration, is_observed)))))
}

#[test]
fn every_point_of_the_printed_tables_is_reproduced() {
    let Some(text) = shared("survival/answers/km_tables.csv") else { return };
    let mut compared = 0;
    let mut curve = (String::new(), Curve::default());
    for row in csv(&text) {
        let name = format!("{}/{}", row[0], row[1]);
        if curve.0 != name {
            curve = (name, fit(row[0], row[1]).expect("the data set"));
        }
        let number = |column: usize| row[column].parse::<f64>().expect("a number");
        let time = number(2) as i64;
        let step = curve.1.steps.iter().find(|s| s.duration == time).expect("the time");
        assert_eq!(step.at_risk, number(3) as i64, "{row:?}");
        assert_eq!((step.observed, step.censored), (number(4) as i64, number(5) as i64));
        close(step.survival, number(6), 1e-12);
        close(step.variance(), number(7), 1e-12);
        // The table prints 0 to 0 where S is 0 and no limit can be estimated.
        match step.limits(Scale::LogLog, Z_95) {
            Some((low, high)) => {
                close(low, number(9), 1e-9);
                close(high, number(10), 1e-9);
            }
            None => close(step.survival, 0.0, 0.0),
        }
        compared += 1;
    }
    assert_eq!(compared, 627);
}

/// Compares a curve with a printed one of the same deals, point by point, and its area.
#[track_caller]
fn check_printed(path: &str, points: usize, restricted_mean_to_120: f64) {
    let Some(text) = shared(path) else { return };
    let number = |field: &&str| field.parse::<f64>().expect("a number");
    let rows: Vec<Vec<f64>> = csv(&text).iter().map(|r| r.iter().map(number).collect()).collect();
    assert_eq!(rows.len(), points);
    let tally = |row: &Vec<f64>| Tally {
        duration: row[0] as i64,
        observed: row[2] as i64,
        censored: row[3] as i64,
    };
    let curve = Curve::fit(&rows.iter().map(tally).collect::<Vec<_>>());
    for (step, row) in curve.steps.iter().zip(&rows) {
        assert_eq!(step.at_risk, row[1] as i64);
        close(step.survival, row[4], 1e-12);
        close(step.variance(), row[5], 1e-12);
        if let Some((low, high)) = step.limits(Scale::LogLog, Z_95) {
            close(low, row[7], 1e-9);
            close(high, row[8], 1e-9);
        }
    }
    close(curve.restricted_mean(120).expect("deals"), restricted_mean_to_120, 1e-12);
}

#[test]
fn curve_of_thousands_of_deals_does_not_drift() {
    check_printed("maven_crm/answers/km_closed.csv", 389, 61.324_411_033_206_79);
    check_printed("maven_crm/answers/km_won.csv", 389, 78.531_480_966_570_03);
}

#[test]
fn every_quantile_of_the_printed_summary_is_reproduced() {
    let Some(text) = shared("survival/answers/km_summary.csv") else { return };
    let finite = |text: &str| text.parse::<f64>().ok().filter(|v| v.is_finite());
    for row in csv(&text) {
        let curve = fit(row[0], row[1]).expect("the data set");
        assert_eq!(curve.subjects().to_string(), row[3], "{row:?}");
        assert_eq!(curve.observed().to_string(), row[4], "{row:?}");
        let shares = [0.1, 0.25, 0.5, 0.75, 0.9];
        for (p, printed) in shares.into_iter().zip(row.iter().skip(8)) {
            assert_eq!(curve.quantile(p, QuantileRule::First), finite(printed), "{p} of {row:?}");
        }
        let (low, high) = curve.quantile_limits(0.5, Scale::LogLog, Z_95);
        assert_eq!((low.map(float), high.map(float)), (finite(row[13]), finite(row[14])));
    }
}

#[track_caller]
fn check_median(set: &str, group: &str, median: f64, log: (i64, i64), loglog: (i64, i64)) {
    let Some(curve) = fit(set, group) else { return };
    assert_eq!(curve.quantile(0.5, QuantileRule::Midpoint), Some(median));
    let limits = |scale| curve.quantile_limits(0.5, scale, Z_95);
    assert_eq!(limits(Scale::Log), (Some(log.0), Some(log.1)));
    assert_eq!(limits(Scale::LogLog), (Some(loglog.0), Some(loglog.1)));
}

#[test]
fn lung_medians_and_both_kinds_of_limits_are_reproduced() {
    check_median("lung", "all", 310.0, (285, 363), (284, 361));
    check_median("lung", "1", 270.0, (212, 310), (210, 306));
    check_median("lung", "2", 426.0, (348, 550), (345, 524));
}

#[test]
fn lung_medians_by_sex_and_performance_are_reproduced() {
    let Some(text) = shared("survival/lung.csv") else { return };
    let printed = [("1", "0.0", 353.0), ("1", "1.0", 239.0), ("1", "2.0", 166.0)]
        .into_iter()
        .chain([("1", "3.0", 118.0), ("2", "0.0", 705.0), ("2", "1.0", 450.0)])
        .chain([("2", "2.0", 239.0)]);
    let rows = csv(&text);
    for (sex, performance, median) in printed {
        let group = rows.iter().filter(|r| r[4] == sex && r[5] == performance);
        let curve = Curve::fit(&tallies(group.map(|r| (r[1].parse().expect("days"), r[2] == "1"))));
        let found = curve.quantile(0.5, QuantileRule::Midpoint);
        assert_eq!(found, Some(median), "sex {sex}, performance {performance}");
    }
}

#[test]
fn lung_restricted_mean_is_that_of_r_survival() {
    // print(survfit(Surv(time, status) ~ 1, lung), rmean = "common") in R: 376.3 up to 1022 days.
    let Some(curve) = fit("lung", "all") else { return };
    close(curve.restricted_mean(1022).expect("subjects"), 376.3, 0.05 / 376.3);
}

#[test]
fn lung_restricted_mean_has_the_error_of_r_survival() {
    // The same print: se(rmean) 19.7 for all.
    let Some(curve) = fit("lung", "all") else { return };
    let (mean, error) = curve.restricted_mean_error(1022).expect("subjects");
    close(mean, 376.3, 0.05 / 376.3);
    close(error, 19.7, 0.05 / 19.7);
    // By hand: 1 and 3 of two, to 3: areas 2·1/2 behind the first event, variance 1²·1/(2·1).
    let two = Curve::fit(&tallies([(1, true), (3, true)]));
    close(two.restricted_mean_error(3).expect("subjects").1, 0.5_f64.sqrt(), 1e-12);
}

#[test]
fn six_mercaptopurine_curve_and_medians_are_reproduced() {
    let Some(treated) = fit("gehan_6mp", "6-MP") else { return };
    let printed = [
        (6, 0.857_143),
        (7, 0.806_723),
        (10, 0.752_941),
        (13, 0.690_196),
        (16, 0.627_451),
        (22, 0.537_815),
        (23, 0.448_179),
    ];
    let events: Vec<&Step> = treated.steps.iter().filter(|s| s.observed > 0).collect();
    assert_eq!(events.len(), printed.len());
    for (step, (time, survival)) in events.iter().zip(printed) {
        assert_eq!(step.duration, time);
        close(step.survival, survival, 5e-7);
    }
    assert_eq!(treated.quantile(0.5, QuantileRule::First), Some(23.0));
    assert_eq!(treated.horizon(), Some(35));
    let control = fit("gehan_6mp", "control").expect("the same file");
    assert_eq!(control.quantile(0.5, QuantileRule::First), Some(8.0));
}

#[track_caller]
fn check_fixture(completed: &[i64], open: &[i64], first: f64, midpoint: f64) {
    let seen = completed.iter().map(|d| (*d, true)).chain(open.iter().map(|d| (*d, false)));
    let curve = Curve::fit(&tallies(seen));
    assert_eq!(curve.quantile(0.5, QuantileRule::First), Some(first));
    assert_eq!(curve.quantile(0.5, QuantileRule::Midpoint), Some(midpoint));
}

#[test]
fn fixture_dwell_medians_are_exact_at_one_half() {
    // Stage visits of the eight-deal fixture in days, open ones as of day 20.
    check_fixture(&[2, 3, 1, 3, 7, 0], &[20], 3.0, 3.0);
    // Q: S is exactly one half from 2 to 3; floating products would miss it.
    check_fixture(&[3, 3, 2, 1, 0], &[17], 2.0, 2.5);
    check_fixture(&[4, 1, 2, 2, 2, 7, 0], &[], 2.0, 2.0);
}

#[test]
fn events_come_before_censorings_at_the_same_time() {
    // 2 at risk at 1, one event and one censoring there: S = 1/2, not 0.
    let curve = Curve::fit(&[Tally { duration: 1, observed: 1, censored: 1 }]);
    assert_eq!(curve.steps.len(), 1);
    close(curve.steps[0].survival, 0.5, 0.0);
}

#[test]
fn survival_without_censoring_is_the_exact_share_left() {
    let curve = Curve::fit(&tallies((1..=997).map(|d| (d, true))));
    for (step, left) in curve.steps.iter().zip((0..997).rev()) {
        assert!(step.survival.to_bits() == (f64::from(left) / 997.0).to_bits());
    }
}

#[test]
fn restricted_mean_is_the_area_under_the_steps() {
    // S = 1 to 2, 3/4 to 5 (one censored at 4), then 3/8 to 8: 2 + 3·3/4 + 3·3/8 = 5.375.
    let curve = Curve::fit(&tallies([(2, true), (4, false), (5, true), (8, true)]));
    close(curve.restricted_mean(8).expect("subjects"), 5.375, 1e-12);
    close(curve.restricted_mean(3).expect("subjects"), 2.75, 1e-12);
}

#[test]
fn who_is_seen_late_is_at_risk_late() {
    // Deaths at 20 30 40 50 100, the first of somebody seen from 19 on: 4/5, 3/5, 2/5, 1/5, 0.
    let all = tallies([(20, true), (30, true), (40, true), (50, true), (100, true)]);
    let curve = Curve::fit_late(&all, &[(19, 1)]);
    let found: Vec<f64> = curve.steps.iter().map(|s| s.survival).collect();
    for (found, expected) in found.iter().zip([0.8, 0.6, 0.4, 0.2, 0.0]) {
        close(*found, expected, 1e-12);
    }
    assert_eq!((curve.subjects(), curve.steps[0].at_risk), (5, 5));
    // One of two from the start dies at 10; two more are seen from 10 and 15 on, so that three are
    // at risk at 20, where one dies, and two at 30: 1/2, 1/2 · 2/3, 1/2 · 2/3 · 1/2.
    let all = tallies([(10, true), (20, true), (30, true), (30, false)]);
    let curve = Curve::fit_late(&all, &[(10, 1), (15, 1)]);
    assert_eq!(curve.steps.iter().map(|s| s.at_risk).collect::<Vec<_>>(), [2, 3, 2]);
    for (step, expected) in curve.steps.iter().zip([1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0]) {
        close(step.survival, expected, 1e-12);
    }
}

#[test]
fn nothing_followed_has_no_curve() {
    let curve = Curve::fit(&[Tally { duration: 3, observed: 0, censored: 0 }]);
    assert_eq!((curve.subjects(), curve.horizon()), (0, None));
    assert_eq!(curve.quantile(0.5, QuantileRule::First), None);
    assert_eq!(curve.restricted_mean(10), None);
}
