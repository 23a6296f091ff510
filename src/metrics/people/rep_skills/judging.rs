//! One skill of everybody: values beside what is expected, shrunk, and tested.

use std::collections::BTreeMap;

use super::skills::{Cases, Skill, Stratum as Key};
use crate::stats::distributions::normal_two_sided;
use crate::stats::shrinkage::{self, Mean, Shrunk, precision, shrunk_means, shrunk_share};
use crate::stats::standardisation::{Standardised, Stratum};
use crate::stats::{Z_95, float, ratio};

/// What is known of one person's skill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// The person's place among the slice's values.
    pub(super) place: usize,
    has_name: bool,
    is_enough: bool,
    pub(super) cases_n: i64,
    pub(super) successes_n: Option<i64>,
    pub(super) peer_cases_n: i64,
    pub(super) value: Option<f64>,
    pub(super) peer_value: Option<f64>,
    pub(super) expected: Option<f64>,
    /// The ratio and its limits.
    pub(super) ratio: Option<(f64, Option<(f64, f64)>)>,
    pub(super) shrunk: Option<Shrunk>,
    pub(super) p_value: Option<f64>,
}

impl Judged {
    /// What the person is ranked by, greater being better.
    pub(super) fn rankable(&self, skill: &Skill<'_>) -> Option<f64> {
        let shrunk = self.shrunk.filter(|_| self.has_name && self.is_enough)?;
        Some(if skill.kind.is_higher_better() { shrunk.value } else { -shrunk.value })
    }

    /// What a difference means.
    pub(super) fn verdict(&self, skill: &Skill<'_>) -> Option<&'static str> {
        let (ratio, _) = self.ratio?;
        let is_better = (ratio > 1.0) == skill.kind.is_higher_better();
        Some(if is_better { "strength" } else { "weakness" })
    }

    /// Why there is no verdict.
    pub(super) fn reason(&self) -> &'static str {
        match (self.has_name, self.is_enough, self.p_value) {
            (false, _, _) => "no_name",
            (true, false, _) => "low_n",
            (true, true, None) => "no_peers",
            (true, true, Some(_)) => "not_significant",
        }
    }
}

/// Judges everybody who has cases.
pub(super) fn judge(skill: &Skill<'_>, has_name: &[bool], floor: i64) -> Vec<Judged> {
    let is_named = |place: usize| has_name.get(place).copied().unwrap_or(false);
    let mut shares = Vec::new();
    let mut means = Vec::new();
    for (place, cases) in &skill.people {
        let base = (*place, is_named(*place));
        match cases {
            Cases::Shares(own) => shares.push((base, own)),
            Cases::Logarithms { n, sum, squares } => means.push((base, (*n, *sum, *squares))),
        }
    }
    let mut all = judge_shares(&shares, floor);
    all.extend(judge_means(&means, floor));
    all
}

/// A person's place, and whether it is anybody.
type Person = (usize, bool);

fn judge_shares(people: &[(Person, &BTreeMap<Key, (i64, i64)>)], floor: i64) -> Vec<Judged> {
    let mut everybody: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for (key, (trials, successes)) in people.iter().flat_map(|(_, own)| own.iter()) {
        let all = everybody.entry(*key).or_default();
        all.0 += trials;
        all.1 += successes;
    }
    let (all_trials, all_successes) =
        everybody.values().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    let standardised: Vec<Standardised> = people
        .iter()
        .map(|(_, own)| {
            Standardised::of(own.iter().map(|(key, (trials, successes))| {
                let all = everybody.get(key).copied().unwrap_or_default();
                let (trials, successes) = (*trials, *successes);
                Stratum { trials, successes, all_trials: all.0, all_successes: all.1 }
            }))
        })
        .collect();
    let cases = |own: &Standardised| shrinkage::Cases {
        trials: own.trials,
        successes: own.observed,
        expected: own.expected / float(own.trials),
    };
    let precision = precision(&standardised.iter().map(cases).collect::<Vec<_>>());
    let judge = |(((place, has_name), _), own): (&(Person, _), &Standardised)| {
        let peers = (all_successes, all_trials);
        let peer_cases_n = all_trials - own.trials;
        let is_enough = own.trials >= floor.max(1);
        let is_tested = *has_name && is_enough && peer_cases_n >= floor.max(1);
        Judged {
            place: *place,
            has_name: *has_name,
            is_enough,
            cases_n: own.trials,
            successes_n: Some(own.observed),
            peer_cases_n,
            value: ratio(own.observed, own.trials),
            peer_value: super::super::others_share(peers, (own.observed, own.trials)),
            expected: Some(cases(own).expected),
            ratio: own.ratio().map(|ratio| (ratio, own.ratio_limits())),
            shrunk: Some(shrunk_share(&cases(own), precision)),
            p_value: own.p_value().filter(|_| is_tested),
        }
    };
    people.iter().zip(&standardised).map(judge).collect()
}

