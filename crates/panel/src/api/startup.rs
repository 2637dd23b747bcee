//! How a server is started: its variables, its command line, its image.
//!
//! Owners and subusers with `server.startup` see the variables that the egg lets them see and change those that it lets them
//! change, and choose among the egg's images. Whoever may change servers sees and changes all. What is changed here the
//! game has from its next start on.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use model::EggId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use super::on_server::{OnServer, Right};
use super::servers::{load, locked};
use super::views::One;
use super::{Answer, ApiError, Body, check};
use crate::app::App;
use crate::db::servers::{self, Server};
use crate::db::{Conn, DbError, allocations, audit, specs};
use crate::egg::{self, Egg, Variable, build_spec, check_environment};
use crate::tell;

/// Whoever has it is bound by no egg's word about users.
const ANY_VARIABLE: &str = "admin.servers.update";
/// What stands in the command line for what the caller may not see.
const HIDDEN: &str = "[hidden]";

#[derive(OpenApi)]
#[openapi(paths(show, update))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/servers/{id}/startup", get(show).patch(update))
}

/// How a server is started.
#[derive(Debug, Serialize, ToSchema)]
struct StartupView {
    /// The egg that it is made from.
    #[schema(value_type = uuid::Uuid)]
    egg_id: EggId,
    /// Command line with placeholders.
    #[schema(example = "java -Xmx{{SERVER_MEMORY}}M -jar {{SERVER_JARFILE}}")]
    startup: String,
    /// The command line as it will run; `[hidden]` where the caller may not see a value.
    #[schema(example = "java -Xmx2048M -jar server.jar")]
    command: String,
    /// The egg's own command line.
    default_startup: String,
    /// Container image.
    #[schema(example = "ghcr.io/pterodactyl/yolks:java_17")]
    docker_image: String,
    /// Labels and images of the egg.
    #[schema(value_type = Object, example = json!({"Java 17": "ghcr.io/pterodactyl/yolks:java_17"}))]
    docker_images: Map<String, Value>,
    /// The egg's variables that the caller may see.
    variables: Vec<ServerVariableView>,
    /// Whether the server's agent has heard of all of this; otherwise it is told before the next start.
    is_told: bool,
}

/// A variable of a server.
#[derive(Debug, Serialize, ToSchema)]
struct ServerVariableView {
    /// For people.
    #[schema(example = "Server Jar File")]
    name: String,
    /// For people.
    description: String,
    /// Its name in the environment.
    #[schema(example = "SERVER_JARFILE")]
    env_variable: String,
    /// Its value.
    #[schema(example = "server.jar")]
    value: String,
    /// Its value where a server sets none.
    #[schema(example = "server.jar")]
    default_value: String,
    /// Whether users see it.
    user_viewable: bool,
    /// Whether users may change it.
    user_editable: bool,
    /// Whether the caller may.
    is_editable: bool,
    /// What a value must be.
    #[schema(example = "required|string|max:20")]
    rules: String,
    /// How a form shows it.
    #[schema(example = "text")]
    field_type: String,
}

/// What the startup of a server becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"environment": {"SERVER_JARFILE": "paper.jar", "MODE": null}}))]
struct StartupChange {
    /// New values of variables; null for the egg's default.
    #[serde(default)]
    environment: BTreeMap<String, Option<String>>,
    /// Command line with placeholders; for administrators.
    startup: Option<String>,
    /// Container image: one of the egg's, or any for administrators.
    docker_image: Option<String>,
}

/// Shows how a server is started.
#[utoipa::path(get, path = "/api/v1/servers/{id}/startup", tag = "startup", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "Variables, command line and image", body = One<StartupView>)))]
async fn show(State(app): State<App>, on: OnServer) -> Result<Answer, ApiError> {
    on.may(Right::Startup)?;
    let mut conn = app.db.acquire().await?;
    let server = load(&mut conn, on.id).await?;
    let egg = egg::load_egg(&mut conn, server.egg_id).await?;
    Answer::ok(&view(&mut conn, &on, &server, egg).await?)
}

/// Changes how a server is started, from its next start on.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/startup", tag = "startup", request_body = StartupChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "As it is now", body = One<StartupView>),
        (status = 403, description = "`forbidden`: the command line, and images that are not the egg's, are for administrators"),
        (status = 409, description = "`server_locked`"),
    ))]
