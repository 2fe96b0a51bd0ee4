//! `fantail journal list`: the channels of a data directory.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use clap::Args;
use serde::Serialize;

use super::{Kept, time};
use crate::cli::output;
use crate::journal::disk::inspection::{Inspection, Listed};

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only channels whose names begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print every channel as a JSON object
    #[arg(long)]
    json: bool,
}

/// A channel as JSON. Offsets may exceed what JavaScript can count, so they are strings.
#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    messages: u64,
    bytes: u64,
    oldest: String,
    newest: String,
    offset: String,
    floor: String,
    ended: bool,
}

pub(super) fn run(directory: &Path, args: &ListArgs, kept: &Kept) -> anyhow::Result<()> {
    let mut inspection = Inspection::open(directory)?;
    let channels = inspection.channels(&args.prefix, |name| kept.limits(name), kept.now)?;
    let mut out = BufWriter::new(io::stdout());
    output(print(&channels, args.json, &mut out).and_then(|()| out.flush()))
}

fn print(channels: &[Listed], json: bool, out: &mut impl Write) -> io::Result<()> {
    if !json {
        // The name comes last, for it is as long as it likes.
        writeln!(out, "{:>9} {:>12}  {:24}  {:24}  {:>9}  channel", "messages", "bytes", "oldest", "newest", "floor")?;
    }
    for Listed { name, head, oldest, newest } in channels {
        let (messages, bytes, floor) = (head.messages, head.bytes, head.floor.to_string());
        let (oldest, newest, ended) = (time(*oldest), time(*newest), head.newest.ends());
        if json {
            let offset = head.last.to_string();
            let line = Line { channel: name, messages, bytes, oldest, newest, offset, floor, ended };
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
        } else {
            let ended = if ended { "  (ended)" } else { "" };
            writeln!(out, "{messages:>9} {bytes:>12}  {oldest:24}  {newest:24}  {floor:>9}  {name}{ended}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fantail_hub::journal::Head;
    use fantail_hub::{Kind, Millis, Offset};

    use super::*;

    fn printed(json: bool) -> String {
        let head = Head { last: Offset(7), floor: Offset(3), newest: Kind::End, messages: 4, bytes: 5000 };
        let listed = Listed { name: "a \"b\"".into(), head, oldest: Millis(0), newest: Millis(1500) };
        let mut out = Vec::new();
        print(&[listed], json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn channel_as_a_line_stands_below_the_titles() {
        let expected = " messages        bytes  oldest                    newest                        floor  channel
        4         5000  1970-01-01T00:00:00.000Z  1970-01-01T00:00:01.500Z          3  a \"b\"  (ended)
";
        assert_eq!(printed(false), expected);
    }

    #[test]
    fn channel_as_json_has_offsets_as_strings() {
        let expected = r#"{"channel":"a \"b\"","messages":4,"bytes":5000,"oldest":"1970-01-01T00:00:00.000Z","newest":"1970-01-01T00:00:01.500Z","offset":"7","floor":"3","ended":true}"#;
        assert_eq!(printed(true), format!("{expected}\n"));
    }
}
