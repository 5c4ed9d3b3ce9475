//! What WhatsApp shows of a file before it is downloaded: a small picture, sizes, length, loudness, pages.
//!
//! Only for looks: whatever cannot be found out is left away, and never keeps a file from being sent. Bounded before anything is
//! decoded, because pictures can claim to be any size.

mod pdf;
mod waveform;

use std::io::Cursor;
use std::path::Path;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use serde::Deserialize;
use tokio::sync::Semaphore;
use wharf_core::engine::MediaFacts;

use super::ffmpeg::{Ffmpeg, FfmpegError};
use waveform::Waveform;

/// The longer side of a small picture, in pixels; WhatsApp's clients make them of this size.
const THUMBNAIL_SIDE: u32 = 100;
/// The most bytes of a small picture: it travels in the message itself.
const THUMBNAIL_BYTES_MAX: usize = 16 * 1024;
/// How good a small picture is, from the first try to the last.
const THUMBNAIL_QUALITIES: [u8; 3] = [70, 50, 30];
/// The longer side of the picture of a preview, in pixels.
const LARGE_SIDE: u32 = 800;
/// How good it is.
const LARGE_QUALITY: u8 = 80;
/// The most pixels that are decoded in this process; ffmpeg does what has more.
const PIXELS_MAX: u64 = 12_000_000;
/// The most memory that decoding a picture may take, in bytes.
const DECODER_BYTES_MAX: u64 = 96 * 1024 * 1024;
/// The most files that are looked into at the same time, each of which may take that memory.
const DECODED_AT_ONCE: usize = 2;
/// The longer side of the frame that is taken out of a video, in pixels.
const FRAME_SIDE: u32 = 400;
/// The most bytes of such a frame.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most bytes of what ffprobe says.
const PROBE_BYTES_MAX: usize = 64 * 1024;

/// A picture: its size, and itself in small.
pub(super) async fn of_image(ffmpeg: &Ffmpeg, path: &Path) -> MediaFacts {
    let from = path.to_owned();
    let seen = decoding(move || Seen::in_file(&from)).await;
    let mut facts = MediaFacts::default();
    let Some(seen) = seen else { return facts };
    (facts.width, facts.height) = (Some(seen.width), Some(seen.height));
    facts.thumbnail = match seen.thumbnail {
        Some(thumbnail) => Some(thumbnail),
        None => frame(ffmpeg, path).await,
    };
    facts
}

/// A video: its size, its length, and its first frame in small.
pub(super) async fn of_video(ffmpeg: &Ffmpeg, path: &Path) -> MediaFacts {
    let probed = probe(ffmpeg, path).await.unwrap_or_default();
    let size = probed.size();
    MediaFacts {
        thumbnail: frame(ffmpeg, path).await,
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
        seconds: probed.seconds(),
        ..MediaFacts::default()
    }
}

/// A voice message: its length, and how loud it is.
pub(super) async fn of_voice(ffmpeg: &Ffmpeg, path: &Path) -> MediaFacts {
    let mut waveform = Waveform::default();
    match ffmpeg.samples(path, waveform::RATE, |bytes| waveform.add(bytes)).await {
        Ok(()) => MediaFacts {
            seconds: Some(waveform.seconds()),
            waveform: Some(waveform.values()),
            ..MediaFacts::default()
        },
        Err(error) => unknown(&error),
    }
}

/// A document: its pages.
pub(super) async fn of_document(path: &Path, mimetype: &str) -> MediaFacts {
    if mimetype != "application/pdf" {
        return MediaFacts::default();
    }
    let from = path.to_owned();
    let pages = decoding(move || pdf::pages(&from).ok().flatten()).await;
    MediaFacts {
        pages,
        ..MediaFacts::default()
    }
}

/// A picture: the size of the whole, as it is shown, and itself in small where it is not too large to be decoded here.
struct Seen {
    width: u32,
    height: u32,
    thumbnail: Option<Bytes>,
}

impl Seen {
    /// Looks at a file. Takes its time: not for a thread that others wait for.
    fn in_file(path: &Path) -> Option<Self> {
        let (width, height, image) = open(path)?;
        Some(Self {
            width,
            height,
            thumbnail: image.and_then(|image| small(&image)),
        })
    }
}

/// The pictures of a link's preview, as JPEG.
pub(crate) struct Pictures {
    /// As in a message.
    pub(crate) small: Option<Bytes>,
    /// One that is uploaded.
    pub(crate) large: Option<Large>,
}

/// A picture that is no larger than needed.
pub(crate) struct Large {
    /// It.
    pub(crate) jpeg: Vec<u8>,
    /// In pixels.
    pub(crate) width: u32,
    /// In pixels.
    pub(crate) height: u32,
}

/// The pictures that a preview shows of a file; `None` where it is no picture, or too large a one.
pub(crate) async fn pictures(path: &Path) -> Option<Pictures> {
    let path = path.to_owned();
    decoding(move || {
        let (.., image) = open(&path)?;
        let image = image?;
        Some(Pictures {
            small: small(&image),
            large: large(&image),
        })
    })
    .await
}

