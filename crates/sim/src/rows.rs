//! The rows that a scene begins with: an egg, two nodes with one address each, a server on the first.

use std::collections::BTreeMap;

use model::agent_api::Hello;
use model::{
    AllocationId, Clock, EggId, Epoch, Limits, NodeId, Resources, RuntimeKind, ServerId, ServerStatus, Timestamp,
    UserId,
};
use panel::db::allocations::{self, Allocation};
use panel::db::eggs::{StoredEgg, egg_insert};
use panel::db::nodes::{Node as NodeRow, NodeKind, node_greeted, node_insert};
use panel::db::servers::{Server, server_insert};
use panel::db::subusers::{self, Relation, Subuser};
use panel::db::users::{self, NewUser};
use panel::db::{Conn, Db, DbError, roles};

pub(crate) async fn write_rows(
    db: &Db,
    clock: &dyn Clock,
    nodes: [NodeId; 2],
    server: ServerId,
    running: bool,
) -> Result<[AllocationId; 2], DbError> {
    let now = clock.now();
    let mut tx = db.begin().await?;
    let egg = EggId::new();
    let document = serde_json::json!({
        "meta": {"version": "PTDL_v2"}, "name": "sim", "author": "sim@example.org", "startup": "./game",
        "docker_images": {"sim": "example.org/sim"}, "config": {"stop": "stop", "startup": {"done": "up"}},
        "variables": [],
    });
    let egg_row = StoredEgg {
        id: egg,
        name: "sim".into(),
        author: "sim@example.org".into(),
        document: document.to_string(),
        created_at: now,
    };
    egg_insert(&mut tx, &egg_row).await?;
    let mut addresses = vec![];
    for id in nodes {
        node_insert(&mut tx, &node_row(id, now)).await?;
        node_greeted(&mut tx, id, &hello(), now).await?;
        let address = address_row(id);
        allocations::allocation_insert(&mut tx, &address).await?;
        addresses.push(address.id);
    }
    let people = people(server);
    for id in people {
        users::user_insert(&mut tx, &user_row(id), now).await?;
    }
    server_insert(&mut tx, &server_row(server, egg, nodes[0], now, running)).await?;
    subusers::subuser_insert(&mut tx, server, &subuser_row(people[1], now)).await?;
    allocations::allocation_assign(&mut tx, addresses[0], nodes[0], server).await?;
    tx.commit().await?;
    Ok([addresses[0], addresses[1]])
}

/// The owner of a scene's server, and somebody whom they let in.
fn people(server: ServerId) -> [UserId; 2] {
    let id = server.0.as_u128();
    [UserId(uuid::Uuid::from_u128(id ^ 1)), UserId(uuid::Uuid::from_u128(id ^ 2))]
}

/// Whether the server is still its owner's, and the other one is still let in as before.
pub(crate) async fn people_stay(conn: &mut Conn, server: ServerId) -> Result<bool, DbError> {
    let [owner, guest] = people(server);
    let owns = subusers::relation(conn, server, Some(owner)).await? == Relation::Owner;
    let guest = subusers::relation(conn, server, Some(guest)).await?;
    Ok(owns && guest == Relation::Subuser(vec!["server.power".into()]))
}

fn user_row(id: UserId) -> NewUser {
    let username = format!("sim-{id}");
    NewUser { id, username, email: None, password_hash: String::new(), role_id: roles::USER }
}

fn subuser_row(user_id: UserId, created_at: Timestamp) -> Subuser {
    Subuser { user_id, username: String::new(), permissions: vec!["server.power".into()], created_at }
}

fn node_row(id: NodeId, now: Timestamp) -> NodeRow {
    NodeRow {
        id,
        kind: NodeKind::Node,
        name: format!("node-{id}"),
        memory_mb: 2048,
        disk_mb: 0,
        cpu_percent: 0,
        cordoned: false,
        agent: None,
        facts: None,
        address: None,
        last_seen_at: None,
        created_at: now,
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        software: "sim".into(),
        host: "sim".into(),
        runtime: RuntimeKind::Process,
        fingerprint: "00".repeat(32),
        data_address: "127.0.0.1:1".into(),
        secret: None,
        resources: Resources::default(),
        servers: vec![],
        cluster: None,
    }
}

fn address_row(node: NodeId) -> Allocation {
    Allocation {
        id: AllocationId::new(),
        node_id: node,
        ip_address: "127.0.0.1".into(),
        ip_alias: None,
        port: 25565,
        server_id: None,
        is_primary: false,
        reserved_by: None,
    }
}

fn server_row(id: ServerId, egg: EggId, node: NodeId, now: Timestamp, running: bool) -> Server {
    Server {
        id,
        name: "sim".into(),
        egg_id: egg,
        node_id: node,
        node_kind: NodeKind::Node,
        epoch: Epoch::FIRST,
        status: if running { ServerStatus::Running } else { ServerStatus::Offline },
        locked_by: None,
        transfer_state: None,
        limits: Limits { memory_mb: 1024, disk_mb: 1024, cpu_percent: 100 },
        startup: "./game".into(),
        image: "example.org/sim".into(),
        environment: BTreeMap::new(),
        owner_id: Some(people(id)[0]),
        created_at: now,
        install_error: None,
        attention: vec![],
        primary: None,
    }
}
