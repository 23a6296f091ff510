//! Finding the parameters under which what was seen is likeliest.
//!
//! A likelihood is maximised over the logarithms of its parameters, which are all positive, by
//! Newton's method with numerical derivatives, damped until each step is an improvement, from
//! several starts on coarse groups, then from the best on fine ones. There are three or four
//! parameters, so derivatives by differences cost little, and they need no algebra that could be
//! wrong. A fit that fails is a value with its reason, never an error.
//!
//! No crate does it: those for optimisation that are well kept ask for other features of crates
//! that Polars is built upon.

/// How a fit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At a maximum: the gradient vanishes and the Hessian is positive definite.
    Converged,
    /// A parameter runs to zero or infinity: the data do not show what it describes.
    Boundary,
    /// Neither.
    NotConverged,
}

impl Ending {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Boundary => "boundary",
            Self::NotConverged => "not_converged",
        }
    }
}

/// The result of a fit of `N` parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit<const N: usize> {
    /// The parameters.
    pub parameters: [f64; N],
    /// Their standard errors, from the Hessian; `None` unless it is positive definite.
    pub standard_errors: Option<[f64; N]>,
    /// The log-likelihood of all customers.
    pub log_likelihood: f64,
    /// Length of the gradient of a customer's mean log-likelihood by the parameters' logarithms.
    pub gradient_norm: f64,
    /// Whether the Hessian of the negative log-likelihood is positive definite.
    pub is_hessian_pd: bool,
    /// How it ended.
    pub ending: Ending,
}

type Matrix<const N: usize> = [[f64; N]; N];

/// Newton steps from one start.
const STEPS_MAX: usize = 60;
/// A gradient of this length is none: far above the error of differences, far below what would
/// move a printed digit.
const GRADIENT_MIN: f64 = 1e-7;
/// The longest step in the parameters' logarithms.
const STRIDE_MAX: f64 = 1.5;
/// Beyond e to this power, or below its inverse, a parameter is at its boundary.
const LOG_MAX: f64 = 14.0;

/// Maximises a mean log-likelihood per customer. `coarse` is tried from every start, `fine` decides.
pub(super) fn maximise<const N: usize>(
    coarse: &impl Fn(&[f64; N]) -> f64,
    fine: &impl Fn(&[f64; N]) -> f64,
    starts: &[[f64; N]],
    customers: f64,
) -> Fit<N> {
    let mut best: Option<([f64; N], f64)> = None;
    for start in starts {
        let found = descend(&Objective(coarse), start.map(f64::ln));
        if best.is_none_or(|(_, value)| found.1 < value) {
            best = Some(found);
        }
    }
    let objective = Objective(fine);
    let start = best.map_or([0.0; N], |(point, _)| point);
    let (point, value) = descend(&objective, start);
    let hessian = objective.hessian(&point);
    let gradient_norm = length(&objective.gradient(&point));
    let inverse = cholesky(&hessian).map(|factor| inverse_diagonal(&factor));
    let parameters = point.map(f64::exp);
    let is_inside = point.iter().all(|p| p.abs() < LOG_MAX - STRIDE_MAX);
    let ending = match (is_inside, inverse.is_some() && gradient_norm < 10.0 * GRADIENT_MIN) {
        (false, _) => Ending::Boundary,
        (true, true) if value.is_finite() => Ending::Converged,
        _ => Ending::NotConverged,
    };
    Fit {
        parameters,
        standard_errors: inverse.map(|variances| {
            let mut errors = parameters;
            for (error, variance) in errors.iter_mut().zip(variances) {
                // At a maximum the error of a parameter is that of its logarithm times itself.
                *error *= (variance / customers).sqrt();
            }
            errors
        }),
        log_likelihood: -value * customers,
        gradient_norm,
        is_hessian_pd: inverse.is_some(),
        ending,
    }
}

/// What is minimised: the negative mean log-likelihood by the logarithms of the parameters.
struct Objective<'a, F>(&'a F);

