//! Who may do what at one server: the one place that decides it for `/servers/{id}/…`.
//!
//! Three ways lead to a server: it is one's own, its owner lets one in, or one's role is about servers. Who has come by
//! none of them is told that there is no such server; who has, and lacks the right, that they lack it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use model::ServerId;

use super::{Admin, ApiError};
use crate::app::App;
use crate::db::DbError;
use crate::db::subusers::{self, Relation};

/// Something that one may do at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Start, stop, restart, kill.
    Power,
    /// Read the console and write to it.
    Console,
    /// See and change its files.
    Files,
    /// Make, see and restore backups.
    Backups,
    /// See and change schedules.
    Schedules,
    /// See and change databases.
    Databases,
    /// See and change addresses.
    Allocations,
    /// See and change variables and the command line.
    Startup,
    /// Let others in.
    Subusers,
}

impl Right {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Power,
        Self::Console,
        Self::Files,
        Self::Backups,
        Self::Schedules,
        Self::Databases,
        Self::Allocations,
        Self::Startup,
        Self::Subusers,
    ];

    /// Its word, as subusers and the scopes of keys have it.
    #[must_use]
    pub const fn permission(self) -> &'static str {
        match self {
            Self::Power => "server.power",
            Self::Console => "server.console",
            Self::Files => "server.files",
            Self::Backups => "server.backups",
            Self::Schedules => "server.schedules",
            Self::Databases => "server.databases",
            Self::Allocations => "server.allocations",
            Self::Startup => "server.startup",
            Self::Subusers => "server.subusers",
        }
    }

    /// The right that `word` names.
    #[must_use]
    pub fn from_permission(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.permission() == word)
    }

    /// The permission of a role that gives it at every server.
    const fn of_role(self) -> &'static str {
        match self {
            Self::Power => "admin.servers.power",
            Self::Console => "admin.servers.console",
            Self::Files => "admin.servers.files",
            Self::Backups => "admin.servers.backups",
            Self::Schedules | Self::Databases | Self::Allocations | Self::Startup | Self::Subusers => {
                "admin.servers.update"
            }
        }
    }
}

/// A caller at a server that they may see.
#[derive(Clone, Debug)]
pub struct OnServer {
    /// The server.
    pub id: ServerId,
    /// Who asks.
    pub admin: Admin,
    relation: Relation,
}

impl OnServer {
    /// A caller of whom it is known already what they are to the server.
    pub(super) fn new(id: ServerId, admin: Admin, relation: Relation) -> Self {
        Self { id, admin, relation }
    }

    /// Passes if the caller may do that here.
    pub fn may(&self, right: Right) -> Result<(), ApiError> {
        if self.has(right) {
            return Ok(());
        }
        Err(ApiError::forbidden(match self.relation {
            Relation::Stranger => right.of_role(),
            Relation::Owner | Relation::Subuser(_) => right.permission(),
        }))
    }

    /// Whether the caller may do that here.
    #[must_use]
    pub fn has(&self, right: Right) -> bool {
        let word = right.permission();
        let own = match &self.relation {
            Relation::Stranger => false,
            Relation::Owner => true,
            Relation::Subuser(permissions) => permissions.iter().any(|held| held == word),
        };
        (own && self.admin.in_scope(word)) || self.admin.has(right.of_role())
    }
}

impl FromRequestParts<App> for OnServer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let admin = Admin::from_request_parts(parts, app).await?;
        Self::at(app, admin, id_of(parts, app, "id").await?).await
    }
}

impl OnServer {
    /// The same caller as they are now; none if they are let in no more.
    pub(super) async fn again(&self, app: &App) -> Result<Option<Self>, ApiError> {
        match self.admin.again(app).await? {
            Some(admin) => Self::at(app, admin, self.id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn at(app: &App, admin: Admin, id: ServerId) -> Result<Self, ApiError> {
        let mut conn = app.db.acquire().await?;
        let relation = subusers::relation(&mut conn, id, admin.user_id()).await.map_err(|error| match error {
            DbError::NotFound => ApiError::not_found("server"),
            error => error.into(),
        })?;
        let near = relation != Relation::Stranger && good_for_servers(&admin);
        let relation = if near { relation } else { Relation::Stranger };
        if near || admin.permissions().iter().any(|held| is_about_servers(held)) {
            return Ok(Self { id, admin, relation });
        }
        Err(ApiError::not_found("server"))
    }
}

/// Whether the caller's token is good for anything at servers of their own.
pub(super) fn good_for_servers(admin: &Admin) -> bool {
    Right::ALL.iter().any(|right| admin.in_scope(right.permission()))
}

fn is_about_servers(held: &str) -> bool {
    held == "*" || held == "admin.*" || held.starts_with("admin.servers.")
}

/// The id that the route calls `name`.
pub(super) async fn id_of<T: FromStr<Err: Display>>(parts: &mut Parts, app: &App, name: &str) -> Result<T, ApiError> {
    let Path(named) = Path::<BTreeMap<String, String>>::from_request_parts(parts, app)
        .await
        .map_err(|_| ApiError::invalid(name, "is missing in the path"))?;
    let text = named.get(name).ok_or_else(|| ApiError::invalid(name, "is missing in the path"))?;
    text.parse().map_err(|_| ApiError::invalid(name, format!("`{text}` is not a UUID")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_found_by_its_word() {
        for right in Right::ALL {
            assert_eq!(Right::from_permission(right.permission()), Some(right));
        }
        assert_eq!(Right::from_permission("server.*"), None);
    }
}
