//! Files that are whole, that broke off, that have to make room, and that outlive a process.

use super::*;

fn name(bytes: &[u8]) -> String {
    token(&Sha256::digest(bytes))
}

fn bytes_at(store: &MediaStore, address: &str) -> Result<Vec<u8>, Refusal> {
    let (path, query) = address.strip_prefix("/v/").unwrap().split_once('?').unwrap();
    let (kind, name) = path.split_once('/').unwrap();
    let (mut file, length) = store.open(kind, name, query)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    assert_eq!(bytes.len() as u64, length);
    Ok(bytes)
}

#[test]
fn a_file_comes_in_pieces_and_is_the_one_that_its_token_names() {
    let store = MediaStore::new();
    let token = name(b"one two");
    let mut upload = store.begin("image", &token, 0).unwrap();
    assert!(matches!(store.begin("image", &token, 0), Err(Refusal::Busy)));
    upload.write(b"one ").unwrap();
    upload.write(b"two").unwrap();
    let address = upload.finish().unwrap();
    assert_eq!(bytes_at(&store, &address).unwrap(), b"one two");
    assert_eq!(store.progress(&token).unwrap(), Progress::Complete(address));

    let mut other = store.begin("image", &name(b"other"), 0).unwrap();
    other.write(b"not it").unwrap();
    assert!(matches!(other.finish(), Err(Refusal::WrongHash)));
    assert_eq!(store.progress(&name(b"other")).unwrap(), Progress::Partial(0));
}

#[test]
fn an_upload_goes_on_where_it_broke_off_and_nowhere_else() {
    let store = MediaStore::new();
    let token = name(b"one two");
    let mut upload = store.begin("video", &token, 0).unwrap();
    upload.write(b"one ").unwrap();
    drop(upload);
    assert_eq!(store.progress(&token).unwrap(), Progress::Partial(4));
    assert!(matches!(store.begin("video", &token, 3), Err(Refusal::WrongOffset)));
    let mut upload = store.begin("video", &token, 4).unwrap();
    upload.write(b"two").unwrap();
    let address = upload.finish().unwrap();
    assert_eq!(bytes_at(&store, &address).unwrap(), b"one two");
}

#[test]
fn an_address_is_good_as_it_was_given_out_until_there_is_a_new_one() {
    let store = MediaStore::new();
    let token = name(b"file");
    let old = store.add("audio", &token, b"file").unwrap();
    for mangled in [
        old.replace("/audio/", "/image/"),
        old.replace("&oh=", "&oh=0"),
        old.replace("&oh=", "&x="),
    ] {
        assert!(matches!(bytes_at(&store, &mangled), Err(Refusal::Mangled)), "{mangled}");
    }
    assert_eq!(bytes_at(&store, &format!("{old}&auth=a&token=t")).unwrap(), b"file");
    let new = store.renew(&token).unwrap().unwrap();
    assert_ne!(new, old);
    assert!(matches!(bytes_at(&store, &old), Err(Refusal::Unknown)));
    assert_eq!(bytes_at(&store, &new).unwrap(), b"file");
    assert_eq!(store.add("audio", &token, b"file").unwrap(), new, "it is here already");
    assert_eq!(store.renew(&name(b"none")).unwrap(), None);
}

#[test]
fn the_oldest_files_make_room_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let media = folder.path().join("media");
    let store = MediaStore::new();
    store.keep_in(&media, 8).unwrap();
    let files: [&[u8]; 3] = [b"aaaa", b"bbbb", b"cccc"];
    let addresses: Vec<String> = files
        .map(|file| store.add("image", &name(file), file).unwrap())
        .to_vec();
    assert!(matches!(bytes_at(&store, &addresses[0]), Err(Refusal::Unknown)));
    assert_eq!(bytes_at(&store, &addresses[1]).unwrap(), b"bbbb");
    drop(store.begin("image", &name(b"half"), 0).unwrap());

    let store = MediaStore::new();
    store.keep_in(&media, 4).unwrap();
    assert_eq!(bytes_at(&store, &addresses[2]).unwrap(), b"cccc");
    assert!(matches!(bytes_at(&store, &addresses[1]), Err(Refusal::Unknown)));
    assert_eq!(fs::read_dir(&media).unwrap().count(), 1, "and nothing else is left");
    store.clear().unwrap();
    assert_eq!(fs::read_dir(&media).unwrap().count(), 0);
}

#[test]
fn only_so_many_broken_uploads_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = MediaStore::new();
    store.keep_in(folder.path(), 100).unwrap();
    for number in 0..=PARTS_MAX {
        let mut upload = store.begin("image", &name(&[number as u8]), 0).unwrap();
        upload.write(b"a").unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), PARTS_MAX);
    assert_eq!(store.progress(&name(&[0])).unwrap(), Progress::Partial(0));
}

#[test]
fn what_comes_in_counts_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = MediaStore::new();
    store.keep_in(folder.path(), 8).unwrap();
    let upload = |bytes: &[u8]| {
        let mut upload = store.begin("image", &name(bytes), 0).unwrap();
        upload.write(bytes).map(|()| upload)
    };
    let kept = upload(b"kept").unwrap().finish().unwrap();
    drop(upload(b"half").unwrap());
    assert_eq!(bytes_at(&store, &kept).unwrap(), b"kept");
    let coming = upload(b"coming").unwrap();
    assert_eq!(store.progress(&name(b"half")).unwrap(), Progress::Partial(0));
    assert!(matches!(bytes_at(&store, &kept), Err(Refusal::Unknown)));
    assert!(matches!(upload(b"too much"), Err(Refusal::Full)));
    let address = coming.finish().unwrap();
    assert_eq!(bytes_at(&store, &address).unwrap(), b"coming");
    store.clear().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    upload(b"all of 8").unwrap().finish().unwrap();
}

#[test]
fn what_never_began_does_not_go_on_and_pushes_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = MediaStore::new();
    store.keep_in(folder.path(), 100).unwrap();
    let unknown = |number: usize| store.begin("image", &name(&[number as u8]), 5);
    drop(store.begin("image", &name(b"half"), 0).unwrap());
    for number in 0..=PARTS_MAX {
        assert!(matches!(unknown(number), Err(Refusal::WrongOffset)));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the one that began");
}
