//! Printed statistics, each from outside this project.

use std::collections::BTreeMap;

use super::*;
use crate::stats::testdata::{close, csv, shared};

/// One subject: duration and ending, 0 for none.
type Subject = (i64, usize);

/// Groups on their common grid.
fn grid(groups: &[Vec<Subject>]) -> Vec<Vec<Counts>> {
    let mut places = BTreeMap::<i64, Vec<Counts>>::new();
    for (group, subjects) in groups.iter().enumerate() {
        for (duration, ending) in subjects {
            let here =
                places.entry(*duration).or_insert_with(|| vec![Counts::default(); groups.len()]);
            match ending {
                0 => here[group].censored += 1,
                cause => here[group].ended[cause - 1] += 1,
            }
        }
    }
    (0..groups.len()).map(|group| places.values().map(|here| here[group]).collect()).collect()
}

fn log_rank_of(groups: &[Vec<Subject>], event: Event) -> Test {
    let grid = grid(groups);
    log_rank(&grid.iter().map(Vec::as_slice).collect::<Vec<_>>(), event)
}

fn gray_of(groups: &[Vec<Subject>], cause: Cause) -> Test {
    let grid = grid(groups);
    gray(&grid.iter().map(Vec::as_slice).collect::<Vec<_>>(), cause)
}

#[track_caller]
fn check(test: &Test, chi_squared: f64, degrees: i64, p: f64, tolerance: f64) {
    close(test.chi_squared.expect("a statistic"), chi_squared, tolerance);
    assert_eq!(test.degrees, degrees);
    close(test.p_value().expect("a p-value") / p, 1.0, tolerance.max(1e-4));
    let rest: f64 = test.observed.iter().zip(&test.expected).map(|(o, e)| float(*o) - e).sum();
    close(rest, 0.0, 1e-9);
}

#[test]
fn lung_log_rank_by_sex_is_the_printed_one() {
    let Some(text) = shared("survival/lung.csv") else { return };
    let rows = csv(&text);
    let sex = |sex: &str| -> Vec<Subject> {
        let own = rows.iter().filter(|row| row[4] == sex);
        own.map(|row| (row[1].parse().expect("days"), row[2].parse().expect("0 or 1"))).collect()
    };
    let test = log_rank_of(&[sex("1"), sex("2")], Event::Any);
    check(&test, 10.3267, 1, 0.001_311_2, 1e-5);
    // print(survdiff(Surv(time, status) ~ sex, lung)) in R: expected 91.6 and 73.4.
    close(test.expected[0], 91.6, 1e-3);
    close(test.expected[1], 73.4, 1e-3);
}

#[test]
fn six_mercaptopurine_log_rank_is_the_printed_one() {
    let Some(text) = shared("survival/gehan.dat") else { return };
    let group = |wanted: &str| -> Vec<Subject> {
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = rows.filter(|row| row.len() == 3 && row[0] == wanted);
        own.map(|row| (row[1].parse().expect("weeks"), row[2].parse().expect("0 or 1"))).collect()
    };
    let test = log_rank_of(&[group("1"), group("2")], Event::Any);
    check(&test, 16.793, 1, 4.17e-5, 1e-3);
    // Kalbfleisch and Prentice 1980: 21 where 10.75 are expected, 9 where 19.25 are.
    assert_eq!(test.observed, [21, 9]);
    close(test.expected[0], 10.75, 1e-3);
    let (ratio, low, high) = test.hazard_ratio().expect("events in both");
    // By hand: (21/10.749)/(9/19.251) = 4.179; standard error √(1/10.749 + 1/19.251) = 0.3808.
    close(ratio, 4.179, 1e-3);
    close(low, 1.981, 1e-3);
    close(high, 8.815, 1e-3);
}

#[test]
fn tiny_ties_are_as_r_has_them() {
    let group = |rows: &[Subject]| rows.to_vec();
    let all = [group(&[(10, 1), (20, 1), (30, 1)]), group(&[(10, 1), (20, 1), (50, 1)])];
    check(&log_rank_of(&all, Event::Any), 0.254_237, 1, 0.614_107, 1e-5);
    let some = [group(&[(10, 1), (20, 0), (30, 1)]), group(&[(10, 1), (20, 0), (50, 1)])];
    check(&log_rank_of(&some, Event::Any), 0.384_615, 1, 0.535_143, 1e-5);
}

#[test]
fn a_group_without_subjects_changes_nothing() {
    let some = vec![(10, 1), (20, 0), (30, 1)];
    let others = vec![(10, 2), (20, 1), (50, 2)];
    let two = [some.clone(), others.clone()];
    let three = [some, Vec::new(), others];
    assert_eq!(log_rank_of(&three, Event::Any).degrees, 1);
    let (of_two, of_three) = (gray_of(&two, Cause::First), gray_of(&three, Cause::First));
    close(of_two.chi_squared.expect("two"), of_three.chi_squared.expect("two of three"), 1e-12);
    assert_eq!((of_two.degrees, of_three.degrees), (1, 1));
}

