//! `fantail token`: keys for publishers, and tokens and signed URLs as applications make them: to try things out, and for scripts.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::output;
use crate::auth;
use crate::config::{self, Access, Algorithm, By, Config, Sources, Span};

/// How long a token is good unless that is said.
const LIFETIME: &str = "1h";

#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a key for a publisher, and print what the configuration needs to know it by
    Key(KeyArgs),
    /// Make a JSON web token that is signed with the secret of an [access.NAME]
    Jwt(JwtArgs),
    /// Sign a path with the secret of an [access.NAME]
    Url(UrlArgs),
}

#[derive(Args)]
struct KeyArgs {
    /// What the key is to be called in the log
    #[arg(default_value = "application")]
    name: String,
    /// Channels to which it may publish, as a pattern; may be repeated
    #[arg(long = "channel", value_name = "PATTERN", default_value = "**")]
    channels: Vec<String>,
}

/// Whose secret is used, and what is vouched for.
#[derive(Args)]
struct SignArgs {
    #[arg(long, help = "Read settings from this TOML file [env: FANTAIL_CONFIG]", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The [access.NAME]; may be left out where only one has a secret for this
    #[arg(long, value_name = "NAME")]
    access: Option<String>,
    /// Whom it is about ("sub")
    #[arg(long, value_name = "NAME")]
    sub: Option<String>,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = LIFETIME)]
    lifetime: Span,
}

#[derive(Args)]
struct JwtArgs {
    #[command(flatten)]
    sign: SignArgs,
    /// Channels that may be subscribed to, as a pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Channels that may be published to, as a pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
}

#[derive(Args)]
struct UrlArgs {
    #[command(flatten)]
    sign: SignArgs,
    /// The path, as it will stand in the URL, such as /sub/orders
    path: String,
}

pub(super) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let text = match &args.what {
        What::Key(args) => key(args)?,
        What::Jwt(args) => jwt(args, &args.sign.read()?)?,
        What::Url(args) => url(args, &args.sign.read()?)?,
    };
    let mut out = std::io::stdout();
    output(writeln!(out, "{text}").and_then(|()| out.flush()))
}

fn key(args: &KeyArgs) -> anyhow::Result<String> {
    let wrong = args.channels.iter().find(|text| auth::Pattern::parse(text).is_none());
    if let Some(pattern) = wrong {
        bail!("{pattern:?} is not a pattern of channel names, such as \"orders.*\" or \"user.42.**\"");
    }
    let key = auth::fresh_key().context("the system has no randomness")?;
    let table = toml::Table::from_iter([
        ("name".to_owned(), toml::Value::from(args.name.as_str())),
        ("sha256".to_owned(), auth::digest(&key).into()),
        ("channels".to_owned(), args.channels.clone().into()),
    ]);
    Ok(format!(
        "{key}\n\n# The key stands above, and nowhere else. The configuration knows it by this:\n\n[[key]]\n{table}"
    ))
}

fn jwt(args: &JwtArgs, config: &Config) -> anyhow::Result<String> {
    let (name, access) = args.sign.access(config, By::Jwt)?;
    let secrets = auth::secrets(access).map_err(|error| anyhow!("access.{name}.{error}"))?;
    let secret = secrets.first().with_context(|| {
        format!("access.{name} has no secret: its tokens are signed by whoever has the private key")
    })?;
    let mut claims = Map::new();
    claims.insert("exp".to_owned(), args.sign.ends()?.into());
    claims.extend(args.sign.sub.iter().map(|sub| ("sub".to_owned(), sub.as_str().into())));
    claims.extend(access.issuer.iter().map(|issuer| ("iss".to_owned(), issuer.as_str().into())));
    claims.extend(access.audience.first().map(|audience| ("aud".to_owned(), audience.as_str().into())));
    for (claim, patterns) in [(&access.subscribe_claim, &args.subscribe), (&access.publish_claim, &args.publish)] {
        if !patterns.is_empty() {
            claims.insert(claim.clone(), json!(patterns));
        }
    }
    let algorithm = access.algorithm.unwrap_or(Algorithm::Hs256);
    auth::issue(algorithm, secret, &Value::Object(claims).to_string()).context("such tokens have no secret")
}

fn url(args: &UrlArgs, config: &Config) -> anyhow::Result<String> {
    let (name, access) = args.sign.access(config, By::Signed)?;
    if !args.path.starts_with('/') || args.path.contains(['?', '#', ' ']) {
        bail!("{:?} is not a path without a query, such as \"/sub/orders\"", args.path);
    }
    let secrets = auth::secrets(access).map_err(|error| anyhow!("access.{name}.{error}"))?;
    let secret = secrets.first().with_context(|| format!("access.{name} has no secret"))?;
    Ok(auth::sign(secret, &args.path, args.sign.ends()?, args.sign.sub.as_deref()))
}

