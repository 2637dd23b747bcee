//! What `sqlx::Any` does with our schema: the conventions of the parent module, checked.
#![allow(clippy::unwrap_used)]

use sqlx::Row;

use super::*;

async fn fresh() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = testing::open(dir.path()).await.unwrap();
    (dir, db)
}

#[tokio::test]
async fn any_reads_bigint_text_null_count_and_returning() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let sql =
        "INSERT INTO nodes (id, name, memory_mb, disk_mb, cpu_percent, created_at) VALUES ($1, $2, $3, $3, $3, $4)
               RETURNING id, memory_mb, runtime, last_seen_at";
    let row = sqlx::query(sql).bind("n").bind("name").bind(5_i64).bind(i64::MAX).fetch_one(&mut *conn).await.unwrap();
    assert_eq!(row.get::<String, _>("id"), "n");
    assert_eq!(row.get::<i64, _>("memory_mb"), 5);
    assert_eq!(row.get::<Option<String>, _>("runtime"), None);
    assert_eq!(row.get::<Option<i64>, _>("last_seen_at"), None);

    let sums = "SELECT COUNT(*), CAST(COALESCE(SUM(disk_mb), 0) AS BIGINT), MAX(last_seen_at) FROM nodes WHERE id = $1";
    let (count, sum, none): (i64, i64, Option<i64>) =
        sqlx::query_as(sums).bind("n").fetch_one(&mut *conn).await.unwrap();
    assert_eq!((count, sum, none), (1, 5, None));

    let null: Option<i64> = None;
    let done = sqlx::query("UPDATE nodes SET last_seen_at = $1 WHERE id = $2").bind(null).bind("n");
    exactly_one(&done.execute(&mut *conn).await.unwrap()).unwrap();
    let done =
        sqlx::query("UPDATE nodes SET cordoned = 1 WHERE id = $1").bind("other").execute(&mut *conn).await.unwrap();
    assert!(matches!(exactly_one(&done), Err(DbError::Conflict)));
}

#[tokio::test]
async fn constraints_are_conflicts() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let flag = || sqlx::query("INSERT INTO feature_flags (name, enabled) VALUES ('x', 1)");
    flag().execute(&mut *conn).await.unwrap();
    let twice: DbError = flag().execute(&mut *conn).await.unwrap_err().into();
    assert!(matches!(twice, DbError::Conflict));
    let orphan = sqlx::query("INSERT INTO allocations (id, node_id, ip_address, port) VALUES ('a', 'none', 'x', 1)");
    let orphan: DbError = orphan.execute(&mut *conn).await.unwrap_err().into();
    assert!(matches!(orphan, DbError::Conflict), "{orphan:?}");
}

#[tokio::test]
async fn writers_wait_for_each_other_and_a_dropped_transaction_is_rolled_back() {
    let (_dir, db) = fresh().await;
    let add = async |db: &Db| {
        let mut tx = db.begin().await.unwrap();
        let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM settings").fetch_one(&mut *tx).await.unwrap();
        let insert = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '')").bind(n.to_string());
        insert.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    futures_util::future::join_all((0..20).map(|_| add(&db))).await;
    {
        let mut tx = db.begin().await.unwrap();
        sqlx::query("DELETE FROM settings").execute(&mut *tx).await.unwrap();
    }
    let mut conn = db.acquire().await.unwrap();
    let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM settings").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(n, 20);
}

#[tokio::test]
async fn nulls_are_less_than_everything_else() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let nodes = ["'a', 'a', 0, 0, 0, 'h', 0, NULL", "'b', 'b', 0, 0, 0, 'h', 0, 7", "'c', 'c', 0, 0, 0, 'h', 0, 5"];
    rows(&mut conn, "nodes", &format!("{NODE}, last_seen_at"), &nodes).await;
    for (descending, expected) in [(false, ["a", "c", "b"]), (true, ["b", "c", "a"])] {
        let sql = format!("SELECT id FROM nodes ORDER BY last_seen_at {}", direction(descending));
        let ids: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *conn).await.unwrap();
        assert_eq!(ids, expected);
    }
}

#[tokio::test]
async fn a_file_may_have_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b%?#.db");
    Db::open_sqlite(&path).await.unwrap().ping().await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn a_value_that_cannot_be_stored_is_the_callers_fault() {
    let (dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let insert = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '')").bind("zero \0 byte");
    let stored = insert.execute(&mut *conn).await.map_err(DbError::from);
    match testing::location(dir.path()).await {
        Location::Sqlite(_) => assert!(stored.is_ok(), "{stored:?}"),
        Location::Postgres(_) => assert!(matches!(stored, Err(DbError::Unstorable(_))), "{stored:?}"),
    }
}

