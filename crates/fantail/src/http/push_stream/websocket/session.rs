//! One WebSocket, from its 101 to its end, in a task of its own. At most one batch of messages is on its way; what comes meanwhile
//! waits in the hub. A client that does not read is not read from either.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::hub::Publish;
use fantail_hub::{Batch, ChannelName, Framing, Hub, NewMessage, Plan, PublishError, Subscription, Traits};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::super::Site;
use super::patient::Patient;
use super::roll::{Entry, Roll};
use crate::auth::Denial;
use crate::dialect::push_stream::Refusal;
use crate::fanout::{Presence, Style};
use crate::http::sessions::Leave;
use crate::metrics::{self, Metrics};
use crate::proxy::Client;

/// What is read of a client at a time, and written to it unless a message is larger.
const BUFFER: usize = 4 << 10;
/// How long a client that was told to go is waited for.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long it may be sent what is left, at the stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

type Socket = WebSocketStream<Patient<TcpStream>>;

/// Who is on a WebSocket.
pub(super) struct Session {
    pub(super) roll: Arc<Roll>,
    pub(super) peer: SocketAddr,
    /// Its channels, if it was let in.
    pub(super) names: Box<[ChannelName]>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) style: Arc<Style>,
    /// What is said first.
    pub(super) header: Vec<u8>,
    /// What becomes of what it says; nothing does by default.
    pub(super) publishing: Option<Publishing>,
    pub(super) presence: Option<Box<dyn Presence>>,
    /// Is done when the client has to go.
    pub(super) leave: Pin<Box<Leave>>,
    pub(super) strict: bool,
    /// The largest message it may send, in bytes.
    pub(super) most: usize,
    /// Turns true.
    pub(super) stopping: watch::Receiver<bool>,
}

/// How what a client says is published.
pub(super) struct Publishing {
    pub(super) site: Arc<Site>,
    pub(super) channels: Vec<ChannelName>,
    pub(super) stores: bool,
    /// Why it is not.
    pub(super) denied: Option<Denial>,
}

/// How a session comes to its end.
enum Over {
    /// Its time is over, or its channels are.
    Done,
    /// The server stops.
    Stopping,
    /// The client said goodbye.
    Left,
    /// It is told to go, and why.
    Refused(CloseCode, String),
    /// Without a word, as the module does where no channel was named.
    Dropped,
    /// Its socket failed.
    Failed(Error),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::ConnectionClosed => return Self::Left,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Self::Failed(error),
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return Self::Failed(error),
        };
        Self::Refused(code, String::new())
    }
}

