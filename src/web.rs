//! What people and scripts read besides `/metrics`: the page, the JSON API, and the inventory that both show.

pub mod api;
pub mod inventory;
pub mod page;
pub mod query;
