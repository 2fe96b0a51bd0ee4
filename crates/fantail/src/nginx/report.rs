//! What became of each directive: carried over, another thing now, or left out. Every directive stands in it exactly once.

use std::fmt::{self, Write as _};

use super::known::{Fate, find};
use super::tree::{Block, Directive, Spot, Tree};

/// The longest text of a directive that is shown, in characters.
const LONGEST: usize = 96;

/// Words in the name of a field or a variable that tell of a secret in its value.
const TELLING: [&str; 7] = ["authorization", "cookie", "key", "token", "secret", "password", "credential"];

/// What became of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It means the same in Fantail.
    Carried,
    /// Something else stands in its place.
    Changed,
    /// Nothing stands in its place.
    LeftOut,
}

/// A directive, and what became of it.
#[derive(Debug)]
pub struct Entry {
    /// Where it stands.
    pub spot: Spot,
    /// As it was written; values that may be secrets are shown as `***`.
    pub text: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Where it went, or why not.
    pub notes: Vec<String>,
}

/// What became of a configuration, in the order of its directives.
#[derive(Debug)]
pub struct Report {
    /// An entry for each directive.
    pub entries: Vec<Entry>,
}

impl Report {
    /// How many directives became that.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.entries.iter().filter(|entry| entry.verdict == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (Verdict::Carried, "Carried over"),
            (Verdict::Changed, "Means something else now"),
            (Verdict::LeftOut, "Left out"),
        ];
        for (verdict, title) in parts {
            let count = self.count(verdict);
            if count == 0 {
                continue;
            }
            writeln!(f, "{title}: {count}")?;
            for entry in self.entries.iter().filter(|entry| entry.verdict == verdict) {
                write!(f, "  {}: {}", entry.spot, entry.text)?;
                for (index, note) in entry.notes.iter().enumerate() {
                    write!(f, "{}{note}", if index == 0 { "\n      " } else { "; " })?;
                }
                writeln!(f)?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "{} directives: {} carried over, {} mean something else now, {} left out.",
            self.entries.len(),
            self.count(Verdict::Carried),
            self.count(Verdict::Changed),
            self.count(Verdict::LeftOut)
        )
    }
}

/// The report while it is made.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By the directives' ids.
    verdicts: Vec<Option<(Verdict, Vec<String>)>>,
}

impl Ledger {
    pub(super) fn new(tree: &Tree) -> Self {
        Self { verdicts: (0..tree.count).map(|_| None).collect() }
    }

    pub(super) fn carried(&mut self, directive: &Directive, note: impl Into<String>) {
        self.note(directive, Verdict::Carried, note.into());
    }

    pub(super) fn changed(&mut self, directive: &Directive, note: impl Into<String>) {
        self.note(directive, Verdict::Changed, note.into());
    }

    pub(super) fn left(&mut self, directive: &Directive, note: impl Into<String>) {
        self.note(directive, Verdict::LeftOut, note.into());
    }

    /// Leaves out a directive and all in its block; what says itself why it cannot be carried over keeps its own reason.
    pub(super) fn leave(&mut self, directive: &Directive, note: &str) {
        self.left(directive, note);
        for child in directive.children() {
            child.each(&mut |inner| self.belongs(inner, directive));
        }
    }

    /// Leaves out a location, but not those within.
    pub(super) fn leave_own(&mut self, location: &Directive, note: &str) {
        self.left(location, note);
        for child in location.children().iter().filter(|child| child.name != "location") {
            child.each(&mut |inner| self.belongs(inner, location));
        }
    }

    fn belongs(&mut self, inner: &Directive, directive: &Directive) {
        let has_reason = matches!(find(&inner.name).map(|known| known.fate), Some(Fate::Left(_)));
        if self.is_open(inner) && !has_reason {
            self.left(inner, format!("belongs to what is left out in {}", directive.spot));
        }
    }

    /// Says of each `set` that its value stands where it is used.
    pub(super) fn put_in(&mut self, used: &[&Directive]) {
        for set in used {
            self.carried(set, "put in where it is used");
        }
    }

    pub(super) fn is_left(&self, directive: &Directive) -> bool {
        matches!(self.verdicts[directive.id], Some((Verdict::LeftOut, _)))
    }

    /// Whether nothing was said of it yet.
    pub(super) fn is_open(&self, directive: &Directive) -> bool {
        self.verdicts[directive.id].is_none()
    }