#[tokio::test]
async fn of_sixteen_who_look_and_then_take_one_has_it() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    rows(&mut conn, "settings", "name, value", &["'last free port', ''"]).await;
    let take = async |who: usize| {
        let mut tx = db.begin().await.unwrap();
        let free = "SELECT COUNT(*) FROM settings WHERE name = 'last free port' AND value = ''";
        let free: i64 = sqlx::query_scalar(free).fetch_one(&mut *tx).await.unwrap();
        if free == 0 {
            return false;
        }
        // No from-state here: that nobody was faster is what the transaction has to see to.
        let take = sqlx::query("UPDATE settings SET value = $1 WHERE name = 'last free port'").bind(who.to_string());
        take.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        true
    };
    let taken = futures_util::future::join_all((0..16).map(take)).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_a_turn_leaves_no_transaction_behind() {
    let (dir, db) = fresh().await;
    let first = db.begin().await.unwrap();
    for _ in 0..CONNECTIONS * 2 {
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), db.begin());
        assert!(waiting.await.is_err(), "two have a turn at once");
    }
    drop(first);
    for n in 0..CONNECTIONS * 2 {
        let mut conn = db.acquire().await.unwrap();
        let insert = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '')").bind(n.to_string());
        insert.execute(&mut *conn).await.unwrap();
    }
    let beside = testing::open(dir.path()).await.unwrap();
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM settings");
    let n: i64 = count.fetch_one(&mut *beside.acquire().await.unwrap()).await.unwrap();
    assert_eq!(n, i64::from(CONNECTIONS * 2), "what was written is there for others too");
}

#[tokio::test]
async fn two_who_open_a_new_database_at_once_do_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    // On SQLite the data directory's lock keeps the second one out before it comes here.
    if let at @ Location::Postgres(_) = testing::location(dir.path()).await {
        let opened = futures_util::future::join_all((0..4).map(|_| Db::open(&at))).await;
        for db in opened {
            db.unwrap().ping().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_panel_is_refused_until_the_first_has_ended_and_can_do_nothing_after_it_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at @ Location::Postgres(_) = testing::location(dir.path()).await else { return };
    let (first, lease) = Db::claim(&at).await.unwrap();
    first.begin().await.unwrap().commit().await.unwrap();
    let refused = Db::claim(&at).await.unwrap_err();
    assert!(matches!(&refused, DbError::Taken { host } if !host.is_empty()), "{refused}");
    // As if the server had been restarted: the session is gone, its panel lives and has not noticed.
    lease.release().await;
    let (second, _lease) = Db::claim(&at).await.unwrap();
    second.begin().await.unwrap().commit().await.unwrap();
    let late = first.begin().await.map(drop).unwrap_err();
    assert!(matches!(late, DbError::Taken { .. }), "{late}");
}

#[tokio::test]
async fn everything_moves_from_sqlite_once() {
    let dir = tempfile::tempdir().unwrap();
    let at @ Location::Postgres(_) = testing::location(dir.path()).await else { return };
    let file = dir.path().join("panel.db");
    let source = Db::open_sqlite(&file).await.unwrap();
    let mut conn = source.acquire().await.unwrap();
    let node = model::NodeId::new();
    rows(&mut conn, "nodes", NODE, &[&format!("'{node}', 'ä \"n\"', 0, 0, 9223372036854775807, NULL, 0")]).await;
    a_server_on(&mut conn, node).await;
    let key = "'k', 'admin', 'h', '[\"*\"]', 0, '[]'";
    rows(&mut conn, "api_keys", "id, name, key_hash, scopes, created_at, allowed_networks", &[key]).await;
    sqlx::query("UPDATE feature_flags SET enabled = 0").execute(&mut *conn).await.unwrap();
    drop(conn);
    source.close().await;

    let (db, _lease) = Db::claim(&at).await.unwrap();
    assert!(matches!(move_from_sqlite(&file, &db).await.unwrap(), Moved::Rows(rows) if rows > 6));
    let mut conn = db.acquire().await.unwrap();
    let moved = nodes::node_get(&mut conn, node).await.unwrap();
    assert_eq!((moved.name.as_str(), moved.cpu_percent), ("ä \"n\"", i64::MAX.unsigned_abs()));
    assert!(!flags::flag_enabled(&mut conn, flags::SERVER_TRANSFERS).await.unwrap());
    let servers: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM servers").fetch_one(&mut *conn).await.unwrap();
    assert_eq!((servers, keys::keys_count(&mut conn).await.unwrap()), (1, 1));
    assert_eq!(move_from_sqlite(&file, &db).await.unwrap(), Moved::Before);
    sqlx::query("DELETE FROM settings").execute(&mut *conn).await.unwrap();
    assert_eq!(move_from_sqlite(&file, &db).await.unwrap(), Moved::NotEmpty);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(sql).execute(&mut *conn).await.unwrap();
    drop(conn);
    db.close().await;
    let error = testing::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, DbError::Newer { found: 9999, known } if known < 9999), "{error}");
    let error = Db::claim(&testing::location(dir.path()).await).await.unwrap_err();
    assert!(matches!(error, DbError::Newer { found: 9999, .. }), "{error}");
}

