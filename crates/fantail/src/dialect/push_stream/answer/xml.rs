//! As XML. The names of the elements are the module's. So is the indentation of a single channel; that of the others goes on from
//! it, for blanks between elements say nothing.

use std::fmt::{Display, Write as _};

use super::{ChannelInfo, Head, Summary, Worker};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n";

pub(super) fn single(channel: &ChannelInfo<'_>, strict: bool) -> String {
    let mut out = DECLARATION.to_owned();
    write_channel(&mut out, "", channel, strict);
    // The module ends this one with a blank line.
    out.push_str("\r\n");
    out
}

pub(super) fn group(head: &Head<'_>, channels: &[ChannelInfo<'_>], strict: bool) -> String {
    let mut out = format!("{DECLARATION}<root>\r\n");
    write_head(&mut out, head);
    element(&mut out, "  ", "uptime", head.uptime);
    out.push_str("  <infos>\r\n");
    for channel in channels {
        write_channel(&mut out, "    ", channel, strict);
    }
    out.push_str("  </infos>\r\n</root>\r\n");
    out
}

pub(super) fn summary(summary: &Summary<'_>) -> String {
    let mut out = format!("{DECLARATION}<infos>\r\n");
    write_head(&mut out, &summary.head);
    for (name, figure) in summary.figures() {
        element(&mut out, "  ", name, figure);
    }
    element(&mut out, "  ", "uptime", summary.head.uptime);
    out.push_str("  <by_worker>\r\n");
    for Worker { pid, subscribers, uptime } in summary.workers {
        out.push_str("    <worker>\r\n");
        element(&mut out, "      ", "pid", pid);
        element(&mut out, "      ", "subscribers", subscribers);
        element(&mut out, "      ", "uptime", uptime);
        out.push_str("    </worker>\r\n");
    }
    out.push_str("  </by_worker>\r\n</infos>\r\n");
    out
}

fn write_head(out: &mut String, head: &Head<'_>) {
    element(out, "  ", "hostname", escaped(head.hostname));
    element(out, "  ", "time", head.time());
    element(out, "  ", "channels", head.channels);
    element(out, "  ", "wildcard_channels", head.wildcard_channels);
}

fn write_channel(out: &mut String, indent: &str, channel: &ChannelInfo<'_>, strict: bool) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{indent}<channel>\r\n");
    let inner = format!("{indent}  ");
    let name = if strict { channel.channel.to_owned() } else { escaped(channel.channel) };
    element(out, &inner, "name", name);
    element(out, &inner, "published_messages", channel.published);
    element(out, &inner, "stored_messages", channel.stored);
    element(out, &inner, "subscribers", channel.subscribers);
    let _ = write!(out, "{indent}</channel>\r\n");
}

fn element(out: &mut String, indent: &str, name: &str, value: impl Display) {
    let _ = write!(out, "{indent}<{name}>{value}</{name}>\r\n");
}

/// Channels' names hold no control characters, which XML could not say at all.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEAD, SUMMARY, channel};
    use super::*;

    /// With CRLF for the line ends of `text`.
    fn crlf(text: &str) -> String {
        text.replace('\n', "\r\n")
    }

    #[test]
    fn xml_of_a_channel_ends_with_a_blank_line() {
        let one = ChannelInfo { channel: "tk", published: 1, stored: 1, subscribers: 0 };
        let expected = crlf(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<channel>\n  <name>tk</name>\n  <published_messages>1</published_messages>\n  \
             <stored_messages>1</stored_messages>\n  <subscribers>0</subscribers>\n</channel>\n\n",
        );
        assert_eq!((single(&one, true), single(&one, false)), (expected.clone(), expected));
    }

    #[test]
    fn xml_escapes_ids_unless_strict() {
        let one = channel("<a&b>");
        assert!(single(&one, true).contains("<name><a&b></name>"));
        assert!(single(&one, false).contains("<name>&lt;a&amp;b&gt;</name>"));
    }

    #[test]
    fn xml_of_a_group_has_an_element_for_each_channel() {
        let one = |id: &str| {
            format!(
                "    <channel>\n      <name>{id}</name>\n      <published_messages>3</published_messages>\n      \
                 <stored_messages>2</stored_messages>\n      <subscribers>1</subscribers>\n    </channel>\n"
            )
        };
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<root>\n  <hostname>vm</hostname>\n  <time>2026-11-22T14:50:37</time>\n  \
                    <channels>11</channels>\n  <wildcard_channels>0</wildcard_channels>\n  <uptime>79</uptime>\n  <infos>\n";
        let expected = format!("{head}{}{}  </infos>\n</root>\n", one("tk"), one("ee"));
        assert_eq!(group(&HEAD, &[channel("tk"), channel("ee")], true), crlf(&expected));
        assert_eq!(group(&HEAD, &[], true), crlf(&format!("{head}  </infos>\n</root>\n")));
    }

    #[test]
    fn xml_of_the_server_has_an_element_for_each_worker() {
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<infos>\n  <hostname>vm</hostname>\n  \
             <time>2026-11-22T14:50:37</time>\n  <channels>11</channels>\n  <wildcard_channels>0</wildcard_channels>\n  \
             <published_messages>11</published_messages>\n  <stored_messages>10</stored_messages>\n  \
             <messages_in_trash>1</messages_in_trash>\n  <channels_in_delete>2</channels_in_delete>\n  \
             <channels_in_trash>3</channels_in_trash>\n  <subscribers>4</subscribers>\n  <uptime>78</uptime>\n  <by_worker>\n    \
             <worker>\n      <pid>27792</pid>\n      <subscribers>0</subscribers>\n      <uptime>78</uptime>\n    </worker>\n    \
             <worker>\n      <pid>27794</pid>\n      <subscribers>4</subscribers>\n      <uptime>77</uptime>\n    </worker>\n  \
             </by_worker>\n</infos>\n";
        assert_eq!(summary(&SUMMARY), crlf(expected));
    }
}
