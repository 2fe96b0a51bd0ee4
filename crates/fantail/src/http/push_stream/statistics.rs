//! Statistics routes: the server as a whole, all channels, those whose names begin alike, or some by name.

use std::sync::Arc;

use fantail_hub::{Channel, Hub};
use http::{Method, Response};

use super::PushStream;
use super::admission::Refused;
use super::ask::Ask;
use super::census::Census;
use super::figures::{self, Figures, Server};
use crate::dialect::push_stream::headers;
use crate::dialect::push_stream::{Refusal, Scope, Summary, Worker, channel_id};
use crate::http::App;
use crate::http::body::Body;
use crate::metrics::{self, ShardMetrics};

/// The most channels that one answer lists: an answer is made as a whole.
const MOST: usize = 100_000;

/// Answers a request.
pub(super) async fn answer(route: &PushStream, app: &App, ask: &Ask<'_>) -> Response<Body> {
    let answer = act(route, app, ask).await;
    let mut response = answer.unwrap_or_else(|refused| refused.response());
    headers::no_cache(response.headers_mut());
    headers::server(response.headers_mut(), route.site.strict());
    response
}

async fn act(route: &PushStream, app: &App, ask: &Ask<'_>) -> Result<Response<Body>, Refused> {
    if ask.request.method != Method::GET {
        return Err(Refusal::Method.into());
    }
    let scope = route.asked(ask).scope(route.site.settings().max_channel_id_length)?;
    let may = match &scope {
        Scope::Channels(names) => app.may_subscribe(ask.request, names),
        _ => app.may_subscribe_to_all(ask.request),
    };
    may.map_err(|denial| Refused::ByServer(denial.into()))?;
    let prefix = match scope {
        Scope::Summary => return Ok(summary(route, app, ask).await?),
        Scope::Channels(names) => {
            return figures::answer(route, app, ask, &names).await?.ok_or(Refusal::Unknown.into());
        }
        Scope::All => String::new(),
        Scope::Prefix(prefix) => prefix,
    };
    let mut found = Vec::new();
    for channel in listed(&app.hub, &prefix).iter().take(MOST) {
        found.extend(Figures::at_hand(&app.hub, channel).await?);
    }
    Ok(figures::group(route, app, ask, &found))
}

/// The channels in memory whose ids begin so, in the order in which they were made.
fn listed(hub: &Hub, prefix: &str) -> Vec<Arc<Channel>> {
    let mut listed = Vec::new();
    hub.each(|channel| {
        if Census::is_listed(channel.name()) && channel_id(channel.name()).starts_with(prefix) {
            listed.push(Arc::clone(channel));
        }
    });
    listed.sort_unstable_by_key(|channel| channel.born());
    listed
}

async fn summary(route: &PushStream, app: &App, ask: &Ask<'_>) -> Result<Response<Body>, Refusal> {
    let mut stored = 0;
    for channel in listed(&app.hub, "").iter().filter(|channel| !route.site.is_events_channel(channel.name())) {
        stored += Figures::at_hand(&app.hub, channel).await?.map_or(0, |figures| figures.stored());
    }
    let server = Server::of(route, app);
    let head = server.head();
    let worker = |shard: &Arc<ShardMetrics>| Worker {
        pid: metrics::read(&shard.thread),
        subscribers: metrics::read(&shard.subscribers),
        uptime: head.uptime,
    };
    let mut workers: Vec<_> = app.metrics.shards.iter().map(worker).collect();
    if app.has_websockets {
        workers.push(Worker {
            pid: std::process::id().into(),
            subscribers: metrics::read(&app.metrics.websockets.open),
            uptime: head.uptime,
        });
    }
    let format = figures::format(ask);
    let text = format.summary(&Summary {
        head,
        published: route.site.census().published(&app.hub),
        stored,
        // Nothing that is deleted is kept in memory any longer than somebody is sent it.
        messages_in_trash: 0,
        channels_in_delete: route.site.census().count(&app.hub).deleted as u64,
        channels_in_trash: 0,
        subscribers: app.metrics.subscribers(),
        workers: &workers,
    });
    Ok(figures::formatted(ask, format, text))
}
