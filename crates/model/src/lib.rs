//! The nouns of BadgerPanel and the messages that panel and agents exchange.
//!
//! Data and its spelling in JSON, nothing else: no I/O, no async, no decisions beyond what a type must uphold by
//! itself. Everybody may depend on this crate; it depends on serde only (plus ids and time).

pub mod agent_api;
mod backup;
mod clock;
mod copy;
mod id;
mod permit;
mod server;
mod transfer;

pub use backup::{
    BackupAction, BackupContents, BackupProgress, BackupResult, BackupStand, SignedObject, SignedPart, UploadedPart,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use copy::{CopyProgress, CopyReceipt, FreezePrediction};
pub use id::{
    AllocationId, AnnouncementId, ApiKeyId, BackupId, BackupStorageId, DatabaseHostId, DatabaseId, DeliveryId,
    DnsNameId, DnsZoneId, EggId, NodeId, NotificationId, RestoreId, RoleId, ScheduleId, ScheduleRunId, ServerId,
    SessionId, TransferId, UserId, WebhookId,
};
pub use id::{EvacuationId, EvacuationItemId};
pub use jiff::Timestamp;
pub use permit::{Epoch, Permit};
pub use server::{
    Allocation, ConfigFile, ConfigRule, InstallScript, Limits, Resources, RuntimeKind, ServerObservation, ServerSpec,
    ServerStatus, StopHow, fill_in,
};
pub use transfer::{CopyPath, Failure, Mode, Options, PathKind, Stage, StartAfter, TransferState, TriedPath, Verify};
