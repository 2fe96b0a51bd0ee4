//! Coming back with a `Last-Event-ID`: exact over any number of cuts, and told of what is lost.

use serde_json::Value;

use crate::client::{Event, Part, Stream};
use crate::server::TestServer;

/// The data of a gap event.
fn gap(event: &Event) -> (String, Option<String>, String) {
    assert_eq!(event.name, "fantail-gap", "{event:?}");
    let data: Value = serde_json::from_str(&event.data).expect("a gap event says it");
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    (text("channel").expect("a gap event says it"), text("asked"), text("next").expect("a gap event says it"))
}

fn after(server: &TestServer, channels: &str, id: &str) -> Stream {
    server.public().subscribe_with(&format!("/sub/{channels}?last=999"), &[("Last-Event-ID", id)])
}

#[test]
fn resume_at_every_id_in_turn_repeats_and_loses_nothing() {
    let server = TestServer::start("");
    let start = server.public().subscribe("/sub/a/b/c");
    let mut id = {
        let mut start = start;
        start.chunk().unwrap();
        start.last_event_id()
    };
    let mut said = Vec::new();
    for n in 0..12 {
        for channel in ["a", "b", "other", "c", "a"] {
            let data = format!("{channel}{n}");
            server.publish(channel, &data);
            if channel != "other" {
                said.push(data);
            }
        }
    }
    let whole: Vec<_> = after(&server, "a/b/c", &id).events(said.len());
    assert_eq!(whole.iter().map(|event| &*event.data).collect::<Vec<_>>(), said);
    for (n, expected) in whole.iter().enumerate() {
        let mut stream = after(&server, "c/a/b", &id);
        let event = stream.event();
        assert_eq!(&event, expected, "number {n} behind {id}");
        id = event.id;
    }
    server.publish("b", "end");
    assert_eq!(after(&server, "a/b/c", &id).event().data, "end");
}

#[test]
fn resume_with_a_changed_set_of_channels_goes_on_at_the_same_place() {
    let server = TestServer::start("");
    for n in 0..4 {
        server.publish("a", &format!("a{n}"));
        server.publish("b", &format!("b{n}"));
    }
    let id = server.public().subscribe("/sub/a?from=start").events(2).pop().unwrap().id;
    assert_eq!(after(&server, "a/b", &id).data(5), ["b1", "a2", "b2", "a3", "b3"]);
    assert_eq!(after(&server, "b", &id).data(3), ["b1", "b2", "b3"]);
}

#[test]
fn resume_wins_over_what_the_url_says_in_header_and_query() {
    let server = TestServer::start("");
    let ids: Vec<_> = (0..4).map(|n| server.publish("a", &n.to_string())).collect();
    for query in ["last=4", "from=start", "since=1h", "last=0", "since=nonsense", ""] {
        let target = format!("/sub/a?{query}");
        let mut stream = server.public().subscribe_with(&target, &[("Last-Event-ID", &ids[2])]);
        assert_eq!(stream.event().data, "3", "{query}");
        let mut stream = server.public().subscribe(&format!("{target}&lastEventId={}", ids[1]));
        assert_eq!(stream.data(2), ["2", "3"], "{query}");
    }
    let mut both =
        server.public().subscribe_with(&format!("/sub/a?lastEventId={}", ids[0]), &[("Last-Event-ID", &ids[2])]);
    assert_eq!(both.event().data, "3", "the header is newer than the URL");
    let mut empty = server.public().subscribe_with("/sub/a?lastEventId=&last=1", &[("Last-Event-ID", "")]);
    assert_eq!(empty.event().data, "3", "an empty id is none");
}

#[test]
fn resume_start_of_a_stream_before_its_first_event() {
    let server = TestServer::start("");
    server.publish("a", "before");
    let mut stream = server.public().subscribe("/sub/a/b");
    stream.chunk().unwrap();
    let id = stream.last_event_id();
    drop(stream);
    server.publish("b", "missed");
    let mut again = after(&server, "a/b", &id);
    again.chunk().unwrap();
    assert_eq!(again.last_event_id(), id, "the id it had is the id it keeps");
    assert_eq!(again.event().data, "missed");
}

