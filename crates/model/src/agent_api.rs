//! What panel and agent say to each other over the agent's WebSocket, one JSON text message each.
//!
//! ```text
//! agent                                   panel
//!   │  GET /api/v1/agents/connect           │   Authorization: Bearer <enrolment token | agent id.secret>
//!   │ ─ hello ────────────────────────────► │   who I am, what runs here
//!   │ ◄──────────────────────────── welcome │   your id, the key that signs permits
//!   │ ◄─────────────────── request {id, …}  │
//!   │ ─ reply {id, outcome} ──────────────► │   in any order; a long command answers when it is done
//!   │ ─ notice ───────────────────────────► │   heartbeat, a status that changed, progress
//! ```
//!
//! Unknown fields are ignored. An unknown request is answered with [`ErrorCode::Unsupported`]. After a reconnect the
//! panel asks again what it had asked; a transfer command that carries the same [`StepKey`] gets the recorded answer,
//! or joins the one that still runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BackupAction, BackupId, BackupStand, CopyProgress, CopyReceipt, Epoch, FreezePrediction, NodeId, Permit, Resources,
    RuntimeKind, ServerId, ServerObservation, ServerSpec, Timestamp, TransferId,
};

/// Version of this protocol. A panel talks with agents of its own and the previous version.
pub const VERSION: u32 = 1;

/// Largest message either side accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// First message of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// Release of the software, for people.
    pub software: String,
    /// Host name, for people.
    pub host: String,
    /// What it runs servers with.
    pub runtime: RuntimeKind,
    /// SHA-256 of its certificate for data connections, lower-case hex.
    pub fingerprint: String,
    /// `host:port` at which other agents reach its data listener.
    pub data_address: String,
    /// The secret with which it will identify itself from now on; only together with an enrolment token. The agent
    /// makes it, so an enrolment whose answer was lost can be repeated.
    pub secret: Option<String>,
    /// What the machine has left.
    pub resources: Resources,
    /// Every server that it holds.
    pub servers: Vec<ServerObservation>,
    /// Only of an orchestrator: what its cluster is like.
    #[serde(default)]
    pub cluster: Option<ClusterFacts>,
}

/// The panel's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`VERSION`] of the panel.
    pub version: u32,
    /// Who the agent is.
    pub agent_id: NodeId,
    /// Ed25519 public key that signs permits, base64.
    pub permit_key: String,
    /// How often the panel wants to hear from it, in milliseconds.
    pub heartbeat_ms: u64,
}

/// Panel → agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// The handshake is over.
    Welcome(Welcome),
    /// Do something and answer under the same id.
    Request {
        /// Chosen by the panel, unique within one connection.
        id: u64,
        /// What to do. Kept as a value so that an unknown command can be answered.
        request: serde_json::Value,
    },
}

/// Agent → panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPanel {
    /// First message.
    Hello(Box<Hello>),
    /// The outcome of a request.
    Reply {
        /// The request's.
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// News.
    Notice(Notice),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok(Reply),
    /// It was not.
    Err(AgentError),
}

