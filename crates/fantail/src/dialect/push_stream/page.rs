//! The pages with which nginx itself answers, before or beside the module: to a body that is too large, to a path that is none.

use http::StatusCode;

/// Their media type.
pub const CONTENT_TYPE: &str = "text/html";

/// The page of this status, as nginx has it with `server_tokens off`.
pub fn page(status: StatusCode) -> String {
    let title = match status {
        // The name that it had when nginx learned it.
        StatusCode::PAYLOAD_TOO_LARGE => "413 Request Entity Too Large".to_owned(),
        status => format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()),
    };
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_nginxs() {
        assert_eq!(
            page(StatusCode::PAYLOAD_TOO_LARGE),
            "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity \
             Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        assert!(page(StatusCode::BAD_REQUEST).contains("<title>400 Bad Request</title>"));
    }
}
