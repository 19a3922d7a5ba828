use expect_test::{Expect, expect};

use super::parse_document;

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let mut lines = Vec::new();
    match parse_document("shop", text) {
        Ok((document, problems)) => {
            for operation in &document.operations {
                let mut line = format!("{} {}", operation.method(), operation.template);
                for (flag, said) in [
                    ("auth", operation.auth_required),
                    ("privileged", operation.privileged),
                    ("login", operation.login),
                    ("deprecated", operation.deprecated),
                ] {
                    if said {
                        line.push(' ');
                        line.push_str(flag);
                    }
                }
                for (name, list) in [("scopes", &operation.scopes), ("query", &operation.query)] {
                    if !list.is_empty() {
                        line.push_str(&format!(" {name}={}", list.join(",")));
                    }
                }
                lines.push(line);
            }
            lines.extend(problems.iter().map(ToString::to_string));
        }
        Err(problem) => lines.push(problem.to_string()),
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn security_is_that_of_the_operation_else_of_the_document() {
    check(
        "
openapi: 3.1.0
security: [{oauth: [orders:read, orders:write]}]
paths:
  /orders:
    get: {security: [{oauth: [orders:read]}, {oauth: [orders:read, all]}]}
    post: {}
  /health: {get: {security: []}}
  /maybe: {get: {security: [{oauth: [x]}, {}]}}
",
        &expect![[r#"
            GET /health
            GET /maybe
            GET /orders auth scopes=orders:read
            POST /orders auth scopes=orders:read,orders:write"#]],
    );
}

#[test]
fn servers_give_the_beginning_of_the_path() {
    check(
        "
openapi: 3.0.3
servers:
  - url: https://{region}.example.com/{base}/
    variables: {region: {default: eu}, base: {default: v2}}
  - url: /v2
  - url: http://localhost:8080
paths:
  /orders/{id}:
    get: {}
  /old:
    servers: [{url: /legacy}]
    get: {deprecated: true}
",
        &expect![[r#"
            GET /legacy/old deprecated
            GET /orders/{id}
            GET /v2/orders/{id}"#]],
    );
}

#[test]
fn login_and_privilege_come_from_marks_and_from_words() {
    check(
        r##"
openapi: 3.0.0
paths:
  /signup:
    post: {requestBody: {$ref: "#/components/requestBodies/Credentials"}}
  /session: {post: {}, get: {}}
  /magic: {post: {x-login: true}}
  /token: {post: {x-login: false}}
  /reports: {get: {tags: [Back Office / Admin]}}
  /admin/users: {get: {}, delete: {x-privileged: false}}
  /keys: {get: {security: [{oauth: ["keys:admin"]}]}}
components:
  requestBodies:
    Credentials:
      content:
        application/json:
          schema: {allOf: [{$ref: "#/components/schemas/Person"}]}
  schemas:
    Person:
      properties:
        name: {type: string}
        secret: {type: string, format: password}
        friend: {$ref: "#/components/schemas/Person"}
"##,
        &expect![[r#"
            GET /admin/users privileged
            DELETE /admin/users
            GET /keys auth privileged scopes=keys:admin
            POST /magic login
            GET /reports privileged
            GET /session
            POST /session login
            POST /signup login
            POST /token"#]],
    );
}

#[test]
fn query_parameters_are_gathered_from_path_operation_and_keys() {
    check(
        r##"{"openapi": "3.0.0", "security": [{"key": []}],
 "paths": {"/find": {
   "parameters": [{"in": "query", "name": "page"}, {"in": "header", "name": "X-Y"}],
   "get": {"parameters": [{"$ref": "#/components/parameters/Filter"}]}}},
 "components": {
   "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}},
   "parameters": {"Filter": {"in": "query", "name": "filter",
     "schema": {"type": "object", "properties": {"colour": {}, "size": {}}}}}}}"##,
        &expect!["GET /find auth query=api_key,colour,filter,page,size"],
    );
}

#[test]
fn mistakes_cost_only_the_operation_that_they_are_in() {
    check(
        r##"
openapi: 3.0.0
paths:
  /good: {get: {}}
  bad: {get: {}}
  /half/{open: {get: {}}
  /far: {$ref: "other.yml#/paths/far"}
  /lost:
    get: {parameters: [{$ref: "#/components/parameters/Nowhere"}]}
  /loop: {$ref: "#/paths/~1loop"}
"##,
        &expect![[r#"
            GET /good
            line 5, column 3: the operation is left out: the path `bad` does not begin with a slash; next: write it as `/…`
            line 6, column 3: the operation is left out: a `{` without its `}` in `/half/{open`; next: write parameters as `{name}`
            line 7, column 3: the operation is left out: `other.yml#/paths/far` refers to another document; next: put what it needs into this document, as a bundler does; only a document that is fetched may refer to others, of its own host
            line 8, column 3: the operation is left out: GET /lost: `#/components/parameters/Nowhere` refers to nothing; next: put what it needs into this document, as a bundler does; only a document that is fetched may refer to others, of its own host
            line 10, column 3: the operation is left out: references run in a circle; next: put what it needs into this document, as a bundler does; only a document that is fetched may refer to others, of its own host"#]],
    );
}

#[test]
fn what_is_no_openapi_3_document_says_what_it_is() {
    check(
        "swagger: '2.0'\npaths: {}\n",
        &expect![
            "line 1, column 1: the document is not used: it is a Swagger 2.0 document; next: convert it to OpenAPI 3; `swagger2openapi` does"
        ],
    );
    check(
        "openapi: 4.0.0\n",
        &expect![
            "line 1, column 1: the document is not used: it is of OpenAPI 4.0.0; 3.x is read; next: convert it to OpenAPI 3.1"
        ],
    );
    check(
        "title: x\n",
        &expect![
            "line 1: the document is not used: it has no `openapi` field; next: begin with `openapi: 3.1.0`; a folder `openapi` has one document a service"
        ],
    );
    check(
        "paths:\n  - a\n b: [\n",
        &expect![
            "line 3, column 2: the document is not used: not YAML: while parsing a block mapping, did not find expected key; next: correct it; other tools will refuse it too"
        ],
    );
    check(
        "{\"openapi\": \"3.0.0\",\n \"paths\": {]}",
        &expect![
            "line 2, column 12: the document is not used: not JSON: key must be a string; next: correct it; other tools will refuse it too"
        ],
    );
    check(
        "",
        &expect![
            "line 1: the document is not used: it has no `openapi` field; next: begin with `openapi: 3.1.0`; a folder `openapi` has one document a service"
        ],
    );
}

#[test]
fn numbers_as_keys_and_aliases_are_read() {
    check(
        "
openapi: 3.0.0
x-all: &all
  responses: {200: {description: fine}, 404: {description: gone}}
paths:
  /a: {get: *all}
",
        &expect!["GET /a"],
    );
}
