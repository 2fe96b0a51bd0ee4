//! `[access.NAME]`: how it is found out who a client is and what it may do.

use std::collections::BTreeMap;

use super::{
    Secret, Size, Span, TextFile, Upstream,
    error::{Problem, require},
    header::{check_name, is_token},
    native::is_path,
    section::{choice, defaults, section},
    spelling::nearest,
    upstream::is_name,
};

/// The word that stands for no check at all, in the place of a name.
pub const OPEN: &str = "open";

const LEEWAY: Span = Span::secs(30);
const MAX_TOKEN: Size = Size::kib(8);
const QUERY: &str = "token";
const SUBSCRIBE_CLAIM: &str = "subscribe";
const PUBLISH_CLAIM: &str = "publish";
const JWKS_REFRESH: Span = Span::secs(300);
const JWKS_COOLDOWN: Span = Span::secs(30);
const JWKS_STALE: Span = Span::secs(86_400);
const TIMEOUT: Span = Span::secs(5);
const CACHE: Span = Span::secs(10);
const CACHE_REFUSALS: Span = Span::secs(2);
/// The shortest secret, in bytes: as many as the signature has (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;
/// What says that a secret is written in base64.
pub const BASE64: &str = "base64:";

choice! {
    /// How a client shows what it may do.
    pub enum By {
        /// By a JSON web token that the application signed.
        Jwt = "jwt",
        /// By a URL that the application signed.
        Signed = "signed",
        /// The application is asked.
        Callback = "callback",
    }
}

