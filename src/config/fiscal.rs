//! Fiscal years of weeks: what the configuration says of them, and what it has to say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Problems;
use super::{Config, Run, Weekday};
use crate::time::{FiscalWeeks, Period, YearEnd};

/// Weeks of the three months of each quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WeekPattern {
    /// Four, four and five.
    #[serde(rename = "4-4-5")]
    FourFourFive,
    /// Four, five and four, as retailers in the United States have it.
    #[serde(rename = "4-5-4")]
    FourFiveFour,
    /// Five, four and four.
    #[serde(rename = "5-4-4")]
    FiveFourFour,
}

/// The day on which fiscal years of weeks end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FiscalYearEnds {
    /// Which of the weekdays: "last" of the month, or "nearest" to its last day.
    pub which: YearEnd,
    /// The weekday, "monday" to "sunday".
    pub weekday: Weekday,
    /// The calendar month, 1 to 12.
    pub month: u8,
}

/// The weeks of the fiscal year; nothing where it is of months.
pub(super) fn weeks(run: &Run) -> Option<FiscalWeeks> {
    let ends = run.fiscal_year_ends?;
    let months = match run.fiscal_weeks? {
        WeekPattern::FourFourFive => [4, 4, 5],
        WeekPattern::FourFiveFour => [4, 5, 4],
        WeekPattern::FiveFourFour => [5, 4, 4],
    };
    let month = ends.month.clamp(1, 12);
    Some(FiscalWeeks { months, weekday: ends.weekday as u8, month, which: ends.which })
}

/// Gathers what is missing, or cannot be together.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    let run = &config.run;
    const ENDS: &str = "{ which = \"last\" or \"nearest\", weekday = \"saturday\", month = 1 }";
    match (run.fiscal_weeks, run.fiscal_year_ends) {
        (Some(_), None) => {
            let problem = format!("say when such a year ends: run.fiscal_year_ends = {ENDS}");
            problems.add("run.fiscal_weeks", problem);
        }
        (None, Some(_)) => {
            let problem = "only years of weeks end so: say which months have five with \
                           run.fiscal_weeks = \"4-4-5\", \"4-5-4\" or \"5-4-4\"";
            problems.add("run.fiscal_year_ends", problem);
        }
        (Some(_), Some(ends)) if !(1..=12).contains(&ends.month) => {
            let problem = format!("expected a month from 1 to 12, found {}", ends.month);
            problems.add("run.fiscal_year_ends", problem);
        }
        (Some(_), Some(_)) if run.fiscal_start_month != 1 => {
            let problem = "years of weeks begin after fiscal_year_ends; leave out one of the two";
            problems.add("run.fiscal_start_month", problem);
        }
        _ => {}
    }
    if run.fiscal_weeks.is_some() {
        return;
    }
    let needs = "needs run.fiscal_weeks; without it, months are calendar months";
    let of_tables = config.tables.iter();
    let of_tables = of_tables
        .filter_map(|(name, own)| Some((format!("tables.{name}.periods"), own.periods.as_ref()?)));
    for (key, periods) in of_tables.chain([("run.periods".to_owned(), &run.periods)]) {
        if periods.contains(&Period::FiscalMonth) {
            problems.add(&key, format!("\"fiscal_month\" {needs}"));
        }
    }
}
