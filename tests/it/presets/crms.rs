//! A sample per preset, with its numbers counted by hand.

use super::{Counts, affected, check, net_by, prepared, run, write_bytes};
use crate::support::{Scratch, int, only};

const SALESFORCE_STAGES: &str = "\
Id,ApiName,MasterLabel,SortOrder,IsActive,IsClosed,IsWon
01J1,Prospecting,Prospecting,1,true,false,false
01J2,Proposal,Angebot,2,true,false,false
01J3,Negotiation,Negotiation,3,true,false,false
01J4,Closed Won,Closed Won,8,true,true,true
01J5,Signed,Signed,9,false,true,true
01J6,Closed Lost,Closed Lost,10,true,true,false
";

/// A is won in a second in which two rows were written, the later stage first; one row of it was
/// exported twice. B is lost, C open, D deleted. E is won in a stage that is not called so.
#[test]
fn salesforce_history() {
    let history = "\
Id,OpportunityId,CreatedDate,StageName,Amount,CloseDate,Probability,IsDeleted
008a1,006A,2024-01-10T09:00:00.000Z,Prospecting,1000.00,2024-03-31,10,false
008a2,006A,2024-01-20T10:00:00.000+0000,Angebot,1200.50,2024-03-31,50,false
008a2,006A,2024-01-20T10:00:00.000+0000,Angebot,1200.50,2024-03-31,50,false
008a4,006A,2024-02-01T10:00:00.000Z,Closed Won,1500.50,2024-02-01,100,false
008a3,006A,2024-02-01T10:00:00.000Z,Negotiation,1500.50,2024-03-31,70,false
008b1,006B,2024-01-11T09:00:00.000Z,Prospecting,400,2024-03-31,10,false
008b2,006B,2024-02-10T09:00:00.000Z,Closed Lost,400,2024-02-10,0,false
008c1,006C,2024-03-01T09:00:00.000Z,Prospecting,700,2024-09-30,10,false
008d1,006D,2024-03-02T09:00:00.000Z,Prospecting,9000,2024-09-30,10,true
008e1,006E,2024-03-03T09:00:00.000Z,Prospecting,,2024-04-30,10,false
008e2,006E,2024-03-15T09:00:00.000Z,Signed,300,2024-03-15,100,false
";
    let owners = "\
Id,OpportunityId,CreatedDate,Field,DataType,OldValue,NewValue
017a1,006A,2024-01-25T08:00:00.000Z,Owner,EntityId,0051,0052
017a2,006A,2024-01-25T08:00:00.000Z,Name,Text,old,new
";
    let deals = "\
Id,CreatedDate,StageName,CloseDate,AccountId,OwnerId,Amount,LeadSource,Type,IsDeleted
006A,2024-01-10T09:00:00.000Z,Closed Won,2024-02-01,001X,0052,1500.50,Web,New Business,false
006B,2024-01-11T09:00:00.000Z,Closed Lost,2024-02-10,001Y,0051,400,Web,New Business,false
006C,2024-03-01T09:00:00.000Z,Prospecting,2024-09-30,001Y,0051,700,Referral,,false
006D,2024-03-02T09:00:00.000Z,Prospecting,2024-09-30,001Z,0051,9000,Referral,,true
006E,2024-03-03T09:00:00.000Z,Signed,2024-03-15,001Z,0051,300,Referral,,false
";
    let scratch = prepared(
        "salesforce_history",
        &[
            ("salesforce/OpportunityHistory.csv", history),
            ("salesforce/OpportunityFieldHistory.csv", owners),
            ("salesforce/Opportunity.csv", deals),
            ("salesforce/OpportunityStage.csv", SALESFORCE_STAGES),
        ],
    );
    run(&scratch, &[]);
    let funnel = &[("Prospecting", 4), ("Proposal", 1), ("Negotiation", 1), ("won", 2)];
    check(&scratch, &Counts { deals: [4, 2, 1, 1], net_amount: 180_050, funnel });
    assert_eq!(net_by(&scratch, "owner_id", "0052"), 150_050);
    assert_eq!(net_by(&scratch, "source", "Referral"), 30_000);
    assert_eq!(affected(&scratch, "deal_events_owners", "unmapped_fields"), 1);
}

