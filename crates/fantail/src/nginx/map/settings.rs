//! What nginx sets for a whole server, for all of http, or for the process, and Fantail for all.

use super::super::draft::Value;
use super::super::scope::{Scope, named};
use super::super::tree::{Directive, Tree};
use super::super::value;
use super::Mapper;

/// Fantail's own values of what is compared here, so that no default is repeated.
const IDLE: u64 = 75_000;
const HEAD: u64 = 10_000;
const BODY: u64 = 30_000;
const STALL: u64 = 60_000;
const HEAD_SIZE: u64 = 16 << 10;
const STOP: u64 = 10_000;

/// Directives outside of all blocks, and those of `events`.
pub(super) fn process(mapper: &mut Mapper<'_>, tree: &Tree) {
    let top = Scope::default().within(&tree.top);
    let workers = top.own("worker_processes");
    if let Some(directive) = workers {
        match value::count(directive.first()) {
            None if directive.first() == "auto" => {
                mapper.ledger.carried(directive, "one thread per core is what Fantail takes too");
            }
            Some(count @ 1..=256) => mapper.global("listen", "shards", Value::plain(count), directive),
            _ => mapper.ledger.left(directive, "is not a number from 1 to 256, and not \"auto\""),
        }
    }
    if let Some(directive) = top.own("daemon") {
        if value::flag(directive.first()) == Some(false) {
            mapper.ledger.carried(directive, "Fantail stays in the foreground");
        } else {
            mapper.ledger.changed(directive, "Fantail stays in the foreground; what starts it may put it elsewhere");
        }
    }
    if let Some(directive) = top.own("worker_shutdown_timeout") {
        time(mapper, directive, "stop", "deadline", STOP);
    }
    for directive in top.all("error_log") {
        error_log(mapper, directive);
    }
    for events in named(&tree.top, "events") {
        mapper.ledger.carried(events, "");
        for directive in named(events.children(), "worker_connections") {
            connections(mapper, directive, workers);
        }
    }
}

/// nginx counts connections for each worker, Fantail all together.
fn connections(mapper: &mut Mapper<'_>, directive: &Directive, workers: Option<&Directive>) {
    let each = value::count(directive.first()).unwrap_or_default();
    match workers.map_or(Some(1), |workers| value::count(workers.first())) {
        Some(workers) if each > 0 => {
            let all = each.saturating_mul(workers.max(1));
            mapper.global("listen", "connections", Value::plain(all), directive);
        }
        _ => mapper.ledger.changed(directive, "as many connections are taken as the process may have descriptors"),
    }
}

fn error_log(mapper: &mut Mapper<'_>, directive: &Directive) {
    let level = match directive.args.get(1).map(String::as_str) {
        Some("debug") => Some("debug"),
        Some("info" | "notice") => Some("info"),
        Some("warn") => Some("warn"),
        Some("error" | "crit" | "alert" | "emerg") => Some("error"),
        _ => None,
    };
    if let Some(level) = level.filter(|level| *level != "info") {
        let table = mapper.draft.section("log");
        if table.value("level").is_none() {
            table.set("level", Value::text(level));
        }
    }
    let file = directive.first();
    match (file, level) {
        ("stderr", Some(_)) => mapper.ledger.carried(directive, "log.level"),
        ("stderr" | "/dev/stderr", _) => mapper.ledger.carried(directive, "Fantail logs to standard error"),
        (_, Some(_)) => {
            mapper.ledger.changed(directive, "log.level; Fantail logs to standard error, which what starts it keeps");
        }
        _ => mapper.ledger.changed(directive, "Fantail logs to standard error, which what starts it keeps"),
    }
}

