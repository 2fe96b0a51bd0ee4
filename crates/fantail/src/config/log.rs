//! `[log]`: what is written to standard error.

use super::{
    error::{Problem, require},
    section::{choice, section},
};

const LEVEL: &str = "info";
const FORMAT: LogFormat = LogFormat::Text;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

choice! {
    /// How log lines are written.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// An object a line, for machines.
        Json = "json",
    }
}

section! {
    /// What is written to standard error.
    pub struct Log {
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also per module: `info,fantail::listen=debug`.
        level: String = LEVEL.to_owned(),
        /// How log lines are written.
        format: LogFormat = FORMAT,
    }
}

impl Log {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        let directive = |text: &str| {
            let (target, level) = text.rsplit_once('=').unwrap_or(("fantail", text));
            LEVELS.contains(&level)
                && !target.is_empty()
                && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
        };
        require(
            self.level.split(',').all(directive),
            "log.level",
            format!(
                "\"{}\" is not a level, expected {}, or a list such as \"info,fantail::listen=debug\"",
                self.level,
                LEVELS.join(", ")
            ),
        )
    }
}