impl SignArgs {
    fn read(&self) -> anyhow::Result<Config> {
        let (file, set) = (self.config.clone(), self.set.clone());
        Ok(config::load(&Sources { file, set, ..Sources::default() }.with_environment())?)
    }

    /// The way of access that was named, or the only one of its kind that has a secret.
    fn access<'c>(&self, config: &'c Config, by: By) -> anyhow::Result<(&'c str, &'c Access)> {
        if let Some(name) = &self.access {
            let Some((name, access)) = config.access.get_key_value(name) else {
                bail!("there is no [access.{name}]");
            };
            if access.by != Some(by) {
                bail!("access.{name} is not by = \"{by}\"");
            }
            return Ok((name, access));
        }
        let mut fit = config.access.iter().filter(|(_, access)| access.by == Some(by) && access.secret.is_some());
        match (fit.next(), fit.next()) {
            (Some((name, access)), None) => Ok((name, access)),
            (None, _) => bail!("there is no [access.NAME] with by = \"{by}\" and a secret; name the file in --config"),
            _ => bail!("there are several [access.NAME] with by = \"{by}\" and a secret; name one in --access"),
        }
    }

    /// When its time is over, in seconds since the epoch.
    fn ends(&self) -> anyhow::Result<u64> {
        if self.lifetime.get() < Duration::from_secs(1) {
            bail!("--lifetime {} is too short, at least 1s is needed", self.lifetime);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        Ok((now + self.lifetime.get()).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::auth::{Publishers, Rules, SignedUrl, Token};

    const CONFIG: &str = "[access.members]\nby = 'jwt'\nsecret = '0123456789abcdef0123456789abcdef'\nissuer = 'us'\n\
                          audience = ['them']\nalgorithm = 'HS384'\nsubscribe_claim = 'a.b'\n\
                          [access.links]\nby = 'signed'\nsecret = 'fedcba9876543210fedcba9876543210'\n";

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn made(arguments: &[&str]) -> anyhow::Result<String> {
        let config = Config::from_toml(CONFIG).unwrap();
        match Command::try_parse_from([&["token"], arguments].concat())?.token.what {
            What::Key(args) => key(&args),
            What::Jwt(args) => jwt(&args, &config),
            What::Url(args) => url(&args, &config),
        }
    }

    fn now() -> fantail_hub::Millis {
        fantail_hub::Millis(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
    }

    #[test]
    fn key_is_known_by_what_is_printed() {
        let text = made(&["key", "orders", "--channel", "orders.*"]).unwrap();
        let (key, table) = text.split_once('\n').unwrap();
        let publishers = Publishers::new(&Config::from_toml(table).unwrap().key);
        let publisher = publishers.find(None, Some(key.as_bytes())).unwrap();
        assert!(&*publisher.name == "orders" && publisher.grants.cover("orders.1"));
        assert!(!table.contains(key));
        assert!(made(&["key", "--channel", "user-*"]).is_err());
    }

    #[test]
    fn jwt_is_believed_by_the_server() {
        let token = made(&["jwt", "--sub", "42", "--subscribe", "a.*", "--subscribe", "b", "--publish", "c"]).unwrap();
        let config = Config::from_toml(CONFIG).unwrap();
        let access = &config.access["members"];
        let token = Token::parse(token.as_bytes(), 8 << 10).unwrap();
        let claims = token.judge(&auth::keys(access).unwrap(), &Rules::new(access), now()).unwrap();
        assert_eq!(claims.subject.as_deref(), Some("42"));
        assert!(claims.subscribe.cover("a.1") && claims.subscribe.cover("b") && claims.publish.cover("c"));
        let left = claims.ends.since(now());
        assert!(left > Duration::from_mins(55) && left < Duration::from_mins(65), "{left:?}");
    }

    #[test]
    fn url_is_believed_by_the_server() {
        let url = made(&["url", "/sub/a", "--sub", "42", "--lifetime", "2m"]).unwrap();
        let (path, query) = url.split_once('?').unwrap();
        let secrets = auth::secrets(&Config::from_toml(CONFIG).unwrap().access["links"]).unwrap();
        assert_eq!(SignedUrl::judge(path, query, &secrets, now()).unwrap().subject.as_deref(), Some("42"));
        for wrong in [&["url", "sub"][..], &["url", "/a?b"], &["url", "/a", "--lifetime", "1ms"]] {
            assert!(made(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn access_that_does_not_do_is_named() {
        let said = |arguments: &[&str]| made(arguments).unwrap_err().to_string();
        assert_eq!(said(&["jwt", "--access", "links"]), "access.links is not by = \"jwt\"");
        assert_eq!(said(&["url", "/a", "--access", "x"]), "there is no [access.x]");
    }
}