/// A has its whole log. B never moved. C is older than what is kept of the log, which begins when it
/// is lost. D was won, and nobody logged it. E is deleted.
#[test]
fn salesforce_field_history() {
    let log = "\
Id,OpportunityId,CreatedDate,Field,OldValue,NewValue
017a1,006A,2024-01-10T09:00:00.000Z,created,,
017a2,006A,2024-01-20T10:00:00.000Z,StageName,Prospecting,Proposal
017a3,006A,2024-01-20T10:00:00.000Z,Amount,1000,1500.5
017a4,006A,2024-02-01T10:00:00.000Z,StageName,Angebot,Closed Won
017a4,006A,2024-02-01T10:00:00.000Z,StageName,Angebot,Closed Won
017a5,006A,2024-02-01T10:00:00.000Z,NextStep,call,
017c1,006C,2024-02-05T10:00:00.000Z,StageName,Proposal,Closed Lost
017e1,006E,2024-02-06T10:00:00.000Z,StageName,Prospecting,Closed Won
";
    let deals = "\
Id,CreatedDate,StageName,CloseDate,AccountId,OwnerId,Amount,LeadSource,Type,IsDeleted
006A,2024-01-10T09:00:00.000Z,Closed Won,2024-02-01,001X,0052,1500.50,Web,,false
006B,2024-01-11T09:00:00.000Z,Prospecting,2024-09-30,001Y,0051,400,Web,,false
006C,2022-03-01T09:00:00.000Z,Closed Lost,2024-02-05,001Y,0051,700,Web,,false
006D,2024-03-02T09:00:00.000Z,Closed Won,2024-03-10,001Z,0051,250,Referral,,false
006E,2024-01-03T09:00:00.000Z,Closed Won,2024-02-06,001Z,0051,300,Referral,,true
";
    let scratch = prepared(
        "salesforce_field_history",
        &[
            ("salesforce/OpportunityFieldHistory.csv", log),
            ("salesforce/Opportunity.csv", deals),
            ("salesforce/OpportunityStage.csv", SALESFORCE_STAGES),
        ],
    );
    run(&scratch, &[]);
    let funnel = &[("Prospecting", 2), ("Proposal", 2), ("Negotiation", 0), ("won", 2)];
    check(&scratch, &Counts { deals: [4, 2, 1, 1], net_amount: 175_050, funnel });
    assert_eq!(net_by(&scratch, "source", "Referral"), 25_000);
    // That D was won, and that E was deleted.
    assert_eq!(affected(&scratch, "deals", "unlogged_outcomes"), 2);
}

