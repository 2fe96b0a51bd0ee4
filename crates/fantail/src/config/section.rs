//! How a section is declared: once, with its types, defaults and doc comments. The struct, its defaults, the keys that
//! are allowed and the reference in `docs/configuration.md` all come from that one place.

use std::collections::BTreeMap;

/// What may be written for a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// One value.
    Value {
        /// The name of the type, for the reference.
        name: &'static str,
        /// What is allowed, for error messages; follows the word "expected".
        allowed: &'static str,
        /// Whether it is written as a string, so that an environment variable needs no quotes.
        text: bool,
    },
    /// A `[table]`.
    Table(&'static [Field]),
    /// A list of tables, `[[table]]`.
    Tables {
        /// The keys of each.
        fields: &'static [Field],
        /// The defaults of each.
        defaults: fn() -> toml::Table,
    },
    /// Tables that have names, `[table.NAME]`.
    Map {
        /// The keys of each.
        fields: &'static [Field],
        /// The defaults of each.
        defaults: fn() -> toml::Table,
    },
}

/// One setting, or one section, as it was declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The key.
    pub name: &'static str,
    /// The doc comment.
    pub doc: &'static str,
    /// What may be written for it.
    pub kind: Kind,
    /// Says what is wrong with a value.
    pub check: fn(&toml::Value) -> Result<(), String>,
}

/// A type that can stand behind a key.
pub(super) trait Setting {
    /// What may be written for it.
    const KIND: Kind;
}

/// A struct that was declared by [`section!`].
pub(super) trait Section: Default + serde::Serialize {
    /// Its keys, in the order of their declaration.
    const FIELDS: &'static [Field];
}

/// Says what is wrong with a value that should be a `T`.
pub(super) fn check<T: Setting + serde::de::DeserializeOwned>(value: &toml::Value) -> Result<(), String> {
    let Err(error) = T::deserialize(value.clone()) else { return Ok(()) };
    let (message, Kind::Value { allowed, .. }) = (error.message(), T::KIND) else {
        return Err(error.message().to_owned());
    };
    // serde speaks of Rust's types; what it expected is said in the words of the configuration.
    Err(match message.rsplit_once(", expected ") {
        Some((wrong, _)) => format!("{wrong}, expected {allowed}"),
        None if message.starts_with("invalid ") => format!("{message}, expected {allowed}"),
        None => message.to_owned(),
    })
}

/// The defaults of a section, by key.
pub(super) fn defaults<T: Section>() -> toml::Table {
    toml::Table::try_from(T::default()).unwrap_or_default()
}

/// Declares a struct of the configuration: `field: Type = default`, each with a doc comment.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::section::Section for $name {
            const FIELDS: &'static [$crate::config::section::Field] = &[$($crate::config::section::Field {
                name: stringify!($field),
                doc: concat!($($doc),*),
                kind: <$type as $crate::config::section::Setting>::KIND,
                check: $crate::config::section::check::<$type>,
            },)*];
        }

        impl $crate::config::section::Setting for $name {
            const KIND: $crate::config::section::Kind =
                $crate::config::section::Kind::Table(<Self as $crate::config::section::Section>::FIELDS);
        }
    };
}

/// Declares an enum of which one word is chosen: `Variant = "word"`.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $(#[doc = $first_doc:literal])* $first:ident = $first_word:literal,
            $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[doc = $first_doc])*
            #[serde(rename = $first_word)]
            $first,
            $($(#[doc = $doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word that stands for it in a configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::section::Setting for $name {
            const KIND: $crate::config::section::Kind = $crate::config::section::Kind::Value {
                name: concat!("`", $first_word, "`", $(", `", $word, "`"),*),
                allowed: concat!("\"", $first_word, "\"", $(" or \"", $word, "\""),*),
                text: true,
            };
        }
    };
}

pub(super) use {choice, section};

impl Setting for bool {
    const KIND: Kind = Kind::Value { name: "true or false", allowed: "true or false", text: false };
}

impl Setting for usize {
    const KIND: Kind = Kind::Value { name: "number", allowed: "a whole number, 0 or more", text: false };
}

impl Setting for String {
    const KIND: Kind = Kind::Value { name: "string", allowed: "a string", text: true };
}

impl Setting for std::net::SocketAddr {
    const KIND: Kind = Kind::Value {
        name: "address",
        allowed: "an IP address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\"",
        text: true,
    };
}

impl Setting for Vec<String> {
    const KIND: Kind =
        Kind::Value { name: "list of strings", allowed: "a list of strings, such as [\"a\", \"b\"]", text: false };
}

impl<T: Section> Setting for Vec<T> {
    const KIND: Kind = Kind::Tables { fields: T::FIELDS, defaults: defaults::<T> };
}

impl<T: Section> Setting for BTreeMap<String, T> {
    const KIND: Kind = Kind::Map { fields: T::FIELDS, defaults: defaults::<T> };
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
}
