//! nginx's syntax as words and marks, each with its line. Knows no directive; what it takes apart, nginx takes apart the
//! same way: quotes only at the beginning of a word, escapes in and out of quotes, `${name}` within a word.

/// A piece of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A name or an argument, its quotes and escapes resolved.
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// A piece, and the line it begins in, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub piece: Piece,
    pub line: usize,
}

/// Why a text is not in nginx's syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub line: usize,
    pub reason: String,
}

/// Takes a text apart. Bytes that are not UTF-8 become U+FFFD; in comments, where old files have them, they do not matter.
pub(super) fn tokens(text: &[u8]) -> Result<Vec<Token>, Malformed> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        let opens = token.piece == Piece::Open;
        tokens.push(token);
        if opens && is_lua(&tokens) {
            lexer.skip_code()?;
        }
    }
    Ok(tokens)
}

/// Whether the block that was just opened holds a program in another language, as `content_by_lua_block` does.
fn is_lua(tokens: &[Token]) -> bool {
    let before = tokens.len().checked_sub(2).map(|index| &tokens[index].piece);
    matches!(before, Some(Piece::Word(name)) if name.ends_with("_by_lua_block"))
}

struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, Malformed> {
        self.skip_space();
        let line = self.line;
        let Some(&byte) = self.text.get(self.at) else { return Ok(None) };
        let mark = match byte {
            b';' => Some(Piece::End),
            b'{' => Some(Piece::Open),
            b'}' => Some(Piece::Close),
            _ => None,
        };
        if let Some(piece) = mark {
            self.at += 1;
            return Ok(Some(Token { piece, line }));
        }
        let word = if byte == b'"' || byte == b'\'' { self.quoted(byte)? } else { self.bare() };
        Ok(Some(Token { piece: Piece::Word(unescape(word)), line }))
    }

    fn skip_space(&mut self) {
        let mut comment = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\n' => {
                    comment = false;
                    self.line += 1;
                }
                _ if comment => {}
                b'#' => comment = true,
                // Some editors put a byte order mark at the beginning; nginx passes over it too.
                b' ' | b'\t' | b'\r' => {}
                0xEF if self.at == 0 && self.text.starts_with(b"\xEF\xBB\xBF") => self.at += 2,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<&[u8], Malformed> {
        let (begin, line) = (self.at + 1, self.line);
        self.at = begin;
        loop {
            match self.text.get(self.at) {
                Some(b'\\') => self.step(),
                Some(&byte) if byte == quote => break,
                Some(_) => {}
                None => {
                    let reason = format!("the quote {} is never closed", quote as char);
                    return Err(Malformed { line, reason });
                }
            }
            self.step();
        }
        let end = self.at;
        self.at += 1;
        match self.text.get(self.at) {
            // The parenthesis is that of `if ("$a")`, and a word of its own.
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => {}
            Some(&byte) => {
                let reason = format!(
                    "unexpected {:?} behind a closing quote, expected a space, \";\" or \"{{\"",
                    char::from(byte).to_string()
                );
                return Err(Malformed { line: self.line, reason });
            }
        }
        Ok(&self.text[begin..end])
    }

    fn bare(&mut self) -> &[u8] {
        let begin = self.at;
        let mut variable = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'{' if variable => {}
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                b'\\' => self.step(),
                _ => {}
            }
            variable = byte == b'$';
            self.step();
        }
        self.at = self.at.min(self.text.len());
        &self.text[begin..self.at]
    }

    /// One byte on.
    fn step(&mut self) {
        self.line += usize::from(self.text.get(self.at) == Some(&b'\n'));
        self.at += 1;
    }

    /// Passes over a program up to the brace that closes its block.
    fn skip_code(&mut self) -> Result<(), Malformed> {
        let (line, mut depth) = (self.line, 0_usize);
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 0 => return Ok(()),
                b'}' => depth -= 1,
                _ => {}
            }
            self.step();
        }
        Err(Malformed { line, reason: "the block that is opened here is never closed".to_owned() })
    }
}

/// Resolves escapes: those of quotes, the backslash and three control characters; before all else a backslash stays.
fn unescape(word: &[u8]) -> String {
    let mut plain = Vec::with_capacity(word.len());
    let mut bytes = word.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let meant = match (byte, bytes.peek()) {
            (b'\\', Some(next @ (b'"' | b'\'' | b'\\'))) => Some(*next),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        if meant.is_some() {
            bytes.next();
        }
        plain.push(meant.unwrap_or(byte));
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let shown = |token: Token| match token.piece {
            Piece::Word(word) => word,
            Piece::End => ";".to_owned(),
            Piece::Open => "{".to_owned(),
            Piece::Close => "}".to_owned(),
        };
        tokens(text.as_bytes()).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn lexer_takes_words_and_marks_apart() {
        assert_eq!(words("a b;c{d e;}"), ["a", "b", ";", "c", "{", "d", "e", ";", "}"]);
        assert_eq!(words("\u{feff}a; # b; }\nc#d e;"), ["a", ";", "c#d", "e", ";"]);
        assert_eq!(words("set $a ${b}c${d};"), ["set", "$a", "${b}c${d}", ";"]);
        assert_eq!(words("a b}c;"), ["a", "b}c", ";"]);
        assert_eq!(words("a b\"c d;"), ["a", "b\"c", "d", ";"]);
        assert_eq!(words("if (\"$a\") {}"), ["if", "(\"$a\")", "{", "}"]);
        assert_eq!(words("if ($a = \"b\") {}"), ["if", "($a", "=", "b", ")", "{", "}"]);
    }

    #[test]
    fn lexer_resolves_escapes_as_nginx_does() {
        assert_eq!(
            words(r#"a "x\"y\n\t\r\\\d" 'it''s';"#.replace("''s", "\\'s").as_str()),
            ["a", "x\"y\n\t\r\\\\d", "it's", ";"]
        );
        assert_eq!(words(r"location ~ \.js$ {"), ["location", "~", r"\.js$", "{"]);
        assert_eq!(words(r"a b\ c\;d;"), ["a", r"b\ c\;d", ";"]);
        assert_eq!(words("a '' \"\";"), ["a", "", "", ";"]);
    }

    #[test]
    fn lexer_counts_lines_through_quotes_and_comments() {
        let tokens = tokens(b"a 'b\nc'\n# \xff\nd;\n\\\ne").unwrap();
        assert_eq!(tokens.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 1, 4, 4, 5]);
    }

    #[test]
    fn lexer_passes_over_programs() {
        assert_eq!(words("x_by_lua_block { if a then b({1}) end -- ' \n } c;"), ["x_by_lua_block", "{", "}", "c", ";"]);
        assert!(tokens(b"x_by_lua_block { {").is_err());
    }

    #[test]
    fn lexer_names_what_is_malformed() {
        let wrong = |text: &str| tokens(text.as_bytes()).unwrap_err();
        assert_eq!(wrong("a;\nb 'c"), Malformed { line: 2, reason: "the quote ' is never closed".to_owned() });
        assert_eq!(
            wrong("a 'b'c;").reason,
            "unexpected \"c\" behind a closing quote, expected a space, \";\" or \"{\""
        );
        assert!(wrong("a 'b\\").reason.contains("never closed"));
    }
}