/// A is won, D lost. E is won in a stage that is in no registry any more, which its flags tell. The
/// interval of B ended without a successor, and C is marked as deleted.
#[test]
fn salesforce_fivetran() {
    let history = "\
_fivetran_active,_fivetran_start,_fivetran_end,id,created_date,stage_name,is_closed,is_won,amount,\
close_date,account_id,owner_id,is_deleted,lead_source,type
false,2024-01-10 09:00:00,2024-01-20 09:59:59.999,006A,2024-01-09 19:51:13,Prospecting,false,false,\
1000,2024-03-31 00:00:00,001X,0051,false,Web,
false,2024-01-20 10:00:00,2024-02-01 09:59:59.999,006A,2024-01-09 19:51:13,Angebot,false,false,\
1200,2024-03-31 00:00:00,001X,0051,false,Web,
true,2024-02-01 10:00:00,9999-12-31 23:59:59,006A,2024-01-09 19:51:13,Closed Won,true,true,\
1500.50,2024-02-01 00:00:00,001X,0052,false,Web,
false,2024-01-11 09:00:00,2024-02-10 09:00:00,006B,2024-01-11 08:00:00,Prospecting,false,false,\
400,2024-03-31 00:00:00,001Y,0051,false,Web,
false,2024-01-12 09:00:00,2024-02-12 08:59:59.999,006C,2024-01-12 08:00:00,Prospecting,false,false,\
9000,2024-03-31 00:00:00,001Y,0051,false,Web,
true,2024-02-12 09:00:00,9999-12-31 23:59:59,006C,2024-01-12 08:00:00,Prospecting,false,false,\
9000,2024-03-31 00:00:00,001Y,0051,true,Web,
false,2024-01-13 09:00:00,2024-02-13 08:59:59.999,006D,2024-01-13 08:00:00,Prospecting,false,false,\
,2024-03-31 00:00:00,001Z,0051,false,Referral,
true,2024-02-13 09:00:00,9999-12-31 23:59:59,006D,2024-01-13 08:00:00,Closed Lost,true,false,\
,2024-02-13 00:00:00,001Z,0051,false,Referral,
false,2024-01-14 09:00:00,2024-02-14 08:59:59.999,006E,2024-01-14 08:00:00,Prospecting,false,false,\
300,2024-03-31 00:00:00,001Z,0051,false,Referral,
true,2024-02-14 09:00:00,9999-12-31 23:59:59,006E,2024-01-14 08:00:00,Gewonnen (alt),true,true,\
300,2024-02-14 00:00:00,001Z,0051,false,Referral,
";
    let stages = SALESFORCE_STAGES.replace(
        "Id,ApiName,MasterLabel,SortOrder,IsActive,IsClosed,IsWon",
        "id,api_name,master_label,sort_order,is_active,is_closed,is_won",
    );
    let scratch = prepared(
        "salesforce_fivetran",
        &[
            ("salesforce/opportunity_history.csv", history),
            ("salesforce/opportunity_stage.csv", &stages),
        ],
    );
    run(&scratch, &[]);
    let funnel = &[("Prospecting", 3), ("Proposal", 1), ("Negotiation", 0), ("won", 2)];
    check(&scratch, &Counts { deals: [3, 2, 1, 0], net_amount: 180_050, funnel });
    assert_eq!(net_by(&scratch, "owner_id", "0052"), 150_050);
}

