//! The configuration as a tree of directives, each with its file and line: parsing, and the `include`s that are put in
//! where they stand. Whether a directive is known, and allowed where it is, is for [`super::check`].

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::files::Files;
use super::lexer::{Malformed, Piece, Token, tokens};

/// How deep blocks and includes may lie in one another; real ones lie less than ten deep.
const DEEPEST: usize = 64;
/// Most directives; a configuration that includes itself in circles must come to an end.
const MOST: usize = 200_000;

/// Blocks whose content is a table of values, not directives.
const TABLES: [&str; 7] = ["types", "map", "geo", "split_clients", "charset_map", "match", "otel_exporter"];

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file, from the main file's directory if it lies below.
    pub file: std::sync::Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A directive, with what its block holds if it has one.
#[derive(Debug)]
pub(super) struct Directive {
    /// Its number, in the order of reading; includes come before what they include.
    pub id: usize,
    /// What it is called.
    pub name: String,
    /// What follows, quotes and escapes resolved.
    pub args: Vec<String>,
    /// Where it stands.
    pub spot: Spot,
    /// What is in its block; tables of values are there as one directive without an id of their own for each line.
    pub block: Option<Block>,
}

/// What is between two braces.
#[derive(Debug)]
pub(super) enum Block {
    /// Directives.
    Directives(Vec<Directive>),
    /// So many lines of a table, such as those of `map`.
    Table(usize),
    /// Nothing: that of an `include` stands behind it. So many files were read.
    Files(usize),
}

impl Directive {
    /// The directives of its block; none if it has no block, or a table.
    pub(super) fn children(&self) -> &[Self] {
        match &self.block {
            Some(Block::Directives(directives)) => directives,
            _ => &[],
        }
    }

    /// Its first argument, or nothing.
    pub(super) fn first(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// Calls `visit` for it and all below.
    pub(super) fn each<'t>(&'t self, visit: &mut impl FnMut(&'t Self)) {
        visit(self);
        self.children().iter().for_each(|child| child.each(visit));
    }
}

/// A whole configuration.
#[derive(Debug)]
pub(super) struct Tree {
    /// The directives outside of every block.
    pub top: Vec<Directive>,
    /// How many there are in all.
    pub count: usize,
}

/// Reads the main file and all that it includes. `globals` are directives that stand before those of the file, as nginx takes
/// them from its command line.
pub(super) fn read(main: &Path, files: &Files, globals: &str) -> Result<Tree, ImportError> {
    let mut reader = Reader { files, count: 0, depth: 0 };
    let mut top = reader.text(globals.as_bytes(), &"-g".into(), Kind::Directives)?.directives;
    top.extend(reader.file(main, None, Kind::Directives)?.directives);
    Ok(Tree { top, count: reader.count })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Directives,
    Table,
}

/// What was read of a block so far.
#[derive(Default)]
struct Content {
    directives: Vec<Directive>,
    /// Lines of a table.
    table: usize,
}

struct Reader<'f> {
    files: &'f Files,
    count: usize,
    depth: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, by: Option<&Spot>, kind: Kind) -> Result<Content, ImportError> {
        let unreadable = |source| ImportError::Read { path: path.to_owned(), by: by.cloned(), source };
        let text = fs::read(path).map_err(unreadable)?;
        self.text(&text, &self.files.shown(path).into(), kind)
    }

    fn text(&mut self, text: &[u8], file: &std::sync::Arc<str>, kind: Kind) -> Result<Content, ImportError> {
        let at = |line| Spot { file: file.clone(), line };
        let malformed = |Malformed { line, reason }: Malformed| ImportError::Syntax { spot: at(line), reason };
        let tokens = tokens(text).map_err(malformed)?;
        let mut cursor = Cursor { tokens: tokens.into_iter(), file: file.clone(), line: 1 };
        let mut content = Content::default();
        self.block(&mut cursor, None, kind, &mut content)?;
        Ok(content)
    }

    /// Reads up to the end of a block, or of the file if none is open.
    fn block(
        &mut self,
        cursor: &mut Cursor,
        open: Option<(&str, &Spot)>,
        kind: Kind,
        content: &mut Content,
    ) -> Result<(), ImportError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(cursor.syntax(format!("blocks and includes lie more than {DEEPEST} deep in one another")));
        }
        while let Some((words, spot, end)) = cursor.statement(open)? {
            if self.count >= MOST {
                return Err(
                    cursor.syntax(format!("there are more than {MOST} directives, perhaps an include includes itself"))
                );
            }
            let mut words = words.into_iter();
            let name = words.next().unwrap_or_default();
            let args: Vec<String> = words.collect();
            if name == "include" && end == Piece::End && args.len() == 1 {
                self.include(&args[0], &spot, kind, content)?;
                continue;
            }
            if kind == Kind::Table {
                if end == Piece::Open {
                    return Err(ImportError::Syntax { spot, reason: format!("\"{name}\" cannot have a block here") });
                }
                content.table += 1;
                continue;
            }
            let id = self.next_id();
            let block = if end == Piece::Open {
                let inner = if TABLES.contains(&name.as_str()) { Kind::Table } else { Kind::Directives };
                let mut content = Content::default();
                self.block(cursor, Some((&name, &spot)), inner, &mut content)?;
                Some(match inner {
                    Kind::Directives => Block::Directives(content.directives),
                    Kind::Table => Block::Table(content.table),
                })
            } else {
                None
            };
            content.directives.push(Directive { id, name, args, spot, block });
        }
        self.depth -= 1;
        Ok(())
    }

    fn include(&mut self, name: &str, spot: &Spot, kind: Kind, content: &mut Content) -> Result<(), ImportError> {
        let unreadable = |path: PathBuf, source| ImportError::Read { path, by: Some(spot.clone()), source };
        let paths = self.files.matching(name).map_err(|source| unreadable(self.files.locate(name), source))?;
        if kind == Kind::Directives {
            let id = self.next_id();
            let block = Some(Block::Files(paths.len()));
            let args = vec![name.to_owned()];
            content.directives.push(Directive { id, name: "include".to_owned(), args, spot: spot.clone(), block });
        }
        for path in paths {
            let included = self.file(&path, Some(spot), kind)?;
            content.directives.extend(included.directives);
            content.table += included.table;
        }
        Ok(())
    }

    fn next_id(&mut self) -> usize {
        self.count += 1;
        self.count - 1
    }
}

