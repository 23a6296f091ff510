//! What comes: of one that has lasted so long ([`outlook`]), of all that move between states
//! ([`markov`]), in many simulated futures ([`draws`]), and of a series by itself ([`series`]); and how
//! good that was ([`scores`]).

pub mod draws;
pub mod markov;
pub mod outlook;
pub mod scores;
pub mod series;