#[test]
fn without_another_ending_grays_test_is_nearly_the_log_rank_test() {
    // The risk sets are then the same, and so are the scores; only the variances differ.
    let group = |step: i64| (1..60).map(|i| ((i * step) % 97, usize::from(i % 3 != 0))).collect();
    let groups: [Vec<Subject>; 2] = [group(7), group(11)];
    let (rank, gray) = (log_rank_of(&groups, Event::Any), gray_of(&groups, Cause::First));
    close(gray.expected[0], rank.expected[0], 1e-12);
    let (rank, gray) = (rank.chi_squared.expect("events"), gray.chi_squared.expect("events"));
    assert!((gray / rank - 1.0).abs() < 0.1, "{gray} {rank}");
}

#[test]
fn who_is_seen_late_is_expected_late() {
    // Own: events at 10 and 30, the second seen from 10 on. Others: events at 20 and 30.
    // At 10 one of three, at 20 one of three, at 30 two of two: expected 1/3 + 1/3 + 1 = 5/3.
    let here = |first, entered| Counts { ended: [first, 0], censored: 0, entered };
    let own = [here(1, 1), here(0, 0), here(1, 0)];
    let others = [here(0, 0), here(1, 0), here(1, 0)];
    let rank = log_rank(&[&own, &others], Event::Any);
    close(rank.expected[0], 5.0 / 3.0, 1e-12);
    // Variances 2/9 and 2/9; at 30 nothing varies.
    close(rank.chi_squared.expect("events"), (1.0_f64 / 3.0).powi(2) / (4.0 / 9.0), 1e-12);
}

#[test]
fn nothing_that_varies_is_no_test() {
    let alone = log_rank_of(&[vec![(3, 1), (4, 0)]], Event::Any);
    assert_eq!((alone.chi_squared, alone.p_value(), alone.degrees), (None, None, 0));
    let censored = [vec![(3, 0)], vec![(4, 0)]];
    assert_eq!(log_rank_of(&censored, Event::Any).chi_squared, None);
    assert_eq!(gray_of(&censored, Cause::Second).chi_squared, None);
    assert_eq!(log_rank(&[], Event::Any).degrees, 0);
}

impl Patients {
    fn subjects(&self) -> Vec<Subject> {
        let of = |times: &'static [i64], ending| times.iter().map(move |time| (*time, ending));
        of(self.relapsed, 1).chain(of(self.died, 2)).chain(of(self.censored, 0)).collect()
    }
}

/// cuminc(ftime, Status, D) of R's cmprsk: 2.8623325 with p 0.09067592 for the first ending,
/// 0.4481279 with p 0.50322531 for the second.
#[test]
fn printed_grays_tests_of_transplants_are_reproduced() {
    let groups = [ALL.subjects(), AML.subjects()];
    check(&gray_of(&groups, Cause::First), 2.862_332_5, 1, 0.090_675_92, 1e-7);
    check(&gray_of(&groups, Cause::Second), 0.448_127_9, 1, 0.503_225_31, 1e-7);
    let turned = [AML.subjects(), ALL.subjects()];
    check(&gray_of(&turned, Cause::First), 2.862_332_5, 1, 0.090_675_92, 1e-7);
}

/// Patients after a stem-cell transplant, in hundredths of months until a relapse, a death in
/// remission, or the end of observation.
///
/// Source: Scrucca, Santucci and Aversa, 2010, Regression Modeling of Competing Risk Using R.
struct Patients {
    relapsed: &'static [i64],
    died: &'static [i64],
    censored: &'static [i64],
}

const ALL: Patients = Patients {
    relapsed: &[
        200, 357, 613, 537, 287, 307, 170, 180, 167, 753, 253, 423, 1307, 757, 240, 123, 863, 110,
        2083, 407, 793, 1723, 363, 943, 187, 763, 223, 1030,
    ],
    died: &[
        67, 2403, 147, 223, 1053, 170, 40, 87, 750, 280, 363, 603, 800, 600, 747, 143, 817, 110,
        330, 543, 417, 37, 27, 343, 1217, 660, 323, 270,
    ],
    censored: &[
        13177, 12483, 12390, 12110, 11223, 8260, 7293, 7183, 5660, 4530, 4367, 3550, 2920, 2477,
        1990, 1683, 1613,
    ],
};

const AML: Patients = Patients {
    relapsed: &[
        950, 3500, 570, 420, 620, 2853, 303, 587, 913, 607, 160, 563, 1257, 663, 187, 130, 600,
        4217, 1227, 473, 203, 500, 560, 120, 700, 253, 230, 763,
    ],
    died: &[
        633, 230, 527, 630, 1090, 763, 2093, 283, 963, 317, 997, 917, 873, 480, 357, 347, 100, 610,
        197, 360, 440, 1380, 920, 670, 1180, 123, 390, 457, 440, 370, 340, 860, 200, 880, 720, 900,
        13, 393, 523, 350, 280, 147, 87, 720, 357, 457, 177,
    ],
    censored: &[
        11470, 11410, 11293, 11037, 10613, 8510, 8167, 7700, 7603, 6780, 7020, 6883, 5917, 5823,
        5800, 4927, 4320, 4250, 4130, 3550, 3263, 2990, 2870, 2613, 1660, 1517, 1450, 1020, 997,
    ],
};