struct Cursor {
    tokens: std::vec::IntoIter<Token>,
    file: std::sync::Arc<str>,
    /// Of the last token.
    line: usize,
}

impl Cursor {
    /// The words up to the next `;` or `{`, and which of them it was; `None` at the end of the block.
    fn statement(&mut self, open: Option<(&str, &Spot)>) -> Result<Option<(Vec<String>, Spot, Piece)>, ImportError> {
        let mut words: Vec<String> = Vec::new();
        let mut begin = self.line;
        while let Some(Token { piece, line }) = self.tokens.next() {
            self.line = line;
            match piece {
                Piece::Word(word) => {
                    if words.is_empty() {
                        begin = line;
                    }
                    words.push(word);
                }
                Piece::End if words.is_empty() => {
                    return Err(self.syntax("unexpected \";\", there is no directive before it"));
                }
                Piece::Open if words.is_empty() => {
                    return Err(self.syntax("unexpected \"{\", there is no directive before it"));
                }
                end @ (Piece::End | Piece::Open) => return Ok(Some((words, self.spot(begin), end))),
                Piece::Close if words.is_empty() && open.is_some() => return Ok(None),
                Piece::Close if words.is_empty() => {
                    return Err(self.syntax("unexpected \"}\", no block is open in this file"));
                }
                Piece::Close => {
                    let reason =
                        format!("unexpected \"}}\", the directive \"{}\" before it is not ended by \";\"", words[0]);
                    return Err(self.syntax(reason));
                }
            }
        }
        match (words.first(), open) {
            (Some(name), _) => Err(self
                .syntax(format!("unexpected end of file, \"{name}\" in line {begin} is not ended by \";\" or \"{{\""))),
            (None, Some((name, spot))) => Err(self.syntax(format!(
                "unexpected end of file, the block of \"{name}\" that begins in line {} is not closed by \"}}\"",
                spot.line
            ))),
            (None, None) => Ok(None),
        }
    }

    fn spot(&self, line: usize) -> Spot {
        Spot { file: self.file.clone(), line }
    }

    fn syntax(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Syntax { spot: self.spot(self.line), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Result<Tree, ImportError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let main = folder.path().join("nginx.conf");
        read(&main, &Files::new(&main, None), "")
    }

    fn wrong(files: &[(&str, &str)]) -> String {
        tree(files).unwrap_err().to_string()
    }

    #[test]
    fn tree_keeps_file_and_line_of_everything() {
        let tree =
            tree(&[("nginx.conf", "http {\n  include *.inc;\n  server { }\n}\n"), ("a.inc", "\nset $a\n 'b c';")])
                .unwrap();
        assert_eq!(tree.count, 4);
        let http = tree.top[0].children();
        let shown: Vec<_> = http.iter().map(|d| format!("{} {} {:?} {}", d.id, d.name, d.args, d.spot)).collect();
        assert_eq!(
            shown,
            ["1 include [\"*.inc\"] nginx.conf:2", "2 set [\"$a\", \"b c\"] a.inc:2", "3 server [] nginx.conf:3"]
        );
    }

    #[test]
    fn tree_takes_tables_as_one_directive() {
        let tree =
            tree(&[("nginx.conf", "types { text/html html htm; include a.inc; }"), ("a.inc", "a/b c;")]).unwrap();
        assert_eq!(tree.count, 1);
        assert!(matches!(&tree.top[0].block, Some(Block::Table(2))));
    }

    #[test]
    fn tree_that_is_malformed_is_refused_with_its_line() {
        for (text, why) in [
            ("a;\n}", "nginx.conf:2: unexpected \"}\", no block is open in this file"),
            (
                "a {\n b;\n",
                "nginx.conf:2: unexpected end of file, the block of \"a\" that begins in line 1 is not closed by \"}\"",
            ),
            ("a {\n b }", "nginx.conf:2: unexpected \"}\", the directive \"b\" before it is not ended by \";\""),
            ("a\n b", "nginx.conf:2: unexpected end of file, \"a\" in line 1 is not ended by \";\" or \"{\""),
            (";", "nginx.conf:1: unexpected \";\", there is no directive before it"),
        ] {
            assert_eq!(wrong(&[("nginx.conf", text)]), why);
        }
    }

    #[test]
    fn include_that_is_missing_is_named() {
        let said = wrong(&[("nginx.conf", "\ninclude nowhere.conf;")]);
        assert!(said.starts_with("nginx.conf:2: include: cannot read ") && said.ends_with("nowhere.conf"), "{said}");
    }

    #[test]
    fn include_of_itself_comes_to_an_end() {
        assert!(wrong(&[("nginx.conf", "include nginx.conf;")]).contains("deep in one another"));
    }
}
