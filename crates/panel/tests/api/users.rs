//! Users and roles, as administrators look after them.

use serde_json::{Value, json};

use crate::harness::Panel;

const USERS: &str = "/api/v1/admin/users";
const ROLES: &str = "/api/v1/admin/roles";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

impl Panel {
    /// A user with a role of these permissions, none for the role `User`. Its id and an access token.
    pub(crate) async fn user(&self, name: &str, permissions: Option<Value>) -> (String, String) {
        let mut body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        if let Some(permissions) = permissions {
            let role = json!({"name": format!("role of {name}"), "permissions": permissions});
            body["role_id"] = self.post(ROLES, &role).await.created()["id"].clone();
        }
        let user = self.post(USERS, &body).await.created();
        (user["id"].as_str().unwrap().to_owned(), self.login(name, PASSWORD).await.access)
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> crate::harness::Response {
        self.send("PATCH", path, &[], &body.to_string()).await
    }

    /// The id of a role.
    async fn role(&self, name: &str) -> Value {
        let roles = self.get(ROLES).await.ok();
        roles.as_array().unwrap().iter().find(|role| role["name"] == name).unwrap()["id"].clone()
    }

    /// The id of the first admin.
    async fn admin_id(&self) -> String {
        let found = self.get("/api/v1/admin/users?filter[username]=Admin").await.ok();
        found[0]["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_user_is_made_logs_in_either_way_and_has_the_role_user() {
    let panel = Panel::start().await;
    let (id, token) = panel.user("Kim", None).await;
    panel.login("KIM@EXAMPLE.COM", PASSWORD).await;
    let me = panel.me(&token).await.ok();
    assert_eq!((&me["id"], &me["role"], &me["permissions"]), (&json!(id), &json!("User"), &json!([])));
    assert_eq!((&me["username"], &me["email"]), (&json!("Kim"), &json!("Kim@example.com")));
    for path in ["/api/v1/admin/servers", USERS, "/api/v1/admin/audit"] {
        panel.send_as(&token, "GET", path, &[], "").await.error(403, "forbidden");
    }
    let shown = panel.get(&format!("{USERS}/{id}")).await;
    assert!(shown.ok()["last_login_at"].is_string() && !shown.text.contains("argon2"), "{shown:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_said_by_field_and_names_are_unique_in_any_case() {
    let panel = Panel::start().await;
    let make = async |name: &str, email: Value, password: &str| {
        panel.post(USERS, &json!({"username": name, "email": email, "password": password})).await
    };
    make("a@b", json!("nonsense"), "short").await.invalid(&["email", "password", "username"]);
    make("", json!(null), PASSWORD).await.invalid(&["username"]);
    make("kim", json!("a b@c"), PASSWORD).await.invalid(&["email"]);
    make("longadministrator", json!(null), "LongAdministrator").await.invalid(&["password"]);
    make("kim", json!("kim@example.com"), PASSWORD).await.created();
    make("KIM", json!(null), PASSWORD).await.error(409, "user_exists");
    make("other", json!("Kim@Example.com"), PASSWORD).await.error(409, "user_exists");
    let unknown = json!({"username": "x", "password": PASSWORD, "role_id": "0198a7b2-0000-7000-8000-00000000dead"});
    panel.post(USERS, &unknown).await.invalid(&["role_id"]);
}

#[tokio::test]
async fn users_are_listed_sorted_and_filtered() {
    let panel = Panel::start().await;
    for name in ["zoe", "ann"] {
        panel.user(name, None).await;
    }
    let names = async |query: &str| {
        let users = panel.get(&format!("{USERS}?{query}")).await.ok();
        let names = users.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("sort=username").await, ["admin", "ann", "zoe"]);
    assert_eq!(names("sort=-username&per_page=1&page=2").await, ["ann"]);
    assert_eq!(names("filter[email]=ZOE@example.com").await, ["zoe"]);
    let role = panel.role("Admin").await;
    assert_eq!(names(&format!("filter[role_id]={}", role.as_str().unwrap())).await, ["admin"]);
    assert_eq!(names("filter[disabled]=true").await, [""; 0]);
    panel.get(&format!("{USERS}?filter[disabled]=maybe")).await.invalid(&["filter[disabled]"]);
    panel.get(&format!("{USERS}?filter[username]=%00")).await.invalid(&["filter[username]"]);
    panel.get(&format!("{USERS}?sort=password_hash")).await.invalid(&["sort"]);
}

#[tokio::test]
async fn who_is_disabled_or_deleted_is_out_at_once_with_every_token() {
    let panel = Panel::start().await;
    let (id, token) = panel.user("kim", Some(json!(["admin.nodes.list", "admin.api-keys.create"]))).await;
    let path = format!("{USERS}/{id}");
    let key = json!({"name": "k", "scopes": ["admin.nodes.list"]}).to_string();
    let key = panel.send_as(&token, "POST", "/api/v1/admin/api-keys", &[], &key).await.created();
    assert_eq!(key["user_id"], json!(id));
    let key = key["key"].as_str().unwrap().to_owned();
    let both = async |status: u16| {
        for token in [&token, &key] {
            assert_eq!(panel.send_as(token, "GET", "/api/v1/admin/nodes", &[], "").await.status, status);
        }
    };
    both(200).await;
    let changed = panel.patch(&path, &json!({"disabled": true})).await.ok();
    assert_eq!(changed["disabled"], true);
    both(401).await;
    panel.try_login("kim", PASSWORD).await.error(403, "account_disabled");
    panel.try_login("kim", "not the password").await.error(401, "invalid_credentials");
    panel.patch(&path, &json!({"disabled": false})).await.ok();
    panel.me(&key).await.ok();
    panel.me(&token).await.error(401, "unauthorized");
    panel.login("kim", PASSWORD).await;
    panel.delete(&path).await.no_content();
    both(401).await;
    panel.try_login("kim", PASSWORD).await.error(401, "invalid_credentials");
    panel.get(&path).await.error(404, "not_found");
}

#[tokio::test]
async fn a_lost_password_is_replaced_and_sessions_end() {
    let panel = Panel::start().await;
    let (id, token) = panel.user("kim", None).await;
    let path = format!("{USERS}/{id}/password");
    panel.post(&path, &json!({"password": "short"})).await.invalid(&["password"]);
    panel.post(&path, &json!({"password": "another good one"})).await.no_content();
    panel.me(&token).await.error(401, "unauthorized");
    panel.try_login("kim", PASSWORD).await.error(401, "invalid_credentials");
    let login = panel.login("kim", "another good one").await;
    panel.delete(&format!("{USERS}/{id}/sessions")).await.no_content();
    panel.me(&login.access).await.error(401, "unauthorized");
}

#[tokio::test]
async fn the_last_admin_stays_whoever_asks() {
    let panel = Panel::start().await;
    let path = format!("{USERS}/{}", panel.admin_id().await);
    let user = panel.role("User").await;
    let changes = [json!({"disabled": true}), json!({"role_id": user})];
    for change in &changes {
        panel.patch(&path, change).await.error(409, "last_admin");
    }
    panel.delete(&path).await.error(409, "last_admin");
    // A second one who cannot come in does not count.
    let body = json!({"username": "second", "password": PASSWORD, "role_id": panel.role("Admin").await});
    let second = panel.post(USERS, &body).await.created()["id"].as_str().unwrap().to_owned();
    let second = format!("{USERS}/{second}");
    panel.patch(&second, &json!({"disabled": true})).await.ok();
    panel.delete(&path).await.error(409, "last_admin");
    panel.patch(&second, &json!({"disabled": false})).await.ok();
    let own = panel.admin_login().await.access;
    panel.send_as(&own, "DELETE", &path, &[], "").await.error(409, "own_account");
    panel.send_as(&own, "PATCH", &path, &[], &changes[0].to_string()).await.error(409, "own_account");
    panel.patch(&path, &changes[1]).await.ok();
    panel.send_as(&own, "GET", USERS, &[], "").await.error(403, "forbidden");
    panel.delete(&path).await.no_content();
}

#[tokio::test]
async fn nobody_makes_or_changes_somebody_who_may_more_than_they_do() {
    let panel = Panel::start().await;
    let rights = json!(["admin.users.*", "admin.roles.*", "admin.api-keys.create", "admin.nodes.list"]);
    let (id, token) = panel.user("helper", Some(rights)).await;
    let ask =
        async |method: &str, path: &str, body: Value| panel.send_as(&token, method, path, &[], &body.to_string()).await;
    let admin = format!("{USERS}/{}", panel.admin_id().await);
    let new = json!({"username": "x", "password": PASSWORD, "role_id": panel.role("Admin").await});
    ask("POST", USERS, new).await.error(403, "forbidden");
    ask("PATCH", &admin, json!({"email": "mine@example.com"})).await.error(403, "forbidden");
    ask("POST", &format!("{admin}/password"), json!({"password": PASSWORD})).await.error(403, "forbidden");
    ask("DELETE", &admin, json!({})).await.error(403, "forbidden");
    ask("DELETE", &format!("{admin}/sessions"), json!({})).await.error(403, "forbidden");
    ask("PATCH", &format!("{USERS}/{id}"), json!({"role_id": panel.role("Admin").await})).await.error(403, "forbidden");
    ask("POST", ROLES, json!({"name": "more", "permissions": ["admin.nodes.*"]})).await.invalid(&["permissions[0]"]);
    let key = json!({"name": "k", "scopes": ["admin.nodes.*"]});
    ask("POST", "/api/v1/admin/api-keys", key).await.invalid(&["scopes[0]"]);
    let role = panel.post(ROLES, &json!({"name": "strong", "permissions": ["admin.nodes.*"]})).await.created();
    let role = format!("{ROLES}/{}", role["id"].as_str().unwrap());
    ask("PATCH", &role, json!({"permissions": []})).await.error(403, "forbidden");
    ask("POST", ROLES, json!({"name": "less", "permissions": ["admin.nodes.list"]})).await.created();
    ask("POST", USERS, json!({"username": "y", "password": PASSWORD})).await.created();
}

#[tokio::test]
async fn a_users_key_has_no_more_than_its_user_has_now() {
    let panel = Panel::start().await;
    let (_, token) = panel.user("kim", Some(json!(["admin.nodes.*", "admin.api-keys.create"]))).await;
    let body = json!({"name": "k", "scopes": ["admin.nodes.*"]}).to_string();
    let key = panel.send_as(&token, "POST", "/api/v1/admin/api-keys", &[], &body).await.created();
    let key = key["key"].as_str().unwrap();
    let me = panel.me(key).await.ok();
    assert_eq!((&me["username"], &me["permissions"]), (&json!("kim"), &json!(["admin.nodes.*"])));
    let role = format!("{ROLES}/{}", panel.role("role of kim").await.as_str().unwrap());
    panel.patch(&role, &json!({"permissions": ["admin.nodes.list", "admin.eggs.list"]})).await.ok();
    assert_eq!(panel.me(key).await.ok()["permissions"], json!(["admin.nodes.list"]));
    panel.send_as(key, "GET", "/api/v1/admin/nodes", &[], "").await.ok();
    panel.send_as(key, "GET", "/api/v1/admin/eggs", &[], "").await.error(403, "forbidden");
}

#[tokio::test]
async fn roles_are_made_changed_and_removed_but_not_those_that_came_with_the_panel() {
    let panel = Panel::start().await;
    let roles = panel.get(ROLES).await.ok();
    let names: Vec<_> = roles.as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Admin", "Moderator", "User"]);
    assert_eq!((&roles[0]["users"], &roles[0]["built_in"]), (&json!(1), &json!(true)));
    let builtin = format!("{ROLES}/{}", roles[2]["id"].as_str().unwrap());
    panel.patch(&builtin, &json!({"permissions": ["*"]})).await.error(409, "role_built_in");
    panel.delete(&builtin).await.error(409, "role_built_in");

    let (_, token) = panel.user("kim", Some(json!([]))).await;
    let role = format!("{ROLES}/{}", panel.role("role of kim").await.as_str().unwrap());
    panel.send_as(&token, "GET", "/api/v1/admin/nodes", &[], "").await.error(403, "forbidden");
    panel.patch(&role, &json!({"permissions": ["admin.nodes.list"]})).await.ok();
    panel.send_as(&token, "GET", "/api/v1/admin/nodes", &[], "").await.ok();
    panel.delete(&role).await.error(409, "role_in_use");
    panel.patch(&role, &json!({"name": "User"})).await.error(409, "role_exists");
    panel.patch(&role, &json!({"name": "", "permissions": ["Not one"]})).await.invalid(&["name", "permissions[0]"]);
    panel.post(ROLES, &json!({"name": "Admin", "permissions": []})).await.error(409, "role_exists");
    let empty = panel.post(ROLES, &json!({"name": "empty", "permissions": []})).await.created();
    panel.delete(&format!("{ROLES}/{}", empty["id"].as_str().unwrap())).await.no_content();
}
