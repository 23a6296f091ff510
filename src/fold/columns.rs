//! What the fold emits: the columns of `visits` and `deals` as plain vectors, and what the later
//! passes (customers, look-ups) need beside them.

use crate::contract::Id;

/// Declares a struct of equally long columns that can be appended to one another.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[expect(missing_docs, reason = "each field is the relation's column of the same name")]
        pub struct $name {
            $(pub $field: Vec<$type>,)*
        }

        impl $name {
            /// Moves the rows of another part behind these.
            pub fn append(&mut self, other: &mut Self) {
                $(self.$field.append(&mut other.$field);)*
            }

            /// Makes room for so many more rows.
            pub fn reserve(&mut self, rows: usize) {
                $(self.$field.reserve_exact(rows);)*
            }
        }
    };
}

columns! {
    /// Columns of `visits`; `deal` is the row of the visit's deal in `deals`.
    VisitColumns {
        deal: u32,
        stage: u32,
        stage_class: u32,
        stage_order: i16,
        visit_no: i64,
        prev_stage: u32,
        arrival: u32,
        next_stage: u32,
        ended: u32,
        entered_on: i32,
        entered_period: i32,
        left_on: i32,
        dwell: i64,
        is_negative: i8,
        is_censored: i8,
        is_entry: i8,
        is_first_visit: i8,
        is_last_visit: i8,
        is_first_move: i8,
        is_first_exit: i8,
        amount: i64,
        has_amount: i8,
        move_amount: i64,
        has_move_amount: i8,
        owner: u32,
    }
}

columns! {
    /// Columns of `deals`; the last ones are for the passes over customers.
    DealColumns {
        created_on: i32,
        created_period: i32,
        entered_period: i32,
        closed_on: i32,
        closed_period: i32,
        first_closed_on: i32,
        first_closed_period: i32,
        is_won: i8,
        is_lost: i8,
        is_open: i8,
        is_deleted: i8,
        is_first_won: i8,
        is_first_lost: i8,
        ever_won: i8,
        is_overdue: i8,
        cycle: i64,
        cycle_status: u32,
        is_negative_cycle: i8,
        reached_level: i16,
        fall_through_level: i16,
        ordered_level: i16,
        strict_level: i16,
        furthest_final_level: i16,
        first_level: i16,
        visits_n: i64,
        skips_n: i64,
        regressions_n: i64,
        reopens_n: i64,
        pushes_n: i64,
        amount: i64,
        created_amount: i64,
        closed_amount: i64,
        owner: u32,
        owner_at_close: u32,
        owner_at_creation: u32,
        customer: Id,
        deal: Id,
        deal_hash: u64,
        closed_at: i64,
    }
}

/// Everything that one part of the fold emits.
#[derive(Debug, Default)]
pub struct Folded {
    /// The visits.
    pub visits: VisitColumns,
    /// The deals.
    pub deals: DealColumns,
    /// The value of each dimension that comes with the events, a deal.
    pub dimensions: Vec<Vec<u32>>,
    /// What was counted on the way.
    pub tally: Tally,
}

/// What the fold counts for the quality ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the quality rule of the same name")]
pub struct Tally {
    pub duplicate_events: u64,
    /// Of the duplicate events those that are equal to another one in every column read.
    pub equal_events: u64,
    pub tied_events: u64,
    pub no_op_changes: u64,
    pub before_creation: u64,
    pub after_deletion: u64,
    pub unknown_stage_events: u64,
    pub deals: u64,
    pub no_customer: u64,
    pub no_stage: u64,
    pub null_amount_won: u64,
    pub zero_amount_won: u64,
    pub negative_amount_won: u64,
    pub negative_cycle: u64,
    pub deleted_deals: u64,
    pub tied_deals: u64,
    /// Unit and row of every event of a deal kept out for its ties.
    pub rejected: Vec<(usize, u32)>,
}

impl Tally {
    fn append(&mut self, other: &mut Self) {
        self.duplicate_events += other.duplicate_events;
        self.equal_events += other.equal_events;
        self.tied_events += other.tied_events;
        self.no_op_changes += other.no_op_changes;
        self.before_creation += other.before_creation;
        self.after_deletion += other.after_deletion;
        self.unknown_stage_events += other.unknown_stage_events;
        self.deals += other.deals;
        self.no_customer += other.no_customer;
        self.no_stage += other.no_stage;
        self.null_amount_won += other.null_amount_won;
        self.zero_amount_won += other.zero_amount_won;
        self.negative_amount_won += other.negative_amount_won;
        self.negative_cycle += other.negative_cycle;
        self.deleted_deals += other.deleted_deals;
        self.tied_deals += other.tied_deals;
        self.rejected.append(&mut other.rejected);
    }
}

impl Folded {
    /// Makes room for what so many events can become: at most a visit each, and seldom more than a
    /// deal for two. Pages that are not filled are never touched; growing by doubling would touch,
    /// copy and clear them again and again.
    pub fn reserve(&mut self, events: usize) {
        self.visits.reserve(events);
        self.deals.reserve(events / 2);
        for column in &mut self.dimensions {
            column.reserve_exact(events / 2);
        }
    }

    /// Moves another part behind this one.
    pub fn append(&mut self, mut other: Self) {
        let deals_before = self.deals.deal.len() as u32;
        for deal in &mut other.visits.deal {
            *deal += deals_before;
        }
        self.visits.append(&mut other.visits);
        self.deals.append(&mut other.deals);
        self.dimensions.resize_with(other.dimensions.len().max(self.dimensions.len()), Vec::new);
        for (all, more) in self.dimensions.iter_mut().zip(&mut other.dimensions) {
            all.append(more);
        }
        self.tally.append(&mut other.tally);
    }
}
