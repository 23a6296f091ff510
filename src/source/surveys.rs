//! Shape `surveys`: what customers answered when they were asked, and that they did not.

use hashbrown::HashMap;

use super::convert::BAD_AMOUNT;
use super::intern::Interner;
use super::sheet::SheetBatch;
use super::tables::TableSettings;
use super::task::TaskState;
use crate::contract::Id;
use crate::error::Error;
use crate::money::NO_AMOUNT;
use crate::quality::Rule;
use crate::time::Instant;

/// Digits after the point of a score.
pub const SCORE_SCALE: u8 = 3;
/// Units of a score in one point.
const POINT: i64 = 1_000;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SurveyKind {
    /// Whether one would recommend us, 0 to 10.
    Nps,
    /// How satisfied one is, 1 to 5.
    Csat,
    /// How easy it was, 1 to 7.
    Ces,
}

impl SurveyKind {
    /// Every kind.
    pub const EVERY: [Self; 3] = [Self::Nps, Self::Csat, Self::Ces];

    /// Its name in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nps => "nps",
            Self::Csat => "csat",
            Self::Ces => "ces",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        Self::EVERY.into_iter().find(|kind| kind.name() == text)
    }

    /// The highest score where none is given.
    fn usual_max(self) -> i64 {
        match self {
            Self::Nps => 10,
            Self::Csat => 5,
            Self::Ces => 7,
        }
    }

    /// The lowest score. Scales of up to ten points begin with one, but for the one of NPS; longer
    /// ones are shares of a hundred.
    fn least(self, max: i64) -> i64 {
        i64::from(self != Self::Nps && max <= 10)
    }
}

/// One answer, or a question without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyRow {
    /// When.
    pub at: Instant,
    /// What was asked.
    pub kind: SurveyKind,
    /// The score in thousandths; [`NO_AMOUNT`] where there was no answer.
    pub score: i64,
    /// The highest score there is, in points.
    pub scale_max: i64,
    /// Who was asked, if it is told.
    pub customer: Id,
    /// About which deal, if it is told.
    pub deal: Id,
}

/// Where the answers are gathered.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) rows: Vec<SurveyRow>,
    /// The row of each answer that has an identifier.
    known: HashMap<Id, usize>,
    ids: Interner,
}

impl Answers {
    /// Adds the rows of a batch. Of several rows of one answer the latest counts, the last one among
    /// equals.
    pub(super) fn read_batch(
        &mut self,
        batch: &mut SheetBatch<'_>,
        settings: &TableSettings<'_>,
    ) -> Result<(), Error> {
        let times = batch.instants("at")?;
        let (kinds, maxima) = (batch.texts("kind")?, batch.integers("scale_max")?);
        let (scores, _) = batch.decimals("score", SCORE_SCALE)?;
        let responses = batch.ids("response_id", &self.ids)?;
        let customers = batch.ids("customer_id", &settings.names.customer)?;
        let deals = batch.ids("deal_id", &settings.names.deal)?;
        let answers = kinds.into_iter().zip(maxima).zip(scores);
        let whose = responses.into_iter().zip(customers).zip(deals);
        for (row, ((at, answer), whose)) in times.into_iter().zip(answers).zip(whose).enumerate() {
            let (((kind, max), score), ((response, customer), deal)) = (answer, whose);
            let judged = TaskState::judge_time(at)
                .map_or(Ok(()), Err)
                .and_then(|()| judge_score(kind.as_deref(), max, score));
            let (kind, scale_max) = match judged {
                Err(rule) => {
                    batch.refuse(row, rule);
                    continue;
                }
                Ok(_) if at > settings.as_of => {
                    batch.after_as_of();
                    continue;
                }
                Ok(judged) => judged,
            };
            batch.keep();
            batch.note_if(customer.is_none() && deal.is_none(), row, Rule::UnattributedRows);
            let answer = SurveyRow { at, kind, score, scale_max, customer, deal };
            self.add(row, response, answer, batch);
        }
        Ok(())
    }

    fn add(&mut self, row: usize, response: Id, answer: SurveyRow, batch: &mut SheetBatch<'_>) {
        if !response.is_none() {
            if let Some(before) = self.known.get(&response).and_then(|r| self.rows.get_mut(*r)) {
                batch.note(row, Rule::DuplicateResponses);
                if answer.at >= before.at {
                    *before = answer;
                }
                return;
            }
            self.known.insert(response, self.rows.len());
        }
        self.rows.push(answer);
    }
}

/// The kind and the highest score of a row, whose score must lie on the scale; no score is a
/// question without an answer.
fn judge_score(kind: Option<&str>, max: i64, score: i64) -> Result<(SurveyKind, i64), Rule> {
    let kind = kind.and_then(SurveyKind::of).ok_or(Rule::UnknownKind)?;
    let max = if max == i64::MIN { kind.usual_max() } else { max };
    // No scale is longer, and a thousand times this one fits.
    const SCALE_MAX: i64 = 1_000_000;
    let scale = kind.least(max) * POINT..=max.min(SCALE_MAX) * POINT;
    let is_scale = (1..=SCALE_MAX).contains(&max);
    let is_score = score == NO_AMOUNT || (score != BAD_AMOUNT && scale.contains(&score));
    if is_scale && is_score { Ok((kind, max)) } else { Err(Rule::BadScore) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &str, max: Option<i64>, score: i64, expected: Result<(SurveyKind, i64), Rule>) {
        assert_eq!(judge_score(Some(kind), max.unwrap_or(i64::MIN), score), expected);
    }

    #[test]
    fn scores_lie_on_the_scale_of_their_kind() {
        check("NPS", None, 0, Ok((SurveyKind::Nps, 10)));
        check("nps", None, 10_000, Ok((SurveyKind::Nps, 10)));
        check("nps", None, 10_001, Err(Rule::BadScore));
        check("nps", None, -1, Err(Rule::BadScore));
        check("csat", None, 0, Err(Rule::BadScore));
        check("csat", None, 4_500, Ok((SurveyKind::Csat, 5)));
        check("csat", Some(100), 0, Ok((SurveyKind::Csat, 100)));
        check("ces", None, 7_000, Ok((SurveyKind::Ces, 7)));
        check("ces", Some(0), 1_000, Err(Rule::BadScore));
        check("stars", None, 1_000, Err(Rule::UnknownKind));
    }

    #[test]
    fn no_score_is_no_answer_and_an_unreadable_one_is_refused() {
        check("nps", None, NO_AMOUNT, Ok((SurveyKind::Nps, 10)));
        check("nps", None, BAD_AMOUNT, Err(Rule::BadScore));
    }
}
