//! Words and marks of payloads, in plain form (see `decode`), with the class each stands for.
//!
//! Owns: the list. Never: the recognisers behind it.

use super::checks::{
    always, call, code_expression, event_attribute, last_step_up, meta_refresh, nested_expression,
    number_next, select_from, sql_comment, sql_comparison, sql_statement, starts_value, step_up,
    template, union_select,
};
use super::{Class, Zone};

/// Whether a candidate at these bytes of the plain text is what it looks like.
pub(super) type Check = fn(&str, usize, usize) -> bool;

/// One entry of the list.
#[derive(Clone, Copy)]
pub(super) struct Needle {
    pub(super) text: &'static str,
    pub(super) class: Class,
    /// Bits of [`Zone`].
    pub(super) zones: u8,
    pub(super) check: Check,
}

const P: u8 = Zone::Path as u8;
const Q: u8 = Zone::Parameter as u8;
const A: u8 = Zone::Agent as u8;
const R: u8 = Zone::Referer as u8;
const SENT: u8 = P | Q | R;
const ALL: u8 = P | Q | A | R;

const fn needle(text: &'static str, class: Class, zones: u8, check: Check) -> Needle {
    Needle { text, class, zones, check }
}

macro_rules! list {
    ($($class:ident $zones:expr, $check:expr => [$($text:literal),* $(,)?];)*) => {
        pub(super) const NEEDLES: &[Needle] =
            &[$($(needle($text, Class::$class, $zones, $check),)*)*];
    };
}

