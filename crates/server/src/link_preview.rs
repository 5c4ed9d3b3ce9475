//! What WhatsApp shows of a link in a text: the page's title, what it says of itself, and its picture.
//!
//! The page is somebody else's: it is fetched as any address that a caller names, through the session's proxy, in a bounded time and
//! to a bounded size. A preview that cannot be had never keeps a text from being sent.

mod page;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use tempfile::TempPath;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;
use wharf_core::engine::{LinkPreview, MediaKind, PreviewPicture, Proxy};

use crate::egress::{Fetch, FetchError, Fetched};
use crate::media::facts::{self, Pictures};
use crate::media::{FileError, FileInput, Files};
use page::Page;

/// What is read of a page, in bytes; what describes it stands at its beginning.
const PAGE_BYTES_MAX: u64 = 512 * 1024;
/// The largest picture that is taken, in bytes.
const PICTURE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The most pages that are fetched at the same time; further texts wait for their turn, but not for longer than for a page.
const AT_ONCE_MAX: usize = 16;
/// The longest link that is shown, in bytes; browsers and servers take no longer ones either.
const LINK_BYTES_MAX: usize = 2_048;
/// What may stand around a link in a text.
const PUNCTUATION: &[char] = &[
    '.', ',', ';', ':', '!', '?', '\'', '"', '»', '”', '’', '>', ']', '}', '*', '_', '~',
];

/// What makes previews.
pub(crate) struct LinkPreviews {
    files: Arc<Files>,
    within: Duration,
    slots: Semaphore,
}

/// A preview, and its picture's file for as long as somebody has this.
#[derive(Debug)]
pub(crate) struct Preview {
    /// What is shown.
    pub(crate) preview: LinkPreview,
    /// Whoever sends it must have this until it has left.
    pub(crate) guard: Option<TempPath>,
}

/// The pictures of a preview.
#[derive(Debug, Default)]
pub(crate) struct PreviewPictures {
    /// A small one, JPEG.
    pub(crate) thumbnail: Option<Bytes>,
    /// A large one, where it was asked for.
    pub(crate) picture: Option<PreviewPicture>,
    /// Whoever sends it must have this until it has left.
    pub(crate) guard: Option<TempPath>,
}

impl LinkPreviews {
    /// Previews whose pictures are kept with callers' files.
    pub(crate) fn new(files: Arc<Files>) -> Self {
        Self {
            within: files.config().link_preview_within,
            files,
            slots: Semaphore::new(AT_ONCE_MAX),
        }
    }

    /// What is shown of the first link in a text, if there is one and its page says what it is.
    pub(crate) async fn of(&self, text: &str, high_quality: bool, proxy: Option<&Proxy>) -> Option<Preview> {
        let (link, url) = first_link(text)?;
        let until = Instant::now() + self.within;
        let _slot = timeout_at(until, self.slots.acquire()).await.ok()?.ok()?;
        let page = match timeout_at(until, self.page(&url, proxy)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "a link gets no preview");
                return None;
            }
            Err(_) => {
                tracing::debug!("a link gets no preview: its page takes too long");
                return None;
            }
        };
        let title = page.title?;
        let pictures = match page.picture {
            Some(url) => timeout_at(until, self.pictures_at(&url, high_quality, proxy))
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let PreviewPictures {
            thumbnail,
            picture,
            guard,
        } = pictures.unwrap_or_default();
        let preview = LinkPreview {
            url: link.to_owned(),
            title,
            description: page.description,
            thumbnail,
            picture,
        };
        Some(Preview { preview, guard })
    }

    /// The pictures of a preview that the caller makes; `field` is how the request calls the file.
    pub(crate) async fn pictures(
        &self,
        field: &str,
        input: FileInput,
        high_quality: bool,
    ) -> Result<PreviewPictures, FileError> {
        let prepared = self.files.prepare(field, input, MediaKind::Image, false).await?;
        let pictures = self.made_of(&prepared.media.path, high_quality).await?;
        let unreadable = || FileError::Invalid(format!("{field} must be a picture that can be made smaller"));
        pictures.ok_or_else(unreadable)
    }

    async fn page(&self, url: &Url, proxy: Option<&Proxy>) -> Result<Page, FetchError> {
        let how = Fetch {
            accept: "text/html,application/xhtml+xml",
            bytes_max: PAGE_BYTES_MAX,
            cuts: true,
            within: self.within,
            proxy,
        };
        let mut bytes = Vec::new();
        let Fetched { url, headers } = self.files.egress().fetch(url.as_str(), &how, &mut bytes).await?;
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        Ok(Page::read(&url, kind, &bytes))
    }

    async fn pictures_at(&self, url: &Url, high_quality: bool, proxy: Option<&Proxy>) -> Option<PreviewPictures> {
        let how = Fetch {
            accept: "image/jpeg,image/png,image/webp,image/gif",
            bytes_max: PICTURE_BYTES_MAX,
            cuts: false,
            within: self.within,
            proxy,
        };
        let (mut file, path) = self.files.temp().file().ok()?;
        if let Err(error) = self.files.egress().fetch(url.as_str(), &how, &mut file).await {
            tracing::debug!(error = %error, "a preview has no picture");
            return None;
        }
        self.made_of(&path, high_quality).await.ok()?
    }

    /// The pictures that are made of one.
    async fn made_of(&self, path: &Path, high_quality: bool) -> Result<Option<PreviewPictures>, FileError> {
        let Some(Pictures { small, large }) = facts::pictures(path).await else {
            return Ok(None);
        };
        let mut pictures = PreviewPictures {
            thumbnail: small,
            ..PreviewPictures::default()
        };
        if let Some(large) = large.filter(|_| high_quality) {
            let path = self.files.temp().path()?;
            tokio::fs::write(&path, &large.jpeg).await?;
            pictures.picture = Some(PreviewPicture {
                path: path.to_path_buf(),
                width: large.width,
                height: large.height,
            });
            pictures.guard = Some(path);
        }
        Ok(Some(pictures))
    }
}

