//! Pictures made by the test, and such as nobody would make who means well.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

fn seen(bytes: &[u8]) -> Option<Seen> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Seen::in_file(file.path())
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn pictures_of_every_format_get_a_small_one_of_the_same_shape() {
    let image = DynamicImage::from(RgbImage::from_fn(640, 320, |x, y| Rgb([x as u8, y as u8, 9])));
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let seen = seen(&encoded(&image, format)).unwrap();
        assert_eq!((seen.width, seen.height), (640, 320), "{format:?}");
        let small = image::load_from_memory(&seen.thumbnail.unwrap()).unwrap();
        assert_eq!((small.width(), small.height()), (100, 50), "{format:?}");
    }
}

#[test]
fn a_picture_that_is_small_already_stays_as_it_is() {
    let seen = seen(&encoded(&RgbImage::new(3, 5).into(), ImageFormat::Png)).unwrap();
    let small = image::load_from_memory(&seen.thumbnail.unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (3, 5));
}

#[test]
fn what_is_transparent_becomes_white() {
    let seen = seen(&encoded(
        &RgbaImage::from_pixel(8, 8, Rgba([0, 0, 0, 0])).into(),
        ImageFormat::Png,
    ))
    .unwrap();
    let small = image::load_from_memory(&seen.thumbnail.unwrap()).unwrap().to_rgb8();
    assert!(small.pixels().all(|pixel| pixel.0.iter().all(|value| *value > 250)));
}

#[test]
fn a_picture_that_claims_to_be_huge_is_not_decoded() {
    let mut png = encoded(&RgbImage::new(1, 1).into(), ImageFormat::Png);
    // Width and height stand behind the name of the first chunk, and its checksum behind them.
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let seen = seen(&png).unwrap();
    assert_eq!((seen.width, seen.height), (60_000, 60_000));
    assert!(seen.thumbnail.is_none());
}

#[test]
fn a_picture_whose_profile_is_huge_is_decoded_without_it() {
    let png = encoded(&RgbImage::new(1, 1).into(), ImageFormat::Png);
    let mut packed = ZlibEncoder::new(b"a\0\0".to_vec(), Compression::best());
    let zeros = vec![0; 1024 * 1024];
    (0..DECODER_BYTES_MAX / 1024 / 1024 + 1).for_each(|_| packed.write_all(&zeros).unwrap());
    let profile = [b"iCCP", packed.finish().unwrap().as_slice()].concat();
    let length = u32::try_from(profile.len() - 4).unwrap();
    let chunk = [
        &length.to_be_bytes(),
        profile.as_slice(),
        &crc32(&profile).to_be_bytes(),
    ]
    .concat();
    // Behind the first chunk.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[&png[..33], &chunk, &png[33..]].concat()).unwrap();
    assert!(decoder(file.path()).unwrap().icc_profile().unwrap().is_none());
    assert!(Seen::in_file(file.path()).unwrap().thumbnail.is_some());
}

/// The checksum of PNG's chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn what_is_no_picture_has_nothing_to_show() {
    assert!(seen(b"<svg xmlns='http://www.w3.org/2000/svg'/>").is_none());
    assert!(seen(b"\xff\xd8\xff\xe0broken").is_none());
}