#[test]
fn own_ids_stand_on_the_wire_as_given_and_resume_every_channel() {
    let server = TestServer::start("");
    let own = ["order 7", "ü…", "a:b", "{\"x\":1}", "-", "1", "%20", "a+b"];
    let mut expected = Vec::new();
    for (n, id) in own.iter().enumerate() {
        let publish = |channel: &str, header: (&str, &str)| {
            let answer = server.control().request("POST", &format!("/pub/{channel}"), &[header], b"own").json();
            assert_eq!(answer["published"][0]["id"], *id);
        };
        publish(if n % 2 == 0 { "a" } else { "b" }, ("Event-Id", id));
        server.publish("a", &format!("between{n}"));
        expected.push(((*id).to_owned(), format!("between{n}")));
    }
    let mut whole = server.public().subscribe("/sub/a/b?from=start");
    for (n, (id, between)) in expected.iter().enumerate() {
        let event = whole.event();
        assert_eq!((&event.id, &*event.data), (id, "own"));
        assert!(String::from_utf8(whole.chunks.concat()).unwrap().contains(&format!("\nid: {id}\ndata: own\n\n")));
        assert_eq!(&whole.event().data, between);
        let mut again = after(&server, "a/b", id);
        assert_eq!(&again.event().data, between, "behind {id}");
        let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        let mut by_query = server.public().subscribe(&format!("/sub/b/a?lastEventId={encoded}"));
        assert_eq!(&by_query.event().data, between);
        // Behind it there is no gap, and all that follows.
        assert_eq!(again.events((own.len() - 1 - n) * 2).len(), (own.len() - 1 - n) * 2);
    }
}

#[test]
fn own_id_used_twice_resumes_behind_the_newest() {
    let server = TestServer::start("");
    for data in ["1", "2", "3"] {
        server.control().request("POST", "/pub/a?id=same", &[], data.as_bytes());
    }
    server.publish("a", "4");
    assert_eq!(after(&server, "a", "same").event().data, "4");
}

#[test]
fn own_id_that_could_be_taken_for_a_generated_one_is_refused() {
    let server = TestServer::start("");
    for target in ["/pub/a?id=~1.ab.7", "/pub/a?id=%7e"] {
        let answer = server.control().request("POST", target, &[], b"x");
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains('~'), "{}", answer.error());
    }
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn own_id_that_last_event_id_cannot_carry_is_refused() {
    let server = TestServer::start("");
    for id in ["%20x", "x%20", "%09x", "x%09", "x%01y", "x%7fy", "%1b"] {
        let answer = server.control().request("POST", &format!("/pub/a?id={id}"), &[], b"x");
        assert_eq!(answer.status, 400, "{id}");
        assert!(answer.error().contains("event id"), "{}", answer.error());
    }
    let answer = server.control().request("POST", "/pub/a?id=x%09y%20z", &[], b"x");
    assert_eq!(answer.status, 200);
    server.publish("a", "next");
    assert_eq!(after(&server, "a", "x\ty z").event().data, "next");
}

#[test]
fn gap_is_told_once_per_channel_for_every_id_that_means_nothing() {
    let server = TestServer::start("");
    let id = server.publish("a", "a1");
    server.publish("b", "b1");
    let epoch = id.split('.').nth(1).unwrap();
    let foreign = id.replace(epoch, if epoch == "abc" { "abd" } else { "abc" });
    for asked in ["unknown", &foreign, &format!("~1.{epoch}.99999"), "~1.", "~9.x", "\u{fc}"] {
        let mut stream = after(&server, "a/b", asked);
        let [first, second] = [stream.event(), stream.event()];
        let (first_gap, second_gap) = (gap(&first), gap(&second));
        let mut channels = [first_gap.0.as_str(), &second_gap.0];
        channels.sort_unstable();
        assert_eq!(channels, ["a", "b"], "{asked}");
        assert_eq!((first_gap.1.as_deref(), second_gap.1.as_deref()), (Some(asked), Some(asked)));
        // The id of the last of them is where what follows begins.
        assert_eq!(second.id, second_gap.2);
        assert_eq!(stream.data(2), ["a1", "b1"]);
        // Cut right behind the gap, it is not said again.
        assert_eq!(after(&server, "a/b", &second.id).data(2), ["a1", "b1"]);
        // Cut between the two gaps, both are said again.
        if !first.id.is_empty() && first.id != second.id {
            let mut again = after(&server, "a/b", &first.id);
            assert_eq!(again.event().name, "fantail-gap");
        }
    }
    assert!(server.stat("gaps") >= 12);
}

