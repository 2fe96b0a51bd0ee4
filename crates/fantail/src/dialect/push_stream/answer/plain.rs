//! As plain text: a name and a value on each line. Nothing is escaped: a channel's name holds no line break.

use std::fmt::Write as _;

use super::{ChannelInfo, Head, Summary, Worker};

pub(super) fn single(channel: &ChannelInfo<'_>) -> String {
    format!("{}\r\n", fields(channel))
}

pub(super) fn group(head: &Head<'_>, channels: &[ChannelInfo<'_>]) -> String {
    let Head { hostname, channels: count, wildcard_channels, uptime, .. } = head;
    let blocks = channels.iter().map(fields).collect::<Vec<_>>().join(",\r\n");
    let end = if blocks.is_empty() { "" } else { "\r\n" };
    format!(
        "hostname: {hostname}, time: {}, channels: {count}, wildcard_channels: {wildcard_channels}, uptime: {uptime}, infos: \r\n\
         {blocks}{end}",
        head.time()
    )
}

pub(super) fn summary(summary: &Summary<'_>) -> String {
    let Head { hostname, channels, wildcard_channels, uptime, .. } = summary.head;
    let mut out = format!(
        "hostname: {hostname}\r\ntime: {}\r\nchannels: {channels}\r\nwildcard_channels: {wildcard_channels}\r\n",
        summary.head.time()
    );
    // Writing to a String cannot fail.
    for (name, figure) in summary.figures() {
        let _ = write!(out, "{name}: {figure}\r\n");
    }
    let workers = summary.workers.iter().map(|Worker { pid, subscribers, uptime }| {
        format!("  pid: {pid}\r\n  subscribers: {subscribers}\r\n  uptime: {uptime}")
    });
    let _ = write!(out, "uptime: {uptime}\r\nby_worker:\r\n{}\r\n", workers.collect::<Vec<_>>().join(",\r\n"));
    out
}

/// Its lines, the last without its end.
fn fields(channel: &ChannelInfo<'_>) -> String {
    let ChannelInfo { channel, published, stored, subscribers } = channel;
    format!(
        "channel: {channel}\r\npublished_messages: {published}\r\nstored_messages: {stored}\r\nactive_subscribers: {subscribers}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEAD, SUMMARY, channel};
    use super::*;

    const TK: &str = "channel: tk\r\npublished_messages: 3\r\nstored_messages: 2\r\nactive_subscribers: 1";

    #[test]
    fn plain_of_a_channel_has_active_subscribers() {
        assert_eq!(single(&channel("tk")), format!("{TK}\r\n"));
    }

    #[test]
    fn plain_of_a_group_has_blocks_with_commas_between() {
        let head =
            "hostname: vm, time: 2026-11-22T14:50:37, channels: 11, wildcard_channels: 0, uptime: 79, infos: \r\n";
        let expected = format!("{head}{TK},\r\n{}\r\n", TK.replace("tk", "ee"));
        assert_eq!(group(&HEAD, &[channel("tk"), channel("ee")]), expected);
        assert_eq!(group(&HEAD, &[]), head);
    }

    #[test]
    fn plain_of_the_server_has_workers_with_commas_between() {
        let expected = "hostname: vm\r\ntime: 2026-11-22T14:50:37\r\nchannels: 11\r\nwildcard_channels: 0\r\n\
                        published_messages: 11\r\nstored_messages: 10\r\nmessages_in_trash: 1\r\nchannels_in_delete: 2\r\n\
                        channels_in_trash: 3\r\nsubscribers: 4\r\nuptime: 78\r\nby_worker:\r\n  pid: 27792\r\n  \
                        subscribers: 0\r\n  uptime: 78,\r\n  pid: 27794\r\n  subscribers: 4\r\n  uptime: 77\r\n";
        assert_eq!(summary(&SUMMARY), expected);
    }
}
