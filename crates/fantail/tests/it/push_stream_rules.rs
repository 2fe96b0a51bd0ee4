//! Rules of the push-stream dialect that show only after a while, at a limit or in trouble: retention and collection, wildcard
//! channels and authorised ones, a journal that takes nothing, and what wraps an answer whatever it says.

use std::fs;

use crate::client::{Answer, Client};
use crate::durable_trouble::{limit_files, log};
use crate::push_stream_subscriber::{publish, server};
use crate::server::{Data, Process, TestServer, eventually};

const EXPLAIN: &str = "x-nginx-pushstream-explain";

fn get(server: &TestServer, target: &str) -> Answer {
    server.public().get(target)
}

fn poll(mode: &str, options: &str) -> String {
    format!("subscriber = '{mode}'\nchannels_path = '$arg_id'\nmessage_template = '<~id~:~text~>'\n{options}")
}

#[test]
fn stored_messages_are_as_many_as_the_cap_says_the_newest() {
    for strict in [true, false] {
        let all = format!("strict = {strict}\nmax_messages_stored_per_channel = 2");
        let server = server(&all, &[("/poll", &poll("polling", ""))]);
        for text in ["1", "2", "3"] {
            publish(&server, "/pub?id=a", &[], text.as_bytes());
        }
        assert_eq!(get(&server, "/poll?id=a.b9").text(), "<2:2><3:3>");
        let figures = get(&server, "/pub?id=a").json();
        assert_eq!((figures["published_messages"].as_u64(), figures["stored_messages"].as_u64()), (Some(3), Some(2)));
    }
}

/// Whoever is there stays; a channel that was collected begins again with message 1.
#[test]
fn stored_messages_go_after_their_time_and_their_channel_after_its_own() {
    let all = "strict = true\nmessage_ttl = '2s'\nchannel_inactivity_time = '1s'";
    let known =
        "subscriber = 'streaming'\nchannels_path = '$arg_id'\nauthorized_channels_only = true\nheader_template = 'H'";
    let server = server(all, &[("/poll", &poll("polling", "")), ("/known", known)]);
    publish(&server, "/pub?id=a", &[], b"1");
    publish(&server, "/pub?id=b", &[], b"1");
    let mut client = server.public();
    client.ask("GET", "/known?id=a", &[], b"");
    let mut stream = client.stream_of("text/plain");
    assert_eq!(stream.chunk().as_deref(), Ok(&b"H"[..]));
    eventually("it is gone", || get(&server, "/pub?id=a").json()["stored_messages"] == 0);
    let refused = get(&server, "/known?id=a");
    assert_eq!((refused.status, refused.head.get(EXPLAIN)), (403, Some("Subscriber could not create channels.")));
    assert_eq!(get(&server, "/poll?id=a.b9").status, 304);
    publish(&server, "/say?id=a", &[], b"live");
    assert_eq!(stream.chunk().as_deref(), Ok(&b"live"[..]));
    eventually("an unused channel is collected", || get(&server, "/pub?id=b").status == 404);
    publish(&server, "/pub?id=b", &[], b"anew");
    assert_eq!(get(&server, "/poll?id=b.b9").text(), "<1:anew>");
}

/// The rule that a normal channel has to be among them comes with a maximum, wherever that was set.
#[test]
fn wildcard_channels_alone_are_let_in_where_there_is_no_maximum() {
    let too_many = (403, Some("Subscribed too much wildcard channels.".to_owned()));
    let subscribe = |server: &TestServer, target: &str| {
        let mut client = server.public();
        client.ask("GET", target, &[], b"");
        let head = client.read_head();
        (head.status, head.get(EXPLAIN).map(str::to_owned))
    };
    for (maxima, route, two, alone) in [
        ("", "", true, true),
        ("max_number_of_wildcard_channels = 3", "", true, false),
        ("max_number_of_wildcard_channels = 3", "wildcard_channel_max_qtd = 1", false, false),
        ("", "wildcard_channel_max_qtd = 1", false, false),
    ] {
        let options = format!("subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\n{route}");
        let known = format!("{options}\nauthorized_channels_only = true");
        let all = format!("strict = true\nwildcard_channel_prefix = 'w_'\n{maxima}");
        let server = server(&all, &[("/sub", &options), ("/known", &known)]);
        publish(&server, "/pub?id=a", &[], b"stored");
        let expected = |let_in: bool| if let_in { (200, None) } else { too_many.clone() };
        assert_eq!(subscribe(&server, "/sub?id=a/w_1"), (200, None), "{maxima} {route}");
        assert_eq!(subscribe(&server, "/sub?id=a/w_1/w_2"), expected(two), "{maxima} {route}");
        assert_eq!(subscribe(&server, "/sub?id=w_"), expected(alone), "{maxima} {route}");
        // Nor has a wildcard channel to hold a message first.
        assert_eq!(subscribe(&server, "/known?id=w_3"), expected(alone), "{maxima} {route}");
    }
}

