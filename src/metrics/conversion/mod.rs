//! What share of deals is won.

#[expect(clippy::module_inception, reason = "one file per metric, named by the metric")]
pub mod conversion;
