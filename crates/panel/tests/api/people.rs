//! People as the API's harness meets them: a log-in, and requests with what it gave.

use serde_json::{Value, json};

use crate::harness::{Panel, Response, http};

/// What a log-in gave.
pub(crate) struct Login {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) cookie: String,
    pub(crate) user: Value,
}

impl Login {
    pub(crate) fn of(response: &Response) -> Self {
        let data = response.ok();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        assert_eq!((&data["token_type"], &data["expires_in"]), (&json!("Bearer"), &json!(900)));
        let cookie = response.headers["set-cookie"].clone();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/api/v1/auth; Max-Age=604800; HttpOnly; SameSite=Strict");
        assert_eq!(pair, format!("badger_refresh={}", text("refresh_token")));
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            cookie: pair.to_owned(),
            user: data["user"].clone(),
        }
    }
}

impl Panel {
    /// The password that the first start has made.
    pub(crate) fn admin_password(&self) -> String {
        std::fs::read_to_string(self.data().join("panel/admin.password")).unwrap().trim().to_owned()
    }

    /// A request without a token.
    pub(crate) async fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        http(self.address, method, path, headers, body.to_string().as_bytes()).await
    }

    pub(crate) async fn try_login(&self, username: &str, password: &str) -> Response {
        let body = json!({"username": username, "password": password});
        self.bare("POST", "/api/v1/auth/login", &[], &body).await
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Login {
        Login::of(&self.try_login(username, password).await)
    }

    pub(crate) async fn admin_login(&self) -> Login {
        self.login("admin", &self.admin_password()).await
    }

    pub(crate) async fn me(&self, token: &str) -> Response {
        self.send_as(token, "GET", "/api/v1/auth/me", &[], "").await
    }
}