async fn update(State(app): State<App>, on: OnServer, body: Body<StartupChange>) -> Result<Answer, ApiError> {
    on.may(Right::Startup)?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let mut server = load(&mut tx, on.id).await?;
    let egg = egg::load_egg(&mut tx, server.egg_id).await?;
    admit(&on, &egg, &change)?;
    if server.locked_by.is_some() {
        return Err(locked());
    }
    apply(&mut server, &change);
    // Only what was asked for: a default that an egg's own rules refuse is not the caller's to mend.
    let named =
        |(field, _): &check::Problem| change.environment.keys().any(|name| *field == format!("environment.{name}"));
    check::none(check_environment(&egg, &server.environment).into_iter().filter(named).collect())?;
    servers::server_startup_set(&mut tx, &server).await?;
    specs::spec_changed(&mut tx, on.id).await?;
    // Names only: passwords are among the values.
    let variables: Vec<_> = change.environment.keys().collect();
    let details = json!({"environment": variables, "startup": change.startup, "docker_image": change.docker_image});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "server.startup", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    tell::tell_of_change(&app, on.id).await;
    let mut conn = app.db.acquire().await?;
    Answer::ok(&view(&mut conn, &on, &server, egg).await?)
}

/// Whether the caller may ask for that, and whether it can be.
fn admit(on: &OnServer, egg: &Egg, change: &StartupChange) -> Result<(), ApiError> {
    let any = on.admin.has(ANY_VARIABLE);
    let image = change.docker_image.as_deref();
    let foreign = image.is_some_and(|image| egg.images.iter().all(|(_, known)| known != image));
    if !any && (change.startup.is_some() || foreign) {
        return Err(ApiError::forbidden(ANY_VARIABLE));
    }
    let mut problems = Vec::new();
    for name in change.environment.keys() {
        let problem = match egg.variables.iter().find(|variable| variable.env_variable == *name) {
            None => Some("is not a variable of this egg"),
            Some(_) if egg::RESERVED.contains(&name.as_str()) => Some("is set by the panel"),
            Some(variable) if !any && !variable.user_viewable => Some("is not a variable of this egg"),
            Some(variable) if !any && !variable.user_editable => Some("may be changed by administrators only"),
            Some(_) => None,
        };
        problems.extend(problem.map(|problem| (format!("environment.{name}"), problem.to_owned())));
    }
    for (field, text) in [("startup", &change.startup), ("docker_image", &change.docker_image)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty() || text.contains('\0')) {
            problems.push((field.to_owned(), "must not be empty".to_owned()));
        }
    }
    check::none(problems)
}

fn apply(server: &mut Server, change: &StartupChange) {
    for (name, value) in &change.environment {
        match value {
            Some(value) => server.environment.insert(name.clone(), value.clone()),
            None => server.environment.remove(name),
        };
    }
    if let Some(startup) = &change.startup {
        server.startup.clone_from(startup);
    }
    if let Some(image) = &change.docker_image {
        server.image.clone_from(image);
    }
}

async fn view(conn: &mut Conn, on: &OnServer, server: &Server, egg: Egg) -> Result<StartupView, ApiError> {
    let any = on.admin.has(ANY_VARIABLE);
    let addresses = allocations::allocations_of(conn, server.id).await?;
    let is_told = specs::spec_untold(conn, server.id).await?.is_none();
    let mut environment = build_spec(server, &egg, &addresses).environment;
    let command = {
        for variable in egg.variables.iter().filter(|variable| !any && !variable.user_viewable) {
            environment.insert(variable.env_variable.clone(), HIDDEN.to_owned());
        }
        model::fill_in(&server.startup, &environment)
    };
    let seen = egg.variables.into_iter().filter(|variable| any || variable.user_viewable);
    let variables = seen.map(|variable| ServerVariableView::new(variable, &environment, any)).collect();
    Ok(StartupView {
        egg_id: server.egg_id,
        startup: server.startup.clone(),
        command,
        default_startup: egg.startup,
        docker_image: server.image.clone(),
        docker_images: egg.images.into_iter().map(|(label, image)| (label, Value::String(image))).collect(),
        variables,
        is_told,
    })
}

impl ServerVariableView {
    fn new(variable: Variable, environment: &BTreeMap<String, String>, any: bool) -> Self {
        let reserved = egg::RESERVED.contains(&variable.env_variable.as_str());
        Self {
            value: environment.get(&variable.env_variable).cloned().unwrap_or_default(),
            name: variable.name,
            description: variable.description,
            is_editable: !reserved && (any || variable.user_editable),
            env_variable: variable.env_variable,
            default_value: variable.default_value,
            user_viewable: variable.user_viewable,
            user_editable: variable.user_editable,
            rules: variable.rules.text(),
            field_type: variable.field_type,
        }
    }
}