/// The first link of a text, as it stands there and as it is meant.
fn first_link(text: &str) -> Option<(&str, Url)> {
    text.split_whitespace().find_map(|word| {
        let lower = word.to_ascii_lowercase();
        let begin = ["https://", "http://", "www."]
            .iter()
            .filter_map(|begin| lower.find(begin))
            .min()?;
        // In the middle of a word `www.` is part of something else.
        if lower[begin..].starts_with("www.") && lower[..begin].ends_with(char::is_alphanumeric) {
            return None;
        }
        let link = without_punctuation(&word[begin..]);
        if link.len() > LINK_BYTES_MAX {
            return None;
        }
        let url = match lower[begin..].starts_with("www.") {
            true => Url::parse(&format!("https://{link}")),
            false => Url::parse(link),
        };
        Some((link, url.ok()?))
    })
}

/// A link without what ends the sentence that it stands in. A bracket that it opens itself is its own.
fn without_punctuation(link: &str) -> &str {
    let mut unopened = link.matches(')').count().saturating_sub(link.matches('(').count());
    link.trim_end_matches(|c| {
        let is_unopened = c == ')' && unopened > 0;
        unopened -= usize::from(is_unopened);
        is_unopened || PUNCTUATION.contains(&c)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_full_of_brackets_is_looked_at_once() {
        let began = std::time::Instant::now();
        let text = format!("https://a.example/{}", ")".repeat(65_000));
        assert_eq!(first_link(&text).unwrap().0, "https://a.example/");
        assert!(first_link(&format!("https://a.example/{}", "(".repeat(65_000))).is_none());
        // Counted anew for each bracket, it takes a minute.
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_first_link_is_found_as_it_stands() {
        for (text, link, url) in [
            (
                "see https://example.com/a?b=c.",
                "https://example.com/a?b=c",
                "https://example.com/a?b=c",
            ),
            ("(HTTP://Example.com)", "HTTP://Example.com", "http://example.com/"),
            (
                "www.example.com, or https://b.example",
                "www.example.com",
                "https://www.example.com/",
            ),
            (
                "https://en.example.org/wiki/Rust_(game)!",
                "https://en.example.org/wiki/Rust_(game)",
                "https://en.example.org/wiki/Rust_(game)",
            ),
            ("*https://example.com*", "https://example.com", "https://example.com/"),
            (
                "(https://a.example/(b)).)",
                "https://a.example/(b)",
                "https://a.example/(b)",
            ),
        ] {
            let (found, meant) = first_link(text).unwrap();
            assert_eq!((found, meant.as_str()), (link, url), "{text}");
        }
        for text in [
            "",
            "no link",
            "mail@example.com",
            "http://",
            "awww.example",
            "https:// example.com",
        ] {
            assert!(first_link(text).is_none(), "{text}");
        }
    }
}