/// 101 is won, 102 lost though `closed_won` says otherwise, 103 open. 104 was merged into 101: it is
/// deleted, and counts no second time. 105 was merged into 103, and its flag says nothing of it.
#[test]
fn hubspot_fivetran() {
    let stages = "\
_fivetran_deleted,active,closed_won,is_closed,display_order,probability,stage_id,label,pipeline_id
FALSE,TRUE,FALSE,FALSE,0,0.2,appointmentscheduled,Appointment Scheduled,default
FALSE,TRUE,FALSE,FALSE,1,0.4,qualifiedtobuy,Qualified To Buy,default
FALSE,TRUE,TRUE,TRUE,2,1.0,closedwon,Closed Won,default
FALSE,TRUE,TRUE,TRUE,3,0.0,closedlost,Closed Lost,default
";
    let history = "\
_fivetran_start,deal_id,_fivetran_active,_fivetran_end,date_entered,source,value
2024-01-10 9:00:00,101,FALSE,2024-01-20 9:59:59,2024-01-10 9:00:00,CRM_UI,appointmentscheduled
2024-01-20 10:00:00,101,FALSE,2024-02-01 9:59:59,2024-01-20 10:00:00,CRM_UI,qualifiedtobuy
2024-02-01 10:00:00,101,TRUE,2050-01-01 00:00:00,2024-02-01 10:00:00,CRM_UI,closedwon
2024-01-11 9:00:00,102,FALSE,2024-02-02 9:59:59,2024-01-11 9:00:00,CRM_UI,appointmentscheduled
2024-02-02 10:00:00,102,TRUE,2050-01-01 00:00:00,2024-02-02 10:00:00,CRM_UI,closedlost
2024-03-01 9:00:00,103,TRUE,2050-01-01 00:00:00,2024-03-01 9:00:00,IMPORT,appointmentscheduled
2024-01-12 9:00:00,104,TRUE,2050-01-01 00:00:00,2024-01-12 9:00:00,CRM_UI,closedwon
2024-02-12 9:00:00,105,TRUE,2050-01-01 00:00:00,2024-02-12 9:00:00,CRM_UI,qualifiedtobuy
";
    let properties = "\
deal_id,timestamp,source,name,source_id,value
101,2024-01-10 9:00:00,CRM_UI,amount,,1000
101,2024-02-01 9:30:00,CRM_UI,amount,,1500.5
101,2024-01-10 9:00:00,CRM_UI,hubspot_owner_id,,77
101,2024-02-10 9:00:00,CRM_UI,hubspot_owner_id,,78
101,2024-02-10 9:00:00,CRM_UI,closedate,,1706781600000
";
    let deals = "\
deal_id,is_deleted,deal_pipeline_id,deal_pipeline_stage_id,owner_id,property_amount,\
property_closedate,property_createdate
101,false,default,closedwon,78,1500.5,2024-02-01 10:00:00,2024-01-10 9:00:00
102,false,default,closedlost,77,400,2024-02-02 10:00:00,2024-01-11 9:00:00
103,false,default,appointmentscheduled,77,,2024-03-31 00:00:00,2024-03-01 9:00:00
104,true,default,closedwon,77,1500.5,2024-01-12 9:00:00,2024-01-12 9:00:00
105,false,default,qualifiedtobuy,77,70,,2024-02-12 9:00:00
";
    let merges = "\
deal_id,merged_deal_id,_fivetran_synced
101,104,2024-06-01 11:37:07.210000
103,105,2024-06-01 11:37:07.210000
";
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
    let funnel = &[("appointmentscheduled", 3), ("qualifiedtobuy", 1), ("won", 1)];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
    // The owner at the close, not the one of today.
    assert_eq!(net_by(&scratch, "owner_id", "77"), 150_050);
    assert_eq!(affected(&scratch, "merges", "merged_deals"), 2);
    // United, the deal that goes on as 103 was in the second stage, too, and began in February.
    run(&scratch, &["fold.merged=union"]);
    let funnel = &[("appointmentscheduled", 3), ("qualifiedtobuy", 2), ("won", 1)];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
}

/// 1 is won after all stages but one, 2 lost from the first, 3 open with a close date that is only a
/// guess, 4 of another pipeline.
#[test]
fn hubspot_export() {
    let stages =
        ["Appointment Scheduled", "Qualified To Buy", "Presentation Scheduled"].map(str::to_owned);
    let more = ["Decision Maker Bought-In", "Contract Sent"].map(str::to_owned);
    let entered: Vec<String> = stages
        .iter()
        .chain(&more)
        .map(|stage| format!("\"Date entered \"\"{stage} (Sales Pipeline)\"\"\""))
        .collect();
    let mut export = format!(
        "\u{feff}Record ID,Deal Name,Deal Stage,Pipeline,Create Date,Close Date,Amount,Deal owner,\
         Associated Company,Original Traffic Source,{}\n",
        entered.join(",")
    );
    export.push_str(
        "\
1,\"Müller, GmbH\",Closed Won,Sales Pipeline,2024-01-10 09:00,2024-02-01 10:00,1500.50,Ann Lee,\
Müller GmbH,Organic Search,2024-01-10 09:00,2024-01-12 09:00,,2024-01-20 09:00,2024-01-25 09:00
2,b,Closed Lost,Sales Pipeline,2024-01-11 09:00,2024-02-02 10:00,400,Ann Lee,Beta,Direct Traffic,\
2024-01-11 09:00,,,,
3,c,Appointment Scheduled,Sales Pipeline,2024-03-01 09:00,2024-03-31 23:59,,Bo Nilsson,Gamma,\
Direct Traffic,2024-03-01 09:00,,,,
4,d,Closed Won,Partner Pipeline,2024-03-01 09:00,2024-03-31 23:59,9000,Bo Nilsson,Gamma,\
Direct Traffic,,,,,
",
    );
    let scratch = prepared("hubspot_export", &[("hubspot/all-deals.csv", &export)]);
    run(&scratch, &[]);
    let funnel = &[
        ("Appointment Scheduled", 3),
        ("Qualified To Buy", 1),
        ("Presentation Scheduled", 0),
        ("Decision Maker Bought-In", 1),
        ("Contract Sent", 1),
        ("won", 1),
    ];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
    assert_eq!(net_by(&scratch, "source", "Organic Search"), 150_050);
}

