//! Published data sets and their answers.