    /// A directive may affect several routes: the worst that became of it counts, and all notes are kept.
    fn note(&mut self, directive: &Directive, verdict: Verdict, note: String) {
        let (kept, notes) = self.verdicts[directive.id].get_or_insert_with(|| (verdict, Vec::new()));
        *kept = (*kept).max(verdict);
        if !note.is_empty() && !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// The report; what no mapping has taken up is what [`super::known`] says of it.
    pub(super) fn finish(mut self, tree: &Tree) -> Report {
        let mut entries: Vec<Entry> = Vec::new();
        for top in &tree.top {
            top.each(&mut |directive| {
                let (verdict, notes) = self.verdicts[directive.id].take().unwrap_or_else(|| fate(directive));
                entries.push(Entry { spot: directive.spot.clone(), text: shown(directive), verdict, notes });
            });
        }
        Report { entries }
    }
}

fn fate(directive: &Directive) -> (Verdict, Vec<String>) {
    let (verdict, note) = match find(&directive.name).map(|known| known.fate) {
        Some(Fate::Mapped) => (Verdict::Carried, "affects nothing that Fantail does"),
        Some(Fate::Same(note)) => (Verdict::Carried, note),
        Some(Fate::Other(note)) => (Verdict::Changed, note),
        // Of this one, `off` lets through what Fantail refuses.
        Some(Fate::Left(_)) if directive.args == ["off"] && directive.name != "ignore_invalid_headers" => {
            (Verdict::Carried, "is off, as it is without being told")
        }
        Some(Fate::Left(note)) => (Verdict::LeftOut, note),
        None if directive.name.starts_with("nchan_redis_") => {
            (Verdict::LeftOut, "messages are kept by Fantail itself, not by Redis")
        }
        None => (Verdict::LeftOut, "is not known to Fantail"),
    };
    (verdict, vec![note.to_owned()])
}

/// The directive on one line.
fn shown(directive: &Directive) -> String {
    let mut text = directive.name.clone();
    // SECURITY: reports are mailed around; what may be a secret stays in the files.
    let all_secret = ["password", "secret", "redis_url"].iter().any(|word| directive.name.contains(word));
    let telling = directive.args.len() > 1 && {
        let first = directive.args[0].to_ascii_lowercase();
        TELLING.iter().any(|word| first.contains(word))
    };
    for (index, arg) in directive.args.iter().enumerate() {
        let secret = all_secret || (telling && index > 0 && !arg.starts_with('$')) || has_user(arg);
        text.push(' ');
        if secret {
            text.push_str("***");
        } else if arg.is_empty() || arg.contains(|c: char| c.is_whitespace() || c.is_control() || "\"';{}".contains(c))
        {
            let _ = write!(text, "{arg:?}");
        } else {
            text.push_str(arg);
        }
    }
    if let Some(Block::Table(lines)) = directive.block {
        let _ = write!(text, " {{ {lines} {} }}", if lines == 1 { "line" } else { "lines" });
    }
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST).chain(std::iter::once('…')).collect();
    }
    text
}

/// Whether it is a URL with a user, and so perhaps with a password.
fn has_user(arg: &str) -> bool {
    arg.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn report_shows_each_directive_once_and_no_secrets() {
        let tree = tree(
            "proxy_set_header Authorization 'Basic x'; proxy_pass http://a:b@c/; set $a 'b c'; weird { gzip on; }",
        );
        let mut ledger = Ledger::new(&tree);
        ledger.carried(&tree.top[2], "a");
        ledger.changed(&tree.top[2], "b");
        ledger.changed(&tree.top[2], "b");
        let report = ledger.finish(&tree);
        let shown: Vec<_> = report.entries.iter().map(|entry| (entry.text.as_str(), entry.verdict)).collect();
        assert_eq!(
            shown,
            [
                ("proxy_set_header Authorization ***", Verdict::Carried),
                ("proxy_pass ***", Verdict::Carried),
                ("set $a \"b c\"", Verdict::Changed),
                ("weird", Verdict::LeftOut),
                ("gzip on", Verdict::Changed),
            ]
        );
        let text = report.to_string();
        assert!(text.contains("  nginx.conf:1: set $a \"b c\"\n      a; b\n"), "{text}");
        assert!(text.ends_with("5 directives: 2 carried over, 2 mean something else now, 1 left out.\n"), "{text}");
    }

    #[test]
    fn report_leaves_a_block_out_as_a_whole() {
        let tree = tree("location / { root /a; gzip on; }");
        let mut ledger = Ledger::new(&tree);
        ledger.leave(&tree.top[0], "no");
        let notes: Vec<_> = ledger.finish(&tree).entries.into_iter().map(|entry| entry.notes.concat()).collect();
        assert_eq!(
            notes,
            [
                "no",
                "Fantail serves no files; a server for them can stand behind it",
                "belongs to what is left out in nginx.conf:1"
            ]
        );
    }
}
