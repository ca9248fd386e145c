//! The pages for people and scripts besides `/metrics`: the HTML page, the JSON API, and the inventory that both show.

pub mod api;
pub mod inventory;
pub mod page;
pub mod query;