/// 1 has its whole log. The log of 2 lacks the loss, as a singer tap's does. 3 is deleted, as merged
/// deals are. 4 is open. 5 has no log at all, and was won in its last stage.
#[test]
fn pipedrive() {
    let flow = "\
id,item_id,user_id,field_key,old_value,new_value,log_time
9001,1,7,add_time,,2024-01-10 09:00:00,2024-01-10 09:00:00
9002,1,7,stage_id,1,2,2024-01-15 09:00:00
9003,1,7,value,1000,1500.5,2024-01-16 09:00:00
9004,1,7,user_id,7,8,2024-01-17 09:00:00
9005,1,8,status,open,won,2024-02-01 10:00:00
9006,1,8,label,,12,2024-02-01 10:00:00
9007,2,7,add_time,,2024-01-11 09:00:00,2024-01-11 09:00:00
9008,3,7,stage_id,1,2,2024-01-12 09:00:00
9009,4,7,add_time,,2024-03-01 09:00:00,2024-03-01 09:00:00
";
    let none = "0000-00-00 00:00:00";
    let deals = format!(
        "id,add_time,stage_id,status,close_time,won_time,lost_time,value,currency,user_id,org_id,\
         expected_close_date,pipeline_id,channel
1,2024-01-10 09:00:00,2,won,2024-02-01 10:00:00,2024-02-01 10:00:00,{none},1500.5,EUR,8,51,\
2024-03-31,1,web
2,2024-01-11 09:00:00,1,lost,2024-02-10 12:00:00,{none},2024-02-10 12:00:00,400,EUR,7,52,\
0000-00-00,1,web
3,2024-01-12 09:00:00,2,deleted,{none},{none},{none},9000,EUR,7,51,0000-00-00,1,web
4,2024-03-01 09:00:00,1,open,{none},{none},{none},700,EUR,7,53,0000-00-00,1,fair
5,2024-03-02 09:00:00,3,won,2024-04-02 09:00:00,2024-04-02 09:00:00,{none},250,EUR,7,53,\
0000-00-00,1,fair
"
    );
    let stages = "\
id,order_nr,name,pipeline_id,deal_probability
1,1,Kontakt,1,10
3,3,Angebot,1,80
2,2,Treffen,1,40
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
    let funnel = &[("1", 3), ("2", 1), ("3", 1), ("won", 2)];
    check(&scratch, &Counts { deals: [4, 2, 1, 1], net_amount: 175_050, funnel });
    assert_eq!(net_by(&scratch, "owner_id", "8"), 150_050);
    assert_eq!(net_by(&scratch, "source", "fair"), 25_000);
    assert_eq!(affected(&scratch, "deal_events", "unmapped_fields"), 1);
}

