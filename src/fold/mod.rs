//! Events to visits and deals: scatter, order, one linear pass per deal.
