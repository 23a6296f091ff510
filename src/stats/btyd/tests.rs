use super::testing::{cdnow, histories, spending};
use super::*;
use crate::stats::testdata::{close, csv, shared};

const BG: [f64; 4] = [0.242595, 4.413602, 0.792922, 2.425907];
const BG_PRINTED: [f64; 4] = [0.243, 4.414, 0.793, 2.426];
const PARETO: [f64; 4] = [0.553277, 10.577684, 0.606240, 11.668733];
const MBG: [f64; 4] = [0.524843, 6.183086, 0.891359, 1.614002];

fn history(repeats: f64, recency: f64, age: f64) -> History {
    History { repeats, recency, age, customers: 1.0 }
}

/// Fails unless two numbers differ by no more than that.
#[track_caller]
fn within(actual: f64, expected: f64, tolerance: f64) {
    let off = (actual - expected).abs();
    assert!(off <= tolerance, "{actual} where {expected} ± {tolerance} is expected");
}

#[track_caller]
fn check_fit(model: Model, parameters: [f64; 4], log_likelihood: f64) {
    let Some(customers) = cdnow() else { return };
    let fit = model.fit(&histories(&customers)).expect("customers");
    assert_eq!(fit.ending, Ending::Converged, "{fit:?}");
    assert!(fit.is_hessian_pd);
    for (actual, expected) in fit.parameters.into_iter().zip(parameters) {
        close(actual / expected, 1.0, 2e-5);
    }
    within(fit.log_likelihood, log_likelihood, 5e-4);
}

#[test]
fn cdnow_bg_nbd_is_reproduced() {
    check_fit(Model::BgNbd, BG, -9582.4292);
}

#[test]
fn cdnow_mbg_nbd_is_reproduced() {
    check_fit(Model::MbgNbd, MBG, -9582.1357);
}

#[test]
fn cdnow_pareto_nbd_is_reproduced_with_its_standard_errors() {
    check_fit(Model::ParetoNbd, PARETO, -9594.9762);
    let Some(customers) = cdnow() else { return };
    let fit = Model::ParetoNbd.fit(&histories(&customers)).expect("customers");
    let errors = fit.standard_errors.expect("positive definite");
    let printed = [0.047_626_4, 0.842_722_2, 0.187_259_4, 6.210_544_8];
    for (actual, expected) in errors.into_iter().zip(printed) {
        close(actual / expected, 1.0, 1e-3);
    }
}

#[test]
fn cdnow_gamma_gamma_is_reproduced() {
    let Some(customers) = cdnow() else { return };
    let fit = GammaGamma::fit(&spending(&customers)).expect("customers");
    assert_eq!(fit.ending, Ending::Converged, "{fit:?}");
    within(fit.log_likelihood, -4055.9177, 5e-4);
    for (actual, expected) in fit.parameters.into_iter().zip([6.249_572, 3.744_225, 15.443_523]) {
        close(actual / expected, 1.0, 2e-5);
    }
    let model = GammaGamma::with(fit.parameters);
    within(model.population_mean().expect("q above 1"), 35.17, 5e-3);
    let printed = [24.65, 18.91, 35.17, 35.17, 35.17, 71.46, 18.91, 35.17, 27.28, 35.17];
    for (customer, expected) in customers.iter().zip(printed) {
        let spend = model.expected(customer.history.repeats, customer.mean);
        // Printed from parameters of two decimals.
        within(spend.expect("a mean"), expected, 1.5e-2);
    }
}

#[test]
fn fits_of_the_rounded_summary_are_reproduced() {
    let Some(text) = shared("cdnow/cdnow_customers_summary.csv") else { return };
    let row = |fields: Vec<&str>| {
        let number = |at: usize| fields[at].parse::<f64>().expect("a number");
        history(number(1), number(2), number(3))
    };
    let sample = Sample::new(csv(&text).into_iter().map(row).collect());
    for (model, expected) in [(Model::BgNbd, -9582.4256), (Model::ParetoNbd, -9594.9739)] {
        within(model.fit(&sample).expect("customers").log_likelihood, expected, 1e-2);
    }
}

#[test]
fn bg_nbd_expects_what_is_printed_of_new_customers() {
    let times = [0.1429, 1.0, 3.0, 31.8571, 32.0, 52.0, 78.0];
    let fitted = [0.007816, 0.053184, 0.150631, 1.040489, 1.043732, 1.444012, 1.857958];
    let printed = [0.007828, 0.053268, 0.150865, 1.041996, 1.045243, 1.446051, 1.860519];
    for (parameters, all) in [(BG, fitted), (BG_PRINTED, printed)] {
        for (time, expected) in times.into_iter().zip(all) {
            within(Model::BgNbd.with(parameters).expected_new(time), expected, 2e-6);
        }
    }
}