const CHANGES: &str = "\
商机编号,变更时间,变更前阶段,变更后阶段,操作人
SJ001,2024-01-10 09:00:00,,初步接洽,张伟
SJ001,2024-01-20 10:00:00,初步接洽,方案报价,张伟
SJ001,2024-02-01 00:30:00,方案报价,成交,张伟
SJ002,2024-01-11 09:00:00,,初步接洽,李娜
SJ002,2024-02-10 09:00:00,初步接洽,丢单,李娜
SJ003,2024-03-01 09:00:00,,初步接洽,李娜
SJ004,2024-03-02 09:00:00,,初步接洽,张伟
SJ004,2024-03-12 09:00:00,初步接洽,商务谈判,张伟
SJ004,2024-03-22 09:00:00,商务谈判,赢单,张伟
";
const FORM: &str = "\
商机编号,商机名称,客户编号,阶段,预计金额,预计成交日期,负责人,区域,线索来源,提交时间
SJ001,门店改造,KH01,成交,\"12,000.50\",2024-01-31,张伟,华东,展会,2024-01-10 09:00:00
SJ002,扩容,KH02,丢单,\"3,000\",2024-02-28,李娜,华南,官网,2024-01-11 09:00:00
SJ003,续费,KH02,初步接洽,,,李娜,华南区,官网,2024-03-01 09:00:00
SJ004,二期,KH01,赢单,8000,2024-03-31,张伟,华东区,转介绍,2024-03-02 09:00:00
";

#[track_caller]
fn check_jiandaoyun(scratch: &Scratch) {
    let funnel = &[("初步接洽", 4), ("需求确认", 0), ("方案报价", 1), ("商务谈判", 1), ("won", 2)];
    check(scratch, &Counts { deals: [4, 2, 1, 1], net_amount: 2_000_050, funnel });
    assert_eq!(net_by(scratch, "区域", "华东"), 2_000_050);
    assert_eq!(net_by(scratch, "线索来源", "展会"), 1_200_050);
    assert_eq!(net_by(scratch, "owner_id", "张伟"), 2_000_050);
    // Half past midnight in Shanghai is still January in UTC.
    let february = [("slice", "all"), ("period", "month"), ("period_start", "2024-02-01")];
    assert_eq!(int(&only(&scratch.table("revenue"), &february), "won_n"), 1);
}

/// SJ001 is won by the old text of the option, SJ002 lost by one, SJ003 open, SJ004 won; a region has
/// two texts.
#[test]
fn jiandaoyun_in_utf_8_with_a_mark_and_in_gb18030() {
    let paths = ["简道云/商机阶段变更.csv", "简道云/商机.csv"];
    let marked = [CHANGES, FORM].map(|text| format!("\u{feff}{text}"));
    let scratch = prepared("jiandaoyun", &[(paths[0], &marked[0]), (paths[1], &marked[1])]);
    run(&scratch, &[]);
    check_jiandaoyun(&scratch);

    let scratch = prepared("jiandaoyun", &[(paths[0], ""), (paths[1], "")]);
    for (path, text) in paths.into_iter().zip([CHANGES, FORM]) {
        write_bytes(&scratch.path(path), &encoding_rs::GB18030.encode(text).0);
    }
    let encodings =
        ["deal_events", "deals"].map(|input| format!("inputs.{input}.encoding=\"gb18030\""));
    run(&scratch, &[&encodings[0], &encodings[1]]);
    check_jiandaoyun(&scratch);
}

/// The preset with the variant that begins with these words instead of its own history.
fn variant(begins: &str) -> String {
    let preset = dealmill::config::template("jiandaoyun").unwrap();
    let (head, rest) = preset.split_once("[inputs.deal_events]\n").unwrap();
    let (_, deals) = rest.split_once("[inputs.deals]").unwrap();
    let (_, variant) = rest.split_once(begins).unwrap();
    let commented = variant.lines().skip_while(|line| !line.starts_with("# ["));
    let lines: Vec<&str> = commented.map_while(|line| line.strip_prefix("# ")).collect();
    let (deals, _) = deals.split_once("\n# Instead of").unwrap();
    format!("{head}{}\n[inputs.deals]{deals}", lines.join("\n"))
}