list! {
    SqlInjection ALL, union_select => [
        "union select", "union all select", "union distinct select", "union(select",
        "union all(select", "union (select", "union all (select", "union%select",
    ];
    SqlInjection ALL, always => [
        "information_schema", "sqlite_master", "xp_cmdshell", "sp_executesql", "xp_regread",
        "xp_dirtree", "into outfile", "into dumpfile", "waitfor delay '", "waitfor delay \"", "waitfor delay'",
        "load_file(", "extractvalue(", "updatexml(", "group_concat(", "@@version", "@@datadir",
        "dbms_pipe.", "utl_http.", "utl_inaddr.", "pg_read_file(", "pg_ls_dir(", "sysibm.",
        "procedure analyse", "sys.user_objects", "master..sysdatabases", "randomblob(",
        "unhex(hex(", "concat(0x", "exec master", "json_extract(version", "lo_import(",
        "current_setting('", "msysaccessobjects", "autonomous_transaction",
    ];
    SqlInjection ALL, call => [
        "benchmark(", "pg_sleep(", "dbms_lock.sleep(", "ord(mid(", "ascii(substr", "substring((",
        "ascii(substring", "char(", "chr(", "nvarchar(", "varchar(", "make_set(", "elt(",
        "row_count(", "current_user(", "system_user(", "session_user(", "database()", "version()",
        "user()",
    ];
    SqlInjection ALL, number_next => ["sleep(", "sleep ("];
    SqlInjection SENT | A, sql_comparison => [
        " or ", "'or ", "\"or ", " and ", "'and ", "\"and ", "||", "&&", "'or'", "\"or\"", "'and'",
        ")or(", ")and(", " xor ", " or(", " and(", "'or(", "'and(", " having ", " where ", " rlike ",
        "' like ", "'like'", " div ",
    ];
    SqlInjection Q | R, sql_comment => [
        "'--", "' --", "\"--", "\" --", "')--", "') --", "';--", "'; --", "'#", "' #", "\"#", "\" #",
        "'/*", "' /*", "'));--", "'))--", "1--", "1 --",
    ];
    SqlInjection SENT | A, sql_statement => [
        "drop table ", "drop database ", "drop view ", "delete from ", "insert into ",
        "alter table ", "create table ", "truncate table ", "update ", "declare @", "exec(",
        "execute immediate", "shutdown", "create procedure ", "replace into ", "order by ",
        "group by ", "limit ",
    ];
    SqlInjection SENT | A, select_from => ["select ", "select(", "select*", "select@", "select'"];
    Xss ALL, always => [
        "<script", "</script", "<iframe", "<svg", "<embed", "<object", "<applet", "<marquee",
        "<isindex", "<frameset", "<math", "<xss", "<bgsound", "document.cookie", "document.domain",
        "document.write(", "document.location", "window.location", "string.fromcharcode",
        "fromcharcode(", "srcdoc=", "-moz-binding", "xlink:href", "formaction=", "data:text/html",
        "vbscript:", "javascript&colon;", "javascript&#", "@import", "<!entity", "<![cdata[",
        "<x:script", "<animate", "expression(alert", "<?import", "<video", "<audio", "<details",
        "<body", "<img", "<input", "<link", "<style", "<base", "<textarea", "<form", "<button",
        "<keygen", "<layer", "<template", "<portal", "<foreignobject", "<set ", "autofocus",
        "innerhtml", "localstorage.", "eval(name)", "eval(atob(", "self[", "top[", "window[",
        "globalthis", "javascript:alert", "javascript:eval", "javascript:confirm",
    ];
    Xss ALL, starts_value => ["javascript:", "livescript:", "mocha:"];
    Xss ALL, event_attribute => [
        "onerror", "onload", "onclick", "onmouseover", "onmouseenter", "onmousemove", "onfocus",
        "onblur", "ontoggle", "onanimation", "onpointer", "onbegin", "onsubmit", "onchange",
        "oninput", "onkey", "onscroll", "onwheel", "ontransition", "onbefore", "onhashchange",
        "onpageshow", "onresize", "onstart", "ondrag", "oncut", "oncopy", "onpaste", "onready",
        "ontouch", "onunload", "onplay", "onsearch", "onselect", "onmessage", "onfinish", "onend",
        "onrepeat", "onshow", "oncontextmenu", "ondblclick", "onmouse", "oncanplay",
        "onloadstart", "onseek", "ontimeupdate", "onvolumechange", "onafter",
    ];
    Xss SENT | A, call => ["alert(", "alert`", "prompt(", "confirm(", "print`", "settimeout("];
    Xss SENT, meta_refresh => ["<meta"];
    PathTraversal SENT, step_up => [
        "../", "..\\", "..;/", "..%2f", "..%5c", "..//", "..\u{2216}", "..\u{2215}", "..\u{fffd}",
    ];
    PathTraversal SENT, last_step_up => ["/..", "\\.."];
    PathTraversal SENT, always => ["....//", "....\\\\", "0x2e0x2e"];
    PathTraversal ALL, always => [
        "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hosts", "/etc/issue", "/etc/crontab",
        "/etc/sudoers", "/etc/ssh/", "/etc/mysql/", "/etc/apache2/", "/etc/httpd/", "/etc/nginx/",
        "/etc/hostname", "/etc/resolv.conf", "/etc/master.passwd", "/etc/security/",
        "boot.ini", "win.ini", "system.ini", "winnt/system32", "windows/system32",
        "windows\\system32", "winnt\\", "/proc/self/", "/proc/version", "/proc/cpuinfo",
        "/proc/1/", "/proc/net/", "/web-inf/", "/meta-inf/", "/.ssh/", "id_rsa", ".bash_history",
        "c:\\windows", "c:/windows", "c:\\boot", "/var/log/apache", "/var/log/nginx",
        "/var/log/auth", "/usr/local/apache", "/root/.", ".htpasswd", "/var/run/secrets/",
        "c:\\inetpub", "c:\\xampp", "windows/win.ini",
    ];
    CommandInjection ALL, always => [
        "/bin/sh", "/bin/bash", "/bin/cat", "/bin/ls", "/bin/id", "/bin/dash", "/bin/zsh",
        "/bin/nc", "/usr/bin/id", "/usr/bin/curl", "/usr/bin/wget", "/usr/bin/perl",
        "/usr/bin/python", "/bin/busybox", "/bin/echo", "/bin/ping", "/bin/uname", "/bin/ps",
        "cmd.exe", "cmd /c", "cmd/c", "powershell.exe", "powershell -", "/dev/tcp/", "/dev/udp/",
        "${ifs", "$ifs", "() {", "(){ ", "(){:", "wget http", "wget -", "curl http", "curl -",
        "base64 -d", "nc -e", "nc -l", "bash -i", "bash -c", "sh -c", "sh -i", "mkfifo", "chmod +x",
        "chmod 777", "/tmp/*", "rm -rf", "net user", "certutil", "bitsadmin", "regsvr32",
        "new-object", "invoke-expression", "downloadstring", "wmic ", "ping -c", "ping -n",
        "python -c", "perl -e", "php -r", "ruby -e", "busybox", "tftp -", "/etc/init.d/",
        "cat /", "ls -l", "uname -a", "id;", "whoami", "nslookup ", "ifconfig", "netstat -",
        "crontab -", "/???/", "/bin/c?", "$'\\", "$@", "c'a't", "c\"a\"t", "ca\\t", "w'h'o",
        "{ls,", "{cat,", "<(", ">(", "${path", "${home:", "$shell", "$0", "${@}", "/usr/bin/",
    ];
    CodeInjection ALL, always => [
        "<?php", "<?=", "<%=", "<%@", "phpinfo(", "passthru(", "shell_exec(", "popen(",
        "proc_open(", "pcntl_exec(", "base64_decode(", "call_user_func", "create_function",
        "file_get_contents(", "file_put_contents(", "fsockopen(", "php://", "phar://", "expect://",
        "zip://", "zlib:", "glob://", "ogg://", "ssh2.", "data:text/plain", "data:;base64",
        "data://", "allow_url_include", "auto_prepend_file", "auto_append_file",
        "disable_functions", "open_basedir", "$_get", "$_post", "$_server", "$_request",
        "$globals", "$_session", "$_cookie", "$_files", "$_env", "_server[", "globals[",
        "invokefunction", "vendor/phpunit", "eval-stdin.php", "__proto__", "constructor.constructor",
        "constructor[", "constructor(", ".constructor", "prototype[", "process.env", "process.exit",
        "process.mainmodule", "process.binding", "child_process", "require('", "require(\"",
        "require(`", "global.process", "this.constructor", "java.lang.", "javax.", "getruntime(",
        "class.module.classloader", "class.classloader", "classloader", "processbuilder",
        "freemarker.template", "t(java", "#context", "#_memberaccess", "@ognl", "%{(#", "%{#",
        "__class__", "__globals__", "__import__", "__mro__", "__subclasses__", "__builtins__",
        "os.system(", "os.popen(", "subprocess.", "ro0abx", "ysoserial", "_$$nd_func$$_",
        "java.io.", "java.net.url", "org.apache.", "com.sun.", "objectinputstream",
        "simplexml_load", "preg_replace(", "array_map(", "array_filter(", "usort(", "var_dump(",
        "print_r(", "getenv(", "ini_set(", "move_uploaded_file(", "php_uname", "phpversion(",
        "posix_get", "readfile(", "show_source(", "highlight_file(", "fwrite(", "fputs(",
        "die(", "gzinflate(", "str_rot13(", "unserialize(", "curl_exec(", "include(", "require_once",
        "include_once", "scandir(", "opendir(", "symlink(", "chmod(", "unlink(", "mb_ereg_replace",
        "spl_autoload", "stream_", "ftp_", "bzcompress(", "while(1)", "new function(", "fs.read",
        "fs.write", "settimeout('", "function(){", "=>{", "buffer.from(", "async function",
    ];
    CodeInjection ALL, call => [
        "eval(", "assert(", "system(", "exec(", "execsync(", "spawn(", "md5(", "print(",
        "fopen(", "file(", "strrev(", "hex2bin(", "function(",
    ];
    CodeInjection SENT, template => ["{{", "{%", "#{", "*{", "@{", "[[", "@("];
    CodeInjection SENT, code_expression => ["${"];
    Ssrf Q, always => [
        "gopher://", "dict://", "file:///", "netdoc:", "tftp://", "sftp://", "ldap://", "ldaps://",
        "jar:http", "169.254.169.254", "metadata.google.internal", "latest/meta-data",
        "computemetadata", "100.100.100.200", "/metadata/instance", "[::ffff:", "0177.0.0.1",
        "0x7f.0x", "2130706433", "0x7f000001", "0.0.0.0:", ".burpcollaborator.net",
        ".oastify.com", ".interact.sh", ".oast.", ".dnslog.cn", ".nip.io", ".xip.io", ".sslip.io",
        "localtest.me",
    ];
    Log4shell ALL, always => [
        "jndi:ldap", "jndi:rmi", "jndi:dns", "jndi:iiop", "jndi:http", "jndi:nis", "jndi:corba",
        "${jndi", "${lower:", "${upper:", "${::-", "${env:", "${sys:", "${date:", "${base64:",
        "${${",
    ];
    Log4shell ALL, nested_expression => ["${"];
    Scanner A, always => [
        "sqlmap", "nikto", "nmap", "masscan", "zgrab", "nuclei", "acunetix", "nessus", "dirbuster",
        "gobuster", "wpscan", "feroxbuster", "ffuf", "fuzz faster", "thc-hydra", "openvas",
        "arachni", "w3af", "zmeu", "morfeus", "jorgee", "l9explore", "l9tcpid", "leakix",
        "censysinspect", "expanse", "internetmeasurement", "netsparker", "appscan", "webinspect",
        "havij", "bsqlbf", "commix", "dirsearch", "whatweb", "joomscan", "skipfish", "vega/",
        "paros", "grendel-scan", "burpcollaborator", "burp suite", "owasp zap", "zaproxy",
        "httprobe", "xspider", "qualys", "detectify", "intruder.io", "nbtscan", "fimap", "sqlninja",
        "pangolin", "brutus", "metis", "black widow", "webshag", "jaeles", "wfuzz", "gospider",
        "hakrawler", "project-discovery", "projectdiscovery", "shodan", "binaryedge", "rapid7",
        "odin.io", "nimbostratus", "hello, world", "hello world", "robots.txt scanner", "wpbot",
        "cgiscan", "prog.customcrawler", "absinthe", "uil2pn", "mysqloit", "n-stealth", "nsauditor",
        "toata dragostea", "whcc/", "struts-pwn", "cyberscan", "dotdotpwn", "domino hunter",
        "crowdstrike falcon surface", "palo alto networks", "modat", "visionheight",
    ];
    Scanner P | Q, always => [
        "w00tw00t", "acunetix-wvs-test", "acunetix_", "nice ports,/trinity", "nessus", "nikto-",
        "netsparker-", "muieblackcat", "appscan_fingerprint", "sqlmap", "/cgi-bin/.%2e",
        "burpcollaborator", "thinkphp-scan", "nmaplowercheck", "/nmap", "openvas",
    ];
}
