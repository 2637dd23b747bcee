//! The panel's real migrations against a world that fails on purpose.
//!
//! ```text
//!   Panel (panel::migrate::Migrations over SQLite) ──Request──► World (panel::agent::Agents)
//!     ▲  crash, revive, cancel                                    │ nodes with servers, staging, leases, records
//!     └──────────────────────────── faults ◄──────────────────────┤ a game that writes while it runs
//!                                                                 └ invariants, after every effect and every tick
//! ```
//!
//! Test only: nothing depends on this crate. Data trees are values, agents are a few hundred lines with the contract of
//! [`model::agent_api`], time is tokio's paused clock, and what goes wrong is a list of [`Fault`]s or a seed. A case
//! asserts that each of its faults fired.

mod agent;
mod effects;
mod fault;
mod random;
mod rows;
mod scene;
mod time;
mod tree;
mod way;
mod world;

pub use fault::{Fault, Planned, Side, When};
pub use random::Random;
pub use scene::{End, Scene, Setup};
pub use time::{Accesses, Moment, SimClock, flow};
pub use tree::Tree;
pub use way::{Gate, Ways};
pub use world::World;