/// Number, mean and summed squares around the mean of logarithms.
fn moments((n, sum, squares): (i64, i64, i64)) -> (i64, f64, f64) {
    // In whole numbers, since squares of large amounts differ by little.
    let around = i128::from(squares) * i128::from(n) - i128::from(sum) * i128::from(sum);
    let around = (around.max(0) as f64) / float(n) / 1e6;
    (n, float(sum) / float(n) / 1000.0, around)
}

fn judge_means(people: &[(Person, (i64, i64, i64))], floor: i64) -> Vec<Judged> {
    let own: Vec<(i64, f64, f64)> = people.iter().map(|(_, sums)| moments(*sums)).collect();
    let all = people
        .iter()
        .fold((0, 0, 0), |all, (_, own)| (all.0 + own.0, all.1 + own.1, all.2 + own.2));
    let within: f64 = own.iter().map(|(_, _, around)| around).sum();
    let freedom = all.0 - people.len() as i64;
    // The variance of one logarithm among those of one person.
    let variance = (freedom > 0).then(|| within / float(freedom)).filter(|v| *v > 0.0);
    let mean = |(n, mean, _): &(i64, f64, f64)| {
        variance.map(|v| Mean { mean: *mean, variance: v / float(*n) })
    };
    let means: Option<Vec<Mean>> = own.iter().map(mean).collect();
    let shrunk = means.map_or_else(Vec::new, |means| shrunk_means(&means));
    let mut judged = Vec::with_capacity(people.len());
    for (at, (((place, has_name), sums), (n, mean, _))) in people.iter().zip(&own).enumerate() {
        let (own_n, own_sum, _) = sums;
        let others = all.0 - own_n;
        let peer = (others > 0).then(|| float(all.1 - own_sum) / float(others) / 1000.0);
        let error = |v: f64| (v / float(*n) + v / float(others)).sqrt();
        let error = variance.filter(|_| others > 0).map(error);
        let is_enough = *n >= floor.max(1);
        let is_tested = *has_name && is_enough && others >= floor.max(1);
        let difference = peer.map(|peer| mean - peer);
        let limits =
            difference.zip(error).map(|(d, e)| ((d - Z_95 * e).exp(), (d + Z_95 * e).exp()));
        let in_units = |shrunk: &Shrunk| Shrunk {
            value: shrunk.value.exp(),
            limits: shrunk.limits.map(|(low, high)| (low.exp(), high.exp())),
        };
        let p_value = difference.zip(error).map(|(d, e)| normal_two_sided(d / e));
        judged.push(Judged {
            place: *place,
            has_name: *has_name,
            is_enough,
            cases_n: *n,
            successes_n: None,
            peer_cases_n: others,
            value: Some(mean.exp()),
            peer_value: peer.map(f64::exp),
            expected: None,
            ratio: difference.map(|d| (d.exp(), limits)),
            shrunk: shrunk.get(at).map(in_units),
            p_value: p_value.filter(|_| is_tested),
        });
    }
    judged
}
