//! The panel: HTTP API, database, the agents' link and the migrations.
//!
//! ```text
//!   api ──► app ◄── link ◄── agents' WebSockets
//!    │       │
//!    ▼       ▼
//!    db   migrate ──► agent::Agents (the seam; `link` answers it)
//! ```
//!
//! It coordinates and never touches a server's files: agents do that. It knows agents only through
//! [`model::agent_api`]. [`run`] is the whole role; the executable and the tests call nothing else to start one.

pub mod access;
pub mod agent;
pub mod api;
pub mod app;
pub mod backup;
pub mod config;
pub mod databases;
pub mod db;
pub mod dns;
pub mod egg;
pub mod evacuate;
pub mod events;
mod install;
pub mod link;
pub mod migrate;
pub mod permit;
mod presence;
pub mod relay;
mod run;
pub mod schedule;
mod serve;
mod tell;
#[cfg(test)]
mod testing;
mod wake;
pub mod webhook;

pub use access::AccessConfig;
pub use config::Config;
pub use run::{StartError, router, run};
pub use webhook::OutboundConfig;
