pub(crate) mod mmdb;

use std::net::IpAddr;
use std::sync::Arc;

use expect_test::expect;

use super::{AddressList, Database, Network, Place};

use mmdb::Value;

fn network() -> Network {
    let cities = mmdb::database(&[
        (
            "203.0.113.0/24",
            Value::Map(vec![("country", Value::Map(vec![("iso_code", Value::Text("FR"))]))]),
        ),
        ("2001:db8::/32", Value::Map(vec![("country_code", Value::Text("DE"))])),
        ("192.0.2.0/24", Value::Map(vec![("country", Value::Text("US"))])),
        ("198.51.100.0/24", Value::Map(vec![("country", Value::Number(7))])),
    ]);
    let systems = mmdb::database(&[
        (
            "203.0.113.0/25",
            Value::Map(vec![
                ("autonomous_system_number", Value::Number(64500)),
                ("autonomous_system_organization", Value::Text("Example Transit")),
            ]),
        ),
        (
            "192.0.2.0/24",
            Value::Map(vec![("asn", Value::Text("AS64501")), ("as_name", Value::Text("Flat"))]),
        ),
    ]);
    let list = |name, text| {
        let (lists, problems) = AddressList::parse(name, text);
        assert_eq!(problems, []);
        lists.into_iter().next().unwrap()
    };
    let lists = [
        list("cloud", "203.0.112.0/20 # a provider\n2001:db8::/32\n"),
        list("tor", "network,seen\n203.0.113.9,yesterday\n"),
        list("own", "203.0.113.0/28\n10.1.0.0/16\n"),
    ];
    let databases =
        [cities, systems].map(|bytes| Arc::new(Database::read(bytes).unwrap())).to_vec();
    Network::new(databases, &lists)
}

#[track_caller]
fn check(address: &str, expected: &str) {
    let Place { asn, org, country, kind, missing } =
        network().place(address.parse::<IpAddr>().unwrap());
    let asn = asn.map(|asn| asn.to_string());
    let parts = [asn.as_deref(), org.as_deref(), country.as_deref(), kind.as_deref()];
    let text = parts.map(|part| part.unwrap_or("-")).join(" ");
    assert_eq!(format!("{text}{}", if missing { " missing" } else { "" }), expected);
}

#[test]
fn both_shapes_of_country_are_read_and_databases_complete_each_other() {
    check("203.0.113.77", "64500 Example Transit FR cloud");
    check("203.0.113.200", "- - FR cloud");
    check("2001:db8::5", "- - DE cloud");
    check("192.0.2.1", "64501 Flat US -");
    check("198.51.100.1", "- - - -");
}

#[test]
fn the_most_specific_list_names_the_kind() {
    check("203.0.113.9", "64500 Example Transit FR tor");
    check("203.0.113.8", "64500 Example Transit FR own");
    check("203.0.113.16", "64500 Example Transit FR cloud");
    check("10.1.2.3", "- - - own");
}

#[test]
fn private_addresses_are_private_and_unknown_public_ones_missing() {
    check("10.2.0.1", "- - - private");
    check("fd00::1", "- - - private");
    check("127.0.0.1", "- - - private");
    check("8.8.8.8", "- - - - missing");
}

#[test]
fn a_file_that_is_no_database_says_so() {
    let problem = Database::read(b"<html>404</html>".to_vec()).unwrap_err();
    expect!["the database is not used: not a database in MaxMind's format: invalid database: could not find MaxMind DB metadata in file; next: fetch it again; it must be the unpacked .mmdb file"].assert_eq(&problem.to_string());
}

#[test]
fn a_line_that_is_no_network_says_so() {
    let (lists, problems) = AddressList::parse("own", "10.0.0.0/8\n10.0.0.0/33\n");
    assert_eq!(lists[0].networks.len(), 1);
    expect!["line 2, column 1: the line is left out: `10.0.0.0/33` is neither an address nor a network; next: write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32, one a line"].assert_eq(&problems[0].to_string());
}

#[test]
fn a_table_may_name_the_kind_of_each_network() {
    let text = "provider,prefix,kind\n\
                \"one\",203.0.113.0/24,cloud\n\
                two,2001:db8::/32,cloud # new\n\
                three,198.51.100.7,tor\n\
                four,192.0.2.0/24,\n\
                five,everywhere,cloud\n";
    let (lists, problems) = AddressList::parse("providers", text);
    let shown: Vec<String> = lists
        .iter()
        .map(|list| {
            let networks: Vec<String> = list.networks.iter().map(ToString::to_string).collect();
            format!("{}: {}", list.name, networks.join(" "))
        })
        .collect();
    expect![[r#"
        cloud: 203.0.113.0/24 2001:db8::/32
        providers: 192.0.2.0/24
        tor: 198.51.100.7/32"#]]
    .assert_eq(&shown.join("\n"));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].line, Some(6));
    let network = Network::new(Vec::new(), &lists);
    let kind = |address: &str| network.place(address.parse().unwrap()).kind;
    assert_eq!(kind("198.51.100.7").as_deref(), Some("tor"));
    assert_eq!(kind("198.51.100.8"), None);
}
