//! What shippers ask of Elasticsearch: Filebeat, Logstash, Fluent Bit, Vector.
//!
//! Owns: `_bulk`, single documents, and the questions that clients ask before they send.
//! Never: indices; a document is a line, and its index is not kept.
//!
//! Written to Elastic's documentation of the bulk API and to what the clients' documentation says
//! that they check: version and product header at `/`, licence, templates and lifecycle policies,
//! which are all said to be there, so that nothing is set up.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post};
use runtime::http::axum;
use serde_json::{Value, json};

use super::{HttpInput, Refused};
use crate::read::json::{Object, Value as Part};

/// The version that we say to be: clients refuse what is older than they are, within a major.
const VERSION: &str = "8.19.0";

/// Actions of one request, each of which is answered by an item. Shippers send a few thousand.
const OPERATIONS_MAX: usize = 64 * 1024;

/// The routes; `lines` answers `POST /`, which is none of Elasticsearch's.
pub(super) fn routes(lines: MethodRouter<HttpInput>) -> Router<HttpInput> {
    Router::new()
        .route("/", lines.get(about))
        .route("/_bulk", post(bulk).put(bulk))
        .route("/{index}/_bulk", post(bulk).put(bulk))
        .route("/{index}/_doc", post(document))
        .route("/{index}/_doc/{id}", post(document_at).put(document_at))
        .route("/{index}/_create/{id}", post(document_at).put(document_at))
        .route("/_license", get(licence))
        .route("/_xpack", get(licence))
        .route("/_cluster/health", get(health))
        .fallback(setup)
}

/// A JSON answer as Elasticsearch's clients want it.
fn answer(status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    let product = HeaderValue::from_static("Elasticsearch");
    response.headers_mut().insert("x-elastic-product", product);
    response
}

/// An error in Elasticsearch's shape.
fn refused(refused: Refused) -> Response {
    let status = refused.status();
    let reason = refused.to_string();
    let kind = match refused {
        Refused::Token => "security_exception",
        Refused::Full(_) | Refused::NoRoom(_) => "es_rejected_execution_exception",
        Refused::Unreadable(_) | Refused::Encoding | Refused::TooLarge(_) | Refused::TooMany(_) => {
            "illegal_argument_exception"
        }
    };
    let error = json!({ "type": kind, "reason": reason });
    let mut response = answer(status, json!({ "error": error, "status": status.as_u16() }));
    let plain = refused.into_response();
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = plain.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

async fn about() -> Response {
    let version = json!({
        "number": VERSION,
        "build_flavor": "default",
        "build_type": "tar",
        "build_hash": "0000000000000000000000000000000000000000",
        "build_date": "2025-01-01T00:00:00.000000000Z",
        "build_snapshot": false,
        "lucene_version": "9.12.0",
        "minimum_wire_compatibility_version": "7.17.0",
        "minimum_index_compatibility_version": "7.0.0",
    });
    let body = json!({
        "name": "tidegate",
        "cluster_name": "tidegate",
        "cluster_uuid": "tidegate-input-000000",
        "version": version,
        "tagline": "You Know, for Search",
    });
    answer(StatusCode::OK, body)
}

async fn licence() -> Response {
    let licence =
        json!({ "status": "active", "uid": "tidegate", "type": "basic", "mode": "basic" });
    let features = json!({ "ilm": { "available": true, "enabled": true } });
    answer(StatusCode::OK, json!({ "license": licence, "features": features }))
}

async fn health() -> Response {
    let body = json!({ "cluster_name": "tidegate", "status": "green", "timed_out": false });
    answer(StatusCode::OK, body)
}

/// Templates, pipelines and policies: there to be found, and taken when they are sent. What is no
/// question of Elasticsearch's is not here.
async fn setup(
    State(input): State<HttpInput>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !uri.path().starts_with("/_") {
        let error = json!({ "type": "invalid_path", "reason": "nothing is here; see the page of \
            your shipper in docs/shippers" });
        return answer(StatusCode::NOT_FOUND, json!({ "error": error, "status": 404 }));
    }
    if let Err(why) = input.opened(&headers, body) {
        return refused(why);
    }
    let reads = method == Method::GET || method == Method::HEAD;
    let body = if reads { json!({}) } else { json!({ "acknowledged": true }) };
    answer(StatusCode::OK, body)
}

async fn bulk(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    let taken = async {
        let body = input.opened(&headers, body)?;
        let operations = operations(&body)?;
        let documents = operations.iter().filter_map(|operation| operation.document.clone());
        let documents: Vec<Bytes> = documents.collect();
        input.keep(documents.into_iter()).await?;
        Ok(operations)
    };
    match taken.await {
        Ok(operations) => {
            let items: Vec<Value> = operations.iter().map(Operation::item).collect();
            answer(StatusCode::OK, json!({ "took": 0, "errors": false, "items": items }))
        }
        Err(why) => refused(why),
    }
}

async fn document(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    one(input, headers, body).await
}

async fn document_at(
    State(input): State<HttpInput>,
    Path(_place): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    one(input, headers, body).await
}

/// One document. It may stand on several lines, and a line is one.
async fn one(input: HttpInput, headers: HeaderMap, body: Bytes) -> Response {
    let taken = async {
        let body = input.opened(&headers, body)?;
        let line: Vec<u8> =
            body.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        input.keep(std::iter::once(Bytes::from(line))).await
    };
    match taken.await {
        Ok(_) => answer(StatusCode::CREATED, json!({ "_id": "-", "result": "created" })),
        Err(why) => refused(why),
    }
}

/// What a bulk request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Index,
    Update,
    Delete,
}

#[derive(Debug)]
struct Operation {
    action: Action,
    index: String,
    document: Option<Bytes>,
}

impl Operation {
    fn item(&self) -> Value {
        let (name, status, result) = match self.action {
            Action::Create => ("create", 201, "created"),
            Action::Index => ("index", 201, "created"),
            Action::Update => ("update", 200, "updated"),
            // Nothing is kept under an id, so there is nothing to delete.
            Action::Delete => ("delete", 404, "not_found"),
        };
        json!({ name: { "_index": self.index, "_id": "-", "status": status, "result": result } })
    }
}

/// The actions of a body, each with the document behind it.
fn operations(body: &Bytes) -> Result<Vec<Operation>, Refused> {
    let mut lines = super::lines(body);
    let mut operations = Vec::new();
    while let Some(line) = lines.next() {
        let (action, index) = action(&line).ok_or(Refused::Unreadable(
            "a line of actions is none; write {\"create\":{}} and the document on the line below",
        ))?;
        let document = match action {
            Action::Delete => None,
            Action::Create | Action::Index | Action::Update => Some(
                lines.next().ok_or(Refused::Unreadable("the last action has no document below"))?,
            ),
        };
        if operations.len() == OPERATIONS_MAX {
            return Err(Refused::TooMany(OPERATIONS_MAX));
        }
        operations.push(Operation { action, index, document });
    }
    Ok(operations)
}

fn action(line: &[u8]) -> Option<(Action, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut object = Object::open(text)?;
    let (name, value) = object.next()?;
    let action = match name.raw() {
        "create" => Action::Create,
        "index" => Action::Index,
        "update" => Action::Update,
        "delete" => Action::Delete,
        _ => return None,
    };
    let Part::Object(inner) = value else { return None };
    let mut index = String::new();
    let mut inner = Object::open(inner)?;
    while let Some((key, value)) = inner.next() {
        if let ("_index", Part::Text(text)) = (key.raw(), value) {
            index = text.read().into_owned();
        }
    }
    Some((action, index))
}
