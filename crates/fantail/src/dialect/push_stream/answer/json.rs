//! As JSON: numbers as numbers, but for a worker's `pid`; one line for each channel and worker.

use super::{ChannelInfo, Head, Summary, Worker};

pub(super) fn single(channel: &ChannelInfo<'_>, strict: bool) -> String {
    format!("{}\r\n", object(channel, strict))
}

pub(super) fn group(head: &Head<'_>, channels: &[ChannelInfo<'_>], strict: bool) -> String {
    let Head { channels: count, wildcard_channels, uptime, .. } = head;
    let infos = array(channels.iter().map(|channel| object(channel, strict)));
    format!(
        r#"{{{}, "channels": {count}, "wildcard_channels": {wildcard_channels}, "uptime": {uptime}, "infos": {infos}}}{CRLF}"#,
        begin(head)
    )
}

pub(super) fn summary(summary: &Summary<'_>) -> String {
    let head = &summary.head;
    let figures = summary.figures().map(|(name, figure)| format!(r#""{name}": {figure}, "#)).concat();
    let workers = array(summary.workers.iter().map(|Worker { pid, subscribers, uptime }| {
        format!(r#"{{"pid": "{pid}", "subscribers": {subscribers}, "uptime": {uptime}}}"#)
    }));
    format!(
        r#"{{{}, "channels": {}, "wildcard_channels": {}, {figures}"uptime": {}, "by_worker": {workers}}}{CRLF}"#,
        begin(head),
        head.channels,
        head.wildcard_channels,
        head.uptime,
    )
}

/// A string, strictly without escapes.
pub(in super::super) fn quoted(text: &str, strict: bool) -> String {
    if strict { format!("\"{text}\"") } else { serde_json::Value::from(text).to_string() }
}

const CRLF: &str = "\r\n";

fn begin(head: &Head<'_>) -> String {
    format!(r#""hostname": "{}", "time": "{}""#, head.hostname, head.time())
}

fn object(channel: &ChannelInfo<'_>, strict: bool) -> String {
    let ChannelInfo { channel, published, stored, subscribers } = channel;
    let channel = quoted(channel, strict);
    format!(
        r#"{{"channel": {channel}, "published_messages": {published}, "stored_messages": {stored}, "subscribers": {subscribers}}}"#
    )
}

fn array(elements: impl Iterator<Item = String>) -> String {
    let lines = elements.collect::<Vec<_>>().join(",\r\n");
    let end = if lines.is_empty() { "" } else { CRLF };
    format!("[\r\n{lines}{end}]")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEAD, SUMMARY, channel};
    use super::*;

    #[test]
    fn json_of_a_channel_is_one_line() {
        let one = ChannelInfo { channel: "ch1", published: 1, stored: 1, subscribers: 0 };
        let expected =
            "{\"channel\": \"ch1\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n";
        assert_eq!((single(&one, true), single(&one, false)), (expected.to_owned(), expected.to_owned()));
    }

    #[test]
    fn json_escapes_ids_unless_strict() {
        let one = ChannelInfo { channel: "\"q\\", published: 1, stored: 1, subscribers: 0 };
        assert!(single(&one, true).starts_with("{\"channel\": \"\"q\\\", "));
        let value: serde_json::Value = serde_json::from_str(&single(&one, false)).unwrap();
        assert_eq!(value["channel"], "\"q\\");
    }

    #[test]
    fn json_of_a_group_has_a_line_for_each_channel() {
        let head = "{\"hostname\": \"vm\", \"time\": \"2026-11-22T14:50:37\", \"channels\": 11, \"wildcard_channels\": 0, \
                    \"uptime\": 79, \"infos\": [\r\n";
        let line = |id: &str| {
            format!("{{\"channel\": \"{id}\", \"published_messages\": 3, \"stored_messages\": 2, \"subscribers\": 1}}")
        };
        let expected = format!("{head}{},\r\n{}\r\n]}}\r\n", line("tk"), line("ee"));
        assert_eq!(group(&HEAD, &[channel("tk"), channel("ee")], true), expected);
        assert_eq!(group(&HEAD, &[], true), format!("{head}]}}\r\n"));
    }

    #[test]
    fn json_of_the_server_has_a_line_for_each_worker() {
        let expected = "{\"hostname\": \"vm\", \"time\": \"2026-11-22T14:50:37\", \"channels\": 11, \"wildcard_channels\": 0, \
                        \"published_messages\": 11, \"stored_messages\": 10, \"messages_in_trash\": 1, \
                        \"channels_in_delete\": 2, \"channels_in_trash\": 3, \"subscribers\": 4, \"uptime\": 78, \
                        \"by_worker\": [\r\n{\"pid\": \"27792\", \"subscribers\": 0, \"uptime\": 78},\r\n\
                        {\"pid\": \"27794\", \"subscribers\": 4, \"uptime\": 77}\r\n]}\r\n";
        assert_eq!(summary(&SUMMARY), expected);
        let value: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(value["by_worker"][1]["pid"], "27794");
    }
}
