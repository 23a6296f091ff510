//! What the two models share in which a customer may stop right after a purchase: only the
//! probability of having done so differs between them.
//!
//! Purchase rates are gamma(r, alpha); `stopped` is the logarithm of the odds of having stopped at
//! the last purchase, before the time since then is looked at.

use super::sample::{History, Sample};
use super::sum_by_repeats;

/// The log-likelihood of all customers. `of` gives for a number of repeats what the histories with
/// it have in common, and the logarithm of the odds of having stopped.
pub(super) fn log_likelihood(
    sample: &Sample<History>,
    (r, alpha): (f64, f64),
    of: impl Fn(f64) -> (f64, f64) + Sync,
) -> f64 {
    sum_by_repeats(
        sample,
        |g| g.repeats,
        |x, groups| {
            let (common, stopped) = of(x);
            let own = |g: &History| {
                let (late, early) = ((alpha + g.age).ln(), (alpha + g.recency).ln());
                let odds = stopped + (r + x) * (late - early);
                g.customers * (common - (r + x) * late + softplus(odds))
            };
            groups.iter().map(own).sum()
        },
    )
}

/// P(alive) of a customer with these odds of having stopped.
pub(super) fn alive(
    stopped: f64,
    (r, alpha): (f64, f64),
    (repeats, recency, age): (f64, f64, f64),
) -> f64 {
    let odds = stopped + (r + repeats) * ((alpha + age).ln() - (alpha + recency).ln());
    1.0 / (1.0 + odds.exp())
}

/// ln(1 + eᵛ).
fn softplus(v: f64) -> f64 {
    if v > 0.0 { v + (-v).exp().ln_1p() } else { v.exp().ln_1p() }
}
