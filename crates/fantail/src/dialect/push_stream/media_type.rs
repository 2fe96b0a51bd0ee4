//! The media type of a stream, by what its path ends with: a site that serves `/sub/room.json` as JSON does so by its name.

/// What nginx's own list of types says of the endings that a stream's path may have.
const TYPES: [(&str, &str); 30] = [
    ("html", "text/html"),
    ("htm", "text/html"),
    ("shtml", "text/html"),
    ("css", "text/css"),
    ("xml", "text/xml"),
    ("gif", "image/gif"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "application/javascript"),
    ("atom", "application/atom+xml"),
    ("rss", "application/rss+xml"),
    ("mml", "text/mathml"),
    ("txt", "text/plain"),
    ("jad", "text/vnd.sun.j2me.app-descriptor"),
    ("wml", "text/vnd.wap.wml"),
    ("htc", "text/x-component"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("svgz", "image/svg+xml"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("json", "application/json"),
    ("pdf", "application/pdf"),
    ("rtf", "application/rtf"),
    ("xhtml", "application/xhtml+xml"),
    ("bin", "application/octet-stream"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ts", "video/mp2t"),
    ("webm", "video/webm"),
];

/// The type of a path; `None` where its ending says nothing, so that the route's default counts.
pub fn media_type(path: &str) -> Option<&'static str> {
    let last = path.rsplit('/').next()?;
    let (_, ending) = last.rsplit_once('.')?;
    TYPES.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_type_is_that_of_the_paths_last_ending() {
        for (path, expected) in [
            ("/sub/room.json", Some("application/json")),
            ("/sub/a.b.HTML", Some("text/html")),
            ("/sub/room", None),
            ("/sub/room.b5", None),
            ("/sub.html/room", None),
            ("/sub/.json", Some("application/json")),
            ("/sub/json", None),
        ] {
            assert_eq!(media_type(path), expected, "{path}");
        }
    }
}