impl<F> Objective<'_, F> {
    /// Infinite where the parameters leave the range or the likelihood cannot be computed.
    fn value<const N: usize>(&self, point: &[f64; N]) -> f64
    where
        F: Fn(&[f64; N]) -> f64,
    {
        if point.iter().any(|p| p.abs() > LOG_MAX) {
            return f64::INFINITY;
        }
        let value = -self.0(&point.map(f64::exp));
        if value.is_nan() { f64::INFINITY } else { value }
    }

    /// By central differences.
    fn gradient<const N: usize>(&self, point: &[f64; N]) -> [f64; N]
    where
        F: Fn(&[f64; N]) -> f64,
    {
        const H: f64 = 1e-4;
        let mut gradient = [0.0; N];
        for (place, slope) in gradient.iter_mut().enumerate() {
            let (up, down) = (moved(point, place, H), moved(point, place, -H));
            *slope = (self.value(&up) - self.value(&down)) / (2.0 * H);
        }
        gradient
    }

    /// By central differences.
    #[expect(clippy::indexing_slicing, reason = "rows and columns are below N")]
    fn hessian<const N: usize>(&self, point: &[f64; N]) -> Matrix<N>
    where
        F: Fn(&[f64; N]) -> f64,
    {
        const H: f64 = 1e-3;
        let here = self.value(point);
        let mut hessian = [[0.0; N]; N];
        for i in 0..N {
            let (up, down) = (moved(point, i, H), moved(point, i, -H));
            hessian[i][i] = (self.value(&up) - 2.0 * here + self.value(&down)) / (H * H);
            for j in 0..i {
                let at = |point: &[f64; N], h| self.value(&moved(point, j, h));
                let cross = at(&up, H) - at(&up, -H) - at(&down, H) + at(&down, -H);
                hessian[i][j] = cross / (4.0 * H * H);
                hessian[j][i] = hessian[i][j];
            }
        }
        hessian
    }
}

/// Newton's method from one point, damped; the point reached and its value.
fn descend<const N: usize, F: Fn(&[f64; N]) -> f64>(
    objective: &Objective<'_, F>,
    start: [f64; N],
) -> ([f64; N], f64) {
    let (mut point, mut value) = (start, objective.value(&start));
    let mut damping = 1e-3;
    for _ in 0..STEPS_MAX {
        let gradient = objective.gradient(&point);
        let norm = length(&gradient);
        if !(norm > GRADIENT_MIN / 100.0) || !norm.is_finite() {
            break;
        }
        let hessian = objective.hessian(&point);
        let mut better = None;
        while better.is_none() && damping < 1e8 {
            let step = newton_step(&hessian, &gradient, if damping < 1e-9 { 0.0 } else { damping });
            better = step.map(|step| added(&point, &step)).and_then(|candidate| {
                let reached = objective.value(&candidate);
                (reached < value).then_some((candidate, reached))
            });
            damping *= if better.is_some() { 0.1 } else { 8.0 };
        }
        let Some((candidate, reached)) = better else { break };
        (point, value) = (candidate, reached);
        damping = damping.max(1e-12);
    }
    (point, value)
}

/// −(H + damping)⁻¹ g, no longer than a stride; `None` where the sum is not positive definite.
fn newton_step<const N: usize>(
    hessian: &Matrix<N>,
    gradient: &[f64; N],
    damping: f64,
) -> Option<[f64; N]> {
    let mut damped = *hessian;
    for (place, row) in damped.iter_mut().enumerate() {
        *row.get_mut(place)? += damping;
    }
    let mut step = solve(&cholesky(&damped)?, gradient);
    let long = length(&step);
    let scale = if long > STRIDE_MAX { -STRIDE_MAX / long } else { -1.0 };
    step.iter_mut().for_each(|s| *s *= scale);
    step.iter().all(|s| s.is_finite()).then_some(step)
}

