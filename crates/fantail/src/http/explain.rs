//! Which route answers a request, and what it does of it, said for people. Asks the same table as requests do.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use http::{HeaderMap, Method, Uri};
use thiserror::Error;

use super::host::normalise;
use super::table::{Found, Place, Table, channels};
use crate::config::{Action, Config, Door, Endpoint, Expression, Host, Pattern, Route, Variable};
use crate::dialect::push_stream::RequestVariables;
use crate::proxy::rewrite::{Rewrite, is_ambiguous};

/// Why a question cannot be answered.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// It is no request.
    #[error("{0:?} is not a request, expected such as \"GET /path\" or \"GET https://host/path\"")]
    Question(String),
}

/// What of the public routes answers `request`: a method, which may be left out, and a path or a URL.
///
/// # Errors
/// If it is not a request.
pub fn explain(config: &Config, request: &str) -> Result<String, ExplainError> {
    let wrong = || ExplainError::Question(request.to_owned());
    let words: Vec<&str> = request.split_ascii_whitespace().collect();
    let (method, target) = match words[..] {
        [target] => (Method::GET, target),
        [method, target] => (Method::from_bytes(method.as_bytes()).map_err(|_| wrong())?, target),
        _ => return Err(wrong()),
    };
    let uri: Uri = target.parse().map_err(|_| wrong())?;
    if !target.starts_with('/') && uri.scheme().is_none() {
        return Err(wrong());
    }
    let host = uri.authority().and_then(|authority| normalise(authority.as_str().as_bytes()));
    let path = super::path::normalise(uri.path());
    let table = public(config, address(config, &uri));
    let mut text = format!("{method} {target}\n");
    let found = table.find_internal(host.as_deref(), &path);
    let written = match &found {
        Some(found) => describe(&mut text, config, found, &uri),
        None => line(&mut text, "route", "none, it is answered with 404"),
    };
    let written = written.and_then(|()| {
        let left_out = host.is_none() && config.route.iter().any(|route| route.host.is_some());
        if left_out { line(&mut text, "note", "routes with a host were left out, as no host is named") } else { Ok(()) }
    });
    debug_assert!(written.is_ok(), "a string takes all that is written");
    Ok(text)
}

/// What stands behind a route.
enum Behind<'c> {
    /// One of the configuration, of this number.
    Route(usize, &'c Route),
    /// `/sub/`.
    Native,
    /// The streams that are recorded.
    Streams,
}

/// The address of the public listener that a URL means by its port, else the first.
fn address(config: &Config, uri: &Uri) -> SocketAddr {
    let public = &config.listen.public;
    let port = uri.port_u16().or(uri.authority().map(|_| 80));
    public.all().iter().find(|address| Some(address.port()) == port).copied().unwrap_or(public.first())
}

/// The public routes at an address.
fn public(config: &Config, address: SocketAddr) -> Table<Behind<'_>> {
    let configured = config.route.iter().enumerate();
    let configured = configured.filter(|(_, route)| route.listener == Door::Public && route.is_at(address));
    let mut routes: Vec<_> = configured
        .filter_map(|(index, route)| {
            // It was checked when the configuration was read.
            let pattern = route.pattern().ok()?;
            Some((Place { host: route.host.clone(), pattern, internal: route.internal }, Behind::Route(index, route)))
        })
        .collect();
    if config.native.public {
        routes.push((Place::native(config, "sub"), Behind::Native));
    }
    if config.route.iter().any(|route| route.record) {
        let before = format!("{}stream/", config.native.prefix);
        routes.push((Place::anywhere(Pattern::Segment { before, after: String::new() }), Behind::Streams));
    }
    Table::new(routes)
}

