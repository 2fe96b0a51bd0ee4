//! Whether nginx lets only some in at a place. Fantail does not look at who asks: what is protected in nginx must not become
//! open to everyone by being carried over.

use super::super::location::Location;
use super::super::scope::Scope;
use super::super::tree::Directive;

/// Variables whose conditions choose between ways for everyone, and let nobody in or out.
const HARMLESS: [&str; 10] = [
    "$request_method",
    "$scheme",
    "$https",
    "$host",
    "$http_host",
    "$http_user_agent",
    "$request_uri",
    "$uri",
    "$http_upgrade",
    "$args",
];

/// The directives by which nginx keeps some out of a location; none if it lets everyone in.
pub(super) fn guards<'t>(location: &Location<'t>) -> Vec<&'t Directive> {
    let scope = &location.scope;
    let mut guards = Vec::new();
    let rules = addresses(scope);
    if rules.iter().any(|rule| rule.name == "deny") && !lets_all_in(rules[0]) {
        guards.extend(rules);
    }
    for name in ["auth_basic", "auth_request", "auth_jwt", "nchan_authorize_request"] {
        guards.extend(scope.last(name).filter(|directive| directive.first() != "off"));
    }
    guards.extend(scope.last("ssl_verify_client").filter(|directive| directive.first() == "on"));
    guards.extend(scope.last("secure_link_secret"));
    guards.extend(scope.own("limit_except"));
    for level in scope.levels() {
        guards.extend(level.iter().filter(|directive| is_refusal(directive)));
    }
    guards
}

/// Directives that say how a guard works.
const BESIDE: [&str; 6] =
    ["auth_basic_user_file", "auth_request_set", "satisfy", "secure_link", "secure_link_md5", "ssl_client_certificate"];

/// What belongs to the guards of a place.
pub(super) fn beside<'t>(location: &Location<'t>) -> Vec<&'t Directive> {
    BESIDE.iter().flat_map(|name| location.scope.all(name)).collect()
}

/// The names of guards, and where the first stands.
pub(super) fn said(guards: &[&Directive]) -> Option<String> {
    let mut names: Vec<&str> = guards.iter().map(|guard| guard.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    guards.first().map(|first| format!("{} ({})", names.join(" and "), first.spot))
}

/// `allow` and `deny` are inherited as one list, in their order.
pub(super) fn addresses<'t>(scope: &Scope<'t>) -> Vec<&'t Directive> {
    let is_rule = |directive: &&Directive| matches!(directive.name.as_str(), "allow" | "deny");
    let levels: Vec<_> = scope.levels().collect();
    let rules = levels.into_iter().rev().map(|level| level.iter().filter(is_rule).collect::<Vec<_>>());
    rules.into_iter().find(|rules| !rules.is_empty()).unwrap_or_default()
}

fn lets_all_in(rule: &Directive) -> bool {
    rule.name == "allow" && rule.first() == "all"
}

/// An `if` that answers with a refusal, by something that tells clients apart.
fn is_refusal(directive: &Directive) -> bool {
    let refuses =
        |inner: &Directive| inner.name == "return" && matches!(inner.first(), "401" | "403" | "404" | "410" | "444");
    let variable = directive.first().trim_start_matches('(');
    directive.name == "if" && !HARMLESS.contains(&variable) && directive.children().iter().any(refuses)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::tree;
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let tree = tree(text);
        let locations = Location::all(&Scope::default().within(&tree.top)).unwrap();
        guards(&locations[0]).into_iter().map(|guard| guard.name.clone()).collect()
    }

    #[test]
    fn guards_are_found_wherever_they_stand() {
        assert_eq!(names("deny all; location / { }"), ["deny"]);
        assert_eq!(names("location / { allow 10.0.0.0/8; deny all; }"), ["allow", "deny"]);
        assert_eq!(names("auth_basic x; location / { }"), ["auth_basic"]);
        assert_eq!(names("location / { auth_request /auth; }"), ["auth_request"]);
        assert_eq!(names("location / { secure_link $a; if ($secure_link = \"\") { return 403; } }"), ["if"]);
        assert_eq!(names("location / { limit_except GET { deny all; } }"), ["limit_except"]);
    }

    #[test]
    fn guards_that_keep_nobody_out_are_none() {
        assert_eq!(names("deny all; location / { allow all; }"), [""; 0]);
        assert_eq!(names("location / { allow all; deny 10.0.0.1; }"), [""; 0]);
        assert_eq!(names("auth_basic x; location / { auth_basic off; }"), [""; 0]);
        assert_eq!(names("location / { if ($request_method = OPTIONS) { return 403; } }"), [""; 0]);
        assert_eq!(names("location / { if ($arg_a) { return 200; } }"), [""; 0]);
    }
}