/// The deals above by what the log of the form says: SJ001 and SJ004 won, SJ002 lost, SJ003 unmoved.
#[test]
fn jiandaoyun_by_its_change_log() {
    let log = "\
商机编号,操作时间,字段,修改前,修改后,操作人
SJ001,2024-01-20 10:00:00,阶段,初步接洽,方案报价,张伟
SJ001,2024-01-20 10:00:00,预计金额,\"10,000\",\"12,000.50\",张伟
SJ001,2024-02-01 00:30:00,阶段,方案报价,成交,张伟
SJ001,2024-02-01 00:30:00,备注,,已签,张伟
SJ002,2024-02-10 09:00:00,阶段,初步接洽,丢单,李娜
SJ004,2024-03-12 09:00:00,阶段,初步接洽,商务谈判,张伟
SJ004,2024-03-22 09:00:00,阶段,商务谈判,赢单,张伟
";
    let files = [("简道云/数据日志.csv", log), ("简道云/商机.csv", FORM)];
    let scratch = prepared("jiandaoyun", &files);
    scratch.write("dealmill.toml", &variant("# Instead of [inputs.deal_events] above"));
    run(&scratch, &[]);
    check_jiandaoyun(&scratch);
    assert_eq!(affected(&scratch, "deal_events", "unmapped_fields"), 1);
}

/// Three exports: 一 goes from the first stage to won, 二 is lost, 三 is seen once and then no more.
#[test]
fn jiandaoyun_by_daily_exports() {
    let export = |rows: &[&str]| {
        let head = "商机编号,阶段,预计金额,负责人,提交时间";
        format!("{head}\n{}\n", rows.join("\n"))
    };
    let days = [
        ("2024-01-10", export(&["一,初步接洽,1000,张伟,2024-01-09 09:00:00"])),
        (
            "2024-02-01",
            export(&[
                "一,商务谈判,1500.50,张伟,2024-01-09 09:00:00",
                "二,初步接洽,400,李娜,2024-01-20 09:00:00",
                "三,初步接洽,9000,李娜,2024-01-21 09:00:00",
            ]),
        ),
        (
            "2024-03-01",
            export(&[
                "一,赢单,1500.50,张伟,2024-01-09 09:00:00",
                "二,输单,400,李娜,2024-01-20 09:00:00",
            ]),
        ),
    ];
    let form = "商机编号,阶段,客户编号,负责人,预计金额,预计成交日期,提交时间,区域,线索来源
一,赢单,KH01,张伟,1500.50,2024-02-28,2024-01-09 09:00:00,华东,展会
二,输单,KH02,李娜,400,,2024-01-20 09:00:00,华南,官网
";
    let scratch = prepared("jiandaoyun", &[("简道云/商机.csv", form)]);
    for (day, text) in days {
        scratch.write(&format!("简道云/每日/date={day}/商机.csv"), &text);
    }
    scratch.write("dealmill.toml", &variant("# Or daily exports"));
    run(&scratch, &[]);
    let funnel = &[("初步接洽", 2), ("需求确认", 0), ("方案报价", 0), ("商务谈判", 1), ("won", 1)];
    check(&scratch, &Counts { deals: [2, 1, 1, 0], net_amount: 150_050, funnel });
    assert_eq!(net_by(&scratch, "区域", "华东"), 150_050);
}