/// A command to an agent. All are idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Are you there?
    Ping,
    /// Make a server: directory, epoch, installation. Answers when the installation has ended.
    CreateServer {
        /// What to make.
        spec: Box<ServerSpec>,
        /// Its first epoch on this agent.
        epoch: Epoch,
    },
    /// Take note of what the server is from now on: addresses, variables, limits, command line, image. Nothing is started,
    /// stopped or installed; what runs goes on as it is, and the next start is by this. On a cluster its ports change at
    /// once ([`ErrorCode::PortTaken`] if one is somebody else's there).
    ConfigureServer {
        /// What it is.
        spec: Box<ServerSpec>,
    },
    /// Start it. A server that runs already is left alone.
    StartServer {
        /// Which.
        server_id: ServerId,
        /// The right to.
        permit: Permit,
    },
    /// Ask it to end and answer when it has ([`ErrorCode::WillNotStop`] if its patience ran out).
    StopServer {
        /// Which.
        server_id: ServerId,
    },
    /// End it at once.
    KillServer {
        /// Which.
        server_id: ServerId,
    },
    /// A line for its console.
    SendConsole {
        /// Which.
        server_id: ServerId,
        /// Without the line end.
        line: String,
    },
    /// The last lines of its console.
    ReadConsole {
        /// Which.
        server_id: ServerId,
        /// How many at most.
        lines: u32,
    },
    /// The lines of its console behind a mark, as soon as there is one. → [`Reply::ConsoleLines`]
    FollowConsole {
        /// Which.
        server_id: ServerId,
        /// What the asker has seen; none to begin with the last lines.
        after: Option<ConsoleMark>,
        /// How many at most.
        lines: u32,
        /// For how many milliseconds to wait for a line if there is none.
        wait_ms: u64,
    },
    /// What it is doing.
    ObserveServer {
        /// Which.
        server_id: ServerId,
    },
    /// Remove it and its files.
    RemoveServer {
        /// Which.
        server_id: ServerId,
    },
    /// How big is it, and can all of it be read? Changes nothing, and is no part of a transfer. → [`Reply::Measured`],
    /// or [`ErrorCode::CannotCarry`] with the paths that cannot be read.
    MeasureServer {
        /// Which.
        server_id: ServerId,
    },
    /// Could this server be taken in? Changes nothing. → [`Reply::Checked`]
    CheckTarget {
        /// The server as it would be here.
        spec: Box<ServerSpec>,
        /// Bytes that must fit.
        bytes: u64,
        /// Inodes that must fit.
        files: u64,
    },
    /// Could a server here use this database? Really connects, and changes nothing. → [`Reply::DatabaseChecked`]
    CheckDatabase {
        /// Address or name of the MySQL or MariaDB server.
        host: String,
        /// Its port.
        port: u16,
        /// The database.
        database: String,
        /// Its user.
        username: String,
        /// With which password.
        password: Secret,
    },
    /// One turn of a backup or of a restore; see [`crate::BackupAction`]. → [`Reply::Backup`], to a cancel [`Reply::Done`]
    Backup {
        /// Which backup.
        backup_id: BackupId,
        /// Of which server, or into which.
        server_id: ServerId,
        /// What to do.
        action: BackupAction,
    },
    /// What is here that no transfer and no server owns? → [`Reply::Orphans`]
    ListOrphans {
        /// Look now; else the last look is told, which is at most an hour old.
        look: bool,
    },
    /// Remove one of them, which must be one that can be cleaned. One that is not there any more is removed.
    RemoveOrphan {
        /// Its id.
        orphan_id: String,
    },
    /// What counts from now on for the copy that a source makes. It is no step and has no key: the last word counts, and
    /// it counts for the copy that runs.
    AdjustCopy {
        /// Whose copy.
        transfer_id: TransferId,
        /// The server that moves.
        server_id: ServerId,
        /// Bytes per second; none for as fast as it goes.
        bandwidth_limit: Option<u64>,
        /// Milliseconds that the freeze may be predicted to last.
        max_freeze_ms: u64,
    },
    /// One step of a transfer.
    Transfer {
        /// Which step of which transfer in which epoch.
        key: StepKey,
        /// The server that moves.
        server_id: ServerId,
        /// What to do.
        action: TransferAction,
    },
}

/// A secret on its way. Nobody sees it who prints what it is in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a database said to somebody who wants to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum DatabaseAnswer {
    /// It lets the user in.
    Reached,
    /// It answers, and does not.
    Refused {
        /// As MySQL numbers them: 1045 and 1130 about the user and where it comes from, 1044 about the database.
        code: u16,
        /// As it says.
        message: String,
        /// The address from which it saw the user come, where it says so.
        seen_as: Option<String>,
    },
    /// It does not answer.
    Unreachable {
        /// Why.
        message: String,
    },
}

/// Identity of a command of a transfer (invariant I7). A repeat with the same key gets the recorded answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The transfer.
    pub transfer_id: TransferId,
    /// The saga's step, or `undo_` and the step. A second attempt of a step that failed has `#2` and so on behind it.
    pub step: String,
    /// Epoch of the server when the transfer began.
    pub epoch: Epoch,
}

