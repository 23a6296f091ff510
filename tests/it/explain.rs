//! `explain deal`: the whole story of one deal, down to the rows it counts in.

use dealmill::engine::Backend;
use dealmill::error::Error;
use dealmill::run::{self, ExplainBy, RunOptions};

use crate::support::Scratch;

fn told(scratch: &Scratch, config: &str, deal: &str, by: ExplainBy) -> Result<String, Error> {
    let options = RunOptions { on_step: &|_| (), backend: Backend::Kernel };
    run::explain_deal(&scratch.resolve(config)?, deal, by, &options)
}

#[track_caller]
fn check(story: &str, parts: &[&str]) {
    for part in parts {
        assert!(story.contains(part), "no {part:?} in\n{story}");
    }
}

/// Two deals of customer 7, the earlier one in dollars, the later one in euros.
fn priced() -> Scratch {
    let scratch = Scratch::new();
    scratch.write(
        "events.csv",
        "deal_id,event_time,event_type,stage_id,amount,currency,customer_id,region\n\
         1,2024-03-05T10:00:00Z,stage,lead,100.00,EUR,7,north\n\
         1,2024-03-05T10:00:00Z,stage,lead,100.00,EUR,7,north\n\
         1,2024-03-20T10:00:00Z,stage,won,,,7,north\n\
         1,2024-05-01T10:00:00Z,attribute,,999.00,EUR,7,south\n\
         2,2024-01-10T10:00:00Z,stage,lead,50.00,USD,7,south\n\
         2,2024-01-20T10:00:00Z,stage,won,,,7,south\n\
         3,2024-01-21T10:00:00Z,stage,lead,1.00,USD,8,south\n\
         x,never,stage,lead,1.00,USD,8,south\n",
    );
    scratch.write(
        "rates.csv",
        "date,currency,rate_to_base\n2024-03-01,EUR,1.05\n2024-03-18,EUR,1.1\n",
    );
    scratch.write("accounts.csv", "key,industry\n7,Retail\n");
    scratch
}

const PRICED: &str = "[run]\nas_of = '2024-04-01T00:00:00Z'\n\
    [money]\ncurrency = 'USD'\npolicy = 'at_close'\n\
    [pipeline]\nstages = ['lead']\nwon = ['won']\nlost = ['lost']\n\
    [dimensions]\ncolumns = ['region', 'industry']\nslices = [[], ['industry']]\nvalues_max = 1\n\
    [dimensions.from]\nindustry = 'accounts.industry'\n\
    [inputs.deal_events]\npath = 'events.csv'\n\
    [inputs.fx_rates]\npath = 'rates.csv'\n\
    [inputs.accounts]\npath = 'accounts.csv'\nshape = 'lookup'\nkey = 'customer_id'\n";

#[test]
fn a_deal_is_told_from_its_rows_to_the_rows_it_counts_in() {
    let story = told(&priced(), PRICED, "1", ExplainBy::Total).unwrap();
    // 100.00 EUR at 1.1, which holds since two days before the close, are 110.00 USD.
    check(
        &story,
        &[
            "amount now 110.00 USD; given as 100.00 EUR, at 1.1 of 2024-03-20, which is that of \
             2024-03-18\n      from deal_events: ",
            "events.csv row 1\n",
            "duplicate, not counted again (G3)\n",
            "events.csv row 2\n",
            "is won in won, visit 1 to it\n",
            "after as_of, does not exist yet (G1)",
            "events.csv row 4\n",
            "outcome: won (final), first close won at 2024-03-20T10:00:00Z",
            "customer: 7",
            "amount: first 110.00 USD, now 110.00 USD, at close 110.00 USD",
            // South has more events than north, and only one value is named.
            "  region = (other); stands for \"north\", from deal_events: ",
            "  industry = Retail; column industry of input accounts by customer_id 7\n",
            "  revenue  all, month 2024-03-01 by closed_period: won_n +1, priced_n +1, \
             gross_amount +110.00\n",
            // It is not the first order of its customer, so neither new_n nor new_amount.
            "  revenue  all, month 2024-03-01 by ordered_period: order_n +1, order_amount +110.00\n",
            "its customer, with all of its orders, counts in, by month (durations in ",
        ],
    );
    assert!(!story.contains("2024-01-01 by closed_period"), "the other deal is another\n{story}");
    let by_slices = told(&priced(), PRICED, "1", ExplainBy::Slices).unwrap();
    check(
        &by_slices,
        &["  revenue  industry = Retail, month 2024-03-01 by closed_period: won_n +1"],
    );
}

#[test]
fn a_deal_that_is_kept_out_or_counts_nowhere_says_so() {
    let story = told(&priced(), PRICED, "x", ExplainBy::Total).unwrap();
    check(&story, &["kept out by rule bad_event_time: deal_events: ", "events.csv row 8\n"]);
    let unknown = told(&priced(), PRICED, "4", ExplainBy::Total).unwrap_err();
    assert_eq!(unknown.exit_code(), 2);
    // Without a policy the sums of both currencies are refused; the story is told all the same.
    let mixed = PRICED.replace("policy = 'at_close'", "policy = 'none'");
    let story = told(&priced(), &mixed, "1", ExplainBy::Total).unwrap();
    check(&story, &["amount now 100.00 USD", "counts in no table, for none can be made: "]);
}
