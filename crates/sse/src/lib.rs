//! The Server-Sent Events wire format (WHATWG HTML §9.2): bytes in, bytes out. It knows no socket, no HTTP and no clock.
//!
//! ```
//! use fantail_sse::{Decoder, EventName, Item, encode};
//!
//! let name = EventName::parse("price")?;
//! let mut wire = Vec::new();
//! encode::id(&mut wire, "42");
//! encode::event(&mut wire, name.as_str());
//! encode::data(&mut wire, b"up\ndown");
//! encode::end(&mut wire);
//! assert_eq!(wire, b"id: 42\nevent: price\ndata: up\ndata: down\n\n");
//!
//! let mut decoder = Decoder::new();
//! decoder.feed(&wire, |item| {
//!     let Item::Event(event) = item else { panic!("only an event was sent") };
//!     assert_eq!(event.name, b"price");
//!     assert_eq!(event.data, b"up\ndown");
//! })?;
//! assert_eq!(decoder.last_event_id(), b"42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

pub mod blocks;
pub mod decode;
pub mod encode;
pub mod field;

pub use blocks::{BlockTooLong, Blocks, Facts};
pub use decode::{DecodeError, Decoder, Event, Item};
pub use field::{EventId, EventName, FieldError};