#[test]
fn subscriber_that_leaves_makes_room_for_another() {
    let options = "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'";
    let server = server("strict = true\nmax_subscribers_per_channel = 1", &[("/sub", options)]);
    let come = || {
        let mut client = server.public();
        client.ask("GET", "/sub?id=a", &[], b"");
        let head = client.read_head();
        (head.status == 200).then_some(client)
    };
    let first = come().expect("the first");
    server.until_stat("subscribers", 1);
    let refused = get(&server, "/sub?id=b/a");
    assert_eq!(
        (refused.status, refused.head.get(EXPLAIN)),
        (403, Some("Subscribers limit per channel has been exceeded."))
    );
    drop(first);
    server.until_stat("subscribers", 0);
    assert!(come().is_some());
}

/// What the module says when its memory is full; the disk is full here.
#[test]
fn message_that_cannot_be_stored_is_an_error_without_a_word() {
    let data = Data::new();
    let route = "[[route]]\naction = 'push_stream'\npath = '= /pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n\
                 public_publish = true\nstore_messages = true\n";
    let server = Process::start(&data.config(route));
    let ask = |method: &str, id: &str, body: &[u8]| {
        let answer = Client::connect(server.public).request(method, &format!("/pub?id={id}"), &[], body);
        (answer.status, answer.head.get(EXPLAIN).map(str::to_owned), answer.head.get("expires").is_some())
    };
    assert_eq!(ask("POST", "a", b"x"), (200, None, true));
    limit_files(&server, Some(fs::metadata(log(&data)).unwrap().len() + 100));
    assert_eq!(ask("POST", "a", &[b'x'; 1000]), (500, None, true));
    assert_eq!(ask("DELETE", "a", &[b'x'; 1000]), (500, None, true));
    assert_eq!(ask("GET", "a", b""), (200, None, true));
    limit_files(&server, None);
    eventually("it takes messages again", || ask("POST", "a", b"y").0 == 200);
}

/// Header and footer stand around every 200 and no 304; the page's function, where there is one, between them.
#[test]
fn long_poll_is_wrapped_whatever_it_says() {
    let wrapped = "header_template = '('\nfooter_template = ')'";
    let short = format!("{wrapped}\nsubscriber_connection_ttl = '100ms'");
    let server =
        server("strict = true", &[("/lp", &poll("long-polling", wrapped)), ("/short", &poll("long-polling", &short))]);
    let wait = |query: &str, then: &dyn Fn()| {
        let mut client = server.public();
        client.ask("GET", &format!("/lp?id=a{query}"), &[], b"");
        server.until_stat("subscribers", 1);
        then();
        let answer = client.answer();
        server.until_stat("subscribers", 0);
        (answer.status, answer.text())
    };
    let say = || drop(publish(&server, "/say?id=a", &[], b"x"));
    let delete = || assert_eq!(server.public().request("DELETE", "/pub?id=a", &[], b"").status, 200);
    assert_eq!(wait("", &say), (200, "(<1:x>)".to_owned()));
    assert_eq!(wait("&callback=f", &say), (200, "(f([<2:x>]);)".to_owned()));
    assert_eq!(wait("", &delete), (200, "(<-2:Channel deleted>)".to_owned()));
    assert_eq!(wait("&callback=f", &delete), (200, "(f([<-2:Channel deleted>]);)".to_owned()));
    // It waits as long as a stream lasts where nothing else is said, and a plain end has no body.
    for target in ["/short?id=a", "/short?id=a&callback=f"] {
        let answer = get(&server, target);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{target}");
    }
}

/// Several old messages, and those of several channels, are one answer; its place is the newest of them, and never one before what
/// the request had seen.
#[test]
fn poll_tells_the_newest_place_of_what_it_gives() {
    let server = server("strict = true", &[("/poll", &poll("polling", ""))]);
    for (id, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        publish(&server, &format!("/pub?id={id}"), &[], text.as_bytes());
    }
    let newest = get(&server, "/poll?id=c.b1");
    let answer = get(&server, "/poll?id=a.b9/b.b9");
    assert_eq!(answer.text().matches('<').count(), 3);
    let tag = |answer: &Answer| answer.head.get("etag").and_then(|tag| tag.strip_prefix("W/")?.parse::<u64>().ok());
    assert!(tag(&answer) < tag(&newest), "{answer:?}");
    let seen: Vec<_> = [("If-Modified-Since", "last-modified"), ("If-None-Match", "etag")]
        .into_iter()
        .map(|(ask, told)| (ask, newest.head.get(told).unwrap()))
        .collect();
    let again = server.public().request("GET", "/poll?id=a.b9", &seen, b"");
    assert_eq!((again.text().as_str(), tag(&again)), ("<1:1><2:3>", tag(&newest)));
}
