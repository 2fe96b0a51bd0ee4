//! The files that a configuration consists of: reading them, and finding those that an `include` means. Knows nothing of
//! what is in them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where the main file is, and what other files are found from there.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The main file's directory.
    home: PathBuf,
    /// Where the configuration stood when it ran, if it was copied from there: absolute paths below it are read below `home`.
    stood_in: Option<PathBuf>,
}

impl Files {
    pub(super) fn new(main: &Path, stood_in: Option<&Path>) -> Self {
        let home = main.parent().unwrap_or(Path::new("")).to_owned();
        Self { home, stood_in: stood_in.map(Path::to_owned) }
    }

    /// The path by which a file that is written as `name` is read.
    pub(super) fn locate(&self, name: &str) -> PathBuf {
        let name = Path::new(name);
        let moved = self.stood_in.as_ref().and_then(|stood_in| name.strip_prefix(stood_in).ok());
        self.home.join(moved.unwrap_or(name))
    }

    /// How a file is named to people: from the main file's directory, if it lies below.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.home).unwrap_or(path).display().to_string()
    }

    /// The files that an `include` means, in the order of their names. A name without wildcards means itself, be it there
    /// or not.
    pub(super) fn matching(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let path = self.locate(name);
        if !has_wildcard(name) {
            return Ok(vec![path]);
        }
        let mut found = vec![PathBuf::new()];
        for component in path.components() {
            let text = component.as_os_str().to_string_lossy();
            if !matches!(component, Component::Normal(_)) || !has_wildcard(&text) {
                for path in &mut found {
                    path.push(component);
                }
                continue;
            }
            let mut next = Vec::new();
            for folder in found {
                let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
                match names(listed) {
                    Ok(names) => {
                        let hits = names.into_iter().filter(|name| is_match(text.as_bytes(), name.as_bytes()));
                        next.extend(hits.map(|name| folder.join(name)));
                    }
                    // What is no folder, or is not there, holds no match.
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => return Err(error),
                }
            }
            found = next;
        }
        found.retain(|path| path.exists());
        found.sort();
        Ok(found)
    }
}

/// The names in a folder; those that are no text are left out.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
        .collect()
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a name is meant by a pattern of `*`, `?`, `[a-z]` and `[!a]`. A dot at the beginning must be written.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    (!name.starts_with(b".") || pattern.starts_with(b".")) && glob(pattern, name)
}

/// Goes back to the last `*` alone, so that no pattern takes long.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(width) = pattern.get(p..).and_then(|rest| one(rest, name[n])) {
            p += width;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern mean this byte, if they do.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [b'[', ref rest @ ..] => {
            let negated = matches!(rest, [b'!' | b'^', ..]);
            let rest = &rest[usize::from(negated)..];
            // A bracket at the beginning is one of the set.
            let close = rest.iter().skip(1).position(|byte| *byte == b']').map(|at| at + 1);
            let Some(close) = close else { return (byte == b'[').then_some(1) };
            let (mut set, mut hit) = (&rest[..close], false);
            while let [low, tail @ ..] = set {
                set = tail;
                let mut high = low;
                if let [b'-', end, tail @ ..] = set {
                    (high, set) = (end, tail);
                }
                hit |= (*low..=*high).contains(&byte);
            }
            (hit != negated).then_some(1 + usize::from(negated) + close + 1)
        }
        [plain, ..] => (plain == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_means_names_as_a_shell_would() {
        for (pattern, name) in
            [("*.conf", "a.conf"), ("a?c", "abc"), ("[a-c]x", "bx"), ("[!a]x", "bx"), ("*a*b", "xaxbab"), ("[]]", "]")]
        {
            assert!(is_match(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.conf", "a.conf~"), ("*", ".a"), ("[a-c]x", "dx"), ("[!a]", "a"), ("a", "ab"), ("[a", "a")]
        {
            assert!(!is_match(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn include_finds_files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["s/b.conf", "s/a.conf", "t/c.conf", "t/.d.conf", "t/e.txt"] {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), "").unwrap();
        }
        let files = Files::new(&folder.path().join("nginx.conf"), Some(Path::new("/etc/nginx")));
        let found = |name: &str| -> Vec<String> {
            files.matching(name).unwrap().iter().map(|path| files.shown(path)).collect()
        };
        assert_eq!(found("*/*.conf"), ["s/a.conf", "s/b.conf", "t/c.conf"]);
        assert_eq!(found("/etc/nginx/s/*"), ["s/a.conf", "s/b.conf"]);
        assert_eq!(found("nowhere/*"), [""; 0]);
        assert_eq!(found("nowhere/a.conf"), ["nowhere/a.conf"]);
    }
}