choice! {
    /// How tokens are signed (RFC 7518, RFC 8037).
    pub enum Algorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA (PKCS #1) with SHA-256.
        Rs256 = "RS256",
        /// RSA (PKCS #1) with SHA-384.
        Rs384 = "RS384",
        /// RSA (PKCS #1) with SHA-512.
        Rs512 = "RS512",
        /// RSA (PSS) with SHA-256.
        Ps256 = "PS256",
        /// RSA (PSS) with SHA-384.
        Ps384 = "PS384",
        /// RSA (PSS) with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Whether its keys are secrets that both sides have.
    pub fn is_hmac(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

section! {
    /// One way in which it is found out who a client is and what it may do.
    pub struct Access {
        /// How a client shows it; required.
        by: Option<By> = None,
        /// The secret with which tokens or URLs are signed, at least 32 bytes: its text, or `base64:` and its bytes.
        secret: Option<Secret> = None,
        /// The secret before it, which is good as well for as long as it stands here.
        previous_secret: Option<Secret> = None,
        /// A PEM file with the public key of whoever signs tokens, or several.
        public_key: Option<TextFile> = None,
        /// A file with such keys as a JSON web key set.
        jwks_file: Option<TextFile> = None,
        /// The URL of such a set, which is read again from time to time and when a token names a key that is not in it.
        jwks_url: Option<String> = None,
        /// A PEM file with the certificate of whoever vouches for the server of an `https` URL; left out, the usual ones of the
        /// web.
        jwks_ca: Option<TextFile> = None,
        /// How often the set is read again.
        jwks_refresh: Span = JWKS_REFRESH,
        /// How long it is not read again, however many tokens name keys that are not in it, or after it could not be read.
        jwks_cooldown: Span = JWKS_COOLDOWN,
        /// How long a set is used that cannot be read again.
        jwks_stale: Span = JWKS_STALE,
        /// How tokens are signed; left out, `HS256` with a secret, and with other keys what the key says or is for: `RS256`, `ES256`,
        /// `ES384` or `EdDSA`. A token that is signed in another way is refused.
        algorithm: Option<Algorithm> = None,
        /// What a token's `iss` must be; left out, anything.
        issuer: Option<String> = None,
        /// What a token's `aud` must be, or hold one of; with none, anything.
        audience: Vec<String> = Vec::new(),
        /// By how much the clocks of whoever signs and of this server may differ.
        leeway: Span = LEEWAY,
        /// Largest token.
        max_token: Size = MAX_TOKEN,
        /// The cookie that may hold the token, beside `Authorization: Bearer`; left out, none.
        cookie: Option<String> = None,
        /// The parameter of the URL that may hold the token, for `EventSource`, which can send no fields; empty for none.
        query: String = QUERY.to_owned(),
        /// The claim that lists the channels that may be subscribed to, as patterns. A dot leads into an object:
        /// `mercure.subscribe`.
        subscribe_claim: String = SUBSCRIBE_CLAIM.to_owned(),
        /// The claim that lists the channels that may be published to.
        publish_claim: String = PUBLISH_CLAIM.to_owned(),
        /// The `[upstream.NAME]` that is asked; required with `by = "callback"`.
        upstream: Option<String> = None,
        /// The path that it is asked for; required with `by = "callback"`.
        path: Option<String> = None,
        /// The fields of the client's request that the question has.
        pass_headers: Vec<String> = vec!["Authorization".to_owned(), "Cookie".to_owned()],
        /// How long the answer may take, of the application or from `jwks_url`; without one in time the client is refused with
        /// 503.
        timeout: Span = TIMEOUT,
        /// How long an answer that lets a client in is good for the same question; 0 asks each time.
        cache: Span = CACHE,
        /// The same of an answer that refuses.
        cache_refusals: Span = CACHE_REFUSALS,
    }
}

/// The options that are not for every way, and for which they are.
const OPTIONS: [(&str, &[By]); 24] = [
    ("secret", &[By::Jwt, By::Signed]),
    ("previous_secret", &[By::Jwt, By::Signed]),
    ("public_key", &[By::Jwt]),
    ("jwks_file", &[By::Jwt]),
    ("jwks_url", &[By::Jwt]),
    ("jwks_ca", &[By::Jwt]),
    ("jwks_refresh", &[By::Jwt]),
    ("jwks_cooldown", &[By::Jwt]),
    ("jwks_stale", &[By::Jwt]),
    ("algorithm", &[By::Jwt]),
    ("issuer", &[By::Jwt]),
    ("audience", &[By::Jwt]),
    ("leeway", &[By::Jwt]),
    ("max_token", &[By::Jwt]),
    ("cookie", &[By::Jwt]),
    ("query", &[By::Jwt]),
    ("subscribe_claim", &[By::Jwt]),
    ("publish_claim", &[By::Jwt]),
    ("upstream", &[By::Callback]),
    ("path", &[By::Callback]),
    ("pass_headers", &[By::Callback]),
    ("timeout", &[By::Jwt, By::Callback]),
    ("cache", &[By::Callback]),
    ("cache_refusals", &[By::Callback]),
];

impl Access {
    pub(super) fn validate_all(
        all: &BTreeMap<String, Self>,
        upstreams: &BTreeMap<String, Upstream>,
    ) -> Result<(), Problem> {
        for (name, access) in all {
            let key = format!("access.{name}");
            require(
                is_name(name) && name != OPEN,
                key.as_str(),
                format!(
                    "{name:?} is not a name for a way of access, expected small letters, digits, \"-\" and \"_\", and not \
                     \"{OPEN}\", which stands for none"
                ),
            )?;
            access.validate(&key, upstreams)?;
        }
        Ok(())
    }

    fn validate(&self, section: &str, upstreams: &BTreeMap<String, Upstream>) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        let Some(by) = self.by else {
            return Err(Problem {
                key: key("by"),
                reason: "is required, \"jwt\", \"signed\" or \"callback\"".to_owned(),
            });
        };
        let (given, default) = (toml::Table::try_from(self).unwrap_or_default(), defaults::<Self>());
        for (name, ways) in OPTIONS {
            let words: Vec<String> = ways.iter().map(|by| format!("\"{by}\"")).collect();
            require(
                ways.contains(&by) || given.get(name) == default.get(name),
                key(name),
                format!("has no meaning with by = \"{by}\", only with {}", words.join(" and ")),
            )?;
        }
        for (name, secret) in [("secret", &self.secret), ("previous_secret", &self.previous_secret)] {
            let Some(secret) = secret else { continue };
            let text = secret.expose();
            // Four digits of base64 are three bytes.
            let bytes =
                text.strip_prefix(BASE64).map_or(text.len(), |base64| base64.trim_end_matches('=').len() * 3 / 4);
            require(
                bytes >= SHORTEST_SECRET,
                key(name),
                format!(
                    "has {bytes} bytes, which can be guessed; at least {SHORTEST_SECRET} are needed, as by \"openssl rand -hex 32\""
                ),
            )?;
        }
        require(
            self.previous_secret.is_none() || self.secret.is_some(),
            key("previous_secret"),
            "has no meaning without secret",
        )?;
        match by {
            By::Jwt => self.validate_jwt(section),
            By::Signed => require(self.secret.is_some(), key("secret"), "is required with by = \"signed\""),
            By::Callback => self.validate_callback(section, upstreams),
        }
    }

    fn validate_jwt(&self, section: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        let sources = [
            ("secret", self.secret.is_some()),
            ("public_key", self.public_key.is_some()),
            ("jwks_file", self.jwks_file.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
        ];
        let mut given = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
        match (given.next(), given.next()) {
            (Some(_), None) => {}
            (Some(first), Some(second)) => {
                return Err(Problem { key: key(second), reason: format!("cannot be given together with {first}") });
            }
            _ => {
                let reason =
                    "is required with by = \"jwt\", or public_key, jwks_file or jwks_url in its place".to_owned();
                return Err(Problem { key: key("secret"), reason });
            }
        }
        if let Some(algorithm) = self.algorithm {
            require(
                algorithm.is_hmac() == self.secret.is_some(),
                key("algorithm"),
                if self.secret.is_some() {
                    format!("\"{algorithm}\" has public keys; with secret expected \"HS256\", \"HS384\" or \"HS512\"")
                } else {
                    format!("\"{algorithm}\" has a secret, and no public keys")
                },
            )?;
        }
        if let Some(url) = &self.jwks_url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
            require(
                host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
                    && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
                key("jwks_url"),
                format!("{url:?} is not a URL, such as \"https://id.example/.well-known/jwks.json\""),
            )?;
        }
        for (name, span) in [
            ("jwks_refresh", self.jwks_refresh),
            ("jwks_cooldown", self.jwks_cooldown),
            ("jwks_stale", self.jwks_stale),
            ("timeout", self.timeout),
        ] {
            require(!span.is_zero(), key(name), "must be longer than 0")?;
        }
        require(
            self.jwks_ca.is_none() || self.jwks_url.as_ref().is_some_and(|url| url.starts_with("https:")),
            key("jwks_ca"),
            "has no meaning without a jwks_url that begins with https://",
        )?;
        require(self.max_token.bytes() > 0, key("max_token"), "must be more than 0")?;
        if let Some(cookie) = &self.cookie {
            let reason = format!("{cookie:?} is not the name of a cookie, such as \"session\"");
            require(is_token(cookie), key("cookie"), reason)?;
        }
        for (name, claim) in [("subscribe_claim", &self.subscribe_claim), ("publish_claim", &self.publish_claim)] {
            require(!claim.is_empty(), key(name), "must not be empty")?;
        }
        Ok(())
    }

    fn validate_callback(&self, section: &str, upstreams: &BTreeMap<String, Upstream>) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        let Some(upstream) = &self.upstream else {
            let reason = "is required with by = \"callback\", the NAME of an [upstream.NAME]".to_owned();
            return Err(Problem { key: key("upstream"), reason });
        };
        require(upstreams.contains_key(upstream), key("upstream"), format!("there is no [upstream.{upstream}]"))?;
        let path = self.path.as_deref().unwrap_or_default();
        require(
            path.starts_with('/') && is_path(path),
            key("path"),
            if path.is_empty() {
                "is required with by = \"callback\", such as \"/may-listen\"".to_owned()
            } else {
                format!("{path:?} is not a path, such as \"/may-listen\"")
            },
        )?;
        for (index, name) in self.pass_headers.iter().enumerate() {
            check_name(&key(&format!("pass_headers[{index}]")), name)?;
        }
        require(!self.timeout.is_zero(), key("timeout"), "must be longer than 0")
    }
}

/// Checks that `name` stands for something.
pub(super) fn validate_name(key: &str, name: &str, all: &BTreeMap<String, Access>) -> Result<(), Problem> {
    let known = || all.keys().map(String::as_str).chain([OPEN]);
    require(
        name == OPEN || all.contains_key(name),
        key,
        match nearest(name, known()) {
            Some(near) => format!("there is no [access.{name}], did you mean \"{near}\"?"),
            None => format!("there is no [access.{name}], known: {}", known().collect::<Vec<_>>().join(", ")),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const SECRET: &str = "secret = '0123456789abcdef0123456789abcdef'\n";
    const JWT: &str = "[access.a]\nby = 'jwt'\n";

    fn said(text: &str) -> String {
        Config::from_toml(text).map_or_else(|error| error.to_string(), |_| "sound".to_owned())
    }

    #[test]
    fn access_that_is_sound_loads() {
        for text in [
            &format!("{JWT}{SECRET}algorithm = 'HS512'\ncookie = 'session'\naudience = ['x']\nquery = ''\n"),
            &format!("{JWT}secret = 'base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='\n"),
            &format!("{JWT}jwks_url = 'https://id.example/jwks.json?a=b'\nalgorithm = 'PS256'\n"),
            &format!("[access.a]\nby = 'signed'\n{SECRET}[stream]\naccess = 'a'\n"),
            "[upstream.app]\nservers = ['http://127.0.0.1:1']\n[access.a]\nby = 'callback'\nupstream = 'app'\npath = '/may'\n",
            &format!(
                "control.access = 'a'\n{JWT}{SECRET}[[route]]\npath = '/{{channel}}'\naction = 'publish'\naccess = 'a'\n"
            ),
            &format!("stream.access = 'a'\n{JWT}{SECRET}[[route]]\npath = '/{{channel}}'\naccess = 'open'\n"),
        ] {
            assert_eq!(said(text), "sound", "{text}");
        }
    }

    #[test]
    fn access_that_is_wrong_is_refused_with_its_line() {
        for (text, error) in [
            ("[access.a]\n", "1: access.a.by: is required, \"jwt\", \"signed\" or \"callback\""),
            (
                "[access.open]\nby = 'jwt'\n",
                "1: access.open: \"open\" is not a name for a way of access, expected small letters, digits, \"-\" and \"_\", and \
                 not \"open\", which stands for none",
            ),
            (
                JWT,
                "1: access.a.secret: is required with by = \"jwt\", or public_key, jwks_file or jwks_url in its place",
            ),
            (
                &format!("{JWT}secret = 'hunter2'\n"),
                "3: access.a.secret: has 7 bytes, which can be guessed; at least 32 are needed, as by \"openssl rand -hex 32\"",
            ),
            (
                &format!("{JWT}{SECRET}jwks_url = 'http://a/'\n"),
                "4: access.a.jwks_url: cannot be given together with secret",
            ),
            (
                &format!("{JWT}{SECRET}algorithm = 'RS256'\n"),
                "4: access.a.algorithm: \"RS256\" has public keys; with secret expected \"HS256\", \"HS384\" or \"HS512\"",
            ),
            (
                &format!("{JWT}jwks_url = 'https://a/'\nalgorithm = 'HS256'\n"),
                "4: access.a.algorithm: \"HS256\" has a secret, and no public keys",
            ),
            (
                &format!("{JWT}jwks_url = 'file:///etc/passwd'\n"),
                "3: access.a.jwks_url: \"file:///etc/passwd\" is not a URL, such as \"https://id.example/.well-known/jwks.json\"",
            ),
            (
                &format!("{JWT}{SECRET}cookie = 'a b'\n"),
                "4: access.a.cookie: \"a b\" is not the name of a cookie, such as \"session\"",
            ),
            (
                &format!("{JWT}{SECRET}path = '/a'\n"),
                "4: access.a.path: has no meaning with by = \"jwt\", only with \"callback\"",
            ),
            ("[access.a]\nby = 'signed'\n", "1: access.a.secret: is required with by = \"signed\""),
            (
                "[access.a]\nby = 'callback'\n",
                "1: access.a.upstream: is required with by = \"callback\", the NAME of an [upstream.NAME]",
            ),
            (
                &format!("{JWT}{SECRET}[stream]\naccess = 'b'\n"),
                "5: stream.access: there is no [access.b], did you mean \"a\"?",
            ),
            (
                &format!("control.access = 'a'\n[access.a]\nby = 'signed'\n{SECRET}"),
                "1: control.access: \"a\" does not do: publishers show a token, so an [access.NAME] with by = \"jwt\" is needed",
            ),
            (
                &format!("{JWT}{SECRET}[[route]]\npath = '/{{channel}}'\nlistener = 'control'\naccess = 'a'\n"),
                "7: route[0].access: is for the public listener; who may use the control listener is said in [control]",
            ),
            (
                &format!(
                    "{JWT}{SECRET}[[route]]\npath = '/{{channel}}'\naction = 'publish'\npublic_publish = true\naccess = 'a'\n"
                ),
                "8: route[0].access: cannot be given together with public_publish, which lets everyone publish",
            ),
            (
                &format!(
                    "stream.access = 'a'\n[access.a]\nby = 'signed'\n{SECRET}[[route]]\npath = '/sub'\naction = 'push_stream'\n\
                     subscriber = 'streaming'\nchannels_path = '$arg_id'\n"
                ),
                "9: route[0].channels_path: \"$arg_id\" names channels by more than the path, which is all that a signed URL \
                 vouches for (access = \"a\"); take them from the path, such as \"$1\" with path = \"~ ^/sub/(.*)$\"",
            ),
        ] {
            assert_eq!(said(text), format!("fantail.toml:{error}"), "{text}");
        }
    }

    #[test]
    fn access_never_shows_its_secrets() {
        let text = format!("{JWT}{SECRET}previous_secret = 'fedcba9876543210fedcba9876543210'\n");
        let config = Config::from_toml(&text).unwrap();
        let shown = format!("{}{config:?}", config.effective_toml());
        assert!(!shown.contains("0123456789abcdef") && !shown.contains("fedcba9876543210"), "{shown}");
        assert!(shown.contains("previous_secret = \"***\""));
    }
}
