//! Durable linear workflows: a list of steps, each with what takes it back, that ends even if the process dies.
//!
//! ```text
//!            Started        Done            Started                    Done
//!   step 0 ─────────► run ───────► step 1 ─────────► run ─────► … ─────────► committed
//!                      │ Failed                       │ Failed     │
//!                      ▼                              ▼            │ past the pivot nothing fails:
//!   rolled back ◄── undo 0 ◄──────────────────── undo 1            │ a step goes on, or is Stuck
//!                Undone     Undone, UndoStarted                    ▼
//! ```
//!
//! A person may hold a saga before the pivot ([`Hold`]): `Paused` is on record, and the next attempt begins when they let
//! go. What is stuck goes on where it stood once a person's word ([`Plan::again`]) is in its log.
//!
//! The state of a saga is the fold of its [`Event`]s and nothing else. [`Plan::next`] decides from that state what
//! happens now, and [`Plan::record`] refuses every event that cannot follow: when it is written and when it is read
//! again. There is no recovery code; after a crash the [`Executor`] loads the log and asks again.
//!
//! This crate knows neither servers nor SQL. It refuses to be a general workflow engine: no branches, no parallel
//! steps, no timers of its own beyond the pause between two attempts.

mod cancel;
mod event;
mod executor;
mod hold;
mod log;
mod memory;
mod plan;
mod step;
mod store;
pub mod testing;

pub use cancel::Cancel;
pub use event::{Cause, Event};
pub use executor::{Executor, Rest, RunError, Silent, Watcher};
pub use hold::Hold;
pub use log::{Halt, Log, Phase};
pub use memory::MemoryStore;
pub use plan::{IllegalEvent, Next, Plan};
pub use step::{Call, Failure, Pausing, Retries, Step};
pub use store::{SagaId, Store, StoreError};

/// The code of the [`Cause`] of a saga that was cancelled.
pub const CANCELLED: &str = "cancelled";
