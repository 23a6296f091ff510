//! Pure numerics on slices: limits of rates, quantiles of counted values, survival curves.
//!
//! Nothing here knows Polars, a file, a clock or a metric. Values are integers with counts, because
//! that is what additive states hold; results are floats. Models of purchase behaviour are in
//! [`btyd`], endings that exclude each other in [`competing`].

pub mod btyd;
pub mod comparison;
pub mod competing;
pub mod distributions;
pub mod forecast;
pub mod interval;
pub mod multiplicity;
pub mod quantile;
pub mod shapley;
pub mod shrinkage;
pub mod standardisation;
pub mod survival;

/// The standard normal quantile of two-sided 95 % limits: the 0.975 quantile to double precision.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// A count as a float. Counts stay far below 2^53, where every integer is exact.
#[must_use]
pub const fn float(count: i64) -> f64 {
    count as f64
}

/// `numerator / denominator`, or nothing on a zero denominator (G19).
#[must_use]
pub fn ratio(numerator: i64, denominator: i64) -> Option<f64> {
    (denominator != 0).then(|| float(numerator) / float(denominator))
}

#[cfg(test)]
pub(crate) mod testdata {
    /// The text of a file of the shared test data; says aloud that the test is skipped without it.
    pub(crate) fn shared(path: &str) -> Option<String> {
        let folder = std::env::var_os("DEALMILL_SHARED_DATA").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            Into::into,
        );
        let text = std::fs::read_to_string(folder.join(path)).ok();
        if text.is_none() {
            println!("SKIPPED: there is no {path} in the shared test data");
        }
        text
    }

    /// The rows of comma-separated text without quotes, each as its fields, without the header.
    pub(crate) fn csv(text: &str) -> Vec<Vec<&str>> {
        text.lines().skip(1).map(|line| line.split(',').collect()).collect()
    }

    /// Whether two numbers agree to a tolerance relative to the larger of 1 and the expected one.
    #[track_caller]
    pub(crate) fn close(actual: f64, expected: f64, tolerance: f64) {
        let allowed = tolerance * expected.abs().max(1.0);
        assert!((actual - expected).abs() <= allowed, "{actual} where {expected} is expected");
    }
}