#[test]
fn gap_on_an_empty_channel_is_said_at_once_and_once() {
    let server = TestServer::start("");
    let mut stream = after(&server, "a", "unknown");
    let event = stream.event();
    assert_eq!(gap(&event).0, "a");
    drop(stream);
    let mut again = after(&server, "a", &event.id);
    server.publish("a", "x");
    assert_eq!(again.event().data, "x");
}

#[test]
fn gap_after_trimming_names_both_ends_and_is_followed_by_what_is_kept() {
    let server = TestServer::start("[[retention]]\nprefix = 'short'\nmessages = 2");
    let ids: Vec<_> = (0..6)
        .map(|n| {
            server.publish("long", &format!("l{n}"));
            server.publish("short", &format!("s{n}"))
        })
        .collect();
    // Seen up to s3, the floor: nothing is lost, whether or not s3 itself is kept.
    let mut exact = after(&server, "short", &ids[3]);
    assert_eq!(exact.data(2), ["s4", "s5"]);
    let mut lost = after(&server, "short", &ids[2]);
    let event = lost.event();
    assert_eq!(gap(&event), ("short".into(), Some(ids[2].clone()), ids[3].clone()));
    assert_eq!(event.id, ids[3]);
    assert_eq!(lost.data(2), ["s4", "s5"]);

    // Over two channels only the one with a loss has a gap, in its place; each id on the way resumes exactly.
    let mut both = after(&server, "long/short", &ids[0]);
    let events = both.events(8);
    let names: Vec<_> = events.iter().map(|event| if event.name == "message" { &*event.data } else { "gap" }).collect();
    assert_eq!(names, ["l1", "l2", "l3", "gap", "l4", "s4", "l5", "s5"]);
    for at in 0..events.len() - 1 {
        let again = after(&server, "long/short", &events[at].id).events(events.len() - 1 - at);
        assert_eq!(
            again.iter().map(|e| &e.id).collect::<Vec<_>>(),
            events[at + 1..].iter().map(|e| &e.id).collect::<Vec<_>>()
        );
    }
}

#[test]
fn gap_by_comment_or_not_at_all_where_the_route_says_so() {
    let server = TestServer::start(
        "stream.gap = 'comment'\n[[route]]\npath = '/quiet/{channels...}'\ngap = 'off'\n[[route]]\npath = '/loud/{channels...}'\ngap = 'event'",
    );
    server.publish("a", "x");
    let target = |path: &str| server.public().subscribe_with(path, &[("Last-Event-ID", "unknown")]);
    let mut comment = target("/sub/a");
    assert!(matches!(comment.part(), Ok(Part::Retry(_))));
    match comment.part() {
        Ok(Part::Comment(text)) => {
            assert!(text.starts_with("fantail-gap {\"channel\":\"a\",\"asked\":\"unknown\""), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(comment.event().data, "x");
    let mut quiet = target("/quiet/a");
    assert!(matches!(quiet.part(), Ok(Part::Retry(_))));
    assert!(matches!(quiet.part(), Ok(Part::Event(event)) if event.data == "x"));
    assert_eq!(target("/loud/a").event().name, "fantail-gap");
    server.until_stat("gaps", 3);
}

#[test]
fn gap_on_a_channel_that_has_ended_closes_the_stream_behind_it() {
    let server = TestServer::start("[hub]\nage = '300ms'\nchannel_idle = '1h'");
    server.publish("a", "x");
    server.control().request("DELETE", "/pub/a", &[], b"");
    crate::server::eventually("the end is too old", || server.control().get("/stats/a").json()["messages"] == 0);
    let mut stream = after(&server, "a", "unknown");
    let event = stream.event();
    assert_eq!(gap(&event).0, "a");
    let (parts, end) = stream.to_end();
    assert_eq!((parts, end), (vec![], crate::client::End::Said));
    let again = server.public().request("GET", "/sub/a", &[("Last-Event-ID", &event.id)], b"");
    assert_eq!(again.status, 204);
}
