//! Identifiers: one newtype per noun, so that a node's id cannot be passed for a server's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id (UUID version 7: sorts by time of creation).
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default that differs at each call would surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

id!(
    /// A game server.
    ServerId
);
id!(
    /// A node: one machine with a daemon. Also the identity of that daemon as an agent.
    NodeId
);
id!(
    /// One migration of one server. Also the id of its saga.
    TransferId
);
id!(
    /// An ip:port of a node.
    AllocationId
);
id!(
    /// An egg: the recipe that a server is made from.
    EggId
);
id!(
    /// An API key (not the key itself, which is shown once and stored hashed).
    ApiKeyId
);
id!(
    /// A person who can log in.
    UserId
);
id!(
    /// A set of permissions that users have.
    RoleId
);
id!(
    /// One log-in of a user.
    SessionId
);
id!(
    /// A notice to everybody who uses the panel.
    AnnouncementId
);
id!(
    /// A schedule of a server.
    ScheduleId
);
id!(
    /// One time that a schedule was due.
    ScheduleRunId
);
id!(
    /// Somebody outside who is told what happens.
    WebhookId
);
id!(
    /// One thing that a webhook is told.
    DeliveryId
);
id!(
    /// One thing that a user is told in the panel.
    NotificationId
);
id!(
    /// A MySQL or MariaDB server on which databases are made.
    DatabaseHostId
);
id!(
    /// A database of a game server.
    DatabaseId
);
id!(
    /// A DNS zone that takes updates.
    DnsZoneId
);
id!(
    /// A name of a game server in a zone.
    DnsNameId
);
id!(
    /// Several servers that are moved one after the other.
    EvacuationId
);
id!(
    /// One server's turn in an evacuation.
    EvacuationItemId
);
id!(
    /// A backup of one server.
    BackupId
);
id!(
    /// A place for backups.
    BackupStorageId
);
id!(
    /// One attempt to give a server the files of a backup.
    RestoreId
);
