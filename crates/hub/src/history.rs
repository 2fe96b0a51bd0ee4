//! What the channels of a subscription hold further back than their tails go, as far as it is gathered together. Reads pages;
//! does not know what becomes of them.

use std::sync::Arc;

use crate::channel::Channel;
use crate::hub::Hub;
use crate::journal::{Page, ReadError};
use crate::position::Offset;
use crate::tail::Tail;

/// A channel of a subscription that is behind: its place, and the first offset that is wanted.
pub type Wanted = (usize, Arc<Channel>, u64);

/// Reads about `bytes` for channels that are behind.
///
/// In the merged order nothing is gathered beyond the page that ends first. So nothing is read beyond it once there is enough,
/// which bounds what many channels with large messages take; and while there is not, the page that ends first is drawn out, so that one
/// channel with a long history is not read in crumbs because many beside it are silent.
///
/// # Errors
/// If the journal cannot be read.
pub async fn read(hub: &Hub, wanted: &[Wanted], bytes: usize) -> Result<Vec<(usize, Page)>, ReadError> {
    let share = bytes / wanted.len().max(1);
    let mut pages = Vec::with_capacity(wanted.len());
    let mut held = 0;
    // The page that ends first ends here.
    let mut until = Offset(u64::MAX);
    for (index, channel, next) in wanted {
        let page = if held < bytes {
            hub.read(channel, *next, Offset(u64::MAX), share).await?
        } else if *next <= until.0 {
            hub.read(channel, *next, until, share).await?
        } else {
            Page { next: *next, lost: None, entries: Vec::new(), until: Offset(next - 1) }
        };
        until = until.min(page.until);
        held += cost(&page);
        pages.push((*index, page));
        if held > 2 * bytes {
            until = until.min(enough(&pages, bytes));
            for (_, page) in &mut pages {
                cut(page, until);
            }
            held = pages.iter().map(|(_, page)| cost(page)).sum();
        }
    }
    while held + share <= bytes {
        let ends = wanted.iter().zip(&pages).enumerate();
        let open = ends.filter(|(_, ((_, channel, _), (_, page)))| page.until < channel.read(Tail::floor));
        let open: Vec<_> = open.map(|(at, (_, (_, page)))| (page.until, at)).collect();
        let Some(&(until, at)) = open.iter().min() else { break };
        let room = (bytes - held) / open.len();
        let more = hub.read(&wanted[at].1, until.0 + 1, Offset(u64::MAX), room.max(share)).await?;
        if more.lost.is_some() {
            // Told before what follows, so by a page of its own.
            break;
        }
        held += cost(&more);
        let page = &mut pages[at].1;
        page.entries.extend(more.entries);
        page.until = more.until;
    }
    Ok(pages)
}

fn cost(page: &Page) -> usize {
    page.entries.iter().map(|entry| entry.message.cost()).sum()
}

/// Up to where the pages hold `bytes` together, or little more.
fn enough(pages: &[(usize, Page)], bytes: usize) -> Offset {
    let entries = pages.iter().flat_map(|(_, page)| &page.entries);
    let mut entries: Vec<_> = entries.map(|entry| (entry.offset, entry.message.cost())).collect();
    entries.sort_unstable();
    let mut room = bytes;
    for (offset, cost) in entries {
        room = room.saturating_sub(cost);
        if room == 0 {
            return offset;
        }
    }
    Offset(u64::MAX)
}

/// Takes from a page what stands above `until`.
fn cut(page: &mut Page, until: Offset) {
    let kept = page.entries.partition_point(|entry| entry.offset <= until);
    if kept < page.entries.len() || page.until > until {
        page.entries.truncate(kept);
        page.until = until.max(Offset(page.next.saturating_sub(1))).max(page.lost.unwrap_or_default());
    }
}
