//! CRMs with two pipelines, one after the other: a deal is won in the first and goes on in the second.

use super::*;

/// 201 and 202 are won and go on in onboarding, where 202 is cancelled; 203 is open in sales; 204 began
/// in onboarding, and nothing but its stage says so.
#[test]
fn hubspot_fivetran_with_two_pipelines() {
    let stages = "\
_fivetran_deleted,active,closed_won,is_closed,display_order,probability,stage_id,label,pipeline_id
FALSE,TRUE,FALSE,FALSE,0,0.2,appointmentscheduled,Appointment Scheduled,default
FALSE,TRUE,TRUE,TRUE,1,1.0,closedwon,Closed Won,default
FALSE,TRUE,TRUE,TRUE,2,0.0,closedlost,Closed Lost,default
FALSE,TRUE,FALSE,FALSE,0,0.9,9001,Kickoff,8001
FALSE,TRUE,TRUE,TRUE,1,1.0,9002,Live,8001
FALSE,TRUE,TRUE,TRUE,2,0.0,9003,Cancelled,8001
";
    let history = "\
_fivetran_start,deal_id,_fivetran_active,_fivetran_end,date_entered,source,value
2024-01-10 9:00:00,201,FALSE,2024-02-01 9:59:59,2024-01-10 9:00:00,CRM_UI,appointmentscheduled
2024-02-01 10:00:00,201,FALSE,2024-03-01 9:59:59,2024-02-01 10:00:00,CRM_UI,closedwon
2024-03-01 10:00:00,201,TRUE,2050-01-01 00:00:00,2024-03-01 10:00:00,CRM_UI,9001
2024-01-11 9:00:00,202,FALSE,2024-02-10 9:59:59,2024-01-11 9:00:00,CRM_UI,appointmentscheduled
2024-02-10 10:00:00,202,FALSE,2024-03-02 9:59:59,2024-02-10 10:00:00,CRM_UI,closedwon
2024-03-02 10:00:00,202,FALSE,2024-04-02 9:59:59,2024-03-02 10:00:00,CRM_UI,9001
2024-04-02 10:00:00,202,TRUE,2050-01-01 00:00:00,2024-04-02 10:00:00,CRM_UI,9003
2024-01-12 9:00:00,203,TRUE,2050-01-01 00:00:00,2024-01-12 9:00:00,CRM_UI,appointmentscheduled
2024-03-05 9:00:00,204,TRUE,2050-01-01 00:00:00,2024-03-05 9:00:00,CRM_UI,9001
";
    let properties = "\
deal_id,timestamp,source,name,source_id,value
201,2024-01-10 9:00:00,CRM_UI,amount,,1000
201,2024-03-01 10:00:00,CRM_UI,pipeline,,8001
202,2024-01-11 9:00:00,CRM_UI,amount,,400
202,2024-03-02 10:00:00,CRM_UI,pipeline,,8001
";
    let deals = "\
deal_id,is_deleted,deal_pipeline_id,deal_pipeline_stage_id,owner_id,property_amount,\
property_closedate,property_createdate
201,false,8001,9001,78,1000,2024-02-01 10:00:00,2024-01-10 9:00:00
202,false,8001,9003,77,400,2024-04-02 10:00:00,2024-01-11 9:00:00
203,false,default,appointmentscheduled,77,,2024-03-31 00:00:00,2024-01-12 9:00:00
204,false,8001,9001,77,,2024-03-31 00:00:00,2024-03-05 9:00:00
";
    let merges = "deal_id,merged_deal_id,_fivetran_synced\n";
    let scratch = prepared(
        "hubspot_fivetran",
        &[
            ("hubspot/deal_pipeline_stage.csv", stages),
            ("hubspot/deal_stage.csv", history),
            ("hubspot/deal_property_history.csv", properties),
            ("hubspot/deal.csv", deals),
            ("hubspot/merged_deal.csv", merges),
        ],
    );
    run(&scratch, &[]);
    // By pipeline: onboarding, then sales.
    let funnel = &[("9001", 3), ("won", 0), ("appointmentscheduled", 1), ("won", 0)];
    check(&scratch, &Counts { deals: [4, 1, 1, 2], net_amount: 100_000, funnel });
    assert_eq!(affected(&scratch, "deals", "history_disagrees"), 0);
    let april = [("slice", "all"), ("period", "month"), ("period_start", "2024-04-01")];
    let ledger = only(&scratch.table("revenue_clocks"), &april);
    assert_eq!(int(&ledger, "ledger_reversed_amount"), -40_000);
}

/// 1 is won and then moved to the other pipeline, as its own status stays won; 2 is lost; 3 is moved
/// while it is open.
#[test]
fn pipedrive_with_two_pipelines() {
    let flow = "\
id,item_id,user_id,field_key,old_value,new_value,log_time
9001,1,7,add_time,,2024-01-10 09:00:00,2024-01-10 09:00:00
9002,1,7,stage_id,1,2,2024-01-15 09:00:00
9003,1,7,status,open,won,2024-02-01 10:00:00
9004,1,7,pipeline_id,1,2,2024-03-01 10:00:00
9005,1,7,stage_id,2,7,2024-03-01 10:00:00
9006,2,7,add_time,,2024-01-11 09:00:00,2024-01-11 09:00:00
9007,3,7,add_time,,2024-01-12 09:00:00,2024-01-12 09:00:00
9008,3,7,pipeline_id,1,2,2024-02-01 09:00:00
9009,3,7,stage_id,1,7,2024-02-01 09:00:00
9010,3,7,stage_id,7,8,2024-02-15 09:00:00
";
    let none = "0000-00-00 00:00:00";
    let deals = format!(
        "id,add_time,stage_id,status,close_time,won_time,lost_time,value,currency,user_id,org_id,\
         expected_close_date,pipeline_id,channel
1,2024-01-10 09:00:00,7,won,2024-02-01 10:00:00,2024-02-01 10:00:00,{none},1500.5,EUR,7,51,\
2024-03-31,2,web
2,2024-01-11 09:00:00,1,lost,2024-02-10 12:00:00,{none},2024-02-10 12:00:00,400,EUR,7,52,\
0000-00-00,1,web
3,2024-01-12 09:00:00,8,open,{none},{none},{none},700,EUR,7,53,0000-00-00,2,fair
"
    );
    let stages = "\
id,order_nr,name,pipeline_id,deal_probability
1,1,Kontakt,1,10
2,2,Angebot,1,40
7,1,Start,2,90
8,2,Betrieb,2,95
";
    let scratch = prepared(
        "pipedrive",
        &[
            ("pipedrive/dealflow.csv", flow),
            ("pipedrive/deals.csv", &deals),
            ("pipedrive/stages.csv", stages),
        ],
    );
    run(&scratch, &[]);
    let funnel = &[("1", 1), ("2", 0), ("won", 0), ("7", 2), ("8", 1), ("won", 0)];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
    assert_eq!(affected(&scratch, "deals", "history_disagrees"), 0);
    let whole = [("slice", "all"), ("period", "all")];
    let clocks = only(&scratch.table("revenue_clocks"), &whole);
    assert_eq!((int(&clocks, "ledger_won_n"), int(&clocks, "ledger_reversed_n")), (1, 0));
}