/// What a step asks of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum TransferAction {
    /// Source: how big is it, and does it answer on TCP? → [`Reply::Measured`]
    Measure,
    /// Target: room, image, container, staging directory, a door for the source. → [`Reply::TargetReady`]
    PrepareTarget {
        /// The server as it will be on the target.
        spec: Box<ServerSpec>,
        /// Its epoch there, if it comes to that.
        epoch: Epoch,
        /// Fingerprint of the source's certificate.
        source_fingerprint: String,
        /// What the source will show at the door; 32 random bytes, hex.
        ticket: String,
        /// Bytes that must fit.
        bytes: u64,
        /// Inodes that must fit.
        files: u64,
        /// The transfer whose retained copy is here and is built on: what it has is not sent. It is not changed, and not
        /// destroyed for as long as this transfer may need it.
        #[serde(default)]
        basis: Option<TransferId>,
    },
    /// Source: copy while it runs, until the predicted freeze fits. → [`Reply::Precopied`]
    Precopy {
        /// Where to.
        door: Door,
        /// Milliseconds that the freeze may be predicted to last.
        max_freeze_ms: u64,
        /// Bytes per second.
        bandwidth_limit: Option<u64>,
    },
    /// Source: stop the server; if the panel is not heard of for `lease_ms`, start it again. → [`Reply::Stopped`]
    StopSource {
        /// For how long to stay stopped without a word from the panel. Every message of the panel renews it.
        lease_ms: u64,
    },
    /// Source: last delta, both sides durable, both roots. Opens the copy if no precopy did. → [`Reply::Copied`]
    FinalCopy {
        /// Where to.
        door: Door,
        /// Bytes per second.
        bandwidth_limit: Option<u64>,
    },
    /// Source: never start this epoch again. Fails with [`ErrorCode::LeaseLost`] if it was started again.
    FenceSource,
    /// Source: a newer epoch lifts the tombstone.
    UnfenceSource {
        /// The newer epoch.
        permit: Permit,
    },
    /// Source: end the lease and, if `start`, run the server as before.
    ResumeSource {
        /// The right to.
        permit: Permit,
        /// Whether it ran before.
        start: bool,
    },
    /// Source: end the copy; whatever it holds for it goes.
    EndCopy,
    /// Target: make staging the server's directory, record the epoch, and start if `start`. → [`Reply::Started`]
    StartTarget {
        /// The right to.
        permit: Permit,
        /// Whether to run it.
        start: bool,
    },
    /// Target: is it up? → [`Reply::Healthy`]
    CheckHealth {
        /// Must the primary allocation accept a TCP connection?
        tcp_probe: bool,
        /// How long it must have been up.
        min_uptime_ms: u64,
        /// When to give up.
        timeout_ms: u64,
    },
    /// Target: let players in. Past the pivot, and only where [`Reply::TargetReady`] said that they are held.
    AdmitPlayers,
    /// Target: stop it, fence its epoch, and remove what this transfer brought here.
    AbortTarget,
    /// Source: be ready to be dialled by the target. → [`Reply::Listening`]
    ExpectTarget {
        /// What the target will show; 32 random bytes, hex.
        rendezvous: String,
    },
    /// Target: dial the source or the relay, and again whenever that connection has ended, until the door closes.
    DialSource {
        /// [`Route::Reverse`] or [`Route::Relay`].
        route: Route,
    },
    /// Source: does the door answer on this way, and how well? → [`Reply::Reached`]
    TryDoor {
        /// Where to.
        door: Door,
    },
    /// Source: hash the frozen files again. → [`Reply::Audited`]
    Audit {
        /// As in the door of the copy.
        #[serde(default)]
        owner: Option<Owner>,
    },
    /// Source: the files become a retained copy, the container goes. → [`Reply::Retained`]
    RetainSource {
        /// When the copy may be destroyed.
        expires_at: Timestamp,
    },
    /// Source: destroy the retained copy now.
    FreeRetained,
}

impl TransferAction {
    /// Whether it takes something back: then nothing that comes after it cancels it.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        matches!(self, Self::EndCopy | Self::AbortTarget | Self::ResumeSource { .. } | Self::UnfenceSource { .. })
    }
}

