//! Logging in, staying logged in, logging out; and what a stranger who guesses meets.

use panel::AccessConfig;
use serde_json::{Value, json};

use crate::harness::Panel;
use crate::people::Login;

const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";
const LOGIN: &str = "/api/v1/auth/login";

#[tokio::test]
async fn the_first_admin_logs_in_with_the_password_of_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let panel = Panel::start().await;
    for file in ["admin.password", "session.key"] {
        let mode = std::fs::metadata(panel.data().join("panel").join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    let login = panel.admin_login().await;
    let me = panel.me(&login.access).await.ok();
    assert_eq!(me, login.user);
    assert_eq!((&me["username"], &me["role"], &me["permissions"]), (&json!("admin"), &json!("Admin"), &json!(["*"])));
    assert_eq!(me["email"], Value::Null);
    panel.send_as(&login.access, "GET", "/api/v1/admin/nodes", &[], "").await.ok();
    panel.login("ADMIN", &panel.admin_password()).await;

    let password = panel.admin_password();
    let panel = Panel::start_in(panel.stop().await).await;
    assert_eq!(panel.admin_password(), password);
    panel.me(&login.access).await.ok();
    panel.admin_login().await;
}

#[tokio::test]
async fn a_key_is_somebody_too() {
    let panel = Panel::start().await;
    let me = panel.get("/api/v1/auth/me").await.ok();
    assert_eq!((&me["username"], &me["role"], &me["permissions"]), (&json!("admin"), &Value::Null, &json!(["*"])));
    panel.bare("GET", "/api/v1/auth/me", &[], &json!({})).await.error(401, "unauthorized");
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_are_one_answer() {
    let panel = Panel::start().await;
    let answers = [
        panel.try_login("admin", "wrong password").await,
        panel.try_login("nobody", "wrong password").await,
        panel.try_login("nobody", &"x".repeat(4096)).await,
        panel.try_login("", "").await,
    ];
    for answer in &answers {
        answer.error(401, "invalid_credentials");
        assert!(!answer.headers.contains_key("set-cookie"));
        assert_eq!(answer.text, answers[0].text);
    }
    panel.bare("POST", LOGIN, &[], &json!({"username": "admin"})).await.invalid(&["password"]);
    panel.bare("POST", LOGIN, &[], &json!([])).await.invalid(&["body"]);
    panel.bare("POST", LOGIN, &[], &json!({"username": 1, "password": "x"})).await.invalid(&["username"]);
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_a_copy_of_it_ends_the_session() {
    let panel = Panel::start().await;
    let refresh = async |token: &str| panel.bare("POST", REFRESH, &[], &json!({"refresh_token": token})).await;
    let first = panel.admin_login().await;
    let second = Login::of(&refresh(&first.refresh).await);
    assert_ne!(first.refresh, second.refresh);
    panel.me(&second.access).await.ok();
    let other = panel.admin_login().await;

    let refused = refresh(&first.refresh).await;
    refused.error(401, "session_ended");
    assert!(refused.headers["set-cookie"].contains("Max-Age=0"), "{refused:?}");
    for token in [&first.access, &second.access] {
        panel.me(token).await.error(401, "unauthorized");
    }
    refresh(&second.refresh).await.error(401, "session_ended");
    panel.me(&other.access).await.ok();
    for nonsense in ["", "bpr_", "bpr_x.1.x", &second.access] {
        refresh(nonsense).await.error(401, "session_ended");
    }
    panel.bare("POST", REFRESH, &[], &json!({})).await.error(401, "session_ended");
    panel.bare("POST", REFRESH, &[], &json!({"refresh_token": 7})).await.invalid(&["refresh_token"]);
}

#[tokio::test]
async fn a_browser_refreshes_with_its_cookie_and_two_pages_at_once_both_can() {
    let panel = Panel::start().await;
    let refresh = async |cookie: &str| {
        let cookie = format!("theme=dark; {cookie}");
        panel.bare("POST", REFRESH, &[("Cookie", &cookie)], &json!({})).await
    };
    let first = panel.admin_login().await;
    let [one, other] = [refresh(&first.cookie).await, refresh(&first.cookie).await].map(|answer| Login::of(&answer));
    assert_eq!(one.refresh, other.refresh);
    let next = Login::of(&refresh(&one.cookie).await);
    panel.me(&next.access).await.ok();
    // Two generations later it is a copy, however short the time.
    refresh(&first.cookie).await.error(401, "session_ended");
    panel.me(&next.access).await.error(401, "unauthorized");
}

#[tokio::test]
async fn a_session_that_was_not_used_for_its_time_is_over() {
    let panel = Panel::start().await;
    let login = panel.admin_login().await;
    let db = panel.db().await;
    let mut conn = db.acquire().await.unwrap();
    sqlx::query("UPDATE sessions SET expires_at = 1").execute(&mut *conn).await.unwrap();
    panel.me(&login.access).await.error(401, "unauthorized");
    let body = json!({"refresh_token": login.refresh});
    panel.bare("POST", REFRESH, &[], &body).await.error(401, "session_ended");
}

#[tokio::test]
async fn logging_out_counts_at_once_by_whatever_token() {
    let panel = Panel::start().await;
    for how in ["access", "body", "cookie"] {
        let login = panel.admin_login().await;
        let bearer = format!("Bearer {}", login.access);
        let answer = match how {
            "access" => panel.bare("POST", LOGOUT, &[("Authorization", &bearer)], &json!({})).await,
            "body" => panel.bare("POST", LOGOUT, &[], &json!({"refresh_token": login.refresh})).await,
            _ => panel.bare("POST", LOGOUT, &[("Cookie", &login.cookie)], &json!({})).await,
        };
        answer.no_content();
        assert!(answer.headers["set-cookie"].starts_with("badger_refresh=; "), "{answer:?}");
        panel.me(&login.access).await.error(401, "unauthorized");
        let body = json!({"refresh_token": login.refresh});
        panel.bare("POST", REFRESH, &[], &body).await.error(401, "session_ended");
    }
    panel.bare("POST", LOGOUT, &[], &json!({})).await.no_content();
    panel.bare("POST", LOGOUT, &[], &json!({"x": 1})).await.invalid(&["x"]);
}

#[tokio::test]
async fn one_sees_where_one_is_logged_in_and_ends_it_from_elsewhere() {
    const SESSIONS: &str = "/api/v1/auth/sessions";
    let panel = Panel::start().await;
    let (there, here) = (panel.admin_login().await, panel.admin_login().await);
    let list = async |token: &str| panel.send_as(token, "GET", SESSIONS, &[], "").await.ok();
    let all = list(&here.access).await;
    let current: Vec<_> = all.as_array().unwrap().iter().map(|it| it["current"].as_bool().unwrap()).collect();
    assert_eq!((current, &all[0]["address"]), (vec![true, false], &json!("127.0.0.1")));
    let path = format!("{SESSIONS}/{}", all[1]["id"].as_str().unwrap());
    let (_, other) = panel.user("kim", None).await;
    for token in [&other, &panel.key] {
        panel.send_as(token, "DELETE", &path, &[], "").await.error(404, "not_found");
    }
    panel.send_as(&here.access, "DELETE", &path, &[], "").await.no_content();
    panel.me(&there.access).await.error(401, "unauthorized");
    assert_eq!(list(&here.access).await.as_array().unwrap().len(), 1);
    assert_eq!(list(&panel.key).await, json!([]));
}

#[tokio::test]
async fn another_sites_page_cannot_make_a_browser_log_in_or_out() {
    let panel = Panel::start().await;
    for path in [LOGIN, REFRESH, LOGOUT] {
        let body = if path == LOGIN { json!({"username": "admin", "password": "x"}) } else { json!({}) };
        let answer = panel.bare("POST", path, &[("Sec-Fetch-Site", "cross-site")], &body).await;
        answer.error(403, "cross_site");
    }
}

#[tokio::test]
async fn the_cookie_is_for_https_alone_where_the_proxy_says_so() {
    let panel = Panel::start().await;
    let body = json!({"username": "admin", "password": panel.admin_password()});
    let answer = panel.bare("POST", LOGIN, &[("X-Forwarded-Proto", "https")], &body).await;
    assert!(answer.headers["set-cookie"].ends_with("; SameSite=Strict; Secure"), "{answer:?}");

    let nobody = AccessConfig { trusted_proxies: Vec::new(), ..AccessConfig::default() };
    let panel = Panel::start_with(panel.stop().await, nobody).await;
    let answer = panel.bare("POST", LOGIN, &[("X-Forwarded-Proto", "https")], &body).await;
    assert!(answer.headers["set-cookie"].ends_with("; SameSite=Strict"), "{answer:?}");
}

#[tokio::test]
async fn guessing_is_refused_after_a_while_and_does_not_shut_the_user_out() {
    let panel = Panel::start().await;
    let try_from = async |address: &str, password: &str| {
        let body = json!({"username": "admin", "password": password});
        panel.bare("POST", LOGIN, &[("X-Forwarded-For", address)], &body).await
    };
    Login::of(&try_from("192.0.2.1", &panel.admin_password()).await);
    let mut refused = None;
    for _ in 0..30 {
        let answer = try_from("203.0.113.5", "a wrong password").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.error(401, "invalid_credentials");
    }
    let refused = refused.expect("guesses from one address are counted");
    let details = refused.error(429, "too_many_requests");
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=30).contains(&wait) && details["retry_after_s"] == wait, "{refused:?}");
    // How many it takes depends on how long they take: the account's bucket fills meanwhile.
    let mut refused = false;
    for n in 0..250 {
        refused |= try_from(&format!("198.51.100.{n}"), "a wrong password").await.status == 429;
        if refused {
            break;
        }
    }
    assert!(refused, "guesses from everywhere are not counted together");
    Login::of(&try_from("192.0.2.1", &panel.admin_password()).await);
}

#[tokio::test]
async fn a_user_changes_their_password_and_their_other_sessions_end() {
    let panel = Panel::start().await;
    let (here, elsewhere) = (panel.admin_login().await, panel.admin_login().await);
    let old = panel.admin_password();
    let change = async |token: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new}).to_string();
        panel.send_as(token, "POST", "/api/v1/auth/password", &[], &body).await
    };
    change(&here.access, "not this one", "a better password").await.invalid(&["current_password"]);
    change(&here.access, &old, "short").await.invalid(&["new_password"]);
    change(&panel.key, &old, "a better password").await.error(409, "not_a_session");
    change(&here.access, &old, "a better password").await.no_content();
    panel.me(&here.access).await.ok();
    panel.me(&elsewhere.access).await.error(401, "unauthorized");
    panel.try_login("admin", &old).await.error(401, "invalid_credentials");
    panel.login("admin", "a better password").await;
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_back_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let panel = Panel::start_with(dir, AccessConfig { requests_per_s: 1, ..AccessConfig::default() }).await;
    let login = panel.admin_login().await;
    let mut answered = 0;
    let refused = loop {
        let answer = panel.me(&login.access).await;
        match answer.status {
            200 => answered += 1,
            _ => break answer,
        }
        assert!(answered < 1000);
    };
    assert!(answered >= 10, "{answered}");
    refused.error(429, "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "1");
    panel.get("/api/v1/auth/me").await.ok();
    // Without a token one is counted by address.
    let mut last = 401;
    for _ in 0..100 {
        last = panel.me("bp_wrong").await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
}