impl Session {
    /// Serves a client that is to be told `head` first: with what it was let in to, or with why it was not.
    pub(super) async fn run(mut self, admitted: Result<Plan, Refusal>, client: Client, head: Vec<u8>) {
        let Client { mut socket, early, place, .. } = client;
        let entered = self.roll.enter(self.peer, std::mem::take(&mut self.names), &self.metrics);
        let entry = entered.entry();
        let (limit, metrics) = (self.style.stall_limit, Arc::clone(&self.metrics));
        if let Err(error) = socket.write_all(&head).await {
            return tracing::debug!(%error, "a WebSocket ended at once");
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(self.most))
            .max_frame_size(Some(self.most))
            .accept_unmasked_frames(self.strict);
        let socket = Patient::new(socket, limit, Arc::clone(entry));
        let mut socket = WebSocketStream::from_partially_read(socket, early.into(), Role::Server, Some(config)).await;
        if let Err(error) = self.serve(admitted, &mut socket, entry).await {
            let stalled = matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::TimedOut);
            metrics::add(if stalled { &metrics.websockets.stalled } else { &metrics.websockets.failed }, 1);
            tracing::debug!(%error, "a WebSocket ended");
        }
        drop((place, entered));
    }

    async fn serve(self, admitted: Result<Plan, Refusal>, socket: &mut Socket, entry: &Entry) -> Result<(), Error> {
        let (strict, style) = (self.strict, Arc::clone(&self.style));
        let over = match self.talk(admitted, socket, entry).await {
            Ok(never) => match never {},
            Err(over) => over,
        };
        let normal = |code: CloseCode| (!strict).then(|| CloseFrame { code, reason: Utf8Bytes::default() });
        let close = match over {
            Over::Failed(error) => return Err(error),
            Over::Dropped => return Ok(()),
            Over::Left => {
                // The answer to its goodbye is on its way, or there already.
                return match socket.flush().await {
                    Ok(()) | Err(Error::ConnectionClosed) => farewell(socket).await,
                    Err(error) => Err(error),
                };
            }
            Over::Done => normal(CloseCode::Normal),
            Over::Stopping => normal(CloseCode::Away),
            Over::Refused(code, reason) => {
                socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
                return farewell(socket).await;
            }
        };
        let words = async {
            if !style.footer.is_empty() {
                socket.feed(text(style.footer.clone())).await?;
            }
            socket.send(Message::Close(close)).await
        };
        timeout(LAST_WORDS, words).await.unwrap_or(Err(Error::Io(io::ErrorKind::TimedOut.into())))?;
        farewell(socket).await
    }

    /// Talks until there is nothing more to talk about.
    async fn talk(
        mut self,
        admitted: Result<Plan, Refusal>,
        socket: &mut Socket,
        entry: &Entry,
    ) -> Result<Infallible, Over> {
        let plan = match admitted {
            Ok(plan) => plan,
            Err(Refusal::NoChannel) if self.strict => return Err(Over::Dropped),
            Err(refusal) => return Err(Over::Refused(CloseCode::Policy, refusal.close_reason())),
        };
        entry.moved(plan.progress.cursor());
        let begun = Instant::now();
        let over = self.style.lifetime.map(|(most, _)| begun + most);
        let every = Some(self.style.ping).filter(|ping| !ping.is_zero());
        let mut subscription = Subscription::new(self.hub.clone(), plan, Arc::clone(&self.style.profile), Framing::Raw);
        if let Some(presence) = &mut self.presence {
            presence.came();
        }
        if !self.header.is_empty() {
            socket.send(text(std::mem::take(&mut self.header).into())).await?;
        }
        let mut ping = every.map(|every| begun + every);
        let mut stopping = self.stopping.clone();
        let mut stop = pin!(async {
            // Whoever would have said so is gone: that is a stop as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        });
        loop {
            tokio::select! {
                biased;
                () = &mut stop => {
                    let rest = async {
                        while let Ok(Some(batch)) = subscription.due().await {
                            deliver(socket, &batch, &self.metrics).await?;
                        }
                        Ok::<_, Error>(())
                    };
                    return Err(match timeout(LAST_WORDS, rest).await {
                        Ok(Err(error)) => error.into(),
                        _ => Over::Stopping,
                    });
                }
                () = until(over) => return Err(Over::Done),
                () = entry.ended() => return Err(Over::Done),
                () = &mut self.leave => return Err(Over::Done),
                said = socket.next() => match said {
                    None => return Err(Over::Left),
                    Some(said) => self.hear(said?).await?,
                },
                batch = subscription.next() => match batch {
                    Ok(Some(batch)) => {
                        tokio::select! {
                            delivered = deliver(socket, &batch, &self.metrics) => delivered?,
                            // Most of all one that does not read.
                            () = entry.ended() => return Err(Over::Done),
                        }
                        entry.moved(batch.next());
                        if let Some(left) = &batch.left {
                            self.leave(left);
                        }
                        ping = every.map(|every| Instant::now() + every);
                    }
                    Ok(None) => return Err(Over::Done),
                    Err(error) => {
                        tracing::warn!(%error, "a WebSocket cannot be served");
                        return Err(Over::Refused(CloseCode::Error, String::new()));
                    }
                },
                () = until(ping) => {
                    socket.send(Message::Ping(Bytes::new())).await?;
                    metrics::add(&self.metrics.websockets.pings, 1);
                    ping = every.map(|every| Instant::now() + every);
                }
            }
        }
    }

    /// It does not listen to this channel any more, nor speak in it.
    fn leave(&mut self, name: &ChannelName) {
        if let Some(presence) = &mut self.presence {
            presence.left(name);
        }
        if let Some(publishing) = &mut self.publishing {
            publishing.channels.retain(|channel| channel != name);
        }
    }

    /// Does what a message of the client is for.
    async fn hear(&mut self, said: Message) -> Result<(), Over> {
        let said = match said {
            Message::Text(said) => said,
            Message::Binary(_) => return Err(Over::Refused(CloseCode::Unsupported, String::new())),
            Message::Close(_) => return Err(Over::Left),
            // Pings are answered by the socket when it is read next.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let Some(publishing) = self.publishing.as_ref().filter(|_| !said.is_empty()) else { return Ok(()) };
        let published = publishing.publish(&self.hub, said.as_str()).await;
        if published.is_err() {
            metrics::add(&self.metrics.http.publish_refused, 1);
        }
        published
    }
}

impl Publishing {
    /// Publishes to all channels, in order.
    async fn publish(&self, hub: &Hub, text: &str) -> Result<(), Over> {
        if let Some(denial) = &self.denied {
            return Err(Over::Refused(CloseCode::Policy, close_reason(&denial.to_string())));
        }
        for name in &self.channels {
            // One that was deleted since is begun anew, as by any other publisher.
            let opened = self.site.open(hub, name).await;
            opened.map_err(|refusal| Over::Refused(CloseCode::Policy, refusal.close_reason()))?;
        }
        let publish = |channel| Publish {
            channel,
            said: NewMessage { data: text, event: None, id: None },
            key: None,
            ends: false,
            traits: Traits { transient: !self.stores, bytes: false },
        };
        let all: Vec<_> = self.channels.iter().map(publish).collect();
        for published in hub.publish_all(&all).await {
            published.map_err(|error| match error {
                PublishError::TooLarge { .. } => Over::Refused(CloseCode::Size, String::new()),
                error => {
                    tracing::warn!(%error, "a message of a WebSocket could not be published");
                    Over::Refused(CloseCode::Error, String::new())
                }
            })?;
        }
        Ok(())
    }
}

/// As much of a text as the frame of a close has room for (RFC 6455 §5.5).
fn close_reason(text: &str) -> String {
    const ROOM: usize = 123;
    text[..text.floor_char_boundary(ROOM)].to_owned()
}

/// Sends each message as a frame.
async fn deliver(socket: &mut Socket, batch: &Batch, metrics: &Metrics) -> Result<(), Error> {
    let mut start = 0;
    for frame in &batch.frames {
        let message = batch.bytes.slice(start..frame.end);
        start = frame.end;
        // There is no word for a gap.
        if !message.is_empty() {
            socket.feed(text(message)).await?;
        }
    }
    socket.flush().await?;
    metrics::add(&metrics.websockets.deliveries, u64::from(batch.messages));
    Ok(())
}

/// A frame of text. What is no UTF-8 would end the connection, and is replaced.
fn text(bytes: Bytes) -> Message {
    let text = match std::str::from_utf8(&bytes) {
        Ok(_) => Utf8Bytes::try_from(bytes).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
    };
    Message::Text(text)
}

/// Waits for the client to close, so that what it was told last is not lost with what it still sends.
async fn farewell(socket: &mut Socket) -> Result<(), Error> {
    let socket = socket.get_mut().get_mut();
    let gone = async {
        socket.shutdown().await?;
        let mut rest = [0; 1 << 10];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // However it goes: all is said.
    let _ = timeout(FAREWELL, gone).await;
    Ok(())
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
