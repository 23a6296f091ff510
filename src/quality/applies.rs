//! Which rules an input can break at all, by its shape: the others are not listed for it.

use super::Rule;
use crate::config::Shape;

/// What is known of an input before it is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Its shape; without one it may break any rule.
    pub(super) shape: Option<Shape>,
    /// Whether any of its files is CSV.
    pub(super) has_csv: bool,
}

impl Form {
    /// Whether an input of this form can break a rule.
    pub(super) fn can_break(self, rule: Rule) -> bool {
        let Some(shape) = self.shape else { return true };
        match rule {
            Rule::RaggedRows | Rule::BadQuotes | Rule::UndecodableText => self.has_csv,
            Rule::BadAmount => shape.tells_of_deals() || shape == Shape::Spend,
            Rule::InexactAmount => {
                let has = matches!(shape, Shape::Spend | Shape::Targets | Shape::Contracts);
                shape.tells_of_deals() || has
            }
            Rule::BadMerge | Rule::RepeatedMerges | Rule::OrphanMerges | Rule::UnknownWinners => {
                shape == Shape::Merges
            }
            Rule::BadTarget | Rule::OrphanTargets => shape == Shape::Targets,
            Rule::UnknownKind | Rule::BadScore | Rule::DuplicateResponses => {
                shape == Shape::Surveys
            }
            Rule::BadContract => shape == Shape::Contracts,
            Rule::UnattributedRows => matches!(shape, Shape::Surveys | Shape::Touches),
            Rule::OrphanRows => {
                matches!(shape, Shape::Surveys | Shape::Touches | Shape::Contracts)
            }
            Rule::UnpricedRows => matches!(shape, Shape::Targets | Shape::Contracts),
            Rule::BadDay | Rule::DuplicateDays => shape == Shape::Calendar,
            Rule::Orphans | Rule::NullKeys | Rule::BadValidity | Rule::OverlappingValidity => {
                shape == Shape::Lookup
            }
            Rule::DuplicateKeys | Rule::RowsWithoutKey => {
                matches!(shape, Shape::Lookup | Shape::Stages)
            }
            Rule::OrphanChannels | Rule::UnpricedSpend | Rule::NullSpend => shape == Shape::Spend,
            Rule::BadRate | Rule::DuplicateRates | Rule::CurrenciesWithoutRate => {
                shape == Shape::FxRates
            }
            Rule::Undated | Rule::OutcomeWithoutDate => shape == Shape::StageDates,
            Rule::BadInterval | Rule::OverlappingIntervals => shape == Shape::Intervals,
            Rule::VanishedDeals | Rule::ClosedWhenFirstSeen => shape == Shape::Snapshots,
            Rule::UnmappedFields => shape == Shape::FieldHistory,
            Rule::HistoryDisagrees
            | Rule::UnloggedOutcomes
            | Rule::UnloggedDeals
            | Rule::RepeatedDeals => shape == Shape::Deals,
            Rule::UnknownEventType | Rule::MissingStage => {
                matches!(shape, Shape::Events | Shape::FieldHistory)
            }
            Rule::UnknownOutcome => {
                shape.tells_of_deals() && !matches!(shape, Shape::Events | Shape::FieldHistory)
            }
            Rule::BadFlag => {
                let has_none = matches!(shape, Shape::Events | Shape::StageDates);
                shape == Shape::Calendar || shape.tells_of_deals() && !has_none
            }
            Rule::NullEventTime => {
                let is_dated_apart = matches!(shape, Shape::StageDates | Shape::Deals);
                is_dated(shape) && !is_dated_apart
            }
            Rule::BadEventTime | Rule::SentinelEventTime => is_dated(shape),
            // What is judged of deals and their events.
            _ => shape.tells_of_deals(),
        }
    }
}

/// Whether every row of an input has a time or day that is judged.
fn is_dated(shape: Shape) -> bool {
    shape.tells_of_deals() || matches!(shape, Shape::Spend | Shape::Surveys | Shape::Touches)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Shape; 17] = [
        Shape::Events,
        Shape::StageDates,
        Shape::Spend,
        Shape::Lookup,
        Shape::FxRates,
        Shape::FieldHistory,
        Shape::RowHistory,
        Shape::Intervals,
        Shape::Snapshots,
        Shape::Deals,
        Shape::Stages,
        Shape::Merges,
        Shape::Targets,
        Shape::Surveys,
        Shape::Touches,
        Shape::Calendar,
        Shape::Contracts,
    ];

    #[test]
    fn every_rule_can_be_broken_by_some_input() {
        for rule in Rule::EVERY {
            let can = |shape| Form { shape: Some(shape), has_csv: true }.can_break(*rule);
            assert!(EVERY.into_iter().any(can), "{}", rule.name());
        }
    }

    #[test]
    fn a_look_up_in_parquet_has_keys_and_neither_events_nor_lines() {
        let form = Form { shape: Some(Shape::Lookup), has_csv: false };
        let own: Vec<&str> =
            Rule::EVERY.iter().filter(|rule| form.can_break(**rule)).map(|r| r.name()).collect();
        let expected = [
            "orphans",
            "null_keys",
            "duplicate_keys",
            "bad_validity",
            "overlapping_validity",
            "rows_without_key",
        ];
        assert_eq!(own, expected);
    }
}
