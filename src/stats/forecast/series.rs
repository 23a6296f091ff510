//! What a series of months says of the months to come, without looking at any deal.
//!
//! The seasonal naive forecast is the one to beat: the same month a year before. Exponential smoothing
//! is offered in its place only where it did better on the series' own past.

mod smoothing;

pub use smoothing::{Error as SmoothingError, Smoothed, Trend};

/// Months in a season.
const SEASON: usize = 12;

/// How a series is carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The last month again: less than a year is known.
    Naive,
    /// The same month a year before.
    SeasonalNaive,
    /// Exponential smoothing with the error and trend that fit best.
    Smoothing,
}

impl Method {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::SeasonalNaive => "seasonal_naive",
            Self::Smoothing => "exponential_smoothing",
        }
    }

    /// The months after the series; nothing where it is too short for the method.
    #[must_use]
    pub fn ahead(self, series: &[f64], months: usize) -> Option<Vec<f64>> {
        match self {
            Self::Naive => series.last().map(|last| vec![*last; months]),
            Self::SeasonalNaive => {
                let year = series.len().checked_sub(SEASON).and_then(|from| series.get(from..))?;
                Some(year.iter().copied().cycle().take(months).collect())
            }
            Self::Smoothing => {
                Smoothed::best(series).map(|fit| fit.ahead(months)).filter(|ahead| {
                    // An explosive trend says that the model does not fit.
                    ahead.iter().all(|value| value.is_finite())
                })
            }
        }
    }

    /// The naive method that such a series allows.
    #[must_use]
    pub fn naive(series: &[f64]) -> Self {
        if series.len() >= SEASON { Self::SeasonalNaive } else { Self::Naive }
    }
}

/// The months before the last one at which methods are tried.
const TRIALS: usize = 12;
/// Months that a method must know before it is tried.
const KNOWN_MIN: usize = 12;
/// Trials that say anything.
const TRIALS_MIN: usize = 4;

/// A method, and its mean absolute error one month ahead beside the naive one's, where both were tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// The method.
    pub method: Method,
    /// How many months it was tried on.
    pub trials_n: usize,
    /// Its error and the naive one's.
    pub errors: Option<[f64; 2]>,
}

/// The method that did best one month ahead in each of the last months, knowing only those before;
/// the naive one unless it was beaten.
#[must_use]
pub fn choose(series: &[f64]) -> Chosen {
    let naive = Method::naive(series);
    let first = series.len().saturating_sub(TRIALS).max(KNOWN_MIN);
    let (mut own, mut other, mut trials_n) = (0.0, 0.0, 0);
    for place in first..series.len() {
        let (known, actual) = series.split_at(place);
        let Some(actual) = actual.first() else { continue };
        let one = |method: Method| method.ahead(known, 1).and_then(|ahead| ahead.first().copied());
        if let (Some(smooth), Some(same)) = (one(Method::Smoothing), one(naive)) {
            own += (smooth - actual).abs();
            other += (same - actual).abs();
            trials_n += 1;
        }
    }
    if trials_n < TRIALS_MIN {
        return Chosen { method: naive, trials_n, errors: None };
    }
    let errors = [own / trials_n as f64, other / trials_n as f64];
    if own < other {
        Chosen { method: Method::Smoothing, trials_n, errors: Some(errors) }
    } else {
        Chosen { method: naive, trials_n, errors: Some([errors[1]; 2]) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Box and Jenkins, 1976: monthly airline passengers, thousands, 1949 to 1960.
    pub(crate) const AIR_PASSENGERS: [f64; 144] = [
        112., 118., 132., 129., 121., 135., 148., 148., 136., 119., 104., 118., 115., 126., 141.,
        135., 125., 149., 170., 170., 158., 133., 114., 140., 145., 150., 178., 163., 172., 178.,
        199., 199., 184., 162., 146., 166., 171., 180., 193., 181., 183., 218., 230., 242., 209.,
        191., 172., 194., 196., 196., 236., 235., 229., 243., 264., 272., 237., 211., 180., 201.,
        204., 188., 235., 227., 234., 264., 302., 293., 259., 229., 203., 229., 242., 233., 267.,
        269., 270., 315., 364., 347., 312., 274., 237., 278., 284., 277., 317., 313., 318., 374.,
        413., 405., 355., 306., 271., 306., 315., 301., 356., 348., 355., 422., 465., 467., 404.,
        347., 305., 336., 340., 318., 362., 348., 363., 435., 491., 505., 404., 359., 310., 337.,
        360., 342., 406., 396., 420., 472., 548., 559., 463., 407., 362., 405., 417., 391., 419.,
        461., 472., 535., 622., 606., 508., 461., 390., 432.,
    ];

    #[test]
    fn seasonal_naive_is_the_year_before_again_and_again() {
        let ahead = Method::SeasonalNaive.ahead(&AIR_PASSENGERS, 14).unwrap();
        assert_eq!(ahead[..3], [417.0, 391.0, 419.0]);
        assert_eq!(ahead[11..], [432.0, 417.0, 391.0]);
        assert!(Method::SeasonalNaive.ahead(&AIR_PASSENGERS[..11], 1).is_none());
        assert_eq!(Method::naive(&AIR_PASSENGERS[..11]), Method::Naive);
    }

    #[test]
    fn smoothing_is_taken_only_where_it_was_better() {
        // A year's shape that repeats exactly cannot be beaten.
        let shape = [5.0, 9.0, 2.0, 7.0, 1.0, 8.0, 3.0, 6.0, 4.0, 9.0, 2.0, 5.0];
        let same: Vec<f64> = shape.iter().copied().cycle().take(48).collect();
        assert_eq!(choose(&same).method, Method::SeasonalNaive);
        // A steady rise can: the year before is twelve steps too low.
        let rising: Vec<f64> = (0..48).map(|m| 100.0 + 10.0 * f64::from(m)).collect();
        let chosen = choose(&rising);
        assert_eq!(chosen.method, Method::Smoothing);
        let [own, naive] = chosen.errors.unwrap();
        assert!(own < 1.0 && (naive - 120.0).abs() < 1e-9, "{own}, {naive}");
        // Three months say nothing.
        assert_eq!(choose(&[1.0, 2.0, 3.0]).trials_n, 0);
    }
}
