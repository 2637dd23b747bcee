//! The rows that a scene begins with: an egg, two nodes with one address each, a server on the first.

use std::collections::BTreeMap;

use model::agent_api::Hello;
use model::{
    AllocationId, Clock, EggId, Epoch, Limits, NodeId, Resources, RuntimeKind, ServerId, ServerStatus, Timestamp,
};
use panel::db::allocations::{self, Allocation};
use panel::db::eggs::{StoredEgg, egg_insert};
use panel::db::nodes::{Node as NodeRow, NodeKind, node_greeted, node_insert};
use panel::db::servers::{Server, server_insert};
use panel::db::{Db, DbError};

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
    server_insert(&mut tx, &server_row(server, egg, nodes[0], now, running)).await?;
    allocations::allocation_assign(&mut tx, addresses[0], nodes[0], server).await?;
    tx.commit().await?;
    Ok([addresses[0], addresses[1]])
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
        created_at: now,
        install_error: None,
        attention: vec![],
        primary: None,
    }
}
