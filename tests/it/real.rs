//! Published data sets and their answers: what independent programs and printed sources say of real
//! histories must come out of the whole pipeline, from the files as they are to the tables on disk.
//!
//! The answers are read at test time; nothing of the data is kept here. Where a definition of an
//! answer differs from the table's, the test says how.

// Spend and customers by campaign: CAC.
mod ads;
// The answers as rows, and comparisons with them.
mod answers;
// Opportunities with two dates each: win rate, revenue, cycle with open deals censored.
mod crm;
// The hand-worked eight deals, every printed line.
mod fixture;
// A stage log of loan applications: funnel, transitions, competing outcomes.
mod loans;
// Purchases of customers: cohorts, retention, repurchase.
mod purchases;
mod seeds;
