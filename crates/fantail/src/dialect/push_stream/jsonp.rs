//! Answers to polls as a call of the page's function, for pages that load them as scripts.

use percent_encoding::percent_decode_str;

use super::explain::Refusal;

/// The type of such an answer, whatever the route's is.
pub const CONTENT_TYPE: &str = "application/javascript";
/// What stands between two messages.
pub const BETWEEN: &[u8] = b",";
/// What stands behind the last.
pub const CLOSE: &[u8] = b"]);";
/// The longest name of a function, in bytes.
const LONGEST: usize = 255;

/// The function that a query asks to be called (`callback`, whatever its case), if it does.
///
/// SECURITY: strictly, whatever stands there becomes the beginning of the answer, so that a link can make a page of this site run
/// anything. By default it is names with dots between, and indexes.
///
/// # Errors
/// [`Refusal::Callback`], not strictly.
pub fn callback(query: &str, strict: bool) -> Result<Option<Vec<u8>>, Refusal> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("callback")) else { return Ok(None) };
    let name: Vec<u8> = percent_decode_str(value).collect();
    if name.is_empty() {
        return Ok(None);
    }
    if strict || is_function(&name) { Ok(Some(name)) } else { Err(Refusal::Callback) }
}

/// What stands before the first message.
pub fn open(callback: &[u8]) -> Vec<u8> {
    [callback, b"(["].concat()
}

fn is_function(name: &[u8]) -> bool {
    let is_name = |part: &[u8]| {
        part.first().is_some_and(|byte| !byte.is_ascii_digit())
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_$".contains(byte))
    };
    let is_index = |part: &[u8]| {
        let digits = part.strip_suffix(b"]").unwrap_or_default();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    name.len() <= LONGEST
        && name.split(|&byte| byte == b'.').all(|part| {
            let mut parts = part.split(|&byte| byte == b'[');
            parts.next().is_some_and(is_name) && parts.all(is_index)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callback_is_the_first_of_its_name() {
        for (query, expected) in [
            ("", None),
            ("a=b", None),
            ("callback", None),
            ("callback=", None),
            ("x=1&callback=cb&callback=d", Some("cb")),
            ("CallBack=cb", Some("cb")),
            (
                "callback=PushStreamManager_0_onmessage_1795359029000",
                Some("PushStreamManager_0_onmessage_1795359029000"),
            ),
            ("callback=a.b%5B0%5D%5b12].%24c", Some("a.b[0][12].$c")),
        ] {
            for strict in [true, false] {
                assert_eq!(callback(query, strict).unwrap().as_deref(), expected.map(str::as_bytes), "{query}");
            }
        }
    }

    #[test]
    fn callback_that_is_no_function_is_reflected_only_strictly() {
        for value in
            ["a b<script>", "a()", "1a", "a..b", ".a", "a.", "a[b]", "a[]", "a[0", "a]", "a[0]b", "[0]", "é", "a;b"]
        {
            let query = format!("callback={value}");
            assert_eq!(callback(&query, true), Ok(Some(value.as_bytes().to_vec())), "{value}");
            assert_eq!(callback(&query, false), Err(Refusal::Callback), "{value}");
        }
        assert_eq!(callback("callback=a%20b%3Cscript%3E", true), Ok(Some(b"a b<script>".to_vec())));
        let long = format!("callback={}", "x".repeat(256));
        assert_eq!(callback(&long, false), Err(Refusal::Callback));
        assert!(callback(&long[..long.len() - 1], false).is_ok());
    }

    #[test]
    fn answer_is_a_call_with_an_array() {
        let one = [&open(b"cb")[..], br#"{"id":4,"text":"z"}"#, CLOSE].concat();
        assert_eq!(one, br#"cb([{"id":4,"text":"z"}]);"#);
        assert_eq!([&open(b"cb")[..], b"1", BETWEEN, b"2", CLOSE].concat(), b"cb([1,2]);");
    }
}
