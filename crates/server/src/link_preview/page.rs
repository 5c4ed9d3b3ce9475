//! What a page says of itself: Open Graph's tags (ogp.me), Twitter's, and those of HTML.
//!
//! Reads tags, not documents: the tags count wherever they stand. What is in the text of a page is never looked at.

use encoding_rs::{Encoding, UTF_8};
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};
use url::Url;

/// The most characters of a title that are shown.
const TITLE_CHARS_MAX: usize = 300;
/// The most characters of a description that are shown.
const DESCRIPTION_CHARS_MAX: usize = 600;
/// Where a page may say how it is written, in bytes (HTML, 13.2.3.2).
const CHARSET_WITHIN_BYTES: usize = 1_024;

/// What a page says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) picture: Option<Url>,
}

/// Where something may stand, the best place first.
struct Found<const N: usize>([Option<String>; N]);

impl<const N: usize> Found<N> {
    fn none() -> Self {
        Self([const { None }; N])
    }

    /// Keeps what stands under one of these names; the first of each counts.
    fn put(&mut self, names: [&str; N], name: &str, value: &str) {
        let place = names.iter().position(|own| own.eq_ignore_ascii_case(name));
        if let Some(place) = place.and_then(|place| self.0.get_mut(place))
            && !value.trim().is_empty()
        {
            place.get_or_insert_with(|| value.to_owned());
        }
    }

    fn best(self) -> Option<String> {
        self.0.into_iter().flatten().next()
    }
}

impl Page {
    /// Reads the beginning of what came from `url` as `kind`.
    pub(super) fn read(url: &Url, kind: &str, bytes: &[u8]) -> Self {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !matches!(
            essence.to_ascii_lowercase().as_str(),
            "text/html" | "application/xhtml+xml"
        ) {
            return Self::default();
        }
        let (text, ..) = encoding(kind, bytes).decode(bytes);
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let (mut titles, mut descriptions, mut pictures) = (Found::none(), Found::none(), Found::none());
        let (mut title, mut is_title) = (None::<String>, false);
        for Ok(token) in Tokenizer::new_with_emitter(&*text, emitter) {
            match token {
                Token::StartTag(tag) if tag.name.as_slice() == b"meta" => {
                    let attribute = |name: &[u8]| tag.attributes.get(name).map(|value| String::from_utf8_lossy(value));
                    let name = attribute(b"property").or_else(|| attribute(b"name"));
                    if let (Some(name), Some(value)) = (name, attribute(b"content")) {
                        titles.put(["og:title", "twitter:title"], &name, &value);
                        descriptions.put(["og:description", "twitter:description", "description"], &name, &value);
                        let places = [
                            "og:image:secure_url",
                            "og:image",
                            "og:image:url",
                            "twitter:image",
                            "twitter:image:src",
                        ];
                        pictures.put(places, &name, &value);
                    }
                }
                // Pictures within the page have titles as well; the first one is the page's.
                Token::StartTag(tag) => is_title = tag.name.as_slice() == b"title" && title.is_none(),
                Token::String(text) if is_title => {
                    title.get_or_insert_default().push_str(&String::from_utf8_lossy(&text))
                }
                Token::EndTag(_) => is_title = false,
                _ => {}
            }
        }
        Self {
            title: titles
                .best()
                .or(title)
                .and_then(|title| one_line(&title, TITLE_CHARS_MAX)),
            description: descriptions
                .best()
                .and_then(|text| one_line(&text, DESCRIPTION_CHARS_MAX)),
            picture: pictures.best().and_then(|picture| url.join(picture.trim()).ok()),
        }
    }
}

/// How a page is written: as its bytes say, its host, or itself; UTF-8 otherwise.
fn encoding(kind: &str, bytes: &[u8]) -> &'static Encoding {
    let by_mark = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let by_host = || label(kind.as_bytes());
    let by_itself = || label(&bytes[..bytes.len().min(CHARSET_WITHIN_BYTES)]);
    by_mark.or_else(by_host).or_else(by_itself).unwrap_or(UTF_8)
}

/// What stands behind `charset=`, with quotes or without.
fn label(text: &[u8]) -> Option<&'static Encoding> {
    const NAME: &[u8] = b"charset=";
    let at = text
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME))?;
    let value = &text[at + NAME.len()..];
    let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
    let length = value
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte))
        .count();
    Encoding::for_label(&value[..length])
}

/// A text without line breaks, cut off where it is too long.
fn one_line(text: &str, chars_max: usize) -> Option<String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(chars_max).collect();
    Some(line).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kind: &str, bytes: &[u8]) -> (Option<String>, Option<String>, Option<String>) {
        let url = "https://example.com/a/b".parse().unwrap();
        let page = Page::read(&url, kind, bytes);
        (page.title, page.description, page.picture.map(String::from))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_best_tags_count_wherever_they_stand() {
        let html = br#"<!doctype html><head><title>Plain</title><meta name=description content="Of HTML">
            <meta name="twitter:title" content="Of Twitter"><META PROPERTY="og:title" CONTENT="Of &quot;Open&quot;
            Graph &amp; co"><meta property="og:image" content="/c.png"></head>"#;
        let expected = (
            some("Of \"Open\" Graph & co"),
            some("Of HTML"),
            some("https://example.com/c.png"),
        );
        assert_eq!(page("text/html; charset=utf-8", html), expected);
    }

    #[test]
    fn a_title_is_enough_and_scripts_are_no_tags() {
        let html = b"<title>\n One  <b>two</b> </title><script>'<meta property=og:title content=no>'</script><svg><title>x</title></svg>";
        assert_eq!(page("text/html", html), (some("One <b>two</b>"), None, None));
        assert_eq!(page("text/html", b"<p>nothing"), (None, None, None));
    }

    #[test]
    fn pages_are_read_as_they_are_written() {
        for (kind, bytes) in [
            ("text/html; charset=windows-1251", &b"<title>\xcf\xf0\xe8</title>"[..]),
            ("text/html", b"<meta charset='windows-1251'><title>\xcf\xf0\xe8</title>"),
            ("text/html", "\u{feff}<title>При</title>".as_bytes()),
            ("text/html", "<title>При</title>".as_bytes()),
        ] {
            assert_eq!(page(kind, bytes).0, some("При"), "{kind}");
        }
    }

    #[test]
    fn what_is_no_page_says_nothing() {
        assert_eq!(page("application/json", b"<title>x</title>"), (None, None, None));
        assert_eq!(page("", b"<title>x</title>"), (None, None, None));
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let html = format!("<title>{}</title>", "x".repeat(5_000));
        assert_eq!(page("text/html", html.as_bytes()).0.unwrap().len(), TITLE_CHARS_MAX);
    }
}