/// Where a source delivers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// How to get there.
    pub route: Route,
    /// SHA-256 of the target's certificate, lower-case hex.
    pub fingerprint: String,
    /// What to show there.
    pub ticket: String,
    /// To whom all files belong on the target; none to keep the numbers of the source. The root is computed with it.
    #[serde(default)]
    pub owner: Option<Owner>,
}

/// A place in a console. An agent remembers a bounded number of lines, and numbers them from 1. It begins anew when it
/// is started anew, and when the server is: then the memory has another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleMark {
    /// Name of the memory.
    pub memory: String,
    /// Number of the last line that was seen; 0 for none.
    pub line: u64,
}

/// How the bytes of a copy get from source to target. TLS runs end to end inside each, the source as its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "path", rename_all = "snake_case")]
pub enum Route {
    /// The target listens, the source dials.
    Direct {
        /// `host:port` of the target.
        address: String,
    },
    /// The source listens, the target dials and shows the rendezvous.
    Reverse {
        /// `host:port` of the source.
        address: String,
        /// 32 random bytes, hex; says which copy a connection is for, and proves nothing.
        rendezvous: String,
    },
    /// Both dial the panel, which passes on what it cannot read.
    Relay {
        /// `ws://` or `wss://` URL, the one-time token of this side in it.
        url: String,
    },
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What an orchestrator tells of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Of the API server, for people: `v1.34.4`.
    pub version: String,
    /// Schedulable nodes.
    pub nodes: u32,
    /// IP address or name at which players reach NodePorts.
    pub address: String,
    /// First and last port that players' services may use; none where a load balancer gives addresses out.
    pub node_ports: Option<(u16, u16)>,
    /// Storage class of new volumes.
    pub storage_class: String,
}

/// One finding of a preflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable word.
    pub code: String,
    /// How bad.
    pub level: CheckLevel,
    /// What is.
    pub message: String,
    /// What to do; empty where nothing needs doing.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckLevel {
    /// It forbids the move.
    Error,
    /// The move may disappoint.
    Warning,
    /// Good to know.
    Info,
}

/// Something that no transfer and no server owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Stable for as long as it is there; letters, digits, dots and hyphens.
    pub id: String,
    /// What it is.
    pub kind: OrphanKind,
    /// Where it is, or what it is called.
    pub path: String,
    /// How big it is; none where that is not known.
    pub bytes: Option<u64>,
    /// When it was last changed; none where that is not known.
    pub since: Option<Timestamp>,
    /// Why nobody owns it.
    pub why: String,
    /// Whether it may be removed by [`Request::RemoveOrphan`]: it is nobody's data.
    pub can_clean: bool,
}

