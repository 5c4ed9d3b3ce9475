//! Files in a folder: the contract, and that nobody is led out of the folder.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::media::contract::{self, is_absent, key, put, read};

#[tokio::test]
async fn a_folder_fulfils_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::verify(&LocalMedia::new(folder.path().join("made/on/demand"))).await;
}

#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalMedia::new(folder.path().join("media"));
    let source = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(source.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let metadata = MediaMetadata {
        mimetype: "image/jpeg".to_owned(),
        message_id: "m".to_owned(),
        filename: None,
    };
    storage
        .put(&key("alice", "a.jpg"), &metadata, source.path())
        .await
        .unwrap();
    for (path, mode) in [
        ("media", 0o700),
        ("media/alice", 0o700),
        ("media/.incoming", 0o700),
        ("media/alice/a.jpg", 0o600),
    ] {
        let found = std::fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn what_another_process_writes_here_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    // In a container of its own every process can have the same id.
    let other = folder.path().join(format!(".incoming/{}-0", std::process::id()));
    std::fs::create_dir(folder.path().join(".incoming")).unwrap();
    std::fs::write(&other, b"half of it").unwrap();
    let storage = LocalMedia::new(folder.path());
    put(&storage, &key("alice", "a.jpg"), b"mine").await;
    assert_eq!(read(&storage, &key("alice", "a.jpg"), None).await, b"mine");
    assert_eq!(std::fs::read(&other).unwrap(), b"half of it");
    assert_eq!(std::fs::read_dir(folder.path().join(".incoming")).unwrap().count(), 1);
}

#[tokio::test]
async fn links_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.jpg");
    std::fs::write(&secret, b"secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalMedia::new(folder.path());

    // A whole session, and one file.
    symlink(outside.path(), folder.path().join("alice")).unwrap();
    std::fs::create_dir(folder.path().join("bob")).unwrap();
    symlink(&secret, folder.path().join("bob/secret.jpg")).unwrap();
    std::fs::create_dir(folder.path().join("bob/folder.jpg")).unwrap();
    for file in [
        key("alice", "secret.jpg"),
        key("bob", "secret.jpg"),
        key("bob", "folder.jpg"),
    ] {
        assert!(is_absent(&storage, &file).await, "{file}");
    }

    // Nothing is written through them either, and a file takes the place of a link to one.
    let source = tempfile::NamedTempFile::new().unwrap();
    let metadata = MediaMetadata {
        mimetype: "image/jpeg".to_owned(),
        message_id: "m".to_owned(),
        filename: None,
    };
    let outcome = storage.put(&key("alice", "secret.jpg"), &metadata, source.path()).await;
    assert!(outcome.is_err(), "{outcome:?}");
    put(&storage, &key("bob", "secret.jpg"), b"mine").await;
    assert_eq!(read(&storage, &key("bob", "secret.jpg"), None).await, b"mine");

    // What is deleted is the link.
    storage.delete(&key("alice", "secret.jpg")).await.unwrap();
    storage.delete_session(&key("alice", "x").session).await.unwrap();
    assert!(!folder.path().join("alice").exists());
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
}

#[tokio::test]
async fn where_anybody_may_make_names_the_folder_must_be_ours() {
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), shared.path().join("media")).unwrap();
    let storage = LocalMedia::new(shared.path().join("media"));
    assert!(storage.check().await.is_err());
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none());

    std::fs::remove_file(shared.path().join("media")).unwrap();
    let space = storage.check().await.unwrap().unwrap();
    assert!(space.free_bytes > 0);
    assert_eq!(space.folder, shared.path().join("media"));
}

#[tokio::test]
async fn what_an_earlier_process_left_behind_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let incoming = folder.path().join(INCOMING);
    std::fs::create_dir(&incoming).unwrap();
    for (name, seconds_ago) in [("1-0", LEFT_BEHIND_SECONDS + 60), ("2-0", 60)] {
        let file = File::create(incoming.join(name)).unwrap();
        let moment = file.metadata().unwrap().modified().unwrap();
        file.set_modified(moment - Duration::from_secs(seconds_ago.unsigned_abs()))
            .unwrap();
    }
    let storage = LocalMedia::new(folder.path());
    put(&storage, &key("alice", "a.jpg"), b"new").await;
    let left: Vec<_> = std::fs::read_dir(&incoming)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["2-0"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused_and_a_missing_source_is_not_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = MediaMetadata {
        mimetype: "image/jpeg".to_owned(),
        message_id: "m".to_owned(),
        filename: None,
    };
    let storage = LocalMedia::new(folder.path());
    let missing = folder.path().join("nowhere");
    let outcome = storage.put(&key("alice", "a.jpg"), &metadata, &missing).await;
    assert!(matches!(outcome, Err(MediaStorageError::Internal(_))), "{outcome:?}");
    let under_a_file = tempfile::NamedTempFile::new().unwrap();
    let storage = LocalMedia::new(under_a_file.path().join("media"));
    assert!(storage.check().await.is_err());
    assert!(
        is_absent(&storage, &key("alice", "a.jpg")).await || storage.get(&key("alice", "a.jpg"), None).await.is_err()
    );
}