/// Rows of a kind, written by hand: what matters here is what other queries make of them.
async fn rows(conn: &mut Conn, table: &str, columns: &str, values: &[&str]) {
    for values in values {
        let sql = format!("INSERT INTO {table} ({columns}) VALUES ({values})");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
    }
}

const NODE: &str = "id, name, memory_mb, disk_mb, cpu_percent, host, created_at";
const SERVER: &str = "id, name, egg_id, node_id, epoch, status, memory_limit, disk_limit, cpu_limit, startup, image,
                      environment, created_at";

async fn a_server_on(conn: &mut Conn, node: model::NodeId) {
    rows(conn, "eggs", "id, name, author, document, created_at", &["'e', 'e', 'e', '{}', 0"]).await;
    let server = format!("'s', 's', 'e', '{node}', 1, 'offline', 0, 0, 0, '', '', '{{}}', 0");
    rows(conn, "servers", SERVER, &[&server]).await;
}

#[tokio::test]
async fn a_node_goes_once_its_transfers_are_over_and_they_keep_its_id() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let (gone, stays) = (model::NodeId::new(), model::NodeId::new());
    for node in [gone, stays] {
        rows(&mut conn, "nodes", NODE, &[&format!("'{node}', '{node}', 0, 0, 0, 'h', 0")]).await;
    }
    a_server_on(&mut conn, stays).await;
    let columns =
        "id, server_id, mode, state, stage, source_node_id, target_node_id, options, epoch, memory_mb, disk_mb,
                   cpu_percent, progress, requested_by, created_at";
    let transfer =
        format!("'t', 's', 'live', 'running', 'preparing', '{gone}', '{stays}', '{{}}', 1, 0, 0, 0, '{{}}', '', 0");
    rows(&mut conn, "transfers", columns, &[&transfer]).await;
    assert!(matches!(nodes::node_delete(&mut conn, gone).await, Err(DbError::Conflict)));
    sqlx::query("UPDATE transfers SET state = 'completed'").execute(&mut *conn).await.unwrap();
    assert!(matches!(nodes::node_delete(&mut conn, stays).await, Err(DbError::Conflict)), "it has a server");
    nodes::node_delete(&mut conn, gone).await.unwrap();
    let source: String =
        sqlx::query_scalar("SELECT source_node_id FROM transfers").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(source, gone.to_string());
}

/// The port that somebody gets on `node` who had 25565.
async fn chosen(conn: &mut Conn, node: model::NodeId) -> u16 {
    let node = nodes::node_get(conn, node).await.unwrap();
    on_demand::allocation_choose(conn, &node, Some(25565)).await.unwrap().unwrap().allocation.port
}

#[tokio::test]
async fn an_address_that_a_neighbour_on_the_same_machine_uses_is_the_last_choice() {
    let (_dir, db) = fresh().await;
    let mut conn = db.acquire().await.unwrap();
    let [here, beside, elsewhere] = std::array::from_fn(|_| model::NodeId::new());
    for (node, host) in [(here, "h"), (beside, "h"), (elsewhere, "x")] {
        rows(&mut conn, "nodes", NODE, &[&format!("'{node}', '{node}', 0, 0, 0, '{host}', 0")]).await;
        for port in [25565, 25566] {
            let values = format!("'{}', '{node}', '10.0.0.5', {port}", model::AllocationId::new());
            rows(&mut conn, "allocations", "id, node_id, ip_address, port", &[&values]).await;
        }
    }
    a_server_on(&mut conn, here).await;
    let take = format!("UPDATE allocations SET server_id = 's' WHERE node_id = '{here}' AND port = 25565");
    sqlx::query(sqlx::AssertSqlSafe(take)).execute(&mut *conn).await.unwrap();
    for (node, port) in [(elsewhere, 25565), (beside, 25566)] {
        assert_eq!(chosen(&mut conn, node).await, port);
    }
    let last = format!("DELETE FROM allocations WHERE node_id = '{beside}' AND port = 25566");
    sqlx::query(sqlx::AssertSqlSafe(last)).execute(&mut *conn).await.unwrap();
    assert_eq!(chosen(&mut conn, beside).await, 25565);
}
