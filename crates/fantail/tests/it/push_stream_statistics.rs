//! Statistics routes of the push-stream dialect.

use std::io::Read;

use crate::client::Answer;
use crate::server::TestServer;

fn server(settings: &str) -> TestServer {
    TestServer::start(&format!(
        "[listen]\nshards = 2\n[push_stream]\n{settings}\n\
         [[route]]\npath = '= /pub'\naction = 'push_stream'\npublisher = 'admin'\nchannels_path = '$arg_id'\n\
         public_publish = true\nstore_messages = true\n\
         [[route]]\npath = '= /stats'\naction = 'push_stream'\nchannels_statistics = true\nchannels_path = '$arg_id'\n"
    ))
}

fn publish(server: &TestServer, id: &str) {
    assert_eq!(server.public().request("POST", &format!("/pub?id={id}"), &[], b"x").status, 200);
}

fn statistics(server: &TestServer, target: &str, accept: &str) -> Answer {
    let answer = server.public().request("GET", target, &[("Accept", accept)], b"");
    assert_eq!(answer.head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
    assert_eq!(answer.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
    assert_eq!(answer.head.get("x-nginx-pushstream-tag"), Some("0.5.5"));
    assert!(answer.head.get("x-nginx-pushstream-commit").is_some());
    assert_eq!(answer.head.get("content-length"), Some(answer.body.len().to_string().as_str()));
    answer
}

/// A text in which what differs from machine to machine is replaced: the host's name, the time, threads and seconds.
fn plain(text: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let hostname = json["hostname"].as_str().expect("a host's name");
    let time = json["time"].as_str().expect("a time");
    assert_eq!((time.len(), time.as_bytes()[10], time.as_bytes()[16]), (19, b'T', b':'), "{time}");
    let mut plain = text.replacen(hostname, "HOST", 1).replacen(time, "TIME", 1);
    for worker in json["by_worker"].as_array().into_iter().flatten() {
        let pid = worker["pid"].as_str().expect("a text");
        assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{pid}");
        plain = plain.replacen(&format!("\"{pid}\""), "\"PID\"", 1);
    }
    let uptime = json["uptime"].as_u64().expect("a number");
    plain.replace(&format!("\"uptime\": {uptime}"), "\"uptime\": N")
}

#[test]
fn push_stream_statistics_of_the_server_say_everything_with_its_type() {
    let server = server("strict = true\nwildcard_channel_prefix = 'w_'\nevents_channel_id = 'events'");
    let expected = |channels: u32, wildcards: u32, messages: u32, subscribers: [u32; 2]| {
        format!(
            "{{\"hostname\": \"HOST\", \"time\": \"TIME\", \"channels\": {channels}, \"wildcard_channels\": {wildcards}, \
             \"published_messages\": {messages}, \"stored_messages\": {messages}, \"messages_in_trash\": 0, \
             \"channels_in_delete\": 0, \"channels_in_trash\": 0, \"subscribers\": {}, \"uptime\": N, \"by_worker\": [\r\n\
             {{\"pid\": \"PID\", \"subscribers\": {}, \"uptime\": N}},\r\n\
             {{\"pid\": \"PID\", \"subscribers\": {}, \"uptime\": N}}\r\n]}}\r\n",
            subscribers[0] + subscribers[1],
            subscribers[0],
            subscribers[1],
        )
    };
    let summary = || plain(&statistics(&server, "/stats?id=", "application/json").text());
    assert_eq!(summary(), expected(1, 0, 0, [0, 0]), "the events channel is there from the start");
    for id in ["a", "b", "w_x", "a"] {
        publish(&server, id);
    }
    let _first = server.public().subscribe("/sub/a/b");
    let _second = server.public().subscribe("/sub/a");
    server.until_stat("subscribers", 2);
    // What is published to the events channel counts for nobody.
    assert_eq!(summary(), expected(3, 1, 4, [1, 1]));
    assert_eq!(plain(&statistics(&server, "/stats", "text/json").text()), expected(3, 1, 4, [1, 1]));
}

/// A WebSocket is in no shard: it is counted for the process itself, so that the workers have all subscribers.
#[test]
fn push_stream_statistics_count_websockets_for_a_worker_of_their_own() {
    let route = "[[route]]\npath = '= /ws'\naction = 'push_stream'\nsubscriber = 'websocket'\nchannels_path = 'a'\n";
    let server = server(&format!("strict = true\n{route}"));
    let _stream = server.public().subscribe("/sub/a");
    let mut client = server.public();
    let fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    client.ask("GET", "/ws", &fields, b"");
    assert_eq!(client.read_head().status, 101);
    server.until_stat("subscribers", 2);
    let json = statistics(&server, "/stats", "*/*").json();
    let workers = json["by_worker"].as_array().unwrap();
    let subscribers: Vec<_> = workers.iter().map(|worker| worker["subscribers"].as_u64().unwrap()).collect();
    assert_eq!((json["subscribers"].as_u64(), subscribers), (Some(2), vec![1, 0, 1]));
    // Of several with the same pid a dashboard would see one.
    let pids: Vec<_> = workers.iter().map(|worker| worker["pid"].as_str().unwrap()).collect();
    assert!(pids[0] != pids[1] && !pids[..2].contains(&pids[2]), "{pids:?}");
    assert_eq!(pids[2], std::process::id().to_string());
}

#[test]
fn push_stream_statistics_of_a_deleted_channel_say_so() {
    let server = server("strict = true");
    publish(&server, "a");
    publish(&server, "b");
    assert_eq!(server.public().request("DELETE", "/pub?id=a", &[], b"").status, 200);
    let json = statistics(&server, "/stats", "*/*").json();
    let figures = ["channels", "channels_in_delete", "channels_in_trash", "published_messages", "stored_messages"];
    assert_eq!(figures.map(|name| json[name].as_u64().unwrap()), [1, 1, 0, 2, 1]);
    assert_eq!(statistics(&server, "/stats?id=a", "*/*").status, 404);
    publish(&server, "a");
    let json = statistics(&server, "/stats", "*/*").json();
    assert_eq!(figures.map(|name| json[name].as_u64().unwrap()), [2, 0, 0, 3, 2]);
}

#[test]
fn push_stream_statistics_list_what_is_asked_for() {
    let server = server("strict = true\nmax_channel_id_length = 8");
    for id in ["tk", "ee", "td", "x"] {
        publish(&server, id);
    }
    let listed = |id: &str| -> Vec<String> {
        let json = statistics(&server, &format!("/stats?id={id}"), "*/*").json();
        assert_eq!(
            (json["channels"].as_u64(), json["wildcard_channels"].as_u64()),
            (Some(4), Some(0)),
            "of the server"
        );
        json["infos"].as_array().unwrap().iter().map(|info| info["channel"].as_str().unwrap().to_owned()).collect()
    };
    for (id, expected) in [
        ("ALL", &["tk", "ee", "td", "x"][..]),
        ("*", &["tk", "ee", "td", "x"]),
        ("t*", &["tk", "td"]),
        ("t*k", &["tk", "td"]),
        ("none*", &[]),
        ("x/tk", &["x", "tk"]),
        ("x/none/ee", &["x", "ee"]),
        ("x/ALL", &["tk", "ee", "td", "x"]),
        ("none/t*/123456789", &["tk", "td"]),
    ] {
        assert_eq!(listed(id), expected, "{id}");
    }
    let single = "{\"channel\": \"tk\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n";
    for id in ["tk", "tk/none", "none/tk"] {
        assert_eq!(statistics(&server, &format!("/stats?id={id}"), "*/*").text(), single);
    }
    for id in ["none", "none/neither", "all"] {
        let answer = statistics(&server, &format!("/stats?id={id}"), "*/*");
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{id}");
    }
    let answer = statistics(&server, "/stats?id=123456789", "*/*");
    let explain = answer.head.get("x-nginx-pushstream-explain");
    assert_eq!((answer.status, explain), (400, Some("Channel id is too large.")));
    let text = statistics(&server, "/stats?id=t*", "*/*").text();
    assert_eq!(
        plain(&text),
        "{\"hostname\": \"HOST\", \"time\": \"TIME\", \"channels\": 4, \"wildcard_channels\": 0, \"uptime\": N, \"infos\": [\r\n\
         {\"channel\": \"tk\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0},\r\n\
         {\"channel\": \"td\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n]}\r\n"
    );
}

#[test]
fn push_stream_statistics_come_in_the_format_that_is_accepted() {
    let server = server("strict = true");
    publish(&server, "a");
    for (accept, content_type, summary, all) in [
        ("text/plain", "text/plain", "hostname: ", "hostname: "),
        ("application/yaml", "application/yaml", "  hostname: ", "hostname: "),
        (
            "application/xml",
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<infos>\r\n",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<root>\r\n",
        ),
        ("text/x-json", "text/x-json", "{\"hostname\": ", "{\"hostname\": "),
    ] {
        for (target, begin) in [("/stats", summary), ("/stats?id=ALL", all)] {
            let answer = statistics(&server, target, accept);
            assert_eq!(answer.head.get("content-type"), Some(content_type));
            assert!(answer.text().starts_with(begin), "{}", answer.text());
        }
    }
}

#[test]
fn push_stream_statistics_are_for_get_alone() {
    let server = server("");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let answer = server.public().request(method, "/stats", &[], b"");
        assert_eq!((answer.status, answer.head.get("allow")), (405, Some("GET")), "{method}");
        assert_eq!(answer.head.get("access-control-allow-origin"), None);
    }
}

#[test]
fn push_stream_statistics_are_compressed_for_who_accepts_it() {
    let server = server("");
    for id in 0..20 {
        publish(&server, &format!("channel{id}"));
    }
    let answer = server.public().request("GET", "/stats?id=ALL", &[("Accept-Encoding", "br, gzip")], b"");
    assert_eq!(answer.head.get("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut text).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["infos"].as_array().map(Vec::len), Some(20));
}

#[test]
fn push_stream_statistics_by_default_escape_ids() {
    let id = "%22q%5C";
    let strict = server("strict = true");
    publish(&strict, id);
    assert!(statistics(&strict, &format!("/stats?id={id}"), "*/*").text().starts_with("{\"channel\": \"\"q\\\", "));
    let server = server("");
    publish(&server, id);
    let answer = server.public().get(&format!("/stats?id={id}"));
    assert_eq!(answer.json()["channel"].as_str(), Some("\"q\\"));
    assert_eq!(answer.head.get("x-nginx-pushstream-tag"), Some(env!("CARGO_PKG_VERSION")));
}
