//! How many pages a PDF has, as far as that stands in it uncompressed: a look, not a reader of PDFs.
//!
//! The root of the page tree says it (`/Type /Pages … /Count 12`, ISO 32000-1, 7.7.3.2), and so does the head of a linearized
//! file (`/Linearized … /N 12`, annex F). Newer files often compress both; then nobody knows.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The most bytes of a file that are looked at.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What is looked at at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest dictionary that is found where two chunks meet, in bytes.
const DICTIONARY_BYTES_MAX: usize = 4 * 1024;
/// The most pages that are believed.
const PAGES_MAX: u32 = 1_000_000;

/// The pages of a file.
pub(super) fn pages(path: &Path) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?.take(BYTES_MAX);
    let (mut window, mut found) = (Vec::new(), None);
    loop {
        let before = window.len();
        let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut window)?;
        found = found.max(in_bytes(&window));
        if read == 0 {
            return Ok(found);
        }
        let keep = DICTIONARY_BYTES_MAX.min(before + read);
        window.drain(..window.len() - keep);
    }
}

/// The largest number of pages that a dictionary in these bytes names: the root of the tree has more than its branches.
fn in_bytes(bytes: &[u8]) -> Option<u32> {
    let (mut found, mut begin, mut at) = (None, None, 0);
    // Each byte is looked at once, however many names and brackets there are.
    while let Some(two) = bytes.get(at..at + 2) {
        match two {
            b"<<" => begin = Some(at + 2),
            b">>" => found = found.max(begin.take().and_then(|begin| in_dictionary(&bytes[begin..at]))),
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    found
}

/// The pages that a dictionary names; one that has others in it is only looked at from the last of their beginnings.
fn in_dictionary(dictionary: &[u8]) -> Option<u32> {
    let count = match (after(dictionary, b"/Pages"), after(dictionary, b"/Linearized")) {
        (Some(_), _) => after(dictionary, b"/Count")?,
        (_, Some(_)) => after(dictionary, b"/N ")?,
        (None, None) => return None,
    };
    number(count).filter(|pages| (1..=PAGES_MAX).contains(pages))
}

/// What comes after a name.
fn after<'a>(dictionary: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = dictionary.windows(name.len()).position(|window| window == name)?;
    Some(&dictionary[at + name.len()..])
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = text.trim_ascii_start();
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn pages_of(parts: &[&[u8]]) -> Option<u32> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        parts.iter().for_each(|part| file.write_all(part).unwrap());
        pages(file.path()).unwrap()
    }

    #[test]
    fn the_root_of_the_tree_counts_and_its_branches_do_not() {
        let branch = b"3 0 obj <</Type /Pages /Parent 2 0 R /Kids [4 0 R] /Count 4>> endobj ";
        let root = b"2 0 obj <</Type/Pages/Kids[3 0 R]/Count 12>> endobj ";
        let outline = b"9 0 obj <</Type /Outlines /Count 99>> endobj ";
        assert_eq!(pages_of(&[b"%PDF-1.4\n", branch, root, outline]), Some(12));
        assert_eq!(
            pages_of(&[b"%PDF-1.4\n1 0 obj <</Linearized 1 /L 999 /N 7 /T 900>> endobj"]),
            Some(7)
        );
        assert_eq!(pages_of(&[b"%PDF-1.7\ncompressed"]), None);
    }

    #[test]
    fn a_dictionary_is_found_where_two_chunks_meet() {
        let root = b"2 0 obj <</Type/Pages/Kids[3 0 R]/Count 12>> endobj ";
        for before in CHUNK_BYTES - root.len()..=CHUNK_BYTES {
            assert_eq!(pages_of(&[&vec![b' '; before], root]), Some(12), "{before}");
        }
    }

    #[test]
    fn a_file_full_of_names_is_looked_at_once() {
        let began = std::time::Instant::now();
        let full = b"/Count".repeat(CHUNK_BYTES);
        assert_eq!(pages_of(&[b"<<", &full, b">><</Type/Pages/Count 3>>"]), Some(3));
        // Looking back from each name takes minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn numbers_that_nobody_believes_are_none() {
        assert_eq!(pages_of(&[b"<</Type/Pages/Count 99999999999>>"]), None);
        assert_eq!(pages_of(&[b"<</Type/Pages/Count 0>>"]), None);
        assert_eq!(pages_of(&[b"/Count 3"]), None);
    }
}
