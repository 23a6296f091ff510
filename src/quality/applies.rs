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
            Rule::BadAmount | Rule::InexactAmount => {
                shape.tells_of_deals() || shape == Shape::Spend
            }
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
                shape.tells_of_deals() && !matches!(shape, Shape::Events | Shape::StageDates)
            }
            Rule::NullEventTime => {
                let is_dated_apart = matches!(shape, Shape::StageDates | Shape::Deals);
                shape == Shape::Spend || shape.tells_of_deals() && !is_dated_apart
            }
            Rule::BadEventTime | Rule::SentinelEventTime => {
                shape == Shape::Spend || shape.tells_of_deals()
            }
            // What is judged of deals and their events.
            _ => shape.tells_of_deals(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Shape; 11] = [
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
