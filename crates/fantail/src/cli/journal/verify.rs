//! `fantail journal verify`: reads everything and says what is damaged.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::bail;

use crate::cli::output;
use crate::journal::disk::inspection::audit::{Finding, audit};

/// What was read so far.
#[derive(Default)]
struct Tally {
    messages: u64,
    damage: u64,
}

/// Fails if anything is damaged.
pub(super) fn run(directory: &Path) -> anyhow::Result<()> {
    let mut out = io::stdout();
    let (mut tally, mut printed) = (Tally::default(), Ok(()));
    audit(directory, |finding| {
        if printed.is_ok() {
            printed = tally.print(&finding, &mut out);
        }
    })?;
    output(printed)?;
    let Tally { messages, damage } = tally;
    if damage > 0 {
        let places = if damage == 1 { "place" } else { "places" };
        bail!("{} is damaged in {damage} {places}; what is whole is served all the same", directory.display());
    }
    output(writeln!(out, "{messages} messages in all, no damage").and_then(|()| out.flush()))
}

impl Tally {
    fn print(&mut self, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
        match finding {
            Finding::Read { file, messages, bytes, sealed } => {
                self.messages += messages;
                let index = if *sealed { "" } else { ", no index in use" };
                writeln!(out, "{}: {messages} messages, {bytes} bytes{index}", file.display())
            }
            Finding::Damage { file, position, what } => {
                self.damage += 1;
                let at = position.map(|position| format!(" at byte {position}")).unwrap_or_default();
                writeln!(out, "DAMAGED {}{at}: {what}", file.display())
            }
            Finding::Known(hole) => {
                let (after, upto) = (hole.after, hole.upto);
                writeln!(
                    out,
                    "lost earlier: offsets above {after} up to {upto}; whoever resumes across them gets a gap"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fantail_hub::Offset;

    use super::*;
    use crate::journal::disk::index::Hole;

    #[test]
    fn findings_are_lines_with_file_and_place() {
        let mut tally = Tally::default();
        let mut out = Vec::new();
        for finding in [
            Finding::Read { file: "d/1.log".into(), messages: 7, bytes: 900, sealed: true },
            Finding::Read { file: "d/2.log".into(), messages: 2, bytes: 100, sealed: false },
            Finding::Damage { file: "d/2.log".into(), position: Some(99), what: "bad".to_owned() },
            Finding::Damage { file: "d/fence".into(), position: None, what: "gone".to_owned() },
            Finding::Known(Hole { after: Offset(3), upto: Offset(5) }),
        ] {
            tally.print(&finding, &mut out).unwrap();
        }
        let expected = "\
d/1.log: 7 messages, 900 bytes
d/2.log: 2 messages, 100 bytes, no index in use
DAMAGED d/2.log at byte 99: bad
DAMAGED d/fence: gone
lost earlier: offsets above 3 up to 5; whoever resumes across them gets a gap
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!((tally.messages, tally.damage), (9, 2));
    }
}
