//! What publishers and dashboards are told of channels and of the server, in each of the formats that they may ask for.

mod json;
mod plain;
mod xml;
mod yaml;

pub(super) use json::quoted;

use fantail_hub::Millis;

/// A format, with the type under which it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain`
    Plain,
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/xml`
    Xml,
    /// `text/x-json`
    XJson,
    /// `text/x-yaml`
    XYaml,
}

/// A channel's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelInfo<'a> {
    /// Its id.
    pub channel: &'a str,
    /// Messages since it came into being.
    pub published: u64,
    /// Messages that it still has.
    pub stored: u64,
    /// Subscriptions to it.
    pub subscribers: u64,
}

/// The server's figures that stand before those of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The machine's name.
    pub hostname: &'a str,
    /// Now.
    pub time: Millis,
    /// Channels that are no wildcards.
    pub channels: u64,
    /// Channels that are.
    pub wildcard_channels: u64,
    /// For how many seconds the counters have counted.
    pub uptime: u64,
}

/// All of the server's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary<'a> {
    /// Those that also stand before channels.
    pub head: Head<'a>,
    /// Messages of all channels.
    pub published: u64,
    /// Messages that they still have.
    pub stored: u64,
    /// Messages whose memory is not yet given back.
    pub messages_in_trash: u64,
    /// Channels that are being deleted.
    pub channels_in_delete: u64,
    /// Channels whose memory is not yet given back.
    pub channels_in_trash: u64,
    /// Connections, however many channels each listens to.
    pub subscribers: u64,
    /// Those who share the work.
    pub workers: &'a [Worker],
}

/// One of those who share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// By which it is told from the others.
    pub pid: u64,
    /// Its connections.
    pub subscribers: u64,
    /// For how many seconds it has been there.
    pub uptime: u64,
}

impl Format {
    /// The format that an `Accept` field asks for: what follows a slash decides, from left to right, by its beginning alone.
    /// A quality does not matter, and JSON is what is sent where nothing fits. Case is not told apart, as in all media types.
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let known = [
            ("plain", Self::Plain),
            ("json", Self::Json),
            ("yaml", Self::Yaml),
            ("xml", Self::Xml),
            ("x-json", Self::XJson),
            ("x-yaml", Self::XYaml),
        ];
        let subtypes = accept.unwrap_or_default().split(|&byte| byte == b'/').skip(1);
        let asked = subtypes.into_iter().find_map(|subtype| {
            let begins =
                |name: &str| subtype.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name.as_bytes()));
            known.iter().find(|(name, _)| begins(name)).map(|(_, format)| *format)
        });
        asked.unwrap_or(Self::Json)
    }

    /// The answer's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain",
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Xml => "application/xml",
            Self::XJson => "text/x-json",
            Self::XYaml => "text/x-yaml",
        }
    }

    /// Channels: one that is alone is told for itself, several as a group behind the server's figures. Strictly ids stand as they
    /// are; otherwise they are escaped where the format would break.
    pub fn channels(self, head: &Head<'_>, channels: &[ChannelInfo<'_>], strict: bool) -> String {
        match channels {
            [channel] => self.single(channel, strict),
            _ => self.group(head, channels, strict),
        }
    }

    /// One channel.
    pub fn single(self, channel: &ChannelInfo<'_>, strict: bool) -> String {
        match self {
            Self::Plain => plain::single(channel),
            Self::Json | Self::XJson => json::single(channel, strict),
            Self::Yaml | Self::XYaml => yaml::single(channel, strict),
            Self::Xml => xml::single(channel, strict),
        }
    }

    /// Any number of channels as a group.
    pub fn group(self, head: &Head<'_>, channels: &[ChannelInfo<'_>], strict: bool) -> String {
        match self {
            Self::Plain => plain::group(head, channels),
            Self::Json | Self::XJson => json::group(head, channels, strict),
            Self::Yaml | Self::XYaml => yaml::group(head, channels, strict),
            Self::Xml => xml::group(head, channels, strict),
        }
    }

    /// The server as a whole.
    pub fn summary(self, summary: &Summary<'_>) -> String {
        match self {
            Self::Plain => plain::summary(summary),
            Self::Json | Self::XJson => json::summary(summary),
            Self::Yaml | Self::XYaml => yaml::summary(summary),
            Self::Xml => xml::summary(summary),
        }
    }
}

impl Head<'_> {
    /// Now, in UTC and without saying so.
    fn time(&self) -> String {
        let time = i64::try_from(self.time.0).ok().and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
        time.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S").to_string()
    }
}

impl Summary<'_> {
    /// The figures between the head's `wildcard_channels` and its `uptime`, by name.
    fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("published_messages", self.published),
            ("stored_messages", self.stored),
            ("messages_in_trash", self.messages_in_trash),
            ("channels_in_delete", self.channels_in_delete),
            ("channels_in_trash", self.channels_in_trash),
            ("subscribers", self.subscribers),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const HEAD: Head<'_> =
        Head { hostname: "vm", time: Millis(1_795_359_037_999), channels: 11, wildcard_channels: 0, uptime: 79 };
    pub(super) const SUMMARY: Summary<'_> = Summary {
        head: Head { uptime: 78, ..HEAD },
        published: 11,
        stored: 10,
        messages_in_trash: 1,
        channels_in_delete: 2,
        channels_in_trash: 3,
        subscribers: 4,
        workers: &[
            Worker { pid: 27792, subscribers: 0, uptime: 78 },
            Worker { pid: 27794, subscribers: 4, uptime: 77 },
        ],
    };

    pub(super) fn channel(channel: &str) -> ChannelInfo<'_> {
        ChannelInfo { channel, published: 3, stored: 2, subscribers: 1 }
    }

    #[test]
    fn format_is_the_first_that_fits_after_a_slash() {
        for (accept, format, content_type) in [
            ("text/plain", Format::Plain, "text/plain"),
            ("application/json", Format::Json, "application/json"),
            ("text/json", Format::Json, "application/json"),
            ("application/yaml", Format::Yaml, "application/yaml"),
            ("application/xml", Format::Xml, "application/xml"),
            ("text/x-json", Format::XJson, "text/x-json"),
            ("text/x-yaml", Format::XYaml, "text/x-yaml"),
            ("*/*", Format::Json, "application/json"),
            ("text/html", Format::Json, "application/json"),
            ("", Format::Json, "application/json"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Xml, "application/xml"),
            ("text/yaml;q=0.1, text/plain;q=1", Format::Yaml, "application/yaml"),
            ("a/plainest", Format::Plain, "text/plain"),
            ("a/PLAIN", Format::Plain, "text/plain"),
            ("plain", Format::Json, "application/json"),
        ] {
            let negotiated = Format::negotiate(Some(accept.as_bytes()));
            assert_eq!((negotiated, negotiated.content_type()), (format, content_type), "{accept}");
        }
        assert_eq!(Format::negotiate(None), Format::Json);
    }

    #[test]
    fn channels_are_single_when_alone() {
        let (one, two) = ([channel("a")], [channel("a"), channel("b")]);
        for format in [Format::Plain, Format::Json, Format::Yaml, Format::Xml, Format::XJson, Format::XYaml] {
            assert_eq!(format.channels(&HEAD, &one, true), format.single(&one[0], true));
            assert_eq!(format.channels(&HEAD, &two, true), format.group(&HEAD, &two, true));
        }
        assert_eq!(Format::XJson.summary(&SUMMARY), Format::Json.summary(&SUMMARY));
        assert_eq!(Format::XYaml.summary(&SUMMARY), Format::Yaml.summary(&SUMMARY));
    }
}
