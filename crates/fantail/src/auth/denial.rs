//! Why somebody is not let in. What is said of it goes to the client, so that none of it is a secret.

use std::time::Duration;

use thiserror::Error;

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// Nothing was shown.
    #[error("a valid credential is needed: {0}")]
    Missing(&'static str),
    /// The token is too large.
    #[error("the token has {0} bytes, at most {1} are allowed (max_token)")]
    TooLarge(usize, usize),
    /// It is no JWT.
    #[error("the token is not a JSON web token: {0}")]
    Malformed(&'static str),
    /// A name stands twice in one of its objects, so that two readers may see two things.
    #[error("the token says {0:?} twice")]
    Twice(String),
    /// It wants something understood that is not.
    #[error("the token has critical header fields (\"crit\"), which are not understood")]
    Critical,
    /// It is signed in a way that no key has.
    #[error("the token is signed with {0:?}, for which there is no key")]
    Algorithm(String),
    /// It names a key that there is not.
    #[error("the token names the key {0:?}, which is not known")]
    UnknownKey(String),
    /// It was not signed with the key.
    #[error("the token was not signed with a key that is known")]
    Signature,
    /// It never ends.
    #[error("the token has no end (\"exp\")")]
    Endless,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// Somebody else made it.
    #[error("the token's issuer is another (\"iss\")")]
    Issuer,
    /// It was made for somebody else.
    #[error("the token is for another audience (\"aud\")")]
    Audience,
    /// One of its claims is not what it should be.
    #[error("the token's claim {claim:?} is not {expected}")]
    Claim {
        /// Which.
        claim: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The URL is not signed, or not with the secret.
    #[error("the URL is not signed, or not for this path and these values: {0}")]
    Unsigned(&'static str),
    /// A signed URL's time is over.
    #[error("the URL has expired")]
    UrlExpired,
    /// A channel that was not granted.
    #[error("channel {0:?} is not granted to you")]
    Channel(String),
    /// Something that is for those who may everything.
    #[error("that needs a right to every channel (\"**\")")]
    NotAll,
    /// A page of another site used a cookie.
    #[error("pages of {0:?} may not use cookies here; add it to cors.origins and set cors.credentials if they should")]
    Origin(String),
    /// The application said that nobody is there who is known.
    #[error("the application does not know you")]
    Stranger,
    /// The application said no.
    #[error("the application does not let you in")]
    Forbidden,
    /// The application could not be asked, or said nothing that could be understood.
    #[error("who may come in cannot be found out at present: the application {0}")]
    NoAnswer(&'static str),
    /// The application did not answer in time.
    #[error("who may come in cannot be found out at present: the application did not answer within {0:?}")]
    Late(Duration),
    /// The keys of tokens could not be fetched.
    #[error("tokens cannot be checked at present: their keys could not be fetched")]
    NoKeys,
}

/// What becomes of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With another credential it may be otherwise.
    Unauthorized,
    /// The credential is good, and not good for this.
    Forbidden,
    /// It may be otherwise soon.
    Unavailable,
}

impl Denial {
    /// What becomes of it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Channel(_) | Self::NotAll | Self::Origin(_) | Self::Forbidden => Kind::Forbidden,
            Self::NoAnswer(_) | Self::Late(_) | Self::NoKeys => Kind::Unavailable,
            _ => Kind::Unauthorized,
        }
    }

    /// Its place in [`crate::metrics::DENIALS`].
    pub fn reason(&self) -> usize {
        match self {
            Self::Missing(_) => 0,
            Self::TooLarge(..) | Self::Malformed(_) | Self::Twice(_) | Self::Critical | Self::Claim { .. } => 1,
            Self::Algorithm(_) => 2,
            Self::UnknownKey(_) | Self::Signature | Self::Unsigned(_) => 3,
            Self::Endless | Self::Expired | Self::Early | Self::UrlExpired => 4,
            Self::Issuer | Self::Audience => 5,
            Self::Channel(_) | Self::NotAll => 6,
            Self::Origin(_) => 7,
            Self::Stranger | Self::Forbidden => 8,
            Self::NoAnswer(_) | Self::Late(_) | Self::NoKeys => 9,
        }
    }
}
