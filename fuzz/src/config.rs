//! The configuration file.

use fantail::config::{Config, Expression};

/// What is taken is shown, and what is shown is TOML.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Expression::parse(text, &["name"]);
    // Settings that name files would read them.
    if text.contains("file") {
        return;
    }
    match Config::from_toml(text) {
        Ok(config) => {
            let shown = config.effective_toml();
            if !shown.contains("***") {
                let again = Config::from_toml(&shown).expect("what is shown can be read");
                assert_eq!(again.effective_toml(), shown);
            }
        }
        Err(error) => drop(error.to_string()),
    }
}
