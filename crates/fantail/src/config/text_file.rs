//! A file whose text is read once, when the configuration is loaded.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf, absolute},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

/// The largest text.
const LARGEST: u64 = 1 << 20;

/// A file and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    path: PathBuf,
    text: Vec<u8>,
}

impl TextFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stood in it when the configuration was loaded.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Reads it; its path counts from `directory`, and is absolute from then on.
    pub(super) fn read(&mut self, directory: &Path) -> io::Result<()> {
        self.path = absolute(directory.join(&self.path))?;
        // Opening a pipe would wait for its writer.
        if !self.path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
        }
        let mut text = Vec::new();
        File::open(&self.path)?.take(LARGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
        }
        self.text = text;
        Ok(())
    }
}

impl std::str::FromStr for TextFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err("is empty, expected the path of a file".to_owned());
        }
        Ok(Self { path: path.into(), text: Vec::new() })
    }
}

impl Serialize for TextFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.path.to_string_lossy())
    }
}

impl<'de> Deserialize<'de> for TextFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for TextFile {
    const KIND: Kind = Kind::Value { name: "path", allowed: "the path of a file", text: true };
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs};

    use crate::config::{Config, Sources, load};

    /// The configuration of a file in `directory` with a route that has this template file.
    fn loaded(directory: &std::path::Path, file: &str) -> Result<Config, crate::config::ConfigError> {
        let path = directory.join("fantail.toml");
        let text = format!(
            "[[route]]\npath = '/sub'\naction = 'push_stream'\nsubscriber = 'streaming'\nchannels_path = '$arg_id'\n\
             header_template_file = '{file}'\n"
        );
        fs::write(&path, text).unwrap();
        load(&Sources { file: Some(path), ..Sources::default() })
    }

    #[test]
    fn text_file_is_read_from_beside_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("head.html"), b"<html>\xff\n").unwrap();
        let config = loaded(directory.path(), "head.html").unwrap();
        assert_eq!(config.route[0].header(), b"<html>\xff\n");
        let absolute = directory.path().join("head.html");
        assert_eq!(loaded(directory.path(), absolute.to_str().unwrap()).unwrap(), config);
        let shown = config.effective_toml();
        assert!(shown.contains(&format!("header_template_file = {:?}", absolute.to_str().unwrap())), "{shown}");
        assert_eq!(Config::from_toml(&shown).unwrap(), config, "wherever it is read from");
    }

    #[test]
    fn text_file_that_cannot_be_read_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display();
        fs::write(directory.path().join("large"), vec![b'a'; (1 << 20) + 1]).unwrap();
        fs::create_dir(directory.path().join("directory")).unwrap();
        for (file, reason) in [
            ("missing", "No such file or directory (os error 2)"),
            ("directory", "it is not a plain file"),
            ("large", "it has more than 1 MiB"),
        ] {
            let error = loaded(directory.path(), file).unwrap_err();
            let shown = directory.path().join(file);
            assert_eq!(
                error.to_string(),
                format!("{place}/fantail.toml:6: route[0].header_template_file: cannot read {}", shown.display())
            );
            assert_eq!(error.source().unwrap().to_string(), reason);
        }
    }
}