fn describe(text: &mut String, config: &Config, found: &Found<'_, '_, Behind<'_>>, uri: &Uri) -> fmt::Result {
    let Place { host, pattern, internal } = found.place;
    match found.action {
        Behind::Route(index, _) => line(text, "route", format_args!("{pattern} (route[{index}])"))?,
        Behind::Native | Behind::Streams => line(text, "route", format_args!("{pattern} (native)"))?,
    }
    if *internal {
        line(text, "internal", "answered with 404, unless an upstream's X-Accel-Redirect leads here")?;
    }
    match host {
        Some(Host::Other) => line(text, "host", "every host that no other route names")?,
        Some(host) => line(text, "host", host)?,
        None => line(text, "host", "every host")?,
    }
    let captures: Vec<String> = (found.captures.variables())
        .map(|(name, value)| format!("{name} = {:?}", String::from_utf8_lossy(value)))
        .collect();
    if !captures.is_empty() {
        line(text, "captures", captures.join(", "))?;
    }
    let plain = Route::default();
    let route = match found.action {
        Behind::Route(_, route) => route,
        Behind::Native => &plain,
        Behind::Streams => return line(text, "action", "resume a recorded stream, or stop it"),
    };
    match Endpoint::of(route).filter(|_| route.action == Action::PushStream) {
        Some(endpoint) => line(text, "action", format_args!("{}, {endpoint}", route.action))?,
        None => line(text, "action", route.action)?,
    }
    let by_key = route.publishes() && !route.public_publish && !config.key.is_empty();
    match (route.guard(&config.stream), by_key) {
        (Some(name), false) => line(text, "access", name)?,
        (Some(name), true) => line(text, "access", format_args!("{name}, or a [[key]]"))?,
        (None, true) => line(text, "access", "a [[key]]")?,
        (None, false) => {}
    }
    let mut options = route.given();
    if route.action == Action::PushStream {
        line(text, "channels", named(route, found, uri))?;
    } else if route.action == Action::Proxy {
        let name = route.upstream.as_deref().unwrap_or_default();
        let servers = config.upstream.get(name).map(|upstream| upstream.servers.as_slice()).unwrap_or_default();
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        line(text, "upstream", format_args!("{name}: {}", servers.join(", ")))?;
        if is_ambiguous(uri.path()) {
            line(text, "target", "refused with 400, as the upstream may read another path in it")?;
        } else {
            line(text, "target", Rewrite::new(route).apply(uri.path(), found.rest, uri.query()))?;
        }
        if route.hand_over {
            options.push("hand_over = true".to_owned());
        }
    } else if route.channels.is_empty() {
        let most = route.max_channels.unwrap_or(config.stream.max_channels);
        match channels(found.rest, most) {
            Ok(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                line(text, "channels", names.join(", "))?;
            }
            Err(refusal) => line(text, "channels", format_args!("refused: {refusal}"))?,
        }
    } else {
        line(text, "channels", route.channels.join(", "))?;
    }
    if options.is_empty() { Ok(()) } else { line(text, "options", options.join(", ")) }
}

/// What names the channels on a push-stream route, and what that is in this request as far as its URL says it.
fn named(route: &Route, found: &Found<'_, '_, Behind<'_>>, uri: &Uri) -> String {
    let path = route.channels_path.as_deref().unwrap_or_default();
    let groups = match &found.place.pattern {
        Pattern::Regex(regex) => regex.names().flatten().collect(),
        _ => Vec::new(),
    };
    let Ok(expression) = Expression::parse(path, &groups) else { return path.to_owned() };
    let told = |variable: &Variable| match variable {
        Variable::Argument(_) | Variable::Capture(_) | Variable::Group(_) | Variable::Uri | Variable::Arguments => true,
        Variable::Header(_) | Variable::Cookie(_) | Variable::Host | Variable::RemoteAddress | Variable::Method => {
            false
        }
    };
    if !expression.variables().all(told) {
        return format!("named by {path}");
    }
    let request = RequestVariables {
        method: "",
        uri: &super::path::resolve(uri.path()).unwrap_or_default(),
        query: uri.query().unwrap_or_default(),
        host: "",
        remote_address: "",
        headers: &HeaderMap::new(),
        groups: &found.captures,
    };
    let value = expression.evaluate(&request);
    format!("named by {path} = {:?}", String::from_utf8_lossy(&value))
}

