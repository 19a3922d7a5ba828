//! Payloads that are told by their shape rather than by a word.
//!
//! Owns: the list of shapes, in plain form (see `decode`). Never: words; those are in `needles`.
//!
//! Written for what is meant: each shape is something that a program interprets and that neither
//! prose nor an honest parameter has. Matching is linear in the text.

use std::sync::{LazyLock, Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

use super::{Class, Classes, Zone};

/// One entry of the list.
struct Shape {
    class: Class,
    /// Bits of [`Zone`].
    zones: u8,
    pattern: &'static str,
}

const P: u8 = Zone::Path as u8;
const Q: u8 = Zone::Parameter as u8;
const A: u8 = Zone::Agent as u8;
const R: u8 = Zone::Referer as u8;
const SENT: u8 = P | Q | R;
const ALL: u8 = P | Q | A | R;

macro_rules! shapes {
    ($($class:ident $zones:expr => [$($pattern:literal),* $(,)?];)*) => {
        const SHAPES: &[Shape] = &[
            $($(Shape { class: Class::$class, zones: $zones, pattern: $pattern },)*)*
        ];
    };
}

shapes! {
    SqlInjection ALL => [
        // a cast of Postgres behind a closed value
        r#"[)\]}'"] ?:: ?(int|bigint|text|jsonb?|bool|numeric|double precision|date|varchar|regclass|bytea|char)\b"#,
        // operators of Postgres on JSON texts
        r#"['"}\]] ?(<@|@>|->>?|\?&|\?\||#-|@\?) ?(['"$\[]|array\[)"#,
        r#"['"] ?[<>] ?['"]\$\."#,
        r#"\bsleep ?\( ?[-("'0-9]"#,
        r"\b(json_build_object|json_agg|lo_get|lo_export|unistr|query_to_xml|xmltype|sys_context|to_regclass|string_agg|jsonb_\w+|pg_\w{3,30}) ?\(",
        r"\boverlay ?\([^)]{0,80} placing ",
        r"\bnow\(\) ?=|= ?sysdate\(",
        r"\bdelete from [\w.]+ ?(;|--)",
        r"\bselect \w+ ?\( ?-?[0-9(]",
    ];
    SqlInjection SENT => [
        // what a probe leaves open to see whether it breaks
        r"(^|=|\|\||select|[ ('])(substr|substring|chr|char|distinct|pg_sleep|sleep|upper|lower|hex|unhex|md5|benchmark|load_file|group_concat|ascii|ord|ifnull|extractvalue|updatexml) ?\($",
        r"^[^\[{]*,null,null",
        r#"(^|[ ='"(])(or|xor|and) (\d+|'[^']*'|"[^"]*") ?(<=>|<>|!=|>=|<=|=|<|>)$"#,
        r#"['"0-9)] ?(or|and|xor) ?\(? ?\w+ (glob|like|ilike|regexp|rlike|similar to|sounds like) "#,
        r#"['"] ?xor [\w(]"#,
        r#"(^|[ ='")])having (count|sum|avg|min|max) ?\([^)]*\) ?[<>=]"#,
        r#"\) ?like ?\("#,
        r"=like null$",
        r"\bexcept values ?\(",
        r#"; ?(truncate|drop|delete|insert|update|alter|grant|exec|execute|declare) ?(from|into|table|\[|@)"#,
        r"\{ ?if ?\(?(length|ascii|substr)",
        r"\b(if|iif) ?\( ?(\d+ ?=|now\(|ascii|length|substr)",
        r"union(all|distinct)?select",
        r"\bdiv ?\( ?[0-9.]+ ?, ?-?[0-9.]+ ?\)",
        // operators of document stores
        r"\[\$(ne|eq|gte?|lte?|n?in|regex|where|exists|or|and|nor|not|expr|elemmatch)\]",
        r"\|\| ?this\.\w",
    ];
    CommandInjection SENT => [
        r#"(^|[=&|;(] ?)for (/[dflr] )?("[^"]{0,60}" )?%{1,2}[^ ]{1,10} in ?\("#,
        r#"(^|=|[&|;(] ?)if (/i )?(not )?(exist|defined|errorlevel|%errorlevel%) [^ ]"#,
        r#"(^|=|[&|;(] ?)if (/i )?(not )?["'(\[]{0,2}[^ "']{1,20}( [^ "']{1,10})?["')\]]{0,2} ?(===?|equ|neq|lss|leq|gtr|geq)[ "'(\[]?[^ ]*"#,
        r#"^[^=]*=if (/i )?(not )?"%?~?\w+%?" ?== ?""#,
        r"\b(invoke-webrequest|invoke-restmethod|invoke-command|start-process|start-bitstransfer)\b|\b(iwr|irm) (-|http)",
        // names that a shell completes or pieces together
        r"/(etc|bin|sbin|usr|proc|dev)/[\w./]*[\[?*]",
        r"\b(cat|ls|more|head|tail|nl|tac) /[\w./]*[\[?*]",
        r"\$\{ ?`|\$\[\]|\$\(\(|\w\$\(\)\w|\w`` ",
        r"/[\w./]*\$[({]\w+[)}]\w",
        r#"\{[^{}: ]{1,40},\}|\{,[^{}: ]{1,40},?\}|\{\w{1,10},-\w+\}|\w\{\w{1,10},\w{1,10}\}\w"#,
        r"(^|=)'\w{1,2}'\w+( |$)",
        r"[;|&] ?\$[a-z]\w* \w",
        r"(^|[=;|&`])alias (\+?\w* ?\+? )?\w+=",
        r"/tcp/\d{1,3}\.\d",
        r#"(^|[=;|&`])(pip3?|npm|gem|apt|apt-get|yum|brew) install \w"#,
        r#"\w;c\$?\?at|\$u\+"#,
    ];
    CommandInjection A | R => [
        r#"^"?(ansible(-galaxy|-pull|-playbook)? \w|chef-(vault|run) |cscli |strace \w|nohup \w|perf --|env --|set -o |visudo$|id$|cat /)"#,
        r"\(\) ?\{.{0,20}\|.{0,20}& ?\}",
        r"; ?(set|env|id|cp|mv|rm|sh|ls)( |$)[/.\w-]*( [/.\w-]+)?$",
        r"\w=\w+&& ?\$\w+ -",
        r";c\$\?at|;cat\$u|/bin/ca\?|/et\*/",
    ];
    CodeInjection ALL => [
        r"<\?( ?php\b| ?=| \w|xml ?:)",
        r"[\[{][/\\]?php[\]}]",
        r#"\bo:\d{1,4}:"[\w\\]+":\d{1,4}:\{"#,
        r"\b(array|ob|ldap|tidy|posix|pcntl|base64|gz|openssl|socket|stream|mysqli?|assert|strip|call_user|is_callable|highlight|register|spl|preg|parse|unserialize|mb)_\w{2,30} ?\(",
        r"(call_user_func\w*|fsockopen|gzinflate|pfsockopen|base64_decode|shell_exec|proc_open|create_function) ?\(",
        r"\b(passthru|popen|strip_tags|intval|checkdate|filegroup|fileowner|symlink|readlink|tempnam|unpack|phpinfo|unserialize|date_(add|sub|diff))(/\S{0,20})?( \(\)|\([^)]{0,100}\))",
        r"\b(filegroup|fileowner) \(|\bexec#.{0,20} ?\(",
        r"\b(exec|system|touch|crypt|chgrp|chown|putenv)( \(\)|\([^) ]*\))",
        r"\bfile\(\)|\bfile \(\)",
        // a function whose name is put together
        r"\$[a-z_]\w{0,40}( \(\)|(\[[^\]]+\] ?)*\( ?[^)]{0,80}\))",
        r#"[)\]"] ?\( ?['"]\w+['"] ?\) ?;?"#,
        r#""\w+" ?\(\w+\) ?;|\(\w+\) ?\(\w+\) ?;"#,
        r"\] ?\[ ?\d ?\] ?\(|\] ?[\[{] ?0 ?[\]}] ?\+* ?\(",
        r#"\bdefine ?\( ?['"]"#,
        r"\b(memory_limit|extension_dir|open_basedir|auto_(ap|pre)pend_file|disable_functions) ?=",
    ];
    CodeInjection SENT => [
        // templates and the languages behind them
        r"@+\{ {0,3}\[",
        r"[{<]% ?(if|for|set|include|import|macro|=)",
        r"\bwhile ?\( ?(true|this|1|!!)",
        r#"\bprocess ?\[|\bmodule\.exports|\bconsole\.(info|log|error)|\\u00[67][0-9a-f]\w"#,
        r"\bfunction ?\( ?\) ?\+? ?\{",
        r"\[constructor\]|\[prototype\]|constructor\.prototype|:prototype",
    ];
    Ssrf Q => [
        r"\b(rsync|acap|xri|ircs?|smb|redis|memcached?|imaps?|pop3s?|smtps?|telnet|slp|rmi)://",
        r"\bhttps?:(//)?(\d{8,10}|0x[0-9a-f]{7,}|0\d{2,}\.|\d{1,3}\.\d{5,})([/:?.]|$)",
        r"\bssh://0\d",
        r"//\[(0:){5}ffff:|//\[::ffff:|//\[fe80::",
        r"(gateway|host)\.docker\.internal|kubernetes\.default|//192\.0\.0\.192/|/latest/user-data",
    ];
    Rfi Q => [
        r"=(url:file|local_file)://",
        r"=ftps?://",
    ];
    Xss ALL => [
        r"\burl ?\( ?javascript ?:",
        r"< ?x ?: ?script",
        r"<\w( \w){2,}",
        r"\bjavascript ?: ?[\\/]",
        r"data ?: ?, ?<",
        r"\bsetinterval ?\(|(^|=)(btoa|atob) ?\(",
        r"\.call ?`",
        r"\bon[a-z]{3,20}= ?[a-z]+ ?\(",
    ];
    Xss SENT => [
        r#"['" ](on[a-z]{3,45}|formaction) ?="#,
        r"<\?import ",
    ];
    PathTraversal SENT => [
        r"(^|[=/;\\])\.\.[\\;]",
        r"(^|[=/])\.\.\.?/\.\.",
        r"\.\.\./\.\.\./",
        r"/proc/(net|interrupts|self|\d+|mounts|meminfo|cmdline)\b",
        r"/etc/(subuid|subgid|fstab|profile|environment|mtab|motd|services|cron\.\w+)\b",
        r"[?=]/?/sys/(class|kernel|devices)",
        r"/(httpd|nginx|apache2|php|my|smb|vsftpd)\.(conf|ini|cnf)\b",
        r"/@fs/|__x00__",
    ];
    // files that hold secrets or speak to tools, which nobody serves
    PathTraversal P | Q => [
        r"(^|[/=])\.(env|aws|docker|kube|ssh|gnupg|netrc|npmrc|pypirc|git-credentials|htpasswd|n8n|claude|cursor|cursorignore|continue|aider|plandex|fabric|rovodev|junie|codeium|windsurf|vscode|idea)([/.]|$)",
    ];
    Protocol SENT => [
        // filters of directories, opened anew
        r"\w\) ?\( ?([&|!] ?($|\()|\w+ ?(<=|>=|~=|=))",
        r"\]\w+\[\d+\]$|^[^=]*\]\w+\[\d+\]=",
        r"php_value ",
    ];
}

/// All shapes as one automaton, whose states are made when a text first comes to them. A whole
/// regex engine would make four more automata of them to begin with, and a short replay would spend
/// more on that than on its lines.
struct Search {
    dfa: DFA,
    /// The states made so far, once for each thread that searches at a time.
    caches: Mutex<Vec<Cache>>,
}

static SEARCH: LazyLock<Option<Search>> = LazyLock::new(|| {
    let patterns: Vec<&str> = SHAPES.iter().map(|shape| shape.pattern).collect();
    // Of all kinds of search this alone goes on to further shapes after the first that it finds.
    let dfa = DFA::builder()
        .configure(DFA::config().match_kind(MatchKind::All))
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().which_captures(WhichCaptures::None))
        .build_many(&patterns);
    Some(Search { dfa: dfa.ok()?, caches: Mutex::default() })
});

impl Search {
    /// The numbers of the shapes that a text has.
    fn hits(&self, text: &str) -> PatternSet {
        let lock = || self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().pop();
        let mut cache = kept.unwrap_or_else(|| self.dfa.create_cache());
        let mut hits = PatternSet::new(self.dfa.pattern_len());
        // It fails at bytes that it was told to stop at: none.
        let searched =
            self.dfa.try_which_overlapping_matches(&mut cache, &Input::new(text), &mut hits);
        debug_assert!(searched.is_ok(), "{searched:?}");
        lock().push(cache);
        hits
    }
}

/// Adds the classes whose shapes a plain text has where it stood.
pub(super) fn find(plain: &str, zone: Zone, found: &mut Classes) {
    let Some(search) = SEARCH.as_ref() else { return };
    for hit in search.hits(plain).iter() {
        let Some(shape) = SHAPES.get(hit.as_usize()) else { continue };
        if shape.zones & zone as u8 != 0 {
            found.add(shape.class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SEARCH;

    #[test]
    fn every_shape_is_a_pattern() {
        assert!(SEARCH.is_some());
    }
}
