//! The streaming reverse proxy. Knows neither the hub nor the routes.

pub mod rewrite;