fn line(text: &mut String, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(text, "  {name:8}  {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
        [upstream.app]
        servers = ['http://127.0.0.1:3000', 'unix:/run/app.sock']
        [[route]]
        path = '/api/{path...}'
        host = '*.example'
        action = 'proxy'
        upstream = 'app'
        rewrite = '/v2/{path...}'
        share = true
        grace = '5s'
        set_request = { Authorization = 'Bearer hunter2', X-Env = 'prod' }
        [[route]]
        path = '/private/{channels...}'
        internal = true
        ping = '5s'
        [[route]]
        path = '/news'
        channels = ['news', 'weather']
        [[route]]
        path = '/{path...}'
        action = 'proxy'
        upstream = 'app'
        hand_over = false
    ";

    fn explained(request: &str) -> String {
        explain(&Config::from_toml(CONFIG).unwrap(), request).unwrap()
    }

    #[test]
    fn explain_a_recorded_stream_is_not_the_upstreams() {
        let asked = "/stream/0123456789abcdef0123456789abcdef";
        assert!(explained(asked).contains("  route     /{path...} (route[3])\n"), "nothing is recorded");
        let config = Config::from_toml(&CONFIG.replace("hand_over = false", "record = true")).unwrap();
        let text = explain(&config, asked).unwrap();
        assert!(text.contains("(native)\n") && text.contains("  action    resume a recorded stream"), "{text}");
    }

    #[test]
    fn explain_a_proxy_route_says_what_the_upstream_is_asked_for() {
        assert_eq!(
            explained("POST https://a.example:8443/api/users?x=1"),
            "POST https://a.example:8443/api/users?x=1\n  \
               route     /api/{path...} (route[0])\n  \
               host      *.example\n  \
               action    proxy\n  \
               upstream  app: http://127.0.0.1:3000, unix:/run/app.sock\n  \
               target    /v2/users?x=1\n  \
               options   set_request = { Authorization, X-Env }, share = true, grace = \"5s\", hand_over = true\n"
        );
        let refused = explained("https://a.example/api/..;/admin");
        assert!(
            refused.contains("target    refused with 400, as the upstream may read another path in it\n"),
            "{refused}"
        );
    }

    #[test]
    fn explain_without_a_host_leaves_out_routes_with_one() {
        assert_eq!(
            explained("/api/users"),
            "GET /api/users\n  \
               route     /{path...} (route[3])\n  \
               host      every host\n  \
               action    proxy\n  \
               upstream  app: http://127.0.0.1:3000, unix:/run/app.sock\n  \
               target    /api/users\n  \
               options   hand_over = false\n  \
               note      routes with a host were left out, as no host is named\n"
        );
    }

    #[test]
    fn explain_a_subscribe_route_names_channels() {
        let native = explained("GET http://a.example/sub/a%20b/c");
        assert_eq!(
            native,
            "GET http://a.example/sub/a%20b/c\n  \
               route     /sub/{channels...} (native)\n  \
               host      every host\n  \
               action    subscribe\n  \
               channels  a b, c\n"
        );
        assert!(
            explained("http://a.example/news")
                .contains("(route[2])\n  host      every host\n  action    subscribe\n  channels  news, weather\n")
        );
        assert!(explained("http://a.example/sub/").contains("channels  refused: no channel was named\n"));
        assert_eq!(
            explained("http://a.example/private/x"),
            "GET http://a.example/private/x\n  \
               route     /private/{channels...} (route[1])\n  \
               internal  answered with 404, unless an upstream's X-Accel-Redirect leads here\n  \
               host      every host\n  \
               action    subscribe\n  \
               channels  x\n  \
               options   ping = \"5s\"\n"
        );
    }

    #[test]
    fn explain_a_regular_expression_says_what_it_captured() {
        let config = Config::from_toml(
            "[[route]]\npath = '~ ^/live/(?<room>[a-z]+)/(.*)$'\nchannels = ['a']\n[[route]]\npath = '/live/{channels...}'\n",
        );
        assert_eq!(
            explain(&config.unwrap(), "/live/x/%22y%2520").unwrap(),
            "GET /live/x/%22y%2520\n  \
               route     ~ ^/live/(?<room>[a-z]+)/(.*)$ (route[0])\n  \
               host      every host\n  \
               captures  $room = \"x\", $2 = \"\\\"y%20\"\n  \
               action    subscribe\n  \
               channels  a\n"
        );
    }

    #[test]
    fn explain_a_push_stream_route_says_what_it_is() {
        let config = Config::from_toml(
            "[[route]]\naction = 'push_stream'\npath = '~ ^/sub/(.*)$'\nsubscriber = 'long-polling'\nchannels_path = '$1'\n\
             footer_template = \"\\n\"\n[[route]]\naction = 'push_stream'\npath = '/stats'\nchannels_statistics = true\n\
             channels_path = '$arg_id'\n",
        );
        let config = config.unwrap();
        assert_eq!(
            explain(&config, "/sub/a.b3/c").unwrap(),
            "GET /sub/a.b3/c\n  \
               route     ~ ^/sub/(.*)$ (route[0])\n  \
               host      every host\n  \
               captures  $1 = \"a.b3/c\"\n  \
               action    push_stream, subscriber = \"long-polling\"\n  \
               channels  named by $1 = \"a.b3/c\"\n  \
               options   footer_template = \"\\n\"\n"
        );
        let statistics = explain(&config, "/stats/x?id=a").unwrap();
        assert!(statistics.contains("  route     /stats (route[1])\n"), "{statistics}");
        assert!(statistics.contains("  action    push_stream, channels_statistics = true\n"), "{statistics}");
        assert!(statistics.contains("  channels  named by $arg_id = \"a\"\n"), "{statistics}");
    }

    #[test]
    fn explain_the_first_of_two_regular_expressions_answers() {
        let config = Config::from_toml(
            "[[route]]\npath = '~ ^/a'\nchannels = ['a']\n[[route]]\npath = '~* ^/A'\nchannels = ['b']\n",
        );
        assert!(explain(&config.unwrap(), "/a").unwrap().contains("(route[0])"));
    }

    #[test]
    fn explain_what_no_route_takes_is_not_found() {
        let text = explain(&Config::default(), "GET /x").unwrap();
        assert_eq!(text, "GET /x\n  route     none, it is answered with 404\n");
    }

    #[test]
    fn explain_what_is_no_request_is_refused() {
        for request in ["", "GET", "GET a.example", "GET /a HTTP/1.1", "G(T /a", "GET /a b"] {
            let error = explain(&Config::default(), request).unwrap_err().to_string();
            let expected = "is not a request, expected such as \"GET /path\" or \"GET https://host/path\"";
            assert_eq!(error, format!("{request:?} {expected}"));
        }
    }
}