/// What holds at a server and is for all in Fantail.
pub(super) fn server(mapper: &mut Mapper<'_>, scope: &Scope<'_>) {
    for (name, section, key, own) in [
        ("client_header_timeout", "listen", "head_timeout", HEAD),
        ("client_body_timeout", "listen", "body_timeout", BODY),
        ("send_timeout", "stream", "stall_limit", STALL),
    ] {
        if let Some(directive) = scope.last(name) {
            time(mapper, directive, section, key, own);
        }
    }
    if let Some(directive) = scope.last("keepalive_timeout") {
        if value::time(directive.first(), false) == Some(0) {
            mapper.ledger.left(directive, "connections are always kept for the next request");
        } else {
            time(mapper, directive, "listen", "idle_timeout", IDLE);
        }
    }
    if let Some(directive) = scope.last("keepalive_requests") {
        match value::count(directive.first()).unwrap_or_default() {
            0 => mapper.ledger.left(directive, "connections are always kept for the next request"),
            most => mapper.global("listen", "requests", Value::plain(most), directive),
        }
    }
    if let Some(directive) = scope.last("large_client_header_buffers") {
        head_size(mapper, directive);
    }
    for directive in scope.all("access_log") {
        access_log(mapper, directive);
    }
    for directive in scope.all("error_log") {
        if mapper.ledger.is_open(directive) {
            mapper.ledger.changed(directive, "there is one log, to standard error");
        }
    }
    for (name, wanted) in [("chunked_transfer_encoding", true)] {
        if let Some(directive) = scope.last(name) {
            flag(mapper, directive, wanted, "answers without a length are sent in chunks");
        }
    }
    let trusted = scope.all("set_real_ip_from");
    if !trusted.is_empty() {
        real_ip(mapper, &trusted);
    }
}

/// What a location that is carried over has of its own and Fantail has for all.
pub(super) fn location(mapper: &mut Mapper<'_>, scope: &Scope<'_>) {
    let for_all = [
        "client_body_timeout",
        "send_timeout",
        "keepalive_timeout",
        "keepalive_requests",
        "set_real_ip_from",
        "chunked_transfer_encoding",
    ];
    for directive in scope.inner() {
        match directive.name.as_str() {
            "access_log" => access_log(mapper, directive),
            "error_log" => mapper.ledger.changed(directive, "there is one log, to standard error"),
            name if for_all.contains(&name) => {
                mapper.ledger.left(directive, "there is one value for all, which is that of the server");
            }
            _ => {}
        }
    }
}

fn access_log(mapper: &mut Mapper<'_>, directive: &Directive) {
    if directive.first() == "off" {
        mapper.ledger.carried(directive, "Fantail writes no access log");
    } else {
        mapper.ledger.left(directive, "Fantail writes no access log; /metrics counts requests");
    }
}

/// A directive that is carried over where it says what Fantail does anyway.
pub(super) fn flag(mapper: &mut Mapper<'_>, directive: &Directive, wanted: bool, note: &str) {
    if value::flag(directive.first()) == Some(wanted) {
        mapper.ledger.carried(directive, note);
    } else {
        mapper.ledger.changed(directive, note);
    }
}

fn time(mapper: &mut Mapper<'_>, directive: &Directive, section: &'static str, key: &str, own: u64) {
    match value::time(directive.first(), false) {
        Some(0) | None => mapper.ledger.left(directive, format!("{section}.{key} must be longer than 0")),
        Some(millis) if millis == own => mapper.ledger.carried(directive, "is what Fantail does unless told otherwise"),
        Some(millis) => mapper.global(section, key, Value::text(&value::written_time(millis)), directive),
    }
}

fn head_size(mapper: &mut Mapper<'_>, directive: &Directive) {
    let count = value::count(directive.first()).unwrap_or_default();
    let size = directive.args.get(1).and_then(|size| value::size(size)).unwrap_or_default();
    let all = count.saturating_mul(size).clamp(8 << 10, 16 << 20);
    if all == HEAD_SIZE {
        mapper.ledger.carried(directive, "is what Fantail does unless told otherwise");
    } else {
        mapper.global("listen", "head_size", Value::text(&value::written_size(all)), directive);
    }
}

fn real_ip(mapper: &mut Mapper<'_>, directives: &[&Directive]) {
    let is_network = |text: &str| text.parse::<crate::config::Network>().is_ok();
    let (known, other): (Vec<&Directive>, Vec<&Directive>) =
        directives.iter().copied().partition(|directive| is_network(directive.first()));
    if !known.is_empty() {
        let value = Value::list(known.iter().map(|directive| directive.first()));
        for directive in known {
            let note = "listen.trusted_proxies: what these say in Forwarded and X-Forwarded-* is believed";
            mapper.ledger.changed(directive, note);
        }
        mapper.draft.section("listen").set("trusted_proxies", value);
    }
    for directive in other {
        mapper.ledger.left(directive, "is not a network that listen.trusted_proxies can have");
    }
}
