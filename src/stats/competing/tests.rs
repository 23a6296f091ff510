//! Printed incidences and variances, each from outside this project.

use super::*;
use crate::stats::Z_95;
use crate::stats::testdata::close;

/// Tallies of single subjects: duration and ending, 0 for none.
fn tallies(subjects: &[(i64, usize)]) -> Vec<Tally> {
    let mut counted = std::collections::BTreeMap::<i64, [i64; 3]>::new();
    for (duration, ending) in subjects {
        counted.entry(*duration).or_default()[*ending] += 1;
    }
    let tally = |(duration, [censored, first, second]): (i64, [i64; 3])| Tally {
        duration,
        ended: [first, second],
        censored,
    };
    counted.into_iter().map(tally).collect()
}

/// The second ending's incidence, variance and limits as SAS and lifelines print them.
#[test]
fn incidence_variance_and_limits_are_the_printed_ones() {
    let subjects = [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 0)];
    let curve = Incidence::fit(&tallies(&subjects));
    let of = |pick: &dyn Fn(&Step) -> f64| curve.steps.iter().map(pick).collect::<Vec<_>>();
    for (got, expected) in of(&|s| s.incidence[1]).iter().zip([0.0, 0.0, 0.0, 0.2, 0.4, 0.4]) {
        close(*got, expected, 1e-12);
    }
    for (got, expected) in of(&|s| s.variance[1]).iter().zip([0.0, 0.0, 0.0, 0.032, 0.048, 0.048]) {
        close(*got, expected, 1e-12);
    }
    let limits = |place: usize| curve.steps[place].limits(Cause::Second, Z_95).unwrap();
    close(limits(3).0, 0.008_369_04, 1e-6);
    close(limits(3).1, 0.581_853_03, 1e-6);
    close(limits(4).0, 0.051_975_75, 1e-6);
    close(limits(4).1, 0.752_815_79, 1e-6);
    assert_eq!(curve.steps[2].limits(Cause::Second, Z_95), None);
}

#[test]
fn endings_at_one_duration_are_tied_exactly() {
    let subjects = [(1, 0), (2, 1), (2, 2), (4, 1), (5, 2), (6, 0)];
    let curve = Incidence::fit(&tallies(&subjects));
    let expected = [
        (1, 0.0, 0.0, 1.0),
        (2, 0.2, 0.2, 0.6),
        (4, 0.4, 0.2, 0.4),
        (5, 0.4, 0.4, 0.2),
        (6, 0.4, 0.4, 0.2),
    ];
    for (step, (duration, first, second, survival)) in curve.steps.iter().zip(expected) {
        assert_eq!(step.duration, duration);
        close(step.incidence[0], first, 1e-12);
        close(step.incidence[1], second, 1e-12);
        close(step.survival, survival, 1e-12);
    }
    assert_eq!(curve.quantile(Cause::First, 0.4), Some(4));
    assert_eq!(curve.quantile(Cause::First, 0.5), None);
    assert_eq!(curve.conditional_quantile(Cause::First, 0.5), Some(2));
}

/// Eight deals worked out by hand, first close at most 20 days after creation.
#[test]
fn hand_worked_deals_and_the_naive_share() {
    let first_close = [(9, 1), (4, 1), (10, 2), (20, 0), (7, 2), (3, 1), (20, 0), (0, 1)];
    let curve = Incidence::fit(&tallies(&first_close));
    let At::Step(at_nine) = curve.at(9) else { panic!("nine days were followed") };
    close(at_nine.incidence[0], 0.5, 1e-15);
    close(at_nine.incidence[1], 0.125, 1e-15);
    close(at_nine.naive[0], 0.531_25, 1e-15);
    let At::Step(later) = curve.at(12) else { panic!("twelve days were followed") };
    close(later.incidence[1], 0.25, 1e-15);
    close(later.survival, 0.25, 1e-15);
    assert_eq!(curve.at(21), At::Unknown);
}

#[test]
fn shares_add_up_to_one_at_every_step() {
    let subjects: Vec<(i64, usize)> =
        (0..997_i64).map(|i| ((i * 7919) % 211, ((i * 104_729) % 3) as usize)).collect();
    let curve = Incidence::fit(&tallies(&subjects));
    assert_eq!(curve.subjects(), 997);
    for step in &curve.steps {
        close(step.incidence[0] + step.incidence[1] + step.survival, 1.0, 1e-12);
        assert!(step.naive[0] >= step.incidence[0] - 1e-12, "{step:?}");
        assert!(step.variance.iter().all(|v| (0.0..0.25).contains(v)), "{step:?}");
    }
}

/// Without censoring an incidence is a share, and its variance that of a binomial share.
#[test]
fn without_censoring_it_is_the_share_and_the_binomial_variance() {
    let subjects: Vec<(i64, usize)> = (0..40_i64).map(|i| (i, 1 + (i % 4 == 0) as usize)).collect();
    let curve = Incidence::fit(&tallies(&subjects));
    for step in &curve.steps {
        let seen = subjects.iter().filter(|(d, ending)| *d <= step.duration && *ending == 1);
        let share = seen.count() as f64 / 40.0;
        assert_eq!(step.incidence[0].to_bits(), share.to_bits());
        close(step.variance[0], share * (1.0 - share) / 40.0, 1e-12);
    }
    assert!(matches!(curve.at(1_000), At::Step(_)));
}

#[test]
fn limits_of_a_quantile_are_those_of_the_incidence_turned() {
    // A hundred have the ending, one a day: at 40 F = .4 with limits .304 and .494, at 41 .313 and
    // .504, at 60 .497 and .688, at 61 .507 and .697 (log-log, binomial variance).
    let all: Vec<(i64, usize)> = (1..=100).map(|day| (day, 1)).collect();
    let curve = Incidence::fit(&tallies(&all));
    assert_eq!(curve.quantile_limits(Cause::First, 0.5, Z_95), (Some(41), Some(61)));
    assert_eq!(curve.quantile_limits(Cause::Second, 0.5, Z_95), (None, None));
}

#[test]
fn who_is_seen_late_is_at_risk_late() {
    // Of two from the start one has the first ending at 10. Two are seen from 10 and 15 on; of three
    // at 20 one has the second ending, of two at 30 one the first.
    let all = tallies(&[(10, 1), (20, 2), (30, 1), (30, 0)]);
    let curve = Incidence::fit_late(&all, &[(10, 1), (15, 1)]);
    let expected = [(1.0 / 2.0, 0.0), (1.0 / 2.0, 1.0 / 6.0), (1.0 / 2.0 + 1.0 / 6.0, 1.0 / 6.0)];
    for (step, (first, second)) in curve.steps.iter().zip(expected) {
        close(step.incidence[0], first, 1e-12);
        close(step.incidence[1], second, 1e-12);
        close(step.survival, 1.0 - first - second, 1e-12);
    }
    assert_eq!(curve.subjects(), 4);
}

#[test]
fn nobody_gives_no_steps() {
    let curve = Incidence::fit(&[Tally { duration: 3, ended: [0, 0], censored: 0 }]);
    assert_eq!((curve.steps.len(), curve.subjects(), curve.at(3)), (0, 0, At::Unknown));
    assert_eq!(curve.conditional_quantile(Cause::First, 0.5), None);
}