/// 1 is won, 2 lost by the second kind of lost, 3 open; 4 is of another category.
#[test]
fn bitrix24() {
    let history = "\
ID,TYPE_ID,OWNER_ID,CREATED_TIME,CATEGORY_ID,STAGE_SEMANTIC_ID,STAGE_ID
501,1,1,2024-01-10T12:00:00+03:00,0,P,NEW
502,2,1,2024-01-20T12:00:00+03:00,0,P,PREPARATION
503,3,1,2024-02-01T12:00:00+03:00,0,S,WON
504,1,2,2024-01-11T12:00:00+03:00,0,P,NEW
505,3,2,2024-02-02T12:00:00+03:00,0,F,APOLOGY
506,1,3,2024-03-01T12:00:00+03:00,0,P,NEW
507,1,4,2024-03-02T12:00:00+03:00,7,P,C7:NEW
508,3,4,2024-03-03T12:00:00+03:00,7,S,C7:WON
";
    let deals = "\
ID,TITLE,DATE_CREATE,STAGE_ID,CLOSED,CLOSEDATE,OPPORTUNITY,CURRENCY_ID,ASSIGNED_BY_ID,COMPANY_ID,\
CATEGORY_ID,SOURCE_ID
1,a,2024-01-10T12:00:00+03:00,WON,Y,2024-02-01T03:00:00+03:00,1500.50,EUR,7,31,0,WEB
2,b,2024-01-11T12:00:00+03:00,APOLOGY,Y,2024-02-02T03:00:00+03:00,400.00,EUR,7,0,0,CALL
3,c,2024-03-01T12:00:00+03:00,NEW,N,2024-12-31T03:00:00+03:00,700.00,EUR,8,0,0,CALL
4,d,2024-03-02T12:00:00+03:00,C7:WON,Y,2024-03-03T03:00:00+03:00,9000.00,EUR,8,31,7,CALL
";
    let stages = "\
ID,ENTITY_ID,STATUS_ID,NAME,SORT,SEMANTICS,CATEGORY_ID
71,DEAL_STAGE,WON,Сделка успешна,50,S,0
72,DEAL_STAGE,NEW,Новая,10,,0
73,DEAL_STAGE,PREPARATION,Подготовка документов,20,,0
74,DEAL_STAGE,LOSE,Сделка провалена,60,F,0
75,DEAL_STAGE,APOLOGY,Анализ причины провала,70,F,0
";
    let scratch = prepared(
        "bitrix24",
        &[
            ("bitrix24/stagehistory.csv", history),
            ("bitrix24/deals.csv", deals),
            ("bitrix24/stages.csv", stages),
        ],
    );
    run(&scratch, &[]);
    let funnel = &[("NEW", 3), ("PREPARATION", 1), ("won", 1)];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
    assert_eq!(net_by(&scratch, "source", "WEB"), 150_050);
    // COMPANY_ID 0 is nobody, and not one customer of two deals.
    assert_eq!(affected(&scratch, "deal_events", "no_customer"), 2);
}

/// 1 is won, 3 lost, 4 open by an end in 9999; the row of 2 was deleted in the source. One interval
/// is in the export twice.
#[test]
fn dbt_snapshot() {
    let snapshot = "\
id,account_id,stage,amount,owner_id,region,created_at,dbt_scd_id,dbt_updated_at,dbt_valid_from,\
dbt_valid_to
1,31,lead,1000,ann,north,2024-01-10 08:00:00,s1,,2024-01-11 02:00:00,2024-01-21 02:00:00
1,31,lead,1000,ann,north,2024-01-10 08:00:00,s1,,2024-01-11 02:00:00,2024-01-21 02:00:00
1,31,qualified,1200,ann,north,2024-01-10 08:00:00,s2,,2024-01-21 02:00:00,2024-02-01 02:00:00
1,31,won,1500.50,bob,north,2024-01-10 08:00:00,s3,,2024-02-01 02:00:00,
2,32,lead,9000,ann,north,2024-01-10 08:00:00,s4,,2024-01-11 02:00:00,2024-01-15 02:00:00
3,33,lead,400,ann,south,2024-01-12 08:00:00,s5,,2024-01-13 02:00:00,2024-02-13 02:00:00
3,33,lost,400,ann,south,2024-01-12 08:00:00,s6,,2024-02-13 02:00:00,
4,33,lead,700,bob,south,2024-03-12 08:00:00,s7,,2024-03-13 02:00:00,9999-12-31 00:00:00
";
    let scratch = prepared("dbt_snapshot", &[("dbt/deals_snapshot.csv", snapshot)]);
    run(&scratch, &[]);
    let funnel = &[("lead", 3), ("qualified", 1), ("proposal", 0), ("negotiation", 0), ("won", 1)];
    check(&scratch, &Counts { deals: [3, 1, 1, 1], net_amount: 150_050, funnel });
    assert_eq!(net_by(&scratch, "owner_id", "bob"), 150_050);
}