#[test]
fn bg_nbd_expects_what_is_printed_of_known_customers() {
    let model = Model::BgNbd.with(BG_PRINTED);
    within(model.expected(&history(2.0, 30.43, 38.86), 39.0), 1.226_028, 1e-6);
    within(model.expected(&history(10.0, 35.0, 39.0), 2.0), 0.391_569, 1e-6);
    for (x, t_x, age, alive) in
        [(23.0, 39.0, 39.0, 0.968_555), (5.0, 30.0, 39.0, 0.705_627), (20.0, 30.0, 39.0, 0.196_820)]
    {
        within(model.alive(x, t_x, age), alive, 1e-6);
    }
}

#[test]
fn bg_nbd_counts_are_as_likely_as_printed() {
    let model = BgNbd { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };
    close(model.probability(10, 2.0) / 1.078_689_6e-7, 1.0, 1e-7);
    within(model.probability(0, 39.0), 0.573_786_4, 1e-7);
    close(model.probability(11, 30.0) / 0.001_999_521_4, 1.0, 1e-7);
    close(model.probability(20, 30.0) / 0.000_222_226_0, 1.0, 1e-6);
    let all: f64 = (0..400).map(|n| model.probability(n, 39.0)).sum();
    close(all, 1.0, 1e-9);
}

#[test]
fn pareto_nbd_expects_what_is_printed() {
    let model = Model::ParetoNbd.with(PARETO);
    within(model.alive(26.0, 30.857_142_857, 31.0), 0.997_874, 1e-6);
    within(model.alive(0.0, 0.0, 39.0), 0.294_2, 1e-4);
    close(model.alive(3.0, 39.0, 39.0), 1.0, 1e-15);
    within(model.expected(&history(26.0, 30.857_142_857, 31.0), 52.0), 25.456, 1e-3);
    within(model.expected_new(52.0), 1.473_434, 1e-5);
    let model = Model::ParetoNbd.with([0.55, 10.56, 0.61, 11.64]);
    let printed =
        [0.0, 0.05078, 0.09916, 0.14543, 0.18980, 0.23247, 0.27361, 0.31335, 0.35181, 0.38909];
    for (time, expected) in (0..10).zip(printed) {
        within(model.expected_new(f64::from(time)), expected, 5.1e-6);
    }
}

#[test]
fn pareto_nbd_discounts_what_is_printed() {
    let model =
        ParetoNbd { r: 0.562_996_6, alpha: 12.559_037_0, s: 0.408_109_5, beta: 10.514_804_8 };
    let dert = |x: f64, t_x: f64| {
        model.alive(x, t_x, 77.86) * model.discounted_if_alive(x, 77.86, 0.0027).expect("a rate")
    };
    within(dert(7.0, 35.0), 1.864_183, 5e-4);
    let printed =
        [2.19916, 2.84353, 2.86713, 2.44541, 1.84050, 1.26242, 0.80962, 0.49480, 0.29202, 0.16793];
    for (x, expected) in (1..=10).zip(printed) {
        within(dert(f64::from(x), 30.0), expected, 5e-4);
    }
}

#[test]
fn gamma_gamma_draws_means_towards_the_population() {
    // 6 (16 + 3·35) / (6·3 + 4 − 1) = 726/21.
    let spend = GammaGamma { p: 6.0, q: 4.0, gamma: 16.0 }.expected(3.0, 35.0);
    within(spend.expect("a mean"), 34.571_429, 1e-6);
    assert_eq!(GammaGamma { p: 6.0, q: 0.9, gamma: 16.0 }.population_mean(), None);
}

#[test]
fn the_hold_out_of_cdnow_is_expected_as_printed() {
    let Some(customers) = cdnow() else { return };
    for (model, total, bins) in [
        (Model::BgNbd.with(BG), 1653.409, [0.225, 0.523, 1.044, 1.520, 2.164, 2.654, 3.504, 6.157]),
        (
            Model::ParetoNbd.with(PARETO),
            1665.513,
            [0.138, 0.600, 1.196, 1.714, 2.399, 2.907, 3.819, 6.403],
        ),
    ] {
        let mut sums = [(0.0, 0.0, 0.0); 8];
        for customer in &customers {
            let sum = &mut sums[(customer.history.repeats as usize).min(7)];
            *sum = (
                sum.0 + 1.0,
                sum.1 + model.expected(&customer.history, 39.0),
                sum.2 + customer.held_out,
            );
        }
        let actual = [0.237, 0.697, 1.393, 1.560, 2.532, 2.947, 3.862, 6.359];
        let numbers = [1411.0, 439.0, 214.0, 100.0, 62.0, 38.0, 29.0, 64.0];
        for (((n, expected, seen), bin), (held_out, number)) in
            sums.into_iter().zip(bins).zip(actual.into_iter().zip(numbers))
        {
            close(n, number, 0.0);
            within(expected / n, bin, 1.1e-3);
            within(seen / n, held_out, 5.1e-4);
        }
        within(sums.iter().map(|s| s.1).sum(), total, 0.1);
        close(sums.iter().map(|s| s.2).sum(), 1882.0, 0.0);
    }
}