/// What an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanKind {
    /// A copy that was being delivered.
    Staging,
    /// The directory of a server.
    Place,
    /// A container.
    Container,
    /// A source's files after a move.
    Retained,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Done; there is nothing to tell.
    Done,
    /// What the server is doing.
    Server {
        /// Seen now.
        server: ServerObservation,
    },
    /// What nobody owns.
    Orphans {
        /// When it was looked for.
        looked_at: Timestamp,
        /// What was found and is still there: what is provably ours was removed at once.
        orphans: Vec<Orphan>,
        /// Transfers of which this agent is a target that has not started: the panel knows whether they are over.
        held: Vec<TransferId>,
    },
    /// Console lines, oldest first.
    Console {
        /// Without line ends.
        lines: Vec<String>,
    },
    /// To [`Request::FollowConsole`].
    ConsoleLines {
        /// Which memory they are out of; empty if there is none now, as of a pod that sleeps.
        memory: String,
        /// Number of the first of them, or of the next to come.
        first: u64,
        /// Without line ends.
        lines: Vec<String>,
    },
    /// To [`TransferAction::Measure`] and [`Request::MeasureServer`].
    Measured {
        /// Bytes of content.
        bytes: u64,
        /// Files, directories and links.
        files: u64,
        /// Whether a process of it runs.
        running: bool,
        /// Whether its primary allocation accepts TCP.
        answers_tcp: bool,
        /// Of the certificate with which the source will deliver: SHA-256, lower-case hex.
        fingerprint: String,
    },
    /// To [`Request::Backup`].
    Backup {
        /// Where it stands.
        stand: BackupStand,
    },
    /// To [`TransferAction::PrepareTarget`].
    TargetReady {
        /// `host:port` to deliver to; none where the target cannot be dialled.
        address: Option<String>,
        /// Of the certificate that the target shows there: SHA-256, lower-case hex.
        fingerprint: String,
        /// To whom the files will belong there; none: the numbers are kept.
        owner: Option<Owner>,
        /// Where players will reach the primary allocation, if it is the target that decides that (a load balancer).
        #[serde(default)]
        player_address: Option<String>,
        /// Whether that address leads nowhere until [`TransferAction::AdmitPlayers`].
        #[serde(default)]
        holds_players: bool,
    },
    /// To [`TransferAction::ExpectTarget`].
    Listening {
        /// `host:port` at which the target may dial; none where the source cannot be dialled.
        address: Option<String>,
    },
    /// To [`TransferAction::TryDoor`].
    Reached {
        /// Round-trip time in microseconds.
        rtt_us: u64,
        /// Bytes per second, measured with a few megabytes.
        bandwidth: u64,
    },
    /// To [`Request::CheckTarget`].
    Checked {
        /// In no order.
        checks: Vec<Check>,
    },
    /// To [`Request::CheckDatabase`].
    DatabaseChecked {
        /// What it said.
        answer: DatabaseAnswer,
    },
    /// To [`TransferAction::Precopy`].
    Precopied {
        /// What was reached.
        prediction: FreezePrediction,
    },
    /// To [`TransferAction::StopSource`].
    Stopped {
        /// Whether it ran before.
        was_running: bool,
        /// Milliseconds since its process ended.
        ago_ms: u64,
    },
    /// To [`TransferAction::FinalCopy`].
    Copied {
        /// The proof.
        receipt: CopyReceipt,
    },
    /// To [`TransferAction::StartTarget`].
    Started {
        /// Milliseconds since its process began; none where it was not started.
        ago_ms: Option<u64>,
    },
    /// To [`TransferAction::CheckHealth`].
    Healthy {
        /// Milliseconds from the start of its process until it was up.
        boot_ms: u64,
    },
    /// To [`TransferAction::Audit`].
    Audited {
        /// Tree root, hex.
        root: String,
    },
    /// To [`TransferAction::RetainSource`].
    Retained {
        /// Bytes that are kept.
        bytes: u64,
    },
}

/// News from an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Still here.
    Heartbeat {
        /// What the machine has left.
        resources: Resources,
        /// Every server that it holds.
        servers: Vec<ServerObservation>,
        /// Where players reach servers to which a load balancer has given an address, without the port.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        player_addresses: BTreeMap<ServerId, String>,
    },
    /// A server's status changed.
    ServerChanged {
        /// Seen now.
        server: ServerObservation,
    },
    /// A copy goes on. At most a few a second.
    CopyProgress {
        /// Which transfer's.
        transfer_id: TransferId,
        /// Where it stands.
        progress: CopyProgress,
    },
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    /// What kind.
    pub code: ErrorCode,
    /// What happened and what to do, for people.
    pub message: String,
}

impl AgentError {
    /// An error of kind `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kinds of failure, by what the panel does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The command is not known here.
    Unsupported,
    /// No such server or transfer here.
    NotFound,
    /// What is there forbids it.
    Conflict,
    /// The epoch is older than the one on record, or fenced.
    StaleEpoch,
    /// The permit's signature or addressee is wrong.
    BadPermit,
    /// The disk, its quota or its inodes do not suffice.
    NoSpace,
    /// The image is not there and cannot be had.
    ImageMissing,
    /// A port is taken.
    PortTaken,
    /// The game does not end when asked.
    WillNotStop,
    /// The panel was silent for too long and the source runs again.
    LeaseLost,
    /// A path cannot be carried; the message names it.
    CannotCarry,
    /// The other agent cannot be reached, or the connection broke. Time may help.
    Unreachable,
    /// Both sides hashed and differ.
    RootsDiffer,
    /// The promised freeze cannot be reached.
    DoesNotConverge,
    /// The game did not come up.
    Unhealthy,
    /// It was cancelled.
    Cancelled,
    /// Anything else; time may help.
    Internal,
    /// A word of a newer version.
    #[serde(other)]
    Unknown,
}
