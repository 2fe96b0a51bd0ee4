//! How a route's connections behave, in shards and out of them. Those of one kind share a style, and so what is rendered for them.

use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::Profile;
use parking_lot::Mutex;

use super::site::Site;
use crate::config::{self, Least, Padding, Route};
use crate::dialect::native::GapStyle;
use crate::dialect::push_stream::{Entry, Look, event_source, jsonp, pad};
use crate::fanout::{AtStop, Style};

/// The styles of one route.
#[derive(Debug)]
pub(super) struct Styles {
    strict: bool,
    /// It is an event stream's route: what it says is framed as one whichever way it is asked for.
    events: bool,
    gap: GapStyle,
    header: Box<[u8]>,
    template: Box<str>,
    footer: Bytes,
    ping_text: Box<str>,
    /// The largest number in the padding of any route.
    most: usize,
    ping: Option<config::Span>,
    lifetime: Option<config::Span>,
    stream: config::Stream,
    /// Made when they are first needed. As many as there are kinds: a few for each rule of padding.
    made: Mutex<Vec<(Kind, Arc<Style>)>>,
}

/// All that makes connections of one route behave differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// A single answer.
    pub(super) polls: bool,
    /// A call of the page's function.
    pub(super) jsonp: bool,
    /// There is one channel.
    pub(super) alone: bool,
    /// What its client needs.
    pub(super) least: Option<Least>,
}

impl Styles {
    /// Those of a route that was checked.
    pub(super) fn new(site: &Site, config: &config::Config, route: &Route) -> Self {
        let strict = site.strict();
        let events = route.subscriber == Some(config::Subscriber::EventSource);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = route.header();
        let (header, footer) = if events {
            (event_source::opening(&text(header), strict), event_source::closing(&route.footer_template, strict))
        } else {
            (header.to_vec(), route.footer_template.clone().into_bytes())
        };
        Self {
            strict,
            events,
            gap: match config.stream.gap {
                config::Gap::Event => GapStyle::Event,
                config::Gap::Comment => GapStyle::Comment,
                config::Gap::Off => GapStyle::Off,
            },
            header: header.into(),
            template: route.message_template.as_str().into(),
            footer: footer.into(),
            ping_text: site.settings().ping_message_text.as_str().into(),
            most: config.route.iter().filter_map(padding).map(|padding| padding.largest()).max().unwrap_or(0),
            ping: route.ping_message_interval,
            lifetime: route.subscriber_connection_ttl,
            stream: config.stream.clone(),
            made: Mutex::default(),
        }
    }

    /// What is said first.
    pub(super) fn header(&self, least: Option<Least>) -> Vec<u8> {
        let mut out = self.header.to_vec();
        if let Some(least) = least.filter(|_| !out.is_empty()) {
            pad(&mut out, self.header.len(), least.header, self.most, self.look().filler());
        }
        out
    }

    /// What is said last.
    pub(super) fn footer(&self) -> &Bytes {
        &self.footer
    }

    /// What a poll that waited in vain is told where it is told anything.
    pub(super) fn timed_out(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.look().entry(&mut out, &Entry::timeout());
        out
    }

    /// Whether it is an event stream's route.
    pub(super) fn events(&self) -> bool {
        self.events
    }

    /// The style of a kind of connection.
    pub(super) fn of(&self, kind: Kind) -> Arc<Style> {
        let mut made = self.made.lock();
        if let Some((_, style)) = made.iter().find(|(known, _)| *known == kind) {
            return Arc::clone(style);
        }
        let style = Arc::new(self.make(kind));
        made.push((kind, Arc::clone(&style)));
        style
    }

    fn look(&self) -> Look {
        if self.events {
            Look::events(&self.template, self.gap, self.strict)
        } else {
            Look::plain(&self.template, self.strict)
        }
    }

    fn make(&self, kind: Kind) -> Style {
        let mut look = self.look();
        if kind.jsonp {
            look = look.separated(jsonp::BETWEEN);
        }
        if kind.alone {
            look = look.alone();
        } else if self.strict && !kind.polls {
            look = look.leaving();
        }
        if let Some(least) = kind.least {
            look = look.filled(least.message, self.most);
        }
        let ping_text = if self.events {
            Bytes::from_static(event_source::PING)
        } else {
            let mut text = Vec::new();
            look.entry(&mut text, &Entry::ping(&self.ping_text));
            text.into()
        };
        let span = |span: Option<config::Span>| span.map(config::Span::get);
        Style {
            profile: Arc::new(Profile::new(look)),
            ping: span(self.ping).unwrap_or_default(),
            // A gap has no place that a poll could go on from, and plain streams have no word for it.
            gap_has_id: false,
            ping_text,
            footer: self.footer.clone(),
            at_stop: if self.events && !self.strict { AtStop::ComesBack } else { AtStop::Ends },
            lifetime: span(self.lifetime).map(|lifetime| (lifetime, lifetime)),
            stall_limit: self.stream.stall_limit.get(),
            send_buffer: self.stream.send_buffer.bytes(),
            unsent_low: self.stream.unsent_low.bytes() as u32,
        }
    }
}

/// What a route does for clients that show nothing before some bytes have come; it was checked.
pub(super) fn padding(route: &Route) -> Option<Padding> {
    Padding::parse(route.padding_by_user_agent.as_deref()?).ok()
}
