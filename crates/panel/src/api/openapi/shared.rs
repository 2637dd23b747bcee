//! What routes have in common and no handler repeats: the key, the errors that any route has or that go with a body, an
//! `Idempotency-Key` or a page, and the error's shape. A handler names what is its own; its words stay.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, PathItem, Ref, RefOr, Required, Response, ResponseBuilder};

/// Routes that answer without a look at the database.
const STATIC: [&str; 2] = ["/healthz", "/api/v1/openapi.json"];

/// Status, and what it means.
type Shared = (&'static str, &'static str);

const GUARDED: [Shared; 4] = [
    ("400", "`validation_error`, with a list of problems for each field in the details"),
    ("401", "`unauthorized`: no valid API key or access token"),
    ("403", "`forbidden`: the caller lacks the permission; `network_not_allowed`: the key is not for this address"),
    ("429", "`too_many_requests`, with `Retry-After`"),
];
const ABOUT_ONE: Shared = ("404", "`not_found`");
const STORED: Shared = ("503", "`database_unavailable`: try again");
const WITH_BODY: [Shared; 2] = [
    ("408", "`request_timeout`: the body did not come to its end within 30 seconds"),
    ("413", "`payload_too_large`: more than 2 MiB"),
];
const ONCE: [Shared; 2] = [
    ("409", "`idempotency_pending`: a request with this key has not ended"),
    ("422", "`idempotency_mismatch`: the key was used for another request"),
];

/// Adds it to every operation. `is_public` says which paths want no key.
pub(super) fn complete(path: &str, item: &mut PathItem, is_public: bool) {
    let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    for operation in methods.into_iter().flatten() {
        name(operation);
        if is_paged(operation) {
            add_paging(operation.parameters.get_or_insert_default());
        }
        operation.parameters.iter_mut().flatten().for_each(plain);
        if !is_public {
            operation.security = Some(vec![SecurityRequirement::new("api_key", Vec::<String>::new())]);
        }
        let shared = shared(operation, path, is_public);
        add(operation, shared);
    }
}

/// Handlers have short names in their modules; clients that are generated need names that are unique in all.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().map_or("", String::as_str).to_lowercase().replace(' ', "_");
    operation.operation_id = operation.operation_id.take().map(|name| format!("{tag}_{name}"));
}

/// Whether it answers with a page of a list: its schema is one of `Many<…>`.
fn is_paged(operation: &Operation) -> bool {
    let Some(RefOr::T(response)) = operation.responses.responses.get("200") else { return false };
    response.content.values().any(|content| match content {
        RefOr::T(content) => {
            matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location.contains("/Many_"))
        }
        RefOr::Ref(_) => false,
    })
}

fn add_paging(parameters: &mut Vec<RefOr<Parameter>>) {
    for (name, description, most) in
        [("page", "From 1; 1 without it", u32::MAX), ("per_page", "1 to 100; 25 without it", 100)]
    {
        if parameters.iter().any(|known| matches!(known, RefOr::T(known) if known.name == name)) {
            continue;
        }
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most)).build();
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
        parameters.push(RefOr::T(parameter.description(Some(description)).schema(Some(number)).build()));
    }
}

/// A parameter that may be left out (`Option<…>`) has no `null` that could be sent; and an id says of what it is one.
fn plain(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        && let SchemaType::Array(types) = &mut schema.schema_type
    {
        types.retain(|kind| *kind != Type::Null);
        if let [only] = types.as_slice() {
            schema.schema_type = SchemaType::Type(only.clone());
        }
    }
    if parameter.name == "Idempotency-Key"
        && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
    {
        schema.min_length = Some(1);
        schema.max_length = Some(255);
        // RFC 9110, field values: what is visible, with blanks in between.
        schema.pattern = Some("^[!-~]([ -~]*[!-~])?$".to_owned());
    }
    if parameter.parameter_in == ParameterIn::Path && parameter.description.is_none() {
        let of = parameter.name.strip_suffix("_id").map_or_else(String::new, |noun| {
            let noun = noun.replace('_', " ");
            format!(" of the {noun}")
        });
        parameter.description = Some(format!("Id{of}"));
    }
}

fn shared(operation: &Operation, path: &str, is_public: bool) -> Vec<Shared> {
    let mut shared = Vec::new();
    if !is_public {
        shared.extend(GUARDED);
        if path.contains('{') {
            shared.push(ABOUT_ONE);
        }
    }
    if !STATIC.contains(&path) {
        shared.push(STORED);
    }
    if operation.request_body.is_some() {
        shared.extend(WITH_BODY);
    }
    shared
}

/// Whether it takes the header.
fn is_once(operation: &Operation) -> bool {
    let named = |known: &RefOr<Parameter>| matches!(known, RefOr::T(known) if known.name == "Idempotency-Key");
    operation.parameters.iter().flatten().any(named)
}

fn add(operation: &mut Operation, shared: Vec<Shared>) {
    let once = is_once(operation);
    let responses = &mut operation.responses.responses;
    let described = |description: &str| RefOr::T(ResponseBuilder::new().description(description).build());
    for (status, description) in shared {
        responses.entry(status.to_owned()).or_insert_with(|| described(description));
    }
    for (status, description) in ONCE.into_iter().filter(|_| once) {
        match responses.get_mut(status) {
            Some(RefOr::T(known)) => known.description = format!("{}; {description}", known.description),
            Some(RefOr::Ref(_)) => {}
            None => drop(responses.insert(status.to_owned(), described(description))),
        }
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
        {
            shape(response);
        }
    }
}

/// Gives an error its body, if the handler has not.
fn shape(response: &mut Response) {
    if response.content.is_empty() {
        let schema = RefOr::Ref(Ref::from_schema_name("ErrorBody"));
        let content = ContentBuilder::new().schema(Some(schema)).build();
        response.content.insert("application/json".to_owned(), RefOr::T(content));
    }
}
