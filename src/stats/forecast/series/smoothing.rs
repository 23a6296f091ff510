//! Exponential smoothing of a series without seasons: errors that add or multiply, with a trend that
//! adds or none.
//!
//! The likelihood is that of the innovations state space models; parameters and first states are fitted
//! together by the simplex method, and the model of the least AICc is taken.
//!
//! Source: Hyndman, Koehler, Ord and Snyder, 2008, Forecasting with Exponential Smoothing; Nelder and
//! Mead, 1965, A Simplex Method for Function Minimization.

/// How errors come to the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Their size does not depend on the level.
    Additive,
    /// It is proportional to it; for series above zero.
    Multiplicative,
}

/// Whether there is a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// The level only.
    None,
    /// So much more in each step.
    Additive,
}

/// A fitted model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothed {
    /// How errors come to the level.
    pub error: Error,
    /// Whether there is a trend.
    pub trend: Trend,
    /// Up to a constant that all models share: `−½ (n ln Σe² + 2 Σ ln |mean|)`, the second term only
    /// for multiplicative errors.
    pub log_likelihood: f64,
    /// Parameters, first states and the error's variance.
    pub parameters_n: usize,
    /// The level after the last value.
    level: f64,
    /// The trend after it.
    slope: f64,
}

/// Fewer values than this are not smoothed.
const VALUES_MIN: usize = 8;
/// The least smoothing parameter, and the same of what is left to 1.
const SHARE_MIN: f64 = 1e-4;

/// Parameters and first states.
#[derive(Debug, Clone, Copy)]
struct Model {
    error: Error,
    trend: Trend,
    /// What errors are measured by.
    scale: f64,
}

/// What a pass over the series comes to.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// −2 × the log-likelihood.
    deviance: f64,
    level: f64,
    slope: f64,
}

impl Model {
    /// Runs over the series. `point` is: α as a logit, the first level, β/α as a logit, the first
    /// slope; levels and slopes in terms of the scale.
    fn run(&self, series: &[f64], point: &[f64]) -> Option<Pass> {
        let share = |logit: f64| SHARE_MIN + (1.0 - 2.0 * SHARE_MIN) / (1.0 + (-logit).exp());
        let (alpha, level) = (share(*point.first()?), point.get(1)? * self.scale);
        let (beta, slope) = match self.trend {
            Trend::None => (0.0, 0.0),
            Trend::Additive => (alpha * share(*point.get(2)?), point.get(3)? * self.scale),
        };
        let (mut level, mut slope) = (level, slope);
        let (mut squares, mut logs) = (0.0, 0.0);
        for value in series {
            let mean = level + slope;
            let off = value - mean;
            squares += match self.error {
                Error::Additive => off * off,
                Error::Multiplicative => (off / mean) * (off / mean),
            };
            logs += if self.error == Error::Multiplicative { mean.abs().ln() } else { 0.0 };
            if self.error == Error::Multiplicative && mean <= 0.0 {
                return None;
            }
            level = mean + alpha * off;
            slope += beta * off;
        }
        // A series without any error fits as well as can be told.
        let least = (self.scale * self.scale * 1e-24).max(f64::MIN_POSITIVE);
        let deviance = series.len() as f64 * squares.max(least).ln() + 2.0 * logs;
        deviance.is_finite().then_some(Pass { deviance, level, slope })
    }

    fn fit(&self, series: &[f64]) -> Option<Smoothed> {
        let (first, step) = line(series.get(..series.len().min(10))?);
        let mut start = vec![-0.5, first / self.scale];
        if self.trend == Trend::Additive {
            start.extend([-2.0, step / self.scale]);
        }
        let value = |point: &[f64]| self.run(series, point).map_or(f64::MAX, |pass| pass.deviance);
        // From two beginnings, each taken up again where it ended: a simplex can collapse too early.
        let mut best = start.clone();
        for logit in [-0.5, 2.5] {
            let mut point = start.clone();
            if let Some(alpha) = point.first_mut() {
                *alpha = logit;
            }
            for _ in 0..3 {
                point = simplex(&value, &point);
            }
            if value(&point) < value(&best) {
                best = point;
            }
        }
        let pass = self.run(series, &best)?;
        Some(Smoothed {
            error: self.error,
            trend: self.trend,
            log_likelihood: -0.5 * pass.deviance,
            parameters_n: best.len() + 1,
            level: pass.level,
            slope: pass.slope,
        })
    }
}

impl Smoothed {
    /// A model of this kind; nothing for a series that is too short, or not above zero where it has
    /// to be.
    #[must_use]
    pub fn fit(series: &[f64], error: Error, trend: Trend) -> Option<Self> {
        let is_positive = series.iter().all(|value| *value > 0.0);
        if series.len() < VALUES_MIN || error == Error::Multiplicative && !is_positive {
            return None;
        }
        let scale = series.iter().map(|v| v.abs()).sum::<f64>() / series.len() as f64;
        let scale = if scale > 0.0 { scale } else { 1.0 };
        Model { error, trend, scale }.fit(series)
    }

    /// The model of the least AICc among all that the series allows.
    #[must_use]
    pub fn best(series: &[f64]) -> Option<Self> {
        let kinds = [
            (Error::Additive, Trend::None),
            (Error::Additive, Trend::Additive),
            (Error::Multiplicative, Trend::None),
            (Error::Multiplicative, Trend::Additive),
        ];
        let fits = kinds.into_iter().filter_map(|(error, trend)| Self::fit(series, error, trend));
        let n = series.len() as f64;
        fits.min_by(|a, b| a.aicc(n).total_cmp(&b.aicc(n)))
    }

