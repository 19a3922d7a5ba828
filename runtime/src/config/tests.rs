use std::net::SocketAddr;

use expect_test::{Expect, expect};
use serde::Deserialize;

use super::{ByteSize, Layers, Secret, Span};

const DEFAULTS: &str = r#"
[admin]
listen = "127.0.0.1:7070"
timeout = "10s"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "most fields are only parsed")]
struct Settings {
    admin: Admin,
    #[serde(default)]
    input: Vec<Input>,
    #[serde(default)]
    respond: Respond,
    kafka: Option<Kafka>,
}

// Without `deny_unknown_fields`: it must not matter.
#[derive(Debug, Deserialize)]
struct Admin {
    listen: SocketAddr,
    timeout: Span,
    token: Option<Secret>,
    #[serde(default)]
    connections_max: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "most fields are only parsed")]
enum Input {
    File(FileInput),
    Http { listen: SocketAddr, body_max: Option<ByteSize>, password: Option<Secret> },
    Stdin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "most fields are only parsed")]
struct FileInput {
    path: String,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    service: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Auto,
    NginxCombined,
    Apache,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Respond {
    dry_run: bool,
    never_block: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Kafka {
    brokers: String,
    #[serde(default)]
    sasl: Option<Sasl>,
}

#[derive(Debug, Deserialize)]
struct Sasl {
    user: String,
    password: Secret,
}

fn layers(file: &str) -> Layers {
    Layers::new(DEFAULTS).text("tidegate.toml", file)
}

fn variables<const N: usize>(set: [(&str, &str); N]) -> Vec<(String, String)> {
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// What is told about `layers`: all mistakes, or what is in force.
#[track_caller]
fn check(layers: Layers, expected: &Expect) {
    let told = match layers.load::<Settings>() {
        Ok(loaded) => loaded.in_force.show(),
        Err(problems) => problems.render(false) + "\n",
    };
    expected.assert_eq(&told);
}

fn load(layers: Layers) -> Settings {
    layers.load::<Settings>().unwrap_or_else(|problems| panic!("{problems}")).settings
}

#[test]
fn an_unknown_key_in_a_nested_table_is_told_with_its_place_and_the_nearest_name() {
    check(
        layers("# mine\n[admin]\nlisen = \"127.0.0.1:7071\"\n"),
        &expect![[r#"
        error: unknown key `lisen` in `[admin]`
         --> tidegate.toml:3:1
          |
        3 | lisen = "127.0.0.1:7071"
          | ^^^^^ did you mean `listen`?
    "#]],
    );
}

#[test]
fn an_unknown_key_unlike_any_other_is_told_with_those_known() {
    check(
        layers("[admin]\nbanner = \"hello\"\n"),
        &expect![[r#"
        error: unknown key `banner` in `[admin]`
         --> tidegate.toml:2:1
          |
        2 | banner = "hello"
          | ^^^^^^ not known here
          |
          = help: known here: `listen`, `timeout`, `token`, `connections_max`
    "#]],
    );
}

#[test]
fn an_unknown_table_is_told() {
    check(
        layers("[kafkaa]\nbrokers = \"127.0.0.1:9092\"\n"),
        &expect![[r#"
        error: unknown key `kafkaa` at the top level
         --> tidegate.toml:1:2
          |
        1 | [kafkaa]
          |  ^^^^^^ did you mean `kafka`?
    "#]],
    );
}

/// One of each kind of mistake.
const MISTAKES: &str = r#"
[admin]
listen = 7070
timeout = 10
connections_max = 70000

[[input]]
type = "file"
paht = "/var/log/nginx/access.log"
format = "nginx_combind"

[[input]]
type = "htpp"

[[input]]
type = "stdin"
path = "x"

[[input]]
path = "y"

[respond]
dry_run = "yes"
"#;

#[test]
fn all_mistakes_are_told_at_once() {
    let environment = variables([("TIDEGATE__KAFKA__BROKER", "127.0.0.1:9092")]);
    let problems = layers(MISTAKES).environment(environment).load::<Settings>().unwrap_err();
    assert_eq!(problems.count(), 10);
    expect![[r#"
        error: wrong type of `admin.listen`
         --> tidegate.toml:3:10
          |
        3 | listen = 7070
          |          ^^^^ this is a whole number; expected an address and a port in quotes, such as "127.0.0.1:7070"

        error: wrong type of `admin.timeout`
         --> tidegate.toml:4:11
          |
        4 | timeout = 10
          |           ^^ this is a whole number; expected a duration in quotes with its unit, such as "10s"

        error: wrong value of `admin.connections_max`
         --> tidegate.toml:5:19
          |
        5 | connections_max = 70000
          |                   ^^^^^ expected a whole number from 0 to 65535

        error: unknown key `paht` in `[[input]]` of type `file`
         --> tidegate.toml:9:1
          |
        9 | paht = "/var/log/nginx/access.log"
          | ^^^^ did you mean `path`?

        error: unknown value `nginx_combind` of `input.format`
          --> tidegate.toml:10:10
           |
        10 | format = "nginx_combind"
           |          ^^^^^^^^^^^^^^^ did you mean `nginx_combined`?
           |
           = help: known here: `auto`, `nginx_combined`, `apache`

        error: unknown value `htpp` of `input.type`
          --> tidegate.toml:13:8
           |
        13 | type = "htpp"
           |        ^^^^^^ did you mean `http`?
           |
           = help: known here: `file`, `http`, `stdin`

        error: unknown key `path` in `[[input]]` of type `stdin`
          --> tidegate.toml:17:1
           |
        17 | path = "x"
           | ^^^^ not known here
           |
           = help: nothing else can be set here

        error: `type` is missing in `[[input]]`
          --> tidegate.toml:19:1
           |
        19 | [[input]]
           | ^^^^^^^^^ add `type = …`

        error: wrong type of `respond.dry_run`
          --> tidegate.toml:23:11
           |
        23 | dry_run = "yes"
           |           ^^^^^ this is a text; expected `true` or `false`

        error: unknown key `broker` in `[kafka]`
        --> environment variable TIDEGATE__KAFKA__BROKER
         = help: did you mean TIDEGATE__KAFKA__BROKERS?"#]].assert_eq(&problems.to_string());
}

#[test]
fn what_is_no_toml_is_told_with_every_place() {
    check(
        layers("[admin\nlisten = x\n[input]]\n"),
        &expect![[r#"
        error: this is not TOML
         --> tidegate.toml:1:7
          |
        1 | [admin
          |       ^ unclosed table, expected `]`

        error: this is not TOML
         --> tidegate.toml:3:8
          |
        3 | [input]]
          |        ^ unexpected key or value, expected newline, `#`
    "#]],
    );
}

#[test]
fn what_is_missing_is_told_where_it_belongs() {
    check(
        layers("[kafka]\nsasl = { user = \"tidegate\" }\n[[input]]\ntype = \"file\"\n"),
        &expect![[r#"
            error: `brokers` is missing in `[kafka]`
             --> tidegate.toml:1:1
              |
            1 | [kafka]
              | ^^^^^^^ add `brokers = …`

            error: `password` is missing in `[kafka.sasl]`
             --> tidegate.toml:2:8
              |
            2 | sasl = { user = "tidegate" }
              |        ^^^^^^^^^^^^^^^^^^^^^ add `password = …`

            error: `path` is missing in `[[input]]` of type `file`
             --> tidegate.toml:3:1
              |
            3 | [[input]]
              | ^^^^^^^^^ add `path = …`
        "#]],
    );
    check(
        Layers::new(""),
        &expect![[r#"
        error: `admin` is missing at the top level
         |
         = help: add `admin = …`
    "#]],
    );
}

#[test]
fn upper_layers_win_and_say_so() {
    let file = "[admin]\ntimeout = \"1m\"\n[[input]]\ntype = \"file\"\npath = \"a.log\"\n";
    let environment = variables([
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:9000"),
        ("TIDEGATE__ADMIN__CONNECTIONS_MAX", "64"),
        ("TIDEGATE__INPUT__0__SERVICE", "shop"),
        ("TIDEGATE__INPUT__1__TYPE", "stdin"),
        ("TIDEGATE__RESPOND__NEVER_BLOCK", "192.0.2.0/24, 198.51.100.7"),
        ("TIDEGATE__KAFKA", r#"{ brokers = "127.0.0.1:9092" }"#),
        ("TIDEGATE_OTHER", "not ours"),
        ("PATH", "/bin"),
    ]);
    let layers = layers(file).environment(environment).flag("--dry-run", "respond.dry_run", "true");
    check(
        layers.clone(),
        &expect![[r#"
            kafka = { brokers = "127.0.0.1:9092" }  # TIDEGATE__KAFKA

            [admin]
            connections_max = 64  # TIDEGATE__ADMIN__CONNECTIONS_MAX
            listen = "127.0.0.1:9000"  # TIDEGATE__ADMIN__LISTEN
            timeout = "1m"  # tidegate.toml:2

            [[input]]
            path = "a.log"  # tidegate.toml:5
            service = "shop"  # TIDEGATE__INPUT__0__SERVICE
            type = "file"  # tidegate.toml:4

            [[input]]
            type = "stdin"  # TIDEGATE__INPUT__1__TYPE

            [respond]
            dry_run = true  # --dry-run
            never_block = ["192.0.2.0/24", "198.51.100.7"]  # TIDEGATE__RESPOND__NEVER_BLOCK
        "#]],
    );
    let settings = load(layers);
    assert_eq!(settings.admin.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!((settings.admin.timeout, settings.admin.connections_max), (Span::from_secs(60), 64));
    assert_eq!(settings.input.len(), 2);
}

#[test]
fn an_input_can_be_set_by_the_environment_alone() {
    let settings = load(layers("").environment(variables([
        ("TIDEGATE__INPUT__0__TYPE", "file"),
        ("TIDEGATE__INPUT__0__PATH", "a.log"),
        ("TIDEGATE__INPUT__0__TRUSTED_PROXIES", r#"["10.0.0.0/8", "192.168.0.0/16"]"#),
    ])));
    let [Input::File(FileInput { path, trusted_proxies, .. })] = settings.input.as_slice() else {
        panic!("{:?}", settings.input);
    };
    assert_eq!((path.as_str(), trusted_proxies.len()), ("a.log", 2));
}

#[test]
fn mistakes_in_the_environment_and_in_flags_are_told_by_name() {
    let environment = variables([
        ("TIDEGATE__ADMIN__LISEN", "127.0.0.1:9000"),
        ("TIDEGATE__ADMIN__CONNECTIONS_MAX", "many"),
        ("TIDEGATE__ADMIM__LISTEN", "127.0.0.1:9000"),
        ("TIDEGATE__KAFKA__SASL__USER", "tidegate"),
        ("TIDEGATE____LISTEN", "127.0.0.1:9000"),
    ]);
    let with = layers("").environment(environment.clone());
    check(
        with.flag("--listen", "admin.listen", "7070"),
        &expect![[r#"
        error: the name has an empty part
        --> environment variable TIDEGATE____LISTEN
         = help: write TIDEGATE__SECTION__KEY
    "#]],
    );
    let with = layers("").environment(environment.into_iter().take(4));
    check(
        with.flag("--listen", "admin.listen", "7070"),
        &expect![[r#"
            error: unknown key `admim` at the top level
            --> environment variable TIDEGATE__ADMIM__LISTEN
             = help: did you mean TIDEGATE__ADMIN__LISTEN?

            error: wrong type of `admin.connections_max`
            --> environment variable TIDEGATE__ADMIN__CONNECTIONS_MAX
             = help: this is a text; expected a whole number from 0 to 65535

            error: unknown key `lisen` in `[admin]`
            --> environment variable TIDEGATE__ADMIN__LISEN
             = help: did you mean TIDEGATE__ADMIN__LISTEN?

            error: `password` is missing in `[kafka.sasl]`
            --> environment variable TIDEGATE__KAFKA__SASL__USER
             = help: set TIDEGATE__KAFKA__SASL__PASSWORD

            error: `brokers` is missing in `[kafka]`
            --> environment variable TIDEGATE__KAFKA__SASL__USER
             = help: set TIDEGATE__KAFKA__BROKERS

            error: wrong value of `admin.listen`
            --> --listen
             = help: expected an address and a port, such as 127.0.0.1:7070
        "#]],
    );
    let past_the_end = variables([("TIDEGATE__INPUT__2__PATH", "b.log")]);
    let file = "[[input]]\ntype = \"stdin\"\n";
    check(
        layers(file).environment(past_the_end),
        &expect![[r#"
            error: no such element of the list
            --> environment variable TIDEGATE__INPUT__2__PATH
             = help: the list has 1 so far, numbered from 0; 1 adds the next
        "#]],
    );
}

#[test]
fn secrets_are_masked_wherever_they_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "from-file\n").unwrap();
    let file = folder.path().join("tidegate.toml");
    let text = r#"
[admin]
token = "from-text"
[kafka]
brokers = "127.0.0.1:9092"
sasl = { user = "tidegate", password = { file = "password" } }
[[input]]
type = "http"
listen = "127.0.0.1:8080"
password = { env = "INPUT_PASSWORD" }
"#;
    std::fs::write(&file, text).unwrap();
    let environment = variables([
        ("INPUT_PASSWORD", "from-variable"),
        ("TIDEGATE__ADMIN__TOKEN", "from-setting-in-environment"),
    ]);
    let loaded = Layers::new(DEFAULTS).file(&file).environment(environment).load::<Settings>();
    let loaded = loaded.unwrap();
    let shown = loaded.in_force.show().replace(&folder.path().display().to_string(), "");
    expect![[r#"
        [admin]
        listen = "127.0.0.1:7070"  # default
        timeout = "10s"  # default
        token = "***"  # TIDEGATE__ADMIN__TOKEN

        [[input]]
        listen = "127.0.0.1:8080"  # /tidegate.toml:9
        password = { env = "INPUT_PASSWORD" }  # /tidegate.toml:10
        type = "http"  # /tidegate.toml:8

        [kafka]
        brokers = "127.0.0.1:9092"  # /tidegate.toml:5

        [kafka.sasl]
        password = { file = "password" }  # /tidegate.toml:6
        user = "tidegate"  # /tidegate.toml:6
    "#]]
    .assert_eq(&shown);
    assert!(!format!("{:?}", loaded.settings).contains("from-"));
    let kafka = loaded.settings.kafka.unwrap();
    let sasl = kafka.sasl.unwrap();
    assert_eq!((kafka.brokers.as_str(), sasl.user.as_str()), ("127.0.0.1:9092", "tidegate"));
    assert_eq!(sasl.password.expose(), "from-file");
    assert_eq!(loaded.settings.admin.token.unwrap().expose(), "from-setting-in-environment");
    let [Input::Http { password: Some(password), .. }] = loaded.settings.input.as_slice() else {
        panic!("{:?}", loaded.settings.input);
    };
    assert_eq!(password.expose(), "from-variable");
}

#[test]
fn a_secret_in_a_quoted_line_is_masked() {
    check(
        layers("[admin]\ntoken = \"hunter2\" oops\npasword = \"hunter2\"\n"),
        &expect![[r#"
        error: this is not TOML
         --> tidegate.toml:2:19
          |
        2 | token = "*******" ****
          |                   ^ unexpected key or value, expected newline, `#`
    "#]],
    );
    check(
        layers("[admin]\npasword = \"hunter2\"\n"),
        &expect![[r#"
            error: unknown key `pasword` in `[admin]`
             --> tidegate.toml:2:1
              |
            2 | pasword = "*******"
              | ^^^^^^^ not known here
              |
              = help: known here: `listen`, `timeout`, `token`, `connections_max`
        "#]],
    );
}

#[test]
fn a_secret_that_cannot_be_found_is_told() {
    check(
        layers("[admin]\ntoken = { file = \"/nonexistent/token\" }\n"),
        &expect![[r#"
            error: wrong value of `admin.token`
             --> tidegate.toml:2:9
              |
            2 | token = { file = "/nonexistent/token" }
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ secret file /nonexistent/token cannot be read: No such file or directory (os error 2)
        "#]],
    );
    check(
        layers("[admin]\ntoken = { env = \"NOT_SET\" }\n"),
        &expect![[r#"
            error: wrong value of `admin.token`
             --> tidegate.toml:2:9
              |
            2 | token = { env = "NOT_SET" }
              |         ^^^^^^^^^^^^^^^^^^^ environment variable `NOT_SET` is not set
        "#]],
    );
    check(
        layers("[admin]\ntoken = { flie = \"x\" }\n"),
        &expect![[r#"
            error: unknown key `flie` in `[admin.token]`
             --> tidegate.toml:2:11
              |
            2 | token = { flie = "x" }
              |           ^^^^ did you mean `file`?
        "#]],
    );
    check(
        layers("[admin]\ntoken = 5\n"),
        &expect![[r#"
        error: wrong type of `admin.token`
         --> tidegate.toml:2:9
          |
        2 | token = *
          |         ^ this is a whole number; expected a text, `{ file = "…" }` or `{ env = "…" }`
    "#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_told_only_when_it_was_asked_for() {
    let path = std::path::Path::new("/nonexistent/tidegate.toml");
    check(
        Layers::new(DEFAULTS).file(path),
        &expect![[r#"
        error: configuration file /nonexistent/tidegate.toml cannot be read
         |
         = help: No such file or directory (os error 2)
         = help: `tidegate init` writes one
    "#]],
    );
    check(
        Layers::new(DEFAULTS).file_if_there(path),
        &expect![[r#"
        [admin]
        listen = "127.0.0.1:7070"  # default
        timeout = "10s"  # default
    "#]],
    );
}

#[test]
fn a_mistake_between_settings_is_told_at_its_place() {
    let file = "[[input]]\ntype = \"stdin\"\n[[input]]\ntype = \"stdin\"\n";
    let loaded = layers(file).load::<Settings>().unwrap();
    let refused = loaded.in_force.refuse("input.1.type", "standard input can be read only once");
    expect![[r#"
        error: wrong value of `input.1.type`
         --> tidegate.toml:4:8
          |
        4 | type = "stdin"
          |        ^^^^^^^ standard input can be read only once"#]]
    .assert_eq(&refused.to_string());
}

#[test]
fn what_is_shown_is_toml_with_the_same_meaning() {
    let file = r#"
[admin]
timeout = "1h30m"
[[input]]
type = "file"
path = 'C:\logs\"access".log'
trusted_proxies = ["10.0.0.0/8", "::1"]
[[input]]
type = "stdin"
"#;
    let layers = layers(file).environment(variables([
        ("TIDEGATE__ADMIN__CONNECTIONS_MAX", "64"),
        ("TIDEGATE__RESPOND__DRY_RUN", "true"),
        ("TIDEGATE__RESPOND__NEVER_BLOCK", "192.0.2.0/24, 198.51.100.7"),
        ("TIDEGATE__INPUT__2__TYPE", "http"),
        ("TIDEGATE__INPUT__2__LISTEN", "127.0.0.1:8080"),
        ("TIDEGATE__KAFKA", r#"{ brokers = "127.0.0.1:9092" }"#),
    ]));
    let shown = layers.clone().load::<Settings>().unwrap().in_force.show();
    let again = Layers::new("").text("shown", &shown).load::<Settings>().unwrap();
    assert_eq!(format!("{:?}", load(layers)), format!("{:?}", again.settings));
}

#[test]
fn elements_of_a_list_are_taken_in_the_order_of_their_numbers() {
    let many =
        (0..12).map(|number| (format!("TIDEGATE__INPUT__{number}__TYPE"), "stdin".to_owned()));
    assert_eq!(load(layers("").environment(many)).input.len(), 12);
}

#[test]
fn nothing_that_can_be_printed_holds_a_secret() {
    let file = "[admin]\ntoken = \"hunter2\"\n";
    let loaded = layers(file).load::<Settings>().unwrap();
    let refused = loaded.in_force.refuse("admin.token", "it is too short");
    let wrong = layers(&format!("{file}lisen = 5\n")).load::<Settings>().unwrap_err();
    let printed = format!("{loaded:?} {refused:?} {refused} {wrong:?} {:?}", layers(file));
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_secret_in_a_file_can_be_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-file\r\n").unwrap();
    let name = ("TIDEGATE__ADMIN__TOKEN__FILE".to_owned(), file.display().to_string());
    let settings = load(layers("[admin]\ntoken = \"from-text\"\n").environment([name]));
    assert_eq!(settings.admin.token.unwrap().expose(), "from-file");
}

#[test]
fn colours_are_only_in_the_coloured_form() {
    let problems = layers("x = 1\n").load::<Settings>().unwrap_err();
    assert!(problems.render(true).contains("\u{1b}["));
    assert!(!problems.render(false).contains('\u{1b}'));
}

#[test]
fn a_text_that_breaks_off_anywhere_is_told_or_read() {
    let environment = variables([("TIDEGATE__INPUT__0__SERVICE", "shop")]);
    for end in 0..=MISTAKES.len() {
        let layers = layers(MISTAKES.get(..end).unwrap()).environment(environment.clone());
        if let Err(problems) = layers.load::<Settings>() {
            assert!(!problems.to_string().is_empty(), "up to byte {end}");
        }
    }
}
