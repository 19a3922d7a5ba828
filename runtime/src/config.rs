//! The configuration of a process.
//!
//! Owns: the layers, their order, and the messages about mistakes in them.
//! Never: what the settings mean; components bring their types.
//!
//! The layers, each above the one before: the embedded defaults, a TOML file, the environment
//! (`TIDEGATE__ADMIN__LISTEN` sets `listen` in `[admin]`, `TIDEGATE__INPUT__0__PATH` sets `path` in
//! the first `[[input]]`), the command line. Tables are merged key by key; anything else, lists
//! too, is replaced as a whole.
//!
//! An enum whose variants hold values is written as a table with the variant's name in `type`, so
//! that `#[derive(Deserialize)] #[serde(rename_all = "snake_case")] enum Input { File(FileInput) }`
//! reads `type = "file"` and the keys of `FileInput` beside it. Do not use `#[serde(tag)]`,
//! `untagged` or `flatten`: they lose the place of a mistake. A key that no field takes is a
//! mistake, with or without `deny_unknown_fields`.
//!
//! ```
//! use runtime::config::{Layers, Span};
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     admin: Admin,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Admin {
//!     timeout: Span,
//! }
//!
//! let loaded = Layers::new("[admin]\ntimeout = '10s'")
//!     .environment([("TIDEGATE__ADMIN__TIMEOUT".to_owned(), "1m".to_owned())])
//!     .load::<Settings>()
//!     .unwrap();
//! assert_eq!(loaded.settings.admin.timeout, Span::from_secs(60));
//! ```

mod describe;
mod fault;
mod in_force;
mod layers;
mod mask;
mod problem;
mod quantity;
mod read;
mod reader;
mod repair;
mod secret;
mod tree;

pub use in_force::InForce;
pub use layers::{Layers, Loaded, environment};
pub use problem::Problems;
pub use quantity::{ByteSize, QuantityError, Span};
pub use secret::Secret;

#[cfg(test)]
mod tests;
