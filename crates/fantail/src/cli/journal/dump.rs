//! `fantail journal dump`: the messages of a channel, for people or to be published again.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, bail};
use clap::Args;
use fantail_hub::journal::Seek;
use fantail_hub::tail::Entry;
use fantail_hub::{ChannelName, Kind, Offset};
use serde::Serialize;

use super::{Kept, time};
use crate::cli::output;
use crate::dialect::moment::since;
use crate::journal::disk::inspection::Inspection;

/// Bytes that are read at once.
const PAGE: usize = 256 << 10;

#[derive(Args)]
pub(super) struct DumpArgs {
    /// The channel
    channel: String,
    /// Begin with the messages since a duration ago, or an RFC 3339 time
    #[arg(long, value_name = "10m", group = "start")]
    since: Option<String>,
    /// Begin with the last N messages
    #[arg(long, value_name = "N", group = "start")]
    last: Option<usize>,
    /// Print lines that can be published again with POST /pub
    #[arg(long)]
    json: bool,
}

/// A message as `POST /pub` takes it.
#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    data: &'a str,
}

pub(super) fn run(directory: &Path, args: &DumpArgs, kept: &Kept) -> anyhow::Result<()> {
    let name = ChannelName::parse(&args.channel).with_context(|| format!("channel {:?}", args.channel))?;
    let name = name.as_str();
    let seek = match (&args.since, args.last) {
        (Some(text), _) => {
            let expected = "expected a duration such as 10m, or an RFC 3339 time";
            Seek::Time(since(text, kept.now).with_context(|| format!("--since {text:?} is no moment, {expected}"))?)
        }
        (None, Some(last)) => Seek::Last(last),
        (None, None) => Seek::Oldest,
    };
    let (limits, now) = (kept.limits(name), kept.now);
    let mut inspection = Inspection::open(directory)?;
    let until = inspection.head(name, limits, now)?.last;
    if until == Offset(0) {
        bail!("there is no channel {name:?} in {}", directory.display());
    }
    let mut next = inspection.find(name, seek, limits, now)?.unwrap_or(until.0 + 1);
    let mut out = BufWriter::new(io::stdout());
    while next <= until.0 {
        let page = inspection.page(name, next, PAGE, (limits, now), until)?;
        if let Some(lost) = page.lost {
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(io::stderr(), "gap: messages up to offset {lost} may be lost");
        }
        for entry in &page.entries {
            output(if args.json { print_json(name, entry, &mut out) } else { print(entry, &mut out) })?;
        }
        next = page.until.0 + 1;
    }
    output(out.flush())
}

/// A line that says when and what, and below it the data.
fn print(Entry { offset, message, .. }: &Entry, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{}  {offset}", time(message.time()))?;
    if message.kind() != Kind::Data {
        write!(out, "  end")?;
    }
    if let Some(event) = message.event() {
        write!(out, "  event={}", visible(event))?;
    }
    if let Some(id) = message.id() {
        write!(out, "  id={}", visible(id))?;
    }
    writeln!(out)?;
    for line in message.data().split('\n') {
        writeln!(out, "    {}", visible(line))?;
    }
    Ok(())
}

/// The text without what a terminal might obey.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn print_json(channel: &str, Entry { message, .. }: &Entry, out: &mut impl Write) -> io::Result<()> {
    if message.kind() != Kind::Data {
        let _ = writeln!(io::stderr(), "end: {}", visible(message.data()));
        return Ok(());
    }
    let line = Line { channel, event: message.event(), id: message.id(), data: message.data() };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fantail_hub::{Message, Millis};

    use super::*;

    fn entry(kind: Kind, data: &str) -> Entry {
        let message = Message::kept(Millis(1500), kind, data, Some("price"), Some("7"));
        Entry { offset: Offset(42), number: 42, message: Arc::new(message) }
    }

    #[test]
    fn message_for_people_is_indented_and_obeys_no_escapes() {
        let mut out = Vec::new();
        print(&entry(Kind::Data, "one\ntwo\u{1b}[2J"), &mut out).unwrap();
        let expected = "1970-01-01T00:00:01.500Z  42  event=price  id=7\n    one\n    two\\u{1b}[2J\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn message_as_json_is_what_a_batch_takes_and_ends_are_left_out() {
        let mut out = Vec::new();
        print_json("a", &entry(Kind::Data, "one\ntwo"), &mut out).unwrap();
        print_json("a", &entry(Kind::End, ""), &mut out).unwrap();
        let expected = r#"{"channel":"a","event":"price","id":"7","data":"one\ntwo"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}
