//! The application behind Pushpin: it answers every request with the instruction to hold it as a stream.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves GET /sub/CHANNEL.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        axum::serve(listener, Router::new().route("/sub/{channel}", get(hold))).await?;
        Ok(())
    })
}

async fn hold(Path(channel): Path<String>) -> impl IntoResponse {
    let headers = [
        ("Content-Type", "text/event-stream".to_owned()),
        ("Grip-Hold", "stream".to_owned()),
        ("Grip-Channel", channel),
        ("Grip-Keep-Alive", ": ping\\n; format=cstring; timeout=15".to_owned()),
    ];
    (headers, ":ok\n")
}
