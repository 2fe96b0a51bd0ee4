//! One thing that is read from another server, by HTTP/1.1 in clear or over TLS: nothing is kept open for it, and it is small.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::auth::KeyError;
use crate::config::Access;

/// The most that is read, in bytes.
const MOST: usize = 1 << 20;

/// What is read, and how.
pub(super) struct Fetch {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// Why it could not be read.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("there is no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("there is no proper answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer has more than {MOST} bytes")]
    TooLarge,
    #[error("there was no answer within {0:?}")]
    Late(Duration),
}

impl Fetch {
    /// The contents of a URL.
    pub(super) fn new(url: &str, access: &Access) -> Result<Self, KeyError> {
        let uri: Uri = url.parse().map_err(|_| KeyError::Host)?;
        let host = uri.host().ok_or(KeyError::Host)?.to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let plain = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if secure {
            let name = ServerName::try_from(plain.clone()).map_err(|_| KeyError::Host)?;
            Some((TlsConnector::from(Arc::new(tls(access)?)), name))
        } else {
            None
        };
        Ok(Self { uri, host: plain, port, tls, timeout: access.timeout.get() })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        // SECURITY: a query may be a secret.
        format!(
            "{}://{}{}",
            self.uri.scheme_str().unwrap_or_default(),
            self.uri.authority().map_or("", |a| a.as_str()),
            self.uri.path()
        )
    }

    /// Reads it.
    ///
    /// CANCEL SAFETY: what was begun is given up.
    pub(super) async fn get(&self) -> Result<Bytes, FetchError> {
        let read = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            match &self.tls {
                None => self.ask(socket).await,
                Some((connector, name)) => self.ask(connector.connect(name.clone(), socket).await?).await,
            }
        };
        tokio::time::timeout(self.timeout, read).await.unwrap_or(Err(FetchError::Late(self.timeout)))
    }

    async fn ask(&self, socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Bytes, FetchError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // Ends with the answer, or with the sender.
        let connection = tokio::spawn(connection);
        let answer = async {
            let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = target.parse().unwrap_or_default();
            let fields = [
                (HOST, self.uri.authority().map_or("", |authority| authority.as_str())),
                (ACCEPT, "application/json, application/jwk-set+json"),
                (USER_AGENT, concat!("fantail/", env!("CARGO_PKG_VERSION"))),
                (CONNECTION, "close"),
            ];
            for (name, value) in fields {
                request.headers_mut().extend(value.parse().ok().map(|value| (name, value)));
            }
            let mut answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(FetchError::Status(answer.status()));
            }
            let mut text = BytesMut::new();
            while let Some(frame) = answer.frame().await {
                let Ok(data) = frame?.into_data() else { continue };
                if text.len() + data.len() > MOST {
                    return Err(FetchError::TooLarge);
                }
                text.extend_from_slice(&data);
            }
            Ok(text.freeze())
        };
        let answer = answer.await;
        connection.abort();
        answer
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn tls(access: &Access) -> Result<ClientConfig, KeyError> {
    let mut roots = RootCertStore::empty();
    match &access.jwks_ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            for certificate in CertificateDer::pem_slice_iter(file.text()) {
                let added = certificate.ok().map(|certificate| roots.add(certificate));
                added.and_then(Result::ok).ok_or(KeyError::Authority)?;
            }
        }
    }
    if roots.is_empty() {
        return Err(KeyError::Authority);
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has both versions.
    let builder = versions.map_err(|_| KeyError::Authority)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