/// Does what takes time and memory where nobody waits for the thread, and not much of it at once.
async fn decoding<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    static SLOTS: Semaphore = Semaphore::const_new(DECODED_AT_ONCE);
    let slot = SLOTS.acquire().await.ok()?;
    let work = move || {
        // The thread has it, because it goes on where the caller hangs up.
        let _slot = slot;
        work()
    };
    tokio::task::spawn_blocking(work).await.ok()?
}

/// What decoding may take. A reader must know it from the start: of a PNG, the head alone can be any size.
fn decoder_limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    limits
}

fn decoder(path: &Path) -> Option<impl ImageDecoder> {
    let mut reader = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    reader.limits(decoder_limits());
    reader.into_decoder().ok()
}

/// The size of a picture, as it is shown, and itself where it is not too large to be decoded here.
fn open(path: &Path) -> Option<(u32, u32, Option<DynamicImage>)> {
    let mut decoder = decoder(path)?;
    let (width, height) = decoder.dimensions();
    let fits = u64::from(width) * u64::from(height) <= PIXELS_MAX;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = fits.then(|| {
        let mut image = DynamicImage::from_decoder(decoder).ok()?;
        image.apply_orientation(orientation);
        Some(image)
    });
    match matches!(orientation.to_exif(), 5..=8) {
        true => Some((height, width, image.flatten())),
        false => Some((width, height, image.flatten())),
    }
}

fn large(image: &DynamicImage) -> Option<Large> {
    let image = image.thumbnail(LARGE_SIDE.min(image.width()), LARGE_SIDE.min(image.height()));
    let image = on_white(&image);
    let mut jpeg = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, LARGE_QUALITY))
        .ok()?;
    Some(Large {
        jpeg,
        width: image.width(),
        height: image.height(),
    })
}

/// A picture no larger than `THUMBNAIL_SIDE`, as JPEG.
fn small(image: &DynamicImage) -> Option<Bytes> {
    let small = image.thumbnail(THUMBNAIL_SIDE.min(image.width()), THUMBNAIL_SIDE.min(image.height()));
    let small = on_white(&small);
    let jpeg = |quality| {
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        small.write_with_encoder(encoder).ok()?;
        (bytes.len() <= THUMBNAIL_BYTES_MAX).then(|| bytes.into())
    };
    THUMBNAIL_QUALITIES.into_iter().find_map(jpeg)
}

/// Without transparency, which JPEG does not have: it would become black.
fn on_white(image: &DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image.to_rgb8().into();
    }
    let mut flat = image::RgbImage::new(image.width(), image.height());
    for (to, from) in flat.pixels_mut().zip(image.to_rgba8().pixels()) {
        let [red, green, blue, alpha] = from.0.map(u16::from);
        // At most 255, as a mean of two such values.
        let mixed = [red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha)) / 255).min(255));
        to.0 = mixed.map(|value| u8::try_from(value).unwrap_or(u8::MAX));
    }
    flat.into()
}

async fn frame(ffmpeg: &Ffmpeg, path: &Path) -> Option<Bytes> {
    let png = match ffmpeg.frame(path, FRAME_SIDE, FRAME_BYTES_MAX).await {
        Ok(png) => png,
        Err(error) => return unknown(&error),
    };
    decoding(move || {
        let mut reader = ImageReader::new(Cursor::new(png)).with_guessed_format().ok()?;
        reader.limits(decoder_limits());
        small(&reader.decode().ok()?)
    })
    .await
}

fn unknown<T: Default>(error: &FfmpegError) -> T {
    tracing::debug!(error = %error, "a file is sent without a part of what is shown of it");
    T::default()
}

/// What ffprobe says.
#[derive(Debug, Default, Deserialize)]
struct Probed {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    width: Option<u32>,
    height: Option<u32>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Deserialize)]
struct SideData {
    rotation: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Format {
    duration: Option<String>,
}

impl Probed {
    /// As it is shown.
    fn size(&self) -> Option<(u32, u32)> {
        let stream = self.streams.iter().find(|stream| stream.width.is_some())?;
        let size = (stream.width?, stream.height?);
        let is_turned = stream
            .side_data_list
            .iter()
            .filter_map(|data| data.rotation)
            .any(|turned| turned % 180 != 0);
        Some(if is_turned { (size.1, size.0) } else { size })
    }

    /// Rounded as clocks are, and at least one.
    fn seconds(&self) -> Option<u32> {
        let duration: f64 = self.format.as_ref()?.duration.as_ref()?.parse().ok()?;
        // Floats are cut to what fits.
        duration.is_finite().then_some(duration.round().max(1.0) as u32)
    }
}

async fn probe(ffmpeg: &Ffmpeg, path: &Path) -> Option<Probed> {
    let entries = "stream=width,height:stream_side_data=rotation:format=duration";
    match ffmpeg.probe(path, entries, PROBE_BYTES_MAX).await {
        Ok(json) => serde_json::from_slice(&json).ok(),
        Err(error) => unknown(&error),
    }
}

#[cfg(test)]
mod tests;
