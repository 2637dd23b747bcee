//! The rows that a scene begins with: an egg, two nodes with addresses, a server with three of them on the first. One can
//! keep its port on the second; a variable follows one that cannot.

use std::collections::BTreeMap;

use model::agent_api::Hello;
use model::{
    AllocationId, Clock, EggId, Epoch, Limits, NodeId, Resources, RuntimeKind, ServerId, ServerStatus, Timestamp,
    UserId,
};
use panel::db::allocations::{self, Allocation};
use panel::db::eggs::{StoredEgg, egg_insert};
use panel::db::nodes::{Node as NodeRow, NodeKind, node_greeted, node_insert};
use panel::db::servers::{Server, server_get, server_insert};
use panel::db::subusers::{self, Relation, Subuser};
use panel::db::users::{self, NewUser};
use panel::db::{Conn, Db, DbError, roles};

pub(crate) async fn write_rows(
    db: &Db,
    clock: &dyn Clock,
    nodes: [NodeId; 2],
    server: ServerId,
    running: bool,
) -> Result<[Vec<AllocationId>; 2], DbError> {
    let now = clock.now();
    let mut tx = db.begin().await?;
    let egg = EggId::new();
    let document = serde_json::json!({
        "meta": {"version": "PTDL_v2"}, "name": "sim", "author": "sim@example.org", "startup": "./game",
        "docker_images": {"sim": "example.org/sim"}, "config": {"stop": "stop", "startup": {"done": "up"}},
        "variables": [
            {"env_variable": "QUERY_PORT", "default_value": "27016", "rules": "required|integer"},
            {"env_variable": "RCON_PORT", "default_value": "1", "rules": "required|integer"},
            {"env_variable": "SLOTS", "default_value": "27016", "rules": "required|integer"},
        ],
    });
    let egg_row = StoredEgg {
        id: egg,
        name: "sim".into(),
        author: "sim@example.org".into(),
        document: document.to_string(),
        uuid: None,
        created_at: now,
        updated_at: None,
    };
    egg_insert(&mut tx, &egg_row).await?;
    let mut addresses = [vec![], vec![]];
    for ((id, ports), made) in nodes.into_iter().zip([PORTS_HERE, PORTS_THERE]).zip(&mut addresses) {
        node_insert(&mut tx, &node_row(id, now)).await?;
        node_greeted(&mut tx, id, &hello(id), now).await?;
        for port in ports {
            let address = Allocation::new(id, "127.0.0.1", port);
            allocations::allocation_insert(&mut tx, &address).await?;
            made.push(address.id);
        }
    }
    let people = people(server);
    for id in people {
        users::user_insert(&mut tx, &user_row(id), now).await?;
    }
    server_insert(&mut tx, &server_row(server, egg, nodes[0], now, running)).await?;
    subusers::subuser_insert(&mut tx, server, &subuser_row(people[1], now)).await?;
    allocations::allocation_assign(&mut tx, addresses[0][0], nodes[0], server).await?;
    for (id, notes) in addresses[0][1..].iter().zip(NOTES) {
        allocations::allocation_add(&mut tx, *id, nodes[0], server).await?;
        allocations::allocation_note(&mut tx, *id, server, notes).await?;
    }
    tx.commit().await?;
    Ok(addresses)
}

/// The first, one that moves to another port, and one that keeps it.
const PORTS_HERE: [u16; 3] = [25565, 27016, 27017];
const PORTS_THERE: [u16; 3] = [25565, 30001, 27017];
const NOTES: [&str; 2] = ["for queries", "for consoles"];

/// What the server's addresses and variables must be, by whether it has moved, and whether it had before and goes back: what
/// is not so.
pub(crate) async fn places_differ(
    conn: &mut Conn,
    server: ServerId,
    allocations: &[Vec<AllocationId>; 2],
    moved: bool,
    goes_back: bool,
) -> Result<Vec<&'static str>, DbError> {
    let [here, there] = allocations;
    let (mine, free) = if moved { (there, here) } else { (here, there) };
    let mut wrong = vec![];
    for (index, id) in mine.iter().enumerate() {
        let row = allocations::allocation_get(conn, *id).await?;
        let notes = if index == 0 { "" } else { NOTES[index - 1] };
        if row.server_id != Some(server) || row.is_primary != (index == 0) || row.reserved_by.is_some() {
            wrong.push("I4: an address is not the server's");
        } else if row.notes != notes {
            wrong.push("I4: what was written about an address is not there");
        }
    }
    for id in free {
        let row = allocations::allocation_get(conn, *id).await?;
        if !row.is_free() || row.is_primary || !row.notes.is_empty() {
            wrong.push("I9: an address on the other side is not free");
        }
    }
    let environment = server_get(conn, server).await?.environment;
    // Never named before it has moved for the first time, and from then on the port that it has.
    let query = match (moved, goes_back) {
        (false, false) => None,
        (true, true) => Some("27016"),
        (true, false) | (false, true) => Some("30001"),
    };
    let others = environment.len() == 1 + usize::from(query.is_some())
        && environment.get("RCON_PORT").is_some_and(|it| it == "27017");
    if environment.get("QUERY_PORT").map(String::as_str) != query || !others {
        wrong.push("I4: a variable is not what it must be");
    }
    Ok(wrong)
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

/// Each on a machine of its own: an address that a neighbour on the same machine has is a last choice.
fn hello(node: NodeId) -> Hello {
    Hello {
        version: 1,
        software: "sim".into(),
        host: format!("sim-{node}"),
        runtime: RuntimeKind::Process,
        fingerprint: "00".repeat(32),
        data_address: "127.0.0.1:1".into(),
        secret: None,
        resources: Resources::default(),
        servers: vec![],
        cluster: None,
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
        environment: BTreeMap::from([("RCON_PORT".to_owned(), "27017".to_owned())]),
        owner_id: Some(people(id)[0]),
        allocation_limit: 0,
        backup_limit: None,
        created_at: now,
        install_error: None,
        attention: vec![],
        primary: None,
        others: vec![],
    }
}
