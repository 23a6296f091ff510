//! Which rules an input can break at all, by its shape: the others are not listed for it.

use super::Rule;
use crate::config::Shape;

impl Rule {
    /// Whether a rule is listed for an input of this shape though nothing breaks it.
    pub(super) fn is_listed_for(self, shape: Shape) -> bool {
        match self {
            // Of lines of text only. The format of its files changes no table of an input.
            Self::RaggedRows | Self::BadQuotes | Self::UndecodableText => false,
            Self::BadAmount => {
                shape.tells_of_deals() || matches!(shape, Shape::Spend | Shape::Payments)
            }
            Self::InexactAmount => {
                let tables = [Shape::Spend, Shape::Payments, Shape::Targets, Shape::Contracts];
                shape.tells_of_deals() || tables.contains(&shape)
            }
            Self::BadMerge | Self::RepeatedMerges | Self::OrphanMerges | Self::UnknownWinners => {
                shape == Shape::Merges
            }
            Self::NullPayment
            | Self::UnknownPaymentKind
            | Self::DuplicatePayments
            | Self::UnpricedPayments
            | Self::OrphanPayments => shape == Shape::Payments,
            Self::BadSplits | Self::OrphanSplits => shape == Shape::DealSplits,
            Self::BadTarget | Self::NonpositiveTargets | Self::OrphanTargets => {
                shape == Shape::Targets
            }
            Self::UnknownKind | Self::BadScore | Self::DuplicateResponses => {
                shape == Shape::Surveys
            }
            Self::BadContract => shape == Shape::Contracts,
            Self::UnattributedRows => matches!(shape, Shape::Surveys | Shape::Touches),
            Self::OrphanRows => {
                matches!(shape, Shape::Surveys | Shape::Touches | Shape::Contracts)
            }
            Self::UnpricedRows => matches!(shape, Shape::Targets | Shape::Contracts),
            Self::BadDay | Self::DuplicateDays => shape == Shape::Calendar,
            Self::Orphans | Self::NullKeys | Self::BadValidity | Self::OverlappingValidity => {
                shape == Shape::Lookup
            }
            Self::DuplicateKeys | Self::RowsWithoutKey => {
                matches!(shape, Shape::Lookup | Shape::Stages)
            }
            Self::OrphanChannels | Self::UnpricedSpend | Self::NullSpend => shape == Shape::Spend,
            Self::BadRate | Self::DuplicateRates | Self::CurrenciesWithoutRate => {
                shape == Shape::FxRates
            }
            Self::Undated | Self::OutcomeWithoutDate => shape == Shape::StageDates,
            Self::BadInterval | Self::OverlappingIntervals => shape == Shape::Intervals,
            Self::VanishedDeals | Self::ClosedWhenFirstSeen => shape == Shape::Snapshots,
            Self::UnmappedFields => shape == Shape::FieldHistory,
            Self::HistoryDisagrees
            | Self::UnloggedOutcomes
            | Self::UnloggedDeals
            | Self::UndatedOutcomes
            | Self::UndatedDeals
            | Self::RepeatedDeals => shape == Shape::Deals,
            Self::UnknownEventType | Self::MissingStage => {
                matches!(shape, Shape::Events | Shape::FieldHistory)
            }
            Self::UnknownOutcome => {
                shape.tells_of_deals() && !matches!(shape, Shape::Events | Shape::FieldHistory)
            }
            Self::BadFlag => {
                let has_none = matches!(shape, Shape::Events | Shape::StageDates);
                shape == Shape::Calendar || shape.tells_of_deals() && !has_none
            }
            Self::NullEventTime => {
                let is_dated_apart = matches!(shape, Shape::StageDates | Shape::Deals);
                is_dated(shape) && !is_dated_apart
            }
            Self::BadEventTime | Self::SentinelEventTime => is_dated(shape),
            // What is judged of deals and their events.
            _ => shape.tells_of_deals(),
        }
    }
}

/// Whether every row of an input has a time or day that is judged.
fn is_dated(shape: Shape) -> bool {
    let tables = [Shape::Spend, Shape::Payments, Shape::Surveys, Shape::Touches];
    shape.tells_of_deals() || tables.contains(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Shape; 19] = [
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
        Shape::Payments,
        Shape::DealSplits,
    ];

    #[test]
    fn every_rule_but_those_of_lines_is_listed_for_some_input() {
        let is_listed = |rule: &&Rule| EVERY.into_iter().any(|shape| rule.is_listed_for(shape));
        let others = Rule::EVERY.iter().filter(|rule| !is_listed(rule));
        let others: Vec<&str> = others.map(|rule| rule.name()).collect();
        assert_eq!(others, ["ragged_rows", "bad_quotes", "undecodable_text"]);
    }

    #[test]
    fn a_look_up_has_keys_and_no_events() {
        let own = Rule::EVERY.iter().filter(|rule| rule.is_listed_for(Shape::Lookup));
        let own: Vec<&str> = own.map(|rule| rule.name()).collect();
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