#[test]
fn each_customer_is_expected_as_another_program_does() {
    let Some(text) = shared("cdnow/answers/sample_customer_predictions.csv") else { return };
    // Fitted there from times of two decimals.
    let model = Model::BgNbd.with([
        0.242_592_903_768,
        4.413_531_496_612,
        0.792_886_205_708,
        2.425_753_479_061,
    ]);
    let rows = csv(&text);
    assert_eq!(rows.len(), 2357);
    for fields in rows {
        let number = |at: usize| fields[at].parse::<f64>().expect("a number");
        let own = history(number(1), number(2), number(3));
        within(model.alive(own.repeats, own.recency, own.age), number(5), 1e-6);
        within(model.expected(&own, 39.0), number(6), 1e-5);
    }
}

#[test]
fn many_purchases_stay_finite() {
    // From the tests of CLVTools: histories with hundreds of purchases.
    let model = Model::ParetoNbd.with([0.5143, 2.8845, 0.2856, 14.1087]);
    for (x, t_x, age) in [
        (221.0, 103.428_57, 103.571_43),
        (254.0, 97.142_86, 97.285_71),
        (161.0, 94.714_29, 98.0),
        (204.0, 98.571_43, 99.428_57),
    ] {
        let own = history(x, t_x, age);
        let log_likelihood = model.log_likelihood(&Sample::new(vec![own]));
        assert!(log_likelihood.is_finite());
        assert!((0.0..=1.0).contains(&model.alive(x, t_x, age)));
        assert!(model.expected(&own, 52.0).is_finite());
    }
    // From the tests of lifetimes.
    within(Model::BgNbd.with(BG).alive(1000.0, 10.0, 100.0), 0.0, 1e-12);
}

/// The integral of S over (t_x, T] by the trapezoidal rule on a fine grid.
fn stopped(model: &ParetoNbd, x: f64, t_x: f64, age: f64) -> f64 {
    const STEPS: u32 = 200_000;
    let ParetoNbd { r, alpha, s, beta } = *model;
    let at = |i: u32| {
        let y = t_x + (age - t_x) * f64::from(i) / f64::from(STEPS);
        s * (alpha + y).powf(-(r + x)) * (beta + y).powf(-(s + 1.0))
    };
    let inner: f64 = (1..STEPS).map(at).sum();
    (inner + (at(0) + at(STEPS)) / 2.0) * (age - t_x) / f64::from(STEPS)
}

#[test]
fn both_branches_of_pareto_nbd_equal_the_integral_behind_them() {
    for (alpha, beta) in [(10.6, 11.7), (11.7, 10.6), (2.0, 80.0), (80.0, 2.0), (5.0, 5.0)] {
        let model = ParetoNbd { r: 0.55, alpha, s: 0.61, beta };
        for (x, t_x, age) in [(0.0, 0.0, 39.0), (3.0, 20.0, 30.0), (12.0, 5.0, 39.0)] {
            let alive = (alpha + age).powf(-(0.55 + x)) * (beta + age).powf(-0.61);
            let expected = alive / (alive + stopped(&model, x, t_x, age));
            close(model.alive(x, t_x, age), expected, 1e-7);
        }
    }
}

#[test]
fn coarse_groups_fit_like_exact_ones() {
    let Some(customers) = cdnow() else { return };
    let exact = histories(&customers);
    let coarse = exact.within(400);
    assert!(exact.groups().len() > 400, "there is something to put together");
    for model in Model::EVERY {
        let (fine, rough) = (model.fit(&exact).expect("fit"), model.fit(&coarse).expect("fit"));
        let errors = fine.standard_errors.expect("positive definite");
        for ((a, b), error) in fine.parameters.iter().zip(rough.parameters).zip(errors) {
            within(*a, b, 0.2 * error);
        }
    }
}

#[test]
fn customers_who_never_come_back_are_no_error() {
    let sample = Sample::new((1..50).map(|age| history(0.0, 0.0, f64::from(age))).collect());
    for model in Model::EVERY {
        let fit = model.fit(&sample).expect("customers");
        assert_ne!(fit.ending, Ending::Converged);
    }
    assert!(Model::BgNbd.fit(&Sample::new(Vec::new())).is_none());
}