/// The lower triangular factor; `None` where the matrix is not positive definite.
#[expect(clippy::indexing_slicing, reason = "rows and columns are below N")]
fn cholesky<const N: usize>(matrix: &Matrix<N>) -> Option<Matrix<N>> {
    let mut factor = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let rest = matrix[i][j] - inner;
            if i == j {
                // Also refuses what is not a number.
                if !(rest > 1e-14) || !rest.is_finite() {
                    return None;
                }
                factor[i][i] = rest.sqrt();
            } else {
                factor[i][j] = rest / factor[j][j];
            }
        }
    }
    Some(factor)
}

/// The solution of L Lᵀ x = b.
#[expect(clippy::indexing_slicing, reason = "rows and columns are below N")]
fn solve<const N: usize>(factor: &Matrix<N>, right: &[f64; N]) -> [f64; N] {
    let mut x = *right;
    for i in 0..N {
        let inner: f64 = (0..i).map(|k| factor[i][k] * x[k]).sum();
        x[i] = (x[i] - inner) / factor[i][i];
    }
    for i in (0..N).rev() {
        let inner: f64 = (i + 1..N).map(|k| factor[k][i] * x[k]).sum();
        x[i] = (x[i] - inner) / factor[i][i];
    }
    x
}

/// The diagonal of (L Lᵀ)⁻¹.
#[expect(clippy::indexing_slicing, reason = "rows and columns are below N")]
fn inverse_diagonal<const N: usize>(factor: &Matrix<N>) -> [f64; N] {
    let mut diagonal = [0.0; N];
    for i in 0..N {
        let mut unit = [0.0; N];
        unit[i] = 1.0;
        diagonal[i] = solve(factor, &unit)[i];
    }
    diagonal
}

fn moved<const N: usize>(point: &[f64; N], place: usize, by: f64) -> [f64; N] {
    let mut moved = *point;
    if let Some(value) = moved.get_mut(place) {
        *value += by;
    }
    moved
}

fn added<const N: usize>(point: &[f64; N], step: &[f64; N]) -> [f64; N] {
    let mut sum = *point;
    sum.iter_mut().zip(step).for_each(|(value, by)| *value += by);
    sum
}

fn length<const N: usize>(vector: &[f64; N]) -> f64 {
    vector.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn the_mean_and_shape_of_a_known_likelihood_are_found() {
        // Normal with mean m and deviation d over the values 1 2 3 4 10: the mean is 4 and the
        // likeliest variance (9 + 4 + 1 + 0 + 36)/5 = 10.
        let mean_likelihood = |p: &[f64; 2]| {
            let values = [1.0, 2.0, 3.0, 4.0, 10.0];
            let each = values.map(|v: f64| -p[1].ln() - (v - p[0]).powi(2) / (2.0 * p[1] * p[1]));
            each.iter().sum::<f64>() / 5.0
        };
        let fit = maximise(&mean_likelihood, &mean_likelihood, &[[1.0, 1.0], [20.0, 30.0]], 5.0);
        assert_eq!(fit.ending, Ending::Converged);
        close(fit.parameters[0], 4.0, 1e-6);
        close(fit.parameters[1], 10.0_f64.sqrt(), 1e-6);
        // The variance of the mean is 10/5, that of the deviation 10/(2·5).
        let errors = fit.standard_errors.expect("positive definite");
        close(errors[0], 2.0_f64.sqrt(), 1e-4);
        close(errors[1], 1.0, 1e-4);
    }

    #[test]
    fn a_likelihood_that_grows_forever_ends_at_the_boundary() {
        let grows = |p: &[f64; 1]| -1.0 / p[0];
        let fit = maximise(&grows, &grows, &[[1.0]], 10.0);
        assert_ne!(fit.ending, Ending::Converged);
    }

    #[test]
    fn a_likelihood_that_cannot_be_computed_is_no_error() {
        let broken = |_: &[f64; 2]| f64::NAN;
        let fit = maximise(&broken, &broken, &[[1.0, 1.0]], 10.0);
        assert_eq!(fit.ending, Ending::NotConverged);
        assert!(!fit.is_hessian_pd && fit.standard_errors.is_none());
    }
}