    /// Akaike's criterion.
    #[must_use]
    pub fn aic(&self) -> f64 {
        2.0 * self.parameters_n as f64 - 2.0 * self.log_likelihood
    }

    /// The same for small samples: of `n` values.
    fn aicc(&self, n: f64) -> f64 {
        let k = self.parameters_n as f64;
        self.aic() + 2.0 * k * (k + 1.0) / (n - k - 1.0)
    }

    /// The means of the steps after the series.
    #[must_use]
    pub fn ahead(&self, steps: usize) -> Vec<f64> {
        (1..=steps).map(|step| self.level + step as f64 * self.slope).collect()
    }
}

/// The least squares line through the values at 1, 2, 3, …: its value at 0, and its slope.
fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let (middle, mean) = ((n + 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut product, mut square) = (0.0, 0.0);
    for (place, value) in (1..).zip(values) {
        let off = f64::from(place) - middle;
        product += off * (value - mean);
        square += off * off;
    }
    let slope = if square > 0.0 { product / square } else { 0.0 };
    (mean - slope * middle, slope)
}

/// Steps of one simplex at most.
const STEPS_MAX: usize = 500;
/// Differences of the function's values that are none.
const DIFFERENCE_MIN: f64 = 1e-10;

/// Nelder and Mead's method from a simplex around a point.
fn simplex(value: &impl Fn(&[f64]) -> f64, start: &[f64]) -> Vec<f64> {
    let mut corners: Vec<(f64, Vec<f64>)> = vec![(value(start), start.to_vec())];
    for place in 0..start.len() {
        let mut corner = start.to_vec();
        if let Some(own) = corner.get_mut(place) {
            *own += 0.25 * own.abs().max(0.2);
        }
        corners.push((value(&corner), corner));
    }
    for _ in 0..STEPS_MAX {
        corners.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let Some((worst, last)) = corners.pop() else { break };
        let (Some((least, _)), Some((second, _))) = (corners.first(), corners.last()) else {
            break;
        };
        if (worst - least).abs() <= DIFFERENCE_MIN * least.abs().max(1.0) {
            corners.push((worst, last));
            break;
        }
        let (least, second) = (*least, *second);
        let n = corners.len() as f64;
        let middle: Vec<f64> = (0..last.len())
            .map(|place| corners.iter().filter_map(|(_, c)| c.get(place)).sum::<f64>() / n)
            .collect();
        let towards = |step: f64| -> (f64, Vec<f64>) {
            let corner: Vec<f64> =
                middle.iter().zip(&last).map(|(m, own)| m + step * (own - m)).collect();
            (value(&corner), corner)
        };
        let reflected = towards(-1.0);
        let chosen = if reflected.0 < least {
            let further = towards(-2.0);
            Some(if further.0 < reflected.0 { further } else { reflected })
        } else if reflected.0 < second {
            Some(reflected)
        } else {
            let nearer = towards(if reflected.0 < worst { -0.5 } else { 0.5 });
            Some(nearer).filter(|nearer| nearer.0 < worst.min(reflected.0))
        };
        match chosen {
            Some(corner) => corners.push(corner),
            None => {
                corners.push((worst, last));
                shrink(value, &mut corners);
            }
        }
    }
    corners.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    corners.into_iter().next().map_or_else(|| start.to_vec(), |(_, corner)| corner)
}

/// Moves every corner halfway to the best one, which is the first.
fn shrink(value: &impl Fn(&[f64]) -> f64, corners: &mut [(f64, Vec<f64>)]) {
    let Some((_, best)) = corners.first().cloned() else { return };
    for (found, corner) in corners.iter_mut().skip(1) {
        for (own, of_best) in corner.iter_mut().zip(&best) {
            *own = (*own + of_best) / 2.0;
        }
        *found = value(corner);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::AIR_PASSENGERS;
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn air_passengers_are_smoothed_as_by_other_programs() {
        // AutoETS without seasons: multiplicative errors, additive trend.
        let best = Smoothed::best(&AIR_PASSENGERS).unwrap();
        assert_eq!((best.error, best.trend), (Error::Multiplicative, Trend::Additive));
        close(best.log_likelihood, -831.4884, 2e-5);
        close(best.aic(), 1672.9767, 2e-5);
    }

    #[test]
    fn straight_line_goes_on() {
        let line: Vec<f64> = (0..24).map(|m| 50.0 + 3.0 * f64::from(m)).collect();
        let ahead = Smoothed::best(&line).unwrap().ahead(3);
        for (found, expected) in ahead.iter().zip([122.0, 125.0, 128.0]) {
            close(*found, expected, 1e-3);
        }
    }

    #[test]
    fn constant_level_stays_and_zeros_are_no_fault() {
        let ahead = Smoothed::best(&[7.0; 20]).unwrap().ahead(2);
        ahead.iter().for_each(|value| close(*value, 7.0, 1e-4));
        let zeros = Smoothed::best(&[0.0; 20]).unwrap().ahead(1);
        close(zeros[0], 0.0, 1e-6);
        assert!(Smoothed::best(&[1.0; 7]).is_none());
    }
}
