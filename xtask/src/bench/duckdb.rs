//! DuckDB, from Python, on the same file and rules.
//!
//! Owns: the script that it runs, and reading who fired. Never: installing it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::rules::RuleSet;
use super::workload::Format;

/// Pairs of rule and key.
pub(super) type Fired = BTreeSet<(String, String)>;

/// A Python script that loads the log once, runs every rule and prints who fired as JSON lines.
pub(super) fn script(format: Format, log: &Path, set: &RuleSet) -> String {
    let log = log.display();
    let source = match format {
        Format::Json => format!(
            "SELECT *, floor(epoch(time))::BIGINT AS ts FROM read_json('{log}', \
             format = 'newline_delimited', columns = {{time: 'TIMESTAMP', remote_addr: 'VARCHAR', \
             request_method: 'VARCHAR', request_uri: 'VARCHAR', status: 'INTEGER', \
             body_bytes_sent: 'BIGINT', http_user_agent: 'VARCHAR', remote_user: 'VARCHAR'}})"
        ),
        Format::Combined => format!(
            "SELECT f.*, epoch(strptime(f.at, '%d/%b/%Y:%H:%M:%S %z'))::BIGINT AS ts, \
             f.code::INTEGER AS status, f.size::BIGINT AS body_bytes_sent FROM (\
             SELECT regexp_extract(line, '{COMBINED}', ['remote_addr', 'remote_user', 'at', \
             'request_method', 'request_uri', 'code', 'size', 'http_user_agent']) AS f \
             FROM read_csv('{log}', columns = {{line: 'VARCHAR'}}, delim = '\\x01', quote = '', \
             escape = '', header = false, auto_detect = false))"
        ),
    };
    let queries: Vec<Value> = set.rules.iter().map(|rule| Value::from(rule.query())).collect();
    let queries = Value::from(queries);
    format!(
        "import json, duckdb
db = duckdb.connect()
db.execute(r\"\"\"CREATE TABLE ev AS SELECT * REPLACE (nullif(nullif(remote_user, '-'), '') AS \
         remote_user), split_part(request_uri, '?', 1) AS path FROM ({source})\"\"\")
for query in {queries}:
    for rule, key in db.execute(query).fetchall():
        print(json.dumps({{\"rule\": rule, \"key\": key}}))
print(json.dumps({{\"rows\": db.execute(\"SELECT count(*) FROM ev\").fetchone()[0]}}))
"
    )
}

/// The same for queries of `gen_rules.py duckdb`, as they stand: they give each window that fires.
/// They read `request_uri`, which is cut off at the query as we cut it, and round `time` to the
/// nearest second, which is cut off to its own so that an event falls into its own window.
pub(super) fn script_of_model(log: &Path, queries: &str) -> String {
    let log = log.display();
    let queries = queries.split(';').map(str::trim).filter(|query| !query.is_empty());
    let queries = Value::from(queries.collect::<Vec<_>>());
    format!(
        "import json, duckdb
db = duckdb.connect()
db.execute(r\"\"\"CREATE TABLE ev AS SELECT * REPLACE (nullif(remote_user, '') AS remote_user, \
         date_trunc('second', time) AS time, split_part(request_uri, '?', 1) AS request_uri) FROM read_json('{log}', \
         format = 'newline_delimited')\"\"\")
fired = set()
for query in {queries}:
    for rule, key, *window in db.execute(query).fetchall():
        fired.add((rule.replace('_', '-'), key))
for rule, key in fired:
    print(json.dumps({{\"rule\": rule, \"key\": key}}))
"
    )
}

const COMBINED: &str =
    r#"^(\S+) - (\S+) \[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d+) (\d+) "[^"]*" "([^"]*)""#;

/// Who fired by DuckDB.
pub(super) fn fired_by_them(out: &str) -> Fired {
    let pair = |value: Value| {
        Some((value.get("rule")?.as_str()?.to_owned(), value.get("key")?.as_str()?.to_owned()))
    };
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(pair).collect()
}

/// Who fired by our verdicts.
pub(super) fn fired_by_us(out: &str) -> Fired {
    let pair = |value: Value| {
        let key = value.get("key")?.as_object()?.values().next()?.as_str()?.to_owned();
        Some((value.get("rule")?.as_str()?.to_owned(), key))
    };
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::rules::RuleSet;
    use super::super::workload::Format;
    use super::{fired_by_them, fired_by_us, script, script_of_model};

    #[test]
    fn the_queries_of_a_model_are_asked_as_they_stand() {
        let script = script_of_model(Path::new("/x.log"), "SELECT 'a_b' AS rule;\nSELECT 2;\n");
        assert!(
            script.contains(r#"for query in ["SELECT 'a_b' AS rule","SELECT 2"]:"#),
            "{script}"
        );
    }

    #[test]
    fn the_script_holds_every_rule() {
        let script = script(Format::Json, Path::new("/x.log"), &RuleSet::make(10));
        assert_eq!(script.matches("SELECT DISTINCT").count(), 10);
        assert!(script.contains("read_json('/x.log'"), "{script}");
    }

    #[test]
    fn both_answers_read_alike() {
        let ours = "{\"rule\":\"scan-ip\",\"kind\":\"opened\",\"key\":{\"client_ip\":\"a\"}}\n";
        let theirs = "{\"rule\": \"scan-ip\", \"key\": \"a\"}\n{\"rows\": 7}\n";
        assert_eq!(fired_by_us(ours), fired_by_them(theirs));
        assert_eq!(fired_by_us(ours).len(), 1);
    }
}
