//! As YAML: indented for one channel and for the server, with a plain head for a group.

use std::fmt::Write as _;

use super::{ChannelInfo, Head, Summary, Worker};

pub(super) fn single(channel: &ChannelInfo<'_>, strict: bool) -> String {
    fields(channel, strict)
}

pub(super) fn group(head: &Head<'_>, channels: &[ChannelInfo<'_>], strict: bool) -> String {
    let Head { hostname, channels: count, wildcard_channels, uptime, .. } = head;
    let mut out = format!(
        "hostname: {hostname}\r\ntime: {}\r\nchannels: {count}\r\nwildcard_channels: {wildcard_channels}\r\nuptime: {uptime}\r\ninfos: \r\n",
        head.time()
    );
    for channel in channels {
        out.push_str(" -\r\n");
        out.push_str(&fields(channel, strict));
    }
    out
}

pub(super) fn summary(summary: &Summary<'_>) -> String {
    let Head { hostname, channels, wildcard_channels, uptime, .. } = summary.head;
    let mut out = format!(
        "  hostname: {hostname}\r\n  time: {}\r\n  channels: {channels}\r\n  wildcard_channels: {wildcard_channels}\r\n",
        summary.head.time()
    );
    // Writing to a String cannot fail.
    for (name, figure) in summary.figures() {
        let _ = write!(out, "  {name}: {figure}\r\n");
    }
    let _ = write!(out, "  uptime: {uptime}\r\n  by_worker:\r\n");
    for Worker { pid, subscribers, uptime } in summary.workers {
        let _ = write!(out, "   -\r\n    pid: {pid}\r\n    subscribers: {subscribers}\r\n    uptime: {uptime}\r\n");
    }
    out
}

fn fields(channel: &ChannelInfo<'_>, strict: bool) -> String {
    let ChannelInfo { channel, published, stored, subscribers } = channel;
    let channel = scalar(channel, strict);
    format!(
        "  channel: {channel}\r\n  published_messages: {published}\r\n  stored_messages: {stored}\r\n  subscribers: {subscribers}\r\n"
    )
}

/// An id in quotes, unless strict, where YAML would read something else without them.
fn scalar(id: &str, strict: bool) -> String {
    let indicator = |c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c);
    let breaks = id.starts_with(indicator) || id.ends_with([' ', ':']) || id.contains(": ") || id.contains(" #");
    if strict || !breaks { id.to_owned() } else { super::quoted(id, false) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEAD, SUMMARY, channel};
    use super::*;

    const TK: &str = "  channel: tk\r\n  published_messages: 3\r\n  stored_messages: 2\r\n  subscribers: 1\r\n";

    #[test]
    fn yaml_of_a_channel_is_indented() {
        assert_eq!((single(&channel("tk"), true), single(&channel("tk"), false)), (TK.to_owned(), TK.to_owned()));
    }

    #[test]
    fn yaml_of_a_group_has_a_dash_for_each_channel() {
        let head = "hostname: vm\r\ntime: 2026-11-22T14:50:37\r\nchannels: 11\r\nwildcard_channels: 0\r\nuptime: 79\r\ninfos: \r\n";
        let expected = format!("{head} -\r\n{TK} -\r\n{}", TK.replace("tk", "ee"));
        assert_eq!(group(&HEAD, &[channel("tk"), channel("ee")], true), expected);
        assert_eq!(group(&HEAD, &[], true), head);
    }

    #[test]
    fn yaml_of_the_server_is_indented() {
        let expected = "  hostname: vm\r\n  time: 2026-11-22T14:50:37\r\n  channels: 11\r\n  wildcard_channels: 0\r\n  \
                        published_messages: 11\r\n  stored_messages: 10\r\n  messages_in_trash: 1\r\n  \
                        channels_in_delete: 2\r\n  channels_in_trash: 3\r\n  subscribers: 4\r\n  uptime: 78\r\n  by_worker:\r\n   \
                        -\r\n    pid: 27792\r\n    subscribers: 0\r\n    uptime: 78\r\n   \
                        -\r\n    pid: 27794\r\n    subscribers: 4\r\n    uptime: 77\r\n";
        assert_eq!(summary(&SUMMARY), expected);
    }

    #[test]
    fn yaml_quotes_ids_that_it_would_misread_unless_strict() {
        for (id, quoted) in [
            ("a", "a"),
            ("a:b#c d", "a:b#c d"),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a:", "\"a:\""),
            (" a", "\" a\""),
            ("a ", "\"a \""),
            ("\"q", "\"\\\"q\""),
            ("@x", "\"@x\""),
        ] {
            assert!(single(&channel(id), true).starts_with(&format!("  channel: {id}\r\n")));
            assert!(single(&channel(id), false).starts_with(&format!("  channel: {quoted}\r\n")), "{id}");
        }
    }
}
