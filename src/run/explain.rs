//! The story of one deal.

use super::RunOptions;
use crate::config::Resolved;
use crate::error::Error;

/// The story of one deal as text: every event, the rule applied to it, and what became of it.
///
/// # Errors
/// As [`super::execute`]; the deal is not in the inputs.
pub fn explain_deal(
    _resolved: &Resolved,
    _deal: &str,
    _options: &RunOptions<'_>,
) -> Result<String, Error> {
    Err(Error::Bug("not connected".into()))
}
